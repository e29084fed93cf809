"""What a small portal would ask: topics, fields, a few clients."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from integrations.llm.gateway import AnswerRequest
from integrations.llm.schema import AnswerSpec
from integrations.llm.values import Author, FieldSpec, Topic, Turn

NOW = datetime(2026, 3, 5, 14, 20, tzinfo=ZoneInfo("Europe/Moscow"))
SPEC = AnswerSpec(
    topics=(
        Topic(code="install", title="Установка", description="монтаж, выезд мастера"),
        Topic(code="delivery", title="Доставка", description="сроки и стоимость доставки"),
        Topic(code="other", title="Другое"),
    ),
    # Short enough for a model that needs a token for every Russian letter and fills all of it.
    fields=(
        FieldSpec(name="name", type="person_name", description="имя клиента", max_length=30),
        FieldSpec(name="phone", type="phone", max_length=20),
        FieldSpec(name="email", type="email", max_length=30),
        FieldSpec(name="budget", type="money", max_length=20),
        FieldSpec(name="visit", type="date", max_length=20),
        FieldSpec(name="product", type="choice", choices=("котёл", "бойлер")),
    ),
    reply_max_length=120,
)
INSTRUCTIONS = "Вы — помощник магазина отопления «Тепло». Отвечайте коротко и вежливо."


def client(text: str) -> Turn:
    return Turn(author=Author.CLIENT, text=text)


def bot(text: str) -> Turn:
    return Turn(author=Author.BOT, text=text)


def make_request(*turns: Turn, **more: Any) -> AnswerRequest:
    given: dict[str, Any] = {
        "spec": SPEC, "conversation": turns, "now": NOW, "instructions": INSTRUCTIONS, **more,
    }  # fmt: skip
    return AnswerRequest(**given)
