"""A browser over templates and scripts alone: no database, no Django view."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.template.loader import render_to_string
from django.utils import translation
from playwright.sync_api import ConsoleMessage, FrameLocator, Page

from tests.frontend import samples
from tests.frontend.site import Reply, Request, Site, as_json, running_site


@pytest.fixture(scope="session")
def server() -> Iterator[Site]:
    with running_site() as site:
        yield site


def render(template: str, language: str = "en", **context: Any) -> str:
    with translation.override(language):
        return render_to_string(template, context)


def session(**changes: Any) -> dict[str, Any]:
    return {
        "frame_token": "token-1",
        "frame_session_url": "/api/session",
        "frame_lifetime_seconds": 3600,
        "theme": "light",
        **changes,
    }


def operator_page(request: Request) -> Reply:
    """/page/operator?draft=<state>&card=1&lifetime=…&theme=…&language=…"""
    query = request.query
    is_card = "card" in query
    return Reply(
        render(
            "base/operator.html",
            language=query.get("language", "en"),
            operator=samples.make_operator(is_card=is_card),
            draft={
                **samples.DRAFTS[query.get("draft", "ready")],
                **({"can_insert": False} if is_card else {}),
            },
            values=samples.make_values(),
            keys_url="/api/keys",
            **session(
                theme=query.get("theme", "light"),
                frame_lifetime_seconds=int(query.get("lifetime", "3600")),
                keys_off="keys_off" in query,
            ),
        )
    )


def styleguide_page(request: Request) -> Reply:
    return Reply(
        render(
            "components/styleguide.html",
            language=request.query.get("language", "en"),
            guide=samples.GUIDE,
            nav_items=samples.NAV_ITEMS,
            auto_runs=True,
            stop_auto_url="/api/stop",
            **session(theme=request.query.get("theme", "light")),
        )
    )


@pytest.fixture
def site(server: Site) -> Site:
    server.requests.clear()
    server.tokens = {"token-1"}
    server.routes = {
        "/page/operator": operator_page,
        "/page/styleguide": styleguide_page,
        "/api/session": lambda request: as_json({"token": "token-2", "expires_in": 3600}),
        "/api/used": lambda request: Reply(status=204),
        "/api/draft": lambda request: Reply(status=204),
    }
    return server


@pytest.fixture
def console_errors(page: Page) -> list[str]:
    errors: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type == "error":
            errors.append(message.text)

    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", note)
    return errors


@pytest.fixture
def opened(page: Page, site: Site, console_errors: list[str]) -> Callable[..., FrameLocator]:
    """Opens an address of the app inside the portal's page and waits until it is ready."""

    def open_frame(path: str, before: str = "", **size: int) -> FrameLocator:
        page.goto(f"{site.portal}/parent.html")
        if before:
            page.evaluate(before)
        page.evaluate("([url, size]) => mount(url, size)", [site.app + path, size])
        frame = page.frame_locator("#app")
        frame.locator("html[data-ready]").wait_for()
        return frame

    return open_frame
