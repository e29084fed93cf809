"""A local portal, a tiny application that writes down what it is sent, and a plain client."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests

from integrations.bitrix24.local_portal import LocalPortal, PortalOptions
from integrations.bitrix24.local_portal.php import decode_form
from integrations.bitrix24.local_portal.server import HttpServer, Request, Response

BOT_CODE = "acme_ai_bot"


@dataclass(frozen=True)
class Received:
    path: str
    query: dict[str, Any]
    form: dict[str, Any]
    raw: str

    @property
    def event(self) -> str:
        return str(self.form.get("event", ""))


class Application:
    """Answers 200 to everything and remembers it."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._all: list[Received] = []
        self.html = "<p>installer</p>"
        self.scripts: dict[str, bytes] = {}
        self.server = HttpServer("127.0.0.1", 0, self._answer)
        self.server.start()
        self.url = f"http://127.0.0.1:{self.server.port}"
        self.foreign_url = f"http://localhost:{self.server.port}"
        """Another site than the portal's in the eyes of a browser."""

    def _answer(self, request: Request) -> Response:
        if request.path in self.scripts:
            return Response(200, self.scripts[request.path], "text/javascript; charset=utf-8")
        raw = request.body.decode()
        received = Received(request.path, request.query_params, decode_form(raw), raw)
        with self._guard:
            self._all.append(received)
        return Response(200, self.html.encode(), "text/html; charset=utf-8")

    @property
    def received(self) -> list[Received]:
        with self._guard:
            return list(self._all)

    @property
    def events(self) -> list[str]:
        return [one.event for one in self.received if one.event]

    def last(self, event: str) -> dict[str, Any]:
        return next(one.form for one in reversed(self.received) if one.event == event)

    def forget(self) -> None:
        with self._guard:
            self._all.clear()


class Caller:
    """Calls REST methods with the token of one user; answers (status, body)."""

    def __init__(self, portal: LocalPortal, user_id: int = 1) -> None:
        self.portal = portal
        self.token, self.refresh_token = portal.issue_tokens(user_id)
        self.session = requests.Session()

    def answer(self, method: str, **params: Any) -> tuple[int, dict[str, Any]]:
        response = self.session.post(
            f"{self.portal.rest_endpoint}{method}",
            json={**params, "auth": self.token},
            allow_redirects=False,
            timeout=10,
        )
        return response.status_code, response.json()

    def __call__(self, method: str, **params: Any) -> Any:
        status, body = self.answer(method, **params)
        assert status == 200, body
        assert "error" not in body, body
        return body["result"]

    def error(self, method: str, **params: Any) -> tuple[int, str]:
        status, body = self.answer(method, **params)
        assert "error" in body, body
        return status, body["error"]


@pytest.fixture
def application() -> Iterator[Application]:
    application = Application()
    yield application
    application.server.stop()


@pytest.fixture
def make_portal(application: Application) -> Iterator[Callable[..., LocalPortal]]:
    started: list[LocalPortal] = []

    def make(*, issuer: LocalPortal | None = None, **options: Any) -> LocalPortal:
        options = {"app_base_url": application.url, "rate": None, **options}
        portal = LocalPortal(PortalOptions(**options), issuer=issuer).start()
        started.append(portal)
        return portal

    yield make
    for portal in started:
        portal.stop()


@pytest.fixture
def portal(make_portal: Callable[..., LocalPortal]) -> LocalPortal:
    return make_portal()


@pytest.fixture
def admin(portal: LocalPortal) -> Iterator[Caller]:
    caller = Caller(portal)
    yield caller
    caller.session.close()


@pytest.fixture
def operator(portal: LocalPortal) -> Iterator[Caller]:
    caller = Caller(portal, 7)
    yield caller
    caller.session.close()


def register_bot(admin: Caller, application: Application, **fields: Any) -> int:
    answer = admin(
        "imbot.v2.Bot.register",
        fields={
            "code": BOT_CODE,
            "type": "bot",
            "isSupportOpenline": "Y",
            "eventMode": "webhook",
            "webhookUrl": f"{application.url}/b24/default/events/",
            "properties": {"name": "AI", "lastName": "Помощник"},
            **fields,
        },
    )
    return int(answer["bot"]["id"])


def welcome(admin: Caller, bot_id: int, **params: Any) -> None:
    settings = {
        "WELCOME_BOT_ENABLE": "Y",
        "WELCOME_BOT_ID": bot_id,
        "WELCOME_BOT_JOIN": "always",
        "WELCOME_BOT_TIME": 600,
        "WELCOME_BOT_LEFT": "close",
        **params,
    }
    assert admin("imopenlines.config.update", CONFIG_ID=22, PARAMS=settings) is True


@pytest.fixture
def bot_id(admin: Caller, application: Application) -> int:
    """A bot that welcomes clients of line 22 and stays until the session is closed."""
    number = register_bot(admin, application)
    welcome(admin, number)
    return number
