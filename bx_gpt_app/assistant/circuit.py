"""Circuits of model servers in the database: all workers stop asking a dead server together."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

from django.db import transaction

from bx_gpt_app.assistant.models import Circuit
from bx_gpt_app.common.database import give_back_connection
from integrations.llm.failures import (
    FAILURES_TO_OPEN,
    LONGEST_OPEN_SECONDS,
    OPEN_SECONDS,
    TRIAL_SECONDS,
    WINDOW_SECONDS,
)

LOOK_EVERY_SECONDS = 1.0
"""Asked at every call, but most circuits are closed: their rows are looked at once a second."""


class DatabaseCircuit:
    """`integrations.llm.failures.Circuit` over a table.

    Called between network waits, so every method gives its database connection back.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._open_until: dict[str, tuple[float, float]] = {}
        self._failed: set[str] = set()

    def allow(self, key: str) -> bool:
        if self._looked_at(key) == 0.0:
            return True
        now = self._clock()
        try:
            # Half open: one caller wins the trial.
            return (
                bool(
                    Circuit.objects.filter(
                        pk=_row(key), open_until__lte=now, trial_until__lte=now
                    ).update(trial_until=now + TRIAL_SECONDS)
                )
                or not Circuit.objects.filter(pk=_row(key), open_until__gt=0).exists()
            )
        finally:
            give_back_connection()

    def success(self, key: str) -> None:
        if self._open_until.get(key, (0.0, 0.0))[1] or _row(key) in self._failed:
            Circuit.objects.filter(pk=_row(key)).delete()
            give_back_connection()
            self._failed.discard(_row(key))
        self._open_until[key] = (self._clock(), 0.0)

    def failure(self, key: str, *, permanent: bool = False) -> None:
        now = self._clock()
        try:
            with transaction.atomic():
                row, _new = Circuit.objects.select_for_update().get_or_create(pk=_row(key))
                # An open one has seen it coming: this call was sent before it opened.
                if row.open_until <= now:
                    _count(row, now, permanent=permanent)
                    row.save()
        finally:
            give_back_connection()
        self._failed.add(_row(key))
        self._open_until[key] = (now, row.open_until)

    def opens_in(self, key: str) -> float:
        return max(0.0, self._looked_at(key) - self._clock())

    def _looked_at(self, key: str) -> float:
        now = self._clock()
        at, open_until = self._open_until.get(key, (0.0, 0.0))
        if now - at >= LOOK_EVERY_SECONDS:
            try:
                found = Circuit.objects.filter(pk=_row(key)).values_list("open_until", flat=True)
                open_until = found.first() or 0.0
            finally:
                give_back_connection()
            self._open_until[key] = (now, open_until)
        return open_until


def _count(row: Circuit, now: float, *, permanent: bool) -> None:
    was_open = row.open_until > 0
    if now - row.first_failure_at > WINDOW_SECONDS:
        row.failures, row.first_failure_at = 0, now
    row.failures += 1
    if permanent or was_open or row.failures >= FAILURES_TO_OPEN:
        row.open_seconds = min(
            row.open_seconds * 2 if was_open else OPEN_SECONDS, LONGEST_OPEN_SECONDS
        )
        row.open_until = now + row.open_seconds
        row.trial_until = 0


def _row(key: str) -> str:
    """A row's name: provider keys may be long, and nothing of them needs to be read back."""
    return hashlib.sha256(key.encode()).hexdigest()[:32]
