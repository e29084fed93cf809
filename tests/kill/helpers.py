"""What the tests of dying workers ask of the world around them."""

from __future__ import annotations

import time
from collections.abc import Callable

from bx_gpt_app.assistant.models import Delivery, Dialog, Event, Run

QUESTION = "Я Иван Петров, телефон +7 916 {number:07d}. Какой у вас режим работы?"


def wait_until(done: Callable[[], object], seconds: float, world) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, world.describe()
        time.sleep(0.05)


def ask(world, number: int) -> int:
    chat_id, _message_id = world.b24.client_writes(QUESTION.format(number=number))
    return chat_id


def nothing_is_open() -> bool:
    return not (
        Event.objects.filter(done_at__isnull=True).exists()
        or Delivery.objects.filter(state__in=Delivery.OPEN).exists()
        or Run.objects.exclude(state__in=["done", "superseded", "failed"]).exists()
        or Dialog.objects.filter(leased_until__isnull=False).exists()
    )


def assert_each_has_one_answer(world, chats: list[int]) -> None:
    replies = {chat_id: world.b24.delivered(chat_id) for chat_id in chats}
    assert {chat: texts for chat, texts in replies.items() if len(texts) != 1} == {}
    assert all("9:00" in texts[0] for texts in replies.values())
    assert world.b24.stats()["duplicate_keys"] == 0
