"""Which wishes change a CRM item: decided before anything is written."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Any, Literal

from integrations.bitrix24.crm_items import (
    MULTIFIELDS,
    FieldInfo,
    camel_name,
    contact_key,
    entries_of,
    folded_key,
    item_value,
)
from integrations.bitrix24.crm_values import (
    ID_TYPES,
    MULTIFIELD_MAX_LENGTH,
    STAGE_FIELDS,
    NotWritable,
    as_word,
    same_value,
    to_portal_value,
)
from integrations.bitrix24.forms import as_dict, as_list, flag_of, text_of
from integrations.bitrix24.person_names import split_person_name

_LONG_TEXTS = ("COMMENTS", "SOURCE_DESCRIPTION", "STATUS_DESCRIPTION", "ADDITIONAL_INFO")

Policy = Literal["append", "fill_empty", "overwrite"]


@dataclass(frozen=True)
class Wanted:
    """A value for a field; `field` may be `NAME+LAST_NAME` for a person's whole name."""

    field: str
    value: Any
    policy: Policy = "fill_empty"


@dataclass(frozen=True)
class Change:
    """One thing that will be written: the portal's old value, ours, and ours in its format."""

    field: str
    old: Any
    new: Any
    portal_value: Any


@dataclass(frozen=True)
class Plan:
    """What to send in one update, and why the rest is not sent.

    Reasons: those of NotWritable, and already_filled, same, no_such_field, too_long,
    belongs_to_contact (then the wish is in `redirects` as well: write it to the contact),
    invalid (an e-mail or phone that would make the portal refuse everything).
    """

    fields: dict[str, Any] = field(default_factory=dict)
    fm: dict[str, dict[str, str]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    changes: tuple[Change, ...] = ()
    redirects: tuple[Wanted, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not self.fields and not self.fm

    @property
    def redirect(self) -> str:
        return "contact" if self.redirects else ""


def plan_changes(
    item: Mapping[str, Any],
    infos: Mapping[str, FieldInfo],
    wanted: Sequence[Wanted],
    *,
    zone: tzinfo | None = None,
    currency: str = "",
) -> Plan:
    """Which wishes change the item, by their policies. Pure: nothing is read or written.

    append adds to multiple fields, multifields and texts, and fills other empty fields;
    fill_empty never touches a filled field; overwrite replaces. Stages are never touched.
    """
    planner = _Planner(item, infos, zone, currency or text_of(item_value(item, "CURRENCY_ID")))
    for wish in wanted:
        if "+" in wish.field:
            planner.person(wish)
        else:
            planner.one(wish)
    return planner.plan()


@dataclass
class _Planner:
    """Collects the parts of a Plan; later wishes see what earlier ones will write."""

    item: Mapping[str, Any]
    infos: Mapping[str, FieldInfo]
    zone: tzinfo | None
    currency: str

    def __post_init__(self) -> None:
        self.fields: dict[str, Any] = {}
        self.fm: dict[str, dict[str, str]] = {}
        self.skipped: dict[str, str] = {}
        self.changes: list[Change] = []
        self.redirects: list[Wanted] = []

    def plan(self) -> Plan:
        return Plan(self.fields, self.fm, self.skipped, tuple(self.changes), tuple(self.redirects))

    def one(self, wish: Wanted) -> None:
        info = self.infos.get(wish.field)
        if wish.field in MULTIFIELDS and (info is None or info.type != "crm_multifield"):
            self._redirect(wish)
        elif wish.field in STAGE_FIELDS:
            self.skipped[wish.field] = "stage"
        elif info is None:
            self.skipped[wish.field] = "no_such_field"
        elif info.type == "crm_multifield":
            self._multifield(info, wish)
        else:
            self._field(info, wish)

    def person(self, wish: Wanted) -> None:
        names = [name.strip() for name in wish.field.split("+")]
        person = split_person_name(wish.value if isinstance(wish.value, str) else "")
        parts = {"NAME": person.first, "LAST_NAME": person.last, "SECOND_NAME": person.second}
        if any(name not in parts for name in names) or not any(parts[name] for name in names):
            self.skipped[wish.field] = "wrong_type"
            return
        filled = [
            name
            for name in names
            if (old := text_of(item_value(self.item, name)).strip())
            and parts[name]
            and as_word(old) != as_word(parts[name])
        ]
        if filled and wish.policy != "overwrite":
            # half of one person's name beside half of another's would be worse than nothing
            self.skipped.update(dict.fromkeys(names, "already_filled"))
            return
        for name in names:
            if parts[name]:
                self.one(Wanted(name, parts[name], wish.policy))

    def _redirect(self, wish: Wanted) -> None:
        has_contact = any(name in self.infos for name in ("CONTACT_ID", "CONTACT_IDS", "CONTACTS"))
        if has_contact or any(folded_key(key) == "contactid" for key in self.item):
            self.skipped[wish.field] = "belongs_to_contact"
            self.redirects.append(wish)
        else:
            self.skipped[wish.field] = "no_such_field"

    def _field(self, info: FieldInfo, wish: Wanted) -> None:
        key = info.portal_name or camel_name(info.name)
        old = item_value(self.item, info.name)
        current = self.fields.get(key, old)
        try:
            new = to_portal_value(info, wish.value, zone=self.zone, currency=self.currency)
            if wish.policy == "append":
                new = _appended(info, current, new)
        except NotWritable as error:
            self.skipped[info.name] = error.reason
            return
        empty = _is_empty(info, current)
        if not empty and same_value(info.type, current, new):
            self.skipped[info.name] = "same"
        elif not empty and (wish.policy == "fill_empty" or new is _KEEP):
            self.skipped[info.name] = "already_filled"
        else:
            self.fields[key] = new
            if info.name == "OPPORTUNITY":
                self._complete_opportunity(key, wish)
            self.skipped.pop(info.name, None)
            self.changes.append(Change(info.name, old, wish.value, new))

    def _complete_opportunity(self, key: str, wish: Wanted) -> None:
        """Without the flag the portal recalculates the sum from the product rows."""
        legacy = key == "OPPORTUNITY"
        self.fields["IS_MANUAL_OPPORTUNITY" if legacy else "isManualOpportunity"] = "Y"
        named = text_of(as_dict(wish.value).get("currency")).upper()
        if named and named != text_of(item_value(self.item, "CURRENCY_ID")):
            self.fields["CURRENCY_ID" if legacy else "currencyId"] = named

    def _multifield(self, info: FieldInfo, wish: Wanted) -> None:
        if info.read_only:
            self.skipped[info.name] = "read_only"
            return
        values = wish.value if isinstance(wish.value, list | tuple) else [wish.value]
        for value in values:
            reason = self._entry(info, value, wish.policy)
            if reason and not any(change.field == info.name for change in self.changes):
                self.skipped[info.name] = reason
            elif not reason:
                self.skipped.pop(info.name, None)

    def _entry(self, info: FieldInfo, value: Any, policy: Policy) -> str:
        """Plans one phone or e-mail; the reason when it is not to be written, else ""."""
        text = value.strip() if isinstance(value, str) else text_of(value)
        if not text:
            return "empty"
        if not _fits_multifield(info.name, text):
            return "invalid"
        entries = entries_of(self.item, info.name)
        planned = [one["value"] for one in self.fm.values() if one["typeId"] == info.name]
        known = {contact_key(info.name, one.value) for one in entries}
        known |= {contact_key(info.name, one) for one in planned}
        if contact_key(info.name, text) in known:
            return "same"
        if policy == "fill_empty" and (entries or planned):
            return "already_filled"
        changed = entries[0] if policy == "overwrite" and entries and entries[0].id else None
        if changed and changed.id not in self.fm:
            key, kind = changed.id, changed.kind or MULTIFIELDS[info.name]
        else:
            key, kind = f"n{len(self.fm)}", MULTIFIELDS[info.name]
        # both typeId and value must be there, or the portal skips the entry silently
        self.fm[key] = {"typeId": info.name, "valueType": kind, "value": text}
        old = changed.value if changed and key == changed.id else None
        self.changes.append(Change(info.name, old, text, text))
        return ""


_KEEP = object()
"""Nothing to append to a field that holds one value."""


def _appended(info: FieldInfo, current: Any, new: Any) -> Any:
    if _is_empty(info, current):
        return new
    if info.multiple:
        old = as_list(current)
        return old + [one for one in new if not any(same_value(info.type, one, o) for o in old)]
    text, addition = text_of(current), text_of(new)
    is_text = info.type == "text" or info.name in _LONG_TEXTS
    is_custom_string = info.type == "string" and info.name.startswith("UF_")
    if not (is_text or is_custom_string):
        return _KEEP
    if as_word(addition) in as_word(text):
        return text
    joined = f"{text}\n{addition}" if is_text else f"{text}, {addition}"
    if info.max_length and len(joined) > info.max_length:
        raise NotWritable("too_long")
    return joined


def _is_empty(info: FieldInfo, value: Any) -> bool:
    """Empty in the eyes of a person: a sum of 0 and an unticked box are not an answer."""
    if isinstance(value, str):
        value = value.strip()
    if value in (None, "", [], {}, ()):
        return True
    if info.type in ("boolean", "char"):
        return not flag_of(value)
    if info.type in ("integer", "double", "float", "money", *ID_TYPES):
        return text_of(value).partition("|")[0] in ("0", "0.0", "0.00")
    return False


def _fits_multifield(name: str, text: str) -> bool:
    """One bad e-mail makes the portal refuse the whole update, so it is not sent."""
    if len(text) > MULTIFIELD_MAX_LENGTH:
        return False
    if name == "EMAIL":
        return bool(re.fullmatch(r"[^\s@<>(),;:\"\[\]]{1,64}@[\w-]+(\.[\w-]+)*\.[\w-]{2,}", text))
    if name == "PHONE":
        return 5 <= len(re.sub(r"\D", "", text)) <= 20
    return True
