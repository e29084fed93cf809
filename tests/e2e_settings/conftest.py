"""Settings in a real browser: one live server, the first page as the portal's own POST gets it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import ConsoleMessage, Page

from bx_gpt_app.portals.models import Portal
from tests.screens_settings.rows import frame_for, make_lively_portal


@pytest.fixture(autouse=True)
def only_settings(settings) -> None:
    settings.ROOT_URLCONF = "tests.screens_settings.urls"


@pytest.fixture
def portal(transactional_db) -> Portal:
    return make_lively_portal()


@pytest.fixture
def console_errors(page: Page) -> Iterator[list[str]]:
    """What the browser complained of; a refused form (422) is said there too and is no complaint."""
    errors: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type == "error" and "422" not in message.text:
            errors.append(message.text)

    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", note)
    yield errors
    assert errors == []


@pytest.fixture
def opened(
    page: Page, live_server, portal: Portal, console_errors: list[str]
) -> Callable[..., Page]:
    """Opens the overview for an administrator; from there one goes on by the menu."""

    def open_settings(section: str = "", *, language: str = "ru", **size: int) -> Page:
        page.set_viewport_size(
            {"width": size.get("width", 1280), "height": size.get("height", 900)}
        )
        token = frame_for(portal, language=language).token()
        page.goto(f"{live_server.url}/door/?token={token}")
        page.locator("html[data-ready]").wait_for()
        if section:
            go(page, section)
        return page

    return open_settings


def go(page: Page, section: str) -> None:
    """By a link of the page: a bare address carries no token."""
    link = page.locator(f'a[href="/b24/default/settings/{section}"]').first
    with page.expect_response(lambda response: f"/settings/{section}" in response.url):
        link.evaluate("element => element.click()")
    page.locator(f'a[aria-current="page"][href="/b24/default/settings/{section}"]').first.wait_for(
        state="attached"
    )
