"""Every state is accessible in both themes and fits every width."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.frontend.conftest import render
from tests.frontend.site import Reply, Site

pytestmark = pytest.mark.e2e

RULES = {
    "runOnly": {
        "type": "tag",
        "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    }
}


COLOURS = {"runOnly": {"type": "rule", "values": ["color-contrast"]}}
"""All that a theme changes."""
# The others are a sentence in the place of the reply, like `waiting`.
STATES = [
    "ready", "ready&card=1", "check", "unsure", "auto", "generating", "sending", "sent", "waiting",
    "off", "error", "budget", "loading",
]  # fmt: skip
WIDTHS = (320, 520, 760, 1280, 1440)
SETTLED = """Promise.allSettled(document.getAnimations()
  .filter((animation) => animation.effect.getTiming().iterations !== Infinity)
  .map((animation) => animation.finished))"""


def look_at(page: Page, url: str) -> None:
    page.goto(url)
    expect(page.locator("html")).to_have_attribute("data-ready", "")
    page.evaluate(SETTLED)  # a colour that is still fading in would be measured half-way


def complaints(page: Page, rules: dict = RULES) -> list[str]:
    found = Axe().run(page, options=rules).response["violations"]
    return [f"{rule['id']}: {node['html'][:160]}" for rule in found for node in rule["nodes"]]


@pytest.mark.parametrize("path", ["styleguide?", *(f"operator?draft={state}" for state in STATES)])
def test_page_is_accessible_and_fits_in_both_themes_and_languages(
    page: Page, site: Site, console_errors, path
):
    found: dict[str, object] = {}

    for language in ("en", "ru"):
        page.set_viewport_size({"width": 1000, "height": 800})
        look_at(page, f"{site.app}/page/{path}&language={language}")
        found[f"{language} light"] = complaints(page)
        page.evaluate("document.documentElement.dataset.theme = 'dark'")
        page.evaluate(SETTLED)
        found[f"{language} dark"] = complaints(page, COLOURS)
        found[f"{language} wider than"] = wider_than(page)

    assert {where: what for where, what in found.items() if what} == {}
    assert console_errors == []


def wider_than(page: Page) -> list[int]:
    """The windows that the page would have to be scrolled in sideways."""
    wider = []
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 720})
        if page.evaluate("document.documentElement.scrollWidth") > width:
            wider.append(width)
    return wider


def test_targets_are_large_enough(page: Page, site: Site):
    page.set_viewport_size({"width": 400, "height": 800})

    look_at(page, f"{site.app}/page/operator?draft=auto")
    small = page.evaluate("""() => [...document.querySelectorAll('button, a[href], select, summary, label.switch, label.check')]
      .filter((element) => element.getClientRects().length && !element.matches('.skip'))
      .map((element) => [element.id || element.textContent.trim(), element.getBoundingClientRect()])
      .filter(([, box]) => box.width < 24 || box.height < 24).map(([name]) => name)""")

    assert small == []


def test_page_of_the_operator_stays_under_its_weight(page: Page, site: Site):
    sizes: dict[str, int] = {}
    page.on("response", lambda answer: sizes.__setitem__(answer.url, len(answer.body())))

    look_at(page, f"{site.app}/page/operator")
    own = sum(size for url, size in sizes.items() if "htmx" not in url)

    assert own <= 120_000


@pytest.mark.parametrize("name", ["open_inside", "landing", "error"])
def test_public_page_is_accessible_without_scripts(page: Page, site: Site, name, console_errors):
    site.routes["/page/public"] = lambda request: Reply(
        render(
            f"base/{name}.html",
            heading="Этой страницы нет",
            text="Проверьте адрес.",
            reference="a1b2",
            demo_url="/demo/",
        )
    )

    page.goto(f"{site.app}/page/public")

    assert complaints(page) == []
    assert console_errors == []
    assert page.locator("script").count() == 0
