"""Calls to one portal: tokens, limits, repeats, a changed domain, batches and pages."""

from __future__ import annotations

import json
import logging
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urljoin, urlsplit

import requests
from urllib3.exceptions import NewConnectionError

from integrations.bitrix24.errors import (
    AccessLost,
    Bitrix24Error,
    CallRejected,
    InvalidToken,
    LimitExceeded,
    TokenExpired,
    Unavailable,
    error_from,
    masked,
)
from integrations.bitrix24.forms import as_dict, encode_form, int_of, text_of
from integrations.bitrix24.limiter import Limiter, Priority
from integrations.net import AddressGuard, ForbiddenAddress, HostNotFound

CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0
WHOLE_ANSWER_SECONDS = 60.0
"""The cloud cuts a request after a minute (limits); dripping bytes must not hold us longer."""
MAX_ANSWER_BYTES = 10 * 1024 * 1024
MAX_WAIT_SECONDS = 2.0
"""A longer wait for the limiter gives the thread back: LimitExceeded."""
BATCH_SIZE = 50
USER_AGENT = "bx-gpt-app/1.0"

_REPEATS = 2
_REDIRECTS = (301, 302, 303, 307, 308)
_METHOD = re.compile(r"^[A-Za-z0-9_.]{1,100}$")
_REFERENCE = re.compile(r"\$(?:result|next|total|time|error)", re.IGNORECASE)
_PLAIN_WORD = re.compile(r"^[A-Z0-9_.|:-]*$")

log = logging.getLogger("integrations.bitrix24")


class TokenSource(Protocol):
    """Where the access token comes from. Storing and single flight are its business."""

    def access_token(self) -> str:
        """The token to use now; "" for an incoming webhook, whose address is its secret."""

    def renew(self, stale: str) -> str:
        """A newer token than `stale`, which the portal has refused."""


class UnsafeBatchValue(ValueError):
    """A value would be executed as a reference inside a batch: call the method by itself."""


@dataclass(frozen=True)
class Command:
    """One call of a batch."""

    method: str
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class BatchReply:
    """What the commands of a batch answered; a command that a halt left out is in neither map."""

    results: dict[str, Any]
    errors: dict[str, Bitrix24Error]

    def get(self, key: str) -> Any:
        """The command's result. Raises: its own error; CallRejected when it was not executed."""
        if key in self.errors:
            raise self.errors[key]
        if key not in self.results:
            raise CallRejected(f"batch: {key} was not executed")
        return self.results[key]


def is_inert(value: str) -> bool:
    """May this text be a value inside a batch?

    The portal replaces `$result[...]` and the like in every value after decoding, so a
    client's text could read other results (settings/how-to-call-rest-api/batch).
    """
    return not _REFERENCE.search(value)


@dataclass(frozen=True)
class _Answer:
    status: int
    body: Any
    """Decoded JSON, None when it was not JSON."""
    location: str
    retry_after: float | None


class PortalClient:
    """Calls one portal as one user. Safe to share between threads.

    `endpoint` is the verified client_endpoint, used as it is: self-hosted portals have ports and
    sub-paths. `session` comes from `integrations.net.open_session`, one per process.
    `on_moved` gets the new endpoint when the portal has changed its domain.
    """

    def __init__(
        self,
        *,
        endpoint: str,
        tokens: TokenSource,
        limiter: Limiter,
        session: requests.Session,
        guard: AddressGuard,
        on_moved: Callable[[str], None] = lambda endpoint: None,
        user_agent: str = USER_AGENT,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        guard.check_form(endpoint)
        self._endpoint = endpoint.rstrip("/") + "/"
        self._tokens = tokens
        self._limiter = limiter
        self._session = session
        self._guard = guard
        self._on_moved = on_moved
        self._sleep = sleep
        self._headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "User-Agent": user_agent,
        }

    @property
    def endpoint(self) -> str:
        return self._endpoint

    @property
    def host(self) -> str:
        return urlsplit(self._endpoint).netloc

    def call(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        priority: Priority = Priority.LIVE,
        repeatable: bool = False,
    ) -> Any:
        """The `result` of a method; note that PHP prints an empty map as `[]`.

        `repeatable` says that doing it twice is harmless (reads, absolute writes, keyed
        sends): then lost connections and 5xx are tried again at once, twice.

        Raises: Unavailable (`outcome_unknown` when it may have been executed), LimitExceeded,
        AccessLost, CallRejected and its kinds.
        """
        return self._ask(method, params or {}, priority, repeatable)["result"]

    def batch(
        self,
        commands: Mapping[str, Command],
        *,
        halt: bool = False,
        priority: Priority = Priority.LIVE,
        repeatable: bool = False,
    ) -> BatchReply:
        """Up to 50 commands in one request, in order. With `halt` the first error ends it.

        A command's error is in the reply and raises nothing here.
        Raises: UnsafeBatchValue before anything is sent; else as `call`.
        Source: settings/how-to-call-rest-api/batch.
        """
        if len(commands) > BATCH_SIZE:
            raise ValueError(f"a batch takes at most {BATCH_SIZE} commands")
        if not commands:
            return BatchReply({}, {})
        lines = {key: _command_line(command) for key, command in commands.items()}
        answer = as_dict(
            self._ask(
                "batch",
                {"halt": int(halt), "cmd": lines},
                priority,
                repeatable,
                private=[command.params for command in commands.values()],
            )["result"]
        )
        results, failures = as_dict(answer.get("result")), as_dict(answer.get("result_error"))
        for key, timing in as_dict(answer.get("result_time")).items():
            if key in commands:
                self._observe(timing, commands[key].method)
        return BatchReply(
            results={key: one for key, one in results.items() if key not in failures},
            errors={
                key: _command_error(commands[key], failure)
                for key, failure in failures.items()
                if key in commands
            },
        )

    def pages(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        priority: Priority = Priority.BACKGROUND,
    ) -> Iterator[Any]:
        """All rows of a classic list, page by page. `key` names the list inside the result.

        Source: settings/how-to-call-rest-api/list-methods-pecularities.
        """
        start: int | None = 0
        while start is not None:
            answer = self._ask(method, {**(params or {}), "start": start}, priority, True)
            result = as_dict(answer["result"]).get(key) if key else answer["result"]
            rows = result if isinstance(result, list) else list(as_dict(result).values())
            yield from rows
            following = int_of(answer.get("next"))
            start = following if following is not None and rows and following > start else None

    def _ask(
        self,
        method: str,
        params: Mapping[str, Any],
        priority: Priority,
        repeatable: bool,
        *,
        private: Any = (),
    ) -> dict[str, Any]:
        """The whole answer, after all that can be done about errors has been done.

        `private` are values inside `params` that are no longer recognisable there.
        """
        if not _METHOD.match(method):
            raise ValueError("not a method's name")
        renewed = limited = in_doubt = False
        used: list[str] = []
        repeats = _REPEATS if repeatable else 0
        while True:
            self._wait_for_turn(method, priority)
            used.append(self._tokens.access_token())
            try:
                return self._send(method, params, used, private)
            except TokenExpired as error:
                if renewed:
                    raise _lost(error) from None
                renewed = True
                self._tokens.renew(used[-1])
            except LimitExceeded as error:
                self._slow_down(error, method)
                if limited or error.per_method or priority is not Priority.LIVE:
                    raise
                limited = True
            except Unavailable as error:
                in_doubt = in_doubt or error.outcome_unknown
                if not repeats or (error.retry_in or 0) > MAX_WAIT_SECONDS:
                    error.outcome_unknown = in_doubt
                    raise
                self._sleep(error.retry_in or _pause(_REPEATS - repeats))
                repeats -= 1
            except Bitrix24Error as error:
                error.after_retry = in_doubt
                raise

    def _wait_for_turn(self, method: str, priority: Priority) -> None:
        waited = 0.0
        while (wait := self._limiter.acquire(method, priority=priority)) > 0:
            if waited + wait > MAX_WAIT_SECONDS:
                raise LimitExceeded(
                    f"{method}: held back so as not to overload the portal",
                    retry_in=wait,
                    method=method,
                )
            # a little more than needed, so that threads that wait together do not wake together
            pause = wait + random.uniform(0.0, 0.05)  # noqa: S311 - jitter
            self._sleep(pause)
            waited += pause

    def _slow_down(self, error: LimitExceeded, method: str) -> None:
        retry_in = error.retry_in or 1.0
        if error.per_method:
            self._limiter.block_method(method, time.time() + retry_in)
        else:
            self._limiter.penalise(retry_in + random.uniform(0.0, 0.5))  # noqa: S311 - jitter

    def _send(
        self, method: str, params: Mapping[str, Any], used: list[str], private: Any
    ) -> dict[str, Any]:
        """One POST with the newest of the used tokens, or two when the portal has moved."""
        fields = {**params, "auth": used[-1]} if used[-1] else dict(params)
        body = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
        answer = self._post(self._endpoint, method, body, params)
        if answer.status in _REDIRECTS:
            endpoint = self._moved_to(answer.location, method)
            answer = self._post(endpoint, method, body, params)
            if isinstance(answer.body, dict):  # a portal lives there: believe it
                self._endpoint = endpoint
                self._on_moved(endpoint)
        if isinstance(answer.body, dict):
            self._observe(answer.body.get("time"), method)
            if answer.status < 400 and "error" not in answer.body and "result" in answer.body:
                return answer.body
        raise error_from(
            answer.status,
            answer.body,
            method=method,
            retry_after=answer.retry_after,
            secrets=[*used, *_texts_of([params, private])],
        )

    def _post(self, endpoint: str, method: str, body: bytes, params: Mapping[str, Any]) -> _Answer:
        started = time.monotonic()
        answer, failure = exchange(
            self._session, "POST", endpoint + method, body=body, headers=self._headers, name=method
        )
        told = answer.body if answer and isinstance(answer.body, dict) else {}
        code = text_of(told.get("error"))
        log.log(
            logging.INFO if answer and "error" not in told else logging.WARNING,
            "bitrix24 call",
            extra={
                "method": method,
                "portal": urlsplit(endpoint).netloc,
                "status": answer.status if answer else 0,
                "code": masked(code, limit=60) if " " not in code else "",
                "ms": round((time.monotonic() - started) * 1000),
                "params": sorted(map(str, params)),
            },
        )
        if failure or answer is None:
            raise failure or Unavailable(f"{method}: no answer", method=method)
        return answer

    def _moved_to(self, location: str, method: str) -> str:
        """The endpoint that a redirect points to, if it can be the same portal's new address.

        Source: settings/how-to-call-rest-api/change-domen.
        """
        old = urlsplit(self._endpoint)
        new_url = urljoin(self._endpoint + method, location)
        new = urlsplit(new_url)
        refusal = ""
        if not location or new.path != old.path + method:
            refusal = "the portal redirects to another page"
        elif old.scheme == "https" and new.scheme != "https":
            refusal = "the portal redirects to plain http"
        else:
            try:
                self._guard.check(new_url)
            except HostNotFound:
                refusal = "the portal redirects to an unknown host"
            except ForbiddenAddress:
                refusal = "the portal redirects to a forbidden address"
        if refusal:
            raise Unavailable(f"{method}: {refusal}", status=302, method=method)
        return f"{new.scheme}://{new.netloc}{old.path}"

    def _observe(self, timing: Any, method: str) -> None:
        if not isinstance(timing, dict) or "operating" not in timing:
            return
        try:
            operating = float(timing["operating"])
            reset_at = float(timing.get("operating_reset_at") or 0)
        except (TypeError, ValueError):
            return
        self._limiter.observe(operating, reset_at, method)


def exchange(
    session: requests.Session,
    verb: str,
    url: str,
    *,
    body: bytes | None = None,
    params: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    name: str,
) -> tuple[_Answer | None, Unavailable | None]:
    """One request without redirects, its answer capped in size and time, or why there is none.

    The failure is returned, not raised, so that nothing of `requests` (its texts hold whole
    addresses with tokens) hangs on to it as a context.
    """
    deadline = time.monotonic() + WHOLE_ANSWER_SECONDS
    try:
        with session.request(
            verb,
            url,
            data=body,
            params=params,
            headers=headers,
            timeout=(CONNECT_SECONDS, READ_SECONDS),
            allow_redirects=False,
            stream=True,
        ) as response:
            chunks, size = [], 0
            for chunk in response.iter_content(65536):
                chunks.append(chunk)
                size += len(chunk)
                if size > MAX_ANSWER_BYTES:
                    return None, _silent(name, "the answer is too long", sent=True)
                if time.monotonic() > deadline:
                    return None, _silent(name, "the answer took too long", sent=True)
            return _Answer(
                status=response.status_code,
                body=_json(b"".join(chunks)),
                location=response.headers.get("Location", ""),
                retry_after=_seconds(response.headers.get("Retry-After", "")),
            ), None
    except HostNotFound:
        return None, _silent(name, "the host was not found", sent=False)
    except ForbiddenAddress:
        return None, _silent(name, "the address is not allowed from here", sent=False)
    except requests.ConnectTimeout:
        return None, _silent(name, "connecting took too long", sent=False)
    except requests.exceptions.SSLError as error:
        # a certificate is refused before anything is sent; other trouble may come at any time
        sent = "CERTIFICATE_VERIFY_FAILED" not in str(error)
        return None, _silent(name, "the certificate or TLS of the server is not valid", sent=sent)
    except requests.Timeout:
        return None, _silent(name, "no answer in time", sent=True)
    except requests.ConnectionError as error:
        reason = getattr(error.args[0] if error.args else None, "reason", None)
        sent = not isinstance(reason, NewConnectionError)
        return None, _silent(name, "the connection failed", sent=sent)
    except requests.RequestException:
        return None, _silent(name, "the exchange failed", sent=True)


def _silent(name: str, why: str, *, sent: bool) -> Unavailable:
    return Unavailable(f"{name}: {why}", outcome_unknown=sent, method=name)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _seconds(text: str) -> float | None:
    return float(text) if text.isdecimal() and len(text) < 7 else None


def _pause(attempt: int) -> float:
    return random.uniform(0.1, 0.3) * 2.0**attempt  # noqa: S311 - jitter


def _lost(error: TokenExpired) -> Bitrix24Error:
    """A fresh token is refused as well: for an unknown token that means a dead grant."""
    if not isinstance(error, InvalidToken):
        return error
    return AccessLost(
        str(error), state="broken", code=error.code, status=error.status, method=error.method
    )


def _command_line(command: Command) -> str:
    for text in _texts_of(command.params, keys=True):
        if not is_inert(text):
            raise UnsafeBatchValue(f"{command.method}: a value would be executed inside a batch")
    return f"{command.method}?{encode_form(command.params).decode()}"


def _command_error(command: Command, failure: Any) -> Bitrix24Error:
    body = failure if isinstance(failure, dict) else {"error": "", "error_description": failure}
    return error_from(400, body, method=command.method, secrets=_texts_of(command.params))


def _texts_of(value: Any, *, keys: bool = False) -> list[str]:
    """All texts among the values; without `keys` only those that may be private."""
    if isinstance(value, str):
        return [value] if keys or not _PLAIN_WORD.match(value) else []
    if isinstance(value, Mapping):
        inner = [text for one in value.values() for text in _texts_of(one, keys=keys)]
        return inner + [str(key) for key in value] if keys else inner
    if isinstance(value, list | tuple):
        return [text for one in value for text in _texts_of(one, keys=keys)]
    return []
