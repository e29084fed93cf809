"""The view from a message's menu: what became of that message, and an answer to it alone."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from bx_gpt_app.assistant.fate import fate_of
from bx_gpt_app.assistant.models import Delivery, Dialog, Message, Run
from bx_gpt_app.assistant.reasons import in_words
from bx_gpt_app.screens.draft import read_scene, state_of
from tests.factories import configure, make_dialog, make_line, make_message, make_portal
from tests.screens_operator.conftest import Visitor, make_frame, make_run, make_suggestion

QUESTION, LATER = "Сколько стоит доставка?", "И ещё: вы работаете в субботу?"


@pytest.fixture
def dialog(db) -> Dialog:
    portal = make_portal()
    make_line(portal, 22)
    return make_dialog(portal)


@pytest.fixture
def earlier(dialog) -> Message:
    """A question that the client has asked before another one."""
    message = make_message(dialog, QUESTION)
    make_run(dialog, trigger="message")
    make_message(dialog, LATER, at=timezone.now() + timedelta(seconds=5))
    return message


@pytest.fixture
def visitor(client, dialog) -> Visitor:
    return Visitor(client, make_frame(dialog.portal, placement="IM_CONTEXT_MENU"), dialog)


# ---- the door ----


def of_chat(stand, *texts):
    """A chat of the portal that we have heard of, its messages known to us."""
    chat_id, first = stand.b24.client_writes(texts[0])
    ids = [first, *(stand.b24.client_writes(text, chat_id=chat_id)[1] for text in texts[1:])]
    dialog = make_dialog(stand.portal, chat_id=chat_id)
    for number, text in zip(ids, texts, strict=True):
        make_message(dialog, text, external_id=number)
    return dialog, ids


@pytest.fixture
def stand(stand):
    stand.portal = stand.installed()
    make_line(stand.portal, 22)
    return stand


def from_menu(stand, dialog_id, message_id, user_id=7):
    options = {"dialogId": dialog_id, "messageId": str(message_id)}
    return stand.open(user_id, "IM_CONTEXT_MENU", options, language="en")


def test_menu_of_an_earlier_message_offers_an_answer_to_it(stand):
    dialog, [first, _last] = of_chat(stand, QUESTION, LATER)
    make_suggestion(dialog, "Да, по субботам до 16:00.")

    page = from_menu(stand, dialog.dialog_id, first)

    text = page.content.decode()
    assert QUESTION in text
    assert "This is not the client’s last message." in text
    assert "Suggest an answer to this message" in text
    assert f"/dialogs/{dialog.pk}/now/?m={first}" in text
    assert "по субботам" not in text


def test_menu_of_the_last_message_shows_its_draft(stand):
    dialog, [_first, last] = of_chat(stand, QUESTION, LATER)
    make_suggestion(dialog, "Да, по субботам до 16:00.")

    text = from_menu(stand, dialog.dialog_id, last).content.decode()

    assert "по субботам" in text
    assert "Chosen message" in text
    assert "not the client’s last message" not in text


def test_message_from_before_the_installation_is_read_with_the_visitors_own_token(stand):
    chat_id, first = stand.b24.client_writes(QUESTION)
    stand.b24.client_writes(LATER, chat_id=chat_id)

    text = from_menu(stand, f"chat{chat_id}", first).content.decode()

    assert QUESTION in text
    assert "The assistant did not hear it" in text
    told = [call for call in stand.b24.rest_log if call.method.endswith("session.history.get")]
    assert [call.user_id for call in told] == [7]
    assert set(Message.objects.values_list("text", flat=True)) >= {QUESTION, LATER}


@pytest.mark.parametrize("whose", ["of another chat", "of nobody"])
def test_forged_message_shows_nothing_of_it(stand, whose):
    dialog, _ids = of_chat(stand, QUESTION)
    chat_id, foreign = stand.b24.client_writes("Чужая тайна", name="Пётр")
    make_message(make_dialog(stand.portal, chat_id=chat_id), "Чужая тайна", external_id=foreign)
    number = foreign if whose == "of another chat" else 999_999

    page = from_menu(stand, dialog.dialog_id, number)

    text = page.content.decode()
    assert page.status_code == 200
    assert "The chosen message could not be read" in text
    assert "Чужая тайна" not in text


def test_message_of_a_chat_that_the_portal_does_not_show_opens_nothing(stand):
    dialog, [first] = of_chat(stand, QUESTION)

    page = from_menu(stand, dialog.dialog_id, first, user_id=9)

    assert page.status_code == 403
    assert QUESTION not in page.content.decode()


# ---- the view ----


def states(dialog, earlier) -> tuple[str, str]:
    """Of the ordinary view, and of the view from the earlier message."""
    dialog.refresh_from_db()
    usual = read_scene(dialog, dialog.portal)
    apart = read_scene(dialog, dialog.portal, chosen_id=earlier.external_id)
    return state_of(usual), state_of(apart)


def test_answer_to_an_earlier_message_is_apart_from_the_draft_for_the_last_one(dialog, earlier):
    asked = {"trigger": Run.CHOSEN, "newest_message_id": earlier.external_id}
    number = earlier.external_id

    assert states(dialog, earlier) == ("waiting", "waiting")
    make_suggestion(dialog)
    assert states(dialog, earlier) == ("ready", "waiting")
    run = make_run(dialog, state="thinking", **asked)
    assert states(dialog, earlier) == ("ready", "generating")
    Run.objects.filter(pk=run.pk).update(state="failed", reason="timeout")
    assert states(dialog, earlier) == ("ready", "error")
    Run.objects.filter(pk=run.pk).update(state="done", reason="asked_by_operator")
    suggestion = make_suggestion(dialog, "490 ₽", run=run, answered_message_id=number)
    assert states(dialog, earlier) == ("ready", "ready")
    assert read_scene(dialog, dialog.portal).suggestion != suggestion
    suggestion.state = "sent"
    suggestion.save(update_fields=["state"])
    assert states(dialog, earlier) == ("ready", "sent")


def test_what_the_client_writes_now_is_no_work_on_the_earlier_message(dialog, earlier):
    Dialog.objects.update(quiet_until=timezone.now(), client_waits_since=timezone.now())

    assert states(dialog, earlier) == ("generating", "waiting")


def test_operator_asks_for_the_earlier_message_and_calls_it_off(visitor, dialog, earlier):
    configure(dialog.portal, mode="suggest")
    about = f"?m={earlier.external_id}"
    make_run(dialog, state="thinking", trigger=Run.REGENERATE)

    asked = visitor.post(f"now/{about}").content.decode()
    visitor.post(f"now/{about}")

    run = Run.objects.get(trigger=Run.CHOSEN)
    assert run.newest_message_id == earlier.external_id
    assert 'data-state="generating"' in asked
    assert f"/cancel/{about}" in asked
    assert f"&amp;run={run.pk}&amp;m={earlier.external_id}" in asked
    visitor.post(f"cancel/{about}")
    run.refresh_from_db()
    assert (run.state, run.reason) == ("superseded", "cancelled_by_operator")
    assert Run.objects.get(trigger=Run.REGENERATE).state == "thinking"


def test_every_address_of_the_view_keeps_to_the_message(visitor, dialog, earlier):
    number = earlier.external_id
    run = make_run(dialog, trigger=Run.CHOSEN, newest_message_id=number)
    for text in ("490 ₽", "Доставка стоит 490 ₽"):
        make_suggestion(dialog, text, run=run, answered_message_id=number)

    page = visitor.get(f"?m={number}").content.decode()

    deeds = ("draft", "send", "used", "regenerate", "rate", "topic", "pause")
    for deed in deeds:
        addresses = [part.partition('"')[0] for part in page.split(f"{visitor.url()}{deed}/")[1:]]
        assert addresses, deed
        assert all(f"m={number}" in address for address in addresses), deed
    assert f'href="{visitor.url()}"' in page, "the way back to the last message"


def test_unchanged_poll_about_a_message_is_empty(visitor, dialog, earlier):
    dialog.refresh_from_db()

    same = visitor.get(f"draft/?rev={dialog.rev}&v=&t=&m={earlier.external_id}")
    other = visitor.get(f"draft/?rev={dialog.rev + 1}&v=&t=&m={earlier.external_id}")

    assert same.status_code == 204
    assert QUESTION in other.content.decode()


def test_message_of_another_dialog_is_not_shown_or_answered(visitor, dialog, earlier):
    stranger = make_message(make_dialog(dialog.portal, chat_id=113), "Чужая тайна")
    Message.objects.filter(pk=stranger.pk).update(external_id=777)

    page = visitor.get("?m=777").content.decode()
    visitor.post("now/?m=777")

    assert "Чужая тайна" not in page
    assert "could not be read" in page
    assert not Run.objects.filter(trigger=Run.CHOSEN).exists()


# ---- why there was no answer ----


def bot_answers(dialog):
    run = make_run(dialog, trigger="message", decision="send", reason="auto")
    message = make_message(dialog, "490 ₽", author="bot")
    Delivery.objects.create(
        portal=dialog.portal, dialog=dialog, run=run, kind="message", state="sent",
        result={"message_id": message.external_id},
    )  # fmt: skip


def bot_calls_a_person(dialog):
    make_run(
        dialog, trigger="message", decision="hand_over", reason="stop_word", reason_detail="суд"
    )
    make_message(dialog, "Передаю вопрос коллеге", author="bot")


def person_answers_first(dialog):
    make_message(dialog, "490", author="operator", author_name="Сергей")
    make_message(dialog, LATER)
    make_run(dialog, trigger="message")


def reply_is_refused(dialog):
    run = make_run(dialog, trigger="message", decision="send", reason="auto")
    Delivery.objects.create(
        portal=dialog.portal, dialog=dialog, run=run, kind="message", state="failed",
        problem_code="sending_failed",
    )  # fmt: skip


def reply_waits(dialog):
    run = make_run(dialog, trigger="message", decision="send", reason="auto", state="decided")
    Delivery.objects.create(portal=dialog.portal, dialog=dialog, run=run, kind="message")


def client_wrote_meanwhile(dialog):
    make_run(dialog, trigger="message", state="superseded", reason="client_wrote_again")
    make_message(dialog, LATER)
    make_run(dialog, trigger="message", state="thinking")


def just_heard(dialog):
    Dialog.objects.update(client_waits_since=timezone.now())


def quarantined(dialog):
    Dialog.objects.update(quarantined_at=timezone.now())


def suggested(dialog):
    make_run(dialog, trigger="message", decision="suggest", reason="topic_not_automatic")


@pytest.mark.parametrize(
    ("arrange", "why"),
    [
        (bot_answers, ""),
        (bot_calls_a_person, "суд"),
        (person_answers_first, in_words("person_answered_first")),
        (reply_is_refused, "The messenger did not take the message."),
        (reply_waits, "The reply is on its way."),
        (client_wrote_meanwhile, "The assistant is working on it."),
        (just_heard, "The assistant is working on it."),
        (quarantined, "Something went wrong on our side."),
        (suggested, in_words("topic_not_automatic")),
        (lambda dialog: None, "The assistant did not hear it"),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_fate_of_a_clients_message_is_told_in_words(dialog, arrange, why):
    message = make_message(dialog, QUESTION)
    arrange(dialog)
    message.refresh_from_db()

    told = fate_of(message).why

    assert told == why if not why else why in told


def test_reason_of_the_assistants_own_message_and_of_a_colleagues(visitor, dialog):
    make_message(dialog, QUESTION)
    bot_answers(dialog)
    own = dialog.messages.get(author="bot")
    colleague = make_message(dialog, "Сергей пишет", author="operator")

    reply = visitor.get(f"?m={own.external_id}").content.decode()
    other = visitor.get(f"?m={colleague.external_id}").content.decode()

    assert "Why the assistant wrote this:" in reply
    assert in_words("auto") in reply
    assert "This message is not the client’s." in other
    assert "Why the assistant" not in other


def test_answers_of_our_side_are_named(visitor, dialog):
    message = make_message(dialog, QUESTION)
    person_answers_first(dialog)

    page = visitor.get(f"?m={message.external_id}").content.decode()

    assert "Сергей answered at" in page
    assert "Why the assistant did not reply:" in page
