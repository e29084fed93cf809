"""What was measured: exchanges read from the portals, processes read from /proc, one table."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TICKS = os.sysconf("SC_CLK_TCK")
PERCENTILES = (50, 95, 99)


@dataclass
class Exchange:
    """A client's question and what reached him before his next one. Times are Unix seconds."""

    chat: tuple[str, int]
    asked_at: float
    replied_at: list[float] = field(default_factory=list)


def exchanges(told: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Exchange]:
    """Questions and replies from the messages of portals, by member_id, oldest first.

    Messages that a client wrote in a row are one question, asked with the last of them.
    """
    found: list[Exchange] = []
    latest: dict[tuple[str, int], Exchange] = {}
    for member_id, messages in told.items():
        for message in messages:
            chat = (member_id, int(message["chat_id"]))
            current = latest.get(chat)
            if message["kind"] == "client":
                if current is None or current.replied_at:
                    current = latest[chat] = Exchange(chat, float(message["at"]))
                    found.append(current)
                else:
                    current.asked_at = float(message["at"])
            elif message["to_client"] and current is not None:
                current.replied_at.append(float(message["at"]))
    return found


def repeated_keys(told: Mapping[str, Sequence[Mapping[str, Any]]]) -> int:
    """Messages that reached a client although one with the same key had reached him before."""
    keys = Counter(
        (member_id, message["uuid"])
        for member_id, messages in told.items()
        for message in messages
        if message["uuid"] and message["to_client"]
    )
    return sum(count - 1 for count in keys.values())


def percentiles(seconds: Iterable[float]) -> tuple[float, ...]:
    """p50, p95 and p99 in milliseconds; nearest rank, so every figure is a measured one."""
    ordered = sorted(seconds)
    if not ordered:
        return ()
    last = len(ordered) - 1
    return tuple(
        ordered[min(last, -(-len(ordered) * percent // 100) - 1)] * 1000 for percent in PERCENTILES
    )


# ---- processes ----


def family(pid: int) -> list[int]:
    """A process and its children (gunicorn's workers). Ended ones are left out."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(one for child in children for one in family(int(child)))]


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time of living processes so far."""
    ticks = 0
    for pid in pids:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += int(stat[11]) + int(stat[12])
    return ticks / TICKS


def peak_megabytes(pids: Iterable[int]) -> float:
    """The largest resident size that any of these processes has had."""
    peak = 0
    for pid in pids:
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                peak = max(peak, int(line.split()[1]))
    return peak / 1024


# ---- the table ----


@dataclass
class Column:
    """One phase of the benchmark: its title and its figures by row."""

    title: str
    cells: dict[str, str] = field(default_factory=dict)


ROWS = (
    ("messages", ""),
    ("replies", ""),
    ("messages/s", ""),
    ("overhead p50 / p95 / p99, ms", "p95 ≤ 200"),
    ("events/s", ""),
    ("event request p50 / p95 / p99, ms", "p99 ≤ 50"),
    ("first page p50 / p95 / p99, ms", ""),
    ("polls/s", ""),
    ("poll p50 / p95 / p99, ms", ""),
    ("polls with news", ""),
    ("polls refused", "0"),
    ("web CPU, % of one core", "≤ 25"),
    ("REST requests per message, first / later", "≤ 3 / ≤ 2"),
    ("CPU seconds per message", ""),
    ("peak memory web / worker, MB", "worker < 250"),
    ("model calls in flight", "≥ 100"),
    ("workers killed", ""),
    ("lost", "0"),
    ("duplicated", "0"),
)


def in_ms(seconds: Iterable[float]) -> str:
    return " / ".join(f"{value:.0f}" for value in percentiles(seconds))


def table(columns: Sequence[Column]) -> str:
    """All phases side by side; a row that no phase has is left out."""
    lines = [["", *(column.title for column in columns), "aim"]]
    known: defaultdict[str, list[str]] = defaultdict(list)
    for name, _aim in ROWS:
        known[name] = [column.cells.get(name, "") for column in columns]
    lines += [[name, *known[name], aim] for name, aim in ROWS if any(known[name])]
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    text = [
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return "\n".join([text[0], "─" * (sum(widths) + 2 * (len(widths) - 1)), *text[1:]])
