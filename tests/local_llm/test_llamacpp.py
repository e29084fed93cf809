"""The gateway against llama.cpp's own server: a real grammar engine with a real, very small model.

The model understands no Russian, so nothing here is about the sense of its answers.
"""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from integrations.llm.evidence import check_fields
from integrations.llm.gateway import Gateway
from integrations.llm.prompt import build_messages, new_canary
from integrations.llm.providers import Provider, Shape, provider
from integrations.llm.values import Band, CheckedValue
from integrations.llm.words import fold
from tests.llm_trust.eval_data import rows
from tests.local_llm.asking import INSTRUCTIONS, NOW, SPEC, bot, client, make_request
from tests.local_llm.behaviour import (
    ASKING,
    does_with,
    said,
    tokens_of_a_long_answer,
    understands_a_developer,
)
from tests.local_llm.servers import MODEL_NAME, LocalServer, is_listening, llama_server

pytestmark = pytest.mark.local_llm

CONTACTS = "Меня зовут Иван Петров, телефон +7 916 123-45-67, нужно установить котёл."
QUESTION = "Сколько стоит доставка бойлера?"
CLIENTS = [row for row in rows("ru_client_messages.jsonl") if row["lang"] == "ru"][:20]
QUIET_MESSAGES = ("Здравствуйте!", "Сколько стоит доставка?", "А что дальше?")
"""Nothing in them could be a value of a field."""


def of_llamacpp(server: LocalServer, **more: Any) -> Provider:
    given: dict[str, Any] = {
        "kind": "llamacpp", "model": MODEL_NAME, "deadline_seconds": 300,
        "extra_body": {"seed": 7}, **more,
    }  # fmt: skip
    return provider(base_url=server.base_url, **given)


def test_the_address_and_the_model_are_accepted(llamacpp: LocalServer, gateway: Gateway) -> None:
    check = gateway.check_key(of_llamacpp(llamacpp))

    assert (check.code, check.models, check.model_listed) == ("ok", 1, True)


def test_a_server_that_is_not_there_is_called_unreachable(
    llamacpp: LocalServer, gateway: Gateway
) -> None:
    nobody = provider(base_url="http://127.0.0.1:9/v1", kind="llamacpp", model=MODEL_NAME)

    assert gateway.check_key(nobody).code == "unreachable"


@pytest.mark.parametrize("kind", ["llamacpp", "other"])
def test_the_probe_sees_that_the_schema_is_enforced(
    llamacpp: LocalServer, gateway: Gateway, measured: dict[str, str], kind: str
) -> None:
    started = time.monotonic()

    found = gateway.probe(of_llamacpp(llamacpp, kind=kind), full=True)

    measured[f"llama-server, full probe as {kind}"] = f"{time.monotonic() - started:.1f} s"
    assert (found.shape, found.enforced) == (Shape.JSON_SCHEMA, True)
    assert (found.rejected, found.ignored, found.notes) == ((), (), ())
    assert (found.limit_field, found.temperature) == ("max_tokens", True)
    assert (found.usage, found.usage_in_stream, found.seed, found.logprobs) == (True,) * 4
    assert found.models == (MODEL_NAME,)
    assert found.prompt_tokens is not None
    assert 20 <= found.prompt_tokens <= 80
    assert re.fullmatch(
        r"answer by schema: enforced; limit field: max_tokens; answered in \d+\.\d s; "
        r"prompt tokens: \d+",
        found.in_words("en"),
    )
    assert re.fullmatch(
        r"ответ по схеме: сервер следит сам; ограничение длины: max_tokens; ответил за \d+,\d с; "
        r"токенов в запросе: \d+",
        found.in_words("ru"),
    )


def test_the_server_does_what_its_preset_and_the_probe_rest_upon(llamacpp: LocalServer) -> None:
    does = {shape: does_with(llamacpp, MODEL_NAME, shape) for shape in ASKING}

    assert does == {
        Shape.JSON_SCHEMA: "enforced",
        Shape.SCHEMA_BARE: "ignored",
        Shape.SCHEMA_FLAT: "ignored",
        Shape.OBJECT_SCHEMA: "enforced",
        # The template of this model knows no functions.
        Shape.TOOL: "ignored",
        Shape.JSON_OBJECT: "ignored",
    }
    assert tokens_of_a_long_answer(llamacpp, MODEL_NAME, "max_tokens") == 8
    assert tokens_of_a_long_answer(llamacpp, MODEL_NAME, "max_completion_tokens") == 8
    assert understands_a_developer(llamacpp, MODEL_NAME)


def test_twenty_clients_get_twenty_answers_and_no_value_is_invented(
    llamacpp: LocalServer, gateway: Gateway, measured: dict[str, str]
) -> None:
    results, believed = [], []
    for row in CLIENTS:
        result = gateway.answer(make_request(client(row["text"])), [of_llamacpp(llamacpp)])
        results.append(result)
        fields = result.answer.fields if result.answer else {}
        checked = check_fields(fields, SPEC.fields, client_texts=[row["text"]], now=NOW)
        believed += [(value, row) for value in checked if value.band is not Band.UNSURE]
    answers = [result.answer for result in results if result.answer]
    first_try = [result for result in results if result.answer and not result.repaired]
    invented = [(value, row["text"]) for value, row in believed if is_invented(value, row)]
    seconds = sorted(result.model_ms / 1000 for result in results)
    prompt = sum(result.usage.prompt_tokens for result in results) // len(results)
    completion = sum(result.usage.completion_tokens for result in results) // len(results)
    measured["llama-server, valid answers"] = (
        f"{len(answers)} of {len(results)}, {len(first_try)} at the first try"
    )
    measured["llama-server, steps of the ladder"] = str(dict(Counter(r.how for r in results)))
    measured["llama-server, an answer"] = (
        f"{prompt} + {completion} tokens, {seconds[0]:.1f} to {seconds[-1]:.1f} s"
    )
    measured["llama-server, values"] = (
        f"{sum(value is not None for answer in answers for value in answer.fields.values())} told, "
        f"{len(believed)} believed, {len(invented)} of them invented"
    )

    assert len(answers) == len(CLIENTS)
    assert {result.how for result in results} == {"json_schema"}
    # One may be cut off by its length: the model knows no Russian and repeats itself.
    assert len(first_try) >= len(CLIENTS) - 2
    assert not any(result.usage.estimated for result in results)
    for answer in answers:
        assert answer.topic in ("install", "delivery", "other", None)
        assert set(answer.fields) <= {field.name for field in SPEC.fields}
        assert answer.fields.get("product") in ("котёл", "бойлер", None)
        assert len(answer.reply) <= SPEC.reply_max_length
    assert invented == []


def is_invented(value: CheckedValue, row: Mapping[str, Any]) -> bool:
    """Is a believed value none of the client's, by the message and what people noted of it?"""
    if not value.quote or value.quote not in row["text"]:
        return True
    if value.field not in ("name", "phone", "email") or value.band is not Band.CONFIDENT:
        return False
    own = fold(str(row["fields"].get(value.field, ""))).split()
    return not set(fold(str(value.value)).split()) <= set(own)


def test_what_two_prompts_share_is_computed_once(
    llamacpp: LocalServer, measured: dict[str, str]
) -> None:
    def asked(text: str) -> Any:
        messages = build_messages(
            instructions=INSTRUCTIONS, spec=SPEC, conversation=[client(text)], now=NOW,
            canary=new_canary(), shape=Shape.JSON_SCHEMA,
        )  # fmt: skip
        return said(llamacpp, MODEL_NAME, list(messages), max_tokens=1)["usage"]

    asked("Здравствуйте!")
    usage = asked(QUESTION)

    cached = usage["prompt_tokens_details"]["cached_tokens"]
    measured["llama-server, computed once"] = f"{cached} of {usage['prompt_tokens']} prompt tokens"
    assert cached > 0.6 * usage["prompt_tokens"]


def test_what_the_model_invents_is_believed_by_nobody(
    llamacpp: LocalServer, gateway: Gateway, measured: dict[str, str]
) -> None:
    invented = 0
    for message in QUIET_MESSAGES:
        result = gateway.answer(make_request(client(message)), [of_llamacpp(llamacpp)])
        assert result.answer is not None
        fields = result.answer.fields
        invented += sum(value is not None for value in fields.values())

        checked = check_fields(fields, SPEC.fields, client_texts=[message], now=NOW)

        believed = [value for value in checked if value.band is not Band.UNSURE]
        assert believed == [], f"{message}: {believed}"
    measured["llama-server, values invented and refused"] = str(invented)
    # Otherwise nothing was tested: this model has always filled something in.
    assert invented > 0


def test_what_the_client_wrote_is_found_whatever_the_model_says(
    llamacpp: LocalServer, gateway: Gateway
) -> None:
    message = CONTACTS
    result = gateway.answer(make_request(client(message)), [of_llamacpp(llamacpp)])
    assert result.answer is not None

    checked = check_fields(result.answer.fields, SPEC.fields, client_texts=[message], now=NOW)

    phone = next(value for value in checked if value.field == "phone")
    assert (phone.value, phone.band) == ("+79161234567", Band.CONFIDENT)


def test_a_masked_phone_never_comes_back_as_a_placeholder(
    llamacpp: LocalServer, gateway: Gateway
) -> None:
    request = make_request(client(CONTACTS), mask=True)

    result = gateway.answer(request, [of_llamacpp(llamacpp)])

    assert result.masked_counts
    assert result.answer is not None
    assert "PHONE_" not in f"{result.answer.reply} {dict(result.answer.fields)}"


def test_the_deadline_holds_and_the_server_is_free_afterwards(
    llamacpp: LocalServer, gateway: Gateway
) -> None:
    started = time.monotonic()

    result = gateway.answer(
        make_request(client(QUESTION)), [of_llamacpp(llamacpp)], deadline_seconds=0.3
    )

    elapsed = time.monotonic() - started
    assert (result.how, result.reason) == ("failed", "timeout")
    assert result.retry_in is not None
    assert elapsed < 3
    # The abandoned work was stopped with the connection: it does not stand in the next one's way.
    assert gateway.check_key(of_llamacpp(llamacpp)).code == "ok"


def test_a_history_too_long_for_the_model_is_shortened_and_answered(
    llamacpp: LocalServer, gateway: Gateway
) -> None:
    history = [
        turn
        for number in range(60)
        for turn in (
            client(f"Вопрос {number}: сколько стоит доставка бойлера до посёлка Сосновка?"),
            bot("Передаю вопрос коллеге, он скоро ответит. Пожалуйста, подождите немного."),
        )
    ]

    result = gateway.answer(make_request(*history, client("Так сколько?")), [of_llamacpp(llamacpp)])

    assert [failure.code for failure in result.failures] == ["too_big"]
    assert (result.how, result.calls) == ("json_schema", 2)
    assert result.answer is not None


def test_a_single_message_too_long_for_the_model_is_said_in_plain_words(
    llamacpp: LocalServer, gateway: Gateway
) -> None:
    message = "Сколько стоит доставка бойлера до посёлка Сосновка? " * 300

    result = gateway.answer(make_request(client(message)), [of_llamacpp(llamacpp)])

    assert (result.answer, result.reason, result.retry_in) == (None, "too_big", None)
    assert "model" in result.failures[-1].in_words("en")


def test_a_wrong_chat_template_is_noticed(gateway: Gateway) -> None:
    # Taken literally, this "template" is the whole prompt: the model never sees the message.
    with llama_server("llama-server-template", "--jinja", "--chat-template", "gemma") as server:
        found = gateway.probe(of_llamacpp(server))

    assert "wrong_template" in found.notes


def test_a_stopped_server_leaves_nothing_behind() -> None:
    server = llama_server("llama-server-stopped")
    pid = server.pid

    server.stop()

    assert not is_listening(server.port)
    with pytest.raises(ProcessLookupError):
        # The group has the pid of its first process and would still hold any child of it.
        os.killpg(pid, 0)
