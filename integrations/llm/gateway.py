"""One question to a model, whatever its server can do and however it fails: `Gateway.answer`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from integrations.llm import prompt
from integrations.llm.failures import (
    Circuit,
    Failure,
    MemoryCircuit,
    ModelFailed,
    OwnPlaces,
    Places,
)
from integrations.llm.passage import Means, Memory, Outcome, Passage
from integrations.llm.probe import probe
from integrations.llm.providers import Capabilities, Provider
from integrations.llm.question import AnswerRequest, Bill, KeyCheck, Result
from integrations.llm.values import Answer, Usage
from integrations.llm.wire import Wire
from integrations.net import AddressGuard

__all__ = ["AnswerRequest", "Gateway", "KeyCheck", "Result"]

log = logging.getLogger(__name__)

DEADLINE_SECONDS = 45.0
FALLBACK_SHARE = 0.4
"""Of the time left, what is kept for the routes after this one."""
CHECK_TOKENS = 32
"""Two words are wanted; a small model on a slow processor talks until it is stopped."""
LATER_SECONDS = 15.0
"""When to come back after a failure that named no time."""


class Masking(Protocol):
    """What is needed of `masking.Masker`."""

    @property
    def counts(self) -> Mapping[str, int]: ...

    def mask(self, text: str) -> str: ...

    def unmask(self, text: str) -> str: ...

    def unmask_json(self, value: Any) -> Any: ...


class Gateway:
    """The door to all models. One per process, shared by its threads."""

    def __init__(
        self,
        *,
        circuit: Circuit | None = None,
        places: Places | None = None,
        address_guard: AddressGuard | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._wire = Wire(address_guard or AddressGuard())
        self._circuit = circuit or MemoryCircuit()
        self._clock = clock
        self._memory = Memory()
        self._means = Means(
            self._wire, self._circuit, places or OwnPlaces(), self._memory, clock, sleep
        )

    def answer(
        self,
        request: AnswerRequest,
        routes: Sequence[Provider],
        *,
        deadline_seconds: float | None = None,
    ) -> Result:
        """Ask the first route that works; blocks. Never raises: every failure is in the result.

        `deadline_seconds` is for all routes together; default: the longest of their own.
        """
        started = self._clock()
        try:
            result = self._answer(request, routes, started, deadline_seconds)
        except Exception as error:  # noqa: BLE001  a caller must not need to know what can go wrong
            # The name only: messages of exceptions may quote texts of clients.
            log.error("model call failed inside: %s", type(error).__name__)
            broken = Failure(kind="transient", code="internal", retry_in=LATER_SECONDS)
            result = Result(failures=(broken,), reason="internal", retry_in=LATER_SECONDS)
        elapsed = round((self._clock() - started) * 1000)
        return result.model_copy(update={"latency_ms": elapsed})

    def list_models(self, provider: Provider, *, deadline_seconds: float = 15.0) -> list[str]:
        """Names of the models on the server. Raises: ModelFailed (its `failure` has the code)."""
        work = self._wire.models(provider, seconds=deadline_seconds)
        return self._wire.run(work, seconds=deadline_seconds)

    def check_key(self, provider: Provider, *, deadline_seconds: float = 20.0) -> KeyCheck:
        """Does this address, key and model answer at all? Never raises; costs a few tokens at most.

        The list of models alone proves nothing: some servers give it to anybody.
        """
        started = self._clock()
        try:
            models = self.list_models(provider, deadline_seconds=deadline_seconds / 2)
        except ModelFailed as error:
            models = []
            if error.failure.code in ("auth", "not_allowed", "bad_config", "unreachable"):
                return self._checked(started, error.failure)
        body: dict[str, Any] = {"messages": [{"role": "user", "content": "Say OK."}]}
        # A small model may go on talking; a server that knows no such limit is asked without it.
        field: str = provider.limit_field or provider.preset.limit_field
        limit: dict[str, Any] = {field: CHECK_TOKENS}
        for attempt in ({**body, **limit}, body):
            try:
                work = self._wire.chat(provider, attempt, seconds=deadline_seconds / 2)
                self._wire.run(work, seconds=deadline_seconds / 2)
                break
            except ModelFailed as error:
                if error.failure.code != "bad_request" or attempt is body:
                    return self._checked(started, error.failure, models, provider)
        self._circuit.success(provider.key)
        return self._checked(started, None, models, provider)

    def _checked(
        self,
        started: float,
        failure: Failure | None,
        models: Sequence[str] = (),
        provider: Provider | None = None,
    ) -> KeyCheck:
        listed = provider.model_on_server in models if provider and models else None
        return KeyCheck(
            code=failure.code if failure else "ok",
            status=failure.status if failure else 200,
            latency_ms=round((self._clock() - started) * 1000),
            models=len(models) or None,
            model_listed=listed,
            failure=failure,
        )

    def probe(
        self, provider: Provider, *, full: bool = False, deadline_seconds: float = 60.0
    ) -> Capabilities:
        """Try out what the server can do ("test connection"): 3 to 13 short calls.

        Raises: ModelFailed when it does not even answer a plain question.
        """
        work = probe(provider, self._wire, full=full, seconds=deadline_seconds)
        found = self._wire.run(work, seconds=deadline_seconds)
        self._circuit.success(provider.key)
        self._memory.learn(provider.key, found)
        return found

    def known_capabilities(self, provider: Provider) -> Capabilities | None:
        """What this process has learned, else what is stored with the provider."""
        return self._memory.capabilities(provider)

    def close(self) -> None:
        self._wire.close()

    def _answer(
        self,
        request: AnswerRequest,
        routes: Sequence[Provider],
        started: float,
        deadline_seconds: float | None,
    ) -> Result:
        versions = _Versions(request)
        canary = prompt.new_canary()
        longest = max((route.deadline_seconds for route in routes), default=DEADLINE_SECONDS)
        ends_at = started + (deadline_seconds or longest)
        history: list[Failure] = []
        probe_due = False
        bills: list[Bill] = []
        model_ms = 0
        for number, route in enumerate(routes):
            if not self._circuit.allow(route.key):
                history.append(
                    Failure(
                        kind="transient",
                        code="circuit_open",
                        retry_in=max(1.0, self._circuit.opens_in(route.key)),
                        provider=route.kind,
                        model=route.model,
                    )
                )
                continue
            left = ends_at - self._clock()
            share = 1.0 if number == len(routes) - 1 else 1.0 - FALLBACK_SHARE
            outgoing, masker = versions.for_server(route)
            passage = Passage(
                self._means,
                request=outgoing,
                provider=route,
                canary=canary,
                until=self._clock() + min(left * share, route.deadline_seconds),
            )
            outcome = passage.run()
            bills.append(_bill(route, outcome, versions))
            model_ms += outcome.model_ms
            probe_due = probe_due or outcome.probe_due
            history += outcome.failures
            if outcome.settled:
                return Result(
                    answer=_unmasked(outcome.answer, masker),
                    text=masker.unmask(outcome.text) if masker else outcome.text,
                    how=outcome.how,
                    provider_kind=route.kind,
                    model=route.model,
                    usage=_total(bills),
                    bills=tuple(bills),
                    failures=tuple(history),
                    reason=outcome.reason,
                    model_ms=model_ms,
                    calls=sum(bill.calls for bill in bills),
                    repaired=outcome.repaired,
                    masked_counts=bills[-1].masked,
                    capabilities_learned=outcome.learned,
                    probe_due=probe_due,
                    canary=canary,
                )
        return _given_up(history).model_copy(
            update={
                "usage": _total(bills),
                "bills": tuple(bills),
                "model_ms": model_ms,
                "calls": sum(bill.calls for bill in bills),
                "masked_counts": bills[-1].masked if bills else {},
                "probe_due": probe_due,
                "canary": canary,
            }
        )


def _given_up(history: Sequence[Failure]) -> Result:
    """No route answered: when to come back, if there is a point in it."""
    if not history:
        nothing = Failure(kind="permanent", code="no_provider")
        return Result(failures=(nothing,), reason=nothing.code)
    passing = [failure for failure in history if failure.kind in ("transient", "wait")]
    # The last failure of a route is the one it gave up on; an earlier one may have been got over.
    deciding = [failure for failure in _last_of_each_route(history) if failure in passing]
    if not deciding:
        return Result(failures=tuple(history), reason=_last_of_each_route(history)[0].code)
    soonest = min(deciding, key=lambda failure: failure.retry_in or LATER_SECONDS)
    return Result(
        failures=tuple(history),
        reason=soonest.code,
        retry_in=soonest.retry_in or LATER_SECONDS,
    )


def _last_of_each_route(history: Sequence[Failure]) -> list[Failure]:
    return list({(failure.provider, failure.model): failure for failure in history}.values())


def _total(bills: Sequence[Bill]) -> Usage:
    return sum((bill.usage for bill in bills), Usage())


# --- Personal data -------------------------------------------------------------------------------


class _Versions:
    """One question as it may leave: with labels for one server, in clear for another."""

    def __init__(self, request: AnswerRequest) -> None:
        self._request = request
        self._with_labels: tuple[AnswerRequest, Masking] | None = None

    def for_server(self, server: Provider) -> tuple[AnswerRequest, Masking | None]:
        if not self._hidden_from(server):
            return self._request, None
        if self._with_labels is None:
            from integrations.llm.masking import Masker  # loads the phone library: only where used

            masker = Masker(names=self._request.mask_names)
            self._with_labels = _masked(self._request, masker), masker
        return self._with_labels

    def masked(self, server: Provider) -> dict[str, int]:
        """Kind → how many different values this server got as labels."""
        _outgoing, masker = self.for_server(server)
        return dict(masker.counts) if masker else {}

    def left(self, server: Provider) -> dict[str, int]:
        """Kind → how many different values this server got as they are, as far as rules can tell.

        The company's own instructions and knowledge are not searched.
        """
        from integrations.llm.masking import count_personal_data

        outgoing, _masker = self.for_server(server)
        return count_personal_data(
            [
                *(turn.text for turn in outgoing.conversation if turn.author in prompt.AUTHORS),
                *(str(value) for value in outgoing.crm_facts.values()),
                str(outgoing.variables.get("client_name", "")),
                outgoing.steer,
            ]
        )

    def _hidden_from(self, server: Provider) -> bool:
        return self._request.mask if server.mask is None else server.mask


def _bill(server: Provider, outcome: Outcome, versions: _Versions) -> Bill:
    return Bill(
        provider_kind=server.kind,
        model=server.model,
        origin=server.origin,
        own_network=server.is_own_network,
        leaves_country=server.leaves_country,
        calls=outcome.calls,
        characters=outcome.characters,
        usage=outcome.usage,
        masked=versions.masked(server) if outcome.calls else {},
        left=versions.left(server) if outcome.calls else {},
    )


def _masked(request: AnswerRequest, masker: Masking) -> AnswerRequest:
    """The same request as it may leave; instructions and knowledge are the company's own."""
    return request.model_copy(
        update={
            "conversation": tuple(
                turn.model_copy(update={"text": masker.mask(turn.text)})
                for turn in request.conversation
            ),
            "crm_facts": {
                name: masker.mask(str(value)) for name, value in request.crm_facts.items()
            },
            "variables": {
                name: masker.mask(str(value)) if name == "client_name" else str(value)
                for name, value in request.variables.items()
            },
            "steer": masker.mask(request.steer),
        }
    )


def _unmasked(answer: Answer | None, masker: Masking | None) -> Answer | None:
    if answer is None or masker is None:
        return answer
    return answer.model_copy(
        update={
            "reply": masker.unmask(answer.reply),
            "fields": masker.unmask_json(dict(answer.fields)),
        }
    )
