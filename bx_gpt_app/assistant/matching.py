"""Which CRM field a value belongs into: found by type and by name. Pure; the admin has the last
word."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from bx_gpt_app.assistant.config import Mapping_
from integrations.bitrix24.crm import FieldInfo
from integrations.llm.values import FieldSpec, Topic

FITTING: Mapping[str, frozenset[str]] = {
    "phone": frozenset({"crm_multifield", "string"}),
    "email": frozenset({"crm_multifield", "string"}),
    "url": frozenset({"crm_multifield", "url", "string"}),
    "string": frozenset({"string", "text"}),
    "text": frozenset({"string", "text"}),
    "person_name": frozenset({"string"}),
    "number": frozenset({"integer", "double", "string"}),
    "money": frozenset({"money", "double", "string"}),
    "date": frozenset({"date", "datetime", "string"}),
    "datetime": frozenset({"datetime", "date", "string"}),
    "bool": frozenset({"boolean", "string"}),
    "choice": frozenset({"enumeration", "crm_status", "string"}),
    "address": frozenset({"address", "string", "text"}),
}
"""Type of a value → types of CRM fields that can hold it."""

USUAL: Mapping[str, tuple[str, ...]] = {
    "phone": ("PHONE",),
    "email": ("EMAIL",),
    "url": ("WEB",),
    "person_name": ("NAME+LAST_NAME",),
}
"""Where such a value always belongs, if the type of item has it."""

KNOWN_NAMES: Mapping[str, str] = {
    "subject": "TITLE",
    "title": "TITLE",
    "comment": "COMMENTS",
    "comments": "COMMENTS",
    "company": "COMPANY_TITLE",
    "position": "POST",
    "budget": "OPPORTUNITY",
}
MULTIFIELD_OF = {"phone": "PHONE", "email": "EMAIL", "url": "WEB"}
NOT_FOR_TEXTS = re.compile(r"(_ID|_BY|^ID|^XML_|^ORIGIN|^UTM_|^STAGE|^STATUS)")
GOOD_ENOUGH = 0.5


def fits(spec_type: str, info: FieldInfo) -> bool:
    """Can the field hold such values at all?"""
    if info.read_only or info.type not in FITTING.get(spec_type, frozenset({"string"})):
        return False
    if info.type == "crm_multifield":
        return MULTIFIELD_OF.get(spec_type) == info.name
    return not NOT_FOR_TEXTS.search(info.name)


def match(
    *,
    entity: str,
    fields: Sequence[FieldSpec],
    topics: Sequence[Topic],
    catalogue: Mapping[str, FieldInfo],
    taken: Iterable[Mapping_] = (),
) -> list[Mapping_]:
    """A mapping for every value that has none in this type of item and an obvious place in it.

    Each CRM field is used once. Values without an obvious place are left to the admin.
    """
    mine = [mapping for mapping in taken if mapping.entity == entity]
    mapped = {mapping.source for mapping in mine}
    used = {name for mapping in mine for name in mapping.to.split("+")}
    topic = FieldSpec(
        name="topic",
        type="choice",
        description="тема обращения topic",
        choices=tuple(one.title for one in topics),
    )
    found = []
    for spec in (*fields, topic):
        if spec.name in mapped:
            continue
        target = _usual(spec, catalogue, used) or _by_name(spec, catalogue, used)
        if target:
            used |= set(target.split("+"))
            found.append(
                Mapping_.model_validate(
                    {
                        "from": spec.name,
                        "entity": entity,
                        "to": target,
                        "policy": policy_for(target),
                    }
                )
            )
    return found


def policy_for(target: str) -> str:
    """Phones and e-mails are added to those that are there; other fields are filled when empty."""
    return "append" if target in MULTIFIELD_OF.values() else "fill_empty"


def _usual(spec: FieldSpec, catalogue: Mapping[str, FieldInfo], used: set[str]) -> str:
    wanted = (*USUAL.get(spec.type, ()), KNOWN_NAMES.get(spec.name.lower(), ""))
    for target in filter(None, wanted):
        names = target.split("+")
        if all(name in catalogue and not catalogue[name].read_only for name in names) and not (
            used & set(names)
        ):
            return target
    return ""


def _by_name(spec: FieldSpec, catalogue: Mapping[str, FieldInfo], used: set[str]) -> str:
    scored = [
        (_likeness(spec, info), name)
        for name, info in catalogue.items()
        if name not in used and fits(spec.type, info)
    ]
    score, name = max(scored, default=(0.0, ""))
    return name if score >= GOOD_ENOUGH else ""


def _likeness(spec: FieldSpec, info: FieldInfo) -> float:
    """0–1: words in common, or the same choices in a list."""
    ours = _stems(f"{spec.name} {spec.description}")
    theirs = _stems(f"{info.title} {info.name.removeprefix('UF_CRM_')}")
    by_words = len(ours & theirs) / max(1, min(len(ours), len(_stems(info.title)) or 1))
    if not spec.choices or not info.choices:
        return min(1.0, by_words)
    wanted = {choice.casefold().strip() for choice in spec.choices}
    offered = {title.casefold().strip() for _code, title in info.choices}
    return max(min(1.0, by_words), len(wanted & offered) / len(wanted))


def _stems(text: str) -> set[str]:
    """Words without their endings: enough to see that «телефона» and «телефон» are one."""
    words = re.findall(r"[a-zа-яё]{3,}", text.casefold().replace("_", " "))
    return {word[:5] for word in words}
