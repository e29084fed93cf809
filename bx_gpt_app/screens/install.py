"""Installation: verify, store, bind, show every step, finish. Running it again changes nothing.

The wizard's frame and the portal's server post to the same address; nobody is believed before the
authorization server has confirmed his token.
Source: settings/app-installation/installation-finish, api-reference/common/events/on-app-install.
"""

from __future__ import annotations

import logging
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils import translation
from django.utils.translation import get_language, ngettext
from django.utils.translation import gettext as _
from django.views.decorators.clickjacking import xframe_options_exempt
from django.views.decorators.csrf import csrf_exempt

from bx_gpt_app.inbox.receive import UnknownSender, receive
from bx_gpt_app.portals.bindings import NEEDED_SCOPES, missing_scopes
from bx_gpt_app.portals.clients import client_for
from bx_gpt_app.portals.install import NotAdmin, Visitor, install
from bx_gpt_app.portals.models import AppRegistration, Portal
from bx_gpt_app.portals.registrations import UnknownApp, registration
from bx_gpt_app.portals.tasks import bind_now
from bx_gpt_app.screens import doors
from bx_gpt_app.screens.frame import (
    Frame,
    frame_parents,
    frame_view,
    framed,
    language_of,
    open_inside,
    refusal,
)
from bx_gpt_app.screens.preferences import page_context
from integrations.bitrix24.client import Command
from integrations.bitrix24.errors import AccessLost, Bitrix24Error, CallRejected, Unavailable
from integrations.bitrix24.events import NotAnEvent, parse_event
from integrations.bitrix24.forms import MalformedForm, as_list, parse_body
from integrations.bitrix24.frames import FramePost, NotAFramePost, parse_frame_post
from integrations.net import ForbiddenAddress

logger = logging.getLogger(__name__)


@csrf_exempt
@xframe_options_exempt
def door(request: HttpRequest, app: str) -> HttpResponse:
    """POST /b24/<app>/install/ by the wizard's frame or by the portal's server."""
    if request.method in ("GET", "HEAD"):
        return open_inside(request)
    with translation.override(doors.posted_language(request)):
        try:
            body = parse_body(request.content_type or "", request.body)
            if "event" in body or "auth" in body:
                return _server_callback(app, body)
            post = parse_frame_post(request.GET.dict(), body)
            return _installed(request, registration(app), post)
        except (MalformedForm, NotAFramePost):
            return doors.refused_page(request, doors.reopen())
        except UnknownApp:
            return doors.refused_page(request, doors.no_such_app())
        except doors.EntryRefused as refused:
            return doors.refused_page(request, refused)


def _server_callback(app: str, body: dict[str, Any]) -> HttpResponse:
    """Verified and stored in the request; binding is a task: the portal waits 30 s at most."""
    try:
        receive(registration(app), parse_event(body))
    except NotAnEvent as error:
        return refusal(400, "not_an_event", f"Not an event of Bitrix24: {error}.")
    except UnknownApp:
        return refusal(404, "unknown_app", "There is no app registration at this address.")
    except (UnknownSender, CallRejected, AccessLost, NotAdmin, ForbiddenAddress):
        return refusal(403, "not_genuine", "The installation could not be verified.")
    except Bitrix24Error:
        return refusal(503, "unavailable", "Bitrix24 did not answer; send it again later.")
    return JsonResponse({"status": "ok"})


def come_in(request: HttpRequest, app: AppRegistration, post: FramePost) -> HttpResponse:
    """A visit of a portal that is not installed: an administrator installs it by coming.

    An app that was registered without an installer address is opened like that.
    Raises: EntryRefused.
    """
    try:
        return _installed(request, app, post)
    except doors.EntryRefused as refused:
        if refused.status == 503:
            raise
        raise doors.not_installed() from None


def _installed(request: HttpRequest, app: AppRegistration, post: FramePost) -> HttpResponse:
    portal, visitor = _verified(app, post)
    problem = _bind(portal)
    frame = Frame(
        portal_id=portal.pk,
        user_id=visitor.user_id,
        user_name=visitor.name,
        is_admin=True,
        placement="DEFAULT",
        chat_id=None,
        item="",
        language=language_of(post.lang, portal),
        epoch=portal.session_epoch,
    )
    with translation.override(frame.language):
        context = {**page_context(frame), **report(portal, problem=problem)}
        response = render(request, "screens/install.html", context)
    return framed(response, frame_parents(portal))


def _verified(app: AppRegistration, post: FramePost) -> tuple[Portal, Visitor]:
    """Raises: EntryRefused; then nothing was stored."""
    try:
        return install(app, doors.claim_of(post))
    except NotAdmin:
        raise doors.EntryRefused(
            403,
            _("An administrator has to install the app"),
            _("You are not an administrator of this portal. Ask one to open the app."),
        ) from None
    except Unavailable:
        raise doors.unavailable() from None
    except (Bitrix24Error, ForbiddenAddress):
        raise doors.not_genuine() from None


def _bind(portal: Portal) -> str:
    """What stands in the way of working, in words; empty when the portal answered."""
    try:
        bind_now(portal)
    except AccessLost as error:
        portal.move_to(error.state, str(error))
        return _("Access to the portal is lost. Open the app from the menu once more.")
    except Unavailable:
        return _("The portal did not answer in time. Check again in a minute.")
    except Bitrix24Error as error:
        logger.warning("not bound", extra={"portal": portal.pk, "code": error.code})
        return _("Bitrix24 refused: %(problem)s") % {"problem": str(error)[:200]}
    return ""


@frame_view(admin=True)
def check(request: HttpRequest, app: str) -> HttpResponse:
    """POST /b24/<app>/install/check/: read the permissions anew, bind what is missing."""
    if request.method != "POST":
        return refusal(400, "post_only", "Nothing was changed.")
    portal: Portal = request.frame.portal  # type: ignore[attr-defined]  # set by frame_view
    problem = _read_scope(portal) or _bind(portal)
    return render(request, "screens/install_report.html", report(portal, problem=problem))


def _read_scope(portal: Portal) -> str:
    try:
        told = client_for(portal).batch({"scope": Command("scope", {})}, repeatable=True)
        scope = [str(name) for name in as_list(told.get("scope"))]
    except AccessLost:
        return _("Access to the portal is lost. Open the app from the menu once more.")
    except Bitrix24Error:
        return _("The portal did not answer in time. Check again in a minute.")
    if scope and sorted(scope) != sorted(portal.scope):
        portal.scope = scope
        portal.save(update_fields=["scope"])
    return ""


def report(portal: Portal, *, problem: str = "") -> dict[str, Any]:
    """The steps with their outcome, for screens/install_report.html."""
    missing = missing_scopes(portal)
    bound, failed = _bound(portal)
    steps = [
        _step(not problem, _("The portal answers"), problem or portal.domain),
        _scope_step(missing),
    ]
    if not problem:
        steps += [
            _count_step("event", bound, failed),
            _count_step("placement", bound, failed),
            _step(not _failed(failed, "bot"), _("The bot is in the portal"), _why(failed, "bot")),
            _count_step("robot", bound, failed),
            _lines_step(portal),
        ]
    # A line that keeps its own bot is a choice for the settings, not a fault of the installation.
    faults = [one for one in failed if one[0].partition(" ")[0] != "line"]
    is_fine = not problem and not missing and not faults
    return {
        "steps": steps,
        "missing": [
            {"name": name, "why": NEEDED_SCOPES[name][1 if get_language() == "ru" else 0]}
            for name in missing
        ],
        "is_fine": is_fine,
        "check_url": f"/b24/{portal.registration.code}/install/check/",
        "may_finish": not problem,
    }


def _step(ok: bool, title: str, hint: str = "") -> dict[str, Any]:
    return {"state": "done" if ok else "failed", "title": title, "hint": hint}


def _scope_step(missing: list[str]) -> dict[str, Any]:
    if not missing:
        return _step(True, _("All permissions are granted"))
    names = ", ".join(f"«{name}»" for name in missing)
    title = ngettext(
        "A permission is missing: %(names)s", "Permissions are missing: %(names)s", len(missing)
    )
    return _step(False, title % {"names": names})


def _bound(portal: Portal) -> tuple[list[str], list[tuple[str, str]]]:
    failed = [(str(one[0]), str(one[1])) for one in portal.bindings.get("failed") or []]
    return [str(name) for name in portal.bindings.get("bound") or []], failed


def _failed(failed: list[tuple[str, str]], kind: str) -> list[tuple[str, str]]:
    return [one for one in failed if one[0].partition(" ")[0] == kind]


def _why(failed: list[tuple[str, str]], kind: str) -> str:
    """The portal's own codes; what a missing permission breaks is told with that permission."""
    return ", ".join(
        f"{name.partition(' ')[2] or name}: {code}"
        for name, code in _failed(failed, kind)
        if code.lower() != "insufficient_scope"
    )


def _count_step(kind: str, bound: list[str], failed: list[tuple[str, str]]) -> dict[str, Any]:
    done = sum(name.partition(" ")[0] == kind for name in bound)
    lost = _failed(failed, kind)
    titles = {
        "event": _("Events are connected: %(done)s of %(all)s"),
        "placement": _("Panels are in their places: %(done)s of %(all)s"),
        "robot": _("Automation rules: %(done)s of %(all)s"),
    }
    title = titles[kind] % {"done": done, "all": done + len(lost)}
    return _step(not lost, title, _why(failed, kind))


def _lines_step(portal: Portal) -> dict[str, Any]:
    """No line is no failure: one can be created later and is found by itself."""
    count = portal.lines.count()
    if not count:
        return {
            "state": "todo",
            "title": _("There are no open lines in the portal"),
            "hint": _("Create one in the Contact Center: it appears here by itself."),
        }
    title = ngettext("%(n)s open line found", "%(n)s open lines found", count) % {"n": count}
    names = ", ".join(str(line) for line in portal.lines.all()[:5])
    return _step(True, title, names)
