"""What the model is told: the conversation, the CRM item, the knowledge. At most one REST request.

The history is read once per dialog; afterwards our own rows hold it. The CRM item is read together
with it in one batch, and later only when what we know of it is old.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.db.models import F
from django.utils import timezone

from bx_gpt_app.assistant.config import PortalConfig
from bx_gpt_app.assistant.knowledge import retrieve
from bx_gpt_app.assistant.leases import Lease
from bx_gpt_app.assistant.letters import keep_activity, keep_item_text
from bx_gpt_app.assistant.listen import SAYING
from bx_gpt_app.assistant.models import Dialog, Message
from bx_gpt_app.flow import Context, ItemFacts
from bx_gpt_app.portals.fields import catalogue
from bx_gpt_app.portals.models import Portal
from integrations.bitrix24.client import Command, PortalClient
from integrations.bitrix24.crm import (
    LEAD,
    ItemRef,
    find_by_dialog_command,
    item_from,
    item_value,
    read_item_command,
)
from integrations.bitrix24.errors import CallRejected
from integrations.bitrix24.forms import as_dict, as_list
from integrations.bitrix24.openlines import (
    History,
    HistoryMessage,
    history_command,
    parse_history,
)
from integrations.llm.values import Author, Turn

TURNS_FOR_MODEL = 40
SOURCES_FOR_MODEL = 6

FACT_FIELDS: Mapping[str, tuple[str, str]] = {
    "TITLE": ("Title", "Название"),
    "NAME": ("Name", "Имя"),
    "LAST_NAME": ("Last name", "Фамилия"),
    "COMPANY_TITLE": ("Company", "Компания"),
    "POST": ("Position", "Должность"),
    "OPPORTUNITY": ("Sum", "Сумма"),
    "COMMENTS": ("Comment", "Комментарий"),
    "STAGE_ID": ("Stage", "Стадия"),
}
"""What the model may know of the client's card. Phones and e-mails are not needed for a reply.
The titles, English and Russian, are for fields that were not read from the portal yet."""


def read_outside(dialog: Dialog, lease: Lease, client: PortalClient, config: PortalConfig) -> int:
    """Read what only the portal knows: history on first contact, the CRM item when ours is old.

    Returns the number of REST requests made. A refused read is no obstacle: the model is asked
    with what is known.
    """
    requests = 0
    activity_id = _activity_to_read(dialog)
    if activity_id:
        keep_activity(dialog, client, activity_id, config)
        requests += 1
    commands = _commands(dialog)
    if commands:
        reply = client.batch(commands, repeatable=True)
        requests += 1
        for error in reply.errors.values():
            if not isinstance(error, CallRejected):
                raise error
        _keep(dialog, reply.results)
    if dialog.kind != Dialog.Kind.CHAT and not dialog.messages.exists():
        keep_item_text(dialog)
    if requests:
        lease.write(
            history_loaded=True,
            owner=dialog.owner,
            items=dialog.items,
            item_snapshot=dialog.item_snapshot,
            item_snapshot_at=dialog.item_snapshot_at,
            newest_message_id=dialog.newest_message_id,
            rev=F("rev") + 1,
        )
        dialog.refresh_from_db()
    return requests


def _activity_to_read(dialog: Dialog) -> int | None:
    if dialog.kind != Dialog.Kind.ITEM or dialog.history_loaded:
        return None
    event = dialog.events.filter(kind="item").first()
    return event.payload.get("activity_id") if event else None


def _commands(dialog: Dialog) -> dict[str, Command]:
    commands: dict[str, Command] = {}
    if dialog.kind == Dialog.Kind.CHAT and not dialog.history_loaded:
        commands["history"] = history_command(session_id=dialog.session_id, chat_id=dialog.chat_id)
    if _needs_item(dialog):
        for code in dialog.items:
            commands[f"item_{code}"] = read_item_command(ItemRef.parse(code))
        if not dialog.items:
            # The binding often appears after the first event; the card is found by the dialog.
            commands["by_dialog"] = find_by_dialog_command(LEAD, dialog.entity_id, whole=True)
    return commands


def _keep(dialog: Dialog, results: Mapping[str, Any]) -> None:
    """Into our rows, and onto the dialog in hand."""
    snapshot: dict[str, Any] = {}
    for name, value in results.items():
        if name == "history":
            _keep_history(dialog, parse_history(value, bot_id=dialog.portal.bot_id))
        elif name == "by_dialog":
            for item in as_list(as_dict(value).get("items"))[:1]:
                code = str(ItemRef(LEAD, int(item["id"])))
                dialog.items = dialog.items or [code]
                snapshot[code] = item
        elif item := item_from(value):
            snapshot[name.removeprefix("item_")] = item
    if snapshot:
        dialog.item_snapshot, dialog.item_snapshot_at = snapshot, timezone.now()


def _needs_item(dialog: Dialog) -> bool:
    if dialog.item_snapshot is None:
        return bool(dialog.items) or bool(dialog.entity_id and not dialog.history_loaded)
    known = set(dialog.item_snapshot)
    return bool(set(dialog.items) - known)


def keep_messages(dialog: Dialog, messages: Iterable[HistoryMessage]) -> list[Message]:
    """Messages that the portal told of into our rows; returns those that were not known."""
    known = set(dialog.messages.values_list("external_id", flat=True))
    rows = [
        Message(
            dialog=dialog,
            external_id=message.id,
            author=message.author,
            author_id=message.author_id,
            author_name=message.author_name[:160],
            text=message.text,
            at=message.at or timezone.now(),
        )
        for message in messages
        if message.id not in known
    ]
    Message.objects.bulk_create(rows, ignore_conflicts=True)
    return rows


def _keep_history(dialog: Dialog, history: History) -> None:
    rows = keep_messages(dialog, history.messages)
    if history.crm and not dialog.items:
        dialog.items = [str(ref) for ref in history.crm]
    if dialog.owner == Dialog.Owner.BOT and any(row.author == Author.OPERATOR for row in rows):
        dialog.owner = Dialog.Owner.OPERATOR  # a person was here before we were
    said = [one.id for one in history.messages if Author(one.author) in SAYING]
    newest = max(said, default=0)
    dialog.newest_message_id = max(dialog.newest_message_id, newest)


def gather(
    dialog: Dialog, portal: Portal, config: PortalConfig, *, up_to: int | None = None
) -> Context:
    """Everything the model is told, from our own rows; `up_to` leaves out what came after this
    message."""
    said = Message.objects.filter(dialog=dialog, deleted=False, author__in=SAYING)
    if up_to is not None:
        said = said.filter(external_id__lte=up_to)
    rows = list(said.order_by("-external_id", "-id")[:TURNS_FOR_MODEL])[::-1]
    turns = tuple(
        Turn(
            author=Author(row.author),
            text=_with_files(row),
            at=row.at,
            message_id=row.external_id,
            name=row.author_name,
        )
        for row in rows
    )
    questions = [turn.text for turn in turns if turn.author is Author.CLIENT][-3:]
    topic = dialog.runs.exclude(topic="").order_by("-id").values_list("topic", flat=True).first()
    sources = retrieve(portal, " ".join(questions), topic=topic or "", limit=SOURCES_FOR_MODEL)
    return Context(
        conversation=turns,
        newest_message_id=dialog.newest_message_id,
        sources=tuple(sources),
        items=tuple(item_facts(portal, dialog.item_snapshot or {})),
        now=timezone.now().astimezone(zone_of(portal)),
        client_language=dialog.language or config.language,
        variables={
            "client_name": dialog.client_name,
            "company": portal.domain,
            "line": dialog.title,
            "language": dialog.language or config.language,
        },
    )


def _with_files(row: Message) -> str:
    """A file is named, not read: the model must not guess what is in it."""
    note = f"[{row.files} file(s) attached]" if row.files else ""
    return f"{row.text}\n{note}".strip()


def item_facts(portal: Portal, snapshot: Mapping[str, Mapping[str, Any]]) -> Iterable[ItemFacts]:
    for code, item in snapshot.items():
        infos = catalogue(portal, ItemRef.parse(code).entity_type_id)
        facts = {}
        for name, titles in FACT_FIELDS.items():
            value = item_value(item, name)
            if value not in (None, "", 0, "0", []):
                # a lead's stage is catalogued as the status it is in the older methods
                info = infos.get(name) or infos.get(name.replace("STAGE", "STATUS"))
                title = info.title if info else titles[1 if portal.language == "ru" else 0]
                known = dict(info.choices) if info else {}
                facts[title] = known.get(str(value), str(value))[:300]
        yield ItemFacts(ref=code, values=dict(item), facts=facts)


def zone_of(portal: Portal) -> ZoneInfo:
    try:
        return ZoneInfo(portal.time_zone)
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("Europe/Moscow")
