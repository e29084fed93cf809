"""What arrives at the event address: verified, stored, a worker woken; nothing else happens."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from bx_gpt_app.assistant import store
from bx_gpt_app.assistant.listen import quiet_until
from bx_gpt_app.assistant.models import Dialog, Event
from bx_gpt_app.assistant.tasks import wake_at
from bx_gpt_app.flow import (
    BotJoined,
    ChatMessage,
    ItemAppeared,
    RobotRequest,
    TriggerInput,
)
from bx_gpt_app.inbox import metrics
from bx_gpt_app.portals.fields import forget_catalogue
from bx_gpt_app.portals.models import AppRegistration, Portal
from bx_gpt_app.portals.tasks import install_by_callback, leave, look_at_licence, rebind
from bx_gpt_app.triggers import understand
from integrations.bitrix24 import events
from integrations.bitrix24.events import Incoming, source_key
from integrations.llm.values import Author

logger = logging.getLogger(__name__)

SEEN_EVERY = timedelta(seconds=10)
"""How exactly the time of a portal's last event is kept: its row is not a counter."""


class UnknownSender(Exception):
    """No such portal, or the application_token is not the one of its installation."""


def receive(app: AppRegistration, incoming: Incoming) -> None:
    """Store one event and wake whoever works on it. A repeat changes nothing.

    Raises: UnknownSender (answer 403; nothing is stored).
    """
    if isinstance(incoming.payload, events.AppInstalled | events.AppUpdated):
        # Their token may be new: they are proven by their tokens at the authorization server.
        install_by_callback(app, incoming)
        return
    portal = _sender(app, incoming)
    if isinstance(incoming.payload, events.AppUninstalled):
        leave(portal, clean=incoming.payload.clean)
    else:
        hear(portal, incoming)


def hear(portal: Portal, incoming: Incoming, *, late: bool = False) -> None:
    """Whatever a portal that is known to have said it says, pushed or fetched.

    `late`: it may have waited somewhere before it came.
    """
    payload = incoming.payload
    if not portal.works:
        metrics.events_dropped.labels(reason="portal_not_working").inc()
        return
    if isinstance(payload, events.AppPayment):
        look_at_licence.enqueue(portal.pk)
    elif isinstance(payload, events.FieldsChanged):
        forget_catalogue(portal)
    elif isinstance(payload, events.BotDeleted):
        rebind.enqueue(portal.pk)
    elif isinstance(payload, events.AppTest):
        Portal.objects.filter(pk=portal.pk).update(last_event_at=timezone.now())
    else:
        heard = understand(incoming)
        if late and isinstance(heard, ChatMessage):
            heard = heard.model_copy(update={"late": True})
        if heard is not None:
            keep(portal, heard, source_key(incoming))


def _sender(app: AppRegistration, incoming: Incoming) -> Portal:
    auth = incoming.auth
    portal = Portal.objects.filter(registration=app, member_id=auth.member_id).first()
    if portal is None or not portal.is_signed_by(auth.application_token):
        metrics.events_refused.inc()
        # What an unproven request says of itself is not worth a log field.
        logger.warning("event refused: unknown portal or wrong application_token")
        raise UnknownSender
    portal.registration = app
    return portal


def keep(portal: Portal, heard: TriggerInput, key: str) -> Event | None:
    """One transaction: the event, its dialog's new due time, and the task that wakes a worker then.

    None when it was heard before, or when the line is switched off (then nothing is stored).
    """
    config, _revision = store.load(portal)
    now = timezone.now()
    if isinstance(heard, ChatMessage | BotJoined) and config.line(heard.chat.line_id).mode == "off":
        metrics.events_dropped.labels(reason="line_off").inc()
        return None
    kind, dialog_key = _address(heard, key)
    if isinstance(heard, ChatMessage) and heard.change == "delete":
        known = Dialog.objects.filter(portal=portal, kind=kind, key=dialog_key)
        if not known.exists():
            return None
    if isinstance(heard, ItemAppeared) and not config.channels.any:
        return None
    try:
        with transaction.atomic():
            dialog, due_at = _dialog_due(
                portal, kind, dialog_key, heard, now, config.reply.debounce_seconds
            )
            event = Event.objects.create(
                portal=portal,
                dialog=dialog,
                source_key=key[:160],
                kind=heard.kind,
                payload=heard.model_dump(mode="json"),
                received_at=now,
            )
            is_late = isinstance(heard, ChatMessage) and heard.late
            seen = portal.last_event_at
            if not is_late and (seen is None or now - seen > SEEN_EVERY):
                Portal.objects.filter(pk=portal.pk).update(last_event_at=now)
            wake_at(dialog.pk, due_at)
    except IntegrityError:
        metrics.events_dropped.labels(reason="heard_before").inc()
        return None
    metrics.events_received.labels(kind=heard.kind).inc()
    return event


def _address(heard: TriggerInput, key: str) -> tuple[str, str]:
    match heard:
        case ChatMessage() | BotJoined():
            return Dialog.Kind.CHAT, str(heard.chat.chat_id)
        case RobotRequest():
            return Dialog.Kind.ROBOT, key[:80]
        case ItemAppeared():
            return Dialog.Kind.ITEM, heard.item or f"activity_{heard.activity_id}"
        case _:
            return Dialog.Kind.HOOK, key[:80]


def _dialog_due(
    portal: Portal, kind: str, key: str, heard: TriggerInput, now: datetime, quiet_seconds: float
) -> tuple[Dialog, datetime]:
    """The dialog with its due time moved: after the quiet time for a client, at once for others."""
    dialog, is_new = Dialog.objects.get_or_create(
        portal=portal, kind=kind, key=key, defaults={"created_at": now, "last_message_at": now}
    )
    is_client = (
        isinstance(heard, ChatMessage) and heard.author is Author.CLIENT and heard.change == "add"
    )
    due_at = now
    if is_client:
        due_at = quiet_until(now, dialog.client_waits_since, quiet_seconds)
        # An act that waits in the outbox must not wait longer because the client writes on.
        if dialog.due_at and not dialog.client_waits_since and now < dialog.due_at < due_at:
            due_at = dialog.due_at
    values: dict[str, object] = {"due_at": due_at, "rev": F("rev") + 1}
    if is_client and dialog.client_waits_since is None:
        values["client_waits_since"] = now
    Dialog.objects.filter(pk=dialog.pk).update(**values)
    if is_new:
        dialog.refresh_from_db()
    return dialog, due_at
