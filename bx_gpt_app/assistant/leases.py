"""Who works on a dialog now: leases with one conditional update, kept alive by one thread per
process.

A lease is LEASE_SECONDS long and extended every EXTEND_SECONDS, so the dialogs of a dead worker go
on soon. Every write of a worker carries its token (`Lease.write`): a worker that was frozen and
woke up finds that nothing is its own any more and stops.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Count, Exists, F, OuterRef, Q
from django.db.models.functions import Now
from django.utils import timezone

from bx_gpt_app.assistant.models import Delivery, Dialog, Event, Run
from bx_gpt_app.portals.models import Portal

logger = logging.getLogger(__name__)

LEASE_SECONDS = 10
EXTEND_SECONDS = 3


class LeaseLost(Exception):
    """Somebody else works on this dialog now: write nothing more."""


def database_now() -> Any:
    """The one clock that all machines share: PostgreSQL's own; on SQLite there is one machine."""
    return Now() if connection.vendor == "postgresql" else timezone.now()


@dataclass(frozen=True)
class Lease:
    dialog_id: int
    portal_id: int
    token: str
    taken_at: datetime = field(default_factory=timezone.now)

    def write(self, **values: Any) -> None:
        """Update the dialog's row if it is still ours. Raises: LeaseLost."""
        if not self._mine().update(**values):
            raise LeaseLost

    def hold(self) -> None:
        """Inside a transaction: make sure that what follows is written by the holder only.

        Raises: LeaseLost.
        """
        self.write(rev=F("rev"))

    def release(self, due_at: datetime | None) -> datetime | None:
        """Give the dialog back and say when it is due. A lost lease has nothing to give.

        What was heard since our last look makes it due now: its own wake-up may have come while we
        held the lease. The row is locked before that look, so no event slips between the two.
        """
        with transaction.atomic():
            if not self._mine().select_for_update().exists():
                return None
            if Event.objects.filter(dialog_id=self.dialog_id, done_at__isnull=True).exists():
                due_at = timezone.now()
            due_at = min(filter(None, [due_at, *self._asked_meanwhile()]), default=None)
            self._mine().update(leased_until=None, lease="", due_at=due_at)
        return due_at

    def _asked_meanwhile(self) -> list[datetime]:
        """When an operator's act or wish is due that was written down while we held the lease."""
        own = {"dialog_id": self.dialog_id}
        acts = Delivery.objects.filter(
            **own, state__in=Delivery.OPEN, created_at__gte=self.taken_at
        )
        wishes = Run.objects.filter(
            **own, trigger__in=Run.ASKED, state=Run.State.THINKING, started_at__gte=self.taken_at
        )
        return [
            *acts.values_list("not_before", flat=True),
            *wishes.values_list("started_at", flat=True),
        ]

    def _mine(self) -> Any:
        return Dialog.objects.filter(pk=self.dialog_id, lease=self.token)


def take(dialog_id: int) -> Lease | None:
    """The lease of a dialog that is due, unleased, and whose portal has a free lane; else None."""
    now = database_now()
    dialog = (
        Dialog.objects.filter(_of_working_portals(), pk=dialog_id, due_at__lte=now)
        .filter(_free(now))
        .only("portal_id")
        .first()
    )
    if dialog is None or lanes_taken(dialog.portal_id) >= settings.PORTAL_LANES:
        return None
    token = uuid.uuid4().hex
    won = (
        Dialog.objects.filter(pk=dialog_id, due_at__lte=now)
        .filter(_free(now))
        .update(leased_until=now + timedelta(seconds=LEASE_SECONDS), lease=token)
    )
    return Lease(dialog_id, dialog.portal_id, token) if won else None


def lanes_taken(portal_id: int) -> int:
    return Dialog.objects.filter(portal_id=portal_id, leased_until__gt=database_now()).count()


def next_due(portal_id: int) -> int | None:
    """The portal's longest-waiting dialog that nobody works on."""
    now = database_now()
    found: int | None = (
        Dialog.objects.filter(_of_working_portals(), portal_id=portal_id, due_at__lte=now)
        .filter(_free(now))
        .order_by("due_at")
        .values_list("pk", flat=True)
        .first()
    )
    return found


def due_everywhere(limit: int) -> list[int]:
    """What the sweeper wakes: due and unleased dialogs of working portals, one for a free lane.

    A lane goes on with its portal's next dialog by itself; waking all of them again at every sweep
    would fill the queue with wake-ups for nothing just when there is most to do.
    """
    now = database_now()
    in_work = Dialog.objects.filter(leased_until__gt=now).values_list("portal_id")
    taken: dict[int, int] = dict(in_work.annotate(lanes=Count("pk")).order_by())
    full = [portal_id for portal_id, lanes in taken.items() if lanes >= settings.PORTAL_LANES]
    due = (
        Dialog.objects.filter(_of_working_portals(), due_at__lte=now)
        .filter(_free(now))
        .exclude(portal_id__in=full)
        .order_by("due_at")
        .values_list("pk", "portal_id")[:limit]
    )
    chosen = []
    for dialog_id, portal_id in due:
        taken[portal_id] = taken.get(portal_id, 0) + 1
        if taken[portal_id] <= settings.PORTAL_LANES:
            chosen.append(dialog_id)
    return chosen


def repair(limit: int = 500) -> int:
    """Dialogs that hold unread events or open deliveries but are due never: make them due now.

    It cannot happen by the code as it is; a row that says otherwise must not wait for ever.
    """
    stale = database_now() - timedelta(seconds=30)
    pending = Event.objects.filter(
        dialog=OuterRef("pk"), done_at__isnull=True, received_at__lt=stale
    )
    open_acts = Delivery.objects.filter(
        dialog=OuterRef("pk"), state__in=Delivery.OPEN, created_at__lt=stale
    )
    forgotten = (
        Dialog.objects.filter(due_at__isnull=True, quarantined_at__isnull=True)
        .filter(Exists(pending) | Exists(open_acts))
        .values_list("pk", flat=True)[:limit]
    )
    return Dialog.objects.filter(pk__in=list(forgotten)).update(due_at=database_now())


def _of_working_portals() -> Q:
    return Q(quarantined_at__isnull=True, portal__state=Portal.State.ACTIVE, portal__paused=False)


def _free(now: Any) -> Q:
    return Q(leased_until__isnull=True) | Q(leased_until__lt=now)


class _Keeper:
    """One thread that extends every lease this process holds."""

    def __init__(self) -> None:
        self._held: dict[str, Lease] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @contextmanager
    def holding(self, lease: Lease) -> Iterator[None]:
        with self._lock:
            self._held[lease.token] = lease
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="leases", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                self._held.pop(lease.token, None)

    def _run(self) -> None:
        while True:
            time.sleep(EXTEND_SECONDS)
            with self._lock:
                leases = list(self._held.values())
                if not leases:
                    self._thread = None
                    return
            try:
                self._extend(leases)
            except Exception:
                logger.warning("leases not extended", exc_info=True)
            finally:
                connection.close()

    @staticmethod
    def _extend(leases: list[Lease]) -> None:
        until = database_now() + timedelta(seconds=LEASE_SECONDS)
        with transaction.atomic():
            Dialog.objects.filter(lease__in=[lease.token for lease in leases]).update(
                leased_until=until
            )


keeper = _Keeper()
