"""What a server can really do, told by its behaviour: the "test connection" button.

The trick: ask for one English word in plain text, but attach a schema whose only allowed value is
something the prompt never mentions. A server that enforces schemas answers with exactly that, one
that ignores them answers with the word, one that cannot refuses.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any, Literal, Protocol

from integrations.llm.failures import ModelFailed
from integrations.llm.parse import strip_thinking
from integrations.llm.providers import (
    SCHEMA_SHAPES,
    Capabilities,
    LimitField,
    Preset,
    Provider,
    Shape,
)
from integrations.llm.wire import Reply

WORD = "Write the English name of the colour of the sky. One word, nothing else."
LONG = "Count from 1 to 60 in words, separated by spaces."
JSON_WORD = 'Write a JSON object with the key "colour" and the English colour of the sky.'
HIDDEN_VALUE = "q7"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"probe": {"type": "string", "enum": [HIDDEN_VALUE]}},
    "required": ["probe"],
    "additionalProperties": False,
}
SMALL_LIMIT = 8
"""Tokens; an answer of more than `LIMIT_BROKEN` shows that the limit had no effect."""
LIMIT_BROKEN = 24
TINY_PROMPT = 5
"""Tokens; fewer for `WORD` mean that the chat template swallowed the message."""
TOKENS = 300
TOKENS_WITH_THOUGHTS = 3000
"""For a model that spent `TOKENS` before its first word."""
CALL_SECONDS = 20.0
REJECTED = frozenset({400, 404, 415, 422, 500, 501})

Verdict = Literal["obeyed", "ignored", "rejected", "unknown"]


class Chat(Protocol):
    """What the probe needs of `wire.Wire`."""

    async def chat(
        self, provider: Provider, body: Mapping[str, Any], *, seconds: float
    ) -> Reply: ...

    async def stream_has_usage(
        self, provider: Provider, body: Mapping[str, Any], *, seconds: float
    ) -> bool: ...

    async def models(self, provider: Provider, *, seconds: float) -> list[str]: ...


async def probe(
    provider: Provider, http: Chat, *, full: bool = False, seconds: float = 60.0
) -> Capabilities:
    """Try the shapes of the provider from the strongest down, then the limit field.

    The short form makes 3 to 9 calls of a few tokens; `full` adds stream, seed, log probabilities
    and the list of models. No call is repeated; what could not be told stays unknown.

    Raises: ModelFailed when the server does not answer a plain question (its `failure` says why).
    """
    test = _Test(provider, http, seconds)
    await test.plain()
    await test.shapes()
    await test.limit()
    if full:
        await test.extras()
    return test.found


class _Test:
    def __init__(self, provider: Provider, http: Chat, seconds: float) -> None:
        self._provider = provider
        self._http = http
        self._ends_at = time.monotonic() + seconds
        self._tokens = TOKENS
        self._limit: LimitField = provider.limit_field or provider.preset.limit_field
        self.found = Capabilities(shape=Shape.TEXT, limit_field=self._limit, probed=True)

    def _learn(self, **facts: Any) -> None:
        self.found = self.found.model_copy(update=facts)

    def _note(self, code: str) -> None:
        if code not in self.found.notes:
            self._learn(notes=(*self.found.notes, code))

    async def _ask(self, text: str, **more: Any) -> Reply:
        body: dict[str, Any] = {"messages": [{"role": "user", "content": text}], **more}
        if self.found.temperature:
            body["temperature"] = 0
        if not {"max_tokens", "max_completion_tokens"} & more.keys():
            body[self._limit] = self._tokens
        left = max(0.1, self._ends_at - time.monotonic())
        return await self._http.chat(self._provider, body, seconds=min(CALL_SECONDS, left))

    async def _try(self, text: str, **more: Any) -> Reply | Literal["rejected", "unknown"]:
        try:
            return await self._ask(text, **more)
        except ModelFailed as error:
            if error.failure.status in REJECTED:
                return "rejected"
            self._note("unsure")
            return "unknown"

    async def plain(self) -> None:
        started = time.monotonic()
        try:
            reply = await self._ask(WORD)
        except ModelFailed as error:
            reply = await self._plain_otherwise(error)
        self._learn(answered_in_ms=round((time.monotonic() - started) * 1000))
        if _ran_out(reply):
            self._tokens = TOKENS_WITH_THOUGHTS
        if reply.usage is None:
            self._learn(usage=False)
            self._note("no_usage")
            return
        self._learn(usage=True, prompt_tokens=reply.usage.prompt_tokens)
        if reply.usage.prompt_tokens < TINY_PROMPT:
            self._note("wrong_template")

    async def _plain_otherwise(self, error: ModelFailed) -> Reply:
        """Once more without whatever parameter the server complained about."""
        if error.failure.status not in REJECTED or error.failure.needs_admin:
            raise error
        if "temperature" in error.message:
            self._learn(temperature=False)
            self._note("no_temperature")
        elif "max_tokens" in error.message or "max_completion_tokens" in error.message:
            self._swap_limit()
        else:
            raise error
        try:
            return await self._ask(WORD)
        except ModelFailed as second:
            # Reasoning models refuse both, one after the other.
            if "max_tokens" in second.message and self.found.limit_field == "max_tokens":
                self._swap_limit()
            elif "temperature" in second.message and self.found.temperature:
                self._learn(temperature=False)
                self._note("no_temperature")
            else:
                raise
            return await self._ask(WORD)

    def _swap_limit(self) -> None:
        self._limit = (
            "max_tokens" if self._limit == "max_completion_tokens" else "max_completion_tokens"
        )
        self._learn(limit_field=self._limit)

    async def shapes(self) -> None:
        preset = self._provider.preset
        unknown: list[Shape] = []
        for shape in _to_try(preset):
            text = JSON_WORD if shape is Shape.JSON_OBJECT else WORD
            reply = await self._try(text, **probe_body(shape))
            verdict = reply if isinstance(reply, str) else _verdict(shape, reply)
            match verdict:
                case "obeyed":
                    self._learn(shape=shape, enforced=shape is not Shape.JSON_OBJECT)
                    return
                case "ignored":
                    self._learn(ignored=(*self.found.ignored, shape))
                case "rejected":
                    self._learn(rejected=(*self.found.rejected, shape))
                case "unknown":
                    self._note("unsure")
                    unknown.append(shape)
        # What could not be told is taken as it is expected of this kind of server.
        expected = (shape for shape in preset.shapes if shape in unknown)
        self._learn(shape=next(expected, Shape.TEXT))

    async def limit(self) -> None:
        first = self._limit
        other: LimitField = "max_tokens" if first != "max_tokens" else "max_completion_tokens"
        for field in (first, other):
            reply = await self._try(LONG, **{field: SMALL_LIMIT})
            if isinstance(reply, str):
                continue
            short = reply.finish_reason == "length" or len(reply.text or "") < LIMIT_BROKEN * 4
            if reply.usage is not None:
                short = reply.usage.completion_tokens <= LIMIT_BROKEN
            if short:
                self._learn(limit_field=field)
                return
        self._note("limit_ignored")

    async def extras(self) -> None:
        body: dict[str, Any] = {"messages": [{"role": "user", "content": WORD}], self._limit: 100}
        try:
            seen = await self._http.stream_has_usage(self._provider, body, seconds=CALL_SECONDS)
            self._learn(usage_in_stream=seen)
        except ModelFailed:
            self._learn(usage_in_stream=False)
        self._learn(seed=isinstance(await self._try(WORD, seed=7), Reply))
        logprobs = await self._try(WORD, logprobs=True, top_logprobs=1)
        self._learn(logprobs=isinstance(logprobs, Reply))
        try:
            names = await self._http.models(self._provider, seconds=CALL_SECONDS)
            self._learn(models=tuple(names[:200]))
        except ModelFailed:
            self._learn(models=())


def _to_try(preset: Preset) -> list[Shape]:
    """All schema shapes, not only the preset's: the preset is a prior, and each try is cheap."""
    shapes = [Shape.JSON_SCHEMA]
    if preset.shapes[0] is not Shape.JSON_SCHEMA or set(preset.shapes) & set(SCHEMA_SHAPES[1:]):
        shapes = list(SCHEMA_SHAPES)
    return [*shapes, Shape.TOOL, Shape.JSON_OBJECT]


def probe_body(shape: Shape) -> dict[str, Any]:
    """The request's part that asks for the secret value in this shape."""
    match shape:
        case Shape.JSON_SCHEMA:
            named = {"name": "probe", "strict": True, "schema": SCHEMA}
            return {"response_format": {"type": "json_schema", "json_schema": named}}
        case Shape.SCHEMA_BARE:
            return {"response_format": {"type": "json_schema", "json_schema": SCHEMA}}
        case Shape.SCHEMA_FLAT:
            return {"response_format": {"type": "json_schema", "schema": SCHEMA}}
        case Shape.OBJECT_SCHEMA:
            return {"response_format": {"type": "json_object", "schema": SCHEMA}}
        case Shape.TOOL:
            function = {"name": "probe", "description": "Probe", "parameters": SCHEMA}
            return {
                "tools": [{"type": "function", "function": function}],
                "tool_choice": {"type": "function", "function": {"name": "probe"}},
            }
        case Shape.JSON_OBJECT:
            return {"response_format": {"type": "json_object"}}
        case Shape.TEXT:
            return {}


def _verdict(shape: Shape, reply: Reply) -> Verdict:
    text = strip_thinking(reply.text or "")
    try:
        value = json.loads(text)
    except ValueError:
        # JSON mode promises no end, and some services answer with nothing now and then.
        cut = reply.finish_reason == "length" and text.startswith("{")
        open_end = shape is Shape.JSON_OBJECT and (cut or not text)
        return "unknown" if open_end or _ran_out(reply) else "ignored"
    if shape is Shape.JSON_OBJECT:
        return "obeyed" if isinstance(value, dict) else "ignored"
    return "obeyed" if value == {"probe": HIDDEN_VALUE} else "ignored"


def _ran_out(reply: Reply) -> bool:
    """Did the model think until it had no tokens left for a word?"""
    return reply.finish_reason == "length" and not strip_thinking(reply.text or "")
