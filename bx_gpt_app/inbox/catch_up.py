"""The safety net under events: the platform sends each once and never again.

Dialogs that were alive lately are read by their history. Sessions nobody told us of are found by
the traces they leave in the CRM. What we did not hear is heard now, under the same key an event
would have had, so that a late event changes nothing. How old a message is decides what may be done
with it: `pipeline` sends nothing by itself for one that was said too long ago.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import F
from django.tasks import task
from django.utils import timezone

from bx_gpt_app.assistant import store
from bx_gpt_app.assistant.models import Dialog
from bx_gpt_app.flow import Chat, ChatMessage
from bx_gpt_app.inbox import metrics
from bx_gpt_app.inbox.models import Hearing, Heartbeat
from bx_gpt_app.inbox.receive import keep
from bx_gpt_app.portals.bindings import missing_scopes
from bx_gpt_app.portals.clients import client_for, lose_access
from bx_gpt_app.portals.models import Portal
from integrations.bitrix24.client import BATCH_SIZE, Command, PortalClient
from integrations.bitrix24.errors import AccessLost, Bitrix24Error, CallRejected
from integrations.bitrix24.limiter import Priority
from integrations.bitrix24.openlines import (
    History,
    SessionTrace,
    history_command,
    parse_history,
    parse_session_traces,
    session_traces_command,
)
from integrations.llm.values import Author

logger = logging.getLogger(__name__)

ALIVE = timedelta(hours=24)
"""What was said before that is not looked for any more."""
DIALOGS_PER_PORTAL = 100
MESSAGES_AT_ONCE = 100
TRACES_PER_PAGE = 50
NEXT_PAGE_AFTER = timedelta(seconds=20)

GAP = timedelta(minutes=1)
APART_SECONDS = 0.5
ROUND_SECONDS = 300.0
"""The portals of a round begin so far apart from each other, and all of them within this time."""


@task(priority=10)
def heartbeat() -> bool:
    """Every 20 seconds. When nobody lived for longer than a minute, all portals are caught up now.

    Returns whether there was such a gap.
    """
    now = timezone.now()
    with transaction.atomic():
        last = Heartbeat.objects.select_for_update().order_by("pk").first()
        if last is None:
            Heartbeat.objects.get_or_create(pk=1, defaults={"at": now})
            return False
        gap, last.at = now - last.at, now
        last.save(update_fields=["at"])
        if gap > GAP:
            catch_up_everywhere.call()
    if gap > GAP:
        logger.warning("nobody listened", extra={"seconds": round(gap.total_seconds())})
    return gap > GAP


@task(queue_name="background")
def catch_up_everywhere() -> None:
    """Every ten minutes, and after a gap: all working portals, the liveliest first."""
    working = Portal.objects.filter(state=Portal.State.ACTIVE, paused=False)
    portals = list(
        working.order_by(F("last_event_at").desc(nulls_last=True)).values_list("pk", flat=True)
    )
    apart = min(APART_SECONDS, ROUND_SECONDS / max(len(portals), 1))
    now = timezone.now()
    with transaction.atomic():
        for position, portal_id in enumerate(portals):
            at = now + timedelta(seconds=position * apart) if position else None
            catch_up.using(run_after=at).enqueue(portal_id)


@task(queue_name="background")
def catch_up(portal_id: int) -> int:
    """Listen to one portal again; returns how many messages were missed."""
    portal = Portal.objects.select_related("registration").filter(pk=portal_id).first()
    if portal is None or not portal.works:
        return 0
    missed = 0
    try:
        missed = _listen_again(portal, client_for(portal))
    except AccessLost as error:
        lose_access(portal, error)
    except Bitrix24Error as error:
        logger.info("not caught up", extra={"portal": portal.pk, "code": error.code})
    return missed


def _listen_again(portal: Portal, client: PortalClient) -> int:
    """One request where nothing happened; one more for sessions that nobody told us of."""
    hearing, _created = Hearing.objects.get_or_create(portal=portal)
    dialogs = {str(dialog.pk): dialog for dialog in _living(portal)}
    commands = {key: history_command(session_id=one.session_id) for key, one in dialogs.items()}
    if "crm" not in missing_scopes(portal):
        commands = {"traces": session_traces_command(_looked_up_to(hearing)), **commands}
    results = _read(client, commands)
    missed, sessions = 0, set[int]()
    for key, dialog in dialogs.items():
        if key in results:
            history = parse_history(results[key], bot_id=portal.bot_id)
            missed += _hear(portal, history, dialog)
            if history.latest_session_id and history.latest_session_id != dialog.session_id:
                sessions.add(history.latest_session_id)  # the client came back
    traces = parse_session_traces(results.get("traces"))
    sessions |= _unheard_of(portal, hearing, traces)
    histories = _read(client, {str(one): history_command(session_id=one) for one in sessions})
    for session_id in sorted(histories, key=int):
        history = parse_history(histories[session_id], bot_id=portal.bot_id)
        if history.latest_session_id == int(session_id):
            missed += _hear(portal, history)
    if "traces" in results:
        _looked(hearing, traces)
    if missed:
        metrics.events_found.inc(missed)
        logger.warning("events were lost and found", extra={"portal": portal.pk, "count": missed})
    return missed


def _read(client: PortalClient, commands: Mapping[str, Command]) -> dict[str, Any]:
    """What a portal refuses (no CRM, a chat that is hidden from us) is left out."""
    results: dict[str, Any] = {}
    keys = list(commands)
    for start in range(0, len(keys), BATCH_SIZE):
        part = {key: commands[key] for key in keys[start : start + BATCH_SIZE]}
        reply = client.batch(part, priority=Priority.BACKGROUND, repeatable=True)
        for error in reply.errors.values():
            if not isinstance(error, CallRejected):
                raise error
        results |= reply.results
    return results


# ---- dialogs that we know ----


def _living(portal: Portal) -> Iterable[Dialog]:
    return (
        Dialog.objects.filter(
            portal=portal,
            kind=Dialog.Kind.CHAT,
            session_id__isnull=False,
            last_message_at__gt=timezone.now() - ALIVE,
        )
        .exclude(owner=Dialog.Owner.CLOSED)
        .order_by("-last_message_at")[:DIALOGS_PER_PORTAL]
    )


# ---- sessions that we do not know ----


def _looked_up_to(hearing: Hearing) -> int | None:
    """None: the newest page is asked for, because we never looked or have been away for long."""
    is_fresh = hearing.looked_at and hearing.looked_at > timezone.now() - ALIVE
    return hearing.last_activity_id if is_fresh else None


def _unheard_of(portal: Portal, hearing: Hearing, traces: Iterable[SessionTrace]) -> set[int]:
    """Sessions in which somebody may wait. A portal's first look only finds out where it stands:
    what went on before the installation is not ours."""
    if hearing.last_activity_id is None:
        return set()
    config, _revision = store.load(portal)
    waiting = {
        one.session_id
        for one in traces
        if one.activity_id > hearing.last_activity_id
        and not one.done
        and config.line(one.line_id).mode != "off"
    }
    known = Dialog.objects.filter(
        portal=portal, kind=Dialog.Kind.CHAT, session_id__in=waiting
    ).values_list("session_id", flat=True)
    return waiting - set(known)


def _looked(hearing: Hearing, traces: tuple[SessionTrace, ...]) -> None:
    """Remember how far we are; a full page has a next one, which is read soon."""
    was_fresh = _looked_up_to(hearing) is not None
    newest = max([hearing.last_activity_id or 0, *(one.activity_id for one in traces)])
    Hearing.objects.filter(pk=hearing.pk).update(last_activity_id=newest, looked_at=timezone.now())
    if was_fresh and len(traces) >= TRACES_PER_PAGE:
        soon = timezone.now() + NEXT_PAGE_AFTER
        catch_up.using(run_after=soon).enqueue(hearing.portal_id)


# ---- heard now ----


def _hear(portal: Portal, history: History, dialog: Dialog | None = None) -> int:
    """Messages of people that are newer than the newest we know, in one transaction: nobody works
    on half of what was said."""
    chats = Dialog.objects.filter(portal=portal, kind=Dialog.Kind.CHAT)
    dialog = dialog or chats.filter(key=str(history.chat_id)).first()
    chat = _chat(portal, history, dialog)
    newest = dialog.newest_message_id if dialog else 0
    if chat is None:
        return 0
    since = timezone.now() - ALIVE
    said = [
        one
        for one in history.messages
        if one.id > newest
        and one.at > since
        and Author(one.author) in (Author.CLIENT, Author.OPERATOR)
    ]
    missed = 0
    with transaction.atomic():
        for message in said[-MESSAGES_AT_ONCE:]:
            heard = ChatMessage(
                message_id=message.id,
                author=Author(message.author),
                author_id=message.author_id,
                author_name=message.author_name,
                text=message.text,
                files=len(message.files),
                at=message.at,
                late=True,
                chat=chat,
            )
            missed += keep(portal, heard, f"bot-message:{portal.bot_id}:{message.id}") is not None
    return missed


def _chat(portal: Portal, history: History, dialog: Dialog | None) -> Chat | None:
    """None when nobody can say which chat it is."""
    chat_id = dialog.chat_id if dialog else history.chat_id
    line_id = history.line.line_id if history.line else dialog and dialog.line_id
    if not chat_id or not line_id:
        return None
    return Chat(
        chat_id=chat_id,
        line_id=line_id,
        connector=history.line.connector if history.line else "",
        entity_id=history.line.entity_id if history.line else "",
        session_id=history.session_id,
        items=tuple(str(ref) for ref in history.crm),
        blocked=history.blocked,
        with_people=not history.is_held_by(portal.bot_id),
    )
