"""“Why was there no answer?” is answered in two clicks: by the message's own menu, and by the log.

Each cause is made to happen; then both screens are read as a person would read them.
"""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import urlencode, urlsplit

import pytest
from django.test import Client

from bx_gpt_app.assistant import pipeline
from bx_gpt_app.assistant.models import Delivery, Dialog, Run
from bx_gpt_app.portals.models import Line, Portal
from tests.screens_settings.conftest import Visitor, text_of
from tests.stories.test_stop import HOURS

WORDS = "Какой у вас режим работы"
QUESTION = f"Здравствуйте! {WORDS}?"
CLOSED_ALL_WEEK = {
    "enabled": True, "opens": "09:00:00", "closes": "18:00:00", "zone": "Europe/Moscow",
    "days_off": ["MO", "TU", "WE", "TH", "FR", "SA", "SU"], "holidays": [],
}  # fmt: skip


def automatic(world, **parts):
    world.configure(**{"mode": "auto", "knowledge": [HOURS], **parts})


def ask(world, **who):
    chat_id = world.client_says(QUESTION, **who)
    world.work()
    return chat_id


def finished(world):
    world.work_until(lambda: Run.objects.filter(state__in=["done", "failed"]).exists(), seconds=20)


def line_off(world, patch):
    world.configure(mode="off")
    return ask(world)


def person_was_faster(world, patch):
    world.configure(mode="suggest", reply={"debounce_seconds": 30})
    chat_id = ask(world)
    world.b24.operator_writes(chat_id, 7, "С 9 до 18")
    world.b24.wait_deliveries()
    world.work()
    return chat_id


def person_leads(world, patch):
    automatic(world)
    chat_id = world.client_says("Здравствуйте!")
    world.b24.operator_writes(chat_id, 7, "Слушаю вас")
    world.b24.wait_deliveries()
    world.work()
    world.client_says(QUESTION, chat_id=chat_id)
    finished(world)
    return chat_id


def budget_is_used_up(world, patch):
    automatic(world, limits={"daily_tokens": 0})
    chat_id = ask(world)
    finished(world)
    return chat_id


def model_is_down(world, patch):
    patch.setattr(pipeline, "PATIENCE", timedelta(0))
    automatic(world)
    world.model.set(mode="error")
    chat_id = ask(world)
    finished(world)
    return chat_id


def error_of_our_own(world, patch):
    automatic(world)
    patch.setattr(pipeline, "TOO_MANY_ATTEMPTS", 1)
    patch.setattr(pipeline, "gather", lambda *args, **more: {}["gone"])
    return ask(world)


def outside_hours(world, patch):
    automatic(world, lines={"22": {"mode": "auto", "working_hours_only": True}})
    Line.objects.filter(line_id=22).update(working_hours=CLOSED_ALL_WEEK)
    chat_id = ask(world)
    finished(world)
    return chat_id


def topic_for_people(world, patch):
    hours = {"code": "hours", "title": "Режим работы", "description": "режим работы, часы"}
    other = {"code": "other", "title": "Другое", "handoff": True}
    automatic(world, topics=[{**hours, "handoff": True}, other])
    chat_id = ask(world)
    finished(world)
    return chat_id


def stop_word(world, patch):
    automatic(world, reply={"debounce_seconds": 0, "stop_words": ["режим"]})
    chat_id = ask(world)
    finished(world)
    return chat_id


def suggestion_mode(world, patch):
    world.configure(mode="suggest", knowledge=[HOURS])
    chat_id = ask(world)
    finished(world)
    return chat_id


def session_closed_meanwhile(world, patch):
    automatic(world)
    chat_id = world.client_says(QUESTION)
    world.on_model_call(lambda: world.b24.finish_session(chat_id))
    world.work_until(lambda: Delivery.objects.filter(state="failed").exists())
    return chat_id


def access_lost(world, patch):
    automatic(world)
    world.portal.move_to("broken", "Доступ отозван")
    return ask(world)


def host_paused(world, patch):
    automatic(world)
    Portal.objects.update(paused=True)
    return ask(world)


def paused_in_chat(world, patch):
    world.configure(mode="suggest")
    chat_id = world.client_says("Здравствуйте!")
    finished(world)
    Dialog.objects.update(suggestions_off=True)
    world.client_says(QUESTION, chat_id=chat_id)
    world.work_until(lambda: Run.objects.filter(reason="suggestions_paused").exists())
    return chat_id


def not_an_open_line(world, patch):
    world.configure(mode="suggest")
    return world.b24.private_chat(7)


def other_bot(world, patch):
    world.configure(mode="suggest")
    portal = world.portal
    portal.bindings = {**portal.bindings, "failed": [["line 22", "other_bot"]]}
    portal.save(update_fields=["bindings"])
    Line.objects.filter(line_id=22).update(connected=False)
    return


def messenger_closed(world, patch):
    automatic(world)
    chat_id = world.client_says("Здравствуйте!")
    world.work_until(lambda: world.b24.delivered(chat_id))
    world.b24.block_chat(chat_id)
    world.client_says(QUESTION, chat_id=chat_id)
    world.work_until(lambda: Run.objects.filter(reason="messenger_closed").exists())
    return chat_id


def stopped_by_the_button(world, patch):
    automatic(world, lines={"22": {"mode": "auto", "delay_seconds": 20}})
    chat_id = ask(world)
    world.work_until(lambda: Delivery.objects.filter(kind="message").exists())
    Visitor(world.portal).post("stop/")
    return chat_id


# cause → words of the message's own page in the chat, words of the log; None: not seen there
CAUSES = {
    line_off: ("выключены", "Линия «Сайт и мессенджеры» выключена"),
    person_was_faster: ("ответил", "Человек ответил раньше"),
    person_leads: ("Диалог ведёт человек", "Диалог ведёт человек"),
    budget_is_used_up: ("Лимит расходов исчерпан", "Лимит расходов исчерпан"),
    model_is_down: ("модел", "модел"),
    error_of_our_own: ("на нашей стороне", "Ошибка на нашей стороне"),
    outside_hours: ("рабочего времени", "рабочего времени"),
    topic_for_people: ("передаются человеку", "передаются человеку"),
    stop_word: ("стоп-слово", "стоп-слово"),
    suggestion_mode: ("в режиме подсказок", "в режиме подсказок"),
    session_closed_meanwhile: ("закрыт", "Диалог в Битрикс24 закрыт"),
    access_lost: ("нет доступа", "Доступ к порталу потерян"),
    host_paused: ("нет доступа", "приостановил"),
    paused_in_chat: ("выключены", "Подсказки в этом чате выключены"),
    not_an_open_line: ("не из открытой линии", "не из открытых линий"),
    other_bot: (None, "встречает другой бот"),
    messenger_closed: ("не принимает", "Мессенджер сейчас не принимает"),
    stopped_by_the_button: ("выключили", "Автоответы выключили"),
}


def page_in_chat(world, chat_id):
    """What the operator's panel says, opened from the menu of the client's last message."""
    asked = [one for one in world.b24.messages(chat_id) if one.text == QUESTION]
    options = {"dialogId": f"chat{chat_id}", "messageId": asked[-1].id if asked else 0}
    form = world.b24.frame(7, "IM_CONTEXT_MENU", options)
    action = urlsplit(form.action)
    page = Client().post(
        f"{action.path}?{action.query}", urlencode(form.fields),
        content_type="application/x-www-form-urlencoded",
    )  # fmt: skip
    assert page.status_code == 200, page.content.decode()[:300]
    return text_of(page)


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.__name__)
def test_why_there_was_no_answer_is_told_beside_the_message_and_in_the_log(
    world, monkeypatch, cause
):
    in_chat, in_log = CAUSES[cause]

    chat_id = cause(world, monkeypatch)

    assert in_log in text_of(Visitor(world.portal).get("log/", q=WORDS))
    if in_chat:
        assert in_chat in page_in_chat(world, chat_id)


@pytest.mark.parametrize("portal_options", [{"deliver_duplicates": 1.0}], ids=["duplicates"])
def test_message_that_came_twice_was_answered_once_and_says_so(world):
    automatic(world)
    chat_id = ask(world)
    world.work_until(lambda: world.b24.delivered(chat_id))

    log = text_of(Visitor(world.portal).get("log/", q=WORDS))

    assert len(world.b24.delivered(chat_id)) == 1
    assert "Помощник ответил" in log
    assert "дважды" in log


def test_message_that_was_answered_together_with_the_next_one_says_so(world):
    automatic(world)
    chat_id = world.client_says(QUESTION)
    world.on_model_call(lambda: world.client_says("И в субботу?", chat_id=chat_id))
    world.work_until(lambda: world.b24.delivered(chat_id))

    log = Visitor(world.portal).get("log/", q=WORDS)

    assert Run.objects.filter(reason="client_wrote_again").exists()
    assert [row["answered"] for row in log.context["messages"]] == ["помощник ответил"]


def test_zero_that_calls_a_person_says_so(world):
    automatic(world)
    world.client_says("0", name="Зоя Нулина")
    world.work()

    log = Visitor(world.portal).get("log/", q="Нулина")

    assert "зовёт человека" in log.context["messages"][0]["why"]


def test_reader_of_the_log_sees_no_phone_and_finds_by_the_client_too(world):
    world.configure(mode="suggest")
    world.client_says("Мой телефон +7 916 123-45-67", name="Анна Петрова")
    finished(world)

    log = Visitor(world.portal).get("log/", q="Петрова")

    assert log.context["messages"][0]["who"] == "Анна Петрова"
    assert "123-45-67" not in text_of(log)
