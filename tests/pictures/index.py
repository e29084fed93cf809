"""What every picture shows; the file's name is the key. `docs/screens/README.md` is made of it."""

from __future__ import annotations

SHOWN: dict[str, str] = {}
MARKETPLACE: dict[str, str] = {}
