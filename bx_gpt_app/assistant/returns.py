"""Answers to those who asked us: callers of the hook and waiting automation rules."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.utils import timezone

from bx_gpt_app.assistant.leases import Lease
from bx_gpt_app.assistant.models import Call, Delivery, Dialog, FieldValue, Run
from bx_gpt_app.portals.models import Portal
from integrations.bitrix24.crm import ItemRef


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


def answer_of(call: Call, dialog: Dialog, run: Run) -> dict[str, Any]:
    """The hook's reply (contract of /hooks/): what was found, and what the CRM took of it."""
    answer = run.answer or {}
    response: dict[str, Any] = {
        "id": str(call.pk),
        "status": "done",
        "reply": run.reply,
        "topic": run.topic or None,
        "fields": field_values(run),
        "confidence": round(run.confidence or 0.0, 2),
        "band": run.band,
        "doubts": run.doubts,
        "needs_human": bool(answer.get("needs_human", True)) or run.state == Run.State.FAILED,
        "language": answer.get("language") or dialog.language,
        "crm": _crm_report(dialog) if dialog.items else None,
    }
    if run.state == Run.State.FAILED:
        response["reason"] = run.reason
    return response


def field_values(run: Run) -> dict[str, Any]:
    """Field → normal value; null where the client wrote nothing that supports one."""
    values: dict[str, Any] = {}
    for value in run.values:
        usable = value["band"] != "unsure"
        if usable or value["field"] not in values:
            values[value["field"]] = value["value"] if usable else None
    return values


def _crm_report(dialog: Dialog) -> dict[str, Any]:
    ref = ItemRef.parse(dialog.items[0])
    updated: list[str] = []
    skipped: dict[str, str] = {}
    for value in FieldValue.objects.filter(dialog=dialog, item=dialog.items[0]):
        if value.state == FieldValue.State.WRITTEN:
            updated += [name for name in (value.new_value or {}) if name not in updated]
        elif value.target:
            skipped[value.target] = value.reason or value.state
    return {
        "entity_type": ref.name,
        "entity_id": ref.item_id,
        "updated": updated,
        "skipped": {name: why for name, why in skipped.items() if name not in updated},
    }


def plan_robot_result(portal: Portal, dialog: Dialog, run: Run) -> None:
    """The step waits: it always gets an answer, of a failure too. Call it in a transaction."""
    event = dialog.events.filter(kind="robot").first()
    if event is None or not event.payload.get("waits", True):
        return
    answer = run.answer or {}
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
                "needs_human": "Y" if failed or answer.get("needs_human") else "N",
                "error": run.reason if failed else "",
            },
            "log": f"{run.topic or '—'}, {run.confidence or 0:.2f}, {timezone.now():%H:%M:%S}",
        },
    )
