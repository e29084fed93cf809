"""Topics: what questions are about, how each kind is answered, which ones stay with people."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _

from bx_gpt_app.assistant import portal_cases, store
from bx_gpt_app.assistant.models import Message, Run
from bx_gpt_app.portals.models import Portal
from bx_gpt_app.screens.forms import TopicForm
from bx_gpt_app.screens.frame import Frame
from bx_gpt_app.screens.settings.page import admin_act, admin_view, config_of, link, page, save, who
from integrations.llm.values import Topic

LOOK_BACK = timedelta(days=14)
SHOWN_UNKNOWN = 20
CATCH_ALL = "other"


@admin_view
def topics(request: HttpRequest, frame: Frame) -> HttpResponse:
    return _page(request, frame)


def _page(request: HttpRequest, frame: Frame, *, said: str = "") -> HttpResponse:
    config = config_of(frame)
    counts = _counts(frame.portal)
    context = {
        "topics": [{"topic": topic, "count": counts.get(topic.code, 0)} for topic in config.topics],
        "unknown": unknown_questions(frame.portal),
        "new_url": link(frame, "topic-new"),
        "case_count": frame.portal.cases.count(),
    }
    return page(request, frame, "topics", context, said=said)


def _counts(portal: Portal) -> dict[str, int]:
    from django.db.models import Count

    since = timezone.now() - LOOK_BACK
    rows = Run.objects.filter(portal=portal, started_at__gte=since).exclude(topic="")
    return {row["topic"]: row["n"] for row in rows.values("topic").annotate(n=Count("pk"))}


def unknown_questions(portal: Portal) -> list[dict[str, Any]]:
    """Clients' questions that fitted no topic, the newest first, each once."""
    runs = (
        Run.objects.filter(
            portal=portal,
            started_at__gte=timezone.now() - LOOK_BACK,
            topic__in=("", CATCH_ALL),
            answer__isnull=False,
        )
        .select_related("dialog")
        .order_by("-id")[: SHOWN_UNKNOWN * 3]
    )
    found: dict[str, dict[str, Any]] = {}
    for run in runs:
        asked = Message.objects.filter(dialog=run.dialog, author="client", deleted=False)
        if run.newest_message_id:
            asked = asked.filter(external_id__lte=run.newest_message_id)
        message = asked.order_by("-external_id", "-id").first()
        text = " ".join(message.text.split()) if message else ""
        if text and text.casefold() not in found:
            found[text.casefold()] = {"text": text[:300], "at": run.started_at, "run": run.pk}
        if len(found) >= SHOWN_UNKNOWN:
            break
    return list(found.values())


@admin_view
def edit_topic(request: HttpRequest, frame: Frame, code: str = "") -> HttpResponse:
    config = config_of(frame)
    topic = config.topic(code) if code else None
    if code and topic is None:
        raise Http404
    taken = [one.code for one in config.topics if one is not topic]
    if request.method != "POST":
        initial = topic.model_dump() if topic else _from_question(request, frame.portal)
        return _edit_page(request, frame, TopicForm(initial=initial, taken=taken), topic)
    form = TopicForm(request.POST, taken=taken)
    if form.is_valid():
        new = Topic(**{**form.cleaned_data, "examples": tuple(form.cleaned_data["examples"])})
        listed = [new if one is topic else one for one in config.topics]
        if topic is None:
            listed.append(new)
        documents = [one.model_dump(mode="json") for one in listed]
        whole = store.load_whole(frame.portal)
        knowledge = [
            {**snippet.model_dump(mode="json"), "topic": new.code}
            if topic and snippet.topic == topic.code
            else snippet.model_dump(mode="json")
            for snippet in whole.knowledge
        ]
        if save(frame, form, {"topics": "code"}, topics=documents, knowledge=knowledge):
            if topic and topic.code != new.code:
                portal_cases.rename(frame.portal, topic=(topic.code, new.code))
            return _page(request, frame, said=_("Saved"))
    return _edit_page(request, frame, form, topic, status=422)


def _from_question(request: HttpRequest, portal: Portal) -> dict[str, Any]:
    """A new topic made from a question that fitted none."""
    initial: dict[str, Any] = {"auto": True}
    number = request.GET.get("run", "")
    if number.isdigit():
        known = {one["run"]: one["text"] for one in unknown_questions(portal)}
        initial["examples"] = [known[int(number)]] if int(number) in known else []
    return initial


def _edit_page(
    request: HttpRequest, frame: Frame, form: TopicForm, topic: Topic | None, status: int = 200
) -> HttpResponse:
    return page(
        request,
        frame,
        "topics",
        {"form": form, "topic": topic},
        template="topic_edit",
        status=status,
    )


@admin_act
def delete_topic(request: HttpRequest, frame: Frame, code: str) -> HttpResponse:
    """Its snippets stay and belong to any topic."""
    whole = store.load_whole(frame.portal)
    if whole.topic(code) is None:
        raise Http404
    store.change(
        frame.portal,
        by=who(frame),
        topics=[one.model_dump(mode="json") for one in whole.topics if one.code != code],
        knowledge=[
            {
                **snippet.model_dump(mode="json"),
                "topic": "" if snippet.topic == code else snippet.topic,
            }
            for snippet in whole.knowledge
        ],
    )
    return _page(request, frame, said=_("Deleted"))
