"""What went wrong with a model server, what to do next, and the circuit that keeps us away."""

from __future__ import annotations

import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal, Protocol

import httpx2
import openai

from integrations.llm.values import Frozen
from integrations.net import ForbiddenAddress, HostNotFound

Kind = Literal["transient", "wait", "permanent", "too_big", "refused", "contract"]
"""transient: try again soon · wait: try again at `retry_in` · permanent: an admin must act ·
too_big: send less · refused: a person must answer · contract: the answer was unusable."""

MAX_PATIENCE_SECONDS = 30.0
"""A longer Retry-After is not waited for in place."""
DEFAULT_WAIT_SECONDS = 20.0

TRANSIENT_STATUSES = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})
DETAIL_LENGTH = 200

# Sentences for a portal's admin: what happened, then what to do.
SENTENCES: Mapping[str, tuple[str, str]] = {
    "auth": (
        "Сервер модели не принял ключ. Проверьте ключ в настройках модели или выпустите новый.",
        "The model server refused the key. Check it in the model settings or issue a new one.",
    ),
    "forbidden": (
        "У ключа нет доступа к этой модели или региону. Выберите другую модель или проверьте "
        "права ключа у провайдера.",
        "The key may not use this model or region. Choose another model or check its rights.",
    ),
    "no_money": (
        "На счёте у провайдера модели кончились деньги или квота. Пополните счёт.",
        "The account at the model's provider has run out of money or quota. Top it up.",
    ),
    "model_not_found": (
        "Такой модели на сервере нет. Выберите модель из списка в настройках.",
        "The server has no such model. Choose one from the list in the settings.",
    ),
    "not_found": (
        "По этому адресу нет сервера модели. Проверьте адрес: обычно он оканчивается на /v1.",
        "There is no model server at this address. Check it: it usually ends with /v1.",
    ),
    "bad_request": (
        "Сервер модели не принял запрос. Проверьте модель и дополнительные параметры.",
        "The model server rejected the request. Check the model and the extra parameters.",
    ),
    "redirect": (
        "Сервер модели переадресует на другой адрес. Укажите в настройках конечный адрес.",
        "The model server redirects elsewhere. Put the final address into the settings.",
    ),
    "not_allowed": (
        "Адрес сервера модели ведёт в закрытую сеть и запрещён настройками. Укажите открытый "
        "адрес или попросите администратора сервера разрешить закрытые сети.",
        "The model server's address is in a private network, which is not allowed here. Use a "
        "public address or ask the host's admin to allow private networks.",
    ),
    "bad_config": (
        "Настройки модели неполные или неверные. Проверьте адрес, модель и сертификаты.",
        "The model settings are incomplete or wrong. Check address, model and certificates.",
    ),
    "certificate": (
        "Сертификат сервера модели не прошёл проверку. Добавьте сертификат его центра в настройки.",
        "The certificate of the model server cannot be verified. Add its authority's certificate.",
    ),
    "rate_limited": (
        "Провайдер модели просит обращаться реже. Ответы задержатся; повысьте лимит у провайдера "
        "или подключите запасную модель.",
        "The model's provider asks for fewer requests. Raise the limit there or add a fallback.",
    ),
    "timeout": (
        "Модель не ответила вовремя. Повторим позже; если это часто, выберите модель быстрее.",
        "The model did not answer in time. We will retry; if it is frequent, use a faster model.",
    ),
    "unreachable": (
        "Не удалось соединиться с сервером модели. Проверьте адрес и что сервер запущен.",
        "Could not connect to the model server. Check the address and that the server runs.",
    ),
    "cut_off": (
        "Соединение с моделью оборвалось посреди ответа. Повторим позже.",
        "The connection broke in the middle of an answer. We will retry.",
    ),
    "unavailable": (
        "Сервер модели временно не работает. Повторим позже.",
        "The model server is temporarily down. We will retry.",
    ),
    "busy": (
        "Все места для одновременных запросов к модели заняты. Повторим позже.",
        "All places for simultaneous requests to the model are taken. We will retry.",
    ),
    "circuit_open": (
        "Модель недавно несколько раз не ответила, даём ей передышку.",
        "The model failed several times in a row and gets a short break.",
    ),
    "not_a_model": (
        "Вместо ответа модели пришла веб-страница. Проверьте адрес, прокси и вход в сеть.",
        "A web page came instead of the model's answer. Check the address and any proxy.",
    ),
    "odd_response": (
        "Сервер модели ответил не по протоколу. Проверьте адрес и версию сервера.",
        "The model server's answer does not follow the protocol. Check address and version.",
    ),
    "too_big": (
        "Переписка и знания не помещаются в модель. Сократите инструкции или выберите модель с "
        "большим контекстом.",
        "Conversation and knowledge do not fit the model. Shorten the instructions or choose a "
        "model with a larger context.",
    ),
    "refused": (
        "Модель отказалась отвечать по правилам провайдера. Ответьте клиенту сами.",
        "The model declined to answer by its provider's rules. Please answer the client yourself.",
    ),
    "not_understood": (
        "Модель ответила не в том виде, о котором её просили. Попробуйте модель сильнее.",
        "The model did not answer in the form it was asked for. Try a stronger model.",
    ),
    "no_provider": (
        "Модель не настроена. Укажите адрес, ключ и модель в настройках.",
        "No model is configured. Enter address, key and model in the settings.",
    ),
    "internal": (
        "Ошибка на нашей стороне при обращении к модели. Повторим позже.",
        "An error of our own while calling the model. We will retry.",
    ),
}  # fmt: skip


class Failure(Frozen):
    """One failed attempt. Carries no key and no client text."""

    kind: Kind
    code: str
    """A key of `SENTENCES`."""
    status: int | None = None
    """HTTP status, if there was one."""
    retry_in: float | None = None
    """Seconds."""
    detail: str = ""
    """What the server said, shortened, keys masked; for the admin's screen, not for logs."""
    provider: str = ""
    """Kind of the provider it happened with."""
    model: str = ""

    def in_words(self, language: str) -> str:
        """What happened and what to do, for a portal's admin; ru or en."""
        russian, english = SENTENCES[self.code]
        sentence = russian if language == "ru" else english
        return f"{sentence} ({self.detail})" if self.detail else sentence

    @property
    def message_for_admin(self) -> str:
        return self.in_words("ru")

    @property
    def needs_admin(self) -> bool:
        """Will every call fail like this until somebody changes a setting?"""
        return self.kind == "permanent" and self.code != "bad_request"

    @property
    def counts_against_server(self) -> bool:
        """Does it say that the server itself is in trouble?"""
        return self.needs_admin or (
            self.kind in ("transient", "wait") and self.code not in ("busy", "internal")
        )


class ModelFailed(Exception):
    """A call failed; the decision what to do is in `failure`."""

    def __init__(self, failure: Failure, *, message: str = "") -> None:
        super().__init__(failure.code)
        self.failure = failure
        self.message = message
        """The server's own words in lower case, to be searched for hints; never shown."""


# --- From an exception of the SDK, or an odd body, to a Failure ----------------------------------

TOO_BIG = re.compile(
    r"context_length|context length|maximum context|context window|context size|too many tokens"
    r"|prompt is too long|input is too long|exceeds? the (?:available )?context|too long for the"
    r"|reduce the length"
)
NO_MONEY = re.compile(
    r"insufficient[_ ](?:quota|balance|credits|funds)|exceeded your current quota|billing"
    r"|payment required|not enough (?:credits|balance|money)|недостаточно средств"
)
REFUSED = re.compile(
    r"content_filter|content management policy|responsibleai|content_policy|moderation"
    r"|blacklist|flagged"
)
NO_MODEL = re.compile(
    r"model_not_found|model[^.]{0,80}(?:does not exist|not found|is not available|not supported)"
    r"|no such model|unknown model|invalid model|failed to get model|модель[^.]{0,60}не найдена"
)
BAD_KEY = re.compile(r"invalid[_ ]api[_ ]key|incorrect api key|api key not valid|unauthorized")
KEY_LIKE = re.compile(
    r"\b(?:sk|pk|rk|gsk|AQVN|t1|hf|Bearer)[-_. ][A-Za-z0-9*_\-.]{6,}|\bAQVN[A-Za-z0-9_\-]{6,}"
    r"|\b[A-Za-z0-9_\-]{32,}\b"
)


def classify(error: BaseException, *, secrets: tuple[str, ...] = ()) -> ModelFailed:
    """What an exception of the SDK (or of the transport under it) means for us.

    `secrets` are masked wherever the server repeats them.
    """
    if isinstance(error, openai.APIStatusError):
        return from_status(
            error.status_code, error.body, headers=error.response.headers, secrets=secrets
        )
    for cause in _causes(error):
        if isinstance(cause, ModelFailed):
            return cause
        if isinstance(cause, ForbiddenAddress) and not isinstance(cause, HostNotFound):
            return failed("permanent", "not_allowed")
        if "certificate" in str(cause).casefold() or isinstance(cause, ssl.SSLError):
            return failed("permanent", "certificate")
        if isinstance(cause, httpx2.InvalidURL | httpx2.UnsupportedProtocol | UnicodeEncodeError):
            # Nothing was sent yet: a header or an address that cannot be written on the wire.
            return failed("permanent", "bad_config")
        if isinstance(cause, httpx2.ReadError | httpx2.RemoteProtocolError | httpx2.DecodingError):
            return failed("transient", "cut_off")
        if isinstance(cause, httpx2.ConnectTimeout):
            return failed("transient", "unreachable")
    if isinstance(error, TimeoutError | openai.APITimeoutError):
        return failed("transient", "timeout")
    if isinstance(error, openai.APIConnectionError):
        return failed("transient", "unreachable")
    if isinstance(error, ValueError):
        # Half a JSON text: the SDK passes the decoder's exception on as it is.
        return failed("transient", "cut_off")
    return failed(
        "transient", "odd_response" if isinstance(error, openai.OpenAIError) else "internal"
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def from_status(
    status: int,
    body: Any,
    *,
    headers: Mapping[str, str] | None = None,
    secrets: tuple[str, ...] = (),
) -> ModelFailed:
    """What an HTTP error means: by its status first, by its text second, as bodies vary."""
    code, text = _code_and_text(body)
    hints = f"{code} {text}".casefold()
    retry_in = _retry_after(headers or {})
    kind, name = _sort(status, hints)
    if kind == "transient" and status == 429:
        name = "rate_limited"
        if retry_in is not None and retry_in > MAX_PATIENCE_SECONDS:
            kind = "wait"
    return ModelFailed(
        Failure(
            kind=kind,
            code=name,
            status=status,
            retry_in=retry_in if kind in ("transient", "wait") else None,
            detail=mask_keys(text, secrets)[:DETAIL_LENGTH],
        ),
        message=hints,
    )


def _sort(status: int, hints: str) -> tuple[Kind, str]:
    if status == 413 or (status in (400, 422, 500) and TOO_BIG.search(hints)):
        return "too_big", "too_big"
    if status in (400, 403, 451) and REFUSED.search(hints):
        return "refused", "refused"
    if status == 402 or (status in (400, 403, 429) and NO_MONEY.search(hints)):
        return "permanent", "no_money"
    if status == 401 or (status in (400, 403) and BAD_KEY.search(hints)):
        return "permanent", "auth"
    if status == 403:
        return "permanent", "forbidden"
    if status in (400, 404) and NO_MODEL.search(hints):
        return "permanent", "model_not_found"
    if status == 404:
        return "permanent", "not_found"
    if 300 <= status < 400:
        return "permanent", "redirect"
    if status in TRANSIENT_STATUSES or status >= 502:
        return "transient", "unavailable"
    return "permanent", "bad_request"


def from_body(body: Any, *, secrets: tuple[str, ...] = ()) -> ModelFailed | None:
    """An error that came with HTTP 200; None when the body is not one."""
    error = body.get("error") if isinstance(body, Mapping) else None
    if not error and isinstance(body, Mapping) and body.get("object") == "error":
        error = body
    if not error:
        return None
    code = error.get("code") if isinstance(error, Mapping) else None
    status = int(code) if isinstance(code, int | str) and str(code).isdigit() else 0
    if not 300 <= status < 600:
        hints = " ".join(_code_and_text(body)).casefold()
        status = 400 if re.search(r"invalid|context|filter|key|quota|model", hints) else 503
    return from_status(status, body, secrets=secrets)


def _code_and_text(body: Any) -> tuple[str, str]:
    """Code and sentence of an error body: OpenAI's, flat, a string, FastAPI's `detail`, HTML."""
    if isinstance(body, bytes):
        body = body.decode("utf-8", "replace")
    if isinstance(body, str):
        text = "" if re.match(r"\s*<", body) else body
        return "", " ".join(text.split())
    if isinstance(body, list):
        # FastAPI repeats the whole input beside the message: client texts, so only the message.
        parts = [_code_and_text(item)[1] for item in body[:3]]
        return "", "; ".join(part for part in parts if part)
    if not isinstance(body, Mapping):
        return "", ""
    for key in ("error", "detail"):
        if body.get(key):
            code, text = _code_and_text(body[key])
            return code or str(body.get("code") or ""), text or str(body.get("message") or "")
    code = " ".join(str(body[key]) for key in ("code", "type", "param") if body.get(key))
    text = body.get("message") or body.get("msg") or ""
    return code, " ".join(str(text).split())


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds from `retry-after-ms` or `Retry-After` (seconds or a date)."""
    value = headers.get("retry-after-ms")
    if value:
        try:
            return max(0.0, float(value) / 1000)
        except ValueError:
            pass
    value = headers.get("retry-after")
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def mask_keys(text: str, secrets: tuple[str, ...] = ()) -> str:
    """The text without our secrets and without anything that looks like a key."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return KEY_LIKE.sub("***", text)


def failed(kind: Kind, code: str, *, retry_in: float | None = None) -> ModelFailed:
    """A failure that needs no server to be known."""
    return ModelFailed(Failure(kind=kind, code=code, retry_in=retry_in))


# --- Circuit -------------------------------------------------------------------------------------


class Circuit(Protocol):
    """Remembers, for all workers, which servers are down. Keys are `Provider.key`."""

    def allow(self, key: str) -> bool:
        """May this call go out? When half open, True for one caller only."""
        ...

    def success(self, key: str) -> None: ...

    def failure(self, key: str, *, permanent: bool = False) -> None:
        """Count a failure; a permanent one opens the circuit at once."""
        ...

    def opens_in(self, key: str) -> float:
        """Seconds until the next trial call; 0 when calls are allowed."""
        ...


class Places(Protocol):
    """Counts calls under way to one account over all processes. Keys are `Provider.account`."""

    def held(self, key: str, most: int, seconds: float) -> AbstractContextManager[object]:
        """Hold one of `most` places, for `seconds` at the longest, waiting included.

        Raises: ModelFailed (busy) when none gets free in that time.
        """
        ...


class OwnPlaces:
    """For a single process: `Wire` counts the calls of its own already."""

    def held(self, key: str, most: int, seconds: float) -> AbstractContextManager[object]:
        return nullcontext()


def busy() -> ModelFailed:
    """All places are taken, which is no fault of the server."""
    return failed("transient", "busy", retry_in=BUSY_SECONDS)


BUSY_SECONDS = 5.0
FAILURES_TO_OPEN = 5
WINDOW_SECONDS = 60.0
OPEN_SECONDS = 60.0
LONGEST_OPEN_SECONDS = 900.0
TRIAL_SECONDS = 60.0
"""A trial call that never reported back no longer blocks the next one."""


@dataclass
class _State:
    failed_at: list[float] = field(default_factory=list)
    open_until: float = 0.0
    open_for: float = 0.0
    trial_until: float = 0.0


class MemoryCircuit:
    """The circuit of one process: for tests, tools and the benchmark."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._states: dict[str, _State] = {}
        self._lock = threading.Lock()

    def allow(self, key: str) -> bool:
        with self._lock:
            state, now = self._states.get(key), self._clock()
            if state is None or not state.open_until:
                return True
            if now < state.open_until or now < state.trial_until:
                return False
            state.trial_until = now + TRIAL_SECONDS
            return True

    def success(self, key: str) -> None:
        with self._lock:
            self._states.pop(key, None)

    def failure(self, key: str, *, permanent: bool = False) -> None:
        with self._lock:
            state, now = self._states.setdefault(key, _State()), self._clock()
            state.failed_at = [at for at in state.failed_at if now - at < WINDOW_SECONDS] + [now]
            was_open = bool(state.open_until)
            if permanent or was_open or len(state.failed_at) >= FAILURES_TO_OPEN:
                if was_open and now < state.open_until:
                    return  # a straggler that was sent before the circuit opened
                state.open_for = min(state.open_for * 2 or OPEN_SECONDS, LONGEST_OPEN_SECONDS)
                state.open_until, state.trial_until = now + state.open_for, 0.0

    def opens_in(self, key: str) -> float:
        with self._lock:
            state, now = self._states.get(key), self._clock()
            if state is None or not state.open_until:
                return 0.0
            return max(0.0, state.open_until - now, state.trial_until - now)
