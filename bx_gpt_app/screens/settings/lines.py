"""Which lines the assistant works on, how far it goes there, and the button that stops it."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from bx_gpt_app.assistant import lines as assistant_lines
from bx_gpt_app.assistant import store, whispers
from bx_gpt_app.assistant.config import LineConfig, PortalConfig, as_document
from bx_gpt_app.assistant.modes import stop_automatic
from bx_gpt_app.assistant.readiness import REVIEWED_NEEDED, of_line, unseen
from bx_gpt_app.portals.clients import client_for
from bx_gpt_app.portals.lines import OTHER_BOT, failed_lines, sync_lines
from bx_gpt_app.portals.models import Line
from bx_gpt_app.screens.forms import MODES, LineForm, RepliesForm
from bx_gpt_app.screens.frame import Frame
from bx_gpt_app.screens.settings.page import (
    admin_act,
    admin_view,
    bare,
    config_of,
    fragment,
    page,
    save,
    who,
)
from integrations.bitrix24.errors import Bitrix24Error

REPLY_FIELDS = (
    "max_length",
    "debounce_seconds",
    "min_confidence",
    "handoff_message",
    "signature",
    "contacts",
    "stop_words",
)


@admin_view
def lines(request: HttpRequest, frame: Frame) -> HttpResponse:
    return _page(request, frame)


def _page(
    request: HttpRequest,
    frame: Frame,
    *,
    said: str = "",
    bad: bool = False,
    status: int = 200,
    form: LineForm | None = None,
    line_id: int | None = None,
    asks: dict[str, Any] | None = None,
    replies_form: RepliesForm | None = None,
    problem: str = "",
) -> HttpResponse:
    config = config_of(frame)
    rows = [
        _row(frame, config, line, form if line.line_id == line_id else None)
        for line in frame.portal.lines.all()
    ]
    context = {
        "rows": rows,
        "modes": MODES,
        "needed": REVIEWED_NEEDED,
        "asks": asks,
        "problem": problem,
        "replies_form": replies_form
        or RepliesForm(initial=_replies_initial(config), automatic=config.mode == "auto"),
    }
    return page(request, frame, "lines", context, status=status, said=said, bad=bad)


def _row(
    frame: Frame, config: PortalConfig, line: Line, form: LineForm | None = None
) -> dict[str, Any]:
    settings = config.line(line.line_id)
    occupied, refused = _why_not_connected(frame, config, line)
    readiness = of_line(frame.portal, line.line_id)
    prefix = f"line-{line.line_id}"
    return {
        "line": line,
        "settings": settings,
        "form": form or LineForm(initial=settings.model_dump(), prefix=prefix),
        "readiness": readiness,
        "counted": f"{readiness.reviewed} / {REVIEWED_NEEDED}",
        "locked": not readiness.is_ready and settings.mode != "auto",
        "occupied": occupied,
        "refused": refused,
        "waits": settings.mode != "off" and not line.connected,
        "whisper_test": whispers.test_of(frame.portal, line.line_id),
        "whisper_chat": whispers.chat_for_test(frame.portal, line.line_id),
    }


def _why_not_connected(frame: Frame, config: PortalConfig, line: Line) -> tuple[bool, str]:
    """Does another bot hold the line, and else what the portal refused, in words."""
    why = failed_lines(frame.portal).get(line.line_id, "")
    if not why or config.line(line.line_id).mode == "off":
        return False, ""
    if why == OTHER_BOT:  # a line that was chosen since is being connected now
        return str(line.line_id) not in config.lines, ""
    if why == "CONFIG_WRONG_USER_PERMISSION":
        return False, _("Bitrix24 refused: who installed the app may not change open lines.")
    return False, _("Bitrix24 did not let the assistant into this line: %(why)s") % {"why": why}


def _replies_initial(config: PortalConfig) -> dict[str, Any]:
    reply = config.reply.model_dump()
    return {
        **{name: reply[name] for name in REPLY_FIELDS},
        "debounce_seconds": bare(reply["debounce_seconds"]),
        "mode": config.mode,
        "language": config.language,
        "email": config.channels.email,
        "form": config.channels.form,
    }


def _line_of(frame: Frame, line_id: int) -> Line:
    line = frame.portal.lines.filter(line_id=line_id).first()
    if line is None:
        raise Http404
    return line


@admin_act
def line(request: HttpRequest, frame: Frame, line_id: int) -> HttpResponse:
    """Save one line. A line that is not ready becomes automatic only after an explicit «yes»."""
    row = _line_of(frame, line_id)
    form = LineForm(request.POST, prefix=f"line-{line_id}")
    if not form.is_valid():
        return _page(request, frame, status=422, form=form, line_id=line_id)
    config = config_of(frame)
    before, wanted = config.line(line_id), form.cleaned_data
    if wanted["whisper"] and row.whisper_tested_at is None:
        form.add_error(
            "whisper", _("Send a test first and make sure that the client does not see it.")
        )
        return _page(request, frame, status=422, form=form, line_id=line_id)
    becomes_auto = wanted["mode"] == "auto" and before.mode != "auto"
    occupied = wanted["mode"] != "off" and _why_not_connected(frame, config, row)[0]
    if (becomes_auto or occupied) and request.POST.get("agreed") != str(line_id):
        asks = _question(frame, config, row, wanted, occupied=occupied)
        return _page(request, frame, form=form, line_id=line_id, asks=asks)
    document = as_document(config)
    document["lines"][str(line_id)] = LineConfig(**wanted).model_dump(mode="json")
    if not save(
        frame, form, {f"lines.{line_id}.delay_seconds": "delay_seconds"}, lines=document["lines"]
    ):
        return _page(request, frame, status=422, form=form, line_id=line_id)
    assistant_lines.carry_out_modes.enqueue(frame.portal_id)
    return _page(request, frame, said=_("Saved"))


def _question(
    frame: Frame, config: PortalConfig, row: Line, wanted: dict[str, Any], *, occupied: bool
) -> dict[str, Any]:
    """What the admin must know before replies go out unseen, or before a bot loses its place."""
    readiness = of_line(frame.portal, row.line_id)
    automatic = wanted["mode"] == "auto"
    title = (
        _("Let the assistant answer on “%(line)s” by itself?")
        if automatic
        else _("Take “%(line)s” over from the other bot?")
    )
    return {
        "line": row,
        "title": title % {"line": row},
        "occupied": occupied,
        "not_ready": readiness.in_words() if automatic and not readiness.is_ready else "",
        "items": unseen(
            config,
            delay_seconds=wanted["delay_seconds"],
            working_hours_only=wanted["working_hours_only"],
        )
        if automatic
        else [],
        "values": {
            f"line-{row.line_id}-mode": wanted["mode"],
            f"line-{row.line_id}-delay_seconds": wanted["delay_seconds"],
            **(
                {f"line-{row.line_id}-working_hours_only": "on"}
                if wanted["working_hours_only"]
                else {}
            ),
            **({f"line-{row.line_id}-whisper": "on"} if wanted["whisper"] else {}),
            "agreed": row.line_id,
        },
    }


@admin_act
def taken(request: HttpRequest, frame: Frame, line_id: int) -> HttpResponse:
    """Another bot holds the line: do=take puts ours there with suggestions, do=leave keeps out,
    do=again tries what the portal refused."""
    row, do = _line_of(frame, line_id), request.POST.get("do", "")
    if do not in ("take", "leave", "again"):
        raise Http404
    if do != "again":
        config = config_of(frame)
        settings = config.line(line_id).model_copy(
            update={"mode": "suggest" if do == "take" else "off"}
        )
        chosen = {**as_document(config)["lines"], str(line_id): settings.model_dump(mode="json")}
        store.change(frame.portal, by=who(frame), lines=chosen)
    assistant_lines.carry_out_modes.enqueue(frame.portal_id)
    said = {
        "take": _("The assistant takes its place on “%(line)s”."),
        "leave": _("“%(line)s” is left to the other bot."),
        "again": _("The assistant tries again to enter “%(line)s”."),
    }[do]
    return _page(request, frame, said=said % {"line": row})


@admin_act
def stop_auto(request: HttpRequest, frame: Frame) -> HttpResponse:
    """The red button of every page."""
    held = stop_automatic(frame.portal, by=who(frame))
    said = _("Automatic replies are stopped")
    if held:
        said = ngettext(
            "Automatic replies are stopped, %(n)s waiting reply was held back",
            "Automatic replies are stopped, %(n)s waiting replies were held back",
            held,
        ) % {"n": held}
    return _page(request, frame, said=said)


@admin_act
def replies(request: HttpRequest, frame: Frame) -> HttpResponse:
    form = RepliesForm(request.POST, automatic=config_of(frame).mode == "auto")
    if form.is_valid():
        data = form.cleaned_data
        parts = {
            "reply": {name: data[name] for name in REPLY_FIELDS},
            "language": data["language"],
            "channels": {"email": data["email"], "form": data["form"]},
            "mode": data["mode"],
        }
        if save(frame, form, {f"reply.{name}": name for name in REPLY_FIELDS}, **parts):
            assistant_lines.carry_out_modes.enqueue(frame.portal_id)
            return _page(request, frame, said=_("Saved"))
    return _page(request, frame, status=422, replies_form=form)


@admin_act
def read_lines(request: HttpRequest, frame: Frame) -> HttpResponse:
    """Look for new lines in the portal now."""
    try:
        found = sync_lines(frame.portal, client_for(frame.portal))
    except Bitrix24Error as error:
        problem = _("The lines could not be read: %(problem)s") % {"problem": str(error)[:200]}
        return _page(request, frame, status=422, problem=problem)
    said = ngettext("%(n)s line found", "%(n)s lines found", len(found)) % {"n": len(found)}
    return _page(request, frame, said=said)


@admin_view
def whisper(request: HttpRequest, frame: Frame, line_id: int) -> HttpResponse:
    """The test of whispers on one line, as a fragment. GET looks how far it is.

    POST do=send sends it into the newest chat; do=kept and do=leaked is what a person saw there.
    """
    row, said = _line_of(frame, line_id), ""
    if request.method == "POST":
        said = _tested(frame, row, request.POST.get("do", ""))
        row.refresh_from_db()
    context = {"row": _row(frame, config_of(frame), row), "app": frame.portal.registration.code}
    return fragment(request, frame, "line_whisper", {**context, "refused": said})


def _tested(frame: Frame, row: Line, do: str) -> str:
    """Returns why it cannot be done, in words; nothing when it was."""
    if do == "send":
        dialog = whispers.chat_for_test(frame.portal, row.line_id)
        if dialog is None:
            return _("There is no chat on this line yet: write into it as a client first.")
        whispers.begin_test(frame.portal, dialog)
    elif do == "leaked":
        whispers.fail_test(frame.portal, row, by=who(frame))
    elif do == "kept":
        try:
            whispers.pass_test(frame.portal, row, client_for(frame.portal))
        except LookupError:
            return _("The test message is not in the chat: send it once more.")
        except Bitrix24Error as error:
            return _("The chat could not be read, try again: %(problem)s") % {
                "problem": str(error)[:200]
            }
    else:
        raise Http404
    return ""
