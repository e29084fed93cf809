"""The tie to the portal: tokens, permissions, what is bound, the hook, the settings' file."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.tasks import default_task_backend
from django.tasks.base import TaskResultStatus
from django.tasks.exceptions import TaskResultDoesNotExist
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from bx_gpt_app.inbox.fetch import IDLE_SECONDS, LIVE_SECONDS, STEADY
from bx_gpt_app.inbox.models import Hearing
from bx_gpt_app.portals.bindings import (
    NEEDED_SCOPES,
    base_url,
    faults,
    missing_scopes,
    mode_in_force,
)
from bx_gpt_app.portals.clients import client_for, note_failure, note_success
from bx_gpt_app.portals.models import Grant, Portal
from bx_gpt_app.portals.tasks import rebind
from bx_gpt_app.screens.forms import ConfigurationFileForm
from bx_gpt_app.screens.frame import Frame
from bx_gpt_app.screens.settings.page import admin_act, admin_view, fragment, link, page
from integrations.bitrix24.client import Command
from integrations.bitrix24.errors import AccessLost, Bitrix24Error, LimitExceeded, Unavailable

PLACES = {
    "IM_SIDEBAR": ("beside the chat", "рядом с чатом"),
    "IM_TEXTAREA": ("above the chat’s input field", "над полем ввода чата"),
    "IM_CONTEXT_MENU": ("menu of a message", "меню сообщения"),
    "CRM_LEAD_DETAIL_TAB": ("tab in leads", "вкладка в лиде"),
    "CRM_DEAL_DETAIL_TAB": ("tab in deals", "вкладка в сделке"),
    "CRM_CONTACT_DETAIL_TAB": ("tab in contacts", "вкладка в контакте"),
    "CRM_COMPANY_DETAIL_TAB": ("tab in companies", "вкладка в компании"),
}


FETCH_PROBLEMS = {
    "unavailable": gettext_lazy("The portal does not answer. We repeat it ourselves."),
    "limit": gettext_lazy("The portal asks for fewer requests. We slow down."),
    "bot_not_found": gettext_lazy("Bitrix24 does not know the bot: we register it again."),
    "error_method_not_found": gettext_lazy("This portal is too old for that: update it."),
    "our_fault": gettext_lazy("A fault of ours: the server’s log has the details."),
}


@admin_view
def connection(request: HttpRequest, frame: Frame) -> HttpResponse:
    return page(request, frame, "connection", content(frame))


def content(frame: Frame) -> dict[str, Any]:
    portal = frame.portal
    return {
        "state_text": portal.get_state_display(),
        "grant": _grant_in_words(portal),
        "scopes": _scopes(frame),
        "bound": _bound(frame),
        "bound_at": parse_datetime(str(portal.bindings.get("at") or "")),
        "handler_url": base_url(portal),
        "moved": bool(portal.bindings.get("base_url"))
        and portal.bindings["base_url"] != base_url(portal),
        "events": _events(portal),
        "hook": _hook(portal),
        "file_form": ConfigurationFileForm(),
    }


def _grant_in_words(portal: Portal) -> dict[str, Any]:
    grant = portal.grants.filter(kind=Grant.Kind.INSTALLATION).first()
    if grant is None:
        return {
            "kind": "bad",
            "text": _(
                "There is no access. Open the app from the menu of Bitrix24 as an administrator."
            ),
        }
    if grant.dead_reason:
        return {
            "kind": "bad",
            "text": _(
                "Access has ended. Open the app from the menu of Bitrix24 as an administrator."
            ),
        }
    return {
        "kind": "ok",
        "text": _("Works by the rights of %(name)s; renews itself.")
        % {"name": grant.user_name or f"#{grant.user_id}"},
        "renewed_at": grant.renewed_at,
    }


def _scopes(frame: Frame) -> list[dict[str, Any]]:
    missing = missing_scopes(frame.portal)
    which = 1 if frame.language == "ru" else 0
    return [
        {"name": name, "why": why[which], "granted": name not in missing}
        for name, why in NEEDED_SCOPES.items()
    ]


def _bound(frame: Frame) -> dict[str, Any]:
    """What is bound, sorted as a person thinks of it: events, panels, robots, bot."""
    done: list[str] = list(frame.portal.bindings.get("bound") or [])
    which = 1 if frame.language == "ru" else 0
    parts = [name.partition(" ") for name in done]
    events = [name for kind, _space, name in parts if kind == "event"]
    names = [name for kind, _space, name in parts if kind == "placement"]
    places = [PLACES[name][which] if name in PLACES else name for name in names]
    return {
        "events": ngettext("%(n)s event", "%(n)s events", len(events)) % {"n": len(events)},
        "places": places,
        "robots": sum(kind == "robot" for kind, _space, _name in parts),
        "bot": frame.portal.bot_id,
        "bot_old": frame.portal.bot_api == "legacy",
        "failed": [{"name": name, "code": code} for name, code in faults(frame.portal)],
        "never": not frame.portal.bindings,
    }


def _events(portal: Portal) -> dict[str, Any] | None:
    """How the bot's events come; None where there is no choice."""
    if portal.bot_api == "legacy":
        return None
    return {
        "fetched": portal.fetches_events,
        "live": LIVE_SECONDS,
        "idle": IDLE_SECONDS,
        "health": _fetching(portal) if portal.fetches_events else None,
    }


def _fetching(portal: Portal) -> dict[str, Any]:
    """What became of the last looks into the bot's queue."""
    hearing = Hearing.objects.filter(portal=portal).first()
    if hearing and hearing.problem:
        told = FETCH_PROBLEMS.get(hearing.problem.lower())
        refused = _("Bitrix24 refused: %(problem)s") % {"problem": hearing.problem}
        return {"kind": "bad", "text": told or refused}
    if hearing is None or hearing.emptied_at is None:
        return {"kind": "warn", "text": _("Nothing was fetched yet.")}
    if timezone.now() - hearing.emptied_at > STEADY:
        text = _("Nobody fetches: is a worker running? Last time:")
        return {"kind": "bad", "text": text, "at": hearing.emptied_at}
    return {"kind": "ok", "text": _("Last fetched:"), "at": hearing.emptied_at}


def _hook(portal: Portal) -> dict[str, Any]:
    url = f"{settings.PUBLIC_URL}/hooks/{portal.public_id}/"
    return {"public_id": portal.public_id, "url": url, "has_token": bool(portal.hook_token_hash)}


@admin_act
def check(request: HttpRequest, frame: Frame) -> HttpResponse:
    """Ask the portal now, with the installation's own token."""
    portal = frame.portal
    started = timezone.now()
    try:
        reply = client_for(portal).batch(
            {"profile": Command("profile", {}), "scope": Command("scope", {})}, repeatable=True
        )
        scope = reply.get("scope")
    except AccessLost as error:
        portal.move_to(error.state, str(error))
        return _checked(
            request,
            frame,
            "bad",
            _("Access is lost: open the app from the menu of Bitrix24 as an administrator."),
        )
    except LimitExceeded:
        return _checked(
            request, frame, "warn", _("The portal asks for fewer requests. Try again in a minute.")
        )
    except Unavailable as error:
        note_failure(portal, error, down=True)
        return _checked(
            request, frame, "bad", _("The portal does not answer. We repeat it ourselves.")
        )
    except Bitrix24Error as error:
        note_failure(portal, error, down=False)
        return _checked(
            request,
            frame,
            "bad",
            _("Bitrix24 refused: %(problem)s") % {"problem": str(error)[:200]},
        )
    if isinstance(scope, list):
        portal.scope = [str(name) for name in scope]
        portal.save(update_fields=["scope"])
    if portal.state in (Portal.State.BROKEN, Portal.State.SUSPENDED):
        portal.move_to(Portal.State.ACTIVE)
    note_success(portal)
    took = (timezone.now() - started).total_seconds()
    missing = missing_scopes(portal)
    if missing:
        names = ", ".join(f"«{name}»" for name in missing)
        return _checked(
            request,
            frame,
            "warn",
            _("The portal answers, but permissions are missing: %(names)s.") % {"names": names},
        )
    return _checked(
        request,
        frame,
        "ok",
        _("The portal answers in %(ms)s ms, all permissions are there.")
        % {"ms": round(took * 1000)},
    )


def _checked(request: HttpRequest, frame: Frame, kind: str, text: str) -> HttpResponse:
    context = {"result": {"kind": kind, "text": text}, "app": frame.portal.registration.code}
    return fragment(request, frame, "connection_result", context)


@admin_act
def rebind_portal(request: HttpRequest, frame: Frame) -> HttpResponse:
    """Bind everything anew in the background; the fragment asks how far it is."""
    return _rebinding(request, frame)


@admin_act
def choose_events(request: HttpRequest, frame: Frame) -> HttpResponse:
    """Keep how the bot's events shall come and register the bot so, in the background."""
    portal, wanted = frame.portal, request.POST.get("events")
    if wanted not in ("webhook", "fetch"):
        return _checked(request, frame, "warn", _("Choose one of the two ways."))
    if portal.bot_api == "legacy":
        return _checked(request, frame, "warn", _("This portal is too old for that: update it."))
    fetches = wanted == "fetch"
    if (portal.fetches_events, mode_in_force(portal)) == (fetches, wanted):
        return _checked(request, frame, "ok", _("It is so already."))
    portal.fetches_events = fetches
    portal.save(update_fields=["fetches_events"])
    return _rebinding(request, frame)


def _rebinding(request: HttpRequest, frame: Frame) -> HttpResponse:
    result = rebind.enqueue(frame.portal_id)
    return _progress(request, frame, str(result.id), done=False)


@admin_view
def rebind_progress(request: HttpRequest, frame: Frame, task_id: str) -> HttpResponse:
    try:
        result = default_task_backend.get_result(task_id)
    except (TaskResultDoesNotExist, ValidationError, ValueError):
        return _checked(request, frame, "warn", _("This is over already. Refresh the page."))
    if result.args != [frame.portal_id] or result.task.module_path != rebind.module_path:
        return _checked(request, frame, "warn", _("This is over already. Refresh the page."))
    if result.status == TaskResultStatus.FAILED:
        return _checked(
            request, frame, "bad", _("The portal does not answer. We repeat it ourselves.")
        )
    if result.status != TaskResultStatus.SUCCESSFUL:
        return _progress(request, frame, task_id, done=False)
    frame.portal.refresh_from_db()
    if not frame.portal.works:
        return _checked(
            request,
            frame,
            "bad",
            _("Access is lost: open the app from the menu of Bitrix24 as an administrator."),
        )
    failed = faults(frame.portal)
    if failed:
        return _checked(
            request,
            frame,
            "warn",
            ngettext(
                "Reconnected, %(n)s part was refused by the portal: see the list below.",
                "Reconnected, %(n)s parts were refused by the portal: see the list below.",
                len(failed),
            )
            % {"n": len(failed)},
        )
    return _checked(
        request, frame, "ok", _("Reconnected: bot, events and panels are in their places.")
    )


def _progress(request: HttpRequest, frame: Frame, task_id: str, *, done: bool) -> HttpResponse:
    context = {"poll_url": link(frame, "rebind-progress", task_id=task_id), "done": done}
    return fragment(request, frame, "connection_result", context)


@admin_act
def new_hook_token(request: HttpRequest, frame: Frame) -> HttpResponse:
    """Shown this once: only its hash is kept."""
    token = frame.portal.issue_hook_token()
    context = {"hook": _hook(frame.portal), "token": token, "app": frame.portal.registration.code}
    return fragment(request, frame, "connection_hook", context, said=_("The old token has ended"))
