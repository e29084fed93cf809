"""The gateway against llama.cpp's own server: a real grammar engine with a real, very small model.

The model understands no Russian, so nothing here is about the sense of its answers.
"""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from integrations.llm.evidence import check_fields
from integrations.llm.gateway import Gateway
from integrations.llm.providers import Provider, Shape, provider
from integrations.llm.values import Band
from tests.local_llm.asking import NOW, SPEC, bot, client, make_request
from tests.local_llm.servers import MODEL_NAME, LocalServer, is_listening, llama_server

pytestmark = pytest.mark.local_llm

MESSAGES = {
    "name and phone": "Меня зовут Иван Петров, телефон +7 916 123-45-67, нужно установить котёл.",
    "question": "Сколько стоит доставка бойлера?",
    "e-mail and money": "Напишите на ivan.petrov@example.com, бюджет до 80 тысяч рублей.",
    "english": "Hello, can your technician come on 12 March to install a boiler?",
    "greeting": "Здравствуйте!",
}
QUIET_MESSAGES = ("Здравствуйте!", "Сколько стоит доставка?", "А что дальше?")
"""Nothing in them could be a value of a field."""


def of_llamacpp(server: LocalServer, **more: Any) -> Provider:
    given: dict[str, Any] = {
        "kind": "llamacpp", "model": MODEL_NAME, "deadline_seconds": 300,
        "extra_body": {"seed": 7}, **more,
    }  # fmt: skip
    return provider(base_url=server.base_url, **given)


SHORT = {"seed": 7, "max_tokens": 32}
"""A key is checked with a plain question, and this model talks about any question until it is
stopped."""


def test_the_address_and_the_model_are_accepted(llamacpp: LocalServer, gateway: Gateway) -> None:
    check = gateway.check_key(of_llamacpp(llamacpp, extra_body=SHORT))

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
    assert found.limit_field in ("max_tokens", "max_completion_tokens")
    assert (found.usage, found.usage_in_stream, found.seed, found.logprobs) == (True,) * 4
    assert found.models == (MODEL_NAME,)
    assert found.notes == ()
    assert "enforced" in found.in_words("en")


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
def test_an_answer_keeps_to_the_schema_at_the_first_try(
    llamacpp: LocalServer, gateway: Gateway, measured: dict[str, str], message: str
) -> None:
    result = gateway.answer(make_request(client(message)), [of_llamacpp(llamacpp)])

    measured[f"llama-server, answer to {message[:20]!r}"] = (
        f"{result.model_ms / 1000:.1f} s, {result.usage.prompt_tokens} + "
        f"{result.usage.completion_tokens} tokens"
    )
    assert (result.how, result.reason, result.repaired, result.calls) == (
        "json_schema", "ok", False, 1,
    )  # fmt: skip
    assert result.answer is not None
    assert result.answer.topic in ("install", "delivery", "other", None)
    assert set(result.answer.fields) <= {field.name for field in SPEC.fields}
    assert result.answer.fields.get("product") in ("котёл", "бойлер", None)
    assert len(result.answer.reply) <= SPEC.reply_max_length
    assert not result.usage.estimated


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
    message = MESSAGES["name and phone"]
    result = gateway.answer(make_request(client(message)), [of_llamacpp(llamacpp)])
    assert result.answer is not None

    checked = check_fields(result.answer.fields, SPEC.fields, client_texts=[message], now=NOW)

    phone = next(value for value in checked if value.field == "phone")
    assert (phone.value, phone.band) == ("+79161234567", Band.CONFIDENT)


def test_a_masked_phone_never_comes_back_as_a_placeholder(
    llamacpp: LocalServer, gateway: Gateway
) -> None:
    request = make_request(client(MESSAGES["name and phone"]), mask=True)

    result = gateway.answer(request, [of_llamacpp(llamacpp)])

    assert result.masked_counts
    assert result.answer is not None
    assert "PHONE_" not in f"{result.answer.reply} {dict(result.answer.fields)}"


def test_the_deadline_holds_and_the_server_is_free_afterwards(
    llamacpp: LocalServer, gateway: Gateway
) -> None:
    started = time.monotonic()

    result = gateway.answer(
        make_request(client(MESSAGES["question"])), [of_llamacpp(llamacpp)], deadline_seconds=0.3
    )

    elapsed = time.monotonic() - started
    assert (result.how, result.reason) == ("failed", "timeout")
    assert result.retry_in is not None
    assert elapsed < 3
    # The abandoned work was stopped with the connection: it does not stand in the next one's way.
    assert gateway.check_key(of_llamacpp(llamacpp, extra_body=SHORT)).code == "ok"


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
