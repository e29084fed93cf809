"""The outbox: acts that were written down, done one after another, and what became of them.

State first, then the act, then the outcome. A delivery found `sending` was begun by a process that
died: it is repeated with the same key. Just before a message goes out its reasons are looked at
again, also when it had to wait for its turn or is tried once more; when they have gone, the chat
tells whether a begun one is out already.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F, Min
from django.utils import timezone

from bx_gpt_app.actions import ACTIONS
from bx_gpt_app.actions.deed import Deed, OutcomeUnknown
from bx_gpt_app.actions.message import already_said
from bx_gpt_app.assistant import store, whispers
from bx_gpt_app.assistant.config import PortalConfig
from bx_gpt_app.assistant.context import zone_of
from bx_gpt_app.assistant.leases import Lease
from bx_gpt_app.assistant.listen import unread_authors
from bx_gpt_app.assistant.models import Delivery, Dialog, FieldValue, Message, Run, Suggestion
from bx_gpt_app.assistant.people import leave_to_operators
from bx_gpt_app.common.database import give_back_connection
from bx_gpt_app.flow import ActionReport
from bx_gpt_app.portals import clients
from bx_gpt_app.portals.fields import fields_for_writing
from bx_gpt_app.portals.models import Portal
from integrations.bitrix24.errors import (
    AccessLost,
    Bitrix24Error,
    CallRejected,
    LimitExceeded,
    Unavailable,
)
from integrations.llm.values import Author

logger = logging.getLogger(__name__)

FIRST_RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 300.0
STALE_REPLY = timedelta(minutes=15)
"""An automatic reply that could not be sent for so long is left to a person as a suggestion."""

MESSAGES = (Delivery.Kind.MESSAGE, Delivery.Kind.OPERATOR_MESSAGE)
BY_BOT = (Delivery.Kind.MESSAGE, Delivery.Kind.WHISPER)


class Unwanted(Exception):
    """While a message waited to be sent or repeated, its reason has gone."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def deliver(dialog: Dialog, lease: Lease, portal: Portal, config: PortalConfig) -> datetime | None:
    """Do everything that is due in this dialog's outbox, in order.

    Returns when to come back for the rest, None when nothing is left.
    Raises: AccessLost (the portal stops), LeaseLost.
    """
    now = timezone.now()
    waiting = list(_open(dialog))
    if not waiting:
        return None
    for delivery in [one for one in waiting if one.not_before <= now]:
        current = _current(delivery, portal, config)
        unwanted = why_unwanted(delivery, dialog, current)
        if unwanted and delivery.state == Delivery.State.PLANNED:
            _cancel(delivery, lease, unwanted, current)
        elif not _attempt(delivery, dialog, lease, portal, config, unwanted=unwanted):
            break  # order matters: what follows waits for this one
    next_at: datetime | None = _open(dialog).aggregate(at=Min("not_before"))["at"]
    return next_at


def why_unwanted(delivery: Delivery, dialog: Dialog, config: PortalConfig) -> str:
    """The re-check: a reason code when the world has changed since this act was planned."""
    if delivery.kind == Delivery.Kind.WHISPER:
        if delivery.state == Delivery.State.SENDING:
            return ""  # it may be out already: only repeating it with its key tells
        return whispers.why_unwanted(delivery, dialog, config)
    if delivery.kind != Delivery.Kind.MESSAGE or not delivery.payload.get("automatic"):
        return ""
    dialog.refresh_from_db()
    if config.line(dialog.line_id).mode != "auto":
        return "mode_changed"
    if dialog.auto_stopped:
        return "stopped_in_chat"
    unread = unread_authors(dialog)
    if dialog.owner != Dialog.Owner.BOT or Author.OPERATOR in unread:
        return "person_answered_first"
    if unread or dialog.newest_message_id > int(delivery.payload["answers"]):
        return "client_wrote_again"
    if timezone.now() - delivery.created_at > STALE_REPLY:
        return "too_late"
    return ""


def _current(delivery: Delivery, portal: Portal, config: PortalConfig) -> PortalConfig:
    """For an automatic reply the settings are read anew: a stop pressed while the model thought
    counts."""
    return store.load(portal)[0] if delivery.payload.get("automatic") else config


def _open(dialog: Dialog) -> Any:
    return Delivery.objects.filter(dialog=dialog, state__in=Delivery.OPEN).order_by("id")


def _attempt(
    delivery: Delivery,
    dialog: Dialog,
    lease: Lease,
    portal: Portal,
    config: PortalConfig,
    *,
    unwanted: str = "",
) -> bool:
    """One try of one act; an `unwanted` one is only looked for. False: it stays for later."""
    repeated = delivery.state == Delivery.State.SENDING
    may_wait: Callable[[float], None] = time.sleep
    if delivery.payload.get("automatic") and not unwanted:
        may_wait = _looking_again(delivery, dialog, portal, config)
    with transaction.atomic():
        lease.hold()
        # Conditional: a person may have taken it back since it was read.
        unchanged = Delivery.objects.filter(pk=delivery.pk, state=delivery.state)
        if not unchanged.update(state=Delivery.State.SENDING, attempts=F("attempts") + 1):
            return True
    delivery.state = Delivery.State.SENDING
    delivery.attempts += 1
    try:
        deed = _deed(
            delivery, dialog, portal, repeated=repeated or delivery.attempts > 1, pause=may_wait
        )
        give_back_connection()
        report = already_said(deed) if unwanted else ACTIONS[delivery.kind](deed)
    except Unwanted as changed:
        return _attempt(delivery, dialog, lease, portal, config, unwanted=changed.reason)
    except AccessLost as error:
        if delivery.operator_id:  # this operator's access, not the portal's
            _refused(delivery, lease, error)
            return True
        _put_back(delivery, lease, error, 0, in_doubt=repeated)
        raise
    except Unavailable as error:
        _put_back(delivery, lease, error, _pause(error, delivery.attempts), in_doubt=repeated)
        if not isinstance(error, LimitExceeded):
            clients.note_failure(portal, error, down=True)
        return False
    except OutcomeUnknown as error:
        _end(delivery, lease, Delivery.State.UNSURE, problem=str(error), code="outcome_unknown")
        return True
    except (CallRejected, Bitrix24Error) as error:
        logger.warning(
            "delivery refused",
            extra={"portal": portal.pk, "delivery": delivery.pk, "code": error.code},
        )
        _refused(delivery, lease, error)
        return True
    clients.note_success(portal)
    if report is None:
        _cancel(delivery, lease, unwanted, _current(delivery, portal, config))
        return True
    _record(delivery, dialog, lease, report)
    return True


def _looking_again(
    delivery: Delivery, dialog: Dialog, portal: Portal, config: PortalConfig
) -> Callable[[float], None]:
    """The pause of a client that waits with this message: afterwards its reasons must still hold.

    Raises, when called: Unwanted.
    """

    def pause(seconds: float) -> None:
        time.sleep(seconds)
        reason = why_unwanted(delivery, dialog, _current(delivery, portal, config))
        give_back_connection()
        if reason:
            raise Unwanted(reason)

    return pause


def _deed(
    delivery: Delivery,
    dialog: Dialog,
    portal: Portal,
    *,
    repeated: bool,
    pause: Callable[[float], None],
) -> Deed:
    client = clients.client_for(portal, delivery.operator_id, pause=pause)
    return Deed(
        client=client,
        key=str(delivery.key),
        payload=delivery.payload,
        dialog_id=dialog.dialog_id if dialog.kind == Dialog.Kind.CHAT else "",
        chat_id=dialog.chat_id if dialog.kind == Dialog.Kind.CHAT else 0,
        session_id=dialog.session_id,
        bot_id=portal.bot_id or 0,
        bot_api="legacy" if portal.bot_api == "legacy" else "v2",
        repeated=repeated,
        snapshot=dialog.item_snapshot or {},
        zone=zone_of(portal),
        fields_of=lambda entity_type_id: fields_for_writing(portal, client, entity_type_id),
    )


def _pause(error: Unavailable, attempts: int) -> float:
    backoff: float = min(FIRST_RETRY_SECONDS * 2 ** (attempts - 1), LONGEST_RETRY_SECONDS)
    return max(error.retry_in or 0.0, backoff)


def _put_back(
    delivery: Delivery, lease: Lease, error: Bitrix24Error, seconds: float, *, in_doubt: bool
) -> None:
    """Later again. A message whose outcome is unknown, of this attempt or `in_doubt` of an earlier
    one, stays `sending`: its repeat must know."""
    with transaction.atomic():
        lease.hold()
        unknown = in_doubt or getattr(error, "outcome_unknown", False) or error.after_retry
        delivery.state = Delivery.State.SENDING if unknown else Delivery.State.PLANNED
        delivery.not_before = timezone.now() + timedelta(seconds=seconds)
        delivery.problem, delivery.problem_code = str(error)[:300], error.code[:60]
        delivery.save(update_fields=["state", "not_before", "problem", "problem_code"])


def _cancel(delivery: Delivery, lease: Lease, reason: str, config: PortalConfig) -> None:
    """The act is not wanted any more; a reply stays a suggestion unless a person answered."""
    with transaction.atomic():
        lease.write(rev=F("rev") + 1)
        _end_row(delivery, Delivery.State.CANCELLED, problem="", code=reason)
        if delivery.suggestion_id and reason in ("mode_changed", "stopped_in_chat", "too_late"):
            Suggestion.objects.filter(pk=delivery.suggestion_id).update(
                state=Suggestion.State.READY
            )
        elif delivery.suggestion_id:
            Suggestion.objects.filter(pk=delivery.suggestion_id).update(
                state=Suggestion.State.CLOSED, closed_reason=reason, closed_at=timezone.now()
            )
        if delivery.run_id and delivery.kind == Delivery.Kind.MESSAGE:
            Run.objects.filter(pk=delivery.run_id).update(
                decision=Run.Decision.SUGGEST, reason=reason
            )
        if reason in ("mode_changed", "too_late"):
            leave_to_operators(delivery, config)


def _end_row(delivery: Delivery, state: str, *, problem: str, code: str) -> None:
    delivery.state = state
    delivery.problem, delivery.problem_code = problem[:300], code[:60]
    if state == Delivery.State.SENT:
        delivery.sent_at = timezone.now()
    delivery.save(update_fields=["state", "problem", "problem_code", "sent_at", "result"])


def _end(delivery: Delivery, lease: Lease, state: str, *, problem: str, code: str) -> None:
    with transaction.atomic():
        lease.write(rev=F("rev") + 1)
        _end_row(delivery, state, problem=problem, code=code)


def _refused(delivery: Delivery, lease: Lease, error: Bitrix24Error) -> None:
    """The portal will not do it: said on the run and on the screen, never repeated by itself."""
    code = error.code
    with transaction.atomic():
        lease.write(rev=F("rev") + 1)
        if delivery.kind in BY_BOT and code.upper() == "ACCESS_DENIED":
            # Bots leave a chat when its session is closed, and no event tells of that.
            code = "chat_closed"
            lease.write(owner=Dialog.Owner.CLOSED, owner_name="")
        _end_row(delivery, Delivery.State.FAILED, problem=str(error), code=code)
        if delivery.suggestion_id:
            Suggestion.objects.filter(pk=delivery.suggestion_id).update(
                state=Suggestion.State.READY
            )
        if delivery.kind == Delivery.Kind.CRM:
            FieldValue.objects.filter(pk__in=delivery.payload.get("values", [])).update(
                state=FieldValue.State.SKIPPED, reason="refused", decided_at=timezone.now()
            )


def _record(delivery: Delivery, dialog: Dialog, lease: Lease, report: ActionReport) -> None:
    """What happened, in one transaction with everything that follows from it."""
    with transaction.atomic():
        lease.write(rev=F("rev") + 1)
        delivery.result = {
            "message_id": report.result.get("message_id"),
            "written": list(report.written),
            "skipped": dict(report.skipped),
        }
        _end_row(delivery, Delivery.State.SENT, problem="", code="")
        if delivery.kind in MESSAGES:
            _message_is_out(delivery, dialog, int(report.result.get("message_id") or 0))  # type: ignore[arg-type]
        elif delivery.kind == Delivery.Kind.WHISPER:
            whispers.keep(delivery, dialog, int(report.result.get("message_id") or 0))  # type: ignore[arg-type]
        elif delivery.kind == Delivery.Kind.HAND_OVER:
            Dialog.objects.filter(pk=dialog.pk).update(handed_over=True)
        elif delivery.kind == Delivery.Kind.CRM:
            _values_are_written(delivery, dialog, report)
    dialog.refresh_from_db()


def _message_is_out(delivery: Delivery, dialog: Dialog, message_id: int) -> None:
    """Our own messages do not come back as events: they are kept here."""
    by_operator = delivery.kind == Delivery.Kind.OPERATOR_MESSAGE
    if message_id:
        Message.objects.get_or_create(
            dialog=dialog,
            external_id=message_id,
            defaults={
                "author": Author.OPERATOR if by_operator else Author.BOT,
                "author_id": delivery.operator_id,
                "author_name": str(delivery.payload.get("operator_name") or "")[:160],
                "text": str(delivery.payload["text"]),
                "at": timezone.now(),
            },
        )
    answered = Dialog.objects.filter(pk=dialog.pk)
    answered.update(last_message_at=timezone.now())
    if by_operator:
        answered.update(
            owner=Dialog.Owner.OPERATOR,
            owner_name=str(delivery.payload.get("operator_name") or "")[:160],
        )
    if delivery.suggestion_id:
        Suggestion.objects.filter(pk=delivery.suggestion_id).update(
            state=Suggestion.State.SENT,
            final_text=str(delivery.payload["text"]),
            closed_at=timezone.now(),
            closed_by=str(delivery.payload.get("operator_name") or ""),
        )
        Suggestion.objects.filter(dialog=dialog, state=Suggestion.State.READY).update(
            state=Suggestion.State.CLOSED, closed_reason="answered", closed_at=timezone.now()
        )


def _values_are_written(delivery: Delivery, dialog: Dialog, report: ActionReport) -> None:
    """The ledger learns what was written with which old value, and what was left alone and why."""
    old: Any = report.result.get("old") or {}
    new: Any = report.result.get("new") or {}
    now = timezone.now()
    for value in FieldValue.objects.filter(pk__in=delivery.payload.get("values", [])):
        names = value.target.split("+")
        written = [name for name in names if name in report.written]
        if written:
            value.state, value.reason = FieldValue.State.WRITTEN, ""
            value.old_value = {name: old.get(name) for name in written}
            value.new_value = {name: new.get(name) for name in written}
        else:
            value.state = FieldValue.State.SKIPPED
            reasons = [report.skipped.get(name) for name in (value.target, *names)]
            value.reason = next(filter(None, reasons), "not_kept_by_portal")[:120]
        value.decided_at = now
        value.save(update_fields=["state", "old_value", "new_value", "reason", "decided_at"])
    items: Any = report.result.get("items") or {}
    if any(items.values()):
        snapshot = {
            **(dialog.item_snapshot or {}),
            **{key: item for key, item in items.items() if item},
        }
        Dialog.objects.filter(pk=dialog.pk).update(item_snapshot=snapshot, item_snapshot_at=now)
