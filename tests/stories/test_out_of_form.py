"""Models that do not keep to the answer's form: a person may use their words, nobody else gets them."""

from __future__ import annotations

import json

import pytest

from bx_gpt_app.assistant.models import Run, Suggestion
from tests.llm_gateway.scripted_server import said, serving

FOREIGN_TOPIC = json.dumps(
    {"topic": "zzz", "reply": "Проверим заказ.", "confidence": 0.9, "fields": {}}
)


@pytest.mark.parametrize("words", ["{{{ broken", '{"foo": 1}', "", "null"])
def test_answer_nobody_can_read_sends_nothing_and_calls_a_person(world, words):
    with serving(said(words)) as server:
        world.configure(mode="auto", llm={"base_url": server.base_url, "model": "odd"})
        chat_id = world.client_says("Какой у вас режим работы?")
        world.work_until(lambda: "imopenlines.bot.session.operator" in world.requests)

    assert len(server.seen) == 2
    assert world.b24.delivered(chat_id) == []
    assert Run.objects.get().reason == "not_understood"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (FOREIGN_TOPIC, "Проверим заказ."),
        ('{"topic": "other", "reply": "Проверим заказ.", "fie', "Проверим заказ."),
        ("Проверим заказ.", "Проверим заказ."),
    ],
    ids=["foreign topic", "cut", "prose"],
)
def test_answer_that_the_second_chance_did_not_mend_is_suggested_only(world, words, text):
    with serving(said(words)) as server:
        world.configure(mode="auto", llm={"base_url": server.base_url, "model": "odd"})
        chat_id = world.client_says("Где мой заказ?")
        world.work_until(lambda: "imopenlines.bot.session.operator" in world.requests)

    assert len(server.seen) == 2
    assert world.b24.delivered(chat_id) == []
    assert Suggestion.objects.get().text == text
    assert Run.objects.get().reason == "plain_text_only"
