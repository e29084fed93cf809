"""A small fast HTTP/1.1 server: one thread per kept connection, nothing that is not needed."""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from integrations.bitrix24.local_portal.php import decode_pairs

LINE_LIMIT = 65_536
BODY_LIMIT = 64 * 1024 * 1024
HEADERS_LIMIT = 100


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request; header names are lower-case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def query_params(self) -> dict[str, Any]:
        return decode_pairs(parse_qsl(self.query, keep_blank_values=True)) if self.query else {}

    def params(self) -> dict[str, Any]:
        """Query and body together; on equal names the body wins. Raises ValueError."""
        params = self.query_params
        if self.body:
            params |= self._body_params()
        return params

    def _body_params(self) -> dict[str, Any]:
        if "json" in self.headers.get("content-type", ""):
            sent = json.loads(self.body)
            return sent if isinstance(sent, dict) else {}
        return decode_pairs(parse_qsl(self.body.decode(), keep_blank_values=True))


@dataclass(frozen=True, slots=True)
class Response:
    """One HTTP answer. `drop` closes the connection without a byte instead."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)
    drop: bool = False

    def encode(self, *, with_body: bool) -> bytes:
        head = [
            f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}",
            f"Content-Type: {self.content_type}",
            f"Content-Length: {len(self.body)}",
            *(f"{name}: {value}" for name, value in self.headers.items()),
        ]
        return "\r\n".join(head).encode() + b"\r\n\r\n" + (self.body if with_body else b"")


DROP = Response(drop=True)


def page(status: int, text: str) -> Response:
    html = f"<!doctype html><meta charset=utf-8><title>{status}</title><p>{text}</p>"
    return Response(status, html.encode(), "text/html; charset=utf-8")


class BadRequest(ValueError):
    """Not HTTP, or more of it than this server takes."""


class _Connection(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True
    server: HttpServer

    def handle(self) -> None:
        with contextlib.suppress(OSError, BadRequest):
            while self._one_request():
                pass

    def _one_request(self) -> bool:
        line = self.rfile.readline(LINE_LIMIT)
        if not line:
            return False
        parts = line.decode("latin-1").split()
        if len(parts) != 3:
            raise BadRequest("request line")
        headers = self._headers()
        request = self._request(parts[0], parts[1], headers)
        response = self.server.answer(request)
        if response.drop:
            return False
        self.wfile.write(response.encode(with_body=request.method != "HEAD"))
        return headers.get("connection", "").lower() != "close" and parts[2] == "HTTP/1.1"

    def _headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        for _ in range(HEADERS_LIMIT):
            line = self.rfile.readline(LINE_LIMIT)
            if line in (b"\r\n", b"\n", b""):
                return headers
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        raise BadRequest("too many headers")

    def _request(self, method: str, target: str, headers: dict[str, str]) -> Request:
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > BODY_LIMIT or "transfer-encoding" in headers:
            refusal = page(413, "The body is too long or has no length.")
            self.wfile.write(refusal.encode(with_body=True))
            raise BadRequest("body")
        if headers.get("expect", "").lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = self.rfile.read(int(length)) if length != "0" else b""
        url = urlsplit(target)
        return Request(method, url.path, url.query, headers, body)


class HttpServer(socketserver.ThreadingTCPServer):
    """Answers with a function; `stop` also ends kept connections."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 512

    def __init__(self, host: str, port: int, answer: Callable[[Request], Response]) -> None:
        self.answer = answer
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()
        super().__init__((host, port), _Connection)
        self._stopping = False
        self._thread = threading.Thread(target=self._serve, name="portal-http", daemon=True)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def start(self) -> None:
        self._thread.start()

    def _serve(self) -> None:
        while not self._stopping:
            self._handle_request_noblock()  # type: ignore[attr-defined]  # not in typeshed

    def stop(self) -> None:
        """Wakes the thread that waits in accept(), instead of letting it look every half second."""
        self._stopping = True
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self.server_close()
        with self._guard:
            left = list(self._open)
        for connection in left:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._guard:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._guard:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is not worth a traceback; our own bugs are."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)
