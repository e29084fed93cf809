"""What the client has said that belongs into the CRM, as rows that the operator confirms."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone
from django.utils.dateparse import parse_date
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from bx_gpt_app.assistant.config import PortalConfig
from bx_gpt_app.assistant.fill import value_in_words
from bx_gpt_app.assistant.models import Dialog, FieldValue
from bx_gpt_app.assistant.operator import place_of, undo_failed
from bx_gpt_app.assistant.reasons import skipped_in_words
from bx_gpt_app.portals.fields import catalogue
from bx_gpt_app.portals.models import Portal
from integrations.bitrix24.crm import ItemRef, emails, item_value, phones
from integrations.bitrix24.forms import as_list, text_of

UNDO_SECONDS = 10
UNDO_AUTOMATIC_SECONDS = 600
"""What was written without asking may be taken back for longer."""
KEPT_ROWS = 40
INPUT_TYPES = {"phone": "tel", "email": "email", "date": "date"}
WRITING_EVERY = "1s"
MORE_SKIPPED = {
    "filled_meanwhile": lambda: _("A person has filled the field in meanwhile"),
    "item_deleted": lambda: _("The card is no longer there"),
}


def values_of(dialog: Dialog) -> list[FieldValue]:
    """The newest value of every field and place, in the order they were found."""
    newest: dict[tuple[str, str, str], FieldValue] = {}
    rows = FieldValue.objects.filter(dialog=dialog).exclude(band="unsure").order_by("-id")
    for value in rows[:KEPT_ROWS]:
        newest.setdefault((value.field, value.item, value.target), value)
    placed = {value.field for value in newest.values() if value.item}
    # A value found before the card was bound comes again with its place.
    shown = [one for one in newest.values() if one.item or one.field not in placed]
    return sorted(shown, key=lambda one: one.pk)


def values_context(
    dialog: Dialog, portal: Portal, config: PortalConfig, rows: list[FieldValue], base: str
) -> dict[str, Any]:
    """The context of components/operator_values.html."""
    visible = [one for one in rows if one.state != FieldValue.State.DISMISSED]
    shown = [value_context(one, dialog, portal, config, base) for one in visible]
    shown = [one for one in shown if one is not None and one["state"] != "hidden"]
    number = 0
    for row in shown:
        if row["write_url"] and row["state"] != "written":
            number += 1
            row["number"] = number if number <= 9 else None
    open_rows = [
        one for one in shown if one["state"] in ("proposed", "skipped") and one["write_url"]
    ]
    confident = [one for one in open_rows if one["band"] == "confident" and not one["error"]]
    is_writing = any(one["state"] == "writing" for one in shown)
    return {
        "rows": shown,
        "confident_count": len(confident) if len(confident) > 1 or len(open_rows) > 1 else 0,
        "write_confident_url": f"{base}values/confident/",
        "dismiss_url": f"{base}values/dismiss/" if open_rows else "",
        "poll_url": f"{base}values/?rev={dialog.rev}&seen={_last_written(rows)}",
        "poll_every": WRITING_EVERY if is_writing else "",
        "message": "",
    }


def written_since(rows: list[FieldValue], seen: int) -> bool:
    """Has anything reached the CRM after the moment that the page knows of?"""
    return _last_written(rows) > seen


def _last_written(rows: list[FieldValue]) -> int:
    moments = [
        int(one.decided_at.timestamp() * 1000)
        for one in rows
        if one.decided_at and one.state in (FieldValue.State.WRITTEN, FieldValue.State.UNDONE)
    ]
    return max(moments, default=0)


def value_context(
    value: FieldValue,
    dialog: Dialog,
    portal: Portal,
    config: PortalConfig,
    base: str,
    *,
    error: str = "",
    text: str | None = None,
) -> dict[str, Any]:
    """The context of components/operator_value.html."""
    place = place_of(value, dialog, config)
    spec = next((one for one in config.fields if one.name == value.field), None)
    kind = spec.type if spec else "string"
    own = f"{base}values/{value.pk}/"
    state = _STATE.get(value.state, "proposed")
    failed_undo = undo_failed(value)
    if failed_undo:
        state, error = "written", _("The portal did not take the value back.")
    if state == "skipped" and not error:
        error = _why_skipped(value.reason)
    if state == "skipped" and value.reason in ("same", "already_filled"):
        # Nothing is wrong: the card knows it, or a person wrote something else there.
        state = "written" if value.reason == "same" else "proposed"
        error = ""
    left = _undo_seconds(value, timezone.now())
    if text is None:
        is_read_only = state in ("written", "writing") or place is None
        text = in_words(value.value) if is_read_only else value_in_words(value.value)
    current = _current(place, dialog, portal) if place else ""
    if state == "proposed" and current and current.casefold() == text.casefold():
        state = "written"  # the card knows it already
    return {
        "id": value.pk,
        "title": _title(value, place, portal, config),
        "band": value.band,
        "state": state,
        "text": text,
        "input_type": INPUT_TYPES.get(kind, "text"),
        "choices": [(one, one) for one in spec.choices] if spec and kind == "choice" else [],
        "current": current,
        "quote": value.quote,
        "number": None,
        "write_url": f"{own}write/" if place and state not in ("written", "writing") else "",
        "undo_url": f"{own}undo/" if left and not failed_undo else "",
        "undo_seconds": left,
        "error": error,
        "note": "" if place else _why_nowhere(value, config),
    }


def in_words(value: Any) -> str:
    """A value that is only read: a date, too, as people write it."""
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
        day = parse_date(value)
        return date_format(day, "SHORT_DATE_FORMAT") if day else value
    return value_in_words(value)


_STATE: Mapping[str, str] = {
    FieldValue.State.PROPOSED: "proposed",
    FieldValue.State.UNDONE: "proposed",
    FieldValue.State.WRITING: "writing",
    FieldValue.State.WRITTEN: "written",
    FieldValue.State.SKIPPED: "skipped",
}


def _why_nowhere(value: FieldValue, config: PortalConfig) -> str:
    if any(mapping.source == value.field for mapping in config.mappings):
        return _("Goes into the card as soon as there is one.")
    return _("No CRM field is set for this.")


def _why_skipped(reason: str) -> str:
    return MORE_SKIPPED[reason]() if reason in MORE_SKIPPED else skipped_in_words(reason)


def _undo_seconds(value: FieldValue, now: datetime) -> int:
    if value.state == FieldValue.State.WRITING:
        return UNDO_SECONDS
    if value.state != FieldValue.State.WRITTEN or not value.decided_at or not value.new_value:
        return 0
    life = UNDO_SECONDS if value.by else UNDO_AUTOMATIC_SECONDS
    left = value.decided_at + timedelta(seconds=life) - now
    return max(0, round(left.total_seconds()))


_COMMON_TITLES = {
    "PHONE": lambda: _("Phone"),
    "EMAIL": lambda: _("E-mail"),
    "NAME+LAST_NAME": lambda: pgettext("of a person", "Name"),
    "LAST_NAME+NAME": lambda: pgettext("of a person", "Name"),
}
"""The portal calls these by a code or has no single name for them."""


def _title(
    value: FieldValue,
    place: tuple[str, str, str] | None,
    portal: Portal,
    config: PortalConfig,
) -> str:
    """As the portal names the field; else as the admin described it."""
    if value.field == "topic":
        return _("Topic")
    if place and place[1] in _COMMON_TITLES:
        return _COMMON_TITLES[place[1]]()
    if place and "+" not in place[1]:
        info = catalogue(portal, ItemRef.parse(place[0]).entity_type_id).get(place[1])
        if info and info.title:
            return info.title
    spec = next((one for one in config.fields if one.name == value.field), None)
    words = (spec.description if spec else "") or value.field
    return words[:1].upper() + words[1:]


def _current(place: tuple[str, str, str], dialog: Dialog, portal: Portal) -> str:
    """What the CRM held when the card was read last."""
    item, target, _policy = place
    known = (dialog.item_snapshot or {}).get(item) or {}
    if target == "PHONE":
        return ", ".join(phones(known))
    if target == "EMAIL":
        return ", ".join(emails(known))
    infos = catalogue(portal, ItemRef.parse(item).entity_type_id)
    words = []
    for name in target.split("+"):
        choices = dict(infos[name].choices) if name in infos else {}
        for one in as_list(item_value(known, name)) or [item_value(known, name)]:
            said = choices.get(text_of(one), text_of(one))
            words += [said.replace("|", " ")] if said not in ("", "0") else []
    return " ".join(words) if "+" in target else ", ".join(words)
