"""CRM items: storing, checking and comparing values the way `crm.item.*` does.

Every method is called with the world's lock held.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from integrations.bitrix24.local_portal.crm_fields import (
    BUILT_IN,
    COMPANY,
    CONTACT,
    DEAL,
    LEAD,
    MULTIFIELD_LIMIT,
    TYPE_NAMES,
    WITH_PHONES,
    FieldSpec,
    Status,
    camel_of,
    directories,
    smart_specs,
)
from integrations.bitrix24.local_portal.options import UserField
from integrations.bitrix24.local_portal.php import as_list, as_map
from integrations.bitrix24.local_portal.state import RestError, World

SKIP = object()
EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+")
MONEY = re.compile(r"-?\d+(\.\d+)?\|[A-Z]{3}")
MULTIFIELD_TYPES = ("PHONE", "EMAIL", "WEB", "IM", "LINK")


@dataclass(slots=True)
class Item:
    """One record; `values` by the names of `crm.item.*`, custom fields by their UF names."""

    entity_type_id: int
    id: int
    values: dict[str, Any]
    multifields: list[dict[str, Any]] = field(default_factory=list)
    rev: int = 0


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    kind: str
    title: str
    text: str


class Crm:
    """All items, fields and directories of the portal."""

    def __init__(self, world: World) -> None:
        self.world = world
        smart_ids = tuple(smart.entity_type_id for smart in world.options.smart_types)
        self.specs: dict[int, list[FieldSpec]] = {
            **{number: list(specs) for number, specs in BUILT_IN.items()},
            **{number: list(smart_specs(number)) for number in smart_ids},
        }
        for number, fields in world.options.user_fields.items():
            if number in self.specs:
                self.specs[number] += [custom_spec(one) for one in fields]
        self.statuses: list[Status] = directories(smart_ids)
        self.items: dict[int, dict[int, Item]] = {number: {} for number in self.specs}
        self._timeline: dict[tuple[int, int], list[TimelineEntry]] = {}
        self.comments: list[dict[str, Any]] = []
        self.log_messages: list[dict[str, Any]] = []
        self.activities: dict[int, dict[str, Any]] = {}

    def timeline(self, item: Item) -> list[dict[str, str]]:
        """What the application and people wrote into an item's timeline, oldest first."""
        return [
            {"kind": entry.kind, "title": entry.title, "text": entry.text}
            for entry in self._timeline.get((item.entity_type_id, item.id), [])
        ]

    def write_timeline(self, item: Item, entry: TimelineEntry) -> None:
        self._timeline.setdefault((item.entity_type_id, item.id), []).append(entry)
        item.rev = self.world.touch()

    # ------------------------------------------------------------------ look-ups

    def table(self, entity_type_id: int) -> dict[int, Item]:
        if entity_type_id not in self.items:
            raise RestError("NOT_FOUND", "Item type not found")
        return self.items[entity_type_id]

    def item(self, entity_type_id: int, number: int) -> Item:
        item = self.table(entity_type_id).get(number)
        if item is None:
            raise RestError("NOT_FOUND", "Item not found")
        return item

    def spec_by(
        self, entity_type_id: int, *, legacy: bool, original_uf: bool
    ) -> dict[str, FieldSpec]:
        """Fields by the names a caller uses."""
        specs = self.specs[entity_type_id]
        if legacy:
            return {spec.upper: spec for spec in specs}
        return {
            spec.upper
            if spec.custom and original_uf
            else camel_of(spec.upper)
            if spec.custom
            else spec.name: spec
            for spec in specs
        }

    def directory(self, name: str) -> list[Status]:
        return [status for status in self.statuses if status.directory == name]

    def _stage_directory(self, entity_type_id: int, values: Mapping[str, Any]) -> str:
        if entity_type_id == LEAD:
            return "STATUS"
        category = int(values.get("categoryId") or 0)
        if entity_type_id == DEAL:
            return f"DEAL_STAGE_{category}" if category else "DEAL_STAGE"
        return f"DYNAMIC_{entity_type_id}_STAGE_{category or 1}"

    # ------------------------------------------------------------------ views

    def view(self, item: Item, *, original_uf: bool = True) -> dict[str, Any]:
        """An item as `crm.item.get` answers it."""
        values = item.values if original_uf else self._renamed(item)
        if item.entity_type_id not in WITH_PHONES:
            return {**values, "entityTypeId": item.entity_type_id}
        return {
            **values,
            **_flat_multifields(item.multifields),
            "fm": [dict(entry) for entry in item.multifields],
            "entityTypeId": item.entity_type_id,
        }

    @staticmethod
    def _renamed(item: Item) -> dict[str, Any]:
        return {
            camel_of(name) if name.startswith("UF_") else name: value
            for name, value in item.values.items()
        }

    def legacy_view(self, item: Item) -> dict[str, Any]:
        """An item as `crm.lead.get` and its kin answer it: upper-case names, everything text."""
        shown: dict[str, Any] = {}
        for spec in self.specs[item.entity_type_id]:
            value = item.values.get(spec.upper if spec.custom else spec.name)
            shown[spec.upper] = _legacy_value(value)
        for kind in MULTIFIELD_TYPES:
            entries = [one for one in item.multifields if one["typeId"] == kind]
            if entries:
                shown[kind] = [
                    {
                        "ID": str(one["id"]),
                        "VALUE_TYPE": one["valueType"],
                        "VALUE": one["value"],
                        "TYPE_ID": kind,
                    }
                    for one in entries
                ]
        return shown

    # ------------------------------------------------------------------ writing

    def add(
        self,
        entity_type_id: int,
        fields: Mapping[str, Any],
        *,
        user_id: int | None,
        legacy: bool = False,
        original_uf: bool = True,
    ) -> Item:
        """Create an item. Raises RestError; names nobody knows are ignored without a word."""
        self.table(entity_type_id)
        values = self._blank(entity_type_id, user_id or 0)
        changes = self._changes(
            entity_type_id, values, fields, legacy=legacy, original_uf=original_uf, adding=True
        )
        item = Item(entity_type_id, 0, values)
        entries = self._multifield_changes(item, fields, legacy=legacy)
        item.id = self.world.next_id(f"item {entity_type_id}")
        item.values |= {**changes, "id": item.id}
        if item.values.get("title") is None and "title" in item.values:
            name = TYPE_NAMES.get(entity_type_id, "Элемент")
            item.values["title"] = f"{name.capitalize()} #{item.id}"
        item.multifields = entries
        self._after_stage(item)
        self.items[entity_type_id][item.id] = item
        item.rev = self.world.touch()
        self._tell(item, "ADD", user_id)
        return item

    def update(
        self,
        item: Item,
        fields: Mapping[str, Any],
        *,
        user_id: int | None,
        legacy: bool = False,
        original_uf: bool = True,
    ) -> bool:
        """Change an item; False when nothing differs, then nothing is saved and no event fires.

        Source: api-reference/crm/universal/crm-item-update
        """
        wanted = self._changes(
            item.entity_type_id,
            item.values,
            fields,
            legacy=legacy,
            original_uf=original_uf,
            adding=False,
        )
        entries = self._multifield_changes(item, fields, legacy=legacy)
        changes = {name: value for name, value in wanted.items() if item.values[name] != value}
        if not changes and entries == item.multifields:
            return False
        now = self.world.iso(self.world.now())
        item.values |= {**changes, "updatedTime": now, "updatedBy": user_id or 0}
        item.multifields = entries
        self._after_stage(item)
        item.rev = self.world.touch()
        self._tell(item, "UPDATE", user_id)
        return True

    def delete(self, item: Item, *, user_id: int | None) -> None:
        del self.items[item.entity_type_id][item.id]
        self.world.touch()
        self._tell(item, "DELETE", user_id)

    def _tell(self, item: Item, what: str, user_id: int | None) -> None:
        kind = TYPE_NAMES.get(item.entity_type_id)
        if kind:
            self.world.events.crm(f"ONCRM{kind}{what}", {"ID": item.id}, user_id=user_id)
            return
        data = {"ID": item.id, "ENTITY_TYPE_ID": item.entity_type_id}
        self.world.events.crm(f"ONCRMDYNAMICITEM{what}", data, user_id=user_id)

    def _blank(self, entity_type_id: int, user_id: int) -> dict[str, Any]:
        now = self.world.iso(self.world.now())
        values: dict[str, Any] = {}
        for spec in self.specs[entity_type_id]:
            key = spec.upper if spec.custom else spec.name
            values[key] = [] if spec.multiple else None
        category = (
            {} if entity_type_id in (LEAD, CONTACT, COMPANY) else self._category(entity_type_id)
        )
        values |= {
            **category,
            "createdTime": now,
            "updatedTime": now,
            "createdBy": user_id,
            "updatedBy": user_id,
            "assignedById": user_id or self.world.installation.user_id,
            "opened": "Y",
            "comments": "",
            "webformId": 0,
        }
        if "opportunity" in values:
            values |= {"opportunity": 0, "currencyId": "RUB", "isManualOpportunity": "N"}
        if "companyId" in values:
            values["companyId"] = 0
        if "contactId" in values:
            values["contactId"] = 0
        if "stageId" in values:
            first = self.directory(self._stage_directory(entity_type_id, values))[0]
            values["stageId"] = first.code
        return values

    @staticmethod
    def _category(entity_type_id: int) -> dict[str, Any]:
        return {"categoryId": 0 if entity_type_id == DEAL else 1}

    def _after_stage(self, item: Item) -> None:
        stage = item.values.get("stageId")
        if stage is None:
            return
        directory = self._stage_directory(item.entity_type_id, item.values)
        semantics = next(
            (one.semantics for one in self.directory(directory) if one.code == stage), ""
        )
        item.values["stageSemanticId"] = semantics or "P"

    def _changes(
        self,
        entity_type_id: int,
        current: Mapping[str, Any],
        fields: Mapping[str, Any],
        *,
        legacy: bool,
        original_uf: bool,
        adding: bool,
    ) -> dict[str, Any]:
        specs = self.spec_by(entity_type_id, legacy=legacy, original_uf=original_uf)
        changes: dict[str, Any] = {}
        for name, raw in fields.items():
            spec = specs.get(name)
            if spec is None or spec.read_only or (spec.immutable and not adding):
                continue
            value = self._clean(entity_type_id, spec, raw, {**current, **changes})
            if value is not SKIP:
                changes[spec.upper if spec.custom else spec.name] = value
        contacts = changes.get("contactIds")
        if contacts:
            changes["contactId"] = contacts[0]
        elif changes.get("contactId") and "contactIds" in current:
            changes["contactIds"] = [changes["contactId"]]
        return changes

    def _clean(
        self, entity_type_id: int, spec: FieldSpec, raw: Any, values: Mapping[str, Any]
    ) -> Any:
        """A value ready to store, or SKIP. Raises RestError."""
        if spec.multiple:
            if raw == "" or raw is None:
                return []
            if not isinstance(raw, list | dict):
                kind = type(raw).__name__.replace("str", "string")
                raise RestError(
                    "100", f"Expected iterable value for multiple field, but got {kind} instead"
                )
            ones = [self._clean_one(entity_type_id, spec, one, values) for one in as_list(raw)]
            return [one for one in ones if one is not SKIP and one is not None]
        if raw == "" or raw is None or raw == []:
            return "" if spec.name == "comments" else None
        return self._clean_one(entity_type_id, spec, raw, values)

    def _clean_one(
        self, entity_type_id: int, spec: FieldSpec, raw: Any, values: Mapping[str, Any]
    ) -> Any:
        if spec.type in {"boolean", "char"}:
            return "Y" if raw is True or raw in ("Y", "y", "true") else "N"
        if spec.type in {"date", "datetime"}:
            return self._moment(raw, day_only=spec.type == "date")
        if spec.type in {"integer", "double", "user", "employee"} or spec.type in _LINKS:
            return _number(spec, raw)
        if spec.type == "enumeration":
            if str(raw) not in {str(key) for key, _ in spec.choices}:
                raise _not_valid(spec)
            return int(raw)
        if spec.type == "crm_status":
            directory = spec.status_type
            if spec.name == "stageId":
                directory = self._stage_directory(entity_type_id, values)
            if raw not in {status.code for status in self.directory(directory)}:
                raise _not_valid(spec)
            return raw
        if spec.type == "money":
            if not MONEY.fullmatch(str(raw)):
                raise _not_valid(spec)
            return raw
        if isinstance(raw, list | dict):
            raise _not_valid(spec)
        text = str(raw)
        return text[: spec.max_length] if spec.max_length else text

    def _moment(self, raw: Any, *, day_only: bool) -> Any:
        """A date nobody can read is skipped without an error (crm/lib/controller/item.php)."""
        try:
            moment = datetime.fromisoformat(str(raw))
        except ValueError:
            return SKIP
        zone = self.world.zone
        moment = moment.replace(tzinfo=zone) if moment.tzinfo is None else moment.astimezone(zone)
        if day_only:
            moment = moment.replace(hour=3, minute=0, second=0, microsecond=0)
        return moment.isoformat("T", "seconds")

    # ------------------------------------------------------------------ phones and e-mails

    def _multifield_changes(
        self, item: Item, fields: Mapping[str, Any], *, legacy: bool
    ) -> list[dict[str, Any]]:
        entries = [dict(entry) for entry in item.multifields]
        if item.entity_type_id not in WITH_PHONES:
            return entries
        wanted = _legacy_elements(fields) if legacy else _modern_elements(fields.get("fm"))
        for key, kind, value_type, value in wanted:
            _check_multifield(kind, value)
            existing = next((one for one in entries if str(one["id"]) == key), None)
            if existing is None:
                if value:
                    entry = {"id": self.world.next_id("multifield"), "typeId": kind}
                    entries.append({**entry, "valueType": value_type or "WORK", "value": value})
            elif not value:
                entries.remove(existing)
            else:
                existing |= {"typeId": kind, "value": value}
                existing["valueType"] = value_type or existing["valueType"]
        return entries

    # ------------------------------------------------------------------ from an open line

    def from_dialog(
        self,
        *,
        title: str,
        client_name: str,
        imol: str,
        source: str,
        assigned_to: int,
        wanted: str,
    ) -> dict[str, int]:
        """Create what an open line creates for a new dialog; returns the chat's bindings."""
        if source not in {status.code for status in self.directory("SOURCE")}:
            number = max(status.id for status in self.statuses) + 1
            self.statuses.append(Status(number, "SOURCE", source, title, number * 10))
        messenger = [{"typeId": "IM", "valueType": "OPENLINE", "value": imol}]
        common = {"sourceId": source, "assignedById": assigned_to}
        bindings = {"lead": 0, "company": 0, "contact": 0, "deal": 0}
        simple = self.world.options.crm_mode == "simple"
        if wanted == "lead":
            lead = self.add(
                LEAD,
                {"title": title, "name": client_name, "fm": messenger, **common},
                user_id=None,
            )
            bindings["lead"] = lead.id
            if not simple:
                return bindings
            self.update(lead, {"stageId": "CONVERTED"}, user_id=None)
        contact = self.add(CONTACT, {"name": client_name, "fm": messenger, **common}, user_id=None)
        deal = self.add(DEAL, {"title": title, "contactIds": [contact.id], **common}, user_id=None)
        deal.values["leadId"] = bindings["lead"] or None
        return bindings | {"contact": contact.id, "deal": deal.id}

    def duplicates(self, kind: str, value: str) -> Iterable[Item]:
        """Items that have this phone or e-mail, compared as the portal compares them."""
        wanted = normal_contact(kind, value)
        for number in (LEAD, CONTACT, COMPANY):
            for item in self.items[number].values():
                if any(
                    one["typeId"] == kind and normal_contact(kind, one["value"]) == wanted
                    for one in item.multifields
                ):
                    yield item


_LINKS = {"crm_company", "crm_contact", "crm_lead", "crm_deal", "crm_category"}


def custom_spec(field_: UserField) -> FieldSpec:
    return FieldSpec(
        name=camel_of(field_.name),
        upper=field_.name,
        type=field_.type,
        title=field_.title,
        multiple=field_.multiple,
        choices=field_.choices,
        custom=True,
        settings=dict(field_.settings),
    )


def normal_contact(kind: str, value: str) -> str:
    if kind == "EMAIL":
        return value.strip().lower()
    digits = re.sub(r"\D", "", value.partition(";")[0])
    return f"7{digits[1:]}" if len(digits) == 11 and digits[0] == "8" else digits


def _not_valid(spec: FieldSpec) -> RestError:
    return RestError("CRM_FIELD_ERROR_VALUE_NOT_VALID", f'Invalid value for field "{spec.title}"')


def _number(spec: FieldSpec, raw: Any) -> int | float:
    try:
        number = float(str(raw).replace(",", "."))
    except ValueError:
        raise _not_valid(spec) from None
    if spec.type == "double" and number != int(number):
        return number
    return int(number)


def _legacy_value(value: Any) -> Any:
    if isinstance(value, list):
        return [_legacy_value(one) for one in value]
    return None if value is None else str(value)


def _modern_elements(raw: Any) -> list[tuple[str, str, str, str]]:
    """`fm`: elements without both `typeId` and `value` are skipped without a word."""
    return [
        (
            key,
            str(element["typeId"]),
            str(element.get("valueType") or ""),
            str(element["value"] or "").strip(),
        )
        for key, element in as_map(raw).items()
        if isinstance(element, dict) and "typeId" in element and "value" in element
    ]


def _legacy_elements(fields: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """`PHONE`, `EMAIL`…: an element with an ID and without a VALUE deletes."""
    found = []
    for kind in MULTIFIELD_TYPES:
        for index, element in as_map(fields.get(kind)).items():
            if isinstance(element, dict):
                key = str(element.get("ID") or f"n{index}")
                gone = element.get("DELETE") == "Y"
                value = "" if gone else str(element.get("VALUE") or "").strip()
                found.append((key, kind, str(element.get("VALUE_TYPE") or ""), value))
    return found


def _check_multifield(kind: str, value: str) -> None:
    if len(value) > MULTIFIELD_LIMIT:
        raise RestError("", f"Превышена максимальная длина значения ({MULTIFIELD_LIMIT})")
    if kind == "EMAIL" and value and not EMAIL.fullmatch(value):
        raise RestError("", "Поле «E-mail» заполнено неверно")


def _flat_multifields(entries: list[dict[str, Any]]) -> dict[str, Any]:
    def first(kind: str, value_type: str = "") -> str:
        return next(
            (
                one["value"]
                for one in entries
                if one["typeId"] == kind and value_type in ("", one["valueType"])
            ),
            "",
        )

    imol = next((one["value"] for one in entries if one["value"].startswith("imol|")), "")
    return {
        "phone": first("PHONE"),
        "phoneWork": first("PHONE", "WORK"),
        "phoneMobile": first("PHONE", "MOBILE"),
        "email": first("EMAIL"),
        "emailWork": first("EMAIL", "WORK"),
        "emailHome": first("EMAIL", "HOME"),
        "hasPhone": "Y" if first("PHONE") else "N",
        "hasEmail": "Y" if first("EMAIL") else "N",
        "hasImol": "Y" if imol else "N",
        "imol": imol,
    }
