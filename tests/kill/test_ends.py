"""A worker ends politely, or freezes and wakes up when others have done its work."""

from __future__ import annotations

import signal
import sqlite3
import time

from django.db import connection

from bx_gpt_app.assistant.models import (
    Delivery,
    Dialog,
    Event,
    FieldValue,
    Message,
    Run,
    Spending,
    Suggestion,
)
from tests.kill.helpers import ask, assert_each_has_one_answer, nothing_is_open, wait_until

TRUTH = (Dialog, Event, Message, Run, Suggestion, FieldValue, Delivery, Spending)


def test_sigterm_lets_the_worker_finish_what_it_has_in_hand(world, workers):
    world.model.set(latency_ms=1000)
    worker = workers.start()
    chats = [ask(world, number) for number in range(1, 6)]
    wait_until(lambda: world.model.calls == len(chats), 30, world)

    assert worker.stop() == 0

    assert_each_has_one_answer(world, chats)
    assert nothing_is_open()


def test_worker_that_was_frozen_past_its_lease_writes_and_sends_nothing_more(world, workers):
    world.model.set(latency_ms=1000)
    frozen = workers.start()
    chat_id = ask(world, 1)
    wait_until(lambda: world.model.calls == 1, 30, world)
    freeze(frozen)

    other = workers.start()
    wait_until(lambda: world.b24.delivered(chat_id), 30, world)
    wait_until(nothing_is_open, 10, world)
    assert other.stop() == 0
    before = truth()
    frozen.signal(signal.SIGCONT)
    wait_until(lambda: "lease lost" in frozen.log.read_text(), 15, world)

    assert frozen.stop() == 0
    assert truth() == before
    assert_each_has_one_answer(world, [chat_id])


def freeze(worker) -> None:
    """Stop the process, but not inside a transaction: SQLite would be locked for everybody."""
    for _ in range(50):
        worker.signal(signal.SIGSTOP)
        if connection.vendor != "sqlite" or is_writable():
            return
        worker.signal(signal.SIGCONT)
        time.sleep(0.02)
    raise AssertionError("the worker holds the database all the time")


def is_writable() -> bool:
    database = sqlite3.connect(connection.settings_dict["NAME"], timeout=0.3)
    try:
        database.execute("BEGIN IMMEDIATE")
        database.rollback()
    except sqlite3.OperationalError:
        return False
    finally:
        database.close()
    return True


def truth() -> dict[str, list[dict[str, object]]]:
    """Every row that a worker writes about dialogs."""
    return {model.__name__: list(model.objects.order_by("pk").values()) for model in TRUTH}
