"""CRM over the wire: reading fields and items, writing them, the timeline. The door to crm_*."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from integrations.bitrix24.client import BATCH_SIZE, Command, PortalClient, is_inert
from integrations.bitrix24.crm_items import (
    COMPANY,
    CONTACT,
    DEAL,
    ENTITY_NAMES,
    ENTITY_TYPES,
    HAVE_MULTIFIELDS,
    LARGEST_ID,
    LEAD,
    MULTIFIELDS,
    QUOTE,
    FieldInfo,
    Item,
    ItemRef,
    camel_name,
    contact_key,
    emails,
    entity_type_id,
    item_value,
    multifield_values,
    phone_key,
    phones,
    upper_name,
)
from integrations.bitrix24.crm_plan import Change, Plan, Policy, Wanted, plan_changes
from integrations.bitrix24.crm_values import (
    MAX_LENGTHS,
    MULTIFIELD_MAX_LENGTH,
    NotWritable,
    same_value,
    to_portal_value,
)
from integrations.bitrix24.errors import (
    AccessDenied,
    Bitrix24Error,
    CallRejected,
    MethodMissing,
    NotFound,
    ScopeMissing,
)
from integrations.bitrix24.forms import as_dict, as_list, flag_of, int_of, text_of
from integrations.bitrix24.limiter import Priority
from integrations.bitrix24.person_names import PersonName, split_person_name

__all__ = [
    "COMPANY",
    "CONTACT",
    "DEAL",
    "ENTITY_NAMES",
    "ENTITY_TYPES",
    "LARGEST_ID",
    "LEAD",
    "MULTIFIELDS",
    "QUOTE",
    "Change",
    "FieldInfo",
    "Item",
    "ItemRef",
    "NotWritable",
    "PersonName",
    "Plan",
    "Policy",
    "UpdateReport",
    "Wanted",
    "WriteReport",
    "add_timeline_note",
    "camel_name",
    "contact_key",
    "emails",
    "entity_type_id",
    "find_by_dialog_command",
    "find_people",
    "item_from",
    "item_value",
    "phone_key",
    "phones",
    "plan_changes",
    "read_fields",
    "read_item",
    "read_item_command",
    "same_value",
    "split_person_name",
    "to_portal_value",
    "update_item",
    "update_item_command",
    "upper_name",
    "write_batch",
]

TIMELINE_MAX_LENGTH = 10_000


MULTIFIELD_TITLES: Mapping[str, tuple[str, str]] = {
    "PHONE": ("Phone", "Телефон"),
    "EMAIL": ("E-mail", "E-mail"),
    "WEB": ("Site", "Сайт"),
}
"""English and Russian: the universal methods leave these fields out (crm-item-fields)."""


def read_fields(
    client: PortalClient,
    entity_type_id: int,
    *,
    language: str = "en",
    priority: Priority = Priority.LIVE,
) -> dict[str, FieldInfo]:
    """The fields of a type by the admin's UPPER name, with the choices of lists and directories.

    `language` is the portal's: the few titles that it does not tell are ours.

    One request, and one more when there are directories (at most 50 of them are read).
    Very old portals are asked by the methods of their time.
    Source: api-reference/crm/universal/crm-item-fields, api-reference/crm/status/crm-status-list.
    """
    try:
        result = as_dict(
            client.call(
                "crm.item.fields",
                {"entityTypeId": entity_type_id, "useOriginalUfNames": "Y"},
                repeatable=True,
                priority=priority,
            )
        )
        described = as_dict(result.get("fields")) or result
    except MethodMissing:
        method = _legacy_method(entity_type_id, "fields")
        described = as_dict(client.call(method, repeatable=True, priority=priority))
    infos = [_field_info(key, as_dict(one)) for key, one in described.items()]
    if entity_type_id in HAVE_MULTIFIELDS:
        known = {info.name for info in infos}
        infos += [_multifield_info(name, language) for name in MULTIFIELDS if name not in known]
    directories = sorted({i.status_type for i in infos if i.type == "crm_status" and i.status_type})
    titles = _read_directories(client, directories, priority) if directories else {}
    return {
        info.name: _with_choices(info, titles.get(info.status_type, ()))
        if info.type == "crm_status"
        else info
        for info in infos
    }


def _field_info(key: str, told: Mapping[str, Any]) -> FieldInfo:
    name = text_of(told.get("upperName")) or upper_name(key)
    is_custom = name.startswith("UF_")  # whose legacy `title` is only the code
    order = ("formLabel", "listLabel", "title") if is_custom else ("title", "formLabel")
    settings = as_dict(told.get("settings"))
    custom_length = int_of(settings.get("MAX_LENGTH"))
    is_multifield = text_of(told.get("type")) == "crm_multifield" or name in MULTIFIELDS
    return FieldInfo(
        name=name,
        title=next((text_of(told.get(key)) for key in order if text_of(told.get(key))), name),
        type="crm_multifield" if is_multifield else text_of(told.get("type")) or "string",
        multiple=is_multifield or flag_of(told.get("isMultiple")),
        read_only=flag_of(told.get("isReadOnly")) or flag_of(told.get("isImmutable")),
        choices=tuple(
            (text_of(one.get("ID")), text_of(one.get("VALUE")))
            for one in map(as_dict, as_list(told.get("items")))
            if text_of(one.get("ID"))
        ),
        status_type=text_of(told.get("statusType")),
        max_length=custom_length
        if custom_length and custom_length > 0
        else MULTIFIELD_MAX_LENGTH
        if is_multifield
        else MAX_LENGTHS.get(name),
        portal_name=key,
    )


def _multifield_info(name: str, language: str) -> FieldInfo:
    return FieldInfo(
        name=name,
        title=MULTIFIELD_TITLES[name][1 if language == "ru" else 0],
        type="crm_multifield",
        multiple=True,
        max_length=MULTIFIELD_MAX_LENGTH,
        portal_name=name,
    )


def _with_choices(info: FieldInfo, choices: tuple[tuple[str, str], ...]) -> FieldInfo:
    return replace(info, choices=choices or info.choices)


def _read_directories(
    client: PortalClient, names: Sequence[str], priority: Priority
) -> dict[str, tuple[tuple[str, str], ...]]:
    """Directory -> its (STATUS_ID, title); one that may not be read is left out."""
    commands = {
        name: Command("crm.status.list", {"filter": {"ENTITY_ID": name}, "order": {"SORT": "ASC"}})
        for name in names[:BATCH_SIZE]
    }
    reply = client.batch(commands, priority=priority, repeatable=True)
    return {
        name: tuple(
            (text_of(row.get("STATUS_ID")), text_of(row.get("NAME")))
            for row in map(as_dict, as_list(rows))
            # a stand-in or an old portal may ignore the filter
            if text_of(row.get("STATUS_ID")) and row.get("ENTITY_ID", name) == name
        )
        for name, rows in reply.results.items()
    }


def read_item_command(ref: ItemRef) -> Command:
    """crm.item.get always has the multifields. Source: api-reference/crm/universal/crm-item-get."""
    return Command(
        "crm.item.get",
        {"entityTypeId": ref.entity_type_id, "id": ref.item_id, "useOriginalUfNames": "Y"},
    )


def read_item(client: PortalClient, ref: ItemRef, *, priority: Priority = Priority.LIVE) -> Item:
    """Raises: NotFound, AccessDenied, …"""
    command = read_item_command(ref)
    try:
        answer = client.call(command.method, command.params, repeatable=True, priority=priority)
    except MethodMissing:
        method = _legacy_method(ref.entity_type_id, "get")
        return as_dict(client.call(method, {"id": ref.item_id}, repeatable=True, priority=priority))
    return item_from(answer)


def item_from(result: Any) -> Item:
    """The item in the result of crm.item.get, .add or .update."""
    answer = as_dict(result)
    return as_dict(answer.get("item")) or (answer if "id" in answer or "ID" in answer else {})


def find_by_dialog_command(entity_type_id: int, imol: str, *, whole: bool = False) -> Command:
    """Items bound to an open line's chat. Source: tutorials/openlines/find-crm-object-by-dialog.

    `imol` is `LineChat.imol`, with or without the leading `imol|`. `whole` items come with their
    fields and multifields, others with their id only.
    """
    value = imol if imol.startswith("imol|") else f"imol|{imol}"
    return Command(
        "crm.item.list",
        {
            "entityTypeId": entity_type_id,
            "filter": {"=imol": value},
            "select": ["*"] if whole else ["id"],
            "order": {"id": "DESC"},
            **({"useOriginalUfNames": "Y"} if whole else {}),
        },
    )


@dataclass(frozen=True)
class UpdateReport:
    """`written` and the keys of `refused` are UPPER names; reasons are codes or `not_stored`."""

    item: Item
    written: tuple[str, ...]
    refused: dict[str, str]


@dataclass(frozen=True)
class WriteReport:
    """`before` is the item just before the write: a person may have filled a field meanwhile."""

    before: Item | None
    after: Item | None
    written: tuple[str, ...]
    refused: dict[str, str]
    note_id: int | None


def update_item(
    client: PortalClient,
    ref: ItemRef,
    fields: Mapping[str, Any],
    fm: Mapping[str, Mapping[str, str]],
    *,
    priority: Priority = Priority.LIVE,
) -> UpdateReport:
    """One crm.item.update of changed fields; on a bad value once more, each field by itself.

    The portal silently ignores names it does not know and dates it cannot read, so the returned
    item is compared with what was sent.
    Raises: NotFound, AccessDenied, Unavailable, …; CallRejected only when nothing could be written.
    Source: api-reference/crm/universal/crm-item-update.
    """
    if not fields and not fm:
        return UpdateReport({}, (), {})
    refused: dict[str, str] = {}
    try:
        item = _update(client, ref, fields, fm, priority)
    except (NotFound, AccessDenied, ScopeMissing, MethodMissing):
        raise
    except CallRejected as error:
        parts = _parts(fields, fm)
        if len(parts) == 1:
            return UpdateReport({}, (), {name: _reason(error) for name in _names(fields, fm)})
        item, refused = _update_in_parts(client, ref, parts, priority)
    return _report(item, fields, fm, refused)


def _update(
    client: PortalClient,
    ref: ItemRef,
    fields: Mapping[str, Any],
    fm: Mapping[str, Mapping[str, str]],
    priority: Priority,
) -> Item:
    command = update_item_command(ref, fields, fm)
    repeatable = _is_absolute(fm)
    try:
        return item_from(
            client.call(command.method, command.params, priority=priority, repeatable=repeatable)
        )
    except MethodMissing:
        legacy = {"id": ref.item_id, "fields": _legacy_fields(fields, fm)}
        method = _legacy_method(ref.entity_type_id, "update")
        client.call(method, legacy, priority=priority, repeatable=repeatable)
        return read_item(client, ref, priority=priority)


def _is_absolute(fm: Mapping[str, Any]) -> bool:
    """May it be written twice? A new phone would be added twice."""
    return not any(key.startswith("n") for key in fm)


def update_item_command(
    ref: ItemRef, fields: Mapping[str, Any], fm: Mapping[str, Mapping[str, str]]
) -> Command:
    """The keys of `fm`: `n0`, `n1` add an entry, an existing id changes it.

    Source: tutorials/crm/how-to-edit-crm-objects/how-to-change-email-or-phone.
    """
    changed: dict[str, Any] = dict(fields)
    if fm:
        changed["fm"] = {key: dict(entry) for key, entry in fm.items()}
    return Command(
        "crm.item.update",
        {
            "entityTypeId": ref.entity_type_id,
            "id": ref.item_id,
            "useOriginalUfNames": "Y",
            "fields": changed,
        },
    )


type _Part = tuple[dict[str, Any], dict[str, Mapping[str, str]]]

_COMPANIONS = ("isManualOpportunity", "currencyId", "IS_MANUAL_OPPORTUNITY", "CURRENCY_ID")


def _parts(fields: Mapping[str, Any], fm: Mapping[str, Mapping[str, str]]) -> list[_Part]:
    """The smallest updates that make sense by themselves."""
    companions = {}
    if "opportunity" in fields or "OPPORTUNITY" in fields:
        companions = {key: fields[key] for key in _COMPANIONS if key in fields}
    parts: list[_Part] = [
        ({key: value, **(companions if key.lower() == "opportunity" else {})}, {})
        for key, value in fields.items()
        if key not in companions
    ]
    return parts + [({}, {key: entry}) for key, entry in fm.items()]


def _update_in_parts(
    client: PortalClient, ref: ItemRef, parts: Iterable[_Part], priority: Priority
) -> tuple[Item, dict[str, str]]:
    item: Item = {}
    refused: dict[str, str] = {}
    for fields, fm in parts:
        try:
            item = _update(client, ref, fields, fm, priority) or item
        except CallRejected as error:
            refused.update(dict.fromkeys(_names(fields, fm), _reason(error)))
    return item, refused


def _report(
    item: Item,
    fields: Mapping[str, Any],
    fm: Mapping[str, Mapping[str, str]],
    refused: dict[str, str],
) -> UpdateReport:
    written: list[str] = []
    for key, sent in fields.items():
        name = upper_name(key)
        if name in refused or key in _COMPANIONS:
            continue
        if item and not _is_stored(sent, item_value(item, name)):
            refused[name] = "not_stored"
        else:
            written.append(name)
    for entry in fm.values():
        name = entry["typeId"]
        known = {contact_key(name, value) for value in multifield_values(item, name)}
        if name in refused or name in written:
            continue
        if item and contact_key(name, entry["value"]) not in known:
            refused[name] = "not_stored"
        else:
            written.append(name)
    return UpdateReport(item, tuple(written), refused)


def _is_stored(sent: Any, stored: Any) -> bool:
    """Is this what was sent, in any spelling the portal may have given it?"""
    kinds = ("string", "datetime", "date", "money")
    if sent in ("Y", "N"):
        return flag_of(sent) == flag_of(stored)
    if isinstance(sent, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", sent):
        return same_value("date", sent, stored)
    if any(same_value(kind, sent, stored) for kind in kinds if kind != "date"):
        return True
    # comments come back as BBCode or HTML that the portal has tidied up
    plain = re.sub(r"<[^>]*>|\[/?\w+[^\]]*\]|&\w+;|\W", "", text_of(stored))
    return (
        isinstance(sent, str)
        and bool(plain)
        and plain == re.sub(r"<[^>]*>|\[/?\w+[^\]]*\]|&\w+;|\W", "", sent)
    )


def _names(fields: Mapping[str, Any], fm: Mapping[str, Mapping[str, str]]) -> list[str]:
    own = [upper_name(key) for key in fields if key not in _COMPANIONS or len(fields) == 1]
    return list(dict.fromkeys([*own, *(entry["typeId"] for entry in fm.values())]))


def _reason(error: Bitrix24Error) -> str:
    return error.code or "rejected"


def _legacy_method(entity_type_id: int, verb: str) -> str:
    if entity_type_id not in (LEAD, DEAL, CONTACT, COMPANY, QUOTE):
        raise MethodMissing("this portal is too old for items of this type", method="crm.item")
    return f"crm.{ENTITY_TYPES[entity_type_id][0]}.{verb}"


def _legacy_fields(
    fields: Mapping[str, Any], fm: Mapping[str, Mapping[str, str]]
) -> dict[str, Any]:
    """Upper names and lists of entries; an entry with an id but without VALUE would delete."""
    legacy: dict[str, Any] = {upper_name(key): value for key, value in fields.items()}
    for key, entry in fm.items():
        told = {"VALUE": entry["value"], "VALUE_TYPE": entry["valueType"]}
        if key.isdecimal():
            told["ID"] = key
        legacy.setdefault(entry["typeId"], []).append(told)
    return legacy


def write_batch(
    client: PortalClient,
    ref: ItemRef,
    plan: Plan,
    note: tuple[str, str] | None,
    *,
    priority: Priority = Priority.LIVE,
) -> WriteReport:
    """Reads the item, writes the plan and notes it in the timeline: one request if it is safe.

    A client's text that would be executed inside a batch makes it three calls. A value that the
    portal refuses is found by writing each field by itself; the note follows when something was
    written. Raises: as `update_item`.
    """
    if plan.is_empty:
        note_id = _try_note(client, ref, note, priority) if note else None
        return WriteReport(None, None, (), {}, note_id)
    if not _all_inert([plan.fields, plan.fm, list(note or ())]):
        before = read_item(client, ref, priority=priority)
        return _write_separately(client, ref, plan, note, before, priority)
    commands = {
        "get": read_item_command(ref),
        "update": update_item_command(ref, plan.fields, plan.fm),
    }
    if note:
        commands["note"] = _note_command(ref, *note)
    # the first error ends it, so that a note never tells of a write that was refused
    repeatable = note is None and _is_absolute(plan.fm)
    reply = client.batch(commands, halt=True, priority=priority, repeatable=repeatable)
    if isinstance(reply.errors.get("get"), MethodMissing):
        before = read_item(client, ref, priority=priority)
        return _write_separately(client, ref, plan, note, before, priority)
    before = item_from(reply.get("get"))
    failure = reply.errors.get("update")
    if failure:
        if not isinstance(failure, CallRejected) or isinstance(
            failure, NotFound | AccessDenied | ScopeMissing
        ):
            raise failure
        return _write_separately(client, ref, plan, note, before, priority)
    report = _report(item_from(reply.get("update")), plan.fields, plan.fm, {})
    note_id = _note_id(reply.results["note"]) if "note" in reply.results else None
    if note and isinstance(reply.errors.get("note"), MethodMissing):
        note_id = _try_note(client, ref, note, priority)
    return WriteReport(before, report.item or None, report.written, report.refused, note_id)


def _write_separately(
    client: PortalClient,
    ref: ItemRef,
    plan: Plan,
    note: tuple[str, str] | None,
    before: Item,
    priority: Priority,
) -> WriteReport:
    report = update_item(client, ref, plan.fields, plan.fm, priority=priority)
    note_id = _try_note(client, ref, note, priority) if note and report.written else None
    return WriteReport(before, report.item or None, report.written, report.refused, note_id)


def _all_inert(value: Any) -> bool:
    if isinstance(value, str):
        return is_inert(value)
    if isinstance(value, Mapping):
        return all(is_inert(str(key)) and _all_inert(one) for key, one in value.items())
    if isinstance(value, list | tuple):
        return all(_all_inert(one) for one in value)
    return True


# --- timeline, people ----------------------------------------------------------------------------


def _note_command(ref: ItemRef, title: str, text: str) -> Command:
    return Command(
        "crm.timeline.logmessage.add",
        {
            "fields": {
                "entityTypeId": ref.entity_type_id,
                "entityId": ref.item_id,
                "title": title[:255],
                "text": text[:TIMELINE_MAX_LENGTH],
                "iconCode": "info",
            }
        },
    )


def _note_id(result: Any) -> int | None:
    answer = as_dict(result)
    inner = as_dict(answer.get("logMessage")) or answer
    return int_of(inner.get("id")) or int_of(result)


def add_timeline_note(
    client: PortalClient,
    ref: ItemRef,
    title: str,
    text: str,
    *,
    priority: Priority = Priority.BACKGROUND,
) -> int | None:
    """A log entry, marked as a machine's; a comment where the portal has no log entries.

    Raises: as `PortalClient.call`. Not repeatable: after an unknown outcome leave it.
    Source: api-reference/crm/timeline/logmessage, api-reference/crm/timeline/comments.
    """
    command = _note_command(ref, title, text)
    try:
        return _note_id(client.call(command.method, command.params, priority=priority))
    except MethodMissing:
        comment = {
            "ENTITY_ID": ref.item_id,
            "ENTITY_TYPE": ref.name,
            "COMMENT": f"{title}\n{text}"[:TIMELINE_MAX_LENGTH],
        }
        # the key must be lower-case since crm 23.100
        return int_of(
            client.call("crm.timeline.comment.add", {"fields": comment}, priority=priority)
        )


def _try_note(
    client: PortalClient, ref: ItemRef, note: tuple[str, str], priority: Priority
) -> int | None:
    """A note that fails does not undo or repeat the write it tells of."""
    try:
        return add_timeline_note(client, ref, *note, priority=priority)
    except Bitrix24Error:
        return None


def find_people(
    client: PortalClient,
    *,
    phone: str = "",
    email: str = "",
    priority: Priority = Priority.BACKGROUND,
) -> tuple[ItemRef, ...]:
    """Contacts, companies and leads with this phone or e-mail, in this order.

    Source: api-reference/crm/duplicates/crm-duplicate-find-by-comm.
    """
    found: list[ItemRef] = []
    for kind, value in (("PHONE", phone), ("EMAIL", email)):
        if not value:
            continue
        result = as_dict(
            client.call(
                "crm.duplicate.findbycomm",
                {"type": kind, "values": [value]},
                repeatable=True,
                priority=priority,
            )
        )
        for type_id in (CONTACT, COMPANY, LEAD):
            ids = as_list(result.get(ENTITY_TYPES[type_id][0].upper()))
            found += [ItemRef(type_id, number) for one in ids if (number := int_of(one))]
    return tuple(dict.fromkeys(found))
