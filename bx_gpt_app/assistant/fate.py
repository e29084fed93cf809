"""What became of one message: who answered the client, or why the assistant said nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from django.utils.translation import gettext as _

from bx_gpt_app.assistant.listen import HANDS_OVER
from bx_gpt_app.assistant.models import Delivery, Message, Run
from bx_gpt_app.assistant.reasons import delivery_in_words, in_words
from integrations.llm.values import Author

CLOCKS_DIFFER = timedelta(minutes=1)
"""The portal dates messages by its own clock."""


@dataclass(frozen=True)
class Fate:
    answer: Message | None = None
    """What our side said next, the assistant or a person."""
    why: str = ""
    """In words: why the assistant kept silent or called a person; of its own message, why it was
    sent. Empty when it simply answered."""


def fate_of(message: Message) -> Fate:
    if message.author == Author.CLIENT:
        return _of_question(message)
    if message.author == Author.BOT:
        return _of_reply(message)
    return Fate()


def _of_reply(message: Message) -> Fate:
    sent = Delivery.objects.filter(
        dialog=message.dialog_id,
        kind=Delivery.Kind.MESSAGE,
        result__message_id=message.external_id,
    ).select_related("run")
    delivery = sent.first()
    run = delivery.run if delivery else None
    return Fate(why=in_words(run.reason, run.reason_detail) if run else "")


def _of_question(message: Message) -> Fate:
    dialog, number = message.dialog, message.external_id
    answer = (
        dialog.messages.filter(external_id__gt=number, author__in=(Author.OPERATOR, Author.BOT))
        .order_by("external_id")
        .first()
    )
    runs = dialog.runs.filter(trigger="message", newest_message_id__gte=number)
    if answer:  # a later passage is about what the client wrote afterwards
        runs = runs.filter(newest_message_id__lt=answer.external_id)
    run = runs.exclude(state=Run.State.SUPERSEDED).order_by("id").first()
    if answer and answer.author == Author.BOT and (run is None or run.decision == "send"):
        return Fate(answer=answer)
    return Fate(answer=answer, why=_why_silent(run) if run else _why_unheard(message, answer))


def _why_silent(run: Run) -> str:
    if run.state in (Run.State.THINKING, Run.State.ANSWERED):
        return _("The assistant is working on it.")
    reply = run.deliveries.filter(kind=Delivery.Kind.MESSAGE).order_by("-id").first()
    if run.decision != Run.Decision.SEND or reply is None:
        return in_words(run.reason, run.reason_detail)
    if reply.state in Delivery.OPEN:
        return _("The reply is on its way.")
    return delivery_in_words(reply.problem_code, reply.problem)


def _why_unheard(message: Message, answer: Message | None) -> str:
    dialog = message.dialog
    waits_since = dialog.client_waits_since
    if message.text.strip() == HANDS_OVER:
        return _("“0” calls a person: Bitrix24 hands the dialog over itself.")
    if answer:
        return in_words("person_answered_first")
    if dialog.quarantined_at:
        return _("Something went wrong on our side. The administrator sees it in the log.")
    if waits_since and message.at >= waits_since - CLOCKS_DIFFER:
        return _("The assistant is working on it.")
    return _(
        "The assistant did not hear it: it was not in the chat yet or was switched off on the line."
    )
