"""The knowledge base: snippets, files read into it, and the questions it does not answer yet."""

from __future__ import annotations

import json
from typing import Any

from django.core.paginator import Paginator
from django.db.models import F, Q
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from pydantic import ValidationError

from bx_gpt_app.assistant.config import SnippetConfig
from bx_gpt_app.assistant.knowledge import add_snippets, decide_question, snippet_from_answer
from bx_gpt_app.assistant.knowledge_import import (
    CannotRead,
    Preview,
    preview,
    read_file,
    read_page,
    read_text,
)
from bx_gpt_app.assistant.models import Message, Question, Snippet
from bx_gpt_app.portals.clients import http_session
from bx_gpt_app.screens.forms import ImportForm, SnippetForm
from bx_gpt_app.screens.frame import Frame
from bx_gpt_app.screens.settings.page import admin_act, admin_view, config_of, link, page, who
from bx_gpt_app.screens.settings.sealed import NotOurs, TooMuch, seal, unseal

PER_PAGE = 30
PREVIEW = 20


@admin_view
def knowledge(request: HttpRequest, frame: Frame) -> HttpResponse:
    return _page(request, frame)


def _page(request: HttpRequest, frame: Frame, *, said: str = "") -> HttpResponse:
    config = config_of(frame)
    words, topic = request.GET.get("q", "").strip()[:100], request.GET.get("topic", "")
    show = request.GET.get("show", "")
    today = timezone.localdate()
    rows = frame.portal.snippets.all()
    if words:
        rows = rows.filter(Q(title__icontains=words) | Q(text__icontains=words))
    if topic:
        rows = rows.filter(topic=topic)
    if show == "internal":
        rows = rows.filter(internal=True)
    elif show == "old":
        rows = rows.filter(valid_until__lt=today)
    elif show == "unused":
        rows = rows.filter(uses=0)
    found = Paginator(rows, PER_PAGE).get_page(request.GET.get("page"))
    titles = {one.code: one.title for one in config.topics}
    filters = {"q": words, "topic": topic, "show": show}
    context = {
        "page": found,
        "rows": [
            {
                "snippet": row,
                "topic": titles.get(row.topic, ""),
                "old": bool(row.valid_until and row.valid_until < today),
            }
            for row in found
        ],
        "total": frame.portal.snippets.count(),
        "query": urlencode({k: v for k, v in filters.items() if v}) + "&"
        if any(filters.values())
        else "",
        "filters": filters,
        "topics": config.topics,
        **_tabs(frame, "list"),
    }
    return page(request, frame, "knowledge", context, said=said)


def _tabs(frame: Frame, tab: str) -> dict[str, Any]:
    return {"tab": tab, "open_questions": _open(frame).count()}


def _open(frame: Frame) -> Any:
    return frame.portal.questions.filter(state=Question.State.OPEN)


@admin_view
def edit_snippet(request: HttpRequest, frame: Frame, pk: int = 0) -> HttpResponse:
    """One snippet. It is written by itself, so its uses and its id stay."""
    config = config_of(frame)
    row = frame.portal.snippets.filter(pk=pk).first() if pk else None
    if pk and row is None:
        raise Http404
    if request.method != "POST":
        initial = {"topic": request.GET.get("topic", "")}
        if row:
            initial = {
                name: getattr(row, name)
                for name in ("title", "text", "topic", "url", "valid_until", "internal")
            }
        form = SnippetForm(initial=initial, config=config)
        return _edit_page(request, frame, form, row)
    form = SnippetForm(request.POST, config=config)
    if form.is_valid() and _store(frame, form, row):
        return _page(request, frame, said=_("Saved"))
    return _edit_page(request, frame, form, row, status=422)


def _store(frame: Frame, form: SnippetForm, row: Snippet | None) -> bool:
    data = form.cleaned_data
    day = data["valid_until"]
    try:
        checked = SnippetConfig(
            title=data["title"],
            text=data["text"],
            url=data["url"],
            topic=data["topic"],
            internal=data["internal"],
            valid_until=day.isoformat() if day else None,
        )
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_input=False):
            form.add_error(str(problem["loc"][0]), problem["msg"])
        return False
    if row is None:
        add_snippets(frame.portal, [checked], origin=who(frame))
        return True
    row.title, row.text, row.url = checked.title, checked.text, checked.url
    row.topic, row.internal, row.valid_until = checked.topic, checked.internal, day
    row.save(
        update_fields=["title", "text", "url", "topic", "internal", "valid_until", "updated_at"]
    )
    return True


def _edit_page(
    request: HttpRequest, frame: Frame, form: SnippetForm, row: Snippet | None, status: int = 200
) -> HttpResponse:
    context = {"form": form, "snippet": row}
    return page(request, frame, "knowledge", context, template="snippet_edit", status=status)


@admin_act
def delete_snippet(request: HttpRequest, frame: Frame, pk: int) -> HttpResponse:
    if not frame.portal.snippets.filter(pk=pk).delete()[0]:
        raise Http404
    return _page(request, frame, said=_("Deleted"))


# ---- reading texts in ----


@admin_view
def import_text(request: HttpRequest, frame: Frame) -> HttpResponse:
    """Cut a text, a file or a page into snippets and show them; agreed to, they are added."""
    if request.method != "POST":
        return _import_page(request, frame, ImportForm())
    if request.POST.get("sealed"):
        return _add(request, frame)
    form = ImportForm(request.POST, request.FILES)
    if not form.is_valid():
        return _import_page(request, frame, form, status=422)
    try:
        found = _read(frame, form)
    except CannotRead as error:
        given = next(name for name in ("file", "url", "text") if form.cleaned_data.get(name))
        form.add_error(given, str(error))
        return _import_page(request, frame, form, status=422)
    try:
        sealed = _sealed(frame, found)
    except TooMuch:
        too_much = ngettext(
            "%(n)s snippet was read: too much text for one go. Split it into several files, "
            "nothing was added yet.",
            "%(n)s snippets were read: too much text for one go. Split it into several files, "
            "nothing was added yet.",
            len(found.snippets),
        )
        form.add_error(None, too_much % {"n": len(found.snippets)})
        return _import_page(request, frame, form, status=422)
    context = {
        "found": found,
        "shown": found.snippets[:PREVIEW],
        "more": max(0, len(found.snippets) - PREVIEW),
        "sealed": sealed,
        **_tabs(frame, "import"),
    }
    return page(request, frame, "knowledge", context, template="knowledge_preview")


def _read(frame: Frame, form: ImportForm) -> Preview:
    """Raises: CannotRead."""
    data, topics = form.cleaned_data, config_of(frame).topics
    known = set(frame.portal.snippets.values_list("title", "text"))
    if data["file"]:
        return read_file(data["file"].name, data["file"].read(), topics=topics, known=known)
    if data["url"]:
        # The process's own session: it refuses private addresses, also behind a redirect.
        return read_page(data["url"], session=http_session(), topics=topics, known=known)
    return preview(read_text(data["text"]), origin=who(frame), topics=topics, known=known)


def _sealed(frame: Frame, found: Preview) -> str:
    """What was understood. Raises: TooMuch."""
    rows = [snippet.model_dump(mode="json") for snippet in found.snippets]
    return seal(
        frame.portal, json.dumps({"origin": found.origin, "rows": rows}, ensure_ascii=False)
    )


def _add(request: HttpRequest, frame: Frame) -> HttpResponse:
    try:
        agreed = json.loads(unseal(frame.portal, request.POST["sealed"]))
    except NotOurs:
        raise Http404 from None
    snippets = [SnippetConfig.model_validate(row) for row in agreed["rows"]]
    added = add_snippets(frame.portal, snippets, origin=agreed["origin"])
    said = ngettext("%(n)s snippet added", "%(n)s snippets added", added) % {"n": added}
    return _page(request, frame, said=said)


def _import_page(
    request: HttpRequest, frame: Frame, form: ImportForm, status: int = 200
) -> HttpResponse:
    context = {"form": form, **_tabs(frame, "import")}
    return page(request, frame, "knowledge", context, template="knowledge_import", status=status)


# ---- questions without an answer ----


@admin_view
def unanswered(request: HttpRequest, frame: Frame) -> HttpResponse:
    """The queue; POST turns an answer into a snippet, or lays the question aside."""
    said = ""
    if request.method == "POST":
        number = request.POST.get("question", "")
        question = _open(frame).filter(pk=int(number) if number.isdigit() else 0).first()
        if question is None:
            raise Http404
        if request.POST.get("do") == "dismiss":
            decide_question(question, Question.State.DISMISSED, by=who(frame))
            said = _("Laid aside")
        else:
            try:
                snippet_from_answer(question, request.POST.get("answer", "").strip(), who(frame))
            except ValidationError:
                return _questions(request, frame, wrong=question.pk, status=422)
            said = _("Added to the knowledge base")
    return _questions(request, frame, said=said)


def _questions(
    request: HttpRequest, frame: Frame, *, said: str = "", wrong: int = 0, status: int = 200
) -> HttpResponse:
    rows = _open(frame).annotate(asked=F("similar") + 1)
    found = Paginator(rows, PREVIEW).get_page(request.GET.get("page"))
    titles = {one.code: one.title for one in config_of(frame).topics}
    context = {
        "page": found,
        "rows": [
            {
                "question": row,
                "topic": titles.get(row.topic, ""),
                "answer": request.POST.get("answer", "") if row.pk == wrong else _answer_of(row),
                "wrong": row.pk == wrong,
                "run_url": link(frame, "run", pk=row.run_id) if row.run_id else "",
            }
            for row in found
        ],
        **_tabs(frame, "unanswered"),
    }
    return page(
        request, frame, "knowledge", context, template="unanswered", said=said, status=status
    )


def _answer_of(question: Question) -> str:
    """What an operator wrote after the question: most often it is the answer."""
    if not question.dialog_id or not question.run:
        return ""
    answer = (
        Message.objects.filter(
            dialog_id=question.dialog_id,
            author="operator",
            deleted=False,
            at__gte=question.run.started_at,
        )
        .order_by("at", "id")
        .first()
    )
    return answer.text if answer else ""
