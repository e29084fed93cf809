"""Taking a written value back: the field gets what it held, unless a person changed it since.

Source: api-reference/crm/universal/crm-item-update (an `fm` entry with an empty value is deleted).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bx_gpt_app.actions.deed import Deed
from bx_gpt_app.flow import ActionReport
from integrations.bitrix24.client import PortalClient
from integrations.bitrix24.crm import (
    CONTACT,
    MULTIFIELDS,
    FieldInfo,
    Item,
    ItemRef,
    camel_name,
    contact_key,
    item_value,
    read_item,
    same_value,
    update_item,
)
from integrations.bitrix24.errors import NotFound
from integrations.bitrix24.forms import as_list, folded, text_of


def apply(deed: Deed) -> ActionReport:
    """payload: item (LEAD_77), restore [{field, old, new}], values in the portal's own format."""
    ref = ItemRef.parse(str(deed.payload["item"]))
    entries = list(deed.payload["restore"])
    own = deed.fields_of(ref.entity_type_id)
    elsewhere = [
        one
        for one in entries
        if one["field"] in MULTIFIELDS and one["field"] not in own and ref.entity_type_id != CONTACT
    ]
    try:
        item = read_item(deed.client, ref)
    except NotFound:
        return ActionReport(ok=False, skipped={one["field"]: "item_deleted" for one in entries})
    here = [one for one in entries if one not in elsewhere]
    written, skipped, items = _restore(deed.client, ref, item, own, here)
    contact_id = text_of(item_value(item, "CONTACT_ID"))
    if elsewhere and contact_id.isdigit() and int(contact_id):
        contact = ItemRef(CONTACT, int(contact_id))
        card, infos = read_item(deed.client, contact), deed.fields_of(CONTACT)
        more = _restore(deed.client, contact, card, infos, elsewhere)
        written, skipped, items = written + more[0], {**skipped, **more[1]}, {**items, **more[2]}
    return ActionReport(written=written, skipped=skipped, result={"items": items})


def _restore(
    client: PortalClient,
    ref: ItemRef,
    item: Item,
    infos: Mapping[str, FieldInfo],
    entries: list[dict[str, Any]],
) -> tuple[tuple[str, ...], dict[str, str], dict[str, Any]]:
    fields: dict[str, Any] = {}
    fm: dict[str, dict[str, str]] = {}
    skipped: dict[str, str] = {}
    for entry in entries:
        name = entry["field"]
        info = infos.get(name)
        if info is None:
            skipped[name] = "no_such_field"
        elif info.type == "crm_multifield":
            found = _entry_of(item, name, text_of(entry["new"]))
            if found:
                fm[found["id"]] = {
                    "typeId": name,
                    "valueType": found["kind"],
                    "value": text_of(entry["old"]),
                }
            else:
                skipped[name] = "changed_meanwhile"
        elif not same_value(info.type, item_value(item, name), entry["new"]):
            skipped[name] = "changed_meanwhile"
        else:
            fields[info.portal_name or camel_name(name)] = _emptied(entry["old"])
    if not fields and not fm:
        return (), skipped, {}
    after = update_item(client, ref, fields, fm).item
    names = tuple(entry["field"] for entry in entries if entry["field"] not in skipped)
    return names, skipped, {str(ref): after}


def _emptied(old: Any) -> Any:
    return "" if old is None else old


def _entry_of(item: Item, name: str, value: str) -> dict[str, str] | None:
    """The phone or e-mail that we wrote: its id in the portal, and its kind.

    Old portals keep such entries under the field's own name, in upper-case keys.
    """
    wanted = contact_key(name, value)
    for one in (*as_list(item_value(item, "fm")), *as_list(item_value(item, name))):
        told = folded(one)
        is_same = contact_key(name, text_of(told.get("value"))) == wanted
        if is_same and text_of(told.get("typeid") or name) == name and told.get("id"):
            return {"id": text_of(told["id"]), "kind": text_of(told.get("valuetype"))}
    return None
