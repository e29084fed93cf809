"""What calls cost, added up by day, and whether the portal may go on spending."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from django.db.models import F, Sum
from django.utils import timezone

from bx_gpt_app.assistant.config import PortalConfig
from bx_gpt_app.assistant.models import Dialog, Run, Spending
from bx_gpt_app.portals.models import Portal

# The ladder that a portal climbs as its tightest limit fills up; every step is said on the run.
WARN_AT = 0.8
CHEAPER_MODEL_AT = 0.9
SUGGEST_ONLY_AT = 0.95


@dataclass(frozen=True)
class Budget:
    """How much of the tightest limit is used: 0.0–1.0 and more. `what` names that limit."""

    used: float = 0.0
    what: str = ""
    limit: float = 0.0

    @property
    def is_over(self) -> bool:
        """No model call any more: the client gets the holding text, the dialog a person."""
        return self.used >= 1.0

    @property
    def allows_auto(self) -> bool:
        return self.used < SUGGEST_ONLY_AT

    @property
    def wants_cheaper_model(self) -> bool:
        return self.used >= CHEAPER_MODEL_AT

    @property
    def is_close(self) -> bool:
        return WARN_AT <= self.used < 1.0


def record(run: Run, portal: Portal, dialog: Dialog | None, *, masked: int = 0) -> None:
    """Add one call to its day. Call it in the transaction that saves the answer: once per call."""
    key: dict[str, Any] = {
        "portal": portal,
        "day": timezone.now().date(),
        "model": run.model,
        "purpose": run.purpose,
        "line_id": (dialog.line_id if dialog else None) or 0,
        "prompt_number": run.prompt_version.number if run.prompt_version else 0,
        "currency": run.currency or "USD",
    }
    row, _created = Spending.objects.get_or_create(**key)
    Spending.objects.filter(pk=row.pk).update(
        calls=F("calls") + 1,
        prompt_tokens=F("prompt_tokens") + run.prompt_tokens,
        completion_tokens=F("completion_tokens") + run.completion_tokens,
        cost=F("cost") + (run.cost or 0),
        masked=F("masked") + masked,
    )


def budget(portal: Portal, config: PortalConfig, dialog: Dialog | None = None) -> Budget:
    """The tightest of the portal's limits; nothing is read when none is set."""
    limits = config.limits
    today = timezone.now().date()
    month = today.replace(day=1)
    found: list[Budget] = []
    for name, limit, since, of_money in (
        ("daily_tokens", limits.daily_tokens, today, False),
        ("monthly_tokens", limits.monthly_tokens, month, False),
        ("daily_cost", limits.daily_cost, today, True),
        ("monthly_cost", limits.monthly_cost, month, True),
    ):
        if limit is not None:
            found.append(_of(name, limit, _spent(portal, since, of_money)))
    if limits.dialog_tokens is not None and dialog is not None:
        sums = dialog.runs.aggregate(a=Sum("prompt_tokens"), b=Sum("completion_tokens"))
        found.append(
            _of("dialog_tokens", limits.dialog_tokens, (sums["a"] or 0) + (sums["b"] or 0))
        )
    return max(found, key=lambda one: one.used, default=Budget())


def _of(name: str, limit: float, spent: float) -> Budget:
    return Budget(used=spent / limit if limit else 1.0, what=name, limit=limit)


def _spent(portal: Portal, since: date, of_money: bool) -> float:
    sums = Spending.objects.filter(portal=portal, day__gte=since).aggregate(
        a=Sum("prompt_tokens"), b=Sum("completion_tokens"), money=Sum("cost")
    )
    return float(sums["money"] or 0) if of_money else float((sums["a"] or 0) + (sums["b"] or 0))
