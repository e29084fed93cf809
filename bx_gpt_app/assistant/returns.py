"""Answers to those who asked us: callers of the hook and waiting automation rules."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from bx_gpt_app.assistant.leases import Lease
from bx_gpt_app.assistant.models import Call, Delivery, Dialog, FieldValue, Run
from bx_gpt_app.assistant.reasons import in_words
from bx_gpt_app.portals.models import Portal
from integrations.bitrix24.crm import COMPANY, CONTACT, DEAL, LEAD, ItemRef
from integrations.llm.question import OUT_OF_FORM
from integrations.llm.values import Band

FAILED = "failed"
_NAMED_TYPES = (LEAD, DEAL, CONTACT, COMPANY)
"""The callers' names of types; all others are numbers to them (contract of /hooks/)."""


def finish_call(dialog: Dialog, lease: Lease) -> None:
    """Write the caller's answer down once the run is decided and its CRM update has ended."""
    if dialog.kind != Dialog.Kind.HOOK:
        return
    call = Call.objects.filter(dialog=dialog, response__isnull=True).first()
    run = dialog.runs.order_by("-id").first()
    if call is None or run is None or run.state in (Run.State.THINKING, Run.State.ANSWERED):
        return
    if dialog.deliveries.filter(state__in=Delivery.OPEN).exists():
        return
    with transaction.atomic():
        lease.hold()
        call.response = answer_of(call, dialog, run)
        call.save(update_fields=["response"])


def fail_call(dialog: Dialog) -> None:
    """Tell a caller that his call has ended without a result; nothing if he has one already.

    The answer has the keys of every other, so that it can be read without a look at `status`.
    """
    call = Call.objects.filter(dialog=dialog, response__isnull=True).first()
    if call is None:
        return
    with translation.override(_language(dialog.portal)):
        sentence = _("An error of our own: the portal’s administrator sees this call in the log.")
    call.response = {
        "id": str(call.pk),
        "status": FAILED,
        "reply": "",
        "topic": None,
        "fields": {},
        "confidence": 0.0,
        "needs_human": True,
        "crm": None,
        "error": "internal_error",
        "error_description": sentence,
    }
    call.save(update_fields=["response"])


def reopen_call(dialog_id: int) -> None:
    """A failed call is worked at again: its caller may wait for the result."""
    Call.objects.filter(dialog_id=dialog_id, response__status=FAILED).update(response=None)


def answer_of(call: Call, dialog: Dialog, run: Run) -> dict[str, Any]:
    """The hook's reply (contract of /hooks/): what was found, and what the CRM took of it."""
    answer = run.answer or {}
    # Bands come from rules, which have nothing to say against words that keep to no form.
    unsure = _is_out_of_form(run) and run.band == Band.CONFIDENT
    response: dict[str, Any] = {
        "id": str(call.pk),
        "status": "done",
        "reply": run.reply,
        "topic": run.topic or None,
        "fields": field_values(run),
        "confidence": round(run.confidence or 0.0, 2),
        "band": Band.CHECK if unsure else run.band,
        "doubts": run.doubts,
        "needs_human": _needs_human(run),
        "language": answer.get("language") or dialog.language,
        "crm": _crm_report(call, dialog) if dialog.items else None,
    }
    if run.state == Run.State.FAILED:
        response["reason"] = run.reason
        with translation.override(_language(dialog.portal)):
            # What the model's server said and what to do about it is for the admin's screen.
            detail = run.reason_detail if run.reason == "budget" else ""
            first, _full_stop, _more = in_words(run.reason, detail).partition(". ")
            response["error_description"] = f"{first.rstrip('.')}."
    return response


def _is_out_of_form(run: Run) -> bool:
    return run.how in OUT_OF_FORM


def _needs_human(run: Run) -> bool:
    """Without an answer, or with one that kept to no form, only a person can tell what to do."""
    asks_for_one = bool((run.answer or {}).get("needs_human", True))
    return asks_for_one or run.state == Run.State.FAILED or _is_out_of_form(run)


def _language(portal: Portal) -> str:
    return "ru" if portal.language == "ru" else "en"


def field_values(run: Run) -> dict[str, Any]:
    """Field → normal value; null where the client wrote nothing that supports one."""
    values: dict[str, Any] = {}
    for value in run.values:
        usable = value["band"] != "unsure"
        if usable or value["field"] not in values:
            values[value["field"]] = value["value"] if usable else None
    return values


def _crm_report(call: Call, dialog: Dialog) -> dict[str, Any]:
    ref = ItemRef.parse(dialog.items[0])
    updated: list[str] = []
    skipped: dict[str, str] = {}
    for value in FieldValue.objects.filter(dialog=dialog, item=dialog.items[0]):
        if value.state == FieldValue.State.WRITTEN:
            updated += [name for name in (value.new_value or {}) if name not in updated]
        elif value.target:
            skipped[value.target] = value.reason or value.state
    known = ref.entity_type_id in _NAMED_TYPES
    return {
        "entity_type": call.request.get("entity_type")
        or (ref.name if known else ref.entity_type_id),
        "entity_id": ref.item_id,
        "updated": updated,
        "skipped": {name: why for name, why in skipped.items() if name not in updated},
    }


def plan_robot_result(portal: Portal, dialog: Dialog, run: Run) -> None:
    """The step waits: it always gets an answer, of a failure too. Call it in a transaction."""
    event = dialog.events.filter(kind="robot").first()
    if event is None or not event.payload.get("waits", True):
        return
    failed = run.state == Run.State.FAILED
    Delivery.objects.create(
        portal=portal,
        dialog=dialog,
        run=run,
        kind=Delivery.Kind.ROBOT_RESULT,
        payload={
            "event_token": event.payload["event_token"],
            "values": {
                "reply": run.reply,
                "topic": run.topic,
                "confidence": round(run.confidence or 0.0, 2),
                "needs_human": "Y" if _needs_human(run) else "N",
                "error": run.reason if failed else "",
            },
            "log": f"{run.topic or '—'}, {run.confidence or 0:.2f}, {timezone.now():%H:%M:%S}",
        },
    )
