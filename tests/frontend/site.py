"""Two sites of one loopback server: a portal's page at 127.0.0.1 and the app's frame at localhost."""

from __future__ import annotations

import json
import mimetypes
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

ROOT = Path(__file__).resolve().parents[2]
STATIC = ROOT / "bx_gpt_app" / "static"
OF_THE_PORTAL = {
    "/parent.html": Path(__file__).resolve().parent / "parent.html",
    "/portal_frame.js": ROOT / "integrations/bitrix24/local_portal/static/portal_frame.js",
}

# The policy of the product's frame pages, with any parent allowed.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'"
)


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: str

    @property
    def form(self) -> dict[str, str]:
        return {
            name: values[-1] for name, values in parse_qs(self.body, keep_blank_values=True).items()
        }


@dataclass
class Reply:
    body: str = ""
    status: int = 200
    kind: str = "text/html; charset=utf-8"
    headers: dict[str, str] = field(default_factory=dict)


Handler = Callable[[Request], Reply]


class Site:
    """Routes are set by the test; every request is kept for it to look at."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.routes: dict[str, Handler] = {}
        self.requests: list[Request] = []
        self.tokens = {"token-1"}

    @property
    def portal(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def app(self) -> str:
        return f"http://localhost:{self.port}"

    def to(self, path: str) -> list[Request]:
        return [request for request in self.requests if request.path == path]

    def answer(self, request: Request) -> Reply:
        self.requests.append(request)
        if request.path.startswith("/static/") or request.path in OF_THE_PORTAL:
            return self._file(request.path)
        if request.path.startswith("/api/"):
            scheme, _, token = request.headers.get("authorization", "").partition(" ")
            if request.path != "/api/session" and (scheme != "Bearer" or token not in self.tokens):
                return Reply(status=401)
        handler = self.routes.get(request.path)
        return handler(request) if handler else Reply("not here", status=404)

    def _file(self, path: str) -> Reply:
        file = OF_THE_PORTAL.get(path) or STATIC / path.removeprefix("/static/")
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        if not file.is_file():
            return Reply(status=404)
        return Reply(file.read_bytes().decode("latin-1"), kind=kind, headers={"X-Raw": "1"})


@contextmanager
def running_site() -> Iterator[Site]:
    class Door(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._serve()

        def do_POST(self) -> None:
            self._serve()

        def _serve(self) -> None:
            url = urlsplit(self.path)
            size = int(self.headers.get("Content-Length") or 0)
            request = Request(
                method=self.command,
                path=url.path,
                query={name: values[-1] for name, values in parse_qs(url.query).items()},
                headers={name.lower(): value for name, value in self.headers.items()},
                body=self.rfile.read(size).decode(),
            )
            reply = site.answer(request)
            raw = reply.headers.pop("X-Raw", "")
            body = reply.body.encode("latin-1" if raw else "utf-8")
            self.send_response(reply.status)
            self.send_header("Content-Type", reply.kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            frames = reply.headers.pop("X-Allow-Frame", "")
            policy = (
                POLICY.replace("form-action 'self'", f"form-action {frames}; frame-src {frames}")
                if frames
                else POLICY
            )
            if url.path != "/parent.html":
                self.send_header("Content-Security-Policy", policy)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet: the test has the list of requests."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A page that was closed while it loaded is no error of the test."""
            if not isinstance(sys.exception(), ConnectionError):
                super().handle_error(request, client_address)

    server = Server(("127.0.0.1", 0), Door)
    site = Site(server.server_address[1])
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
    )
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()


def as_json(data: Any, status: int = 200) -> Reply:
    return Reply(json.dumps(data), status=status, kind="application/json")
