"""What got stuck, and what people do with it: repeat, or close with a reason."""

from __future__ import annotations

from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from bx_gpt_app.assistant.models import Delivery, Dialog, Event, Run
from bx_gpt_app.assistant.returns import reopen_call
from bx_gpt_app.assistant.tasks import wake_at

BROKEN = (Delivery.State.FAILED, Delivery.State.UNSURE)
CLOSED = "closed_by_admin"


def retry_deliveries(deliveries: QuerySet[Delivery]) -> int:
    """Plan refused acts again under their own key; returns how many. Pressing it twice changes
    nothing."""
    return sum(_retry_delivery(delivery) for delivery in deliveries.filter(state__in=BROKEN))


def _retry_delivery(delivery: Delivery) -> bool:
    now = timezone.now()
    with transaction.atomic():
        won = Delivery.objects.filter(pk=delivery.pk, state__in=BROKEN).update(
            state=Delivery.State.PLANNED, not_before=now, problem="", problem_code=""
        )
        if won:
            _wake(delivery.dialog_id)
    return bool(won)


def close_deliveries(deliveries: QuerySet[Delivery], note: str) -> int:
    """Never to be sent; the note says why."""
    return deliveries.filter(state__in=BROKEN).update(
        state=Delivery.State.CANCELLED, problem=note[:300], problem_code=CLOSED
    )


def retry_dialogs(dialogs: QuerySet[Dialog]) -> int:
    """Let workers look at quarantined dialogs once more."""
    done = 0
    for pk in dialogs.filter(quarantined_at__isnull=False).values_list("pk", flat=True):
        with transaction.atomic():
            won = Dialog.objects.filter(pk=pk, quarantined_at__isnull=False).update(
                quarantined_at=None, attempts=0, problem=""
            )
            if won:
                reopen_call(pk)
                _wake(pk)
        done += won
    return done


def close_dialogs(dialogs: QuerySet[Dialog], note: str) -> int:
    """Give up what waits in quarantined dialogs: events, runs and acts. New messages are heard
    again."""
    done = 0
    for pk in dialogs.filter(quarantined_at__isnull=False).values_list("pk", flat=True):
        with transaction.atomic():
            done += _close_dialog(pk, note)
    return done


def _close_dialog(pk: int, note: str) -> int:
    now = timezone.now()
    won = Dialog.objects.filter(pk=pk, quarantined_at__isnull=False).update(
        quarantined_at=None,
        attempts=0,
        problem=note[:300],
        due_at=None,
        quiet_until=None,
        client_waits_since=None,
        rev=F("rev") + 1,
    )
    if won:
        Event.objects.filter(dialog_id=pk, done_at__isnull=True).update(done_at=now)
        Run.objects.filter(dialog_id=pk, state__in=(Run.State.THINKING, Run.State.ANSWERED)).update(
            state=Run.State.SUPERSEDED, reason=CLOSED, finished_at=now
        )
        Delivery.objects.filter(dialog_id=pk, state__in=Delivery.OPEN).update(
            state=Delivery.State.CANCELLED, problem=note[:300], problem_code=CLOSED
        )
    return won


def _wake(dialog_id: int) -> None:
    now = timezone.now()
    Dialog.objects.filter(pk=dialog_id).update(due_at=now, rev=F("rev") + 1)
    wake_at(dialog_id, now)
