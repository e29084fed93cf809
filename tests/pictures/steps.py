"""What a person does in the app's frame."""

from __future__ import annotations

from playwright.sync_api import FrameLocator, expect


def go(app: FrameLocator, section: str) -> None:
    """By a link of the menu, as a person does; a bare address carries no token."""
    link = f'.side a[href="/b24/default/settings/{section}"]'
    app.locator(link).evaluate("link => link.click()")
    app.locator(f'{link}[aria-current="page"]').wait_for(state="attached")
    app.locator("main h1").wait_for()


def follow(app: FrameLocator, address: str) -> None:
    """By a link inside the page."""
    app.locator("main").evaluate("main => { main.dataset.old = '' }")
    app.locator(f'main a[href*="/settings/{address}"]').first.evaluate("link => link.click()")
    app.locator("main:not([data-old]) h1").wait_for()


def theme(app: FrameLocator, name: str) -> None:
    app.locator("html").evaluate(f"root => root.dataset.theme = '{name}'")


def make_automatic(app: FrameLocator, number: int) -> None:
    line = app.locator(f"#line-{number}")
    line.get_by_text("Автоответы", exact=True).click()
    line.locator(f"[name=line-{number}-delay_seconds]").fill("30")
    line.locator(".save-bar button[type=submit]").click()
    expect(app.get_by_role("alertdialog")).to_be_visible()
