"""The operator's view of one dialog: the draft, the values, and every deed he may do there.

Whole pages come from the entry or from a link inside the frame; everything else is a fragment.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from bx_gpt_app.assistant import lines, operator, store
from bx_gpt_app.assistant.models import Dialog, FieldValue, Run, Suggestion
from bx_gpt_app.assistant.operator import LIVE, STEER, UNFINISHED, Refused
from bx_gpt_app.screens.draft import (
    Place,
    Scene,
    draft_context,
    find_chosen,
    read_scene,
    summary_of,
)
from bx_gpt_app.screens.frame import Frame, frame_view, refusal
from bx_gpt_app.screens.preferences import page_context
from bx_gpt_app.screens.values import value_context, values_context, values_of, written_since

INSERTING = ("IM_SIDEBAR", "IM_TEXTAREA", "IM_CONTEXT_MENU")
"""Placements beside a chat's field on the web; elsewhere the reply is copied."""
RECENT = 20


def base_of(frame: Frame, dialog: Dialog) -> str:
    return f"/b24/{frame.portal.registration.code}/dialogs/{dialog.pk}/"


def place_of(frame: Frame, scene: Scene) -> Place:
    dialog, chosen = scene.dialog, scene.chosen
    return Place(
        base=base_of(frame, dialog),
        can_insert=frame.placement in INSERTING and dialog.chat_id == frame.chat_id,
        is_admin=frame.is_admin,
        chosen=chosen.external_id or 0 if chosen else 0,
    )


def visible_dialogs(frame: Frame) -> QuerySet[Dialog]:
    return Dialog.objects.filter(portal=frame.portal, kind=Dialog.Kind.CHAT)


def may_see(frame: Frame, dialog: Dialog) -> bool:
    """What the portal showed to this visitor when he came; administrators see every dialog."""
    return (
        frame.is_admin
        or dialog.chat_id in (frame.chat_id, *frame.chats)
        or bool(frame.item and frame.item in dialog.items)
    )


def _dialog(frame: Frame, pk: int, *, run: int | None = None) -> Dialog | None:
    """With the progress of the newest run or of the shown one, so that an unchanged poll is one
    query."""
    newest = Run.objects.filter(dialog=OuterRef("pk")).order_by("-id")
    if run:
        newest = newest.filter(pk=run)
    dialog = (
        visible_dialogs(frame)
        .filter(pk=pk)
        .annotate(
            run_state=Subquery(newest.values("state")[:1]),
            run_attempts=Subquery(newest.values("attempts")[:1]),
        )
        .first()
    )
    if dialog is None or not may_see(frame, dialog):
        return None
    dialog.portal = frame.portal
    return dialog


def _not_found() -> HttpResponse:
    return refusal(404, "not_found", _("This chat is not here or not open to you."))


# ---- pages ----


def render_operator(
    request: HttpRequest,
    frame: Frame,
    dialog: Dialog | None,
    *,
    why_none: str = "none",
    chosen_id: int | None = None,
) -> HttpResponse:
    """A whole page. `why_none` is the state of the draft when there is no dialog to show,
    `chosen_id` the message that it is about."""
    context = _view(frame, dialog, why_none, chosen_id)
    return render(request, "base/operator.html", {**page_context(frame), **context})


def _view(
    frame: Frame, dialog: Dialog | None, why_none: str = "none", chosen_id: int | None = None
) -> dict[str, Any]:
    """The context of components/operator.html."""
    rows = linked(frame, dialog) if frame.item or frame.chats else []
    if why_none == "none" and frame.chats:
        why_none = "unheard"  # the portal knows chats of the card, we do not
    context: dict[str, Any] = {
        "operator": {
            "is_card": frame.placement.startswith("CRM_"),
            "settings_url": _settings_url(frame),
            "dialogs": rows,
            "card_poll_url": _card_url(frame, dialog, rows) if frame.item else "",
            "back_url": (
                f"/b24/{frame.portal.registration.code}/dialogs/" if _has_list(frame) else ""
            ),
        },
        "draft": {"state": why_none},
        "values": {"rows": []},
    }
    if dialog is not None:
        dialog.portal = frame.portal
        scene = read_scene(dialog, frame.portal, chosen_id=chosen_id)
        scene = replace(scene, viewer=frame.user_id)
        context |= _fragments(frame, scene)
        context["operator"] |= _topbar(frame, scene)
    return context


def _has_list(frame: Frame) -> bool:
    return frame.chat_id is None and not frame.item


def _settings_url(frame: Frame) -> str:
    if not frame.is_admin:
        return ""
    try:
        return reverse("settings-overview", kwargs={"app": frame.portal.registration.code})
    except NoReverseMatch:
        return ""


def _topic_of(scene: Scene) -> str:
    return scene.run.topic if scene.run else ""


def _topbar(frame: Frame, scene: Scene) -> dict[str, Any]:
    place = place_of(frame, scene)
    topic = _topic_of(scene)
    topics = [{"code": one.code, "title": one.title} for one in scene.config.topics]
    if not topic:
        topics.insert(0, {"code": "", "title": _("Topic not found yet")})
    return {
        "title": scene.dialog.client_name or scene.dialog.title,
        "topics": topics,
        "topic": topic,
        "topic_url": place.url("topic"),
        "hints_on": not scene.dialog.suggestions_off,
        "pause_url": place.url("pause") if scene.mode != "off" else "",
    }


def _fragments(frame: Frame, scene: Scene) -> dict[str, Any]:
    place, rows = place_of(frame, scene), values_of(scene.dialog)
    return {
        "draft": draft_context(scene, place),
        "values": values_context(scene.dialog, scene.portal, scene.config, rows, place.base),
        "summary": _summary(frame, scene, rows),
    }


def _summary(frame: Frame, scene: Scene, rows: list[FieldValue]) -> dict[str, Any] | None:
    """The story so far; in a card there is room for it, elsewhere only a hand-over opens it."""
    summary = summary_of(scene, rows)
    is_card = frame.placement.startswith("CRM_")
    return summary and {**summary, "is_open": is_card or summary["is_handed_over"]}


def linked(frame: Frame, current: Dialog | None) -> list[dict[str, Any]]:
    """The chats of the card, or the last ones the visitor may see; newest first."""
    rows = _rows(frame, find_linked(frame))
    return [{**row, "current": current is not None and row["pk"] == current.pk} for row in rows]


def newest_linked(frame: Frame) -> Dialog | None:
    found = find_linked(frame)
    return Dialog.objects.get(portal=frame.portal, pk=found[0].pk) if found else None


def _card_url(frame: Frame, current: Dialog | None, rows: list[dict[str, Any]]) -> str:
    """Where the card asks whether its chats are still those it shows."""
    seen = zlib.crc32(json.dumps(rows, default=str).encode())
    shown = f"d={current.pk}&" if current else ""
    return f"/b24/{frame.portal.registration.code}/dialogs/card/?{shown}seen={seen}"


@frame_view
def card(request: HttpRequest, app: str) -> HttpResponse:
    """GET ?d=&seen=: 204 while the chats of the card are those that are shown; else their list, or
    the whole view when nothing was there and a chat has come."""
    frame = frame_of(request)
    if not frame.item:
        return _not_found()
    shown = _number(request.GET.get("d"))
    if not shown:
        dialog = newest_linked(frame)
        if dialog is None:
            return HttpResponse(status=204)
        context = {**page_context(frame), **_view(frame, dialog)}
        return render(request, "components/operator.html", context)
    dialog = _dialog(frame, shown)
    rows = linked(frame, dialog)
    poll_url = _card_url(frame, dialog, rows)
    if request.get_full_path() == poll_url:
        return HttpResponse(status=204)
    context = {"operator": {"dialogs": rows, "card_poll_url": poll_url}}
    return render(request, "components/operator_dialogs.html", context)


def find_linked(frame: Frame) -> list[Dialog]:
    """Known dialogs among the visit's chats and those that name the card themselves."""
    known = visible_dialogs(frame).defer("item_snapshot").order_by("-last_message_at")
    found = {one.pk: one for one in known.filter(key__in=[str(chat) for chat in frame.chats])}
    if frame.item:
        # The list is a JSON text: the quotes keep LEAD_7 from matching LEAD_77.
        named = known.filter(items__icontains=f'"{frame.item}"')[:RECENT]
        found |= {one.pk: one for one in named if frame.item in one.items}
    return sorted(
        found.values(), key=lambda one: one.last_message_at or one.created_at, reverse=True
    )[:RECENT]


def when(dialog: Dialog) -> str:
    at = timezone.localtime(dialog.last_message_at or dialog.created_at)
    if at.date() == timezone.localdate():
        return date_format(at, "H:i")
    return date_format(at, "SHORT_DATE_FORMAT")


@frame_view
def page(request: HttpRequest, app: str, pk: int) -> HttpResponse:
    """GET ?m=: the whole view of one dialog, by a link inside the frame."""
    frame = frame_of(request)
    dialog = _dialog(frame, pk)
    if dialog is None:
        return _not_found()
    return render_operator(request, frame, dialog, chosen_id=_chosen_id(request))


def recent_rows(frame: Frame) -> list[dict[str, Any]]:
    """The last dialogs with what waits in them."""
    newest = visible_dialogs(frame).defer("item_snapshot").order_by("-last_message_at")
    return _rows(frame, list(newest[:RECENT]) if frame.is_admin else find_linked(frame))


def _rows(frame: Frame, dialogs: list[Dialog]) -> list[dict[str, Any]]:
    ready = set(
        Suggestion.objects.filter(dialog__in=dialogs, state__in=LIVE).values_list(
            "dialog_id", flat=True
        )
    )
    titles = dict(frame.portal.lines.values_list("line_id", "title"))
    return [
        {
            "pk": dialog.pk,
            "url": base_of(frame, dialog),
            "title": dialog.client_name or dialog.title or dialog.dialog_id,
            "line": titles.get(dialog.line_id or 0, ""),
            "when": when(dialog),
            "is_ready": dialog.pk in ready,
            "owner": dialog.get_owner_display(),
            "owner_name": dialog.owner_name,
            "is_closed": dialog.owner == Dialog.Owner.CLOSED,
        }
        for dialog in dialogs
    ]


def render_recent(request: HttpRequest, frame: Frame) -> HttpResponse:
    context = {
        **page_context(frame),
        "rows": recent_rows(frame),
        "settings_url": _settings_url(frame),
        "list_url": f"/b24/{frame.portal.registration.code}/dialogs/",
    }
    return render(request, "screens/dialogs.html", context)


@frame_view
def recent(request: HttpRequest, app: str) -> HttpResponse:
    """GET: the list of the last dialogs."""
    return render_recent(request, frame_of(request))


# ---- fragments ----


def frame_of(request: HttpRequest) -> Frame:
    frame: Frame = request.frame  # type: ignore[attr-defined]  # set by frame_view
    return frame


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else None


def _chosen_id(request: HttpRequest) -> int | None:
    """The message that the view is about, as all of its addresses carry it."""
    return _number(request.GET.get("m"))


def _unchanged(request: HttpRequest, frame: Frame, app: str, pk: int) -> bool:
    """True when the page has the dialog's newest revision. A model at work has steps besides.

    Whose dialog it is was checked when the page got this revision; here the portal is enough.
    """
    rev = _number(request.GET.get("rev"))
    if rev is None or "step" in request.GET:
        return False
    return (
        Dialog.objects.filter(pk=pk, portal_id=frame.portal_id, rev=rev)
        .filter(portal__session_epoch=frame.epoch)
        .exists()
    )


@frame_view(unchanged=_unchanged)
def draft(request: HttpRequest, app: str, pk: int) -> HttpResponse:
    """GET ?rev=&v=&step=&run=&m=: 204 while nothing has changed, else the draft as it is now."""
    frame = frame_of(request)
    dialog = _dialog(frame, pk, run=_number(request.GET.get("run")))
    if dialog is None:
        return _not_found()
    if _number(request.GET.get("rev")) == dialog.rev and _same_step(request, dialog):
        return HttpResponse(status=204)
    return draft_answer(request, frame, dialog, wanted=_number(request.GET.get("v")))


def _same_step(request: HttpRequest, dialog: Dialog) -> bool:
    shown = request.GET.get("step")
    if shown is None:
        return True
    state, attempts = dialog.run_state, dialog.run_attempts  # type: ignore[attr-defined]  # annotated
    return shown == str((2 if attempts else 1) if state in UNFINISHED else 0)


def draft_answer(
    request: HttpRequest,
    frame: Frame,
    dialog: Dialog,
    *,
    wanted: int | None = None,
    toast: str = "",
) -> HttpResponse:
    """The draft's fragment; the values beside it are told to look for themselves."""
    dialog = visible_dialogs(frame).get(pk=dialog.pk)
    dialog.portal = frame.portal
    scene = read_scene(dialog, frame.portal, wanted=wanted, chosen_id=_chosen_id(request))
    scene = replace(scene, viewer=frame.user_id)
    shown_topic = request.GET.get("t")
    context = {
        "draft": draft_context(scene, place_of(frame, scene)),
        "summary": _summary(frame, scene, values_of(dialog)),
        "with_summary": True,
        "operator": _topbar(frame, scene),
        # An open list must not be replaced under the cursor without need.
        "with_topic": shown_topic is not None and shown_topic != _topic_of(scene),
    }
    response = render(request, "screens/draft_answer.html", context)
    return _telling(response, {"dialog-changed": {}}, toast=toast)


def _telling(
    response: HttpResponse, events: dict[str, Any], *, toast: str = "", kind: str = "ok"
) -> HttpResponse:
    if toast:
        events = {**events, "toast": {"text": toast, "kind": kind}}
    response["HX-Trigger"] = json.dumps(events)
    return response


@frame_view
def values(request: HttpRequest, app: str, pk: int) -> HttpResponse:
    """GET ?rev=&seen=: what the client has said; tells the card when something was written."""
    frame = frame_of(request)
    dialog = _dialog(frame, pk)
    if dialog is None:
        return _not_found()
    if _number(request.GET.get("rev")) == dialog.rev:
        return HttpResponse(status=204)
    return values_answer(request, frame, dialog)


def values_answer(request: HttpRequest, frame: Frame, dialog: Dialog) -> HttpResponse:
    dialog = visible_dialogs(frame).get(pk=dialog.pk)
    config, _revision = store.load(frame.portal)
    rows = values_of(dialog)
    context = values_context(dialog, frame.portal, config, rows, base_of(frame, dialog))
    response = render(request, "components/operator_values.html", {"values": context})
    seen = _number(request.GET.get("seen"))
    if seen is not None and written_since(rows, seen):
        _telling(response, {"crm-changed": {}})
    return response


# ---- deeds ----


@dataclass(frozen=True)
class Asked:
    """A deed with all it needs."""

    request: HttpRequest
    frame: Frame
    dialog: Dialog

    def posted(self, name: str) -> str:
        return self.request.POST.get(name, "")

    @property
    def suggestion_id(self) -> int:
        return _number(self.posted("suggestion") or self.request.GET.get("v")) or 0

    @property
    def chosen(self) -> int:
        """The earlier message that the deed is about; 0: the last one."""
        message, apart = find_chosen(self.dialog, _chosen_id(self.request))
        return message.external_id or 0 if message and apart else 0

    def answer(self, *, toast: str = "", wanted: int | None = None) -> HttpResponse:
        return draft_answer(self.request, self.frame, self.dialog, toast=toast, wanted=wanted)


@frame_view
def deed(request: HttpRequest, app: str, pk: int, name: str) -> HttpResponse:
    """POST /b24/<app>/dialogs/<id>/<deed>/: one thing the operator does; answers a fragment."""
    frame = frame_of(request)
    act = DEEDS.get(name)
    dialog = _dialog(frame, pk) if act else None
    if act is None or dialog is None:
        return _not_found()
    if request.method != "POST":
        return refusal(400, "post_only", _("Nothing was changed."))
    try:
        return act(Asked(request, frame, dialog))
    except Refused as refused:
        return refusal(409, refused.code, REFUSALS[refused.code]())


REFUSALS: dict[str, Callable[[], str]] = {
    "empty": lambda: _("There is no text."),
    "too_long": lambda: _("This text is too long for one message."),
    "edit_first": lambda: _(
        "Nothing supports this text: edit it before sending, or ask the client."
    ),
    "gone": lambda: _("This suggestion is closed already."),
    "not_writable": lambda: _("There is no card or field for this value yet."),
    "bad_value": lambda: _("This does not fit the field."),
}


def _send(asked: Asked) -> HttpResponse:
    operator.send(
        asked.dialog,
        asked.suggestion_id,
        asked.posted("text"),
        operator_id=asked.frame.user_id,
        operator_name=asked.frame.user_name,
    )
    return asked.answer()


def _take_back(asked: Asked) -> HttpResponse:
    taken = operator.take_back(asked.dialog)
    return asked.answer(toast=_("Not sent.") if taken else _("It has been sent already."))


def _used(asked: Asked) -> HttpResponse:
    operator.mark_used(asked.dialog, asked.suggestion_id, asked.posted("text"))
    return HttpResponse(status=204)


def _regenerate(asked: Asked) -> HttpResponse:
    how = asked.posted("how")
    steer = asked.posted("steer").strip() if how == "steer" else STEER.get(how, "")
    return _ask(asked, steer or STEER["another"])


def _now(asked: Asked) -> HttpResponse:
    return _ask(asked, "")


def _ask(asked: Asked, steer: str, topic: str = "") -> HttpResponse:
    _config, revision = store.load(asked.frame.portal)
    operator.ask_again(
        asked.dialog,
        operator_id=asked.frame.user_id,
        steer=steer,
        topic=topic,
        config_revision=revision,
        chosen=asked.chosen,
    )
    return asked.answer()


def _cancel(asked: Asked) -> HttpResponse:
    operator.cancel_asking(asked.dialog, chosen=asked.chosen)
    return asked.answer()


def _rate(asked: Asked) -> HttpResponse:
    operator.rate(
        asked.dialog,
        asked.suggestion_id,
        good=asked.posted("mark") == "good",
        reasons=asked.request.POST.getlist("reason"),
        comment=asked.posted("comment"),
    )
    context = {"draft": {"rate_url": asked.request.get_full_path(), "rating": 1}}
    return render(asked.request, "components/operator_rating.html", context)


def _topic(asked: Asked) -> HttpResponse:
    config, _revision = store.load(asked.frame.portal)
    topic = config.topic(asked.posted("topic"))
    if topic is None or not operator.correct_topic(asked.dialog, topic.code):
        return asked.answer()
    steer = f"Тема обращения: {topic.title}. {topic.description}".strip()
    return _ask(asked, steer, topic=topic.code)


def _pause(asked: Asked) -> HttpResponse:
    operator.pause(asked.dialog, paused=asked.posted("on") != "1")
    return asked.answer()


def _resume(asked: Asked) -> HttpResponse:
    operator.pause(asked.dialog, paused=False)
    return asked.answer()


def _stop(asked: Asked) -> HttpResponse:
    operator.stop_automatic(asked.dialog)
    return asked.answer()


def _auto(asked: Asked) -> HttpResponse:
    off = asked.posted("off") == "1"
    operator.set_automatic(asked.dialog, allowed=not off)
    return asked.answer(
        toast=_("This chat gets no automatic replies any more.")
        if off
        else _("Automatic replies are on in this chat.")
    )


def _give_back(asked: Asked) -> HttpResponse:
    operator.give_back(asked.dialog)
    return asked.answer(toast=_("The assistant answers the next message."))


def _enable(asked: Asked) -> HttpResponse:
    """The line gets suggestions; only an administrator changes lines."""
    if not asked.frame.is_admin:
        sentence = _("Only an administrator of the portal may do this.")
        return refusal(403, "admins_only", sentence)
    portal = asked.frame.portal
    config, _revision = store.load(portal)
    line = config.line(asked.dialog.line_id).model_copy(update={"mode": "suggest"})
    known = {number: one.model_dump(mode="json") for number, one in config.lines.items()}
    changed = {**known, str(asked.dialog.line_id): line.model_dump(mode="json")}
    store.change(portal, by=asked.frame.user_name, lines=changed)
    lines.carry_out_modes.enqueue(portal.pk)
    operator.seen(asked.dialog)
    return asked.answer(toast=_("Suggestions are switched on."))


def _knowledge(asked: Asked) -> HttpResponse:
    operator.save_to_knowledge(asked.dialog, asked.suggestion_id, by=asked.frame.user_name)
    operator.seen(asked.dialog)
    return asked.answer(toast=_("Saved to the knowledge base."))


DEEDS: dict[str, Callable[[Asked], HttpResponse]] = {
    "send": _send,
    "take-back": _take_back,
    "used": _used,
    "regenerate": _regenerate,
    "now": _now,
    "cancel": _cancel,
    "rate": _rate,
    "topic": _topic,
    "pause": _pause,
    "resume": _resume,
    "stop": _stop,
    "auto": _auto,
    "give-back": _give_back,
    "enable": _enable,
    "knowledge": _knowledge,
}


# ---- values ----


@frame_view
def value_deed(request: HttpRequest, app: str, pk: int, value: int, name: str) -> HttpResponse:
    """POST …/values/<id>/write/ (value=…) and …/undo/: answers the value's own fragment."""
    frame = frame_of(request)
    dialog = _dialog(frame, pk)
    if dialog is None or name not in ("write", "undo"):
        return _not_found()
    if request.method != "POST":
        return refusal(400, "post_only", _("Nothing was changed."))
    config, _revision = store.load(frame.portal)
    who = {"operator_id": frame.user_id, "operator_name": frame.user_name}
    text = request.POST.get("value", "")
    error, row = "", None
    try:
        if name == "undo":
            row = operator.undo_value(dialog, value, **who)  # type: ignore[arg-type]  # by name
        else:
            row = operator.write_value(dialog, value, text, config=config, **who)  # type: ignore[arg-type]
    except Refused as refused:
        if refused.code == "gone":
            return refusal(404, "not_found", _("This value is not here any more."))
        error = REFUSALS[refused.code]()
        row = FieldValue.objects.get(dialog=dialog, pk=value)
    context = value_context(
        row,
        dialog,
        frame.portal,
        config,
        base_of(frame, dialog),
        error=error,
        text=text if error else None,
    )
    status = 422 if error else 200
    response = render(request, "components/operator_value.html", {"value": context}, status=status)
    return response if error else _telling(response, {"dialog-changed": {}})


@frame_view
def values_deed(request: HttpRequest, app: str, pk: int, name: str) -> HttpResponse:
    """POST …/values/confident/ and …/values/dismiss/: answers the whole block of values."""
    frame = frame_of(request)
    dialog = _dialog(frame, pk)
    if dialog is None or name not in ("confident", "dismiss"):
        return _not_found()
    if request.method != "POST":
        return refusal(400, "post_only", _("Nothing was changed."))
    if name == "dismiss":
        operator.dismiss_values(dialog, by=frame.user_name)
    else:
        config, _revision = store.load(frame.portal)
        operator.write_confident(
            dialog, config=config, operator_id=frame.user_id, operator_name=frame.user_name
        )
    return values_answer(request, frame, dialog)
