"""Changing how lines behave, and the button that stops every automatic reply at once."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from bx_gpt_app.assistant import store
from bx_gpt_app.assistant.config import PortalConfig, as_document
from bx_gpt_app.assistant.models import Delivery, Run, Suggestion
from bx_gpt_app.assistant.operator import make_due
from bx_gpt_app.assistant.people import leave_to_operators
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
        stopped = store.change(portal, by=by, mode=mode, lines=lines)
        waiting = Delivery.objects.select_related("dialog__portal", "run").filter(
            portal=portal,
            kind=Delivery.Kind.MESSAGE,
            state=Delivery.State.PLANNED,
            payload__automatic=True,
        )
        return sum(_hold_back(delivery, stopped) for delivery in waiting)


def _hold_back(delivery: Delivery, config: PortalConfig) -> bool:
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
    leave_to_operators(delivery, config)
    make_due(delivery.dialog)
    return True
