"""Questions that the knowledge does not answer, and how a person's answer becomes knowledge."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from pydantic import ValidationError

from bx_gpt_app.assistant.knowledge import (
    decide_question,
    note_unanswered,
    retrieve,
    snippet_from_answer,
)
from bx_gpt_app.assistant.models import Question, Run, Snippet, Suggestion
from bx_gpt_app.assistant.retention import erase, forget_old
from bx_gpt_app.flow import Context, Judgement
from integrations.llm.values import Answer, Author, Band, CheckedReply, Source, Turn
from tests.factories import configure, make_app, make_dialog, make_message, make_portal

pytestmark = pytest.mark.django_db


@pytest.fixture
def portal():
    return make_portal(grant=False)


def make_run(portal, **values):
    dialog = portal.dialogs.first() or make_dialog(portal)
    return Run.objects.create(portal=portal, dialog=dialog, **values)


def context_of(*texts, sources=()):
    turns = [Turn(author=Author.CLIENT, text="Здравствуйте"), Turn(author=Author.BOT, text="Да?")]
    turns += [Turn(author=Author.CLIENT, text=text) for text in texts]
    return Context(conversation=tuple(turns), now=timezone.now(), sources=tuple(sources))


def judgement_of(reply="Уточню у коллег.", *, needs_human=True, band=Band.CONFIDENT, sources=()):
    return Judgement(
        answer=Answer(reply=reply, needs_human=needs_human),
        reply=CheckedReply(text=reply, band=band, sources=tuple(sources)),
        needs_human=needs_human,
        topic="sales",
    )


SOURCE = Source(key="s1", title="Доставка", text="Возим.")


@pytest.mark.parametrize(
    ("judgement", "noted"),
    [
        (judgement_of(), True),
        (judgement_of(needs_human=False, band=Band.CHECK), True),
        (judgement_of("", needs_human=False), True),
        (judgement_of(needs_human=False), False),
        (judgement_of(sources=["s1"]), False),
        (judgement_of(sources=["prompt"]), True),
    ],
    ids=["gives up", "doubtful", "empty", "asks back", "has a source", "prompt is no knowledge"],
)
def test_question_is_noted_when_no_source_stands_behind_the_reply(portal, judgement, noted):
    context = context_of("Можно ли вернуть вскрытый котёл?", sources=[SOURCE])

    question = note_unanswered(make_run(portal), context, judgement)

    assert (question is not None) == noted
    assert Question.objects.count() == int(noted)


@pytest.mark.parametrize("text", ["спасибо!", "ок", "👍", "позовите"])
def test_small_talk_is_no_question(portal, text):
    assert note_unanswered(make_run(portal), context_of(text), judgement_of()) is None


def test_a_model_that_is_down_leaves_no_question(portal):
    run = make_run(portal, state=Run.State.FAILED)

    assert (
        note_unanswered(run, context_of("Можно ли вернуть вскрытый котёл?"), judgement_of()) is None
    )


def test_question_keeps_no_phone_and_no_older_messages(portal):
    context = context_of("Вернёте ли вскрытый котёл?", "звоните +7 916 123-45-67, a@b.ru")

    question = note_unanswered(make_run(portal), context, judgement_of())

    assert "вскрытый котёл" in question.text
    assert "916" not in question.text
    assert "a@b.ru" not in question.text
    assert "Здравствуйте" not in question.text


def test_near_equal_questions_are_one(portal):
    run = make_run(portal)
    first = note_unanswered(run, context_of("Можно ли вернуть вскрытый котёл?"), judgement_of())

    second = note_unanswered(run, context_of("а вскрытые котлы вернуть можно"), judgement_of())
    third = note_unanswered(run, context_of("Есть ли у вас подарочные карты?"), judgement_of())

    assert second.pk == first.pk
    assert third.pk != first.pk
    first.refresh_from_db()
    assert first.similar == 1


def test_decided_questions_and_other_portals_take_no_new_ones(portal):
    stranger = make_portal(registration=make_app("other"), grant=False)
    context = context_of("Можно ли вернуть вскрытый котёл?")
    first = note_unanswered(make_run(portal), context, judgement_of())
    decide_question(first, Question.State.DISMISSED, by="Анна")

    second = note_unanswered(make_run(portal), context, judgement_of())
    third = note_unanswered(make_run(stranger), context, judgement_of())

    assert len({first.pk, second.pk, third.pk}) == 3


def test_answer_to_a_question_becomes_knowledge_once(portal):
    question = note_unanswered(
        make_run(portal), context_of("Можно ли вернуть вскрытый котёл?"), judgement_of()
    )

    row = snippet_from_answer(question, "Нет, только невскрытый.", by="Анна")
    again = snippet_from_answer(question, "Нет, только невскрытый.", by="Анна")

    question.refresh_from_db()
    assert again.pk == row.pk
    assert (question.state, question.snippet_id, question.decided_by) == (
        "answered",
        row.pk,
        "Анна",
    )
    assert (row.title, row.topic) == ("Можно ли вернуть вскрытый котёл?", "sales")
    assert retrieve(portal, "вернуть котёл")[0].text == "Нет, только невскрытый."


def test_edited_suggestion_becomes_knowledge_under_the_clients_question(portal):
    configure(portal, topics=[{"code": "service", "title": "Сервис"}])
    run = make_run(portal, topic="sales")
    asked = make_message(run.dialog, "Есть трейд-ин? мой номер +7 916 123-45-67")
    suggestion = Suggestion.objects.create(
        portal=portal,
        dialog=run.dialog,
        run=run,
        text="Не знаю",
        band="check",
        answered_message_id=asked.external_id,
    )
    make_message(run.dialog, "Алло")

    row = snippet_from_answer(suggestion, "Да, трейд-ин есть.", by="Анна")

    assert row.title.startswith("Есть трейд-ин?")
    assert "916" not in row.title
    assert row.topic == "", "the topic is gone from the configuration"


def test_empty_answer_is_refused(portal):
    question = note_unanswered(
        make_run(portal), context_of("Можно ли вернуть вскрытый котёл?"), judgement_of()
    )

    with pytest.raises(ValidationError):
        snippet_from_answer(question, "", by="Анна")

    assert Snippet.objects.count() == 0


def test_only_the_first_decision_counts(portal):
    question = note_unanswered(
        make_run(portal), context_of("Можно ли вернуть вскрытый котёл?"), judgement_of()
    )

    assert decide_question(question, Question.State.DISMISSED, by="Анна")
    assert not decide_question(question, Question.State.ANSWERED, by="Пётр")


def test_question_outlives_its_dialog_but_not_its_portals_data(portal):
    run = make_run(portal)
    note_unanswered(run, context_of("Можно ли вернуть вскрытый котёл?"), judgement_of())
    forget_old(timezone.now() + timedelta(days=1))
    assert Question.objects.get().dialog is None

    erase(portal)

    assert Question.objects.count() == 0
