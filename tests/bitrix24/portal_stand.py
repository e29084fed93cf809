"""A scripted HTTP server on the loopback: real sockets, answers given by the test."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class Answer:
    """What the stand says to one request; `drop` closes the connection instead."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    drop: bool = False
    delay: float = 0.0


@dataclass
class Asked:
    verb: str
    path: str
    query: dict[str, str]
    body: dict[str, Any]
    headers: dict[str, str]

    @property
    def method(self) -> str:
        return self.path.rpartition("/")[2]


type Script = Answer | list[Answer] | Callable[[Asked], Answer]


class Stand:
    """`script` maps the last part of the path (the REST method) or a whole path to answers."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.script: dict[str, Script] = {}
        self.asked: list[Asked] = []
        self.connections = 0

    @property
    def methods(self) -> list[str]:
        return [one.method for one in self.asked]

    def result(self, method: str, result: Any) -> None:
        self.script[method] = Answer({"result": result, "time": {}})

    def error(self, method: str, code: str, status: int = 400, text: str = "") -> None:
        self.script[method] = Answer({"error": code, "error_description": text}, status=status)

    def answer(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        script = self.script.get(asked.path) or self.script.get(asked.method)
        if script is None:
            return refusal("ERROR_METHOD_NOT_FOUND", 404)
        if isinstance(script, list):
            return script.pop(0) if len(script) > 1 else script[0]
        return script(asked) if callable(script) else script


def refusal(code: str, status: int = 400, text: str = "") -> Answer:
    return Answer({"error": code, "error_description": text}, status=status)


def result(value: Any, **envelope: Any) -> Answer:
    return Answer({"result": value, "time": {}, **envelope})


@contextmanager
def open_stand(tls: ssl.SSLContext | None = None) -> Iterator[Stand]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            stand.connections += 1

        def log_message(self, *args: Any) -> None:
            pass

        def do_POST(self) -> None:
            self._serve()

        def do_GET(self) -> None:
            self._serve()

        def _serve(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(parts.query).items()}
            asked = Asked(
                self.command, parts.path, query, json.loads(raw or b"{}"), dict(self.headers)
            )
            answer = stand.answer(asked)
            if answer.delay:
                time.sleep(answer.delay)
            if answer.drop:
                self.close_connection = True
                self.connection.shutdown(2)
                return
            is_raw = isinstance(answer.body, bytes)
            body = answer.body if is_raw else json.dumps(answer.body).encode()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    class Server(ThreadingHTTPServer):
        request_queue_size = 256
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # a client that hangs up in the middle is what some tests do

    server = Server(("127.0.0.1", 0), Handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    stand = Stand(f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield stand
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
