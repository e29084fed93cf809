"""The portal's leaky bucket, counted in the database so that all workers share it."""

from __future__ import annotations

import time
from collections.abc import Callable

from django.db import transaction

from bx_gpt_app.common.database import give_back_connection
from bx_gpt_app.portals.models import CallBudget
from integrations.bitrix24.limiter import Bucket, Level, Priority, is_cautious


class DatabaseLimiter:
    """`integrations.bitrix24.limiter.Limiter` over one row per portal."""

    def __init__(self, portal_id: int, clock: Callable[[], float] = time.time) -> None:
        self._portal_id = portal_id
        self._clock = clock

    def acquire(self, method: str, *, priority: Priority) -> float:
        try:
            with transaction.atomic():
                return self._take(method.lower(), priority)
        finally:
            give_back_connection()

    def _take(self, method: str, priority: Priority) -> float:
        now, budget = self._clock(), self._locked()
        wait: float = max(budget.blocked_until, budget.blocked_methods.get(method, 0.0)) - now
        if wait > 0:
            return wait
        if is_cautious(budget.operating.get(method, 0.0), priority):
            return 60.0
        bucket = Bucket(rate=budget.rate, burst=budget.burst)
        state, wait = bucket.take(Level(budget.level, budget.at), now, priority=priority)
        if wait == 0:
            budget.level, budget.at = state.level, state.at
            budget.save(update_fields=["level", "at"])
        return wait

    def penalise(self, seconds: float) -> None:
        now = self._clock()
        with transaction.atomic():
            budget = self._locked()
            budget.level, budget.at = budget.burst, now
            budget.blocked_until = max(budget.blocked_until, now + seconds)
            budget.save(update_fields=["level", "at", "blocked_until"])

    def block_method(self, method: str, until: float) -> None:
        now = self._clock()
        with transaction.atomic():
            budget = self._locked()
            left = {name: at for name, at in budget.blocked_methods.items() if at > now}
            budget.blocked_methods = {**left, method.lower(): until}
            budget.save(update_fields=["blocked_methods"])

    def observe(self, operating: float, reset_at: float, method: str) -> None:
        """Kept only when a method has used a good part of its time: most answers write nothing."""
        if operating < 60 or reset_at < self._clock():
            return
        with transaction.atomic():
            budget = self._locked()
            budget.operating = {**budget.operating, method.lower(): operating}
            budget.save(update_fields=["operating"])

    def _locked(self) -> CallBudget:
        rows = CallBudget.objects.select_for_update()
        budget = rows.filter(pk=self._portal_id).first()
        if budget is None:
            CallBudget.objects.get_or_create(portal_id=self._portal_id)
            budget = rows.get(pk=self._portal_id)
        return budget
