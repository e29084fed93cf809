"""Changing how lines behave, and the button that stops every automatic reply at once."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from bx_gpt_app.assistant import store
from bx_gpt_app.assistant.config import PortalConfig, as_document
from bx_gpt_app.assistant.models import Delivery, Dialog, Run, Suggestion
from bx_gpt_app.portals.models import Portal


def automatic_lines(portal: Portal, config: PortalConfig) -> list[int]:
    """Lines where replies may go out by themselves."""
    return [line.line_id for line in portal.lines.all() if config.line(line.line_id).mode == "auto"]


def anything_automatic(portal: Portal, config: PortalConfig) -> bool:
    """Also true for a mode that waits for its first line: the default mode, a line not read yet."""
    modes = {line.mode for line in config.lines.values()}
    return config.mode == "auto" or "auto" in modes


def stop_automatic(portal: Portal, *, by: str) -> int:
    """Every automatic line becomes a suggesting one; replies that have not left do not leave.

    Returns how many waiting replies were held back; they stay as suggestions.
    """
    with transaction.atomic():
        config, _revision = store.load(portal)
        document = as_document(config)
        lines: dict[str, Any] = {
            number: {**line, "mode": "suggest" if line["mode"] == "auto" else line["mode"]}
            for number, line in document["lines"].items()
        }
        mode = "suggest" if config.mode == "auto" else config.mode
        store.change(portal, by=by, mode=mode, lines=lines)
        waiting = Delivery.objects.filter(
            portal=portal,
            kind=Delivery.Kind.MESSAGE,
            state=Delivery.State.PLANNED,
            payload__automatic=True,
        )
        return sum(_hold_back(delivery) for delivery in waiting)


def _hold_back(delivery: Delivery) -> bool:
    """False when a worker was faster: the reply is being sent already."""
    held = Delivery.objects.filter(pk=delivery.pk, state=Delivery.State.PLANNED).update(
        state=Delivery.State.CANCELLED, problem="", problem_code="mode_changed"
    )
    if not held:
        return False
    Suggestion.objects.filter(deliveries=delivery, state=Suggestion.State.SENDING).update(
        state=Suggestion.State.READY
    )
    Run.objects.filter(deliveries=delivery).update(
        decision=Run.Decision.SUGGEST, reason="mode_changed"
    )
    Dialog.objects.filter(pk=delivery.dialog_id).update(rev=F("rev") + 1)
    return True


def note_whisper_tested(portal: Portal, line_id: int) -> None:
    """The admin has seen that clients do not see a whisper on this line."""
    portal.lines.filter(line_id=line_id).update(whisper_tested_at=timezone.now())
