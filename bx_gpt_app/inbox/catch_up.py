"""The safety net under events: the platform sends each once and never again.

Dialogs that were alive lately are read by their history; what we did not hear is heard now, under
the same key an event would have had, so that a late event changes nothing.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from django.tasks import task
from django.utils import timezone

from bx_gpt_app.assistant.models import Dialog
from bx_gpt_app.flow import Chat, ChatMessage
from bx_gpt_app.inbox.receive import keep
from bx_gpt_app.portals.clients import client_for, lose_access
from bx_gpt_app.portals.models import Portal
from integrations.bitrix24.client import BATCH_SIZE
from integrations.bitrix24.errors import AccessLost, Bitrix24Error
from integrations.bitrix24.limiter import Priority
from integrations.bitrix24.openlines import History, history_command, parse_history
from integrations.llm.values import Author

logger = logging.getLogger(__name__)

ALIVE = timedelta(hours=24)
DIALOGS_PER_PORTAL = 100


@task(queue_name="background")
def catch_up_everywhere() -> None:
    """Every ten minutes: portals that heard something lately are asked for what was missed."""
    since = timezone.now() - ALIVE
    portals = Portal.objects.filter(
        state=Portal.State.ACTIVE, paused=False, last_event_at__gt=since
    )
    for portal_id in portals.values_list("pk", flat=True):
        catch_up.enqueue(portal_id)


@task(queue_name="background")
def catch_up(portal_id: int) -> int:
    """Read the sessions of one portal's living dialogs; returns how many messages were missed."""
    portal = Portal.objects.select_related("registration").filter(pk=portal_id).first()
    if portal is None or not portal.works:
        return 0
    dialogs = {
        str(dialog.pk): dialog
        for dialog in Dialog.objects.filter(
            portal=portal,
            kind=Dialog.Kind.CHAT,
            session_id__isnull=False,
            last_message_at__gt=timezone.now() - ALIVE,
        )
        .exclude(owner=Dialog.Owner.CLOSED)
        .order_by("-last_message_at")[:DIALOGS_PER_PORTAL]
    }
    missed = 0
    try:
        client = client_for(portal)
        keys = list(dialogs)
        for start in range(0, len(keys), BATCH_SIZE):
            reply = client.batch(
                {
                    key: history_command(session_id=dialogs[key].session_id)
                    for key in keys[start : start + BATCH_SIZE]
                },
                priority=Priority.BACKGROUND,
                repeatable=True,
            )
            for key, value in reply.results.items():
                missed += _hear_missed(
                    portal, dialogs[key], parse_history(value, bot_id=portal.bot_id)
                )
    except AccessLost as error:
        lose_access(portal, error)
    except Bitrix24Error as error:
        logger.info("not caught up", extra={"portal": portal.pk, "code": error.code})
    if missed:
        logger.warning("events were lost and found", extra={"portal": portal.pk, "count": missed})
    return missed


def _hear_missed(portal: Portal, dialog: Dialog, history: History) -> int:
    """Messages of people that are newer than the newest we know."""
    missed = 0
    for message in history.messages:
        author = Author(message.author)
        if message.id <= dialog.newest_message_id or author not in (Author.CLIENT, Author.OPERATOR):
            continue
        heard = ChatMessage(
            message_id=message.id,
            author=author,
            author_id=message.author_id,
            author_name=message.author_name,
            text=message.text,
            files=len(message.files),
            at=message.at,
            chat=Chat(
                chat_id=dialog.chat_id,
                line_id=dialog.line_id,
                connector=dialog.connector,
                entity_id=dialog.entity_id,
                session_id=history.session_id,
                items=tuple(str(ref) for ref in history.crm),
            ),
        )
        if keep(portal, heard, f"bot-message:{portal.bot_id}:{message.id}"):
            missed += 1
    return missed
