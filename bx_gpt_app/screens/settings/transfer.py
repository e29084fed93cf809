"""The configuration as a file: out by a click, in after a look at mistakes and changes."""

from __future__ import annotations

import difflib
import re
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from bx_gpt_app.assistant import lines, store
from bx_gpt_app.assistant.config import ConfigProblems, PortalConfig, read_yaml, write_yaml
from bx_gpt_app.assistant.readiness import unseen
from bx_gpt_app.portals.models import Portal
from bx_gpt_app.screens.forms import ConfigurationFileForm
from bx_gpt_app.screens.frame import Frame
from bx_gpt_app.screens.settings import downloads
from bx_gpt_app.screens.settings.connection import content
from bx_gpt_app.screens.settings.page import admin_act, link, page, who
from bx_gpt_app.screens.settings.sealed import NotOurs, TooMuch, seal, unseal

MAX_BYTES = 5_000_000
KEYS = re.compile(r"(api_key[\"']?\s*:\s*)(?!null\b)[^\s,}]+")
CONTEXT_LINES = 2
SHOWN_PROBLEMS = 100


def _file(portal: Portal, options: dict[str, Any]) -> downloads.File:
    text = write_yaml(store.load_whole(portal))
    return f"assistant-{portal.domain}.yaml", "application/yaml; charset=utf-8", text.encode()


downloads.FILES["configuration"] = _file


@admin_act
def export(request: HttpRequest, frame: Frame) -> HttpResponse:
    return downloads.ticket_for(frame, "configuration")


@admin_act
def import_file(request: HttpRequest, frame: Frame) -> HttpResponse:
    """First the preview of what would change; the same text again with `apply` changes it."""
    form = ConfigurationFileForm(request.POST, request.FILES)
    form.is_valid()
    try:
        text = _text_of(request, frame)
        new = read_yaml(text, onto=store.load_whole(frame.portal))
    except ConfigProblems as error:
        return _again(request, frame, list(error.problems))
    current = store.load_whole(frame.portal)
    keys = {"left_keys": _left_keys(frame, current, new), "model_url": link(frame, "model")}
    if request.POST.get("apply"):
        store.save(frame.portal, new, by=who(frame))
        lines.carry_out_modes.enqueue(frame.portal_id)
        in_force = _("The configuration is in force")
        return page(request, frame, "connection", content(frame) | keys, said=in_force)
    try:
        sealed = seal(frame.portal, text)
    except TooMuch:
        told = _("file: too large to be shown before it is applied; split off the knowledge")
        return _again(request, frame, [told])
    changes = changed_lines(current, new)
    return page(
        request,
        frame,
        "connection",
        {
            "changes": changes,
            "new_key": bool(new.llm.api_key) or bool(new.llm.fallback and new.llm.fallback.api_key),
            "becomes_automatic": becomes_automatic(frame.portal, current, new),
            "unseen": unseen(new, delay_seconds=0, working_hours_only=False),
            # A key that the file brings is not written into a page.
            "sealed": sealed,
            "back_url": link(frame, "connection"),
            **keys,
        },
        template="import_preview",
    )


def _left_keys(frame: Frame, current: PortalConfig, new: PortalConfig) -> list[str]:
    return [
        _(
            "The stored key is for %(old)s and is not sent to %(new)s. "
            "Enter the key of the new server."
        )
        % {"old": stored_for, "new": server}
        for stored_for, server in store.keys_left_behind(frame.portal, current, new)
    ]


def _text_of(request: HttpRequest, frame: Frame) -> str:
    """Raises: ConfigProblems."""
    if request.POST.get("sealed"):
        try:
            return unseal(frame.portal, request.POST["sealed"])
        except NotOurs:
            raise ConfigProblems([_("file: choose it once more")]) from None
    upload = request.FILES.get("file")
    if upload is None:
        text = request.POST.get("text", "")
        if not text.strip():
            raise ConfigProblems([_("file: choose a file or paste its text")])
        return text
    if (upload.size or 0) > MAX_BYTES:
        raise ConfigProblems([_("file: larger than 5 MB")])
    try:
        return str(upload.read().decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise ConfigProblems([_("file: not a text in UTF-8")]) from None


def _again(request: HttpRequest, frame: Frame, problems: list[str]) -> HttpResponse:
    if len(problems) > SHOWN_PROBLEMS:
        more = len(problems) - SHOWN_PROBLEMS
        told = ngettext("and %(n)s more mistake", "and %(n)s more mistakes", more) % {"n": more}
        problems = [*problems[:SHOWN_PROBLEMS], told]
    text, keys = KEYS.subn(r"\1null", request.POST.get("text", ""))
    if keys:
        problems = [*problems, _("llm.api_key: the key was taken out of the text, enter it again")]
    context = {
        **content(frame),
        "problems": problems,
        "file_form": ConfigurationFileForm(initial={"text": text}),
    }
    return page(request, frame, "connection", context, status=422)


def changed_lines(old: PortalConfig, new: PortalConfig) -> list[dict[str, str]]:
    """A unified diff of both files, without headers. Secrets are in neither."""
    before, after = write_yaml(old).splitlines(), write_yaml(new).splitlines()
    rows = []
    for line in list(difflib.unified_diff(before, after, lineterm="", n=CONTEXT_LINES))[2:]:
        kind = {"+": "insert", "-": "delete", "@": "gap"}.get(line[:1], "equal")
        rows.append({"kind": kind, "text": "⋯" if kind == "gap" else line[1:]})
    return rows


def becomes_automatic(portal: Portal, old: PortalConfig, new: PortalConfig) -> list[str]:
    """Lines that would begin to answer by themselves."""
    return [
        str(line)
        for line in portal.lines.all()
        if new.line(line.line_id).mode == "auto" and old.line(line.line_id).mode != "auto"
    ]
