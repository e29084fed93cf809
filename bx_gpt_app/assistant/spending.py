"""What calls cost, added up by day; what left for whom; whether the portal may go on spending."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, Sum
from django.utils import timezone

from bx_gpt_app.assistant.config import LimitsConfig, PortalConfig
from bx_gpt_app.assistant.models import Departure, Dialog, Spending
from bx_gpt_app.portals.models import Portal
from integrations.llm.prices import known_prices
from integrations.llm.question import Bill

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
    currency: str = ""
    """Of a limit of money."""

    @property
    def spent(self) -> float:
        return self.used * self.limit

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


# ---- counted ----


def record_calls(
    portal: Portal,
    bills: Sequence[Bill],
    *,
    purpose: str = "reply",
    dialog: Dialog | None = None,
    prompt_number: int = 0,
) -> None:
    """Add what servers charged and were given to its day and month, each server on its own.

    Call it in the transaction that saves what came of the calls: once per call.
    """
    today = timezone.now().date()
    for bill in bills:
        if not bill.calls:
            continue
        row, _created = Spending.objects.get_or_create(
            portal=portal,
            day=today,
            model=bill.model[:120],
            purpose=purpose,
            line_id=(dialog.line_id if dialog else None) or 0,
            prompt_number=prompt_number,
            currency=bill.usage.currency,
        )
        Spending.objects.filter(pk=row.pk).update(
            calls=F("calls") + 1,
            prompt_tokens=F("prompt_tokens") + bill.usage.prompt_tokens,
            completion_tokens=F("completion_tokens") + bill.usage.completion_tokens,
            cost=F("cost") + (bill.usage.cost or 0),
            masked=F("masked") + sum(bill.masked.values()),
        )
        _count_departure(portal, today.replace(day=1), bill)


def _count_departure(portal: Portal, month: date, bill: Bill) -> None:
    with transaction.atomic():
        row, _created = Departure.objects.select_for_update().get_or_create(
            portal=portal,
            month=month,
            provider=bill.provider_kind,
            origin=bill.origin[:300],
            place=place_of(bill),
        )
        row.requests += bill.calls
        row.characters += bill.characters
        row.tokens += bill.usage.total_tokens
        row.masked = dict(Counter(row.masked) + Counter(dict(bill.masked)))
        row.unmasked = dict(Counter(row.unmasked) + Counter(dict(bill.left)))
        row.save()


def place_of(bill: Bill) -> str:
    if bill.own_network:
        return Departure.Place.OWN
    return Departure.Place.ABROAD if bill.leaves_country else Departure.Place.COUNTRY


# ---- limited ----


def budget(portal: Portal, config: PortalConfig, dialog: Dialog | None = None) -> Budget:
    """The tightest of the portal's limits and the dialog's; nothing is read when none is set."""
    found = portal_budgets(portal, config)
    limit = config.limits.dialog_tokens
    if limit is not None and dialog is not None:
        sums = dialog.runs.aggregate(a=Sum("prompt_tokens"), b=Sum("completion_tokens"))
        found.append(_of("dialog_tokens", limit, (sums["a"] or 0) + (sums["b"] or 0)))
    return max(found, key=lambda one: one.used, default=Budget())


def portal_budgets(portal: Portal, config: PortalConfig) -> list[Budget]:
    """Every limit of a day or a month that is set, and how full it is."""
    limits = config.limits
    names = ("daily_tokens", "monthly_tokens", "daily_cost", "monthly_cost")
    if all(getattr(limits, name) is None for name in names):
        return []
    spent = _spent(portal)
    currency = limit_currency(config)
    budgets = []
    for name in names:
        limit = getattr(limits, name)
        if limit is None:
            continue
        if name.endswith("tokens"):
            budgets.append(_of(name, limit, sum(one[name] for one in spent.values())))
        else:
            money = {code: one[name] for code, one in spent.items()}
            budgets.append(_of(name, limit, in_one_currency(money, currency, limits), currency))
    return budgets


def limit_currency(config: PortalConfig) -> str:
    """The currency that limits of money are meant in: the admin's, else that of the model."""
    if config.limits.currency:
        return config.limits.currency
    if config.llm.prices:
        return config.llm.prices.currency
    known = known_prices(
        config.llm.base_url or settings.OPENAI_BASE_URL, config.llm.model or settings.OPENAI_MODEL
    )
    return known.currency if known else "RUB"


def in_one_currency(money: Mapping[str, float], currency: str, limits: LimitsConfig) -> float:
    """The sum in one currency. What has no rate is left out; `without_rate` names it."""
    return sum(
        amount * (1.0 if code == currency else limits.rates.get(code, 0.0))
        for code, amount in money.items()
    )


def without_rate(money: Mapping[str, float], config: PortalConfig) -> dict[str, float]:
    """What was spent in currencies that limits of money cannot count."""
    currency = limit_currency(config)
    return {
        code: amount
        for code, amount in money.items()
        if amount and code != currency and code not in config.limits.rates
    }


def _of(name: str, limit: float, spent: float, currency: str = "") -> Budget:
    used = spent / limit if limit else 1.0
    return Budget(used=used, what=name, limit=limit, currency=currency)


def _spent(portal: Portal) -> dict[str, dict[str, Any]]:
    """Currency → what was used today and this month; calls without a price stand under ""."""
    today = timezone.now().date()
    of_today = Q(day=today)
    rows = (
        Spending.objects.filter(portal=portal, day__gte=today.replace(day=1), day__lte=today)
        .order_by()
        .values("currency")
        .annotate(
            monthly_tokens=Sum(F("prompt_tokens") + F("completion_tokens"), default=0),
            daily_tokens=Sum(
                F("prompt_tokens") + F("completion_tokens"), filter=of_today, default=0
            ),
            monthly_cost=Sum("cost", default=0.0),
            daily_cost=Sum("cost", filter=of_today, default=0.0),
        )
    )
    return {str(row["currency"]): dict(row) for row in rows}
