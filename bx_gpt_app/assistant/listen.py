"""From what was heard to what is known: stored events become messages, owners and CRM bindings.

Each step is repeatable: an event that was digested twice changes nothing the second time.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from bx_gpt_app.assistant.config import PortalConfig
from bx_gpt_app.assistant.leases import Lease
from bx_gpt_app.assistant.models import Dialog, Event, Message, Suggestion
from bx_gpt_app.flow import (
    BotJoined,
    Chat,
    ChatMessage,
    HookRequest,
    ItemAppeared,
    RobotRequest,
    trigger_input,
)
from integrations.llm.language import detect_language
from integrations.llm.values import Author

BURST_FACTOR = 4
"""The quiet time of a client who goes on writing is stretched up to this many times, not further.
"""

QUOTED_MESSAGES = 20

SAYING = (Author.CLIENT, Author.OPERATOR, Author.BOT)
"""Whose messages are part of the conversation: notes of the system and whispers answer nobody."""

CLOCKS_APART = timedelta(minutes=5)
"""An event is sent as things happen: when its time is further from ours, the portal's clock is
wrong."""

HANDS_OVER = "0"
"""A client's message of exactly this makes the portal itself call the operators
(tutorials/chat-bots/open-lines-bot)."""


def quiet_until(now: datetime, waits_since: datetime | None, quiet_seconds: float) -> datetime:
    """When to answer: quiet time after the last message, capped from the first unanswered one."""
    calm = now + timedelta(seconds=quiet_seconds)
    if waits_since is None:
        return calm
    return max(now, min(calm, waits_since + timedelta(seconds=quiet_seconds * BURST_FACTOR)))


def listen(dialog: Dialog, lease: Lease, config: PortalConfig) -> int:
    """Digest everything heard in this dialog so far; returns how many events there were."""
    with transaction.atomic():
        lease.hold()
        events = list(Event.objects.filter(dialog=dialog, done_at__isnull=True).order_by("id"))
        if not events:
            return 0
        dialog.refresh_from_db()
        for event in events:
            _digest(dialog, event, config)
        dialog.rev += 1  # the row is locked by `hold`
        dialog.save()
        Event.objects.filter(pk__in=[event.pk for event in events]).update(done_at=timezone.now())
    return len(events)


def has_news(dialog: Dialog) -> bool:
    """Was something heard that is not digested yet? The question before every act."""
    return Event.objects.filter(dialog_id=dialog.pk, done_at__isnull=True).exists()


def unread_authors(dialog: Dialog) -> set[str]:
    """Who was heard and not digested yet; "" stands for what is no message of a chat."""
    unread = Event.objects.filter(dialog_id=dialog.pk, done_at__isnull=True)
    return {payload.get("author", "") for payload in unread.values_list("payload", flat=True)}


def _digest(dialog: Dialog, event: Event, config: PortalConfig) -> None:
    heard = trigger_input.validate_python(event.payload)
    match heard:
        case ChatMessage():
            _chat_message(dialog, heard, event.received_at, config)
        case BotJoined():
            _look_at_chat(dialog, heard.chat)
        case HookRequest() | RobotRequest():
            dialog.items = [heard.item] if heard.item else dialog.items
            if isinstance(heard, HookRequest) and heard.dialog_id:
                _quote_chat(dialog, heard.dialog_id)
            if heard.text:
                _client_text(dialog, heard.text, event.received_at)
            dialog.quiet_until = event.received_at
            dialog.client_waits_since = dialog.client_waits_since or event.received_at
        case ItemAppeared():
            dialog.items = [heard.item] if heard.item else dialog.items
            dialog.quiet_until = event.received_at
            dialog.client_waits_since = dialog.client_waits_since or event.received_at


def _chat_message(dialog: Dialog, heard: ChatMessage, at: datetime, config: PortalConfig) -> None:
    _look_at_chat(dialog, heard.chat)
    if heard.change != "add":
        _corrected(dialog, heard)
        return
    _row, is_new = Message.objects.get_or_create(
        dialog=dialog,
        external_id=heard.message_id,
        defaults={
            "author": heard.author,
            "author_id": heard.author_id,
            "author_name": heard.author_name[:160],
            "text": heard.text,
            "files": heard.files,
            "at": _said_at(heard, at),
        },
    )
    if not is_new:
        return
    if heard.author in SAYING:
        dialog.newest_message_id = max(dialog.newest_message_id, heard.message_id)
    dialog.last_message_at = at
    match heard.author:
        case Author.CLIENT:
            _client_wrote(dialog, heard, at, config)
        case Author.OPERATOR:
            operator_took_over(dialog, heard.author_name)


def _said_at(heard: ChatMessage, received_at: datetime) -> datetime:
    if heard.at is None:
        return received_at
    is_off = abs(received_at - heard.at) > CLOCKS_APART
    return received_at if is_off and not heard.late else heard.at


def _client_wrote(dialog: Dialog, heard: ChatMessage, at: datetime, config: PortalConfig) -> None:
    dialog.client_name = heard.author_name[:160] or dialog.client_name
    if heard.text.strip() == HANDS_OVER:
        dialog.owner, dialog.owner_name = Dialog.Owner.OPERATOR, ""
        dialog.client_waits_since = dialog.quiet_until = None  # for a person, not for us
        return
    if heard.text.strip():
        dialog.language = detect_language(heard.text, default=dialog.language or config.language)
    if dialog.owner == Dialog.Owner.CLOSED:
        dialog.owner = Dialog.Owner.BOT
    dialog.quiet_until = quiet_until(at, dialog.client_waits_since, config.reply.debounce_seconds)
    dialog.client_waits_since = dialog.client_waits_since or at
    dialog.attempts = 0


def operator_took_over(dialog: Dialog, name: str) -> None:
    """A person writes: automatic replies stop, an open draft is closed, suggestions go on."""
    dialog.owner, dialog.owner_name = Dialog.Owner.OPERATOR, name[:160]
    dialog.client_waits_since = None
    dialog.quiet_until = None
    Suggestion.objects.filter(
        dialog=dialog, state__in=[Suggestion.State.READY, Suggestion.State.INSERTED]
    ).update(
        state=Suggestion.State.CLOSED,
        closed_reason="colleague_answered",
        closed_by=name[:160],
        closed_at=timezone.now(),
    )


def _corrected(dialog: Dialog, heard: ChatMessage) -> None:
    """An edited text replaces the known one; a deleted one is not quoted to the model any more."""
    rows = Message.objects.filter(dialog=dialog, external_id=heard.message_id)
    if heard.change == "delete":
        rows.update(deleted=True)
    elif rows.update(text=heard.text) and heard.author is Author.CLIENT:
        dialog.quiet_until = dialog.quiet_until and timezone.now()


def _look_at_chat(dialog: Dialog, chat: Chat) -> None:
    """What every event tells of its chat; a new session gives the dialog back to the assistant.

    Numbers of sessions grow: an event of an earlier one came late.
    """
    dialog.line_id = chat.line_id or dialog.line_id
    dialog.blocked = chat.blocked
    dialog.connector = chat.connector[:80] or dialog.connector
    dialog.entity_id = chat.entity_id[:255] or dialog.entity_id
    dialog.title = chat.title[:255] or dialog.title
    if chat.items:
        if list(chat.items) != dialog.items:
            dialog.item_snapshot, dialog.item_snapshot_at = None, None
        dialog.items = list(chat.items)
    if (chat.session_id or 0) > (dialog.session_id or 0):
        if dialog.session_id:
            dialog.owner, dialog.owner_name, dialog.handed_over = Dialog.Owner.BOT, "", False
            dialog.history_loaded = True  # our rows hold the earlier session already
        if chat.with_people:
            dialog.owner, dialog.owner_name = Dialog.Owner.OPERATOR, ""
        dialog.session_id = chat.session_id


def _quote_chat(dialog: Dialog, dialog_id: str) -> None:
    """A hook's question about a chat we know: its last messages are part of the context."""
    chat = Dialog.objects.filter(
        portal=dialog.portal, kind=Dialog.Kind.CHAT, key=dialog_id.removeprefix("chat")
    ).first()
    if chat is None or dialog.messages.exists():
        return
    dialog.items = dialog.items or chat.items
    last = chat.messages.filter(deleted=False).order_by("-external_id")[:QUOTED_MESSAGES]
    Message.objects.bulk_create(
        Message(
            dialog=dialog,
            author=row.author,
            author_id=row.author_id,
            author_name=row.author_name,
            text=row.text,
            at=row.at,
        )
        for row in reversed(list(last))
    )


def _client_text(dialog: Dialog, text: str, at: datetime) -> None:
    """The text of a hook or robot, kept like a message without a portal's id."""
    Message.objects.create(dialog=dialog, author=Author.CLIENT, text=text, at=at)
    dialog.last_message_at = at
    dialog.language = detect_language(text, default="ru")
