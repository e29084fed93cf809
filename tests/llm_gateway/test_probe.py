"""The connection test tells servers apart by what they do."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from integrations.llm.failures import ModelFailed
from integrations.llm.gateway import Gateway
from integrations.llm.probe import HIDDEN_VALUE
from integrations.llm.providers import SCHEMA_SHAPES, Shape
from tests.llm_gateway.asking import make_provider, make_request
from tests.llm_gateway.scripted_server import Say, ScriptedServer, Seen, error, said, serving

OBEYED = json.dumps({"probe": HIDDEN_VALUE})
LONG = "one two three " * 40


def server_that(
    enforces: tuple[str, ...] = (),
    refuses: tuple[str, ...] = (),
    limit: tuple[str, ...] = ("max_tokens",),
    counts: bool = True,
    refusal: Callable[[str], Say] = lambda shape: error(400, f"{shape} is not supported"),
) -> Callable[[Seen], Say]:
    def answer(seen: Seen) -> Say:
        if seen.path.endswith("/models"):
            return Say({"object": "list", "data": [{"id": "b"}, {"id": "a"}]})
        if seen.body.get("stream"):
            return Say("data: [DONE]\n\n", content_type="text/event-stream")
        if seen.shape in refuses:
            return refusal(seen.shape)
        text = "blue"
        if seen.shape in enforces:
            text = '{"colour": "blue"}' if seen.shape == "json_object" else OBEYED
        if "Count" in seen.prompt:
            text = "one two" if any(name in seen.body for name in limit) else LONG
        if seen.shape == "tool" and "tool" in enforces:
            call = {
                "id": "1",
                "type": "function",
                "function": {"name": "probe", "arguments": OBEYED},
            }
            return said(None, tool_calls=[call], usage=(20, 3))
        return said(text, usage=(20, len(text.split())) if counts else None)

    return answer


def probed(gateway: Gateway, script: Callable[[Seen], Say], kind: str = "other", **more):
    with ScriptedServer(script) as server:
        found = gateway.probe(make_provider(server.base_url, kind=kind), **more)
    return found, server


def test_an_enforcing_server_is_recognised_with_few_calls(gateway: Gateway) -> None:
    found, server = probed(gateway, server_that(enforces=("json_schema",)), kind="openai")

    assert (found.shape, found.enforced, found.probed) == (Shape.JSON_SCHEMA, True, True)
    assert len(server.seen) <= 4


def test_a_server_that_ignores_everything_is_left_with_text(gateway: Gateway) -> None:
    found, _ = probed(gateway, server_that(counts=False))

    assert (found.shape, found.enforced) == (Shape.TEXT, False)
    assert set(found.ignored) == {*SCHEMA_SHAPES, Shape.TOOL, Shape.JSON_OBJECT}
    assert found.in_words("en").startswith("asked in words: checked and mended here")
    assert found.in_words("ru").startswith("просим словами: проверяем и исправляем сами")
    assert found.usage is False
    assert "no_usage" in found.notes


def test_500_counts_as_a_refusal_and_weaker_shapes_are_tried(gateway: Gateway) -> None:
    found, _ = probed(
        gateway,
        server_that(
            enforces=("json_object_schema",),
            refuses=("json_schema", "json_schema_bare", "json_schema_flat"),
            refusal=lambda shape: error(500, "Input should be 'text' or 'json_object'"),
        ),
        kind="llamacpp",
    )

    assert (found.shape, found.enforced) == (Shape.OBJECT_SCHEMA, True)
    assert found.rejected == (Shape.JSON_SCHEMA, Shape.SCHEMA_BARE, Shape.SCHEMA_FLAT)


def test_json_mode_only_is_json_mode(gateway: Gateway) -> None:
    found, _ = probed(
        gateway,
        server_that(enforces=("json_object",), refuses=("json_schema", "tool")),
        kind="deepseek",
    )

    assert (found.shape, found.enforced) == (Shape.JSON_OBJECT, False)


@pytest.mark.parametrize(
    ("text", "finish_reason"),
    [('{"colour": "blue", "shade": "', "length"), ("", "stop")],
    ids=["cut off", "empty"],
)
def test_json_mode_that_could_not_be_told_is_left_as_expected_of_the_service(
    gateway: Gateway, text: str, finish_reason: str
) -> None:
    def answer(seen: Seen) -> Say:
        if seen.shape == "json_object":
            return said(text, finish_reason=finish_reason)
        return server_that()(seen)

    found, _ = probed(gateway, answer, kind="deepseek")

    assert (found.shape, found.enforced) == (Shape.JSON_OBJECT, False)
    assert "unsure" in found.notes


def test_a_model_that_thinks_first_is_given_the_tokens_for_it(gateway: Gateway) -> None:
    def thinking(seen: Seen) -> Say:
        if "Count" not in seen.prompt and seen.body["max_tokens"] < 1000:
            return said("", finish_reason="length", reasoning_content="The sky is…")
        return server_that(enforces=("json_schema",))(seen)

    found, _ = probed(gateway, thinking, kind="llamacpp")

    assert (found.shape, found.enforced, found.notes) == (Shape.JSON_SCHEMA, True, ())


def test_a_forced_tool_is_better_than_json_mode(gateway: Gateway) -> None:
    found, _ = probed(
        gateway, server_that(enforces=("tool",), refuses=("json_schema",)), kind="gigachat"
    )

    assert (found.shape, found.enforced) == (Shape.TOOL, True)


def test_the_limit_field_that_works_is_found(gateway: Gateway) -> None:
    new, _ = probed(gateway, server_that(limit=("max_completion_tokens",)))
    none, _ = probed(gateway, server_that(limit=()))

    assert new.limit_field == "max_completion_tokens"
    assert "limit_ignored" in none.notes


def test_trouble_in_the_middle_is_unknown_and_not_a_refusal(gateway: Gateway) -> None:
    found, _ = probed(
        gateway,
        server_that(refuses=("json_schema",), refusal=lambda shape: error(503)),
        kind="openai",
    )

    assert Shape.JSON_SCHEMA not in found.rejected
    assert "unsure" in found.notes
    assert (found.shape, found.enforced) == (Shape.JSON_SCHEMA, False), "it is tried in answers"


def test_reasoning_models_that_refuse_parameters_are_tested_without_them(gateway: Gateway) -> None:
    def picky(seen: Seen) -> Say:
        if "temperature" in seen.body:
            return error(400, "Unsupported value: 'temperature'")
        if "max_tokens" in seen.body:
            return error(400, "Unsupported parameter: 'max_tokens', use max_completion_tokens")
        return server_that(enforces=("json_schema",), limit=("max_completion_tokens",))(seen)

    found, _ = probed(gateway, picky)

    assert (found.shape, found.temperature) == (Shape.JSON_SCHEMA, False)
    assert found.limit_field == "max_completion_tokens"


def test_a_server_that_does_not_answer_is_a_failure_with_a_reason(gateway: Gateway) -> None:
    with serving(error(401)) as server, pytest.raises(ModelFailed) as failed:
        gateway.probe(make_provider(server.base_url))

    assert failed.value.failure.code == "auth"


def test_the_full_form_looks_at_the_rest(gateway: Gateway) -> None:
    found, server = probed(gateway, server_that(enforces=("json_schema",)), full=True)

    assert found.models == ("a", "b")
    assert found.seed is True
    assert found.usage_in_stream is False
    assert len(server.seen) <= 13
    # Some servers hang up after a stream, when the next call may be on its way already.
    streams = [seen for seen in server.seen if seen.body.get("stream")]
    assert [seen.headers["connection"] for seen in streams] == ["close"]


def test_what_the_test_found_is_used_by_the_next_answer(gateway: Gateway) -> None:
    script = server_that(enforces=("json_object",), refuses=("json_schema", "tool"))
    with ScriptedServer(script) as server:
        route = make_provider(server.base_url, kind="mistral")
        gateway.probe(route)
        server.seen.clear()
        server.script = [said()]
        gateway.answer(make_request(), [route])

    assert server.shapes == ["json_object"]


def test_the_result_is_told_in_words(gateway: Gateway) -> None:
    found, _ = probed(gateway, server_that(enforces=("json_schema",)), kind="openai")

    assert "ответ по схеме: сервер следит сам" in found.in_words("ru")
    assert "json_schema" not in found.in_words("ru")
    assert "limit field: max_" in found.in_words("en")
    assert "answered in 0.1 s" in found.in_words("en"), "an answer in no time sounds like none"


def test_models_are_listed_and_a_key_is_checked(gateway: Gateway) -> None:
    with ScriptedServer(server_that()) as server:
        route = make_provider(server.base_url, model="a")
        assert gateway.list_models(route) == ["a", "b"]
        check = gateway.check_key(route)
        asked_for = server.seen[-1].body["max_tokens"]
    assert (check.code, check.status, check.models, check.model_listed) == ("ok", 200, 2, True)
    assert asked_for <= 64, "a slow server needs seconds for more"

    with serving(error(401)) as server:
        check = gateway.check_key(make_provider(server.base_url))
    assert (check.code, check.status) == ("auth", 401)
    assert check.failure is not None


def test_a_server_without_a_list_of_models_may_still_answer(gateway: Gateway) -> None:
    def no_list(seen: Seen) -> Say:
        return error(500) if seen.path.endswith("/models") else said("OK")

    with ScriptedServer(no_list) as server:
        check = gateway.check_key(make_provider(server.base_url))

    assert (check.code, check.models, check.model_listed) == ("ok", None, None)
