"""A worker dies at any moment, ten times: nothing is lost, nothing is done twice."""

from __future__ import annotations

import time

from bx_gpt_app.assistant.models import Dialog
from tests.kill.helpers import ask, assert_each_has_one_answer, nothing_is_open, wait_until

KILLS = 10


def phones(world, item: str) -> list[str]:
    return world.multifield(world.b24.item(1, int(item.removeprefix("LEAD_"))), "PHONE")


def test_killing_the_worker_ten_times_loses_and_repeats_nothing(world, workers):
    world.model.set(latency_ms=300)
    chats: list[int] = []
    for number in range(KILLS):
        worker, calls = workers.start(), world.model.calls
        chats += [ask(world, len(chats) + n) for n in (1, 2, 3)]
        wait_until(lambda calls=calls: world.model.calls > calls, 30, world)
        time.sleep(number * 0.05)  # before, during and after the answer of the model
        worker.kill()

    workers.start()
    wait_until(nothing_is_open, 45, world)

    assert_each_has_one_answer(world, chats)
    items = Dialog.objects.values_list("items", flat=True)
    assert sorted(phones(world, item) for (item,) in items) == [
        [f"+7916{number:07d}"] for number in range(1, len(chats) + 1)
    ]
