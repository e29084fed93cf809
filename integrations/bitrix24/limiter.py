"""How fast a portal may be called: the portal's own leaky bucket, mirrored on our side."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

OPERATING_BUDGET_SECONDS = 480.0
"""Time a method may use up in ten minutes before the portal blocks it (limits)."""
_OPERATING_CAUTION = 0.8
_BACKGROUND_SHARE = 2 / 3


class Priority(IntEnum):
    LIVE = 0
    """Somebody waits for this: the reply to a client, a page in the portal."""
    BACKGROUND = 1
    """Leaves a third of the burst to the live calls."""


class Limiter(Protocol):
    """One per portal, shared by everything that calls it. Times are seconds and Unix time."""

    def acquire(self, method: str, *, priority: Priority) -> float:
        """0: go, the call is counted. Else the seconds to wait before asking again."""

    def penalise(self, seconds: float) -> None:
        """The portal said "too fast": nobody calls it for so long."""

    def block_method(self, method: str, until: float) -> None:
        """The portal said that this method has used up its time."""

    def observe(self, operating: float, reset_at: float, method: str) -> None:
        """What an answer said about the time that this method has used."""


@dataclass(frozen=True)
class Level:
    """The state of a bucket: how full it was at a moment of Unix time."""

    level: float = 0.0
    at: float = 0.0


@dataclass(frozen=True)
class Bucket:
    """Leaky bucket arithmetic without state: `rate` calls a second drain, `burst` fit in.

    Source: limits. The portal allows 2/s and 50 (Enterprise 5/s and 250); a burst below
    that leaves room for the other applications behind our address.
    """

    rate: float = 2.0
    burst: float = 40.0

    def take(self, state: Level, now: float, *, priority: Priority) -> tuple[Level, float]:
        """The new state and the seconds to wait; with a wait nothing was taken."""
        drained = Level(max(state.level - max(now - state.at, 0.0) * self.rate, 0.0), now)
        room = self.burst if priority is Priority.LIVE else self.burst * _BACKGROUND_SHARE
        over = drained.level + 1 - max(room, 1.0)
        if over > 1e-9:
            return drained, over / self.rate
        return Level(drained.level + 1, now), 0.0


def is_cautious(operating: float, priority: Priority) -> bool:
    """Is so much of a method's time gone that work without hurry should leave the rest alone?"""
    return (
        priority is Priority.BACKGROUND
        and operating >= OPERATING_BUDGET_SECONDS * _OPERATING_CAUTION
    )


@dataclass
class MemoryLimiter:
    """A limiter for one process."""

    bucket: Bucket = field(default_factory=Bucket)
    clock: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._state = Level()
        self._closed_until = 0.0
        self._blocked: dict[str, float] = {}
        self._operating: dict[str, tuple[float, float]] = {}

    def acquire(self, method: str, *, priority: Priority) -> float:
        now = self.clock()
        with self._lock:
            wait = max(self._closed_until, self._blocked.get(method, 0.0)) - now
            operating, reset_at = self._operating.get(method, (0.0, 0.0))
            if is_cautious(operating, priority):
                wait = max(wait, reset_at - now)
            if wait > 0:
                return wait
            self._state, wait = self.bucket.take(self._state, now, priority=priority)
            return wait

    def penalise(self, seconds: float) -> None:
        with self._lock:
            self._closed_until = max(self._closed_until, self.clock() + seconds)

    def block_method(self, method: str, until: float) -> None:
        with self._lock:
            self._blocked[method] = until

    def observe(self, operating: float, reset_at: float, method: str) -> None:
        with self._lock:
            self._operating[method] = (operating, reset_at)
