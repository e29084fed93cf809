"""Pictures of the real product. Collected only when named on the command line: `make pictures`."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest
from django.utils import timezone
from playwright.sync_api import Browser, Locator, Page

from bx_gpt_app.assistant import store
from bx_gpt_app.assistant.models import Consent
from bx_gpt_app.portals.models import Portal
from tests.conftest import BROWSER_FLAGS
from tests.e2e.conftest import Stage, empty_stage, model, stage
from tests.pictures.life import ADMIN, shop, two_weeks
from tests.pictures.palette import smaller

__all__ = ["empty_stage", "model", "stage"]

KEY = "sk-0000000000000000000000007f3a"
DOCS = Path(__file__).resolve().parents[2] / "docs"
SETTLED = """Promise.allSettled(document.getAnimations()
  .filter((animation) => animation.effect.getTiming().iterations !== Infinity)
  .map((animation) => animation.finished))"""
HEIGHT = """() => {
  const open = document.querySelector('dialog[open]');
  const page = document.querySelector('.page, #container')?.getBoundingClientRect();
  return Math.ceil(Math.max(page ? page.bottom + scrollY : 0, open ? open.offsetHeight + 48 : 0));
}"""
SHOPS_ADDRESS = """() => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode;
    if (/127\\.0\\.0\\.1:\\d+/.test(node.data)) node.data = node.data.replace(/127\\.0\\.0\\.1:\\d+/g, 'teplydom.bitrix24.ru');
    if (/http:..localhost:\\d+/.test(node.data)) node.data = node.data.replace(/http:..localhost:\\d+/g, 'https://ai.example.ru');
  }
}"""
"""The stand's own addresses become those of a shop and of a host."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """They write into docs/ and check little, so they are no part of `make test`."""
    named = any("pictures" in argument for argument in config.args)
    return None if named else True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.pictures)


@pytest.fixture(scope="session")
def browser_type_launch_args(
    browser_type_launch_args: dict, tmp_path_factory: pytest.TempPathFactory
) -> dict:
    """Draws in Bitrix24's own typeface where its package is installed."""
    package = importlib.util.find_spec("fontpkg_open_sans")
    if package is None or package.origin is None:
        return browser_type_launch_args
    file = tmp_path_factory.mktemp("fonts") / "fonts.conf"
    folder = Path(package.origin).parent
    file.write_text(
        '<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig>'
        f'<include ignore_missing="yes">/etc/fonts/fonts.conf</include><dir>{folder}</dir></fontconfig>'
    )
    return {
        **browser_type_launch_args,
        "args": BROWSER_FLAGS,
        "env": {**os.environ, "FONTCONFIG_FILE": str(file)},
    }


@pytest.fixture
def browser_context_args(browser_context_args: dict) -> dict:
    """A Russian browser: its own date fields and file buttons speak as the page does."""
    return {**browser_context_args, "locale": "ru-RU"}


@pytest.fixture
def portal(stage: Stage) -> Portal:
    """A shop that has worked for two weeks with the demonstration model."""
    portal = stage.portal
    shop(portal)
    two_weeks(portal)
    return portal


@pytest.fixture
def with_service(portal: Portal) -> Portal:
    """The same shop with a model service of its own, of which it knows that data leaves."""
    config, _revision = store.load(portal)
    llm = {
        **config.llm.model_dump(mode="json", exclude_unset=True), "preset": "openai", "api_key": KEY,
        "base_url": "https://api.openai.com/v1", "model": "gpt-4o-mini",
    }  # fmt: skip
    store.change(portal, by=ADMIN, llm=llm, limits={"daily_cost": 100, "monthly_cost": 3000})
    Consent.objects.create(
        portal=portal, origin="https://api.openai.com", abroad=True, user_id=1, user_name=ADMIN,
        text="Сообщения клиентов уходят на сервер https://api.openai.com.", given_at=timezone.now(),
    )  # fmt: skip
    return portal


class Album:
    """Takes the pictures; each is as tall as what it shows."""

    def __init__(self, docs: Path, blank: Page) -> None:
        self._docs, self.blank = docs, blank

    def frame(
        self, stage: Stage, name: str, *, at: str = "#app", least: int = 300, most: int = 2400
    ) -> None:
        """The app's page alone, without the portal around it; a list is cut at `most`."""
        stage.page.add_style_tag(
            content="iframe { border: 0 !important } #slider-close { display: none }"
        )
        frame = stage.page.locator(f"{at} iframe")
        root = frame.content_frame.locator("html")
        width = (stage.page.viewport_size or {})["width"]
        stage.page.mouse.move(2, 2)  # nothing is shown as if the pointer were on it
        stage.page.mouse.move(1, 1)
        root.evaluate("() => document.querySelector('.toasts')?.replaceChildren()")
        root.evaluate(SHOPS_ADDRESS)
        root.evaluate(SETTLED)
        for _time in range(2):  # a bar that sticks to the lower edge moves with it
            height = min(most, max(least, root.evaluate(HEIGHT)))
            stage.page.set_viewport_size({"width": width, "height": height})
            root.evaluate(
                "() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 60)))"
            )
        root.evaluate("window.scrollTo(0, 0)")
        wider = root.evaluate("root => root.scrollWidth - innerWidth")
        assert (name, wider, stage.complaints()) == (name, 0, [])
        self.keep(frame, name)

    def page(self, page: Page, name: str) -> None:
        """A page that is no frame, as it stands in the window."""
        page.mouse.move(1, 1)
        page.evaluate(SHOPS_ADDRESS)
        page.evaluate(SETTLED)
        self.keep(page, name)

    def keep(self, shown: Locator | Page, name: str, folder: str = "screens") -> None:
        # Hiding the caret would need a style that our policy forbids.
        picture = smaller(shown.screenshot(caret="initial"), self.blank)
        (self._docs / folder).mkdir(parents=True, exist_ok=True)
        (self._docs / folder / f"{name}.png").write_bytes(picture)


@pytest.fixture(scope="session")
def album(browser: Browser) -> Album:
    return Album(Path(os.environ.get("PICTURES", DOCS)), browser.new_page())
