"""Geometry of stacked bars: numbers in, what templates/components/chart.html draws out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

NICE = (1.0, 2.0, 4.0, 5.0, 6.0, 8.0, 10.0)
"""Tops of an axis whose half is readable too."""


@dataclass(frozen=True)
class Point:
    """One bar: its full and its short name, and a value per series."""

    label: str
    short: str
    values: tuple[float, ...]


def nice_top(highest: float, *, whole: bool = False) -> float:
    """The smallest readable top of an axis that is not below `highest`; never zero.

    `whole`: things are counted, so the half must be a whole number as well.
    """
    if highest <= 0:
        return 2.0 if whole else 1.0
    power = 10.0 ** math.floor(math.log10(highest))
    top = next(step * power for step in (*NICE, 20.0) if step * power >= highest * (1 - 1e-9))
    return max(2.0, float(2 * math.ceil(top / 2))) if whole else top


def stacked(
    *,
    id: str,
    title: str,
    point_title: str,
    series: Sequence[str],
    points: Sequence[Point],
    text: Callable[[float], str],
    axis: Callable[[float], str] | None = None,
    whole: bool = False,
) -> dict[str, Any]:
    """The context of components/chart.html. Values are not negative; `text` says one for people,
    `axis` those at the side, where the title has told the unit."""
    scale = axis or text
    top = nice_top(max((sum(point.values) for point in points), default=0.0), whole=whole)
    return {
        "id": id,
        "title": title,
        "point_title": point_title,
        "series": list(series),
        "max": top,
        "half": top / 2,
        "max_text": scale(top),
        "half_text": scale(top / 2),
        "points": [
            {"label": point.label, "short": point.short, "bars": _bars(point.values, text)}
            for point in points
        ],
    }


def _bars(values: Sequence[float], text: Callable[[float], str]) -> list[dict[str, Any]]:
    base, bars = 0.0, []
    for value in values:
        bars.append({"base": round(base, 6), "value": round(value, 6), "text": text(value)})
        base += value
    return bars
