"""Why was this said, or nothing: every run with its reason, and what waits for a decision."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.dateparse import parse_date
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from bx_gpt_app.assistant import quarantine as stuck
from bx_gpt_app.assistant import statistics
from bx_gpt_app.assistant.fill import value_in_words
from bx_gpt_app.assistant.models import Delivery, Dialog, FieldValue, Message, Run, Suggestion
from bx_gpt_app.assistant.reasons import (
    STEPS,
    choices,
    delivery_in_words,
    doubt_in_words,
    in_words,
    problem_in_words,
    saving_in_words,
    skipped_in_words,
)
from bx_gpt_app.screens.frame import Frame
from bx_gpt_app.screens.settings.masked import redacted
from bx_gpt_app.screens.settings.page import (
    admin_act,
    admin_view,
    config_of,
    link,
    money_of,
    page,
)
from bx_gpt_app.screens.settings.silence import messages_with, why_missing

PER_PAGE = 30
SHOWN_TURNS = 12
KINDS = {
    Run.Decision.SEND: "ok",
    Run.Decision.SUGGEST: "info",
    Run.Decision.HAND_OVER: "warn",
    Run.Decision.RETURN: "info",
}


@admin_view
def log(request: HttpRequest, frame: Frame) -> HttpResponse:
    filters = {
        name: request.GET.get(name, "").strip()[:100]
        for name in ("decision", "reason", "line", "day", "q")
    }
    runs = _filtered(frame, filters).select_related("dialog").order_by("-started_at")
    found = Paginator(runs, PER_PAGE).get_page(request.GET.get("page"))
    lines = {line.line_id: str(line) for line in frame.portal.lines.all()}
    questions = _last_words(found)
    config = config_of(frame)
    topics = {one.code: one.title for one in config.topics}
    used = set(Run.objects.filter(portal=frame.portal).values_list("reason", flat=True).distinct())
    context = {
        "page": found,
        "rows": [
            {
                "run": run,
                "question": questions.get(run.pk, ""),
                "line": lines.get(run.dialog.line_id or 0, run.dialog.get_kind_display()),
                "kind": "bad" if run.state == Run.State.FAILED else KINDS.get(run.decision, ""),  # type: ignore[call-overload]
                "decision": _decision(run),
                "why": _why(run, topics),
                "url": link(frame, "run", pk=run.pk),
            }
            for run in found
        ],
        "filters": filters,
        "filtered": any(filters.values()),
        "query": urlencode({k: v for k, v in filters.items() if v}) + "&"
        if any(filters.values())
        else "",
        "decisions": [
            *((value, label) for value, label in Run.Decision.choices if value),
            ("failed", Run.State.FAILED.label),
        ],
        "reasons": [(code, words) for code, words in choices() if code in used],
        "lines": sorted(lines.items()),
        "messages": messages_with(frame, filters["q"]),
        "missing": why_missing(frame, config),
        **_tabs(frame, "runs"),
    }
    return page(request, frame, "log", context)


def _why(run: Run, topics: dict[str, str]) -> str:
    """The reason with its detail as people know it: a topic by its name."""
    return in_words(run.reason, topics.get(run.reason_detail, run.reason_detail))


def _filtered(frame: Frame, filters: dict[str, str]) -> QuerySet[Run]:
    runs = Run.objects.filter(portal=frame.portal)
    if filters["decision"] == "failed":
        runs = runs.filter(state=Run.State.FAILED)
    elif filters["decision"]:
        runs = runs.filter(decision=filters["decision"])
    if filters["reason"]:
        runs = runs.filter(reason=filters["reason"])
    if filters["line"].isdigit():
        runs = runs.filter(dialog__line_id=int(filters["line"]))
    day = _day(filters["day"])
    if day:
        start = statistics.start_of_day(day)
        runs = runs.filter(started_at__gte=start, started_at__lt=start + timedelta(days=1))
    if filters["q"]:
        words = filters["q"]
        runs = runs.filter(
            Q(reply__icontains=words)
            | Q(dialog__client_name__icontains=words)
            | Q(dialog__messages__text__icontains=words)
        ).distinct()
    return runs


def _day(text: str) -> Any:
    try:
        return parse_date(text)
    except ValueError:
        return None


def _tabs(frame: Frame, tab: str) -> dict[str, Any]:
    return {"tab": tab, "stuck": statistics.in_quarantine(frame.portal)}


def _decision(run: Run) -> str:
    if run.state in (Run.State.FAILED, Run.State.SUPERSEDED, Run.State.THINKING):
        return run.get_state_display()
    return run.get_decision_display()


def _last_words(runs: Iterable[Run]) -> dict[int, str]:
    """Run → what the client asked, masked and shortened."""
    found = {}
    for run in runs:
        asked = Message.objects.filter(dialog=run.dialog, author="client", deleted=False)
        if run.newest_message_id:
            asked = asked.filter(external_id__lte=run.newest_message_id)
        last = asked.order_by("-external_id", "-id").first()
        if last:
            found[run.pk] = redacted(" ".join(last.text.split()))[:120]
    return found


@admin_view
def run(request: HttpRequest, frame: Frame, pk: int) -> HttpResponse:
    """Everything about one run: what was known, what the model said, what was checked and done."""
    found = (
        Run.objects.filter(portal=frame.portal, pk=pk)
        .select_related("dialog", "prompt_version")
        .first()
    )
    if found is None:
        raise Http404
    topic = config_of(frame).topic(found.topic)
    context = {
        "run": found,
        "dialog": found.dialog,
        "decision": _decision(found),
        "kind": "bad" if found.state == Run.State.FAILED else KINDS.get(found.decision, ""),  # type: ignore[call-overload]
        "why": _why(found, {topic.code: topic.title} if topic else {}),
        "turns": _turns(found),
        "doubts": [
            f"{doubt_in_words(doubt.get('kind', ''))}: {doubt.get('text', '')}"
            for doubt in found.doubts
        ],
        "topic": topic.title if topic else found.topic,
        "values": [_value(value) for value in _values(found)],
        "deliveries": [_delivery(one) for one in found.deliveries.all()],
        "suggestions": [_suggestion(one) for one in found.suggestions.all()],
        "steps": _steps(found),
        "price": _price(found),
        "saving": saving_in_words(found.saving),
        "masked": sum(found.masked.values()) if isinstance(found.masked, dict) else 0,
        "reference": f"{found.pk}-{found.dialog_id}",
        "said": redacted(str((found.answer or {}).get("reply", ""))),
        "reply": redacted(found.reply),
        "back_url": link(frame, "log"),
    }
    return page(request, frame, "log", context, template="run")


def _price(found: Run) -> str:
    """What the run cost, each currency on its own; empty when no price is known."""
    if found.cost is None:
        return ""
    return money_of({found.currency: found.cost, **found.other_costs})


def _turns(found: Run) -> list[dict[str, str]]:
    rows = Message.objects.filter(dialog=found.dialog, deleted=False)
    if found.message_ids:
        rows = rows.filter(external_id__in=found.message_ids)
    names = {
        "client": _("Client"),
        "operator": _("Operator"),
        "bot": _("Assistant"),
        "system": _("System"),
        "whisper": _("Whisper"),
    }
    turns = list(rows.order_by("-external_id", "-id")[:SHOWN_TURNS])[::-1]
    return [
        {
            "author": names.get(turn.author, turn.author),
            "kind": turn.author,
            "text": redacted(turn.text),
        }
        for turn in turns
    ]


def _values(found: Run) -> QuerySet[FieldValue]:
    return FieldValue.objects.filter(run=found).order_by("id")


def _value(value: FieldValue) -> dict[str, Any]:
    return {
        "field": value.field,
        "target": value.target,
        "item": value.item,
        "value": redacted(value_in_words(value.value)),
        "quote": redacted(value.quote),
        "band": value.band,
        "state": value.get_state_display(),
        "why": skipped_in_words(value.reason) if value.reason else "",
        "by": value.by,
    }


def _delivery(delivery: Delivery) -> dict[str, Any]:
    kinds = {"sent": "ok", "failed": "bad", "unsure": "warn", "planned": "info", "sending": "info"}
    return {
        "title": delivery.get_kind_display(),
        "state": delivery.get_state_display(),
        "kind": kinds.get(delivery.state, ""),
        "at": delivery.sent_at or delivery.created_at,
        "attempts": delivery.attempts,
        "why": delivery_in_words(delivery.problem_code, delivery.problem),
        "written": ", ".join(delivery.result.get("written", [])),
        "skipped": [
            f"{name}: {skipped_in_words(why)}"
            for name, why in (delivery.result.get("skipped") or {}).items()
        ],
    }


def _suggestion(suggestion: Suggestion) -> dict[str, Any]:
    return {
        "state": suggestion.get_state_display(),
        "edited": bool(suggestion.final_text) and suggestion.final_text != suggestion.text,
        "final": redacted(suggestion.final_text),
        "why": in_words(suggestion.closed_reason),
        "rating": suggestion.rating,
        "comment": redacted(suggestion.rating_comment),
        "by": suggestion.closed_by,
    }


def _steps(found: Run) -> list[dict[str, Any]]:
    total = sum(found.steps_ms.values()) or 1
    return [
        {
            "title": STEPS.get(name, name),
            "ms": ms,
            "id": f"step-{name}",
            "text": _("%(ms)s ms") % {"ms": ms},
            "max": total,
        }
        for name, ms in found.steps_ms.items()
    ]


# ---- quarantine ----


@admin_view
def quarantine(request: HttpRequest, frame: Frame) -> HttpResponse:
    return _quarantine_page(request, frame)


def _quarantine_page(
    request: HttpRequest, frame: Frame, *, said: str = "", bad: bool = False
) -> HttpResponse:
    acts = (
        statistics.broken_deliveries(frame.portal).select_related("dialog").order_by("-created_at")
    )
    dialogs = statistics.stuck_dialogs(frame.portal).order_by("-quarantined_at")
    found = Paginator(acts, PER_PAGE).get_page(request.GET.get("page"))
    context = {
        "page": found,
        "acts": [_stuck_act(frame, one) for one in found],
        "dialogs": [_stuck_dialog(one) for one in dialogs[:PER_PAGE]],
        **_tabs(frame, "quarantine"),
    }
    return page(request, frame, "log", context, template="quarantine", said=said, bad=bad)


def _stuck_act(frame: Frame, delivery: Delivery) -> dict[str, Any]:
    alike = statistics.broken_deliveries(frame.portal).filter(
        kind=delivery.kind, problem_code=delivery.problem_code
    )
    return {
        "delivery": delivery,
        "who": delivery.dialog.client_name or delivery.dialog.title or delivery.dialog.key,
        "text": redacted(str(delivery.payload.get("text") or ""))[:160],
        "unsure": delivery.state == Delivery.State.UNSURE,
        "why": delivery_in_words(delivery.problem_code, delivery.problem),
        "alike": alike.count(),
        "run_url": link(frame, "run", pk=delivery.run_id) if delivery.run_id else "",
    }


def _stuck_dialog(dialog: Dialog) -> dict[str, Any]:
    return {
        "dialog": dialog,
        "problem": problem_in_words(dialog.problem),
        "who": dialog.client_name or dialog.title or dialog.key,
        "waiting": dialog.events.filter(done_at__isnull=True).count(),
    }


@admin_act
def act(request: HttpRequest, frame: Frame) -> HttpResponse:
    """POST do=retry|retry_alike|close with delivery=… or dialog=…; closing needs a note."""
    do, note = request.POST.get("do", ""), request.POST.get("note", "").strip()
    rows = _chosen(request, frame)
    if do == "close" and not note:
        return _quarantine_page(request, frame, said=_("Say why you close it"), bad=True)
    if do in ("retry", "retry_alike"):
        done = stuck.retry_dialogs(rows) if rows.model is Dialog else stuck.retry_deliveries(rows)
        said = ngettext("%(n)s is being repeated", "%(n)s are being repeated", done)
    elif do == "close":
        done = (
            stuck.close_dialogs(rows, note)
            if rows.model is Dialog
            else stuck.close_deliveries(rows, note)
        )
        said = ngettext("%(n)s is closed", "%(n)s are closed", done)
    else:
        raise Http404
    return _quarantine_page(request, frame, said=said % {"n": done})


def _chosen(request: HttpRequest, frame: Frame) -> QuerySet[Any]:
    """Rows of this portal only; «all like this» widens them to the same kind and problem."""
    alike = request.POST.get("do") == "retry_alike"
    number = request.POST.get("delivery") or request.POST.get("dialog") or ""
    if not number.isdigit():
        raise Http404
    if request.POST.get("delivery"):
        acts = statistics.broken_deliveries(frame.portal)
        one = acts.filter(pk=int(number)).first()
        if one is None:
            raise Http404
        if alike:
            return acts.filter(kind=one.kind, problem_code=one.problem_code)
        return acts.filter(pk=one.pk)
    dialogs = statistics.stuck_dialogs(frame.portal)
    dialog = dialogs.filter(pk=int(number)).first()
    if dialog is None:
        raise Http404
    return dialogs.filter(problem=dialog.problem) if alike else dialogs.filter(pk=dialog.pk)
