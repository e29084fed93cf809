"""Plain factories with defaults for the tests of the gateway."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from integrations.llm.gateway import AnswerRequest
from integrations.llm.providers import Provider, provider
from integrations.llm.schema import AnswerSpec
from integrations.llm.values import Author, FieldSpec, Topic, Turn

SPEC = AnswerSpec(
    topics=(Topic(code="install", title="Установка"), Topic(code="other", title="Другое")),
    fields=(FieldSpec(name="name", type="person_name"), FieldSpec(name="phone", type="phone")),
)
NOW = datetime(2026, 3, 5, 14, 20, tzinfo=ZoneInfo("Europe/Moscow"))


def client(text: str) -> Turn:
    return Turn(author=Author.CLIENT, text=text)


def make_request(text: str = "Здравствуйте, меня зовут Иван", **more: Any) -> AnswerRequest:
    given: dict[str, Any] = {"spec": SPEC, "conversation": (client(text),), "now": NOW, **more}
    return AnswerRequest(**given)


def make_provider(base_url: str, **more: Any) -> Provider:
    given: dict[str, Any] = {"model": "test-model", "api_key": "sk-test-0123456789abcdef", **more}
    return provider(base_url=base_url, **given)
