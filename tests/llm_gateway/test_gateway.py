"""One question to a model over real sockets: whatever the server does, there is a `Result`."""

from __future__ import annotations

import json
import re
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from integrations.llm.failures import SENTENCES, MemoryCircuit
from integrations.llm.gateway import Gateway, Result
from integrations.llm.providers import PRESETS, Capabilities, Prices, Shape
from integrations.llm.replies import KnownFacts, check_reply
from integrations.llm.schema import AnswerSpec
from integrations.llm.values import Author, FieldSpec, Source, Topic, Turn
from integrations.net import AddressGuard
from tests.llm_gateway.asking import SPEC, client, make_provider, make_request
from tests.llm_gateway.scripted_server import (
    GOOD,
    GOOD_TEXT,
    Say,
    ScriptedServer,
    Seen,
    completion,
    error,
    said,
    serving,
)

KEY = "sk-test-0123456789abcdef"
PROSE = "Здравствуйте! Спасибо за обращение, мы скоро ответим."


def ask(gateway: Gateway, server: ScriptedServer, **more: object) -> Result:
    return gateway.answer(make_request(), [make_provider(server.base_url, **more)])


# --- Contract: every preset survives what servers do ---------------------------------------------


@pytest.mark.parametrize("kind", PRESETS)
def test_every_preset_gets_its_answer_with_its_own_headers_and_body(
    gateway: Gateway, kind: str
) -> None:
    preset = PRESETS[kind]
    with serving(said()) as server:
        result = ask(gateway, server, kind=kind)
    [seen] = server.seen

    assert result.answer is not None
    assert result.answer.topic == "install"
    assert result.reason == "ok"
    assert result.how == preset.shapes[0].how
    assert seen.shape == preset.shapes[0].value
    assert seen.path == "/v1/chat/completions"
    assert preset.limit_field in seen.body
    assert seen.body["model"] == "test-model"
    for name, value in preset.headers.items():
        assert {k.lower(): v for k, v in seen.headers.items()}[name] == value
    for name, wanted in preset.body.items():
        assert seen.body[name] == wanted


TROUBLE = {
    "429": (error(429, "slow down"), "rate_limited", True),
    "429 for long": (error(429, "slow down", headers={"Retry-After": "90"}), "rate_limited", True),
    "500": (error(500, "boom"), "unavailable", True),
    "401": (error(401, "bad key"), "auth", False),
    "timeout": (Say(completion(), wait=5), "timeout", True),
    "dribble": (Say(completion(), dribble=5), "timeout", True),
    "cut off": (Say(completion(), cut_at=60), "cut_off", True),
    "hang up": (Say(hang_up=True), "cut_off", True),
}


@pytest.mark.parametrize("kind", PRESETS)
@pytest.mark.parametrize("trouble", TROUBLE)
def test_every_preset_survives(gateway: Gateway, kind: str, trouble: str) -> None:
    say, reason, comes_back = TROUBLE[trouble]
    deadline = 0.2 if reason == "timeout" else 10.0
    started = time.monotonic()
    with serving(say) as server:
        route = make_provider(server.base_url, kind=kind)
        result = gateway.answer(make_request(), [route], deadline_seconds=deadline)

        assert time.monotonic() - started < 4
    assert (result.answer, result.text, result.how) == (None, "", "failed")
    assert result.needs_human
    assert result.reason == reason
    assert (result.retry_in is not None) == comes_back
    assert result.failures[-1].in_words("ru")
    assert KEY not in str(result)


# --- The deadline --------------------------------------------------------------------------------


def test_bytes_that_keep_the_connection_alive_do_not_stretch_the_deadline(gateway: Gateway) -> None:
    with serving(Say(completion(), dribble=10)) as server:
        started = time.monotonic()
        route = make_provider(server.base_url)
        result = gateway.answer(make_request(), [route], deadline_seconds=0.5)

        assert 0.4 < time.monotonic() - started < 4
    assert result.reason == "timeout"
    assert len(server.seen) == 1


def test_blank_bytes_in_front_of_an_answer_in_time_are_fine(gateway: Gateway) -> None:
    with serving(Say(completion(), dribble=0.3)) as server:
        assert ask(gateway, server).reason == "ok"


def test_a_hanging_first_route_leaves_time_for_the_fallback(gateway: Gateway) -> None:
    with serving(Say(completion(), wait=20)) as slow, serving(said()) as good:
        routes = [make_provider(slow.base_url), make_provider(good.base_url, model="second")]
        result = gateway.answer(make_request(), routes, deadline_seconds=3.0)

    assert result.answer is not None
    assert result.model == "second"
    assert [failure.code for failure in result.failures] == ["timeout"]


# --- The ladder ----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 415, 422, 501])
def test_refused_shapes_lead_down_the_ladder_and_are_remembered(
    gateway: Gateway, status: int
) -> None:
    def only_json_mode(seen):
        if seen.shape in ("json_object", "text"):
            return said()
        return error(status, f"no {seen.shape} here")

    with ScriptedServer(only_json_mode) as server:
        first = ask(gateway, server)
        second = ask(gateway, server)

    assert server.shapes == [
        "json_schema", "json_schema_bare", "json_schema_flat", "json_object_schema", "tool",
        "json_object", "json_object",
    ]  # fmt: skip
    assert first.how == second.how == "json_object"
    assert first.capabilities_learned is not None
    assert first.capabilities_learned.shape is Shape.JSON_OBJECT
    assert second.capabilities_learned is None
    assert '"topic"' in server.seen[-1].prompt, "without a schema beside it the prompt carries it"


def test_what_was_stored_with_the_provider_is_used_at_once(gateway: Gateway) -> None:
    known = Capabilities(shape=Shape.TEXT, limit_field="max_completion_tokens", temperature=False)
    with serving(said()) as server:
        result = ask(gateway, server, capabilities=known)

    assert server.shapes == ["text"]
    assert "max_completion_tokens" in server.seen[0].body
    assert "temperature" not in server.seen[0].body
    assert result.capabilities_learned is None


def test_the_500_of_a_server_that_knows_no_schema_is_a_refusal_too(gateway: Gateway) -> None:
    with serving(error(500, "Input should be 'text' or 'json_object'"), said()) as server:
        result = ask(gateway, server, kind="llamacpp")

    assert server.shapes == ["json_schema", "json_object_schema"]
    assert result.reason == "ok"


def test_a_plain_500_is_repeated_and_teaches_nothing(gateway: Gateway, pauses: list[float]) -> None:
    with serving(error(500), said()) as server:
        result = ask(gateway, server)

    assert server.shapes == ["json_schema", "json_schema"]
    assert result.reason == "ok"
    assert len(pauses) == 1
    assert result.capabilities_learned is not None
    assert result.capabilities_learned.shape is Shape.JSON_SCHEMA


def test_a_server_that_always_says_500_to_schemas_is_still_understood(gateway: Gateway) -> None:
    def no_schemas(seen):
        return said() if seen.shape == "json_object" else error(500, "Internal Server Error")

    with ScriptedServer(no_schemas) as server:
        result = ask(gateway, server)

    assert result.reason == "ok"
    assert result.capabilities_learned is None, "it may have been an accident"


def test_a_schema_that_has_no_effect_is_noticed_and_not_asked_for_again(gateway: Gateway) -> None:
    with serving(said(PROSE), said(), said()) as server:
        first = ask(gateway, server)
        second = ask(gateway, server)

    assert server.shapes == ["json_schema", "json_object", "json_object"]
    assert first.repaired
    assert not second.repaired
    assert first.capabilities_learned is not None
    assert first.capabilities_learned.ignored == (Shape.JSON_SCHEMA,)


@pytest.mark.parametrize(
    ("message", "has", "has_not"),
    [
        ("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens'", "max_completion_tokens", "max_tokens"),
        ("Unsupported value: 'temperature' does not support 0.2", "max_tokens", "temperature"),
    ],
)  # fmt: skip
def test_a_refused_parameter_is_changed_and_the_shape_is_kept(
    gateway: Gateway, message: str, has: str, has_not: str
) -> None:
    with serving(error(400, message), said()) as server:
        result = ask(gateway, server)

    assert result.how == "json_schema"
    assert has in server.seen[-1].body
    assert has_not not in server.seen[-1].body


def test_a_tool_call_is_read_like_any_other_answer(gateway: Gateway) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "answer", "arguments": GOOD_TEXT}}
    known = Capabilities(shape=Shape.TOOL)
    with serving(said(None, finish_reason="tool_calls", tool_calls=[call])) as server:
        result = ask(gateway, server, capabilities=known)

    assert server.shapes == ["tool"]
    assert server.seen[0].body["tool_choice"]["function"]["name"] == "answer"
    assert result.how == "tool"


LIMITS_OF_SERVERS = [
    "max_tokens is too large: 3000. This model supports at most 900 completion tokens",
    "Invalid max_tokens value, the valid range of max_tokens is [1, 900]",
    "max_completion_tokens must be less than or equal to 900",
]


@pytest.mark.parametrize("message", LIMITS_OF_SERVERS)
def test_a_server_that_takes_no_such_length_gets_what_it_takes(
    gateway: Gateway, message: str
) -> None:
    spec = SPEC.model_copy(update={"reply_max_length": 4000})
    with serving(error(400, message), said()) as server:
        result = gateway.answer(make_request(spec=spec), [make_provider(server.base_url)])

    assert result.how == "json_schema", "the shape was not what the server complained about"
    assert [seen.body["max_tokens"] for seen in server.seen][1] == 900
    assert server.seen[0].body["max_tokens"] > 900


WORDS = "Съешьте ещё этих мягких французских булок, да выпейте чаю "
"""Real words: a run of one letter would be one token."""


def _filled(length: int) -> str:
    return (WORDS * (length // len(WORDS) + 1))[:length]


MANY_FIELDS = AnswerSpec(
    topics=(Topic(code="a_rather_long_code_of_a_topic", title="Тема"),),
    fields=tuple(
        FieldSpec(name=f"field_number_{number}", type=kind, max_length=length)
        for number, (kind, length) in enumerate(
            [("text", None), ("address", None), ("string", 500), ("person_name", None)] * 6
        )
    ),
    reply_max_length=4000,
)


@pytest.mark.parametrize("said_chars", [40, 300, 3000])
@pytest.mark.parametrize("spec", [SPEC, MANY_FIELDS], ids=["two fields", "24 long fields"])
def test_the_longest_answer_that_the_schema_allows_fits_the_limit(
    gateway: Gateway, spec: AnswerSpec, said_chars: int
) -> None:
    with serving(said()) as server:
        request = make_request(_filled(said_chars), spec=spec)
        gateway.answer(request, [make_provider(server.base_url, kind="llamacpp")])
    body = server.seen[0].body
    schema = body["response_format"]["json_schema"]["schema"]["properties"]
    values = {
        name: _filled(min(one["maxLength"], said_chars))
        for name, one in schema["fields"]["properties"].items()
    }
    longest = json.dumps(
        {
            "topic": spec.topics[0].code, "needs_human": False, "confidence": 0.123456789,
            "language": "ru", "fields": values, "reply": _filled(schema["reply"]["maxLength"]),
        },
        ensure_ascii=False,
    )  # fmt: skip

    assert len(longest) / 1.6 <= body["max_tokens"], "old vocabularies: 1.6 characters a token"
    assert body["max_tokens"] < 40_000


# --- The one repair ------------------------------------------------------------------------------


def test_an_unusable_answer_is_sent_back_once_with_what_was_wrong(gateway: Gateway) -> None:
    bad = GOOD_TEXT.replace('"install"', '"weather"')
    with serving(said(bad), said()) as server:
        result = ask(gateway, server)
    first, second = server.seen

    assert result.repaired
    assert result.answer is not None
    assert result.answer.topic == "install"
    assert second.body["messages"][: len(first.body["messages"])][-1]["role"] == "user"
    assert second.body["messages"][-2] == {"role": "assistant", "content": bad}
    assert "install, other" in second.body["messages"][-1]["content"]
    assert second.body["temperature"] == 0
    assert result.usage.total_tokens == 320


def test_after_one_repair_what_can_be_used_is_used(gateway: Gateway) -> None:
    with serving(said(GOOD_TEXT.replace('"install"', '"weather"'))) as server:
        result = ask(gateway, server)

    assert len(server.seen) == 2
    assert result.answer is not None
    assert result.answer.topic is None
    assert result.answer.fields["name"] == "Иван"


def test_prose_twice_becomes_a_plain_suggestion(gateway: Gateway) -> None:
    with serving(said(PROSE)) as server:
        result = ask(gateway, server)

    assert len(server.seen) == 2
    assert (result.how, result.text, result.answer) == ("plain", PROSE, None)
    assert result.reason == "plain_text"
    assert result.retry_in is None
    assert result.needs_human


def test_what_kept_to_the_form_is_marked_when_the_second_chance_did_not_mend_the_rest(
    gateway: Gateway,
) -> None:
    foreign = '{"topic": "zzz", "reply": "Проверим заказ.", "fields": {}, "confidence": 0.9}'

    with serving(said(foreign)) as server:
        result = ask(gateway, server)

    assert len(server.seen) == 2
    assert result.how == "partial"
    assert result.answer
    assert (result.answer.topic, result.answer.reply) == (None, "Проверим заказ.")


def test_rubbish_twice_goes_to_the_fallback_and_else_fails_for_good(gateway: Gateway) -> None:
    with serving(said('{"topic": "ins')) as bad, serving(said()) as good:
        alone = gateway.answer(make_request(), [make_provider(bad.base_url)])
        rescued = gateway.answer(
            make_request(), [make_provider(bad.base_url), make_provider(good.base_url)]
        )

    assert (alone.how, alone.reason, alone.retry_in) == ("failed", "not_understood", None)
    assert rescued.reason == "ok"
    assert [failure.code for failure in rescued.failures] == ["not_understood"]


@pytest.mark.parametrize("text", [None, "", '{"topic": "install", "reply": "Здрав'])
def test_an_answer_that_ran_out_of_tokens_gets_more_of_them(
    gateway: Gateway, text: str | None
) -> None:
    with serving(said(text, finish_reason="length"), said()) as server:
        result = ask(gateway, server)

    assert result.reason == "ok"
    assert server.seen[1].body["max_tokens"] == 3 * server.seen[0].body["max_tokens"]


@pytest.mark.parametrize("broken", [PROSE, '{"topic": "ins'], ids=["prose", "rubbish"])
def test_a_server_that_breaks_the_form_again_and_again_wants_a_new_test(
    gateway: Gateway, broken: str
) -> None:
    with serving(said(broken)) as server:
        due = [ask(gateway, server).probe_due for _ in range(11)]

    assert due == [*[False] * 4, True] * 2 + [False], "a test for every answer would cost too much"


# --- Failures ------------------------------------------------------------------------------------

ODD = [
    (Say({"error": {"message": "Provider returned error", "code": 502}}), "unavailable", True),
    (Say({"error": {"message": "no credits", "code": 402}}), "no_money", False),
    (Say({"error": "something odd"}), "unavailable", True),
    (Say("<html><body>Log in</body></html>", content_type="text/html"), "not_a_model", False),
    (said("<html><body>502 Bad Gateway</body></html>"), "not_a_model", True),
    (Say("<html>502</html>", status=502, content_type="text/html"), "unavailable", True),
    (Say("bad gateway", status=502, content_type="text/plain"), "unavailable", True),
    (Say({"detail": [{"loc": ["body", "x"], "msg": "extra", "input": "СЕКРЕТ"}]}, status=403), "forbidden", False),
    (Say({"object": "error", "message": "No such model here", "code": 404}, status=404), "model_not_found", False),
    (error(404, "The model `x` does not exist", code="model_not_found"), "model_not_found", False),
    (Say({"detail": "Not Found"}, status=404), "not_found", False),
    (error(402, "Insufficient Balance"), "no_money", False),
    (error(429, "You exceeded your current quota", code="insufficient_quota"), "no_money", False),
    (error(403, "Country not supported"), "forbidden", False),
    (Say(status=302, headers={"Location": "http://127.0.0.1:1/"}), "redirect", False),
    (Say({"choices": []}), "odd_response", True),
    (Say({"choices": [{"index": 0}]}), "odd_response", True),
    (Say([1, 2]), "odd_response", True),
    (Say("null"), "odd_response", True),
    (Say('{"choices": [{"mess'), "cut_off", True),
    (Say('{"choices": [{"mess', content_type="text/plain"), "cut_off", True),
    (Say('data: {"choices": []}\n\n', content_type="text/event-stream"), "odd_response", True),
    (said("", finish_reason="content_filter"), "refused", False),
    (said(None, refusal="I cannot help with that"), "refused", False),
    (error(400, "The response was filtered", code="content_filter"), "refused", False),
    (said(None), "not_understood", False),
]  # fmt: skip


@pytest.mark.parametrize(("say", "reason", "comes_back"), ODD)
def test_odd_servers_end_in_a_reason(
    gateway: Gateway, say: Say, reason: str, comes_back: bool
) -> None:
    with serving(say) as server:
        result = ask(gateway, server)

    assert result.how == "failed"
    assert result.reason == reason
    assert (result.retry_in is not None) == comes_back
    assert "СЕКРЕТ" not in result.failures[-1].in_words("ru")


def test_odd_answers_that_are_answers_are_understood(gateway: Gateway) -> None:
    parts = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": GOOD_TEXT}]
    for say in (
        said(finish_reason=None),
        said(reasoning_content="the client wants {"),
        said("<think>{" + "</think>" + GOOD_TEXT),
        said(parts),
        Say(completion(), content_type="text/plain"),
        Say(completion(), content_type="application/json; charset=utf-8"),
    ):
        with serving(say) as server:
            result = ask(gateway, server)

            assert result.reason == "ok", say
            assert len(server.seen) == 1


def test_transient_failures_are_repeated_twice_and_not_before_the_server_wants(
    gateway: Gateway, pauses: list[float]
) -> None:
    says = [error(429, headers={"Retry-After": "2"}), error(503), said()]
    with ScriptedServer(says) as server:
        result = ask(gateway, server)

    assert result.reason == "ok"
    assert len(pauses) == 2
    assert 2.0 <= pauses[0] <= 2.5
    assert 0 <= pauses[1] <= 1.0
    assert [failure.code for failure in result.failures] == ["rate_limited", "unavailable"]


def test_no_more_than_two_repeats(gateway: Gateway) -> None:
    with serving(error(503)) as server:
        result = ask(gateway, server)

    assert len(server.seen) == 3
    assert result.retry_in is not None


def test_a_long_retry_after_is_handed_to_the_caller_at_once(
    gateway: Gateway, pauses: list[float]
) -> None:
    with serving(error(429, headers={"Retry-After": "120"})) as server:
        result = ask(gateway, server)

    assert len(server.seen) == 1
    assert not pauses
    assert result.retry_in == pytest.approx(120)


def test_a_refusal_is_not_asked_of_another_provider(gateway: Gateway) -> None:
    with serving(said("", finish_reason="content_filter")) as server, serving(said()) as other:
        routes = [make_provider(server.base_url), make_provider(other.base_url)]
        result = gateway.answer(make_request(), routes)

    assert result.reason == "refused"
    assert result.needs_human
    assert not other.seen


def test_too_long_a_prompt_loses_its_oldest_turns_once(gateway: Gateway) -> None:
    turns = tuple(
        Turn(
            author=Author.BOT if number % 2 else Author.CLIENT, text=f"номер {number} " + "ы" * 500
        )
        for number in range(40)
    )
    too_long = error(400, "maximum context length is 4096 tokens", code="context_length_exceeded")
    with ScriptedServer([too_long, said()]) as server:
        result = gateway.answer(
            make_request(conversation=(*turns, client("последний вопрос"))),
            [make_provider(server.base_url)],
        )
    before, after = (seen.prompt for seen in server.seen)

    assert result.reason == "ok"
    assert len(after) <= len(before) / 2 + 10
    assert "номер 0 " in before
    assert "номер 0 " not in after
    assert "последний вопрос" in after


def test_still_too_long_is_a_lasting_failure(gateway: Gateway) -> None:
    with serving(Say("too large", status=413, content_type="text/plain")) as server:
        result = ask(gateway, server)

    assert len(server.seen) == 2
    assert (result.reason, result.retry_in) == ("too_big", None)


def test_no_route_is_a_result_too(gateway: Gateway) -> None:
    result = gateway.answer(make_request(), [])

    assert (result.how, result.reason, result.retry_in) == ("failed", "no_provider", None)


def test_nothing_listening_is_told_apart_from_a_slow_server(gateway: Gateway) -> None:
    result = gateway.answer(make_request(), [make_provider("http://127.0.0.1:9/v1")])

    assert result.reason == "unreachable"
    assert result.retry_in is not None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"base_url": "not a url"}, "not_allowed"),
        ({"base_url": "http://exa mple/v1"}, "not_allowed"),
        ({"ca_bundle": "no certificate"}, "certificate"),
        ({"api_key": "ключ"}, "bad_config"),
        ({"extra_headers": {"x-name": "Ы"}}, "bad_config"),
    ],
)
def test_wrong_settings_are_a_lasting_failure(
    gateway: Gateway, changes: dict[str, str], reason: str
) -> None:
    with serving(said()) as server:
        route = make_provider(**{"base_url": server.base_url, **changes})
        result = gateway.answer(make_request(), [route])

    assert (result.reason, result.retry_in) == (reason, None)
    assert not server.seen


def test_errors_of_our_own_do_not_escape() -> None:
    class Broken(MemoryCircuit):
        def allow(self, key: str) -> bool:
            raise RuntimeError("the database is away, text of a client")

    gateway = Gateway(circuit=Broken(), address_guard=AddressGuard(allow_private=True))
    result = gateway.answer(make_request(), [make_provider("http://127.0.0.1:9/v1")])

    assert result.reason == "internal"
    assert result.retry_in is not None
    assert "text of a client" not in str(result)


def test_every_reason_has_a_sentence_in_both_languages() -> None:
    for russian, english in SENTENCES.values():
        assert russian.endswith(".")
        assert english.endswith(".")
        assert russian != english


def test_a_key_that_a_server_repeats_is_masked(gateway: Gateway) -> None:
    with serving(
        error(401, f"Incorrect API key provided: {KEY}. And sk-other-999999999")
    ) as server:
        result = ask(gateway, server)

    told = result.failures[-1].in_words("en")
    assert "***" in told
    assert KEY not in told
    assert "sk-other" not in told


# --- The circuit ---------------------------------------------------------------------------------


def test_a_wrong_key_opens_the_circuit_at_once_and_a_new_key_closes_it(gateway: Gateway) -> None:
    def by_key(seen):
        return said() if "new" in seen.headers["authorization"] else error(401)

    with ScriptedServer(by_key) as server:
        first = ask(gateway, server)
        second = ask(gateway, server)
        third = ask(gateway, server, api_key="sk-new-0123456789")

    assert first.reason == "auth"
    assert second.reason == "circuit_open"
    assert second.retry_in is not None
    assert second.calls == 0
    assert third.reason == "ok"
    assert len(server.seen) == 2


def test_a_server_that_is_down_is_left_alone_and_the_fallback_answers(gateway: Gateway) -> None:
    with serving(Say(hang_up=True)) as down, serving(said()) as good:
        routes = [make_provider(down.base_url), make_provider(good.base_url)]
        results = [gateway.answer(make_request(), routes) for _ in range(7)]

    assert all(result.reason == "ok" for result in results)
    assert len(down.seen) == 5 * 3
    assert results[-1].calls == 1


def test_a_success_closes_the_circuit() -> None:
    now = [0.0]
    circuit = MemoryCircuit(clock=lambda: now[0])
    for _ in range(5):
        assert circuit.allow("a")
        circuit.failure("a")

    assert not circuit.allow("a")
    assert circuit.opens_in("a") == 60
    now[0] = 61
    assert circuit.allow("a"), "one trial"
    assert not circuit.allow("a"), "and no second beside it"
    circuit.failure("a")
    assert circuit.opens_in("a") == 120
    now[0] = 190
    assert circuit.allow("a")
    circuit.success("a")
    assert circuit.allow("a")
    assert circuit.allow("a")


def test_the_break_doubles_up_to_a_quarter_of_an_hour() -> None:
    now = [0.0]
    circuit = MemoryCircuit(clock=lambda: now[0])
    circuit.failure("a", permanent=True)
    for _ in range(8):
        now[0] += circuit.opens_in("a") + 1
        assert circuit.allow("a")
        circuit.failure("a")

    assert circuit.opens_in("a") == 900


def test_few_failures_over_a_long_time_open_nothing() -> None:
    now = [0.0]
    circuit = MemoryCircuit(clock=lambda: now[0])
    for _ in range(20):
        circuit.failure("a")
        now[0] += 16

    assert circuit.allow("a")


# --- Concurrency ---------------------------------------------------------------------------------


def test_calls_at_once_are_capped_per_account(gateway: Gateway) -> None:
    with serving(Say(completion(), wait=0.05)) as server:
        route = make_provider(server.base_url, max_in_flight=3)
        with ThreadPoolExecutor(12) as pool:
            results = list(pool.map(lambda _: gateway.answer(make_request(), [route]), range(12)))

    assert {result.reason for result in results} == {"ok"}
    assert server.most_in_flight == 3


def test_waiting_for_a_place_ends_with_the_deadline_and_blames_nobody(gateway: Gateway) -> None:
    with serving(Say(completion(), wait=1.0)) as server:
        route = make_provider(server.base_url, max_in_flight=1)
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(gateway.answer, make_request(), [route])
            time.sleep(0.2)
            second = gateway.answer(make_request(), [route], deadline_seconds=0.2)

            assert second.reason == "busy"
            assert second.retry_in is not None
            assert first.result().reason == "ok"


def test_a_hundred_calls_at_once_share_one_loop(gateway: Gateway) -> None:
    with serving(Say(completion(), wait=0.3)) as server:
        route = make_provider(server.base_url, max_in_flight=200)
        with ThreadPoolExecutor(100) as pool:
            results = list(pool.map(lambda _: gateway.answer(make_request(), [route]), range(100)))

    assert {result.reason for result in results} == {"ok"}
    assert [thread.name for thread in threading.enumerate()].count("model-calls") == 1


def test_connections_are_kept_and_used_again(gateway: Gateway) -> None:
    with serving(said()) as server:
        for _ in range(5):
            ask(gateway, server)

    assert len({seen.connection for seen in server.seen}) == 1


def test_a_closed_gateway_starts_again_when_it_is_asked(gateway: Gateway) -> None:
    with serving(said()) as server:
        ask(gateway, server)
        gateway.close()

        assert ask(gateway, server).reason == "ok"


# --- Usage and money -----------------------------------------------------------------------------


def test_usage_is_the_servers_and_the_cost_is_by_the_admins_prices(gateway: Gateway) -> None:
    prices = Prices(input=100.0, output=400.0, currency="RUB")
    with serving(said(usage=(1000, 500))) as server:
        result = ask(gateway, server, prices=prices)

    assert (result.usage.prompt_tokens, result.usage.completion_tokens) == (1000, 500)
    assert result.usage.cost == pytest.approx(0.3)
    assert result.usage.currency == "RUB"
    assert not result.usage.estimated


def test_usage_is_estimated_when_the_server_counts_nothing(gateway: Gateway) -> None:
    with serving(said(usage=None)) as server:
        result = ask(gateway, server)

    assert result.usage.estimated
    assert 300 < result.usage.prompt_tokens < 1500
    assert 20 < result.usage.completion_tokens < 100
    assert result.usage.cost is None


# --- What leaves the process ---------------------------------------------------------------------


def test_nothing_of_the_environment_is_sent(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "env-key")
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "env-admin")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/")
    monkeypatch.setenv("OPENAI_ORG_ID", "env-org")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "env-project")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "x-env: env-header\nauthorization: env-auth")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with serving(said()) as server:
        keyless = ask(gateway, server, api_key="")
        ask(gateway, server, organization="our-org", project="folder")

    assert keyless.reason == "ok"
    assert "env-" not in str([seen.headers for seen in server.seen])
    first, second = ({k.lower(): v for k, v in seen.headers.items()} for seen in server.seen)
    assert "authorization" not in first
    assert "openai-organization" not in first
    assert second["authorization"] == f"Bearer {KEY}"
    assert second["openai-organization"] == "our-org"
    assert second["openai-project"] == "folder"


def test_private_addresses_are_refused_unless_allowed() -> None:
    gateway = Gateway(address_guard=AddressGuard(allow_private=False))
    with serving(said()) as server:
        for url in (server.base_url, "https://127.0.0.1/v1", "https://localhost/v1"):
            result = gateway.answer(make_request(), [make_provider(url)])

            assert (result.reason, result.retry_in) == ("not_allowed", None)
    assert not server.seen
    gateway.close()


def test_a_name_that_leads_home_is_refused_when_connecting() -> None:
    guard = AddressGuard(allow_private=False, resolver=lambda host: ["127.0.0.1"])
    gateway = Gateway(address_guard=guard)

    result = gateway.answer(make_request(), [make_provider("https://models.example/v1")])

    assert result.reason == "not_allowed"
    gateway.close()


def test_the_connection_goes_where_the_guard_says(gateway: Gateway) -> None:
    guard = AddressGuard(allow_private=True, resolver=lambda host: ["127.0.0.1"])
    other = Gateway(address_guard=guard)
    with serving(said()) as server:
        url = server.base_url.replace("127.0.0.1", "models.example")

        assert other.answer(make_request(), [make_provider(url)]).reason == "ok"
        assert server.seen[0].headers["Host"].startswith("models.example")
    other.close()


def test_a_certificate_is_checked_and_a_bundle_of_the_admin_is_believed(
    gateway: Gateway, own_authority: tuple[ssl.SSLContext, str]
) -> None:
    context, pem = own_authority
    with ScriptedServer([said()], tls=context) as server:
        stranger = ask(gateway, server)
        trusted = ask(gateway, server, ca_bundle=pem)

    assert (stranger.reason, stranger.retry_in) == ("certificate", None)
    assert trusted.reason == "ok"
    assert len(server.seen) == 1


def test_a_body_without_end_is_not_read_into_memory(gateway: Gateway) -> None:
    with serving(Say(b'{"a": "' + b"x" * 5_000_000 + b'"}')) as server:
        result = ask(gateway, server)

    assert result.reason == "odd_response"


def test_knowledge_facts_and_wishes_reach_the_model_and_whispers_do_not(gateway: Gateway) -> None:
    asked = make_request(
        instructions="Вы помощник. Клиент: {{ client_name }}.",
        variables={"client_name": "Пётр"},
        sources=(Source(key="k1", title="Режим", text="Пн–Пт 9–18"),),
        crm_facts={"Компания": "Ромашка"},
        steer="короче",
        conversation=(
            Turn(author=Author.WHISPER, text="этот клиент скандальный"),
            client("Когда вы открыты?"),
        ),
    )
    with serving(said()) as server:
        gateway.answer(asked, [make_provider(server.base_url)])
    prompt = server.seen[0].prompt

    for words in ("Клиент: Пётр.", "[k1] Режим", "Пн–Пт 9–18", "Компания: Ромашка", "короче"):
        assert words in prompt
    assert "скандальный" not in prompt


def test_a_marker_that_the_model_takes_for_a_number_of_the_order_is_a_leak(
    gateway: Gateway,
) -> None:
    def copying(seen: Seen) -> Say:
        marker = re.search(r"<<(\S+) CONVERSATION>>", seen.prompt)
        assert marker is not None
        return said(json.dumps({**GOOD, "reply": f"Ваш номер обращения {marker[1]}, ждите."}))

    with ScriptedServer(copying) as server:
        result = ask(gateway, server)

    assert result.answer is not None
    checked = check_reply(
        result.answer.reply,
        client_texts=["Здравствуйте"],
        client_language="ru",
        known=KnownFacts(),
        max_length=600,
        canary=result.canary,
    )
    assert ([doubt.kind for doubt in checked.doubts], checked.text) == (["leak"], "")
