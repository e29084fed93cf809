"""One question to one server: the ladder, the retries, the one repair."""

from __future__ import annotations

import random
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from integrations.llm import failures, prompt
from integrations.llm.failures import Circuit, Failure, ModelFailed, Places
from integrations.llm.ladder import THINKING_MODEL, Plan, adapt, first_plan, shape_body, weaker
from integrations.llm.parse import BadAnswer, as_plain_text, parse_answer, strip_thinking
from integrations.llm.prices import estimate_tokens, with_cost
from integrations.llm.prompt import ChatMessage
from integrations.llm.providers import SHARED_PLACES, Capabilities, Provider
from integrations.llm.question import AnswerRequest, How
from integrations.llm.values import Answer, Author, Usage
from integrations.llm.wire import Reply, Wire

RETRIES = 2
BACKOFF_SECONDS = 0.5
SHORTEST_CALL_SECONDS = 0.05
KEPT_CAPABILITIES = 1024
BROKEN_BEFORE_PROBE = 5
"""Unusable answers in a row."""

CHARS_PER_TOKEN = 1.5
"""Of an answer, at worst: older vocabularies cut a Russian word into pieces of two letters."""
TOKENS_TO_SPARE = 100
THINKING_TOKENS = 4000
AFTER_CUT_FACTOR = 3
"""How much longer the second answer may be when the first ran out of tokens."""

REFUSING_FINISHES = frozenset({"content_filter", "blacklist", "refusal"})


class Outcome(NamedTuple):
    """What came of one route."""

    settled: bool
    """True: this is the result, also when it is a refusal. False: try the next route."""
    answer: Answer | None
    text: str
    how: How
    reason: str
    usage: Usage
    failures: list[Failure]
    model_ms: int
    calls: int
    characters: int
    """Of all prompts sent."""
    repaired: bool
    learned: Capabilities | None
    probe_due: bool


class Memory:
    """What one process has learned about servers; the database keeps it for the others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._learned: OrderedDict[str, Capabilities] = OrderedDict()
        self._broken: dict[str, int] = {}

    def capabilities(self, provider: Provider) -> Capabilities | None:
        with self._lock:
            return self._learned.get(provider.key) or provider.capabilities

    def learn(self, key: str, found: Capabilities) -> None:
        with self._lock:
            self._learned[key] = found
            self._learned.move_to_end(key)
            if len(self._learned) > KEPT_CAPABILITIES:
                self._learned.popitem(last=False)

    def broken(self, key: str) -> None:
        with self._lock:
            self._broken[key] = self._broken.get(key, 0) + 1

    def mended(self, key: str) -> None:
        with self._lock:
            self._broken.pop(key, None)

    def probe_due(self, key: str) -> bool:
        """With the fifth unusable answer in a row and every fifth after it: a test costs calls."""
        broken = self._broken.get(key, 0)
        return broken > 0 and broken % BROKEN_BEFORE_PROBE == 0


@dataclass(frozen=True, slots=True)
class Means:
    """What every passage of a process shares."""

    wire: Wire
    circuit: Circuit
    places: Places
    memory: Memory
    clock: Callable[[], float]
    sleep: Callable[[float], None]


class Passage:
    """One question to one provider: the ladder, the retries and the one repair."""

    def __init__(
        self,
        means: Means,
        *,
        request: AnswerRequest,
        provider: Provider,
        canary: str,
        until: float,
    ) -> None:
        self._means = means
        self._request = request
        self._provider = provider
        self._canary = canary
        self._until = until
        self._known = means.memory.capabilities(provider)
        most = min(request.max_input_chars or provider.max_input_chars, provider.max_input_chars)
        self._plan = first_plan(provider, self._known, most)
        self._usage = Usage()
        self._failures: list[Failure] = []
        self._model_seconds = 0.0
        self._calls = 0
        self._characters = 0
        self._halved = False
        self._blind_steps = 0
        self._output_factor = 1

    def run(self) -> Outcome:
        try:
            return self._run()
        except ModelFailed as error:
            self._note(error.failure)
            self._report(error.failure)
            settled = error.failure.kind == "refused"
            return self._outcome(settled=settled, reason=error.failure.code)

    def _run(self) -> Outcome:
        reply = self._ask(self._messages)
        try:
            return self._understood(self._parse(reply), repaired=False)
        except BadAnswer as error:
            bad = error
        return self._repair(reply, bad)

    def _repair(self, reply: Reply, bad: BadAnswer) -> Outcome:
        """The one second chance; then what can be used of the two answers; then nothing."""
        self._means.memory.broken(self._provider.key)
        shape = self._plan.shape
        if bad.looks_like in ("cut", "empty"):
            self._output_factor = AFTER_CUT_FACTOR
        if shape.carries_schema and bad.looks_like == "damaged" and reply.finish_reason != "length":
            # A server that follows a schema cannot write this, so it does not follow it.
            below = weaker(self._plan, self._provider.preset, without_schema=True)
            if below is not None:
                self._plan = replace(self._plan, shape=below, ignored=(*self._plan.ignored, shape))
        previous = strip_thinking(reply.text or "")

        def messages() -> list[ChatMessage]:
            return prompt.repair_messages(
                self._messages(), previous=previous, problem=bad.message_for_the_model
            )

        second: Reply | None = None
        worse, failed = bad, None
        try:
            second = self._ask(messages, temperature=0.0, retries=0)
            return self._understood(self._parse(second), repaired=True)
        except BadAnswer as error:
            worse = error
        except ModelFailed as error:
            if error.failure.kind == "refused":
                raise
            failed = error
        partial = worse.partial or bad.partial
        if partial is not None and (partial.reply or partial.fields):
            self._note(Failure(kind="contract", code="not_understood"))
            return self._understood(partial, repaired=True, how="partial")
        text = as_plain_text(second.text if second else None) or as_plain_text(reply.text)
        if failed is not None and not text:
            raise failed
        if failed is not None:
            self._note(failed.failure)
        self._note(Failure(kind="contract", code="not_understood"))
        self._means.circuit.success(self._provider.key)
        if text:
            return self._outcome(settled=True, text=text, how="plain", reason="plain_text")
        return self._outcome(settled=False, reason="not_understood")

    def _parse(self, reply: Reply) -> Answer:
        """Raises: BadAnswer, ModelFailed (refused, or a page of a proxy instead of an answer)."""
        if reply.refusal or reply.finish_reason.casefold() in REFUSING_FINISHES:
            raise failures.failed("refused", "refused")
        try:
            return parse_answer(reply.text, self._request.spec, finish_reason=reply.finish_reason)
        except BadAnswer as error:
            if error.looks_like == "html":
                raise failures.failed("transient", "not_a_model") from None
            raise

    def _understood(self, answer: Answer, *, repaired: bool, how: How | None = None) -> Outcome:
        self._means.circuit.success(self._provider.key)
        if not repaired:
            self._means.memory.mended(self._provider.key)
        return self._outcome(
            settled=True,
            answer=answer,
            how=how or self._plan.shape.how,
            reason="ok",
            repaired=repaired,
        )

    # --- requests --------------------------------------------------------------------------------

    def _messages(self) -> list[ChatMessage]:
        request = self._request
        return prompt.build_messages(
            instructions=prompt.render(request.instructions, request.variables),
            spec=request.spec,
            conversation=request.conversation,
            sources=request.sources,
            crm_facts=request.crm_facts,
            now=request.now,
            language_default=request.reply_language,
            canary=self._canary,
            shape=self._plan.shape,
            steer=request.steer,
            max_input_chars=self._plan.max_input_chars,
        )

    def _body(self, messages: Sequence[ChatMessage], temperature: float | None) -> dict[str, Any]:
        plan, spec, provider = self._plan, self._request.spec, self._provider
        body: dict[str, Any] = {"messages": list(messages)}
        body |= shape_body(plan.shape, spec, provider.preset)
        if plan.temperature and provider.temperature is not None:
            body["temperature"] = provider.temperature if temperature is None else temperature
        limit = round(spec.longest_answer(self._said()) / CHARS_PER_TOKEN) + TOKENS_TO_SPARE
        if THINKING_MODEL.search(provider.model):
            limit += THINKING_TOKENS
        body[plan.limit_field] = min(limit * self._output_factor, plan.most_tokens or sys.maxsize)
        return body

    def _said(self) -> int:
        return sum(
            len(turn.text) for turn in self._request.conversation if turn.author is Author.CLIENT
        )

    def _ask(
        self,
        messages: Callable[[], list[ChatMessage]],
        *,
        temperature: float | None = None,
        retries: int = RETRIES,
    ) -> Reply:
        """One answer, over as many requests as the server's peculiarities and moods take.

        Raises: ModelFailed.
        """
        built = messages()
        attempt = 0
        while True:
            try:
                return self._send(built, temperature)
            except ModelFailed as error:
                failure = error.failure
                changed = self._changed(error, built)
                if changed is not None:
                    self._plan = changed
                    built = messages()
                    continue
                if attempt >= retries or not self._worth_retrying(failure):
                    if (stepped := self._blind_step(failure)) is None:
                        raise
                    self._plan, attempt = stepped, 0
                    built = messages()
                    continue
                pause = self._pause(failure, attempt)
                if self._means.clock() + pause + SHORTEST_CALL_SECONDS >= self._until:
                    raise
                self._note(failure)
                attempt += 1
                self._means.sleep(pause)

    def _changed(self, error: ModelFailed, built: Sequence[ChatMessage]) -> Plan | None:
        if error.failure.kind == "too_big" and not self._halved:
            self._halved = True
            self._note(error.failure)
            return replace(self._plan, max_input_chars=prompt.input_length(built) // 2)
        return adapt(self._plan, error, self._provider.preset)

    def _blind_step(self, failure: Failure) -> Plan | None:
        """A server that keeps failing with 500 may do so because of the shape: try one without."""
        if failure.status != 500 or self._blind_steps:
            return None
        self._blind_steps += 1
        below = weaker(self._plan, self._provider.preset, without_schema=True)
        return None if below is None else replace(self._plan, shape=below)

    def _worth_retrying(self, failure: Failure) -> bool:
        # A server that hung once hangs again: the time is better spent on the next route.
        return failure.kind == "transient" and failure.code not in ("timeout", "busy", "internal")

    def _pause(self, failure: Failure, attempt: int) -> float:
        """Full jitter; not before the server wants to be asked again."""
        jitter = random.uniform(0, BACKOFF_SECONDS * 2**attempt)  # noqa: S311  no secret
        return (failure.retry_in or 0.0) + jitter

    def _send(self, messages: Sequence[ChatMessage], temperature: float | None) -> Reply:
        means, provider = self._means, self._provider
        seconds = self._until - means.clock()
        if seconds < SHORTEST_CALL_SECONDS:
            raise failures.failed("transient", "timeout")
        shared = provider.max_in_flight <= SHARED_PLACES
        places = means.places if shared else failures.OwnPlaces()
        with places.held(provider.account, provider.max_in_flight, seconds):
            reply = self._call(self._body(messages, temperature), messages)
        counted = reply.usage or Usage(
            prompt_tokens=sum(estimate_tokens(message["content"]) for message in messages),
            completion_tokens=estimate_tokens(reply.text or ""),
            estimated=True,
        )
        self._usage = self._usage + with_cost(counted, self._provider)
        return reply

    def _call(self, body: dict[str, Any], messages: Sequence[ChatMessage]) -> Reply:
        means = self._means
        started = means.clock()
        seconds = max(self._until - started, SHORTEST_CALL_SECONDS)
        self._calls += 1
        self._characters += prompt.input_length(messages)
        try:
            return means.wire.run(
                means.wire.chat(self._provider, body, seconds=seconds), seconds=seconds
            )
        finally:
            self._model_seconds += means.clock() - started

    # --- bookkeeping -----------------------------------------------------------------------------

    def _note(self, failure: Failure) -> None:
        self._failures.append(
            failure.model_copy(
                update={"provider": self._provider.kind, "model": self._provider.model}
            )
        )

    def _report(self, failure: Failure) -> None:
        if failure.counts_against_server:
            self._means.circuit.failure(self._provider.key, permanent=failure.needs_admin)
        elif failure.code not in ("busy", "internal"):
            # Whatever it was, the server answered: a trial call of a half-open circuit is over.
            self._means.circuit.success(self._provider.key)

    def _learned(self, *, answered: bool) -> Capabilities | None:
        """What is new about this server; a step taken blindly is not knowledge."""
        plan, known = self._plan, self._known
        if not answered or self._blind_steps:
            return None
        before = first_plan(self._provider, known, plan.max_input_chars)
        same = (plan.shape, plan.limit_field, plan.temperature, plan.rejected, plan.ignored)
        if known and same == (
            before.shape, before.limit_field, before.temperature, before.rejected, before.ignored
        ):  # fmt: skip
            return None
        found = (known or Capabilities(shape=plan.shape)).model_copy(
            update={
                "shape": plan.shape,
                "enforced": bool(known and known.enforced and known.shape is plan.shape),
                "limit_field": plan.limit_field,
                "temperature": plan.temperature,
                "rejected": plan.rejected,
                "ignored": plan.ignored,
            }
        )
        self._means.memory.learn(self._provider.key, found)
        return found

    def _outcome(
        self,
        *,
        settled: bool,
        reason: str,
        answer: Answer | None = None,
        text: str = "",
        how: How = "failed",
        repaired: bool = False,
    ) -> Outcome:
        return Outcome(
            settled=settled,
            answer=answer,
            text=text,
            how=how,
            reason=reason,
            usage=self._usage,
            failures=self._failures,
            model_ms=round(self._model_seconds * 1000),
            calls=self._calls,
            characters=self._characters,
            repaired=repaired,
            learned=self._learned(answered=how != "failed"),
            probe_due=self._means.memory.probe_due(self._provider.key),
        )
