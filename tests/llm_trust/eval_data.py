"""The labelled data that the thresholds of this package are measured on."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

EVAL = Path(__file__).parents[1] / "fixtures" / "eval"
NOW = datetime(2026, 11, 22, 12, 48, tzinfo=timezone(timedelta(hours=3)))
"""A Sunday."""


def rows(name: str) -> list[dict[str, Any]]:
    return [
        json.loads(line) for line in (EVAL / name).read_text(encoding="utf-8").splitlines() if line
    ]


def f1(found: int, wrong: int, missed: int) -> float:
    return 2 * found / (2 * found + wrong + missed)
