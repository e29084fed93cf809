"""Values into a CRM item by policy: only changed fields, and nothing a person wrote is lost.

When the item was read lately, one batch reads it again, writes and notes: what a person filled in
between is seen in the "before" of that very batch and put back. Otherwise the item is read first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bx_gpt_app.actions import crm_undo
from bx_gpt_app.actions.deed import Deed
from bx_gpt_app.flow import ActionReport
from integrations.bitrix24.crm import (
    CONTACT,
    FieldInfo,
    Item,
    ItemRef,
    NotWritable,
    Plan,
    Wanted,
    item_value,
    plan_changes,
    read_item,
    to_portal_value,
    update_item,
    upper_name,
    write_batch,
)
from integrations.bitrix24.errors import NotFound


def apply(deed: Deed) -> ActionReport:
    """payload: item (LEAD_77), wanted [{field, value, policy, otherwise?}], note {title, text} or
    None; with `restore` instead, values are taken back (`crm_undo`).

    The report's result: `old` and `new` by field, `items` as the portal returned them.
    Source: api-reference/crm/universal/crm-item-update.
    """
    if deed.payload.get("restore"):
        return crm_undo.apply(deed)
    ref = ItemRef.parse(str(deed.payload["item"]))
    infos = deed.fields_of(ref.entity_type_id)
    wanted = [_wanted(entry, infos) for entry in deed.payload["wanted"]]
    known = None if deed.repeated else deed.snapshot.get(str(ref))
    try:
        item = known or read_item(deed.client, ref)
    except NotFound:
        return ActionReport(ok=False, skipped={wish.field: "item_deleted" for wish in wanted})
    plan = plan_changes(item, infos, wanted, zone=deed.zone)
    own = _write(deed, ref, plan, item, infos)
    contact_id = item_value(item, "CONTACT_ID")
    if not plan.redirects or not str(contact_id or "0").isdigit() or not int(contact_id or 0):
        return own
    return _both(own, _write_to_contact(deed, int(contact_id), plan.redirects))


def _wanted(entry: Mapping[str, Any], infos: Mapping[str, FieldInfo]) -> Wanted:
    """A wish; `otherwise` is another name of the same value for lists that spell it so (a topic's
    code)."""
    info, value = infos.get(entry["field"]), entry["value"]
    if info and entry.get("otherwise"):
        try:
            to_portal_value(info, value)
        except NotWritable:
            value = entry["otherwise"]
    return Wanted(entry["field"], value, entry["policy"])


def _write(
    deed: Deed, ref: ItemRef, plan: Plan, planned_on: Item, infos: Mapping[str, FieldInfo]
) -> ActionReport:
    if not plan.changes:
        return ActionReport(skipped=dict(plan.skipped), result={"items": {str(ref): planned_on}})
    report = write_batch(deed.client, ref, plan, _note(deed.payload.get("note"), plan, infos))
    skipped = {**plan.skipped, **report.refused}
    after = report.after or {}
    lost = _filled_meanwhile(plan, planned_on, report.before or planned_on, deed)
    if lost:
        after = update_item(deed.client, ref, lost, {}).item
        skipped |= dict.fromkeys(map(upper_name, lost), "filled_meanwhile")
    written = tuple(name for name in report.written if name not in skipped)
    changes = {change.field: change for change in plan.changes}
    return ActionReport(
        written=written,
        skipped=skipped,
        result={
            "items": {str(ref): after},
            "old": {name: changes[name].old for name in written if name in changes},
            "new": {name: changes[name].portal_value for name in written if name in changes},
        },
    )


def _write_to_contact(deed: Deed, contact_id: int, wishes: Iterable[Wanted]) -> ActionReport:
    """A deal has no phones or e-mails of its own; they belong to its contact."""
    ref = ItemRef(CONTACT, contact_id)
    infos = deed.fields_of(CONTACT)
    item = read_item(deed.client, ref)
    plan = plan_changes(item, infos, list(wishes), zone=deed.zone)
    return _write(deed, ref, plan, item, infos)


def _both(first: ActionReport, second: ActionReport) -> ActionReport:
    written = first.written + second.written
    skipped = {**first.skipped, **second.skipped}
    parts: dict[str, Any] = {}
    for name in ("items", "old", "new"):
        one, other = first.result.get(name) or {}, second.result.get(name) or {}
        parts[name] = {**one, **other}  # type: ignore[dict-item]  # both are maps by construction
    return ActionReport(
        written=written,
        skipped={name: why for name, why in skipped.items() if name not in written},
        result=parts,
    )


def _filled_meanwhile(plan: Plan, planned_on: Item, before: Item, deed: Deed) -> dict[str, Any]:
    """Old values of fields we meant to fill only when empty, and a person filled in between."""
    careful = {
        name
        for entry in deed.payload["wanted"]
        if entry["policy"] == "fill_empty"
        for name in str(entry["field"]).split("+")
    }
    lost = {}
    for key in plan.fields:
        name = upper_name(key)
        old, seen = item_value(planned_on, name), item_value(before, name)
        if name in careful and old in (None, "", [], 0, "0") and seen not in (None, "", [], 0, "0"):
            lost[key] = seen
    return lost


def _note(note: Any, plan: Plan, infos: Mapping[str, FieldInfo]) -> tuple[str, str] | None:
    """Our own words only: titles of the filled fields, never the client's text."""
    if not note:
        return None
    names = dict.fromkeys(change.field for change in plan.changes)
    titles = ", ".join(infos[name].title or name for name in names)
    return str(note["title"]), f"{note['text']} {titles}"
