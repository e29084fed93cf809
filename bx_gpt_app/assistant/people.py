"""Leaving a client to people: the draft waits for them, and they are called."""

from __future__ import annotations

from bx_gpt_app.assistant import whispers
from bx_gpt_app.assistant.config import PortalConfig
from bx_gpt_app.assistant.models import Delivery, Dialog, Run, Suggestion


def call_operators(dialog: Dialog, run: Run | None) -> None:
    """Plan the hand-over of a dialog that the bot holds; once, however often it is asked for."""
    bot_holds = dialog.owner == Dialog.Owner.BOT and not dialog.handed_over
    if dialog.kind != Dialog.Kind.CHAT or not bot_holds:
        return
    asked = {"dialog": dialog, "kind": Delivery.Kind.HAND_OVER}
    if not Delivery.objects.filter(**asked, state__in=Delivery.OPEN).exists():
        Delivery.objects.create(portal=dialog.portal, run=run, **asked)


def leave_to_operators(delivery: Delivery, config: PortalConfig) -> None:
    """A reply that did not leave by itself: without this the client would sit with a silent bot."""
    dialog = delivery.dialog
    call_operators(dialog, delivery.run)
    if delivery.suggestion_id and delivery.run:
        suggestion = Suggestion.objects.get(pk=delivery.suggestion_id)
        whispers.plan(dialog, delivery.run, suggestion, config)
