"""The prompt: a draft on the left, its trial on real dialogs on the right, every version kept."""

from __future__ import annotations

import difflib
import re
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.tasks import default_task_backend
from django.tasks.base import TaskResultStatus
from django.tasks.exceptions import TaskResultDoesNotExist
from django.utils import timezone
from django.utils.translation import gettext as _

from bx_gpt_app.assistant import comparison, store
from bx_gpt_app.assistant.config import ConfigProblems, check_config
from bx_gpt_app.assistant.models import PromptVersion
from bx_gpt_app.assistant.reasons import doubt_in_words, in_words
from bx_gpt_app.assistant.rehearsal import SAMPLES, rehearse, sample_texts
from bx_gpt_app.portals.models import Portal
from bx_gpt_app.screens.forms import NoteForm, PromptForm
from bx_gpt_app.screens.frame import Frame
from bx_gpt_app.screens.settings import checked
from bx_gpt_app.screens.settings.checked import score_in_words
from bx_gpt_app.screens.settings.page import (
    admin_act,
    admin_view,
    config_of,
    fragment,
    link,
    money,
    number,
    page,
    recent_dialogs,
    seconds,
    who,
)
from integrations.llm.prompt import VARIABLES

SHOWN_VERSIONS = 50
OUTCOMES = {
    "send": "ok",
    "suggest": "info",
    "hand_over": "warn",
    "skip": "",
    "return": "",
}


@admin_view
def prompts(request: HttpRequest, frame: Frame) -> HttpResponse:
    """GET shows the draft, or the active text while there is none; POST keeps a draft."""
    if request.method != "POST":
        return _page(request, frame, PromptForm(initial={"text": _text_now(frame)}))
    form = PromptForm(request.POST)
    if not form.is_valid():
        return _page(request, frame, form, status=422)
    keep_draft(frame.portal, form.cleaned_data["text"], by=who(frame))
    return _page(request, frame, PromptForm(initial=form.cleaned_data), said=_("Draft saved"))


def _page(
    request: HttpRequest,
    frame: Frame,
    form: PromptForm,
    *,
    status: int = 200,
    said: str = "",
    **more: Any,
) -> HttpResponse:
    portal = frame.portal
    active = portal.prompts.filter(active=True).first()
    draft = portal.prompts.filter(draft=True).first()
    context = {
        "form": form,
        "active": active,
        "draft": draft,
        "next_number": (draft.number if draft else _last_number(portal) + 1),
        "versions": [
            {"version": version, "score": score_in_words(version.score)}
            for version in portal.prompts.filter(draft=False)[:SHOWN_VERSIONS]
        ],
        "variables": VARIABLES,
        "dialogs": recent_dialogs(portal),
        "case_count": portal.cases.count(),
        "samples": [(code, sample_texts(code, frame.language)[0][:60]) for code in SAMPLES],
        **more,
    }
    return page(request, frame, "prompts", context, status=status, said=said)


def _text_now(frame: Frame) -> str:
    draft = frame.portal.prompts.filter(draft=True).first()
    return draft.text if draft else config_of(frame).prompt


def _last_number(portal: Portal) -> int:
    return portal.prompts.order_by("-number").values_list("number", flat=True).first() or 0


def keep_draft(portal: Portal, text: str, *, by: str) -> PromptVersion:
    """The portal's one draft. Published versions are never touched."""
    with transaction.atomic():
        Portal.objects.select_for_update().get(pk=portal.pk)
        draft = portal.prompts.filter(draft=True).first()
        if draft is None:
            return PromptVersion.objects.create(
                portal=portal,
                number=_last_number(portal) + 1,
                text=text,
                author=by[:160],
                draft=True,
            )
        draft.text, draft.author, draft.created_at = text, by[:160], timezone.now()
        draft.save(update_fields=["text", "author", "created_at"])
        return draft


# ---- trying ----


@admin_act
def try_out(request: HttpRequest, frame: Frame) -> HttpResponse:
    """Save the draft and let both versions answer the same dialog in the background."""
    form = PromptForm(request.POST)
    if not form.is_valid():
        return fragment(
            request,
            frame,
            "prompt_tried",
            {"problem": " ".join(map(str, form.errors["text"]))},
            status=422,
        )
    text = form.cleaned_data["text"]
    dialog_id, sample = _chosen(frame, request.POST.get("on", ""))
    active = frame.portal.prompts.filter(active=True).first()
    ids = [active.pk if active else 0]
    if text != config_of(frame).prompt:
        ids.append(keep_draft(frame.portal, text, by=who(frame)).pk)
    results = [
        rehearse.enqueue(frame.portal_id, prompt_id, dialog_id, sample, frame.language)
        for prompt_id in ids
    ]
    return side_by_side(request, frame, [str(result.id) for result in results])


def _chosen(frame: Frame, on: str) -> tuple[int | None, str]:
    """`dialog-12` or `sample-order`. Somebody else's dialog is not there."""
    kind, _dash, value = on.partition("-")
    if kind == "dialog" and value.isdigit():
        if not frame.portal.dialogs.filter(pk=int(value)).exists():
            raise Http404
        return int(value), ""
    return None, value if value in SAMPLES else next(iter(SAMPLES))


@admin_view
def tried(request: HttpRequest, frame: Frame, tasks: str) -> HttpResponse:
    return side_by_side(request, frame, tasks.split("."))


def side_by_side(request: HttpRequest, frame: Frame, task_ids: list[str]) -> HttpResponse:
    """What each version said so far; asks again while one still thinks."""
    shown = [_outcome(frame, task_id) for task_id in task_ids[:2]]
    waits = any(one["state"] == "waits" for one in shown)
    context = {
        "tried": shown,
        "poll_url": link(frame, "prompt-tried", tasks=".".join(task_ids)) if waits else "",
    }
    return fragment(request, frame, "prompt_tried", context)


def _outcome(frame: Frame, task_id: str) -> dict[str, Any]:
    try:
        result = default_task_backend.get_result(task_id)
    except (TaskResultDoesNotExist, ValidationError, ValueError):
        raise Http404 from None
    if result.task.module_path != rehearse.module_path or result.args[0] != frame.portal_id:
        raise Http404
    version = frame.portal.prompts.filter(pk=result.args[1]).first()
    name = _("in force") if version is None else f"v{version.number}"
    if version is not None and version.draft:
        name = _("v%(number)s, draft") % {"number": version.number}
    if result.status == TaskResultStatus.FAILED:
        return {"state": "failed", "name": name, "text": in_words("internal")}
    if result.status != TaskResultStatus.SUCCESSFUL:
        started = result.status == TaskResultStatus.RUNNING
        words = _("Waiting for the model…") if started else _("In the queue…")
        return {"state": "waits", "name": name, "text": words}
    return {"name": name, **shown(result.return_value)}


def shown(found: Any) -> dict[str, Any]:
    """A rehearsal's result in words."""
    if found.get("failure_code"):
        return {
            "state": "failed",
            "text": in_words(found["failure_code"], found.get("failure", "")),
        }
    price = (
        money(found["cost"], found["currency"])
        if found.get("cost") is not None
        else _("%(n)s tokens") % {"n": number(found.get("tokens", 0))}
    )
    decision = found.get("decision", "")
    return {
        "state": "done",
        "reply": found["reply"],
        "band": found["band"],
        "doubts": [f"{doubt_in_words(d['kind'])}: {d['text']}" for d in found.get("doubts", [])],
        "topic": found.get("topic", ""),
        "values": found.get("values", []),
        "outcome": {
            "kind": OUTCOMES.get(decision, ""),
            "text": _decision_in_words(decision),
            # «It went out» would be untrue of a trial.
            "why": in_words(found["reason"], found.get("detail", ""))
            if found.get("reason", "auto") != "auto"
            else "",
        },
        "took": seconds(found.get("seconds")),
        "price": price,
        "model": found.get("model", ""),
    }


def _decision_in_words(decision: str) -> str:
    return {
        "send": _("would be sent by itself"),
        "suggest": _("would be suggested to the operator"),
        "hand_over": _("would be handed to a person"),
    }.get(decision, decision)


# ---- versions ----


def word_diff(old: str, new: str) -> list[tuple[str, str]]:
    """Segments (equal | insert | delete, text) by words; all but the deleted are `new`."""
    before, after = re.findall(r"\s+|[^\s]+", old), re.findall(r"\s+|[^\s]+", new)
    segments: list[tuple[str, str]] = []
    matcher = difflib.SequenceMatcher(a=before, b=after, autojunk=False)
    for kind, a1, a2, b1, b2 in matcher.get_opcodes():
        if kind in ("delete", "replace"):
            segments.append(("delete", "".join(before[a1:a2])))
        if kind in ("insert", "replace"):
            segments.append(("insert", "".join(after[b1:b2])))
        if kind == "equal":
            segments.append(("equal", "".join(before[a1:a2])))
    return segments


@admin_act
def compare(request: HttpRequest, frame: Frame) -> HttpResponse:
    """The text in the form against the one in force, as the dialog that publishes it shows."""
    form = PromptForm(request.POST)
    if not form.is_valid():
        return fragment(
            request,
            frame,
            "prompt_diff",
            {"problem": " ".join(map(str, form.errors["text"]))},
            status=422,
        )
    draft = keep_draft(frame.portal, form.cleaned_data["text"], by=who(frame))
    return fragment(request, frame, "prompt_diff", _comparison(frame, draft, NoteForm()))


def _comparison(
    frame: Frame, draft: PromptVersion, note_form: NoteForm, *, asks: bool = False
) -> dict[str, Any]:
    """The draft against the text in force: its words, and what the test cases say of it.

    `asks`: the admin pressed the button and must know something first.
    """
    old = config_of(frame).prompt
    now, context = checked.of_portal(frame, panel=True)
    return {
        **context,
        "segments": word_diff(old, draft.text),
        "same": old == draft.text,
        "active": frame.portal.prompts.filter(active=True).first(),
        "number": draft.number,
        "note_form": note_form,
        "asks": checked.obstacle(now) if asks else None,
    }


@admin_act
def publish(request: HttpRequest, frame: Frame) -> HttpResponse:
    """The draft comes into force; the note says to colleagues what has changed.

    When the test cases were not asked about it, or fare worse, that is said first: a second press,
    with the code of what was said in `agreed`, publishes all the same.
    """
    note_form = NoteForm(request.POST)
    draft = frame.portal.prompts.filter(draft=True).first()
    if draft is None:
        raise Http404
    form = PromptForm(initial={"text": draft.text})
    if not note_form.is_valid():
        more = _comparison(frame, draft, note_form)
        return _page(request, frame, form, status=422, compares=True, **more)
    now = comparison.standing(frame.portal)
    said_first = checked.obstacle(now)
    if said_first and request.POST.get("agreed") != said_first["code"]:
        more = _comparison(frame, draft, note_form, asks=True)
        return _page(request, frame, form, compares=True, **more)
    note = note_form.cleaned_data["note"]
    version = _publish(frame, draft.text, note, score=now.score("draft"))
    return _page(
        request,
        frame,
        PromptForm(initial={"text": version.text}),
        said=_("Version %(number)s is in force") % {"number": version.number},
    )


def _publish(
    frame: Frame, text: str, note: str, *, score: dict[str, int] | None = None
) -> PromptVersion:
    """Raises: Http404 when the text does not pass the checks of the whole configuration."""
    document = config_of(frame).model_dump(mode="json", by_alias=True)
    try:
        check_config({**document, "prompt": text})
    except ConfigProblems:
        raise Http404 from None
    return store.publish_prompt(frame.portal, text, note=note, author=who(frame), score=score)


@admin_view
def version(request: HttpRequest, frame: Frame, number: int) -> HttpResponse:
    """One published version, against the one in force."""
    found = _version(frame, number)
    context = {
        "version": found,
        "score": score_in_words(found.score),
        "segments": word_diff(found.text, config_of(frame).prompt),
        "app": frame.portal.registration.code,
    }
    return page(request, frame, "prompts", context, template="prompt_version")


@admin_act
def restore(request: HttpRequest, frame: Frame, number: int) -> HttpResponse:
    """An old text comes back as a new version: what was in force at any time stays known."""
    old = _version(frame, number)
    note = _("Back to version %(number)s") % {"number": old.number}
    score = comparison.standing(frame.portal, draft=old.text).score("draft")
    new = _publish(frame, old.text, note, score=score)
    return _page(
        request,
        frame,
        PromptForm(initial={"text": new.text}),
        said=_("Version %(number)s is in force") % {"number": new.number},
    )


def _version(frame: Frame, number: int) -> PromptVersion:
    found = frame.portal.prompts.filter(number=number, draft=False).first()
    if found is None:
        raise Http404
    return found
