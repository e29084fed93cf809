"""Presets, schemas and prices."""

from __future__ import annotations

import json
from typing import Any

import pytest

from integrations.llm.prices import estimate_tokens, known_prices
from integrations.llm.providers import PRESETS, preset_for, provider
from integrations.llm.schema import AnswerSpec
from integrations.llm.values import FieldSpec, Topic


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("https://api.openai.com/v1", "openai"),
        ("https://firma.openai.azure.com/openai/v1", "azure"),
        ("https://llm.api.cloud.yandex.net/v1", "yandex"),
        ("https://api.deepseek.com", "deepseek"),
        ("https://dashscope-intl.aliyuncs.com/compatible-mode/v1", "qwen"),
        ("https://openrouter.ai/api/v1", "openrouter"),
        ("https://api.mistral.ai/v1", "mistral"),
        ("http://localhost:11434/v1", "ollama"),
        ("http://10.0.0.5:1234/v1", "lmstudio"),
        ("https://models.example.org/v1", "other"),
        ("https://api.openai.com.evil.example/v1", "other"),
        ("https://notopenrouter.ai/v1", "other"),
        ("http://[bad", "other"),
    ],
)
def test_an_address_gives_its_kind_away(url: str, kind: str) -> None:
    assert preset_for(url) == kind


def test_headers_of_a_preset_survive_the_admins_own() -> None:
    yandex = provider(
        base_url="https://llm.api.cloud.yandex.net/v1", model="yandexgpt/latest", project="b1g",
        extra_headers={"x-mine": "1"},
    )  # fmt: skip

    assert yandex.extra_headers == {"x-data-logging-enabled": "false", "x-mine": "1"}
    assert yandex.model_on_server == "gpt://b1g/yandexgpt/latest"
    assert not yandex.leaves_country
    assert yandex.max_in_flight == 10


def test_an_unknown_public_server_is_taken_for_a_foreign_one() -> None:
    assert provider(base_url="https://models.example/v1", model="m").leaves_country
    assert not provider(base_url="http://10.0.0.5/v1", model="m").leaves_country


def test_the_key_is_in_no_text_form_of_a_provider() -> None:
    made = provider(base_url="https://x.example/v1", model="m", api_key="sk-very-secret-key")

    for text in (repr(made), str(made), made.key, made.account, made.model_dump_json()):
        assert "very-secret" not in text


def test_another_key_is_another_account() -> None:
    one, two = (provider(base_url="https://x.example/v1", model="m", api_key=k) for k in "ab")

    assert one.key != two.key
    assert one.key == provider(base_url="https://x.example/v1/", model="m", api_key="a").key


def test_every_preset_has_what_the_settings_screen_needs() -> None:
    for kind, preset in PRESETS.items():
        assert preset.title
        assert kind == "other" or (preset.base_url and preset.models)


SPEC = AnswerSpec(
    topics=(Topic(code="a", title="А"), Topic(code="b", title="Б")),
    fields=(
        FieldSpec(name="phone", type="phone"),
        FieldSpec(name="product", type="choice", choices=("x", "y")),
        FieldSpec(name="count", type="number"),
        FieldSpec(name="subject", max_length=33),
    ),
)


def objects(schema: dict[str, Any]) -> list[dict[str, Any]]:
    inner = [found for value in schema.get("properties", {}).values() for found in objects(value)]
    return ([schema] if schema.get("type") == "object" else []) + inner


@pytest.mark.parametrize("dialect", ["strict", "rich"])
def test_the_schema_is_flat_closed_and_everything_is_required(dialect) -> None:
    schema = SPEC.json_schema(dialect)

    assert "$ref" not in json.dumps(schema)
    for found in objects(schema):
        assert found["additionalProperties"] is False
        assert found["required"] == list(found["properties"])
    order = list(schema["properties"])
    assert (order[0], order[-1]) == ("topic", "reply")
    assert schema["properties"]["topic"]["enum"] == ["a", "b", None]


def test_only_the_rich_dialect_has_limits_and_it_has_them_on_every_string() -> None:
    strict, rich = SPEC.json_schema("strict"), SPEC.json_schema("rich")

    assert "maxLength" not in json.dumps(strict)
    assert "minimum" not in json.dumps(strict)
    for found in objects(rich):
        for name, value in found["properties"].items():
            if "string" in value.get("type", ()) and "enum" not in value:
                assert "maxLength" in value, name
    assert rich["properties"]["reply"]["maxLength"] == 600
    assert rich["properties"]["fields"]["properties"]["subject"]["maxLength"] == 33


def test_the_hash_changes_with_the_questions() -> None:
    other = SPEC.model_copy(update={"reply_max_length": 601})

    assert SPEC.hash == AnswerSpec.model_validate(SPEC.model_dump()).hash
    assert SPEC.hash != other.hash


def test_public_prices_are_known_by_address_and_model() -> None:
    known = known_prices("https://api.openai.com/v1", "gpt-4o-mini")

    assert known is not None
    assert (known.input, known.output, known.currency) == (0.15, 0.6, "USD")
    assert known_prices("http://127.0.0.1:1/v1", "gpt-4o-mini") is None
    assert known_prices("https://api.openai.com/v1", "no-such-model") is None


def test_russian_takes_more_tokens_than_english() -> None:
    assert estimate_tokens("привет как дела") == 6
    assert estimate_tokens("hello there how are you") == 6
    assert estimate_tokens("") == 0
