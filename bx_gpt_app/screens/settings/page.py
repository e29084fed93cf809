"""What every settings screen shares: the menu around it, words for numbers, what a save answers."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from django import forms
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from bx_gpt_app.assistant import statistics, store
from bx_gpt_app.assistant.config import ConfigProblems, PortalConfig
from bx_gpt_app.assistant.models import Dialog
from bx_gpt_app.assistant.modes import anything_automatic
from bx_gpt_app.common.amounts import money, money_of, number
from bx_gpt_app.portals.models import Portal
from bx_gpt_app.screens.frame import Frame, frame_view
from bx_gpt_app.screens.preferences import page_context

__all__ = ["money", "money_of", "number"]


@dataclass(frozen=True)
class Section:
    name: str
    title: Promise
    icon: str


SECTIONS = (
    Section("overview", gettext_lazy("Overview"), "chart-bar"),
    Section("connection", gettext_lazy("Connection"), "link"),
    Section("model", gettext_lazy("Model"), "cpu-chip"),
    Section("prompts", gettext_lazy("Prompts"), "document-text"),
    Section("fields", gettext_lazy("CRM fields"), "table-cells"),
    Section("topics", gettext_lazy("Topics"), "tag"),
    Section("lines", gettext_lazy("Lines and mode"), "chat-bubble-left-right"),
    Section("knowledge", gettext_lazy("Knowledge base"), "book-open"),
    Section("costs", gettext_lazy("Costs"), "banknotes"),
    Section("log", gettext_lazy("Log"), "list-bullet"),
)


def admin_view(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """A screen for the portal's administrators: the view gets the request and the frame.

    The address must be of the portal's own app registration; anything else is not there.
    """

    @frame_view(admin=True)
    @functools.wraps(view)
    def shown(request: HttpRequest, app: str, **values: Any) -> HttpResponse:
        frame = cast(Frame, request.frame)  # type: ignore[attr-defined]
        if frame.portal.registration.code != app:
            raise Http404
        return view(request, frame, **values)

    return cast(Callable[..., HttpResponse], shown)


def admin_act(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Like `admin_view` for what changes something: there is nothing to see at its address."""

    @functools.wraps(view)
    def done(request: HttpRequest, frame: Frame, **values: Any) -> HttpResponse:
        if request.method != "POST":
            raise Http404
        return view(request, frame, **values)

    return admin_view(done)


def link(frame: Frame, name: str, **values: Any) -> str:
    """Address of a settings page; every one carries the code of the portal's app registration."""
    code = frame.portal.registration.code
    return reverse(f"settings-{name}", kwargs={"app": code, **values})


def page(
    request: HttpRequest,
    frame: Frame,
    section: str,
    context: Mapping[str, Any],
    *,
    template: str = "",
    status: int = 200,
    said: str = "",
    bad: bool = False,
    first: bool = False,
) -> HttpResponse:
    """A whole settings page. `said` is a passing note, `first` hands the page its token."""
    response = render(
        request,
        f"screens/settings/{template or section}.html",
        {**_shell(frame, section, first=first), **context},
        status=status,
    )
    return note(response, said, bad=bad) if said else response


def fragment(
    request: HttpRequest,
    frame: Frame,
    template: str,
    context: Mapping[str, Any],
    *,
    status: int = 200,
    said: str = "",
) -> HttpResponse:
    """A part of a page, swapped in by htmx."""
    response = render(request, f"screens/settings/{template}.html", dict(context), status=status)
    return note(response, said) if said else response


def note(response: HttpResponse, text: str, *, bad: bool = False) -> HttpResponse:
    toast = {"toast": {"text": text, "kind": "bad" if bad else "ok"}}
    response["HX-Trigger"] = json.dumps(toast)
    return response


def _shell(frame: Frame, section: str, *, first: bool) -> dict[str, Any]:
    portal = frame.portal
    config, _revision = store.load(portal)
    stuck = statistics.in_quarantine(portal)
    return {
        "frame": frame,
        "portal": portal,
        "app": portal.registration.code,
        "section": section,
        "nav_items": [
            {
                "url": link(frame, one.name),
                "title": one.title,
                "icon": one.icon,
                "current": one.name == section,
                "badge": stuck if one.name == "log" and stuck else "",
            }
            for one in SECTIONS
        ],
        "section_title": next(one.title for one in SECTIONS if one.name == section),
        "auto_runs": anything_automatic(portal, config),
        "stop_auto_url": link(frame, "stop-auto"),
        "state_banner": state_in_words(portal),
        **page_context(frame),
        # Only the answer to the portal's own POST brings a token: no page prolongs a session.
        **({} if first else {"frame_token": ""}),
    }


def state_in_words(portal: Portal) -> dict[str, str] | None:
    """A banner when the portal cannot work now; None when all is well."""
    if portal.paused:
        return {"kind": "warn", "text": _("The host has paused the assistant on this portal.")}
    if portal.state == Portal.State.SUSPENDED:
        return {
            "kind": "bad",
            "text": _(
                "Bitrix24 has closed access: the subscription or the plan does not allow the app. "
                "We look again every hour."
            ),
        }
    if portal.state == Portal.State.BROKEN:
        return {
            "kind": "bad",
            "text": _(
                "Access to the portal is lost. It is restored when an administrator opens the app "
                "from the menu of Bitrix24."
            ),
        }
    if portal.down_since:
        at = timezone.localtime(portal.down_since).strftime("%H:%M")
        return {
            "kind": "bad",
            "text": _("The portal has not answered since %(time)s. We repeat it ourselves.")
            % {"time": at},
        }
    return None


RECENT_DIALOGS = 20


def recent_dialogs(portal: Portal) -> list[tuple[int, str]]:
    """The last dialogs with a client's words in them: what a prompt can be tried on."""
    rows = Dialog.objects.filter(
        portal=portal, kind=Dialog.Kind.CHAT, messages__author="client", messages__deleted=False
    )
    found = []
    for dialog in rows.distinct().order_by("-last_message_at")[:RECENT_DIALOGS]:
        last = dialog.messages.filter(author="client", deleted=False).last()
        at = timezone.localtime(dialog.last_message_at) if dialog.last_message_at else None
        name = dialog.client_name or dialog.title or dialog.key
        when = date_format(at, "j E H:i") if at else ""
        words = " ".join(last.text.split())[:48] if last else ""
        found.append((dialog.pk, f"{name}, {when}: {words}"))
    return found


# ---- saving ----


def who(frame: Frame) -> str:
    return frame.user_name or f"#{frame.user_id}"


def save(frame: Frame, form: forms.Form, places: Mapping[str, str], **parts: Any) -> bool:
    """Store parts of the configuration; what is wrong goes to the form's fields.

    `places` maps beginnings of paths (`llm.base_url`) to names of form fields.
    """
    try:
        store.change(frame.portal, by=who(frame), **parts)
    except ConfigProblems as error:
        put_problems(form, error.problems, places)
        return False
    return True


def put_problems(form: forms.Form, problems: Iterable[str], places: Mapping[str, str]) -> None:
    """Each problem under the field it is about, the longest beginning of its path wins."""
    for problem in problems:
        path, _colon, words = problem.partition(": ")
        fitting = [
            place
            for place in places
            if path == place or path.startswith((f"{place}.", f"{place}["))
        ]
        where = places[max(fitting, key=len)] if fitting else None
        form.add_error(where, words if where else problem)


def config_of(frame: Frame) -> PortalConfig:
    return store.load(frame.portal)[0]


# ---- words for numbers ----


def bare(value: float | None) -> float | int | None:
    """A number as a person would type it: 500, not 500.0."""
    return int(value) if value is not None and value == int(value) else value


def seconds(value: float | None) -> str:
    if value is None:
        return "—"
    if value >= 90:
        return _("%(minutes)s min") % {"minutes": number(value / 60)}
    return _("%(seconds)s s") % {"seconds": number(value, 1 if value < 10 else 0)}


def percent(share: float | None) -> str:
    return "—" if share is None else f"{number(share * 100)} %"
