"""The demonstration model's HTTP server: one background thread, faults switched at run time."""

from __future__ import annotations

import asyncio
import hmac
import json
import random
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Self

from integrations.llm.local_model.reading import Scene, read_scene, schema_of, text_of
from integrations.llm.local_model.rules import answer, fill, small_task

MODEL_ID = "demo-rules-1"
FINGERPRINT = "demonstration model"
CHARS_PER_TOKEN = 3.5
BODY_LIMIT = 8 * 1024 * 1024
SLOW_SECONDS = 30.0
"""Answer time in the mode "slow"."""

MODES: Mapping[str, str] = {
    "normal": "answers by rules",
    "garbage": "answers with broken JSON",
    "slow": "answers after half a minute",
    "error": "answers 500",
    "text": "ignores every schema, answers with plain text",
    "empty": "answers with empty content",
    "truncated": "stops in the middle of the answer",
    "rate_limit": "answers 429 with Retry-After: 2",
    "html": "answers 200 with a web page",
    "no_schema": "refuses json_schema with 400",
    "invent": "names a phone, a price and a discount that nobody mentioned",
    "leak": "recites its system prompt",
    "drop": "closes the connection without an answer",
}


class LocalModel:
    """An OpenAI-compatible server on loopback, for tests, the demonstration and the benchmark.

    `with LocalModel() as model:` then `model.url` (ends with `/v1`). Settings can be changed at any
    time by `model.set(mode="error")` or over HTTP: `POST /_control/` with the header
    `X-Control-Key: <model.control_key>` and the same names as JSON; `GET` there tells the state.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        latency_ms: float = 0,
        jitter_ms: float = 0,
        fail_rate: float = 0,
        mode: str = "normal",
        control_key: str | None = None,
        seed: int | None = None,
    ) -> None:
        self._host, self._port = host, port
        self.control_key = secrets.token_urlsafe(16) if control_key is None else control_key
        self.calls = 0
        """Completions asked for, whatever the answer was."""
        self.requests: deque[dict[str, Any]] = deque(maxlen=100)
        """The last bodies, newest last."""
        self._random = random.Random(seed)  # noqa: S311  # faults need no cryptography
        self.latency_ms, self.jitter_ms, self.fail_rate, self.mode = 0.0, 0.0, 0.0, "normal"
        self.set(latency_ms=latency_ms, jitter_ms=jitter_ms, fail_rate=fail_rate, mode=mode)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._connections: set[_Connection] = set()

    @property
    def url(self) -> str:
        """Base URL for a provider."""
        return f"http://{self._host}:{self._port}/v1"

    @property
    def control_url(self) -> str:
        return f"http://{self._host}:{self._port}/_control/"

    def set(self, **settings: Any) -> None:
        """Change latency_ms, jitter_ms, fail_rate (0–1) or mode (of MODES). Raises: ValueError."""
        for name, value in settings.items():
            if name == "mode":
                if value not in MODES:
                    raise ValueError(f"mode must be one of: {', '.join(MODES)}")
                self.mode = value
            elif name in ("latency_ms", "jitter_ms", "fail_rate"):
                if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
                    raise ValueError(f"{name} must be a number, not negative")
                setattr(self, name, float(value))
            else:
                raise ValueError(f"unknown setting: {name}")

    def start(self) -> Self:
        """Listen; returns when connections are accepted. Raises: OSError when the port is taken."""
        ready: list[BaseException | int] = []
        started = threading.Event()

        def run() -> None:
            loop = asyncio.new_event_loop()
            self._loop = loop
            try:
                server = loop.run_until_complete(
                    loop.create_server(
                        lambda: _Connection(self), self._host, self._port, backlog=1024
                    )
                )
            except OSError as error:
                ready.append(error)
                started.set()
                return
            ready.append(server.sockets[0].getsockname()[1])
            started.set()
            loop.run_forever()
            server.close()
            for connection in list(self._connections):
                connection.abort()
            loop.run_until_complete(server.wait_closed())
            loop.close()

        self._thread = threading.Thread(target=run, name="demonstration-model", daemon=True)
        self._thread.start()
        started.wait()
        if isinstance(ready[0], OSError):
            raise ready[0]
        if isinstance(ready[0], int):
            self._port = ready[0]
        return self

    def stop(self) -> None:
        if self._loop and self._thread and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout=5)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # --- inside the event loop ---

    def handle(self, request: _Request, send: Callable[[_Response], None]) -> None:
        """Answer one request, now or after the set latency."""
        path = request.path.split("?")[0]
        if path == "/_control/":
            send(self._control(request))
        elif path == "/health":
            send(_Response(200, {"status": "ok"}))
        elif request.headers.get("authorization", "") == "Bearer bad":
            send(_error(401, "Incorrect API key provided.", "invalid_api_key"))
        elif path == "/v1/models" and request.method == "GET":
            send(_Response(200, {"object": "list", "data": [_model_card()]}))
        elif path == "/v1/chat/completions" and request.method == "POST":
            self._completion(request, send)
        else:
            send(
                _error(
                    404,
                    "Unknown address; this server has /v1/chat/completions and /v1/models.",
                    "not_found",
                )
            )

    def _control(self, request: _Request) -> _Response:
        given = request.headers.get("x-control-key", "")
        if not self.control_key or not hmac.compare_digest(
            given.encode(), self.control_key.encode()
        ):
            return _error(403, "Send the header X-Control-Key.", "forbidden")
        if request.method == "POST":
            try:
                settings = json.loads(request.body or b"{}")
                self.set(**settings)
            except (ValueError, TypeError) as error:
                return _error(400, str(error), "bad_setting")
        state = {
            name: getattr(self, name)
            for name in ("latency_ms", "jitter_ms", "fail_rate", "mode", "calls")
        }
        return _Response(200, {**state, "modes": dict(MODES)})

    def _completion(self, request: _Request, send: Callable[[_Response], None]) -> None:
        self.calls += 1
        try:
            body = json.loads(request.body)
            messages = body["messages"]
            if not isinstance(messages, list) or not messages:
                raise TypeError
        except (ValueError, KeyError, TypeError):
            send(
                _error(
                    400, "The body must be JSON with a list of messages.", "invalid_request_error"
                )
            )
            return
        self.requests.append(body)
        mode = self.mode
        if self.fail_rate and self._random.random() < self.fail_rate:
            mode = "error"
        delay = SLOW_SECONDS if mode == "slow" else 0.0
        delay += max(0.0, self.latency_ms + self._random.uniform(-1, 1) * self.jitter_ms) / 1000
        response = _respond(body, mode)
        if delay and self._loop:
            self._loop.call_later(delay, send, response)
        else:
            send(response)


def _model_card() -> dict[str, Any]:
    return {"id": MODEL_ID, "object": "model", "created": 1767225600, "owned_by": FINGERPRINT}


class _Response:
    """Status with a JSON value, raw bytes, or server-sent events."""

    def __init__(self, status: int, value: Any = None, *, headers: Mapping[str, str] | None = None,
                 raw: bytes = b"", kind: str = "application/json") -> None:  # fmt: skip
        self.status, self.headers = status, dict(headers or {})
        self.kind = kind
        self.body = raw or json.dumps(value, ensure_ascii=False).encode()
        self.drop = status == 0


def _error(status: int, message: str, code: str, **headers: str) -> _Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return _Response(
        status,
        {"error": {"message": message, "type": code, "param": None, "code": code}},
        headers=named,
    )


def _respond(body: Mapping[str, Any], mode: str) -> _Response:
    shape = (body.get("response_format") or {}).get("type")
    if mode == "drop":
        return _Response(0)
    if mode == "error":
        return _error(500, "The demonstration model was told to fail.", "server_error")
    if mode == "rate_limit":
        return _error(429, "Too many requests.", "rate_limit_exceeded", Retry_After="2")
    if mode == "html":
        return _Response(
            200, raw=b"<!doctype html><html><body>Please log in</body></html>", kind="text/html"
        )
    if shape not in (None, "text", "json_object", "json_schema") or (
        mode == "no_schema" and shape == "json_schema"
    ):
        return _error(400, f"response_format {shape} is not supported.", "invalid_request_error")
    content, tool = _content(body, mode)
    content, finish = _within_limit(content, body, mode)
    prompt = sum(
        len(text_of(message.get("content")))
        for message in body["messages"]
        if isinstance(message, dict)
    )
    usage = {"prompt_tokens": _tokens(prompt) + 3, "completion_tokens": _tokens(len(content))}
    usage["total_tokens"] = usage["prompt_tokens"] + usage["completion_tokens"]
    head = {
        "id": f"chatcmpl-{secrets.token_hex(8)}",
        "created": int(time.time()),
        "model": MODEL_ID,
        "system_fingerprint": FINGERPRINT,
    }
    message: dict[str, Any] = {"role": "assistant", "content": content}
    if tool:
        call = {
            "id": f"call_{secrets.token_hex(6)}",
            "type": "function",
            "function": {"name": tool, "arguments": content},
        }
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
        finish = "tool_calls" if finish == "stop" else finish
    if body.get("stream"):
        return _stream(
            head,
            message,
            finish,
            usage,
            bool((body.get("stream_options") or {}).get("include_usage")),
        )
    choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
    return _Response(
        200, {**head, "object": "chat.completion", "choices": [choice], "usage": usage}
    )


def _tokens(chars: int) -> int:
    return -(-chars * 10 // int(CHARS_PER_TOKEN * 10))


def _content(body: Mapping[str, Any], mode: str) -> tuple[str, str]:
    """Text of the answer and the name of the called function, if one had to be called."""
    if mode == "garbage":
        return '{"topic": "other", "reply": "Добрый день, "уточните" {{ [', ""
    if mode == "empty":
        return "", ""
    schema, tool = schema_of(body)
    scene = read_scene(body)
    if mode == "leak":
        system = next(
            (text_of(m.get("content")) for m in body["messages"] if m.get("role") == "system"), ""
        )
        return _shaped({**answer(scene), "reply": system[:400]}, scene, schema), tool
    task = small_task(scene.fresh)
    if task is not None:
        return (json.dumps(fill(schema)) if schema is not None and mode != "text" else task), tool
    result = answer(scene)
    if mode == "text":
        return str(result["reply"]), ""
    if mode == "invent":
        result = _invented(result)
    return _shaped(result, scene, schema), tool


def _shaped(result: dict[str, Any], scene: Scene, schema: dict[str, Any] | None) -> str:
    if not scene.wants_json:
        return str(result["reply"])
    wanted = schema if schema is not None else scene.schema
    return json.dumps(fill(wanted, result) if wanted else result, ensure_ascii=False)


def _invented(result: dict[str, Any]) -> dict[str, Any]:
    fake = {
        "phone": "+79990000000",
        "email": "invented@example.com",
        "name": "Иннокентий Выдуманный",
    }
    fields = {name: fake.get(name, value) for name, value in result["fields"].items()}
    reply = f"{result['reply']} Стоимость 99 999 рублей, дарим скидку 50 %, подробности на https://invented.example.com/"
    return {**result, "fields": fields, "reply": reply, "needs_human": False, "confidence": 1.0}


def _within_limit(content: str, body: Mapping[str, Any], mode: str) -> tuple[str, str]:
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    if mode == "truncated":
        return content[: len(content) // 2], "length"
    if isinstance(limit, int) and _tokens(len(content)) > limit:
        return content[: int(limit * CHARS_PER_TOKEN)], "length"
    return content, "stop"


def _stream(
    head: dict[str, Any],
    message: dict[str, Any],
    finish: str,
    usage: dict[str, int],
    with_usage: bool,
) -> _Response:
    head = {**head, "object": "chat.completion.chunk"}

    def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        return {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}

    chunks = [chunk({"role": "assistant", "content": ""})]
    text = message["content"] or ""
    chunks += [chunk({"content": text[start : start + 24]}) for start in range(0, len(text), 24)]
    if message.get("tool_calls"):
        chunks.append(chunk({"tool_calls": [{"index": 0, **message["tool_calls"][0]}]}))
    chunks.append(chunk({}, finish))
    if with_usage:
        chunks.append({**head, "choices": [], "usage": usage})
    lines = [f"data: {json.dumps(part, ensure_ascii=False)}\n\n" for part in chunks] + [
        "data: [DONE]\n\n"
    ]
    return _Response(200, raw="".join(lines).encode(), kind="text/event-stream")


class _Request:
    def __init__(self, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        self.method, self.path, self.headers, self.body = method, path, headers, body


class _Connection(asyncio.Protocol):
    """One kept-alive HTTP/1.1 connection; requests on it are answered one after the other."""

    def __init__(self, model: LocalModel) -> None:
        self._model = model
        self._buffer = bytearray()
        self._busy = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport
        self._model._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._model._connections.discard(self)

    def abort(self) -> None:
        if self._transport:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._next()

    def _next(self) -> None:
        if self._busy or not self._buffer:
            return
        try:
            request = self._take()
        except _BadRequest as error:
            self._send(_error(error.status, str(error), "bad_request"), close=True)
            return
        if request is None:
            return
        self._busy = True
        close = request.headers.get("connection", "").lower() == "close"
        self._model.handle(request, lambda response: self._send(response, close=close))

    def _take(self) -> _Request | None:
        """The next whole request of the buffer, or None until more of it has come."""
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > 65536:
                raise _BadRequest(431, "headers too long")
            return None
        lines = self._buffer[:end].decode("latin-1").split("\r\n")
        first = lines[0].split(" ")
        if len(first) != 3:
            raise _BadRequest(400, "not HTTP")
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines[1:])
        }
        if (
            headers.get("expect", "").lower() == "100-continue"
            and self._transport
            and len(self._buffer) == end + 4
        ):
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        start = end + 4
        if headers.get("transfer-encoding", "").lower() == "chunked":
            taken = _chunks(self._buffer, start)
            if taken is None:
                return None
            body, stop = taken
        else:
            length = headers.get("content-length", "0")
            if not length.isdigit() or int(length) > BODY_LIMIT:
                raise _BadRequest(413, "body too long")
            stop = start + int(length)
            if len(self._buffer) < stop:
                return None
            body = bytes(self._buffer[start:stop])
        del self._buffer[:stop]
        return _Request(first[0], first[1], headers, body)

    def _send(self, response: _Response, *, close: bool) -> None:
        self._busy = False
        if self._transport is None:
            return
        if response.drop:
            self._transport.close()
            return
        lines = [
            f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}",
            f"Content-Type: {response.kind}",
        ]
        lines += [
            f"Content-Length: {len(response.body)}",
            f"Connection: {'close' if close else 'keep-alive'}",
        ]
        lines += [f"{name}: {value}" for name, value in response.headers.items()]
        self._transport.write("\r\n".join([*lines, "", ""]).encode("latin-1") + response.body)
        if close:
            self._transport.close()
        else:
            self._next()


class _BadRequest(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def _chunks(buffer: bytearray, start: int) -> tuple[bytes, int] | None:
    """Body of a chunked request and where it ends, or None while it is incomplete."""
    body = bytearray()
    position = start
    while True:
        line_end = buffer.find(b"\r\n", position)
        if line_end < 0:
            return None
        try:
            size = int(bytes(buffer[position:line_end]).split(b";")[0], 16)
        except ValueError:
            raise _BadRequest(400, "bad chunk") from None
        position = line_end + 2
        if len(buffer) < position + size + 2:
            return None
        body += buffer[position : position + size]
        position += size + 2
        if size == 0:
            return bytes(body), position
        if len(body) > BODY_LIMIT:
            raise _BadRequest(413, "body too long")
