"""Fetching a bot's events instead of being sent them, for portals whose admin chose so.

The portal keeps the events for a day and deletes those before the number that we ask from. So they
are stored first and confirmed by the next look: a process that dies in between hears them again,
under the same keys. One process polls a portal at a time; two would change nothing but the cost.

A task of some seconds serves all due portals of a process in one loop: a task for each look would
cost more than the look.
Source: imbot.v2/events/event-get.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import datetime, timedelta
from typing import Any

from django.db import InterfaceError, OperationalError
from django.db.models import Q
from django.tasks import task
from django.utils import timezone

from bx_gpt_app.assistant.leases import database_now
from bx_gpt_app.common.database import give_back_connection
from bx_gpt_app.inbox import metrics
from bx_gpt_app.inbox.catch_up import catch_up
from bx_gpt_app.inbox.models import Hearing
from bx_gpt_app.inbox.receive import hear
from bx_gpt_app.portals.bindings import mode_in_force
from bx_gpt_app.portals.clients import client_for, lose_access, note_failure, note_success
from bx_gpt_app.portals.models import Portal
from bx_gpt_app.portals.tasks import rebind
from integrations.bitrix24.bots import V2Bots
from integrations.bitrix24.errors import AccessLost, Bitrix24Error, LimitExceeded, Unavailable
from integrations.bitrix24.events import EventAuth, parse_fetched

logger = logging.getLogger(__name__)

LIVE_SECONDS = 5
IDLE_SECONDS = 20
"""Between two looks, while clients write and else. The platform asks for 5 to 30."""
LIVE_FOR = timedelta(minutes=10)
MORE_SECONDS = 2
"""The least time between two looks, when the queue holds more than one answer does."""
PAGE = 100
RETRY_SECONDS = (10, 20, 40, 80, 160, 300)
REBIND_EVERY = len(RETRY_SECONDS)
STEADY = timedelta(minutes=2)
"""A queue that was emptied so lately held nothing old."""

ROUND_SECONDS = 5.0
"""A worker that is told to stop waits for the end of a round."""
AHEAD = timedelta(seconds=10)
"""As long as the schedule's interval: what nobody claims now is not due before it comes again."""
CLAIM = timedelta(seconds=45)
"""Longer than a round and the slowest answer after it; a dead process's portals wait as long."""
PORTALS_PER_ROUND = 200
AT_ONCE = 16
TICK_SECONDS = 0.1
LAST_PAGES = 10

UNAVAILABLE, TOO_FAST, OUR_FAULT = "unavailable", "limit", "our_fault"
"""Problems without a code of the portal's."""


@task()
def fetch_everywhere(seconds: float = ROUND_SECONDS) -> int:
    """Look into all queues that nobody looks after, for some seconds; then the next round begins.

    The schedule starts it again where it stopped with its process.
    """
    mine = claim()
    if len(mine) == PORTALS_PER_ROUND:
        fetch_everywhere.enqueue()  # the others', on another thread or machine
    if mine:
        _serve(mine, timezone.now() + timedelta(seconds=seconds))
        fetch_everywhere.enqueue()
    return len(mine)


def claim() -> list[Hearing]:
    """The portals whose queues are due soon and that are free: ours now."""
    now, token = database_now(), uuid.uuid4().hex
    free = Q(busy_until__isnull=True) | Q(busy_until__lt=now)
    due = Hearing.objects.filter(
        free,
        fetching=True,
        due_at__lte=now + AHEAD,
        portal__state=Portal.State.ACTIVE,
        portal__paused=False,
        portal__bot_id__isnull=False,
    ).order_by("due_at")
    wanted = list(due.values_list("pk", flat=True)[:PORTALS_PER_ROUND])
    if not wanted:
        return []
    Hearing.objects.filter(free, pk__in=wanted).update(busy_until=now + CLAIM, busy_with=token)
    return list(Hearing.objects.filter(busy_with=token).select_related("portal__registration"))


def release(hearings: list[Hearing]) -> None:
    """Write down how far we are and let others go on; what is no longer ours stays as it is."""
    for token in {one.busy_with for one in hearings}:
        mine = [one for one in hearings if one.busy_with == token]
        for one in mine:
            one.busy_until, one.busy_with = None, ""
        Hearing.objects.filter(busy_with=token).bulk_update(
            mine,
            ["due_at", "emptied_at", "heard_at", "failures", "problem", "busy_until", "busy_with"],
        )


def _serve(hearings: list[Hearing], end: datetime) -> None:
    """Look into each queue when it is due, some at once; a slow portal holds nobody up."""
    waiting, looking = hearings, set[Future[Hearing]]()
    give_back_connection(for_long=True)
    with ThreadPoolExecutor(min(AT_ONCE, len(hearings)), "fetch") as pool:
        while waiting or looking:
            now = timezone.now()
            waiting.sort(key=lambda one: one.due_at)
            while waiting and len(looking) < AT_ONCE and waiting[0].due_at <= min(now, end):
                looking.add(pool.submit(_look_in_thread, waiting.pop(0)))
            if now >= end:
                release(waiting)
                waiting = []
            if looking:
                done, looking = wait(looking, TICK_SECONDS, FIRST_COMPLETED)
                waiting += [future.result() for future in done]
            else:
                time.sleep(TICK_SECONDS)


def _look_in_thread(hearing: Hearing) -> Hearing:
    try:
        look(hearing)
    finally:
        give_back_connection(for_long=True)
    return hearing


def look(hearing: Hearing) -> bool:
    """One look into a portal's queue; says on the row when the next is due. True: there is more."""
    portal, result, is_more = hearing.portal, "ok", False
    try:
        is_more = _take_out(hearing)
        hearing.failures, hearing.problem = 0, ""
        is_live = hearing.heard_at and timezone.now() - hearing.heard_at < LIVE_FOR
        pause: float = MORE_SECONDS if is_more else LIVE_SECONDS if is_live else IDLE_SECONDS
        if portal.down_since:
            note_success(portal)
    except AccessLost as error:
        lose_access(portal, error)
        result, pause = "access_lost", _failed(hearing, error.code or "access_lost")
    except LimitExceeded as error:
        result, pause = TOO_FAST, max(_failed(hearing, TOO_FAST), error.retry_in or 0)
    except Unavailable as error:
        result, pause = UNAVAILABLE, max(_failed(hearing, UNAVAILABLE), error.retry_in or 0)
        note_failure(portal, error, down=True)
    except Bitrix24Error as error:
        result, pause = "refused", _failed(hearing, error.code or "refused")
        if error.code.upper() == "BOT_NOT_FOUND" and hearing.failures % REBIND_EVERY == 1:
            rebind.enqueue(portal.pk)
        logger.warning("queue refused", extra={"portal": portal.pk, "code": error.code})
    except Exception:
        result, pause = OUR_FAULT, _failed(hearing, OUR_FAULT)
        logger.exception("queue not read", extra={"portal": portal.pk})
    hearing.due_at = timezone.now() + timedelta(seconds=pause)
    metrics.queue_fetches.labels(result=result).inc()
    return is_more


def _failed(hearing: Hearing, problem: str) -> float:
    hearing.failures, hearing.problem = min(hearing.failures + 1, 1000), problem[:60]
    return RETRY_SECONDS[min(hearing.failures, len(RETRY_SECONDS)) - 1]


def _take_out(hearing: Hearing) -> bool:
    """Store what the queue holds and note from where to go on. Raises: Bitrix24Error."""
    portal = hearing.portal
    if portal.bot_id is None:
        return False
    began = timezone.now()
    is_late = hearing.emptied_at is None or began - hearing.emptied_at > STEADY
    offset = hearing.next_offset if hearing.bot_id == portal.bot_id else None
    fetched = V2Bots(client_for(portal)).fetch(portal.bot_id, offset, limit=PAGE)
    for event in fetched.events:
        _hear_one(portal, event, is_late=is_late)
    told = fetched.next_offset or offset
    if (told, portal.bot_id) != (hearing.next_offset, hearing.bot_id):
        hearing.next_offset, hearing.bot_id = told, portal.bot_id
        Hearing.objects.filter(pk=hearing.pk, busy_with=hearing.busy_with).update(
            next_offset=told, bot_id=portal.bot_id
        )
    if fetched.events:
        hearing.heard_at = began
    if not fetched.has_more:
        hearing.emptied_at = began
    return fetched.has_more


def _hear_one(portal: Portal, event: Mapping[str, Any], *, is_late: bool) -> None:
    """An event that we stumble over is left out, or those behind it would never come."""
    try:
        incoming = parse_fetched(event, EventAuth(member_id=portal.member_id))
        hear(portal, incoming, late=is_late)
    except (OperationalError, InterfaceError):
        raise  # the database's trouble, not the event's: it is fetched again
    except Exception:
        logger.exception("event left out", extra={"portal": portal.pk})
        metrics.events_dropped.labels(reason="unreadable").inc()


# ---- switching ----


def before_binding(portal: Portal) -> None:
    """Look into the queue from before the bot fills it, and empty it before nobody looks."""
    hearing, _created = Hearing.objects.get_or_create(portal=portal)
    if hearing.fetching and not portal.fetches_events:
        _empty(portal)
    elif portal.fetches_events and not hearing.fetching:
        Hearing.objects.update_or_create(
            portal=portal,
            defaults={
                "fetching": True,
                "due_at": timezone.now(),
                "next_offset": None,
                "emptied_at": None,
                "problem": "",
                "failures": 0,
                "busy_until": None,
                "busy_with": "",
            },
        )


def after_binding(portal: Portal) -> None:
    """The bot is registered: what came while its mode changed is heard too."""
    hearing = Hearing.objects.get(portal=portal)
    if hearing.fetching and mode_in_force(portal) == "webhook":
        _empty(portal)
        Hearing.objects.filter(pk=portal.pk).update(fetching=False, problem="", failures=0)
        catch_up.enqueue(portal.pk)
    elif hearing.last_activity_id is None:
        catch_up.enqueue(portal.pk)


def _empty(portal: Portal) -> None:
    """Hear what is left in the queue, beside whoever polls it: that is harmless. If the portal
    gives nothing now, the safety net is what remains."""
    hearing = Hearing.objects.select_related("portal__registration").get(portal=portal)
    for _page in range(LAST_PAGES):
        if not look(hearing):
            return
        time.sleep(MORE_SECONDS)
