"""A demonstration model: an OpenAI-compatible server that answers by rules, offline and at once."""

from __future__ import annotations

from integrations.llm.local_model.server import MODES, LocalModel

__all__ = ["MODES", "LocalModel"]
