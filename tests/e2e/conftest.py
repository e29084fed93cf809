"""A browser, a portal's page around our frame, our server, a model and a worker: all real.

The portal lives at 127.0.0.1 and the app at localhost, so the frame is a true third party.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.core.signals import request_started
from django.db import connections
from django.utils import timezone
from playwright.sync_api import ConsoleMessage, FrameLocator, Page, Request

from bx_gpt_app.assistant import tasks, thinking
from bx_gpt_app.assistant.models import Dialog
from bx_gpt_app.portals import tasks as portal_tasks
from bx_gpt_app.portals.models import Portal
from integrations.bitrix24.local_portal import LocalPortal, PortalOptions
from integrations.llm.local_model import LocalModel
from tests.factories import configure

PICTURES = Path(__file__).resolve().parent.parent.parent / "var" / "screenshots"
KEY = "control-key-of-the-browser-tests"
KNOWLEDGE = [
    {"title": "Режим работы", "text": "Мы работаем Пн–Пт с 9:00 до 18:00."},
    {"title": "Доставка", "text": "Доставка по городу стоит 490 ₽, привозим на следующий день."},
]


class Worker:
    """What `make worker` does, in a thread: works through every dialog that is due."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)

    def __enter__(self) -> Worker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(20)

    def _run(self) -> None:
        while not self._stop.wait(0.1):
            due = Dialog.objects.filter(due_at__lte=timezone.now(), leased_until__isnull=True)
            for dialog_id in due.values_list("pk", flat=True):
                tasks.wake.call(dialog_id)
        connections.close_all()


class Stage:
    """A portal's page in a real browser, with our page in its frame."""

    def __init__(self, page: Page, b24: LocalPortal) -> None:
        self.page, self.b24 = page, b24
        self.errors: list[str] = []
        self.requests: list[Request] = []
        self.cookies: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._note)
        page.on("request", lambda request: self.requests.append(request))
        # The browser keeps cookies out of what it tells of a request: our server sees them.
        request_started.connect(self._note_cookies)

    def _note_cookies(self, environ: dict[str, str], **_: object) -> None:
        self.cookies += [environ["HTTP_COOKIE"]] if environ.get("HTTP_COOKIE") else []

    def _note(self, message: ConsoleMessage) -> None:
        # The stand's own page has no icon; what our pages say is ours.
        if message.type == "error" and not message.location["url"].startswith(self.b24.url):
            self.errors.append(f"{message.text} {message.location['url']}")

    @property
    def portal(self) -> Portal:
        return Portal.objects.select_related("registration").get()

    @property
    def app(self) -> FrameLocator:
        return self.page.frame_locator("#app iframe")

    def open(
        self, *, user: int = 7, width: int = 420, ready: bool = True, **query: Any
    ) -> FrameLocator:
        """Open a placement: chat_id=…, item_id=…, placement=…, path=install/ and so on."""
        defaults = {"placement": "IM_SIDEBAR"} if "chat_id" in query else {}
        parts = {"key": KEY, "user_id": user, **defaults, **query}
        self.page.set_viewport_size({"width": max(1280, width + 400), "height": 800})
        self.page.goto(
            f"{self.b24.url}/_portal/?" + "&".join(f"{name}={one}" for name, one in parts.items())
        )
        self.page.add_style_tag(
            content=f"body {{ grid-template-columns: 1fr {width}px !important }}"
        )
        if ready:
            self.app.locator("html[data-ready]").wait_for()
        return self.app

    def client_says(self, text: str, chat_id: int | None = None, **who: Any) -> int:
        chat_id, _message_id = self.b24.client_writes(text, chat_id=chat_id, **who)
        return chat_id

    def composer(self) -> str:
        return self.page.locator("#composer").input_value()

    def picture(self, name: str) -> None:
        PICTURES.mkdir(parents=True, exist_ok=True)
        # Hiding the caret would need a style that our policy forbids.
        self.page.screenshot(path=str(PICTURES / f"{name}.png"), caret="initial")

    def complaints(self) -> list[str]:
        """What axe finds wrong, the frame included."""
        found = Axe().run(self.page)
        return [
            f"{one['id']}: {node['target']} {node['html'][:120]}"
            for one in found.response["violations"]
            for node in one["nodes"]
            if len(node["target"]) > 1  # inside the frame: the page around it is the stand's own
        ]

    def assert_clean(self) -> None:
        assert not self.errors, self.errors
        assert not self.cookies
        assert not self.page.context.cookies()


@pytest.fixture
def model() -> Iterator[LocalModel]:
    with LocalModel() as server:
        yield server


@pytest.fixture
def empty_stage(page: Page, transactional_db, live_server, model, settings) -> Iterator[Stage]:
    """A portal that has not installed the app yet."""
    options = PortalOptions(app_base_url=live_server.url, rate=None, control=True, control_key=KEY)
    with LocalPortal(options) as b24:
        settings.PUBLIC_URL = live_server.url
        settings.B24_OAUTH_URL = [b24.oauth_url]
        settings.B24_CLIENT_ID = b24.options.client_id
        settings.B24_CLIENT_SECRET = b24.options.client_secret
        settings.OPENAI_BASE_URL = model.url
        settings.OPENAI_API_KEY = "demo"
        thinking.gateway.cache_clear()
        stage = Stage(page, b24)
        with Worker():
            yield stage
            page.goto("about:blank")


@pytest.fixture
def stage(empty_stage: Stage) -> Stage:
    """An installed portal whose line has suggestions."""
    reply = empty_stage.b24.install("server")
    assert reply.status == 200, reply.text
    configure(
        empty_stage.portal,
        mode="suggest",
        reply={"debounce_seconds": 0},
        crm={"write": "confirm"},
        knowledge=KNOWLEDGE,
    )
    portal_tasks.bind_now(empty_stage.portal)
    return empty_stage
