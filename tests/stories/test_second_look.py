"""A reply that must be tried again: before each new attempt its reasons are looked at once more."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from bx_gpt_app.assistant.models import Delivery, Dialog, Run

SEND = "imbot.v2.Chat.Message.send"
HOURS = {"title": "Режим работы", "text": "Мы работаем Пн–Пт с 9:00 до 18:00."}
QUESTION = "Какой у вас режим работы?"
REPLY = "Здравствуйте! Мы работаем Пн–Пт с 9:00 до 18:00."
TROUBLES = {
    "the portal has too much to do": {"status": 503, "error": "QUERY_LIMIT_EXCEEDED"},
    "the connection breaks": {"status": 500, "error": "", "drop": True},
    "the portal is down for a moment": {"status": 502, "error": "BAD_GATEWAY"},
}


@contextmanager
def meanwhile(world, act: Callable[[], object]) -> Iterator[None]:
    """Do something once the first attempt has reached the portal."""

    def wait_and_act() -> None:
        world.b24.wait_until(lambda: SEND in world.requests, 10)
        act()

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    yield
    thread.join()


def fail_once(world, trouble: dict, **more) -> None:
    world.b24.fail_next(SEND, **{"times": 1, **trouble, **more})


def fail_for_seconds(world, trouble: dict) -> None:
    """Every attempt of the first try, so that the act has come before a later one succeeds."""
    fail_once(world, trouble, times=2 if "QUERY" in trouble["error"] else 3)


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES)
def test_operator_who_answers_before_the_second_attempt_is_not_talked_over(world, trouble):
    world.configure(mode="auto", knowledge=[HOURS])
    fail_for_seconds(world, trouble)
    chat_id = world.client_says(QUESTION)

    with meanwhile(world, lambda: world.b24.operator_writes(chat_id, 7, "Слушаю вас")):
        world.work_until(lambda: Delivery.objects.filter(state="cancelled").exists(), 20)

    assert world.b24.delivered(chat_id) == ["Слушаю вас"]
    assert Run.objects.get().reason == "person_answered_first"
    assert Dialog.objects.get().owner == "operator"


def test_client_who_writes_on_before_the_second_attempt_gets_one_reply(world):
    world.configure(mode="auto", knowledge=[HOURS])
    fail_for_seconds(world, TROUBLES["the portal has too much to do"])
    chat_id = world.client_says(QUESTION)

    with meanwhile(world, lambda: world.b24.client_writes("И в субботу?", chat_id=chat_id)):
        world.work_until(lambda: Run.objects.filter(state="done").count() == 2, 20)

    assert len(world.b24.delivered(chat_id)) == 1


def test_reply_that_was_out_before_the_connection_broke_is_found_and_not_repeated(world):
    world.configure(mode="auto", knowledge=[HOURS])
    fail_once(world, TROUBLES["the connection breaks"], after_executing=True)
    chat_id = world.client_says(QUESTION)

    with meanwhile(world, lambda: world.b24.operator_writes(chat_id, 7, "Слушаю вас")):
        world.work_until(lambda: Delivery.objects.filter(kind="message", state="sent").exists(), 20)

    assert world.b24.delivered(chat_id).count(REPLY) == 1
    assert world.requests.count(SEND) == 1
    assert Dialog.objects.get().messages.filter(author="bot", text=REPLY).count() == 1


def test_reply_that_could_not_be_sent_is_dropped_when_the_client_wrote_on(world):
    world.configure(mode="auto", knowledge=[HOURS])
    fail_once(world, TROUBLES["the connection breaks"], times=6)
    chat_id = world.client_says(QUESTION)
    world.work_until(lambda: Delivery.objects.filter(state="sending").exists(), 20)

    world.client_says("А в субботу какой режим?", chat_id)
    world.work_until(lambda: Run.objects.filter(state="done").count() == 2, 30)

    assert len(world.b24.delivered(chat_id)) == 1
    assert Delivery.objects.filter(problem_code="client_wrote_again", state="cancelled").exists()
