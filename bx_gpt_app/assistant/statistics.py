"""Numbers for screens: what the assistant did, how well, how fast and at what cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from statistics import median
from typing import Any

from django.db.models import Count, F, Q, QuerySet, Sum
from django.db.models.functions import TruncDate
from django.utils import timezone

from bx_gpt_app.assistant.models import Delivery, Dialog, Run, Spending, Suggestion
from bx_gpt_app.portals.models import Portal

MEDIAN_OF = 2000
"""Waiting times are sorted in memory: the newest so many say enough."""

BY_PERSON = ~Q(run__decision=Run.Decision.SEND)
TAKEN = Q(state__in=(Suggestion.State.SENT, Suggestion.State.INSERTED))
UNEDITED = Q(final_text="") | Q(final_text=F("text"))


@dataclass(frozen=True)
class Figures:
    """One period of a portal. `wait_seconds`: median from the client's message to the draft."""

    suggestions: int = 0
    automatic: int = 0
    taken: int = 0
    unedited: int = 0
    wait_seconds: float | None = None
    cost: dict[str, float] = field(default_factory=dict)
    tokens: int = 0

    @property
    def unedited_share(self) -> float | None:
        return self.unedited / self.taken if self.taken else None


@dataclass(frozen=True)
class Day:
    on: date
    automatic: int = 0
    unedited: int = 0
    edited: int = 0
    unused: int = 0


@dataclass(frozen=True)
class Spent:
    """A row of a spending table."""

    name: str
    calls: int
    prompt_tokens: int
    completion_tokens: int
    cost: float
    currency: str

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


def spending_day() -> date:
    """Spending is added up by the host's own day, whatever the zone of the person who looks."""
    return timezone.localdate(timezone=timezone.get_default_timezone())


def figures(portal: Portal, since: datetime, until: datetime | None = None) -> Figures:
    """What happened in a period. Spending is counted by whole days."""
    made = _made(portal, since, until)
    counted = made.aggregate(
        all=Count("pk"),
        automatic=Count("pk", filter=~BY_PERSON),
        taken=Count("pk", filter=BY_PERSON & TAKEN),
        unedited=Count("pk", filter=BY_PERSON & TAKEN & UNEDITED & Q(rating__gte=0)),
    )
    rows = Spending.objects.filter(portal=portal, day__gte=_spent_on(since))
    if until is not None:
        rows = rows.filter(day__lt=_spent_on(until))
    return Figures(
        suggestions=counted["all"],
        automatic=counted["automatic"],
        taken=counted["taken"],
        unedited=counted["unedited"],
        wait_seconds=_median_wait(made),
        cost=money(rows),
        tokens=_tokens(rows),
    )


def _spent_on(midnight: datetime) -> date:
    """The day of spending that a day of the person who looks is shown with: that of the same date,
    or the host's newest while his own date is ahead of it."""
    return min(timezone.localdate(midnight), spending_day())


def _made(portal: Portal, since: datetime, until: datetime | None) -> QuerySet[Suggestion]:
    made = Suggestion.objects.filter(portal=portal, created_at__gte=since)
    return made.filter(created_at__lt=until) if until else made


def _median_wait(made: QuerySet[Suggestion]) -> float | None:
    pairs = made.filter(run__trigger="message", run__heard_at__isnull=False).order_by("-id")
    waits = [
        (ready - heard).total_seconds()
        for ready, heard in pairs.values_list("created_at", "run__heard_at")[:MEDIAN_OF]
        if heard is not None
    ]
    return median(waits) if waits else None


def money(rows: QuerySet[Spending]) -> dict[str, float]:
    """Currency → sum, the largest first."""
    sums = rows.values("currency").annotate(sum=Sum("cost")).order_by("-sum")
    return {row["currency"]: row["sum"] for row in sums if row["sum"]}


def _tokens(rows: QuerySet[Spending]) -> int:
    sums = rows.aggregate(a=Sum("prompt_tokens"), b=Sum("completion_tokens"))
    return int(sums["a"] or 0) + int(sums["b"] or 0)


def start_of_day(day: date) -> datetime:
    """Midnight in the active zone."""
    return timezone.make_aware(datetime.combine(day, time.min))


def days_back(count: int) -> list[date]:
    today = timezone.localdate()
    return [today - timedelta(days=back) for back in range(count - 1, -1, -1)]


def by_day(portal: Portal, count: int = 14) -> list[Day]:
    """What became of each day's suggestions, in the active zone; days without any are there."""
    days = days_back(count)
    rows = (
        _made(portal, start_of_day(days[0]), None)
        .annotate(on=TruncDate("created_at"))
        .values("on")
        .annotate(
            automatic=Count("pk", filter=~BY_PERSON),
            unedited=Count("pk", filter=BY_PERSON & TAKEN & UNEDITED),
            edited=Count("pk", filter=BY_PERSON & TAKEN & ~UNEDITED),
            unused=Count("pk", filter=BY_PERSON & ~TAKEN),
        )
        .order_by("on")
    )
    found = {row["on"]: Day(**row) for row in rows}
    return [found.get(day, Day(on=day)) for day in days]


def spent_by(rows: QuerySet[Spending], column: str) -> list[Spent]:
    """Spending grouped by a column, the dearest first."""
    groups = (
        rows.values(column, "currency")
        .annotate(
            n=Sum("calls"), a=Sum("prompt_tokens"), b=Sum("completion_tokens"), money=Sum("cost")
        )
        .order_by("-money", "-a")
    )
    return [
        Spent(
            name=str(row[column]),
            calls=row["n"],
            prompt_tokens=row["a"],
            completion_tokens=row["b"],
            cost=row["money"],
            currency=row["currency"],
        )
        for row in groups
    ]


@dataclass(frozen=True)
class Problem:
    """Something went wrong lately: a reason code with its detail, and where to look."""

    at: datetime
    kind: str
    code: str
    detail: str = ""
    run_id: int | None = None


def problems(portal: Portal, limit: int = 5) -> list[Problem]:
    """The newest failed runs, acts and dialogs of the last three days."""
    since = timezone.now() - timedelta(days=3)
    found: list[Problem] = []
    runs = Run.objects.filter(portal=portal, state=Run.State.FAILED, started_at__gte=since)
    for run in runs.order_by("-started_at")[:limit]:
        found.append(Problem(run.started_at, "run", run.reason, run.reason_detail, run.pk))
    acts = broken_deliveries(portal).filter(created_at__gte=since)
    for act in acts.order_by("-created_at")[:limit]:
        found.append(Problem(act.created_at, "delivery", act.problem_code, act.problem, act.run_id))
    for dialog in stuck_dialogs(portal).order_by("-quarantined_at")[:limit]:
        found.append(Problem(_moment(dialog.quarantined_at), "dialog", "", dialog.problem))
    return sorted(found, key=lambda one: one.at, reverse=True)[:limit]


def _moment(at: Any) -> datetime:
    return at if isinstance(at, datetime) else timezone.now()


def broken_deliveries(portal: Portal) -> QuerySet[Delivery]:
    """Acts that the portal refused, or whose outcome nobody knows."""
    return Delivery.objects.filter(
        portal=portal, state__in=(Delivery.State.FAILED, Delivery.State.UNSURE)
    )


def stuck_dialogs(portal: Portal) -> QuerySet[Dialog]:
    return Dialog.objects.filter(portal=portal, quarantined_at__isnull=False)


def in_quarantine(portal: Portal) -> int:
    return broken_deliveries(portal).count() + stuck_dialogs(portal).count()
