"""A model server on loopback that says exactly what a test tells it to, over real sockets."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

GOOD = {
    "topic": "install",
    "needs_human": False,
    "confidence": 0.9,
    "language": "ru",
    "fields": {"name": "Иван", "phone": None},
    "reply": "Здравствуйте! Мастер приедет.",
}
GOOD_TEXT = json.dumps(GOOD, ensure_ascii=False)


@dataclass
class Seen:
    """One request as it arrived."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    connection: int

    @property
    def shape(self) -> str:
        """Which way of asking for a structure it used."""
        wanted = self.body.get("response_format")
        if "tools" in self.body:
            return "tool"
        if wanted is None:
            return "text"
        if wanted["type"] == "json_object":
            return "json_object_schema" if "schema" in wanted else "json_object"
        if "schema" in wanted:
            return "json_schema_flat"
        return "json_schema" if "schema" in wanted["json_schema"] else "json_schema_bare"

    @property
    def prompt(self) -> str:
        return "\n".join(message["content"] for message in self.body["messages"])


@dataclass
class Say:
    """What to answer: a status, a body (a dict becomes JSON), and misbehaviour."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    wait: float = 0.0
    dribble: float = 0.0
    """Seconds during which a blank byte comes every 50 ms before the body."""
    cut_at: int | None = None
    """Drop the connection after so many bytes of the body."""
    hang_up: bool = False
    """Drop the connection instead of answering."""


def completion(
    text: Any = GOOD_TEXT,
    *,
    finish_reason: str | None = "stop",
    usage: tuple[int, int] | None = (120, 40),
    **message: Any,
) -> dict[str, Any]:
    body: dict[str, Any] = {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "finish_reason": finish_reason,
                "message": {"role": "assistant", "content": text, **message},
            }
        ],
    }
    if usage:
        body["usage"] = {
            "prompt_tokens": usage[0],
            "completion_tokens": usage[1],
            "total_tokens": sum(usage),
        }
    return body


def said(text: Any = GOOD_TEXT, **more: Any) -> Say:
    return Say(completion(text, **more))


def error(status: int, message: str = "boom", *, code: Any = None, **more: Any) -> Say:
    body = {"error": {"message": message, "type": "error", "param": None, "code": code}}
    return Say(body, status=status, **more)


type Script = Callable[[Seen], Say] | list[Say]


class ScriptedServer:
    """`seen` is what arrived; `script` a list of answers (the last repeats) or a function."""

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None) -> None:
        self.script = script
        self.seen: list[Seen] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self._server = _Listener(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        scheme = "https" if tls else "http"
        self.base_url = f"{scheme}://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> ScriptedServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    @property
    def shapes(self) -> list[str]:
        return [seen.shape for seen in self.seen]


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are part of the game."""


def _handler(server: ScriptedServer) -> type[BaseHTTPRequestHandler]:  # noqa: C901  one class
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self.answer({})

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("content-length") or 0))
            self.answer(json.loads(raw))

        def answer(self, body: dict[str, Any]) -> None:
            seen = Seen(self.path, dict(self.headers), body, self.client_address[1])
            with server.lock:
                server.seen.append(seen)
                number = len(server.seen)
                server.in_flight += 1
                server.most_in_flight = max(server.most_in_flight, server.in_flight)
            try:
                if callable(server.script):
                    self.write(server.script(seen))
                else:
                    self.write(server.script[min(number, len(server.script)) - 1])
            except OSError:
                self.close_connection = True
            finally:
                with server.lock:
                    server.in_flight -= 1

        def write(self, say: Say) -> None:
            server.stopping.wait(say.wait)
            if say.hang_up:
                self.close_connection = True
                return
            raw = say.body if isinstance(say.body, bytes) else _encoded(say.body)
            self.send_response(say.status)
            self.send_header("Content-Type", say.content_type)
            for name, value in say.headers.items():
                self.send_header(name, value)
            if say.dribble:
                self.send_header("Connection", "close")
                self.end_headers()
                self.dribble(time.monotonic() + say.dribble)
            else:
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
            if say.cut_at is not None:
                self.close_connection = True
            self.wfile.write(raw[: say.cut_at])

        def dribble(self, until: float) -> None:
            while time.monotonic() < until and not server.stopping.wait(0.05):
                self.wfile.write(b"\n")
                self.wfile.flush()

        def log_message(self, format: str, *args: Any) -> None:
            """Silent."""

    return Handler


def _encoded(body: Any) -> bytes:
    if isinstance(body, str):
        return body.encode()
    return json.dumps(body, ensure_ascii=True).encode()


@contextlib.contextmanager
def serving(*says: Say) -> Iterator[ScriptedServer]:
    """A server that gives these answers one after the other and repeats the last."""
    with ScriptedServer(list(says)) as server:
        yield server
