"""Test cases: the portal's own questions with what a good answer has, and how prompts fare."""

from __future__ import annotations

import json
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from bx_gpt_app.assistant import comparison, portal_cases
from bx_gpt_app.assistant.cases import Case, CasesProblems, read_cases, write_cases
from bx_gpt_app.assistant.models import PortalCase
from bx_gpt_app.assistant.portal_cases import CASES_AT_MOST, case_of, no_longer_known
from bx_gpt_app.common.crypto import UnreadableSecret, decrypt, encrypt
from bx_gpt_app.portals.models import Portal
from bx_gpt_app.screens.case_form import CaseForm
from bx_gpt_app.screens.forms import CasesFileForm
from bx_gpt_app.screens.frame import Frame
from bx_gpt_app.screens.settings import checked, downloads
from bx_gpt_app.screens.settings.page import (
    admin_act,
    admin_view,
    config_of,
    fragment,
    page,
    recent_dialogs,
    who,
)

FILE_AT_MOST = 1_000_000
"""Bytes."""


@admin_view
def cases(request: HttpRequest, frame: Frame) -> HttpResponse:
    return _page(request, frame)


def _page(
    request: HttpRequest, frame: Frame, *, said: str = "", status: int = 200, **more: Any
) -> HttpResponse:
    now, context = checked.of_portal(frame)
    context |= {
        "rows": [checked.row(line, now) for line in now.lines],
        "count": len(now.lines),
        "most": CASES_AT_MOST,
        "is_full": len(now.lines) >= CASES_AT_MOST,
        "samples": len(portal_cases.samples(config_of(frame), frame.language)),
        **more,
    }
    return page(request, frame, "prompts", context, template="cases", status=status, said=said)


# ---- one case ----


@admin_view
def edit_case(request: HttpRequest, frame: Frame, pk: int = 0) -> HttpResponse:
    """Write a case, correct one, or confirm what was recognised in a dialog."""
    config = config_of(frame)
    row = _row(frame, pk) if pk else None
    if request.method != "POST":
        return _edit_page(request, frame, *_form_to_show(request, frame, row))
    form = CaseForm(request.POST, config=config)
    case, from_dialog = form.case(), request.POST.get("from_dialog") == "1"
    if case is None:
        return _edit_page(request, frame, form, row, from_dialog, status=422)
    if row is not None:
        portal_cases.change(row, case)
        return _page(request, frame, said=_("Saved"))
    origin = PortalCase.Origin.DIALOG if from_dialog else PortalCase.Origin.TYPED
    try:
        added = portal_cases.add(frame.portal, [case], origin=origin, by=who(frame))
    except CasesProblems as error:
        form.add_error(None, error.problems[0])
        return _edit_page(request, frame, form, row, from_dialog, status=422)
    return _page(request, frame, said=_("Added") if added else _("This case is there already"))


def _row(frame: Frame, pk: int) -> PortalCase:
    row = frame.portal.cases.filter(pk=pk).first()
    if row is None:
        raise Http404
    return row


def _form_to_show(
    request: HttpRequest, frame: Frame, row: PortalCase | None
) -> tuple[CaseForm, PortalCase | None, bool]:
    config = config_of(frame)
    if row is not None:
        return CaseForm.of(case_of(row), config), row, False
    number = request.GET.get("dialog", "")
    if not number:
        return CaseForm(config=config), None, False
    dialog = frame.portal.dialogs.filter(pk=int(number) if number.isdigit() else 0).first()
    case = portal_cases.from_dialog(dialog, config) if dialog else None
    if case is None:
        raise Http404
    return CaseForm.of(case, config), None, True


def _edit_page(
    request: HttpRequest,
    frame: Frame,
    form: CaseForm,
    row: PortalCase | None,
    from_dialog: bool,
    status: int = 200,
) -> HttpResponse:
    context = {
        "form": form,
        "case": row,
        "from_dialog": from_dialog,
        "dialogs": [] if row else recent_dialogs(frame.portal),
        "gone": no_longer_known(case_of(row).expect, form.config) if row else [],
    }
    return page(request, frame, "prompts", context, template="case_edit", status=status)


@admin_act
def delete_case(request: HttpRequest, frame: Frame, pk: int) -> HttpResponse:
    """At once, without a question: the page that follows has the way back."""
    row = _row(frame, pk)
    name = checked.name_of_case(case_of(row))
    gone = portal_cases.take_out(row)
    return _page(request, frame, undo={"sealed": encrypt(json.dumps(gone)), "name": name})


@admin_act
def restore_case(request: HttpRequest, frame: Frame) -> HttpResponse:
    try:
        gone = json.loads(decrypt(request.POST.get("sealed", "")))
    except (UnreadableSecret, ValueError):
        raise Http404 from None
    if not portal_cases.put_back(frame.portal, gone):
        raise Http404
    return _page(request, frame, said=_("The case is back"))


@admin_act
def add_samples(request: HttpRequest, frame: Frame) -> HttpResponse:
    found = portal_cases.samples(config_of(frame), frame.language)
    try:
        return _add(request, frame, found, PortalCase.Origin.SAMPLE)
    except CasesProblems as error:
        return _page(request, frame, problem=error.problems[0], status=422)


# ---- files ----


@admin_view
def import_cases(request: HttpRequest, frame: Frame) -> HttpResponse:
    """The file of `manage.py evaluate`: every mistake at once, or all of it."""
    if request.method != "POST":
        return _import_page(request, frame, [])
    try:
        found = read_cases(_text_of(request), config_of(frame))
        return _add(request, frame, found, PortalCase.Origin.IMPORTED)
    except CasesProblems as error:
        return _import_page(request, frame, list(error.problems), status=422)


def _add(request: HttpRequest, frame: Frame, found: list[Case], origin: str) -> HttpResponse:
    """Raises: CasesProblems when there is no room."""
    added = portal_cases.add(frame.portal, found, origin=origin, by=who(frame))
    said = ngettext("%(n)s case added", "%(n)s cases added", added) % {"n": added}
    return _page(request, frame, said=said if added else _("These cases are there already"))


def _text_of(request: HttpRequest) -> str:
    """Raises: CasesProblems."""
    upload = request.FILES.get("file")
    if upload is None:
        text = request.POST.get("text", "")
        if not text.strip():
            raise CasesProblems([_("file: choose a file or paste its text")])
        return text
    if (upload.size or 0) > FILE_AT_MOST:
        raise CasesProblems([_("file: larger than 1 MB")])
    try:
        return str(upload.read().decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise CasesProblems([_("file: not a text in UTF-8")]) from None


def _import_page(
    request: HttpRequest, frame: Frame, problems: list[str], status: int = 200
) -> HttpResponse:
    context = {
        "form": CasesFileForm(initial={"text": request.POST.get("text", "")}),
        "problems": problems,
        "example": EXAMPLE[frame.language == "ru"],
    }
    return page(request, frame, "prompts", context, template="cases_import", status=status)


EXAMPLE = (
    """\
- text: Hello, I am Anna, +7 900 000-00-01. When will the technician come?
  expect: {topic: service, fields: {phone: "+79000000001", email: null}}
- messages: [I need a boiler, {author: operator, text: Which one?}, a gas one]
  expect: {topic: sales, needs_human: false, reply_max_length: 400}
""",
    """\
- text: Здравствуйте, это Анна, +7 900 000-00-01. Когда придёт мастер?
  expect: {topic: service, fields: {phone: "+79000000001", email: null}}
- messages: [Нужен котёл, {author: operator, text: "Какой?"}, газовый]
  expect: {topic: sales, needs_human: false, reply_max_length: 400}
""",
)


def _file(portal: Portal, options: dict[str, Any]) -> downloads.File:
    text = write_cases(case_of(row) for row in portal.cases.all())
    return f"cases-{portal.domain}.yaml", "application/yaml; charset=utf-8", text.encode()


downloads.FILES["cases"] = _file


@admin_act
def export_cases(request: HttpRequest, frame: Frame) -> HttpResponse:
    return downloads.ticket_for(frame, "cases")


# ---- asking the model ----


@admin_act
def run(request: HttpRequest, frame: Frame) -> HttpResponse:
    """Ask what is not answered yet; `do` may also be `anew` (ask everything again) or `stop`."""
    do = request.POST.get("do", "")
    if do == "stop":
        comparison.stop(frame.portal)
    elif frame.portal.cases.exists():
        comparison.start(frame.portal, anew=do == "anew")
    return _checked(request, frame)


@admin_view
def checked_so_far(request: HttpRequest, frame: Frame) -> HttpResponse:
    """204 while nothing has changed since `rev`."""
    return _checked(request, frame, seen=request.GET.get("rev", ""))


def _checked(request: HttpRequest, frame: Frame, *, seen: str = "") -> HttpResponse:
    panel = (request.POST.get("panel") or request.GET.get("panel")) == "1"
    now, context = checked.of_portal(frame, panel=panel)
    if seen and not checked.is_news(now, seen):
        return HttpResponse(status=204)
    # The list below is told when the run is over: nothing moves under a reader before that.
    if not panel and not now.is_running:
        context["rows"] = [checked.row(line, now) for line in now.lines]
        context["apart"] = True
    over = seen and not now.is_running
    said = context["checked"]["verdict"]["title"] if over else ""
    return fragment(request, frame, "checked", context, said=said)
