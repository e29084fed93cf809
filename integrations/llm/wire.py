"""The one way out to model servers: one event loop, shared connections, deadlines that hold."""

from __future__ import annotations

import asyncio
import os
import ssl
import threading
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast, override
from weakref import WeakValueDictionary

import httpcore2
import httpx2
from openai import AsyncOpenAI, Omit

from integrations.llm import failures
from integrations.llm.failures import ModelFailed, classify
from integrations.llm.parse import HTML
from integrations.llm.providers import Provider
from integrations.llm.values import Usage
from integrations.net import AddressGuard

CONNECT_SECONDS = 5.0
READ_SECONDS = 600.0
"""Only a net below the deadline of each call: bytes that keep a connection alive would reset it."""
MAX_RESPONSE_BYTES = 4_000_000
MAX_COMPRESSED_BYTES = 256_000
KEPT_CLIENTS = 512
USER_AGENT = "bx-gpt-app"

NO_KEY = "none"
"""What the SDK is given when a server wants no key; it never leaves the process."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server answered, before anybody tried to understand it."""

    text: str | None
    finish_reason: str = ""
    refusal: str = ""
    usage: Usage | None = None
    """None when the server counted nothing."""


class Wire:
    """Calls model servers from any number of threads over one event loop. Start it once a process.

    The loop starts with the first call, also after a fork.
    """

    def __init__(self, guard: AddressGuard) -> None:
        self._guard = guard
        self._lock = threading.Lock()
        self._pid = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._http: dict[str, httpx2.AsyncClient] = {}
        self._clients: OrderedDict[tuple[Any, ...], _Client] = OrderedDict()
        self._places: WeakValueDictionary[tuple[str, int], asyncio.Semaphore] = (
            WeakValueDictionary()
        )

    # --- threads ---------------------------------------------------------------------------------

    def run[T](self, work: Coroutine[Any, Any, T], *, seconds: float) -> T:
        """Run `work` on the loop and wait for it, at most a moment longer than `seconds`."""
        future = asyncio.run_coroutine_threadsafe(work, self._running_loop())
        try:
            return future.result(seconds + 2.0)
        except TimeoutError as error:
            future.cancel()
            raise failures.failed("transient", "timeout") from error

    def close(self) -> None:
        """Close all connections and end the loop. A later call starts it again."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
            if loop is None or thread is None or self._pid != os.getpid():
                return
            asyncio.run_coroutine_threadsafe(self._close_clients(), loop).result(10)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(10)
            loop.close()

    async def _close_clients(self) -> None:
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        for client in self._http.values():
            await client.aclose()
        self._http.clear()
        self._clients.clear()

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None or self._pid != os.getpid():
                self._pid = os.getpid()
                self._http.clear()
                self._clients.clear()
                self._places.clear()
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._loop.run_forever, name="model-calls", daemon=True
                )
                self._thread.start()
            return self._loop

    # --- calls -----------------------------------------------------------------------------------

    async def chat(self, provider: Provider, body: Mapping[str, Any], *, seconds: float) -> Reply:
        """One chat completion. `body` is the request as the API names it, without the model.

        Raises: ModelFailed, always sorted; nothing of the SDK escapes.
        """
        async with self._guarded(provider, seconds) as client:
            completion: object = await client.chat.completions.create(
                model=provider.model_on_server,
                # Everything goes as extra_body: names and shapes that the SDK's types do not know
                # (a bare schema, `thinking`) travel the same way as the known ones.
                messages=[],
                extra_body={**provider.extra_body, **body},
            )
        return read_completion(completion, secrets=_secrets(provider))

    async def stream_has_usage(
        self, provider: Provider, body: Mapping[str, Any], *, seconds: float
    ) -> bool:
        """Does a streamed answer end with a token count? Raises: ModelFailed."""
        extra = {**provider.extra_body, **body, "stream_options": {"include_usage": True}}
        seen = False
        async with self._guarded(provider, seconds) as client:
            # llama.cpp hangs up after a stream, sometimes when the next call is already on its way.
            stream = await client.chat.completions.create(
                model=provider.model_on_server,
                messages=[],
                extra_body=extra,
                extra_headers={"Connection": "close"},
                stream=True,
            )
            async for chunk in stream:
                seen = seen or getattr(chunk, "usage", None) is not None
        return seen

    async def models(self, provider: Provider, *, seconds: float) -> list[str]:
        """Names of the models on the server, sorted. Raises: ModelFailed."""
        async with self._guarded(provider, seconds) as client:
            page: object = await client.models.list()
        data = getattr(page, "data", None)
        if not isinstance(data, list):
            raise failures.failed("permanent", "odd_response")
        names = {str(name) for model in data if (name := getattr(model, "id", None))}
        return sorted(names)

    @asynccontextmanager
    async def _guarded(self, provider: Provider, seconds: float) -> AsyncGenerator[_Client]:
        """Deadline, a place in the queue and sorted errors around one use of the SDK."""
        waiting = True
        try:
            async with asyncio.timeout(seconds), self.place(provider):
                waiting = False
                yield self.client(provider)
        except Exception as error:  # noqa: BLE001  every kind leaves sorted, as ModelFailed
            if waiting and isinstance(error, TimeoutError):
                raise failures.busy() from None
            raise classify(error, secrets=_secrets(provider)) from None

    def place(self, provider: Provider) -> asyncio.Semaphore:
        """Places for simultaneous calls of one account on one server."""
        key = (provider.account, provider.max_in_flight)
        found = self._places.get(key)
        if found is None:
            found = self._places[key] = asyncio.Semaphore(provider.max_in_flight)
        return found

    def client(self, provider: Provider) -> _Client:
        key = (
            provider.account, provider.organization, provider.project,
            tuple(sorted(provider.extra_headers.items())), provider.ca_bundle,
        )  # fmt: skip
        found = self._clients.get(key)
        if found is None:
            found = self._clients[key] = _Client(provider, self._http_client(provider.ca_bundle))
            if len(self._clients) > KEPT_CLIENTS:
                self._clients.popitem(last=False)
        else:
            self._clients.move_to_end(key)
        return found

    def _http_client(self, ca_bundle: str) -> httpx2.AsyncClient:
        """One per set of certificates: an SSL context costs 20 ms and most of a megabyte."""
        found = self._http.get(ca_bundle)
        if found is None:
            found = self._http[ca_bundle] = httpx2.AsyncClient(
                transport=_Transport(self._guard, _ssl_context(ca_bundle)),
                timeout=httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
                # A redirect would carry the key and the texts to an address nobody chose.
                follow_redirects=False,
                trust_env=False,
            )
        return found


class _Client(AsyncOpenAI):
    """The SDK with everything passed explicitly: what it finds in the environment stays out.

    OPENAI_CUSTOM_HEADERS, OPENAI_ORG_ID and OPENAI_PROJECT_ID would otherwise go to every server.
    """

    def __init__(self, provider: Provider, http_client: httpx2.AsyncClient) -> None:
        key = provider.api_key.get_secret_value()
        own: dict[str, str | Omit] = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "Content-Type": "application/json",
            "User-Agent": USER_AGENT,
            "Authorization": f"Bearer {key}" if key else Omit(),
        }
        if provider.organization:
            own["OpenAI-Organization"] = provider.organization
        if provider.project:
            own["OpenAI-Project"] = provider.project
        self._own_headers = own | dict(provider.extra_headers)
        super().__init__(
            api_key=key or NO_KEY,
            admin_api_key="",
            base_url=provider.base_url,
            organization="",
            project="",
            webhook_secret="",
            max_retries=0,
            http_client=http_client,
        )

    @property
    @override
    def default_headers(self) -> dict[str, str | Omit]:
        return self._own_headers

    @property
    @override
    def auth_headers(self) -> dict[str, str]:
        return {}

    @override
    def _validate_headers(self, headers: Any, custom_headers: Any) -> None:
        """A server without a key is fine."""


def _secrets(provider: Provider) -> tuple[str, ...]:
    return (provider.api_key.get_secret_value(), *provider.extra_headers.values())


@lru_cache(maxsize=32)
def _ssl_context(ca_bundle: str) -> ssl.SSLContext:
    if not ca_bundle:
        return httpx2.create_ssl_context()
    context = ssl.create_default_context()
    context.load_verify_locations(cadata=ca_bundle)
    return context


class _Transport(httpx2.AsyncHTTPTransport):
    """Connects only to addresses that the guard has checked, and reads only so much."""

    def __init__(self, guard: AddressGuard, context: ssl.SSLContext) -> None:
        super().__init__(verify=context, trust_env=False)
        self._guard = guard
        # httpx2 does not pass a network backend on, so the pool is built here.
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=context,
            max_connections=None,
            max_keepalive_connections=100,
            keepalive_expiry=30.0,
            network_backend=_Backend(guard),
        )

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self._guard.check_form(str(request.url))
        response = await super().handle_async_request(request)
        compressed = response.headers.get("content-encoding", "identity") != "identity"
        return httpx2.Response(
            status_code=response.status_code,
            headers=response.headers,
            stream=_Capped(
                cast("httpx2.AsyncByteStream", response.stream),
                MAX_COMPRESSED_BYTES if compressed else MAX_RESPONSE_BYTES,
            ),
            extensions=response.extensions,
        )


class _Capped(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream, at_most: int) -> None:
        self._stream = stream
        self._at_most = at_most

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for part in self._stream:
            size += len(part)
            if size > self._at_most:
                raise failures.failed("permanent", "odd_response")
            yield part

    @override
    async def aclose(self) -> None:
        await self._stream.aclose()


class _Backend(httpcore2.AsyncNetworkBackend):
    """Resolves through the guard, so that what was checked is what is connected to."""

    def __init__(self, guard: AddressGuard) -> None:
        self._guard = guard
        self._inner = httpcore2.AnyIOBackend()

    @override
    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        last: Exception = httpcore2.ConnectError("no address")
        for address in await self._guard.resolve_async(host, port):
            try:
                return await self._inner.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                last = error
        self._guard.forget(host)
        raise last

    @override
    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)


# --- Reading what came with HTTP 200 -------------------------------------------------------------


def read_completion(completion: object, *, secrets: tuple[str, ...] = ()) -> Reply:
    """The answer inside what the SDK returned for a 200; it validates nothing, so this looks twice.

    Raises: ModelFailed (an error inside a 200, a web page, half a JSON text, no choices).
    """
    if isinstance(completion, str):
        if HTML.match(completion):
            raise failures.failed("permanent", "not_a_model")
        cut = completion.lstrip()[:1] in ("{", "[")
        raise failures.failed("transient", "cut_off" if cut else "odd_response")
    extra = getattr(completion, "model_extra", None)
    if found := failures.from_body(extra, secrets=secrets):
        raise found
    choices = getattr(completion, "choices", None)
    if not isinstance(choices, list) or not choices:
        raise failures.failed("transient", "odd_response")
    choice = choices[0]
    finish_reason = str(getattr(choice, "finish_reason", None) or "")
    inside = failures.from_body(getattr(choice, "model_extra", None), secrets=secrets)
    if inside:
        raise inside
    message = getattr(choice, "message", None)
    if message is None:
        raise failures.failed("transient", "odd_response")
    return Reply(
        text=_text(message),
        finish_reason=finish_reason,
        refusal=str(getattr(message, "refusal", None) or ""),
        usage=_usage(getattr(completion, "usage", None)),
    )


def _text(message: object) -> str | None:
    """Arguments of a called function, else the content; reasoning is left where it is."""
    for call in getattr(message, "tool_calls", None) or ():
        arguments = getattr(getattr(call, "function", None), "arguments", None)
        if arguments:
            return str(arguments)
    arguments = getattr(getattr(message, "function_call", None), "arguments", None)
    if arguments:
        return str(arguments)
    content: Any = getattr(message, "content", None)
    if isinstance(content, list):
        # Mistral's reasoning models answer in parts; only those of type "text" are the answer.
        parts = [part for part in content if isinstance(part, dict) and part.get("type") == "text"]
        return "".join(str(part.get("text") or "") for part in parts)
    return content if isinstance(content, str) else None


def _usage(counted: object) -> Usage | None:
    prompt = getattr(counted, "prompt_tokens", None)
    completion = getattr(counted, "completion_tokens", None)
    if not isinstance(prompt, int) or not isinstance(completion, int) or prompt + completion <= 0:
        return None
    return Usage(prompt_tokens=max(0, prompt), completion_tokens=max(0, completion))


__all__ = ["ModelFailed", "Reply", "Wire", "read_completion"]
