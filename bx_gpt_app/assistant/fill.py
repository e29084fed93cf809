"""From checked values to the ledger and to CRM deliveries, by the admin's mappings."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from bx_gpt_app.assistant.config import Mapping_, PortalConfig
from bx_gpt_app.assistant.models import Delivery, Dialog, FieldValue, Run
from bx_gpt_app.common.amounts import price
from bx_gpt_app.flow import Judgement
from bx_gpt_app.portals.models import Portal
from integrations.bitrix24.crm import ItemRef, entity_type_id
from integrations.llm.values import Band, CheckedValue

NOTE_TITLE = {"ru": "ИИ-помощник", "en": "AI assistant"}
NOTE_TEXT = {"ru": "Заполнено из переписки:", "en": "Filled from the conversation:"}


def propose_values(
    portal: Portal, dialog: Dialog, run: Run, judgement: Judgement, config: PortalConfig
) -> None:
    """Write every new value into the ledger; plan one CRM delivery per item for those to be
    written.

    A value without evidence in the client's words is not kept at all. Call it in a transaction.
    """
    wanted: defaultdict[str, list[FieldValue]] = defaultdict(list)
    known = list(
        FieldValue.objects.filter(dialog=dialog).values_list("field", "item", "target", "value")
    )
    for checked in _with_topic(judgement, config):
        if checked.value is None or checked.band is Band.UNSURE:
            continue
        for value in _rows(portal, dialog, run, checked, config):
            place = (value.field, value.item, value.target, value.value)
            if place in known:
                continue  # proposed or decided before: not again
            known.append(place)
            value.save()
            if value.state == FieldValue.State.WRITING:
                wanted[value.item].append(value)
    for item, values in wanted.items():
        plan_writing(portal, dialog, run, item, values, note=config.crm.timeline_comment)


def plan_writing(
    portal: Portal,
    dialog: Dialog,
    run: Run | None,
    item: str,
    values: list[FieldValue],
    *,
    note: bool,
    operator_id: int | None = None,
) -> Delivery:
    """The delivery that writes these ledger rows into one item."""
    language = portal.language if portal.language in NOTE_TITLE else "en"
    return Delivery.objects.create(
        portal=portal,
        dialog=dialog,
        run=run,
        kind=Delivery.Kind.CRM,
        operator_id=operator_id,
        payload={
            "item": item,
            "wanted": [
                {
                    "field": value.target,
                    "value": value.value,
                    "policy": value.policy,
                    "otherwise": value.raw if value.field == "topic" else None,
                }
                for value in values
            ],
            "values": [value.pk for value in values],
            "note": (
                {"title": NOTE_TITLE[language], "text": NOTE_TEXT[language]} if note else None
            ),
        },
    )


def _rows(
    portal: Portal, dialog: Dialog, run: Run, checked: CheckedValue, config: PortalConfig
) -> list[FieldValue]:
    """One row for every place this value is mapped to."""
    places = _places(checked.field, dialog, config)
    rows = []
    for mapping, item in places:
        target = mapping.to if mapping else ""
        rows.append(
            FieldValue(
                portal=portal,
                dialog=dialog,
                run=run,
                field=checked.field,
                type=checked.type,
                value=checked.value,
                raw=checked.raw[:300],
                quote=checked.quote[:300],
                band=checked.band,
                doubt=checked.doubt[:40],
                item=item,
                target=target,
                policy=mapping.policy if mapping else "",
                state=_state(checked, mapping, item, run, config),
            )
        )
    return rows


def _state(
    checked: CheckedValue, mapping: Mapping_ | None, item: str, run: Run, config: PortalConfig
) -> str:
    if mapping is None or not item or config.crm.write == "off":
        return FieldValue.State.PROPOSED
    if not _wants_crm(run):
        return FieldValue.State.PROPOSED
    certain = checked.band is Band.CONFIDENT and not mapping.confirm
    return (
        FieldValue.State.WRITING
        if certain and config.crm.write == "auto"
        else FieldValue.State.PROPOSED
    )


def _wants_crm(run: Run) -> bool:
    """A hook's or robot's caller may have asked to leave the CRM alone."""
    if run.dialog.kind not in (Dialog.Kind.HOOK, Dialog.Kind.ROBOT):
        return True
    event = run.dialog.events.filter(kind__in=["hook", "robot"]).first()
    return bool(event.payload.get("update_crm", True)) if event else True


def _places(field: str, dialog: Dialog, config: PortalConfig) -> list[tuple[Mapping_ | None, str]]:
    """Where a field goes in the dialog's items; one empty place when it goes nowhere (yet)."""
    mappings = [mapping for mapping in config.mappings if mapping.source == field]
    bound: dict[int, str] = {ItemRef.parse(code).entity_type_id: code for code in dialog.items}
    places: list[tuple[Mapping_ | None, str]] = [
        (mapping, bound[entity_type_id(mapping.entity)])
        for mapping in mappings
        if entity_type_id(mapping.entity) in bound
    ]
    if places:
        return places
    return [(mappings[0], "")] if mappings else [(None, "")]


def _with_topic(judgement: Judgement, config: PortalConfig) -> list[CheckedValue]:
    """The topic is mapped like a field: by its title, as people and lists in the CRM name it."""
    values = list(judgement.values)
    topic = config.topic(judgement.topic)
    if topic and any(mapping.source == "topic" for mapping in config.mappings):
        values.append(
            CheckedValue(
                field="topic", type="choice", value=topic.title, raw=topic.code, band=Band.CONFIDENT
            )
        )
    return values


def value_in_words(value: Any) -> str:
    """A ledger value as people write it."""
    if isinstance(value, dict) and "amount" in value:
        return price(value["amount"], str(value.get("currency") or ""))
    if isinstance(value, bool):
        return "✓" if value else "—"
    return "" if value is None else str(value)
