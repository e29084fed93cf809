"""The first page: today's numbers, two weeks, what is left to set up, what went wrong."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from bx_gpt_app.assistant import consents, spending, statistics, thinking
from bx_gpt_app.assistant.config import PortalConfig
from bx_gpt_app.assistant.models import Run, Spending
from bx_gpt_app.assistant.reasons import (
    LIMITS,
    delivery_in_words,
    in_words,
    problem_in_words,
)
from bx_gpt_app.assistant.rehearsal import PURPOSE, rehearse
from bx_gpt_app.portals.bindings import faults
from bx_gpt_app.portals.models import Portal
from bx_gpt_app.screens import charts
from bx_gpt_app.screens.frame import Frame
from bx_gpt_app.screens.settings.page import (
    admin_act,
    admin_view,
    config_of,
    fragment,
    link,
    money_of,
    number,
    page,
    percent,
    seconds,
)

DAYS = 14
MINUTES_PER_STEP = 1


@admin_view
def overview(request: HttpRequest, frame: Frame) -> HttpResponse:
    return page(request, frame, "overview", _content(frame))


def render_overview(request: HttpRequest, frame: Frame) -> HttpResponse:
    """The page that answers the portal's own POST: the only one with the session's token."""
    return page(request, frame, "overview", _content(frame), first=True)


@admin_act
def first_try(request: HttpRequest, frame: Frame) -> HttpResponse:
    """A question of the admin's own, answered by the active prompt; nothing reaches a client."""
    text = request.POST.get("text", "").strip()[:1000]
    if not text:
        return fragment(
            request,
            frame,
            "try_form",
            {"frame": frame, "app": _app(frame), "empty": True},
            status=422,
        )
    prompt = frame.portal.prompts.filter(active=True).first()
    result = rehearse.enqueue(
        frame.portal_id, prompt.pk if prompt else 0, None, text, frame.language
    )
    from bx_gpt_app.screens.settings.prompts import side_by_side

    return side_by_side(request, frame, [str(result.id)])


def _app(frame: Frame) -> str:
    return str(frame.portal.registration.code)


def _content(frame: Frame) -> dict[str, Any]:
    portal, config = frame.portal, config_of(frame)
    steps = _steps(frame, config)
    left = [step for step in steps if step["state"] != "done"]
    return {
        "stats": _stats(portal, config),
        "warnings": _warnings(frame, config),
        "chart": _chart(portal),
        "steps": steps,
        "left": len(left),
        "left_text": ngettext("about %(n)s minute left", "about %(n)s minutes left", len(left))
        % {"n": len(left) * MINUTES_PER_STEP},
        "problems": [_problem(frame, one) for one in statistics.problems(portal)],
        "sample": _("Where is my order 1024?"),
    }


def _warnings(frame: Frame, config: PortalConfig) -> list[dict[str, str]]:
    """Limits that fill up, and servers nobody has agreed to: each with the page that helps."""
    found = []
    for budget in spending.portal_budgets(frame.portal, config):
        if not (budget.is_close or budget.is_over):
            continue
        said = (
            _("The limit is used up: %(limit)s. Until it is raised or renewed, people answer.")
            if budget.is_over
            else _("%(percent)s of the limit is used: %(limit)s.")
        )
        found.append(
            {
                "kind": "bad" if budget.is_over else "warn",
                "text": said % {"limit": LIMITS[budget.what], "percent": percent(budget.used)},
                "url": link(frame, "costs"),
                "action": _("Limits"),
            }
        )
    servers = {one.origin: one for one in thinking.servers(frame.portal, config).values()}
    for origin, server in servers.items():
        if not consents.covered(frame.portal, server):
            text = _("Nobody has confirmed yet that clients’ texts may go to %(origin)s.")
            found.append(
                {
                    "kind": "warn",
                    "text": text % {"origin": origin},
                    "url": link(frame, "model"),
                    "action": _("Look at it"),
                }
            )
    return found


def _stats(portal: Portal, config: PortalConfig) -> list[dict[str, Any]]:
    start = statistics.start_of_day(timezone.localdate())
    today = statistics.figures(portal, start)
    before = statistics.figures(portal, start - timedelta(days=1), start)
    limit = spending.budget(portal, config)
    return [
        {
            "title": _("Suggestions today"),
            "value": number(today.suggestions),
            "hint": _("yesterday %(n)s") % {"n": number(before.suggestions)},
            "good": None,
        },
        {
            "title": _("Taken without edits"),
            "value": percent(today.unedited_share),
            "hint": _("%(n)s of %(all)s taken by operators")
            % {"n": number(today.unedited), "all": number(today.taken)},
            "good": None,
        },
        {
            "title": _("Client’s wait, median"),
            "value": seconds(today.wait_seconds),
            "hint": _("yesterday %(n)s") % {"n": seconds(before.wait_seconds)},
            "good": None,
        },
        {
            "title": _("Spent today"),
            "value": money_of(today.cost),
            "hint": _limit_hint(limit),
            "good": False if limit.is_close or limit.is_over else None,
        },
    ]


def _limit_hint(limit: spending.Budget) -> str:
    if not limit.what:
        return _("no limit is set")
    return _("%(percent)s of the limit is used") % {"percent": percent(limit.used)}


def _chart(portal: Portal) -> dict[str, Any] | None:
    days = statistics.by_day(portal, DAYS)
    points = [
        charts.Point(
            label=date_format(day.on, "j E"),
            short=str(day.on.day),
            values=(day.unedited, day.edited, day.automatic, day.unused),
        )
        for day in days
    ]
    if not any(sum(point.values) for point in points):
        return None
    return charts.stacked(
        id="suggestions",
        title=_("Suggestions, 14 days"),
        point_title=_("Day"),
        series=[_("Without edits"), _("Edited"), _("Automatic"), _("Not used")],
        points=points,
        text=lambda value: number(value),
        whole=True,
    )


def _steps(frame: Frame, config: PortalConfig) -> list[dict[str, Any]]:
    """The checklist, each step with its live state."""
    return [
        _connected(frame),
        _model(frame, config),
        _line(frame, config),
        _tried(frame),
        _fields(frame, config),
        _knowledge(frame),
    ]


def _connected(frame: Frame) -> dict[str, Any]:
    portal = frame.portal
    failed = faults(portal) or portal.bindings.get("missing_scopes")
    well = portal.works and not failed
    return {
        "state": "done" if well else "failed",
        "title": _("The app is connected"),
        "hint": portal.domain if well else _("Something is missing: see what and why."),
        "url": "" if well else link(frame, "connection"),
        "action": _("See"),
    }


def _model(frame: Frame, config: PortalConfig) -> dict[str, Any]:
    try:
        routes = thinking.routes(frame.portal, config)
    except thinking.NoModel:
        return {
            "state": "todo",
            "title": _("Model"),
            "hint": _("Choose a service and enter its key: about a minute."),
            "url": link(frame, "model"),
            "action": _("Choose"),
        }
    return {"state": "done", "title": _("Model"), "hint": routes[0].model}


def _line(frame: Frame, config: PortalConfig) -> dict[str, Any]:
    lines = list(frame.portal.lines.all())
    on = [line for line in lines if config.line(line.line_id).mode != "off" and line.connected]
    if on:
        return {
            "state": "done",
            "title": _("Open line"),
            "hint": ", ".join(str(line) for line in on[:3]),
        }
    return {
        "state": "todo",
        "title": _("Open line"),
        "hint": _("Choose where the assistant suggests replies.")
        if lines
        else _("The portal has no open lines yet: create one in the Contact Centre."),
        "url": link(frame, "lines"),
        "action": _("Choose"),
    }


def _tried(frame: Frame) -> dict[str, Any]:
    portal = frame.portal
    done = (
        Spending.objects.filter(portal=portal, purpose=PURPOSE).exists()
        or Run.objects.filter(portal=portal, state=Run.State.DONE).exists()
    )
    return {
        "state": "done" if done else "todo",
        "title": _("Try a message"),
        "hint": _("Ask below as a client would.") if not done else _("The model answers."),
    }


def _fields(frame: Frame, config: PortalConfig) -> dict[str, Any]:
    mapped = {mapping.source for mapping in config.mappings}
    total = len(config.fields)
    found = sum(field.name in mapped for field in config.fields)
    done = bool(total) and found == total
    return {
        "state": "done" if done else "todo",
        "title": _("CRM fields"),
        "hint": _("%(found)s of %(total)s values have a place") % {"found": found, "total": total},
        "url": "" if done else link(frame, "fields"),
        "action": _("Check"),
    }


def _knowledge(frame: Frame) -> dict[str, Any]:
    count = frame.portal.snippets.count()
    return {
        "state": "done" if count else "todo",
        "title": _("Knowledge base"),
        "hint": ngettext("%(n)s snippet", "%(n)s snippets", count) % {"n": count}
        if count
        else _("Paste questions and answers: replies will rest on them."),
        "url": "" if count else link(frame, "knowledge-import"),
        "action": _("Add"),
    }


def _problem(frame: Frame, problem: statistics.Problem) -> dict[str, Any]:
    if problem.kind == "run":
        text = in_words(problem.code, problem.detail)
    elif problem.kind == "delivery":
        text = delivery_in_words(problem.code, problem.detail)
    else:
        text = _("A dialog is waiting for your decision: %(problem)s") % {
            "problem": problem_in_words(problem.detail)
        }
    url = link(frame, "run", pk=problem.run_id) if problem.run_id else link(frame, "quarantine")
    return {"at": problem.at, "text": text, "url": url}
