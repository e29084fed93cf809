"""The gateway against `transformers serve`: accepts everything, enforces nothing.

Its model has random weights, so the answers are noise: the worst model the gateway can meet.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import pytest

from integrations.llm.gateway import Gateway
from integrations.llm.providers import Provider, Shape, provider
from tests.llm_trust.eval_data import rows
from tests.local_llm.asking import bot, client, make_request
from tests.local_llm.behaviour import (
    ASKING,
    does_with,
    tokens_of_a_long_answer,
    understands_a_developer,
)
from tests.local_llm.servers import LocalServer
from tools.local_llm import TINY_LLAMA

pytestmark = pytest.mark.local_llm


def of_transformers(server: LocalServer, **more: Any) -> Provider:
    given: dict[str, Any] = {"kind": "transformers", "model": str(TINY_LLAMA), **more}
    return provider(base_url=server.base_url, **given)


def test_the_address_and_the_model_are_accepted(
    transformers: LocalServer, gateway: Gateway
) -> None:
    assert gateway.check_key(of_transformers(transformers)).code == "ok"


def test_another_model_name_is_refused(transformers: LocalServer, gateway: Gateway) -> None:
    check = gateway.check_key(of_transformers(transformers, model="somebody/else"))

    assert check.code != "ok"
    assert check.failure is not None


def test_the_probe_sees_that_every_schema_is_ignored(
    transformers: LocalServer, gateway: Gateway, measured: dict[str, str]
) -> None:
    started = time.monotonic()

    found = gateway.probe(of_transformers(transformers), full=True)

    measured["transformers serve, full probe"] = f"{time.monotonic() - started:.1f} s"
    assert (found.shape, found.enforced) == (Shape.TEXT, False)
    assert (set(found.ignored), found.rejected) == (set(ASKING), ())
    assert (found.limit_field, found.temperature, found.notes) == ("max_tokens", True, ())
    assert (found.usage, found.usage_in_stream, found.seed) == (True, True, True)
    assert found.prompt_tokens is not None
    assert 20 <= found.prompt_tokens <= 80
    assert found.in_words("en").startswith("asked in words: checked and mended here; limit field:")
    assert found.in_words("ru").startswith("просим словами: проверяем и исправляем сами; ")


def test_the_server_does_what_its_preset_and_the_probe_rest_upon(
    transformers: LocalServer,
) -> None:
    model = str(TINY_LLAMA)

    assert {does_with(transformers, model, shape) for shape in ASKING} == {"ignored"}
    # Noise may end by itself before its eighth token.
    assert tokens_of_a_long_answer(transformers, model, "max_tokens") <= 8
    assert tokens_of_a_long_answer(transformers, model, "max_completion_tokens") <= 8
    assert understands_a_developer(transformers, model)


def test_noise_is_never_taken_for_an_answer(
    transformers: LocalServer, gateway: Gateway, measured: dict[str, str]
) -> None:
    results = [
        gateway.answer(make_request(client(row["text"])), [of_transformers(transformers)])
        for row in rows("ru_client_messages.jsonl")[:5]
    ]

    endings = Counter((result.how, result.reason) for result in results)
    measured["transformers serve, five messages ended as"] = str(dict(endings))
    assert set(endings) <= {("plain", "plain_text"), ("failed", "not_understood")}
    assert all(result.answer is None and result.needs_human for result in results)
    assert {result.calls for result in results} == {2}


def test_a_long_history_is_cut_before_it_is_sent(
    transformers: LocalServer, gateway: Gateway
) -> None:
    # The server refuses no prompt, however long; it computes, and everybody behind it waits.
    history = [client("доставка " * 50), bot("Передаю вопрос коллеге. " * 10)] * 150

    result = gateway.answer(
        make_request(*history, client("Так сколько?")), [of_transformers(transformers)]
    )

    assert result.calls > 0
    assert result.usage.prompt_tokens / result.calls < 12_000


def test_the_deadline_holds(
    transformers: LocalServer, gateway: Gateway, measured: dict[str, str]
) -> None:
    endless = {"generation_config": '{"eos_token_id": 0, "do_sample": true}'}
    slow = of_transformers(transformers, extra_body=endless)
    started = time.monotonic()

    result = gateway.answer(make_request(client("Здравствуйте!")), [slow], deadline_seconds=0.4)

    assert (result.how, result.reason) == ("failed", "timeout")
    assert time.monotonic() - started < 3
    # Unlike llama.cpp's server this one finishes what nobody waits for, so the next call may wait.
    started = time.monotonic()
    assert gateway.check_key(of_transformers(transformers), deadline_seconds=120).code == "ok"
    waited = time.monotonic() - started
    measured["transformers serve, wait behind an abandoned answer"] = f"{waited:.1f} s"
