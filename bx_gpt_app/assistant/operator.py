"""What an operator decides about a dialog: send, regenerate, rate, pause, write a value, undo it.

A screen never does the work itself: it changes rows with conditional updates, says when the dialog
is due and wakes a worker, all in one transaction. Who changed one row won, so a double click does
nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F, Max, Q, QuerySet
from django.utils import timezone

from bx_gpt_app.assistant import fill
from bx_gpt_app.assistant.config import PortalConfig
from bx_gpt_app.assistant.context import zone_of
from bx_gpt_app.assistant.models import (
    Delivery,
    Dialog,
    FieldValue,
    Message,
    Run,
    Snippet,
    Suggestion,
)
from bx_gpt_app.assistant.tasks import wake_at
from integrations.bitrix24.crm import ItemRef, entity_type_id
from integrations.llm.normalise import normalise
from integrations.llm.values import Author, Band, FieldSpec, FieldType

SECOND_THOUGHTS = timedelta(seconds=5)
"""How long a message of the operator waits, so that he can take it back."""
LONGEST_MESSAGE = 10_000

LIVE = (Suggestion.State.READY, Suggestion.State.INSERTED)
UNFINISHED = (Run.State.THINKING, Run.State.ANSWERED)

STEER = {
    "another": "Напиши другой вариант ответа: другими словами и с другим построением.",
    "shorter": "Сделай ответ короче, одно-два предложения.",
    "warmer": "Сделай ответ теплее и дружелюбнее.",
    "formal": "Сделай ответ официальнее.",
    "detailed": "Сделай ответ подробнее, используй больше сведений из базы знаний.",
}
"""The chips of the screen as the model is told; it answers in the client's language anyway."""


class Refused(Exception):
    """The deed is not possible; `code` says why and the screen puts it into words.

    Codes: empty, too_long, edit_first, gone, not_writable, bad_value.
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def plain(text: str) -> str:
    """The chat reads square brackets as markup; a zero-width space makes them plain."""
    return re.sub(r"\[(?=[A-Za-z/*])", "[\u200b", text)


def seen(dialog: Dialog) -> None:
    """Something visible has changed: open screens take it over with their next poll."""
    Dialog.objects.filter(pk=dialog.pk).update(rev=F("rev") + 1)


def make_due(dialog: Dialog, at: datetime | None = None) -> None:
    """A worker looks at the dialog at this moment at the latest. Call it in a transaction."""
    moment = at or timezone.now()
    Dialog.objects.filter(pk=dialog.pk).filter(
        Q(due_at__isnull=True) | Q(due_at__gt=moment)
    ).update(due_at=moment)
    seen(dialog)
    wake_at(dialog.pk, at)


# ---- the reply ----


def send(
    dialog: Dialog, suggestion_id: int, text: str, *, operator_id: int, operator_name: str
) -> None:
    """Plan the operator's own message; it leaves after SECOND_THOUGHTS. Twice is once.

    Raises: Refused (empty, too_long, edit_first, gone).
    """
    text = text.strip()
    if not text:
        raise Refused("empty")
    if len(text) > LONGEST_MESSAGE:
        raise Refused("too_long")
    suggestion = Suggestion.objects.filter(dialog=dialog, pk=suggestion_id).first()
    if suggestion is None:
        raise Refused("gone")
    if suggestion.band == Band.UNSURE and _same(text, suggestion.text):
        raise Refused("edit_first")
    with transaction.atomic():
        _stop_automatic(dialog, "sent_by_operator")
        won = Suggestion.objects.filter(pk=suggestion.pk, state__in=LIVE).update(
            state=Suggestion.State.SENDING, final_text=text
        )
        if not won:
            if _is_being_sent(suggestion):
                return
            raise Refused("gone")
        leaves_at = timezone.now() + SECOND_THOUGHTS
        Delivery.objects.create(
            portal=dialog.portal,
            dialog=dialog,
            suggestion=suggestion,
            kind=Delivery.Kind.OPERATOR_MESSAGE,
            operator_id=operator_id,
            payload={
                "text": plain(text),
                "operator_name": operator_name,
                "after_message_id": dialog.newest_message_id,
            },
            not_before=leaves_at,
        )
        make_due(dialog, leaves_at)


def take_back(dialog: Dialog) -> bool:
    """Cancel the operator's message that has not left yet; False when it is too late."""
    with transaction.atomic():
        planned = _planned(dialog, Delivery.Kind.OPERATOR_MESSAGE)
        return planned is not None and _cancel(dialog, planned, "taken_back")


def mark_used(dialog: Dialog, suggestion_id: int, text: str) -> None:
    """The operator put the text into the chat's field; he may still do so again."""
    Suggestion.objects.filter(dialog=dialog, pk=suggestion_id, state__in=LIVE).update(
        state=Suggestion.State.INSERTED, final_text=text[:LONGEST_MESSAGE]
    )


def ask_again(
    dialog: Dialog,
    *,
    operator_id: int,
    steer: str = "",
    topic: str = "",
    config_revision: int = 0,
    chosen: int = 0,
) -> Run:
    """One more answer of the model, kept beside the earlier ones. One wish at a time.

    `chosen` is an earlier message of the client to be answered as if it were the last one.
    """
    with transaction.atomic():
        # The row is locked, so of two clicks the second finds the first one's run.
        Dialog.objects.select_for_update().get(pk=dialog.pk)
        waiting = _asked(dialog, chosen).first()
        if waiting is None:
            waiting = Run.objects.create(
                portal=dialog.portal,
                dialog=dialog,
                trigger=Run.CHOSEN if chosen else Run.REGENERATE,
                state=Run.State.THINKING,
                steer=steer[:300],
                topic=topic[:40],
                newest_message_id=chosen or dialog.newest_message_id,
                prompt_version=dialog.portal.prompts.filter(active=True).first(),
                config_revision=config_revision,
                operator_id=operator_id,
            )
        make_due(dialog)
    return waiting


def cancel_asking(dialog: Dialog, *, chosen: int = 0) -> None:
    """The operator does not want to wait; an answer that is on its way is not shown any more."""
    with transaction.atomic():
        _asked(dialog, chosen).update(
            state=Run.State.SUPERSEDED,
            reason="cancelled_by_operator",
            finished_at=timezone.now(),
        )
        seen(dialog)


def rate(
    dialog: Dialog, suggestion_id: int, *, good: bool, reasons: Iterable[str], comment: str
) -> None:
    known = [name for name in ("fact", "topic", "tone", "long") if name in set(reasons)]
    Suggestion.objects.filter(dialog=dialog, pk=suggestion_id).update(
        rating=1 if good else -1,
        rating_reasons=[] if good else known,
        rating_comment="" if good else comment.strip()[:500],
    )


def correct_topic(dialog: Dialog, code: str) -> bool:
    """The operator knows better what it is about. True when a draft should be written anew."""
    newest = dialog.runs.order_by("-id").first()
    if newest is None or newest.topic == code:
        return False
    Run.objects.filter(pk=newest.pk).exclude(state__in=UNFINISHED).update(topic=code[:40])
    seen(dialog)
    return dialog.suggestions.filter(state__in=LIVE).exists()


def save_to_knowledge(dialog: Dialog, suggestion_id: int, *, by: str) -> Snippet:
    """The operator's edited answer under the client's question. Saving twice is saving once.

    Raises: Refused (gone).
    """
    suggestion = (
        Suggestion.objects.filter(dialog=dialog, pk=suggestion_id).select_related("run").first()
    )
    if suggestion is None or not suggestion.final_text:
        raise Refused("gone")
    question = (
        dialog.messages.filter(author=Author.CLIENT, deleted=False)
        .filter(Q(external_id__lte=suggestion.answered_message_id) | Q(external_id__isnull=True))
        .exclude(text="")
        .order_by("-external_id", "-id")
        .values_list("text", flat=True)
        .first()
    )
    title = " ".join((question or dialog.title or suggestion.final_text).split())[:200]
    last = dialog.portal.snippets.aggregate(last=Max("position"))["last"]
    snippet, _created = Snippet.objects.get_or_create(
        portal=dialog.portal,
        title=title,
        text=suggestion.final_text,
        defaults={
            "position": (last or 0) + 1,
            "topic": suggestion.run.topic,
            "origin": f"{by}, {timezone.localdate().isoformat()}"[:300],
        },
    )
    return snippet


# ---- the chat ----


def pause(dialog: Dialog, *, paused: bool) -> None:
    """No suggestions in this chat, or suggestions again."""
    with transaction.atomic():
        Dialog.objects.filter(pk=dialog.pk).update(suggestions_off=paused)
        if paused:
            _stop_automatic(dialog, "stopped_in_chat")
        seen(dialog)


def stop_automatic(dialog: Dialog) -> None:
    """This one reply does not leave by itself; it stays as a suggestion."""
    with transaction.atomic():
        _stop_automatic(dialog, "stopped_by_operator")


def set_automatic(dialog: Dialog, *, allowed: bool) -> None:
    """Whether the assistant may answer by itself in this chat at all."""
    with transaction.atomic():
        Dialog.objects.filter(pk=dialog.pk).update(auto_stopped=not allowed)
        if not allowed:
            _stop_automatic(dialog, "stopped_in_chat")
        seen(dialog)


def give_back(dialog: Dialog) -> None:
    """The dialog belongs to the assistant again: it may answer the client's next message."""
    Dialog.objects.filter(pk=dialog.pk, owner=Dialog.Owner.OPERATOR).update(
        owner=Dialog.Owner.BOT, owner_name="", handed_over=False
    )
    seen(dialog)


def _same(one: str, other: str) -> bool:
    return " ".join(one.split()) == " ".join(other.split())


def _is_being_sent(suggestion: Suggestion) -> bool:
    return suggestion.deliveries.filter(
        kind=Delivery.Kind.OPERATOR_MESSAGE,
        state__in=(*Delivery.OPEN, Delivery.State.SENT),
    ).exists()


def _asked(dialog: Dialog, chosen: int) -> QuerySet[Run]:
    unfinished = dialog.runs.filter(state__in=UNFINISHED)
    if chosen:
        return unfinished.filter(trigger=Run.CHOSEN, newest_message_id=chosen)
    return unfinished.filter(trigger=Run.REGENERATE)


def _planned(dialog: Dialog, kind: str) -> Delivery | None:
    return (
        Delivery.objects.filter(dialog=dialog, kind=kind, state=Delivery.State.PLANNED)
        .order_by("-id")
        .first()
    )


def _cancel(dialog: Dialog, delivery: Delivery, reason: str) -> bool:
    """Once a worker has begun with it, it is too late."""
    won = Delivery.objects.filter(pk=delivery.pk, state=Delivery.State.PLANNED).update(
        state=Delivery.State.CANCELLED, problem_code=reason
    )
    if won and delivery.suggestion_id:
        Suggestion.objects.filter(pk=delivery.suggestion_id, state=Suggestion.State.SENDING).update(
            state=Suggestion.State.READY
        )
    seen(dialog)
    return bool(won)


def _stop_automatic(dialog: Dialog, reason: str) -> None:
    planned = _planned(dialog, Delivery.Kind.MESSAGE)
    if planned and planned.payload.get("automatic") and _cancel(dialog, planned, reason):
        dialog.runs.filter(deliveries=planned).update(decision=Run.Decision.SUGGEST, reason=reason)


# ---- values for the CRM ----


def write_value(
    dialog: Dialog,
    value_id: int,
    text: str,
    *,
    config: PortalConfig,
    operator_id: int,
    operator_name: str,
) -> FieldValue:
    """Write one value, edited or not, into its place. Writing twice is writing once.

    Raises: Refused (gone, not_writable, empty, bad_value).
    """
    value = FieldValue.objects.filter(dialog=dialog, pk=value_id).first()
    if value is None:
        raise Refused("gone")
    if value.state in (FieldValue.State.WRITING, FieldValue.State.WRITTEN):
        return value
    place = place_of(value, dialog, config)
    if place is None:
        raise Refused("not_writable")
    edited = " ".join(text.split()) if value.type != "text" else text.strip()
    if edited != " ".join(fill.value_in_words(value.value).split()):
        value.value = _as_value(value, edited, dialog, config)
        value.raw = edited[:300]
    value.item, value.target, value.policy = place
    _write(dialog, [value], operator_id=operator_id, operator_name=operator_name)
    return value


def write_confident(
    dialog: Dialog, *, config: PortalConfig, operator_id: int, operator_name: str
) -> int:
    """Write every proposed value that needs no second look; returns how many."""
    chosen = []
    for value in open_values(dialog):
        place = place_of(value, dialog, config)
        if value.band == Band.CONFIDENT and place is not None:
            value.item, value.target, value.policy = place
            chosen.append(value)
    _write(dialog, chosen, operator_id=operator_id, operator_name=operator_name)
    return len(chosen)


def undo_value(
    dialog: Dialog, value_id: int, *, operator_id: int, operator_name: str
) -> FieldValue:
    """Take a value back: the field gets what it held before. Raises: Refused (gone)."""
    with transaction.atomic():
        value = FieldValue.objects.filter(dialog=dialog, pk=value_id).first()
        if value is None:
            raise Refused("gone")
        if value.state == FieldValue.State.WRITING:
            _unplan(dialog, value)
        elif value.state == FieldValue.State.WRITTEN:
            _plan_undo(dialog, value, operator_id, operator_name)
        value.refresh_from_db()
    return value


def dismiss_values(dialog: Dialog, *, by: str) -> int:
    with transaction.atomic():
        count = open_values(dialog).update(
            state=FieldValue.State.DISMISSED, by=by[:160], decided_at=timezone.now()
        )
        seen(dialog)
    return int(count)


def open_values(dialog: Dialog) -> QuerySet[FieldValue]:
    """What waits for the operator's word: proposed, or taken back by him."""
    return FieldValue.objects.filter(
        dialog=dialog, state__in=(FieldValue.State.PROPOSED, FieldValue.State.UNDONE)
    )


def place_of(
    value: FieldValue, dialog: Dialog, config: PortalConfig
) -> tuple[str, str, str] | None:
    """Item, field and policy of a value; a card that was bound after it was found counts too."""
    if value.item and value.target:
        return value.item, value.target, value.policy or "fill_empty"
    bound = {ItemRef.parse(code).entity_type_id: code for code in dialog.items}
    for mapping in config.mappings:
        item = bound.get(entity_type_id(mapping.entity))
        if mapping.source == value.field and item:
            return item, mapping.to, mapping.policy
    return None


def _as_value(value: FieldValue, edited: str, dialog: Dialog, config: PortalConfig) -> object:
    """The operator's text in the field's normal form: he is his own evidence.

    Raises: Refused (empty, bad_value).
    """
    if not edited:
        raise Refused("empty")
    spec = next((one for one in config.fields if one.name == value.field), None)
    kind: FieldType = spec.type if spec else "string"
    if kind in ("string", "text", "address", "person_name"):
        return edited
    checked = normalise(
        spec or FieldSpec(name=value.field, type=kind),
        edited,
        texts=[edited],
        now=timezone.now().astimezone(zone_of(dialog.portal)),
        region=dialog.portal.region,
    )
    if checked is None or checked.value is None or checked.band is Band.UNSURE:
        raise Refused("bad_value")
    return checked.value


def _write(
    dialog: Dialog, values: list[FieldValue], *, operator_id: int, operator_name: str
) -> None:
    """One delivery per item, with the operator's own access."""
    by_item: dict[str, list[FieldValue]] = {}
    with transaction.atomic():
        for value in values:
            won = _still_open(value).update(
                state=FieldValue.State.WRITING,
                value=value.value,
                raw=value.raw,
                item=value.item,
                target=value.target,
                policy=value.policy,
                reason="",
                by=operator_name[:160],
                decided_at=timezone.now(),
            )
            if won:
                by_item.setdefault(value.item, []).append(value)
            value.state = FieldValue.State.WRITING
        for item, chosen in by_item.items():
            # The operator saw what the field holds and pressed the button: his word replaces it.
            for value in chosen:
                value.policy = "overwrite" if value.policy == "fill_empty" else value.policy
            fill.plan_writing(
                dialog.portal, dialog, None, item, chosen, note=False, operator_id=operator_id
            )
        if by_item:
            make_due(dialog)


def _still_open(value: FieldValue) -> QuerySet[FieldValue]:
    return FieldValue.objects.filter(
        pk=value.pk,
        state__in=(
            FieldValue.State.PROPOSED,
            FieldValue.State.UNDONE,
            FieldValue.State.SKIPPED,
        ),
    )


def _unplan(dialog: Dialog, value: FieldValue) -> None:
    """Its delivery has not left: all values of that delivery are proposed again."""
    for delivery in Delivery.objects.filter(
        dialog=dialog, kind=Delivery.Kind.CRM, state=Delivery.State.PLANNED
    ):
        if value.pk in delivery.payload.get("values", []) and _cancel(
            dialog, delivery, "taken_back"
        ):
            FieldValue.objects.filter(
                pk__in=delivery.payload["values"], state=FieldValue.State.WRITING
            ).update(state=FieldValue.State.PROPOSED)


def _plan_undo(dialog: Dialog, value: FieldValue, operator_id: int, operator_name: str) -> None:
    old, new = value.old_value or {}, value.new_value or {}
    won = FieldValue.objects.filter(pk=value.pk, state=FieldValue.State.WRITTEN).update(
        state=FieldValue.State.UNDONE, by=operator_name[:160], decided_at=timezone.now()
    )
    if not won:
        return
    delivery = Delivery.objects.create(
        portal=dialog.portal,
        dialog=dialog,
        kind=Delivery.Kind.CRM,
        operator_id=operator_id,
        payload={
            "item": value.item,
            "restore": [
                {"field": name, "old": old.get(name), "new": written}
                for name, written in new.items()
            ],
        },
    )
    FieldValue.objects.filter(pk=value.pk).update(reason=f"{UNDO_OF}{delivery.pk}")
    make_due(dialog)


UNDO_OF = "undo:"
"""A value's reason while it is taken back: the delivery that does it."""


def undo_failed(value: FieldValue) -> bool:
    """Did the portal refuse to take the value back? Then it is still in the CRM."""
    number = value.reason.removeprefix(UNDO_OF)
    if value.state != FieldValue.State.UNDONE or not number.isdigit():
        return False
    return Delivery.objects.filter(
        pk=int(number), dialog_id=value.dialog_id, state=Delivery.State.FAILED
    ).exists()


def last_message(dialog: Dialog) -> Message | None:
    """The newest message that the client or we wrote; whispers and system texts do not count."""
    return (
        dialog.messages.filter(deleted=False)
        .exclude(author__in=(Author.SYSTEM, Author.WHISPER))
        .order_by("-external_id", "-id")
        .first()
    )
