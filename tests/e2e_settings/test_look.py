"""Every settings page is accessible in both themes and languages and fits every width."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from bx_gpt_app.assistant import store
from bx_gpt_app.assistant.models import Run, Snippet
from tests.e2e_settings.conftest import go

pytestmark = pytest.mark.e2e

RULES = {
    "runOnly": {
        "type": "tag",
        "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    }
}
SETTLED = """Promise.allSettled(document.getAnimations()
  .filter((animation) => animation.effect.getTiming().iterations !== Infinity)
  .map((animation) => animation.finished))"""
SECTIONS = (
    "", "connection/", "model/", "prompts/", "fields/", "topics/", "lines/", "knowledge/", "costs/", "log/",
)  # fmt: skip


def every_place(portal) -> list[tuple[str, str]]:
    """(section of the menu, address inside it); an empty address is the section itself."""
    run = Run.objects.filter(portal=portal, deliveries__isnull=False).first()
    snippet = Snippet.objects.filter(portal=portal).first()
    return [
        *((section, "") for section in SECTIONS),
        ("prompts/", "prompts/1/"), ("prompts/", "prompts/cases/"), ("fields/", "fields/field/phone/"), ("topics/", "topics/topic/delivery/"),
        ("knowledge/", "knowledge/unanswered/"), ("knowledge/", "knowledge/import/"),
        ("knowledge/", f"knowledge/{snippet.pk}/"), ("log/", "log/quarantine/"), ("log/", f"log/{run.pk}/"),
    ]  # fmt: skip


def visit(page: Page, section: str, address: str) -> None:
    go(page, section)
    if address:
        link = page.locator(f'a[href="/b24/default/settings/{address}"]').first
        with page.expect_response(lambda response: address in response.url):
            link.evaluate("element => element.click()")
    page.locator("main h1").wait_for()
    page.evaluate(SETTLED)


def complaints(page: Page) -> list[str]:
    found = Axe().run(page, options=RULES).response["violations"]
    return [f"{rule['id']}: {node['html'][:200]}" for rule in found for node in rule["nodes"]]


@pytest.mark.parametrize("language", ["ru", "en"])
def test_every_page_is_accessible_in_both_themes(opened, portal, language):
    store.change(portal, by="x", lines={"22": {"mode": "auto"}}, limits={"daily_cost": 21})
    page = opened(language=language)

    found: dict[str, list[str]] = {}
    for section, address in every_place(portal):
        visit(page, section, address)
        for theme in ("light", "dark"):
            page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
            page.evaluate(SETTLED)
            found[f"{address or section} {theme}"] = complaints(page)

    assert {place: rules for place, rules in found.items() if rules} == {}


@pytest.mark.parametrize("language", ["ru", "en"])
def test_nothing_scrolls_sideways(opened, portal, language):
    store.change(portal, by="x", lines={"22": {"mode": "auto"}}, limits={"daily_cost": 21})
    page = opened(language=language)

    wider = []
    for section, address in every_place(portal):
        visit(page, section, address)
        for width in (320, 760, 1280):
            page.set_viewport_size({"width": width, "height": 720})
            if page.evaluate("document.documentElement.scrollWidth") > width:
                wider.append((address or section, width))

    assert wider == []
