"""CRM items: how they and their fields are named, and what is in them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from integrations.bitrix24.forms import as_dict, as_list, int_of, text_of

type Item = dict[str, Any]
"""An item as the portal returns it."""

LEAD, DEAL, CONTACT, COMPANY, QUOTE, ORDER, SMART_INVOICE = 1, 2, 3, 4, 7, 14, 31
FIRST_SMART_PROCESS = 128
LARGEST_ID = 2**31 - 1
"""Ids of items and of their types are 32-bit numbers in a portal's database."""

ENTITY_TYPES: dict[int, tuple[str, str]] = {
    LEAD: ("lead", "L"),
    DEAL: ("deal", "D"),
    CONTACT: ("contact", "C"),
    COMPANY: ("company", "CO"),
    QUOTE: ("quote", "Q"),
    ORDER: ("order", "O"),
    SMART_INVOICE: ("smart_invoice", "SI"),
}
"""entityTypeId -> name, short prefix. Source: api-reference/crm/data-types."""

ENTITY_NAMES = {name.upper(): number for number, (name, _) in ENTITY_TYPES.items()}
_PREFIXES = {prefix: number for number, (_, prefix) in ENTITY_TYPES.items()}
HAVE_MULTIFIELDS = (LEAD, CONTACT, COMPANY)
"""Only these have phones and e-mails of their own; a deal's belong to its contact."""

MULTIFIELDS = {"PHONE": "WORK", "EMAIL": "WORK", "WEB": "WORK"}
"""Multifield -> kind given to a new entry."""


def entity_type_id(name: str | int) -> int:
    """`"lead"`, `"DYNAMIC_147"`, `"T93"`, `147`, `"147"` -> entityTypeId. Raises: ValueError."""
    number = int_of(name)
    if number is None:
        text = str(name).strip().upper()
        if text in ENTITY_NAMES:
            return ENTITY_NAMES[text]
        if text in _PREFIXES:
            return _PREFIXES[text]
        if re.fullmatch(r"DYNAMIC_\d{1,10}", text):
            number = int(text.removeprefix("DYNAMIC_"))
        elif re.fullmatch(r"T[0-9A-F]{2,7}", text):
            number = int(text[1:], 16)
    if number is None or not (
        number in ENTITY_TYPES or FIRST_SMART_PROCESS <= number <= LARGEST_ID
    ):
        raise ValueError("not a type of CRM item")
    return number


@dataclass(frozen=True, order=True)
class ItemRef:
    """One CRM item: type and id."""

    entity_type_id: int
    item_id: int

    @property
    def is_universal(self) -> bool:
        """Do the methods crm.item.* know its type? Orders have methods of their own."""
        return self.entity_type_id != ORDER

    @property
    def name(self) -> str:
        """`lead`, `deal`, …, `dynamic_128`, as timelines want it."""
        known = ENTITY_TYPES.get(self.entity_type_id)
        return known[0] if known else f"dynamic_{self.entity_type_id}"

    def __str__(self) -> str:
        return f"{self.name.upper()}_{self.item_id}"

    @classmethod
    def parse(cls, text: str) -> ItemRef:
        """`LEAD_77`, `DYNAMIC_147_1`, `L_77`, `T93_5`, `lead:77`. Raises: ValueError.

        Source: api-reference/bizproc/bizproc-workflow-start.
        """
        name, _, number = text.strip().replace(":", "_").rpartition("_")
        item_id = int_of(number)
        if not item_id or not 0 < item_id <= LARGEST_ID or name.isdecimal():
            raise ValueError("not the id of a CRM item")
        return cls(entity_type_id(name), item_id)


@dataclass(frozen=True)
class FieldInfo:
    """A field an admin may choose. `choices` are (id or STATUS_ID, title)."""

    name: str
    """TITLE, LAST_NAME, UF_CRM_…: what admins and mappings use."""
    title: str
    type: str
    multiple: bool = False
    read_only: bool = False
    choices: tuple[tuple[str, str], ...] = ()
    status_type: str = ""
    max_length: int | None = None
    portal_name: str = ""
    """The key that the portal uses in items."""


def upper_name(portal_name: str) -> str:
    """`lastName` -> LAST_NAME, `ufCrm3_1747309727` -> UF_CRM_3_1747309727.

    Source: api-reference/crm/universal/index. Only for portals that give no `upperName`.
    """
    if portal_name.upper() == portal_name:
        return portal_name
    rest = portal_name
    if portal_name.startswith("ufCrm"):
        rest = portal_name.removeprefix("ufCrm")
        if rest.startswith("_"):
            return f"UF_CRM{rest.upper()}"
        rest = re.sub(r"^(\d+)(?=[A-Za-z])", r"\1_", rest.lstrip("_"))
        return "UF_CRM_" + _with_underscores(rest)
    return _with_underscores(rest)


def _with_underscores(camel: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", camel).upper()


def camel_name(name: str) -> str:
    """LAST_NAME -> `lastName`; custom fields keep their name."""
    if name.startswith("UF_") or name.upper() != name:
        return name
    first, *others = name.lower().split("_")
    return first + "".join(word.capitalize() for word in others)


def item_value(item: Mapping[str, Any], field_name: str) -> Any:
    """A field by its UPPER name, however this portal spells it. None when it is not there."""
    if field_name in MULTIFIELDS:
        return list(multifield_values(item, field_name))
    for key in (field_name, camel_name(field_name)):
        if key in item:
            return item[key]
    wanted = {folded_key(field_name)}
    if field_name == "STATUS_ID":
        wanted.add("stageid")
    return next((value for key, value in item.items() if folded_key(key) in wanted), None)


def folded_key(name: str) -> str:
    return name.replace("_", "").casefold()


def phones(item: Mapping[str, Any]) -> tuple[str, ...]:
    return multifield_values(item, "PHONE")


def emails(item: Mapping[str, Any]) -> tuple[str, ...]:
    return multifield_values(item, "EMAIL")


@dataclass(frozen=True)
class Entry:
    id: str
    kind: str
    value: str


def entries_of(item: Mapping[str, Any], name: str) -> tuple[Entry, ...]:
    """Entries of a multifield, from `fm` or from the legacy lists of PHONE and EMAIL."""
    rows = [as_dict(row) for row in as_list(item.get("fm"))]
    found = [
        Entry(text_of(row.get("id")), text_of(row.get("valueType")), text_of(row.get("value")))
        for row in rows
        if text_of(row.get("typeId")).upper() == name
    ]
    if not found and isinstance(item.get(name), list):
        legacy = [as_dict(row) for row in item[name]]
        found = [
            Entry(text_of(row.get("ID")), text_of(row.get("VALUE_TYPE")), text_of(row.get("VALUE")))
            for row in legacy
        ]
    if not found and "fm" not in item:
        found = [Entry("", "", text_of(item.get(name.lower())))]
    return tuple(entry for entry in found if entry.value)


def multifield_values(item: Mapping[str, Any], name: str) -> tuple[str, ...]:
    return tuple(entry.value for entry in entries_of(item, name))


def phone_key(text: str) -> str:
    """Digits that make two spellings of a number equal: 8 (999) … and +7 999 … are one."""
    digits = re.sub(r"\D", "", text.split("доб")[0].split("ext")[0])
    if len(digits) == 11 and digits[0] == "8":
        return "7" + digits[1:]
    if len(digits) == 10 and digits[0] == "9":
        return "7" + digits
    return digits


def contact_key(name: str, value: str) -> str:
    """What decides whether two entries of a multifield are the same."""
    return phone_key(value) if name == "PHONE" else value.strip().casefold().rstrip("/")
