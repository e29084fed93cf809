"""CRM methods: universal items, the legacy ones, directories, timeline, activities."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from integrations.bitrix24.local_portal.crm import (
    MULTIFIELD_TYPES,
    Crm,
    Item,
    TimelineEntry,
    custom_spec,
)
from integrations.bitrix24.local_portal.crm_fields import (
    COMPANY,
    CONTACT,
    DEAL,
    LEAD,
    TYPE_NAMES,
    WITH_PHONES,
    FieldSpec,
    Status,
)
from integrations.bitrix24.local_portal.methods_app import PAGE, page
from integrations.bitrix24.local_portal.options import UserField
from integrations.bitrix24.local_portal.php import as_list, as_map, number, truth
from integrations.bitrix24.local_portal.rest import Call, Listed, Table
from integrations.bitrix24.local_portal.state import RestError

TABLE = Table()
FILTER_NAME = re.compile(r"(!=%|!%|!@|!=|>=|<=|=%|%=|[=!><@%])?(.+)")
ABOUT = {"scope": "crm", "employees_only": True}


# ---------------------------------------------------------------------- access


def _items_of(call: Call, entity_type_id: int) -> dict[int, Item]:
    table = call.world.crm.table(entity_type_id)
    if not call.user.crm_access:
        raise RestError("ACCESS_DENIED", "Access denied")
    return table


def _item(call: Call, entity_type_id: int) -> Item:
    _items_of(call, entity_type_id)
    return call.world.crm.item(entity_type_id, call.int("id"))


def _type_id(call: Call) -> int:
    value = call.get("entityTypeId")
    if value is None:
        raise RestError("100", "Could not find value for parameter {entityTypeId}")
    return number(value)


def _original(call: Call) -> bool:
    return call.flag("useOriginalUfNames")


# ---------------------------------------------------------------------- crm.item.*


@TABLE("crm.item.fields", **ABOUT)
def item_fields(call: Call) -> Any:
    """Multifields are not listed here although `fm` is writable."""
    entity_type_id = _type_id(call)
    _items_of(call, entity_type_id)
    specs = call.world.crm.spec_by(entity_type_id, legacy=False, original_uf=_original(call))
    return {"fields": {name: spec.describe(legacy=False) for name, spec in specs.items()}}


@TABLE("crm.item.get", **ABOUT)
def item_get(call: Call) -> Any:
    item = _item(call, _type_id(call))
    return {"item": call.world.crm.view(item, original_uf=_original(call))}


@TABLE("crm.item.add", "crm.item.import", **ABOUT)
def item_add(call: Call) -> Any:
    entity_type_id, original = _type_id(call), _original(call)
    _items_of(call, entity_type_id)
    item = call.world.crm.add(
        entity_type_id, call.map("fields"), user_id=call.user.id, original_uf=original
    )
    return {"item": call.world.crm.view(item, original_uf=original)}


@TABLE("crm.item.update", **ABOUT)
def item_update(call: Call) -> Any:
    item, original = _item(call, _type_id(call)), _original(call)
    call.world.crm.update(item, call.map("fields"), user_id=call.user.id, original_uf=original)
    return {"item": call.world.crm.view(item, original_uf=original)}


@TABLE("crm.item.delete", **ABOUT)
def item_delete(call: Call) -> Any:
    call.world.crm.delete(_item(call, _type_id(call)), user_id=call.user.id)
    return []


@TABLE("crm.item.list", **ABOUT)
def item_list(call: Call) -> Any:
    """Source: api-reference/crm/universal/crm-item-list"""
    entity_type_id, original = _type_id(call), _original(call)
    crm = call.world.crm
    views = [
        crm.view(item, original_uf=original)
        for item in _candidates(_items_of(call, entity_type_id), call.map("filter"))
    ]
    found = _ordered(
        [view for view in views if matches(view, call.map("filter"))], call.map("order")
    )
    select = [str(name) for name in as_list(call.get("select"))] or ["*"]
    if "*" not in select:
        found = [_selected(view, select) for view in found]
    if call.text("start") == "-1":
        return Listed({"items": found[:PAGE]})
    listed = page(found, call)
    return Listed({"items": listed.result}, total=listed.total, next=listed.next)


def _candidates(table: dict[int, Item], filter_: Mapping[str, Any]) -> Iterable[Item]:
    """A short cut for the two exact filters of a busy application: `id` and `imol`."""
    wanted_id = filter_.get("id", filter_.get("=id"))
    if wanted_id is not None and not isinstance(wanted_id, list | dict):
        found = table.get(number(wanted_id))
        return [found] if found else []
    imol = filter_.get("imol", filter_.get("=imol"))
    if isinstance(imol, str) and imol:
        return [
            item
            for item in table.values()
            if any(entry["value"] == imol for entry in item.multifields)
        ]
    return table.values()


def _selected(view: Mapping[str, Any], select: list[str]) -> dict[str, Any]:
    """Phones and e-mails come in lists only with `*`."""
    names = {"id", *select} - {"fm"}
    return {name: value for name, value in view.items() if name in names}


def _ordered(rows: list[dict[str, Any]], order: Mapping[str, Any]) -> list[dict[str, Any]]:
    for name, direction in reversed(list((order or {"id": "ASC"}).items())):
        rows = sorted(
            rows,
            key=lambda row: _sortable(row.get(name, row.get(name.lower()))),
            reverse=str(direction).upper() == "DESC",
        )
    return rows


def _sortable(value: Any) -> tuple[int, float, str]:
    if value is None:
        return 0, 0.0, ""
    try:
        return 1, float(value), ""
    except (TypeError, ValueError):
        return 2, 0.0, str(value)


# ---------------------------------------------------------------------- filters


def matches(row: Mapping[str, Any], filter_: Mapping[str, Any]) -> bool:
    """Whether a row passes a filter with the usual prefixes. Names nobody knows are ignored."""
    results = []
    for key, wanted in filter_.items():
        if key.lower() == "logic":
            continue
        if key.isdigit():
            results.append(matches(row, as_map(wanted)))
            continue
        parts = FILTER_NAME.fullmatch(key)
        if parts is not None and parts.group(2) in row:
            results.append(_passes(row[parts.group(2)], parts.group(1) or "", wanted))
    if str(filter_.get("logic", "")).upper() == "OR":
        return any(results) or not results
    return all(results)


def _passes(value: Any, operator: str, wanted: Any) -> bool:
    test, negated = OPERATORS[operator]
    values = value if isinstance(value, list) and value else [value]
    return any(test(one, wanted) for one in values) is not negated


def _equal(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, list | dict):
        return any(_equal(value, one) for one in as_list(wanted))
    if value is None or value == "":
        return wanted in (None, "", False)
    if isinstance(wanted, bool):
        wanted = int(wanted)
    if value in ("Y", "N") and str(wanted) in ("1", "0"):
        return (value == "Y") is (str(wanted) == "1")
    return str(value) == str(wanted)


def _compared(check: Callable[[int], bool]) -> Callable[[Any, Any], bool]:
    def test(value: Any, wanted: Any) -> bool:
        left, right = _sortable(value), _sortable(wanted)
        return left[0] == right[0] and check((left > right) - (left < right))

    return test


def _like(value: Any, wanted: Any) -> bool:
    return str(wanted).strip("%").lower() in str(value or "").lower()


OPERATORS: dict[str, tuple[Callable[[Any, Any], bool], bool]] = {
    "": (_equal, False),
    "=": (_equal, False),
    "@": (_equal, False),
    "!": (_equal, True),
    "!=": (_equal, True),
    "!@": (_equal, True),
    ">": (_compared(lambda sign: sign > 0), False),
    ">=": (_compared(lambda sign: sign >= 0), False),
    "<": (_compared(lambda sign: sign < 0), False),
    "<=": (_compared(lambda sign: sign <= 0), False),
    "%": (_like, False),
    "=%": (_like, False),
    "%=": (_like, False),
    "!%": (_like, True),
    "!=%": (_like, True),
}


# ---------------------------------------------------------------------- crm.lead.* and its kin


def _legacy_error(error: RestError) -> RestError:
    """Legacy methods say `"error": ""` and put the reason into the text."""
    text = "Not found" if error.code == "NOT_FOUND" else error.description
    text = "Access denied." if error.code == "ACCESS_DENIED" else text
    return RestError("", text)


def _legacy_item(call: Call, entity_type_id: int) -> Item:
    if call.int("id") <= 0:
        raise RestError("", "ID is not defined or invalid.")
    return call.world.crm.item(entity_type_id, call.int("id"))


def _legacy_fields(call: Call, entity_type_id: int) -> Any:
    specs = call.world.crm.spec_by(entity_type_id, legacy=True, original_uf=True)
    about = {key: spec.describe(legacy=True) for key, spec in specs.items()}
    if entity_type_id in WITH_PHONES:
        about |= {kind: _multifield_about(kind) for kind in MULTIFIELD_TYPES}
    return about


def _legacy_get(call: Call, entity_type_id: int) -> Any:
    return call.world.crm.legacy_view(_legacy_item(call, entity_type_id))


def _legacy_add(call: Call, entity_type_id: int) -> Any:
    crm = call.world.crm
    return crm.add(entity_type_id, call.map("fields"), user_id=call.user.id, legacy=True).id


def _legacy_update(call: Call, entity_type_id: int) -> Any:
    item = _legacy_item(call, entity_type_id)
    call.world.crm.update(item, call.map("fields"), user_id=call.user.id, legacy=True)
    return True


def _legacy_delete(call: Call, entity_type_id: int) -> Any:
    call.world.crm.delete(_legacy_item(call, entity_type_id), user_id=call.user.id)
    return True


def _legacy_userfields(call: Call, entity_type_id: int) -> Any:
    specs = [one for one in call.world.crm.specs[entity_type_id] if one.custom]
    name = TYPE_NAMES[entity_type_id]
    return [_legacy_userfield(index, one, name) for index, one in enumerate(specs, 1)]


def _legacy_userfield_add(call: Call, entity_type_id: int) -> Any:
    wanted = _legacy_userfield_wanted(call.map("fields"))
    return _add_userfield(call.world.crm, entity_type_id, wanted)


def _legacy_call(act: Callable[[Call, int], Any], entity_type_id: int) -> Callable[[Call], Any]:
    """One legacy method of one type; its errors speak the legacy language."""

    def run(call: Call) -> Any:
        try:
            _items_of(call, entity_type_id)
            return act(call, entity_type_id)
        except RestError as error:
            raise _legacy_error(error) from None

    return run


def _multifield_about(kind: str) -> dict[str, Any]:
    return {
        "type": "crm_multifield",
        "isRequired": False,
        "isReadOnly": False,
        "isImmutable": False,
        "isMultiple": True,
        "isDynamic": False,
        "title": {"PHONE": "Телефон", "EMAIL": "E-mail", "WEB": "Сайт"}.get(kind, kind),
    }


def _legacy_list(call: Call, entity_type_id: int) -> Listed:
    crm = call.world.crm
    rows = [crm.legacy_view(item) for item in crm.items[entity_type_id].values()]
    rows = [row for row in rows if matches(_findable(row), call.map("filter"))]
    order = {key.upper(): value for key, value in call.map("order").items()}
    rows = _ordered(rows, order or {"ID": "ASC"})
    select = [str(one).upper() for one in as_list(call.get("select"))] or ["*"]
    shown = [
        {key: value for key, value in row.items() if _legacy_selected(key, select)} for row in rows
    ]
    if call.text("start") == "-1":
        return Listed(shown[:PAGE])
    return page(shown, call)


def _findable(row: dict[str, Any]) -> dict[str, Any]:
    flat = {kind: [one["VALUE"] for one in row[kind]] for kind in MULTIFIELD_TYPES if kind in row}
    return {**row, **flat}


def _legacy_selected(key: str, select: list[str]) -> bool:
    if key in select or key == "ID":
        return True
    if key.startswith("UF_"):
        return "UF_*" in select
    return "*" in select and key not in MULTIFIELD_TYPES


# ---------------------------------------------------------------------- custom fields


def _legacy_userfield(number_: int, spec: FieldSpec, entity: str) -> dict[str, Any]:
    return {
        "ID": str(number_),
        "ENTITY_ID": f"CRM_{entity.upper()}",
        "FIELD_NAME": spec.upper,
        "USER_TYPE_ID": spec.type,
        "MULTIPLE": "Y" if spec.multiple else "N",
        "MANDATORY": "N",
        "LIST": [{"ID": str(key), "VALUE": text} for key, text in spec.choices],
        "SETTINGS": dict(spec.settings),
    }


def _legacy_userfield_wanted(fields: dict[str, Any]) -> UserField:
    name = str(fields.get("FIELD_NAME") or "").upper()
    choices = [str(as_map(one).get("VALUE")) for one in as_list(fields.get("LIST")) if as_map(one)]
    return UserField(
        name if name.startswith("UF_CRM_") else f"UF_CRM_{name}",
        str(fields.get("USER_TYPE_ID") or "string"),
        str(fields.get("LABEL") or name),
        multiple=fields.get("MULTIPLE") == "Y",
        choices=tuple(enumerate(choices)),
    )


def _add_userfield(crm: Crm, entity_type_id: int, wanted: UserField) -> int:
    """Add a custom field to a type; every item gets it empty. Returns the field's number."""
    known = {spec.upper for spec in crm.specs[entity_type_id]}
    if not re.fullmatch(r"UF_CRM_[A-Z0-9_]{1,43}", wanted.name) or wanted.name in known:
        raise RestError("", f"Field {wanted.name} can't be created")
    world = crm.world
    choices = tuple((world.next_id("field"), text) for _, text in wanted.choices)
    field = UserField(
        wanted.name, wanted.type, wanted.title, wanted.multiple, choices, wanted.settings
    )
    crm.specs[entity_type_id].append(custom_spec(field))
    for item in crm.items[entity_type_id].values():
        item.values[wanted.name] = [] if wanted.multiple else None
    world.touch()
    return world.next_id("field")


def _uf_entity(call: Call, entity_id: str) -> int:
    names = {f"CRM_{name}": number_ for number_, name in TYPE_NAMES.items()}
    names |= {f"CRM_{smart.id}": smart.entity_type_id for smart in call.world.options.smart_types}
    if entity_id not in names:
        raise RestError("", "You do not have permission to view user field settings")
    return names[entity_id]


@TABLE("userfieldconfig.add", scope="userfieldconfig", admin=True)
def userfield_add(call: Call) -> Any:
    """Source: api-reference/crm/universal/userfieldconfig"""
    wanted = call.map("field")
    labels = as_map(wanted.get("editFormLabel"))
    entity_type_id = _uf_entity(call, str(wanted.get("entityId") or ""))
    name = str(wanted.get("fieldName") or "")
    field = UserField(
        name,
        str(wanted.get("userTypeId") or "string"),
        str(labels.get("ru") or next(iter(labels.values()), name)),
        multiple=truth(wanted.get("multiple")),
        choices=tuple(
            enumerate(str(as_map(one).get("value")) for one in as_list(wanted.get("enum")))
        ),
        settings=as_map(wanted.get("settings")),
    )
    number_ = _add_userfield(call.world.crm, entity_type_id, field)
    spec = call.world.crm.specs[entity_type_id][-1]
    return {"field": _userfield_view(number_, spec, str(wanted["entityId"]))}


def _userfield_view(number_: int, spec: FieldSpec, entity_id: str) -> dict[str, Any]:
    view: dict[str, Any] = {
        "id": str(number_),
        "entityId": entity_id,
        "fieldName": spec.upper,
        "userTypeId": spec.type,
        "multiple": "Y" if spec.multiple else "N",
        "mandatory": "N",
        "editFormLabel": {"ru": spec.title},
        "settings": dict(spec.settings),
    }
    if spec.choices:
        view["enum"] = [{"id": str(key), "value": text} for key, text in spec.choices]
    return view


@TABLE("userfieldconfig.list", scope="userfieldconfig")
def userfield_list(call: Call) -> Any:
    entity_id = str(call.map("filter").get("entityId") or "")
    specs = call.world.crm.specs[_uf_entity(call, entity_id)]
    fields = [
        _userfield_view(index, spec, entity_id)
        for index, spec in enumerate((one for one in specs if one.custom), 1)
    ]
    listed = page(fields, call)
    return Listed({"fields": listed.result}, total=listed.total, next=listed.next)


@TABLE("userfieldconfig.getTypes", "userfieldconfig.gettypes", scope="userfieldconfig")
def userfield_types(call: Call) -> Any:
    names = (
        "string integer double boolean enumeration date datetime money url address file employee "
        "crm_status iblock_section iblock_element crm"
    )
    return {"fields": {name: {"userTypeId": name} for name in names.split()}}


# ---------------------------------------------------------------------- directories


def _status_view(status: Status) -> dict[str, Any]:
    return {
        "ID": str(status.id),
        "ENTITY_ID": status.directory,
        "STATUS_ID": status.code,
        "NAME": status.title,
        "NAME_INIT": status.title,
        "SORT": str(status.sort),
        "SYSTEM": "Y",
        "CATEGORY_ID": None if status.category_id is None else str(status.category_id),
        "COLOR": "",
        "SEMANTICS": status.semantics or None,
        "EXTRA": {"SEMANTICS": _meaning(status.semantics), "COLOR": ""},
    }


def _meaning(semantics: str) -> str:
    return {"S": "success", "F": "failure"}.get(semantics, "process")


@TABLE("crm.status.list", **ABOUT)
def status_list(call: Call) -> Any:
    rows = [_status_view(status) for status in call.world.crm.statuses]
    found = [row for row in rows if matches(row, call.map("filter"))]
    order = {key.upper(): value for key, value in call.map("order").items()}
    found = _ordered(found, order or {"SORT": "ASC"})
    return Listed(found, total=len(found))


@TABLE("crm.status.entity.types", **ABOUT)
def status_types(call: Call) -> Any:
    names = dict.fromkeys(status.directory for status in call.world.crm.statuses)
    return [{"ID": name, "NAME": name, "SEMANTIC_INFO": {}} for name in names]


@TABLE("crm.category.list", **ABOUT)
def category_list(call: Call) -> Any:
    entity_type_id = _type_id(call)
    _items_of(call, entity_type_id)
    titles = {0: "Общая", 1: "Сервис"} if entity_type_id == DEAL else {1: "Общая"}
    if entity_type_id in (LEAD, COMPANY, CONTACT):
        raise RestError("ENTITY_TYPE_NOT_SUPPORTED", "Entity type is not supported")
    rows = [
        {
            "id": number_,
            "name": title,
            "sort": 100 * (index + 1),
            "entityTypeId": entity_type_id,
            "isDefault": "Y" if index == 0 else "N",
            "originId": "",
            "originatorId": "",
        }
        for index, (number_, title) in enumerate(titles.items())
    ]
    return Listed({"categories": rows}, total=len(rows))


@TABLE("crm.type.list", **ABOUT)
def type_list(call: Call) -> Any:
    rows = [
        {
            "id": smart.id,
            "title": smart.title,
            "entityTypeId": smart.entity_type_id,
            "isStagesEnabled": "Y",
            "isClientEnabled": "Y",
            "isSourceEnabled": "Y",
            "isObserversEnabled": "Y",
            "isAutomationEnabled": "Y",
        }
        for smart in call.world.options.smart_types
    ]
    return Listed({"types": rows}, total=len(rows))


@TABLE("crm.settings.mode.get", **ABOUT)
def mode_get(call: Call) -> Any:
    return 1 if call.world.options.crm_mode == "classic" else 2


@TABLE("crm.duplicate.findbycomm", **ABOUT)
def find_by_communication(call: Call) -> Any:
    """Only types with hits; nothing found is an empty map, printed as `[]`."""
    kind = call.text("type").upper()
    if kind not in {"PHONE", "EMAIL"}:
        raise RestError("Communication type is not defined", "")
    only = call.text("entity_type").upper()
    found: dict[str, list[int]] = {}
    for value in as_list(call.get("values"))[:20]:
        for item in call.world.crm.duplicates(kind, str(value)):
            name = TYPE_NAMES[item.entity_type_id]
            if only in ("", name) and item.id not in found.setdefault(name, []):
                found[name].append(item.id)
    return {name: numbers for name, numbers in found.items() if numbers}


# ---------------------------------------------------------------------- timeline


def _owner(call: Call, entity_type_id: int, number_: int) -> Item:
    table = _items_of(call, entity_type_id) if entity_type_id in call.world.crm.items else {}
    if number_ not in table:
        raise RestError("OWNER_NOT_FOUND", "Owner was not found")
    return table[number_]


def _type_by_name(call: Call, name: str) -> int:
    lower = {title.lower(): number_ for number_, title in TYPE_NAMES.items()}
    if name.lower().startswith("dynamic_"):
        return number(name[8:])
    return lower.get(name.lower(), 0)


@TABLE("crm.timeline.comment.add", **ABOUT)
def comment_add(call: Call) -> Any:
    """The name `fields` must be lower-case. Source: api-reference/crm/timeline/comments"""
    fields = as_map(call.params.get("fields"))
    text = str(fields.get("COMMENT") or "")
    if not text:
        raise RestError("INVALID_ARG_VALUE", "Empty comment message")
    item = _owner(
        call, _type_by_name(call, str(fields.get("ENTITY_TYPE"))), number(fields.get("ENTITY_ID"))
    )
    comment_id = call.world.next_id("timeline")
    call.world.crm.comments.append(
        {
            "ID": str(comment_id),
            "ENTITY_ID": item.id,
            "ENTITY_TYPE": str(fields["ENTITY_TYPE"]).lower(),
            "AUTHOR_ID": str(call.user.id),
            "COMMENT": text,
            "CREATED": call.world.iso(call.world.now()),
        }
    )
    call.world.crm.write_timeline(item, TimelineEntry("comment", call.user.full_name, text))
    call.world.events.crm("ONCRMTIMELINECOMMENTADD", {"ID": comment_id}, user_id=call.user.id)
    return comment_id


@TABLE("crm.timeline.comment.list", **ABOUT)
def comment_list(call: Call) -> Any:
    filter_ = call.map("filter")
    if not filter_.get("ENTITY_ID") or not filter_.get("ENTITY_TYPE"):
        raise RestError("", "ENTITY_ID and ENTITY_TYPE are required")
    return page([one for one in call.world.crm.comments if matches(one, filter_)], call)


@TABLE("crm.timeline.logmessage.add", **ABOUT)
def logmessage_add(call: Call) -> Any:
    fields = as_map(call.params.get("fields"))
    item = _owner(call, number(fields.get("entityTypeId")), number(fields.get("entityId")))
    for name in ("title", "text", "iconCode"):
        if not fields.get(name):
            raise RestError("100", f"Required field {name} is empty")
    message = {
        "id": call.world.next_id("timeline"),
        "created": call.world.iso(call.world.now()),
        "authorId": call.user.id,
        "title": fields["title"],
        "text": fields["text"],
        "iconCode": fields["iconCode"],
        "entityTypeId": item.entity_type_id,
        "entityId": item.id,
    }
    call.world.crm.log_messages.append(message)
    entry = TimelineEntry("logmessage", str(fields["title"]), str(fields["text"]))
    call.world.crm.write_timeline(item, entry)
    return {"logMessage": message}


@TABLE("crm.timeline.logmessage.list", **ABOUT)
def logmessage_list(call: Call) -> Any:
    wanted = (call.int("entityTypeId"), call.int("entityId"))
    found = [
        one
        for one in call.world.crm.log_messages
        if (one["entityTypeId"], one["entityId"]) == wanted
    ]
    listed = page(found, call)
    return Listed({"logMessages": listed.result}, total=listed.total, next=listed.next)


@TABLE("crm.timeline.icon.list", **ABOUT)
def icon_list(call: Call) -> Any:
    codes = ("info", "comment", "check", "robot", "mail-outcome")
    return {"icons": [{"code": code, "isSystem": True} for code in codes]}


# ---------------------------------------------------------------------- activities


@TABLE("crm.activity.add", **ABOUT)
def activity_add(call: Call) -> Any:
    fields = call.map("fields")
    item = _owner(call, number(fields.get("OWNER_TYPE_ID")), number(fields.get("OWNER_ID")))
    return add_activity(call.world.crm, item, fields, user_id=call.user.id)


def add_activity(crm: Crm, item: Item, fields: Mapping[str, Any], *, user_id: int | None) -> int:
    """Store an activity of an item and raise its event; returns its number."""
    world = crm.world
    number_ = world.next_id("activity")
    communications = as_list(fields.get("COMMUNICATIONS"))
    crm.activities[number_] = {
        "ID": str(number_),
        "OWNER_ID": str(item.id),
        "OWNER_TYPE_ID": str(item.entity_type_id),
        "TYPE_ID": "6",
        "PROVIDER_ID": "",
        "PROVIDER_TYPE_ID": "",
        "DIRECTION": "0",
        "SUBJECT": "",
        "DESCRIPTION": "",
        "DESCRIPTION_TYPE": "1",
        "RESPONSIBLE_ID": str(item.values["assignedById"]),
        "COMPLETED": "N",
        "STATUS": "1",
        "ASSOCIATED_ENTITY_ID": "0",
        "ORIGIN_ID": "",
        "CREATED": world.iso(world.now()),
        "SETTINGS": {},
        "PROVIDER_PARAMS": {},
        **{
            key: value if isinstance(value, list | dict) else str(value)
            for key, value in fields.items()
        },
        "COMMUNICATIONS": communications,
    }
    item.rev = world.touch()
    world.events.crm("ONCRMACTIVITYADD", {"ID": number_}, user_id=user_id)
    return number_


@TABLE("crm.activity.get", **ABOUT)
def activity_get(call: Call) -> Any:
    activity = call.world.crm.activities.get(call.int("id"))
    if activity is None:
        raise RestError("", "Not found")
    return {key: value for key, value in activity.items() if key != "COMMUNICATIONS"}


@TABLE("crm.activity.list", **ABOUT)
def activity_list(call: Call) -> Any:
    """COMMUNICATIONS come only when they are selected."""
    filter_ = call.map("filter")
    bindings = [as_map(one) for one in as_list(filter_.pop("BINDINGS", None))]
    owners = {(number(one.get("OWNER_TYPE_ID")), number(one.get("OWNER_ID"))) for one in bindings}
    select = {str(one).upper() for one in as_list(call.get("select"))}
    rows = [
        row if "COMMUNICATIONS" in select else {**row, "COMMUNICATIONS": None}
        for row in call.world.crm.activities.values()
        if matches(row, filter_)
        and (not owners or (int(row["OWNER_TYPE_ID"]), int(row["OWNER_ID"])) in owners)
    ]
    order = {key.upper(): value for key, value in call.map("order").items()}
    rows = _ordered(rows, order or {"ID": "ASC"})
    shown = [{key: one for key, one in row.items() if one is not None} for row in rows]
    return page(shown, call)


@TABLE("crm.activity.todo.add", **ABOUT)
def todo_add(call: Call) -> Any:
    item = _owner(call, call.int("ownerTypeId"), call.int("ownerId"))
    if not call.text("deadline"):
        raise RestError("WRONG_DATETIME_FORMAT", "Incorrect date and time format")
    fields = {
        "PROVIDER_ID": "CRM_TODO",
        "SUBJECT": call.text("title"),
        "DESCRIPTION": call.text("description"),
        "DEADLINE": call.text("deadline"),
        "RESPONSIBLE_ID": call.int("responsibleId") or item.values["assignedById"],
    }
    return {"id": add_activity(call.world.crm, item, fields, user_id=call.user.id)}


@TABLE("crm.activity.update", **ABOUT)
def activity_update(call: Call) -> Any:
    activity = call.world.crm.activities.get(call.int("id"))
    if activity is None:
        raise RestError("", "Not found")
    activity |= {key: str(value) for key, value in call.map("fields").items()}
    call.world.events.crm("ONCRMACTIVITYUPDATE", {"ID": call.int("id")}, user_id=call.user.id)
    return True


@TABLE("crm.activity.delete", **ABOUT)
def activity_delete(call: Call) -> Any:
    if call.world.crm.activities.pop(call.int("id"), None) is None:
        raise RestError("", "Not found")
    return True


# ---------------------------------------------------------------------- the legacy methods

LEGACY: dict[str, Callable[[Call, int], Any]] = {
    "fields": _legacy_fields,
    "get": _legacy_get,
    "add": _legacy_add,
    "update": _legacy_update,
    "delete": _legacy_delete,
    "list": _legacy_list,
    "userfield.list": _legacy_userfields,
    "userfield.add": _legacy_userfield_add,
}

for _entity_type_id, _name in TYPE_NAMES.items():
    for _tail, _act in LEGACY.items():
        TABLE(f"crm.{_name.lower()}.{_tail}", **ABOUT)(_legacy_call(_act, _entity_type_id))
