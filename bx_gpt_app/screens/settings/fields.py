"""What is looked for in the clients' words, and which CRM field it goes into."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from bx_gpt_app.assistant import portal_cases
from bx_gpt_app.assistant.config import ENTITIES, Mapping_, PortalConfig
from bx_gpt_app.assistant.context import zone_of
from bx_gpt_app.assistant.fill import value_in_words
from bx_gpt_app.assistant.matching import fits, match, policy_for
from bx_gpt_app.assistant.models import Dialog, Run
from bx_gpt_app.assistant.reasons import skipped_in_words
from bx_gpt_app.portals.clients import client_for
from bx_gpt_app.portals.fields import catalogue, refresh_catalogue
from bx_gpt_app.portals.models import Portal
from bx_gpt_app.screens.forms import FIELD_TYPES, CrmForm, FieldForm
from bx_gpt_app.screens.frame import Frame
from bx_gpt_app.screens.settings.page import (
    admin_act,
    admin_view,
    config_of,
    fragment,
    link,
    page,
    save,
    who,
)
from integrations.bitrix24.crm import FieldInfo, ItemRef, Wanted, entity_type_id, plan_changes
from integrations.bitrix24.errors import Bitrix24Error, ScopeMissing
from integrations.llm.values import FieldSpec

POLICIES = ("fill_empty", "append", "overwrite")
TOPIC = FieldSpec(name="topic", type="choice")
NAME_TARGETS = ("NAME+LAST_NAME", "LAST_NAME+NAME")
SPARE_ROWS = 1


@dataclass(frozen=True)
class Row:
    """A line of the mapping table."""

    key: str
    spec: FieldSpec
    title: str
    to: str
    policy: str
    confirm: bool
    gone: bool
    fitting: list[tuple[str, str]]
    others: list[tuple[str, str]]


@admin_view
def fields(request: HttpRequest, frame: Frame) -> HttpResponse:
    return _page(request, frame)


def _page(
    request: HttpRequest,
    frame: Frame,
    *,
    said: str = "",
    status: int = 200,
    crm_form: CrmForm | None = None,
    problems: list[str] | None = None,
) -> HttpResponse:
    config = config_of(frame)
    entity = _entity(request)
    infos = catalogue(frame.portal, entity_type_id(entity))
    context = {
        "fields": [_listed(config, spec) for spec in config.fields],
        "entities": _entities(frame, config, entity),
        "entity": entity,
        "entity_title": _entity_title(entity),
        "known": bool(infos),
        "rows": _rows(config, entity, infos),
        "policies": _policies(),
        "crm_form": crm_form or CrmForm(initial=config.crm.model_dump()),
        "problems": problems or [],
        "case_count": frame.portal.cases.count(),
    }
    return page(request, frame, "fields", context, status=status, said=said)


def _entity(request: HttpRequest) -> str:
    asked = (request.POST.get("entity") or request.GET.get("entity") or "lead").lower()
    if asked in ENTITIES or re.fullmatch(r"1[2-9]\d|[2-9]\d{2}|\d{4,9}", asked):
        return asked
    raise Http404


def _entity_title(entity: str) -> str:
    titles = {
        "lead": _("Lead"),
        "deal": _("Deal"),
        "contact": _("Contact"),
        "company": _("Company"),
    }
    return titles.get(entity) or _("Smart process %(number)s") % {"number": entity}


def _entities(frame: Frame, config: PortalConfig, entity: str) -> list[dict[str, Any]]:
    """The usual four, and smart processes that are mapped or whose fields are known."""
    more = {mapping.entity for mapping in config.mappings if mapping.entity.isdigit()}
    more |= {number for number in frame.portal.field_cache if int(number) >= 128}
    names = [*ENTITIES, *sorted(more | ({entity} if entity.isdigit() else set()), key=int)]
    counts = {name: sum(m.entity == name for m in config.mappings) for name in names}
    return [
        {
            "name": name,
            "title": _entity_title(name),
            "count": counts[name],
            "url": f"{link(frame, 'fields')}?entity={name}",
            "current": name == entity,
        }
        for name in names
    ]


def _listed(config: PortalConfig, spec: FieldSpec) -> dict[str, Any]:
    places = [m for m in config.mappings if m.source == spec.name]
    return {
        "spec": spec,
        "type": FIELD_TYPES[spec.type],
        "places": len(places),
    }


def _policies() -> list[tuple[str, str]]:
    words = {
        "fill_empty": _("do not touch"),
        "append": _("add"),
        "overwrite": _("replace"),
    }
    return [(policy, words[policy]) for policy in POLICIES]


def _rows(config: PortalConfig, entity: str, infos: Mapping[str, FieldInfo]) -> list[Row]:
    """One row for each mapping of this type of item and for each value without one."""
    specs = {spec.name: spec for spec in (*config.fields, TOPIC)}
    rows = []
    for name, spec in specs.items():
        mine = [m for m in config.mappings if m.source == name and m.entity == entity]
        for number, mapping in enumerate(mine or [None]):
            rows.append(_row(f"{name}.{number}", spec, mapping, infos))
    return rows


def _row(
    key: str, spec: FieldSpec, mapping: Mapping_ | None, infos: Mapping[str, FieldInfo]
) -> Row:
    fitting, others = _options(spec, infos)
    to = mapping.to if mapping else ""
    known = {code for code, _title in (*fitting, *others)}
    return Row(
        key=key,
        spec=spec,
        title=_("Topic of the question") if spec.name == "topic" else spec.description or spec.name,
        to=to,
        policy=mapping.policy
        if mapping
        else policy_for(fitting[0][0])
        if fitting
        else "fill_empty",
        confirm=mapping.confirm if mapping else False,
        gone=bool(to and infos and to not in known),
        fitting=fitting,
        others=others,
    )


def _options(
    spec: FieldSpec, infos: Mapping[str, FieldInfo]
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """CRM fields that suit the value, then the other writable ones; by title."""
    named = sorted(infos.values(), key=lambda info: info.title.casefold())
    suit = [(info.name, info.title) for info in named if fits(spec.type, info)]
    if spec.type == "person_name" and {"NAME", "LAST_NAME"} <= infos.keys():
        words = f"{infos['NAME'].title} + {infos['LAST_NAME'].title}"
        suit.insert(0, (NAME_TARGETS[0], words))
    taken = {code for code, _title in suit}
    rest = [
        (info.name, info.title)
        for info in named
        if not info.read_only and info.name not in taken and info.type != "crm_multifield"
    ]
    return suit, rest


# ---- what is looked for ----


@admin_view
def edit_field(request: HttpRequest, frame: Frame, name: str = "") -> HttpResponse:
    config = config_of(frame)
    spec = next((one for one in config.fields if one.name == name), None)
    if name and spec is None:
        raise Http404
    taken = [one.name for one in config.fields if one is not spec]
    if request.method != "POST":
        initial = spec.model_dump() if spec else {"type": "string"}
        return _field_page(request, frame, FieldForm(initial=initial, taken=taken), spec)
    form = FieldForm(request.POST, taken=taken)
    if form.is_valid():
        new = FieldSpec(
            name=form.cleaned_data["name"],
            type=form.cleaned_data["type"],
            description=form.cleaned_data["description"],
            max_length=form.cleaned_data["max_length"],
            choices=tuple(form.cleaned_data["choices"])
            if form.cleaned_data["type"] == "choice"
            else (),
        )
        listed = [new if one is spec else one for one in config.fields] + ([] if spec else [new])
        mappings = [
            {**row, "from": new.name} if spec and row["from"] == spec.name else row
            for row in _documents(config.mappings)
        ]
        places = {f"fields[{len(listed) - 1}].{part}": part for part in ("name", "choices")}
        if save(frame, form, places, fields=_documents(listed), mappings=mappings):
            if spec and spec.name != new.name:
                portal_cases.rename(frame.portal, field=(spec.name, new.name))
            return _page(request, frame, said=_("Saved"))
    return _field_page(request, frame, form, spec, status=422)


def _field_page(
    request: HttpRequest, frame: Frame, form: FieldForm, spec: FieldSpec | None, status: int = 200
) -> HttpResponse:
    return page(
        request, frame, "fields", {"form": form, "spec": spec}, template="field_edit", status=status
    )


def _documents(rows: Any) -> list[dict[str, Any]]:
    return [row.model_dump(mode="json", by_alias=True) for row in rows]


@admin_act
def move_field(request: HttpRequest, frame: Frame, name: str, where: str) -> HttpResponse:
    config = config_of(frame)
    names = [spec.name for spec in config.fields]
    if name not in names or where not in ("up", "down"):
        raise Http404
    listed, place = list(config.fields), names.index(name)
    other = place + (1 if where == "down" else -1)
    if 0 <= other < len(listed):
        listed[place], listed[other] = listed[other], listed[place]
        _store(frame, fields=_documents(listed))
    return _page(request, frame)


@admin_act
def delete_field(request: HttpRequest, frame: Frame, name: str) -> HttpResponse:
    """With its places: what is not looked for cannot be written."""
    config = config_of(frame)
    if name not in {spec.name for spec in config.fields}:
        raise Http404
    _store(
        frame,
        fields=_documents(spec for spec in config.fields if spec.name != name),
        mappings=_documents(m for m in config.mappings if m.source != name),
    )
    return _page(request, frame, said=_("Deleted"))


def _store(frame: Frame, **parts: Any) -> None:
    from bx_gpt_app.assistant import store

    store.change(frame.portal, by=who(frame), **parts)


# ---- where it goes ----


@admin_act
def save_mappings(request: HttpRequest, frame: Frame) -> HttpResponse:
    """The table of one type of item replaces its mappings; those of the other types stay."""
    config, entity = config_of(frame), _entity(request)
    mine = _posted(request.POST.dict(), config, entity)
    others = [row for row in _documents(config.mappings) if row["entity"] != entity]
    form = CrmForm()
    form.cleaned_data = {}
    if save(frame, form, {}, mappings=[*others, *mine]):
        return _page(request, frame, said=_("Saved"))
    return _page(request, frame, status=422, problems=[str(e) for e in form.non_field_errors()])


def _posted(data: Mapping[str, str], config: PortalConfig, entity: str) -> list[dict[str, Any]]:
    specs = [*(spec.name for spec in config.fields), "topic"]
    rows: list[dict[str, Any]] = []
    for name in specs:
        number = 0
        while f"to.{name}.{number}" in data:
            to = data[f"to.{name}.{number}"]
            if to:
                rows.append(
                    {
                        "from": name,
                        "entity": entity,
                        "to": to,
                        "policy": data.get(f"policy.{name}.{number}", "fill_empty"),
                        "confirm": f"confirm.{name}.{number}" in data,
                    }
                )
            number += 1
    if data.get("more_from") in specs and data.get("more_to"):
        to = data["more_to"]
        more = {"from": data["more_from"], "entity": entity, "to": to, "policy": policy_for(to)}
        if not any(row["from"] == more["from"] and row["to"] == to for row in rows):
            rows.append(more)
    return rows


@admin_act
def match_fields(request: HttpRequest, frame: Frame) -> HttpResponse:
    """Places that are obvious by type or name; what is mapped already stays."""
    config, entity = config_of(frame), _entity(request)
    infos = catalogue(frame.portal, entity_type_id(entity))
    found = match(
        entity=entity,
        fields=config.fields,
        topics=config.topics,
        catalogue=infos,
        taken=config.mappings,
    )
    if found:
        _store(frame, mappings=[*_documents(config.mappings), *_documents(found)])
    said = (
        ngettext("%(n)s place found: check it", "%(n)s places found: check them", len(found))
        % {"n": len(found)}
        if found
        else _("No further obvious places: choose by hand")
    )
    return _page(request, frame, said=said)


@admin_act
def read_catalogue(request: HttpRequest, frame: Frame) -> HttpResponse:
    """Read the fields of this type from the portal, now."""
    entity = _entity(request)
    try:
        refresh_catalogue(frame.portal, client_for(frame.portal), entity_type_id(entity))
    except ScopeMissing:
        return _page(
            request,
            frame,
            status=422,
            problems=[_("Bitrix24 refused: the app lacks the permission “crm”. Reconnect it.")],
        )
    except Bitrix24Error as error:
        words = _("The fields could not be read: %(problem)s") % {"problem": str(error)[:200]}
        return _page(request, frame, status=422, problems=[words])
    return _page(request, frame, said=_("Fields read"))


@admin_act
def save_crm(request: HttpRequest, frame: Frame) -> HttpResponse:
    form = CrmForm(request.POST)
    if form.is_valid() and save(frame, form, {"crm.write": "write"}, crm=form.cleaned_data):
        return _page(request, frame, said=_("Saved"))
    return _page(request, frame, status=422, crm_form=form)


@admin_act
def try_plan(request: HttpRequest, frame: Frame) -> HttpResponse:
    """What the table would write for the last dialog that has a card. Nothing is written."""
    config, entity = config_of(frame), _entity(request)
    kind = entity_type_id(entity)
    dialog, run, ref = _last_with_card(frame.portal, kind)
    if dialog is None or run is None or ref is None:
        text = _("No dialog with such a card yet: this fills itself with the first clients.")
        return fragment(request, frame, "fields_tried", {"empty": text})
    infos = catalogue(frame.portal, kind)
    item = (dialog.item_snapshot or {}).get(str(ref)) or {}
    values = {value["field"]: value for value in run.values if value.get("value") is not None}
    topic = config.topic(run.topic)
    if topic:
        values["topic"] = {"value": topic.title, "band": "confident", "quote": ""}
    rows = []
    for mapping in config.mappings:
        if mapping.entity == entity and mapping.source in values:
            rows.append(_planned(frame.portal, mapping, values[mapping.source], item, infos))
    context = {
        "rows": rows,
        "dialog": dialog.client_name or dialog.title or dialog.key,
        "ref": str(ref),
        "unmapped": [
            name
            for name in values
            if not any(m.entity == entity and m.source == name for m in config.mappings)
        ],
    }
    return fragment(request, frame, "fields_tried", context)


def _last_with_card(portal: Portal, kind: int) -> tuple[Dialog | None, Run | None, ItemRef | None]:
    dialogs = Dialog.objects.filter(portal=portal, item_snapshot__isnull=False)
    for dialog in dialogs.order_by("-last_message_at")[:30]:
        for code in dialog.items:
            ref = ItemRef.parse(code)
            run = (
                dialog.runs.filter(state=Run.State.DONE).exclude(values=[]).order_by("-id").first()
            )
            if ref.entity_type_id == kind and run is not None:
                return dialog, run, ref
    return None, None, None


def _planned(
    portal: Portal,
    mapping: Mapping_,
    value: Mapping[str, Any],
    item: Mapping[str, Any],
    infos: Mapping[str, FieldInfo],
) -> dict[str, Any]:
    wish = Wanted(field=mapping.to, value=value["value"], policy=mapping.policy)
    plan = plan_changes(item, infos, [wish], zone=zone_of(portal), currency="RUB")
    names = mapping.to.split("+")
    why = next((plan.skipped[name] for name in (mapping.to, *names) if name in plan.skipped), "")
    return {
        "title": " + ".join(infos[name].title if name in infos else name for name in names),
        "value": value_in_words(value["value"]),
        "band": value.get("band", ""),
        "quote": value.get("quote", ""),
        "old": ", ".join(str(change.old) for change in plan.changes if change.old) or "",
        "writes": bool(plan.changes),
        "asks": mapping.confirm or value.get("band") != "confident",
        "why": skipped_in_words(why) if why and not plan.changes else "",
    }
