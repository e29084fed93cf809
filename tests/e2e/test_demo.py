"""The demo as a newcomer sees it: a client writes, the assistant suggests, the card fills itself."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from bx_gpt_app.assistant import thinking
from bx_gpt_app.assistant.models import FieldValue, Run
from bx_gpt_app.screens import demo
from integrations.bitrix24.local_portal import LocalPortal, PortalOptions
from tests.e2e.conftest import KEY, Stage, Worker

pytestmark = pytest.mark.e2e


@pytest.fixture
def show(page: Page, transactional_db, live_server, model, settings) -> Iterator[Stage]:
    """The whole demo, its page at 127.0.0.1 and the app at localhost."""
    port = live_server.url.rpartition(":")[2]
    settings.DEMO, settings.DEMO_CONTROL_KEY, settings.PORT = True, KEY, int(port)
    settings.PUBLIC_URL = live_server.url
    settings.OPENAI_BASE_URL, settings.OPENAI_API_KEY = model.url, ""
    settings.OPENAI_MODEL = "demo-rules-1"
    options = PortalOptions(
        app_base_url=live_server.url, app_code="demo", rate=None, control=True, control_key=KEY,
        client_id="local.demo", client_secret=KEY,
    )  # fmt: skip
    with LocalPortal(options) as b24:
        settings.DEMO_PORTAL_URL = b24.url
        thinking.gateway.cache_clear()
        demo.prepare()
        stage = Stage(page, b24)
        page.set_viewport_size({"width": 1280, "height": 720})
        with Worker():
            yield stage
            page.goto("about:blank")


def open_page(show: Stage, settings, language: str = "ru") -> None:
    show.page.goto(f"http://127.0.0.1:{settings.PORT}/demo/?language={language}")
    expect(show.page.locator("html")).to_have_attribute("data-ready", "")


def test_story_of_a_client_from_question_to_card(show, settings):
    open_page(show, settings)
    show.picture("demo-empty")

    show.page.locator("#client-form .chip").first.click()

    frame = show.page.frame_locator("#app")
    expect(frame.locator("#draft-text")).not_to_have_value("", timeout=20_000)
    expect(show.page.locator("#crm-card")).to_contain_text(re.compile(r"\+7"), timeout=10_000)
    show.picture("demo-story")
    frame.locator("#draft-insert").click()
    expect(show.page.locator("#composer")).not_to_have_value("")
    show.page.locator("#composer").press("Enter")
    expect(show.page.locator(".message.operator")).to_be_visible()
    show.picture("demo-answered")
    assert FieldValue.objects.filter(state="written").exists()
    assert not [one for one in show.complaints() if "frame-tested" not in one]
    show.assert_clean()


def test_automatic_mode_answers_by_itself(show, settings):
    open_page(show, settings)

    show.page.locator('#mode label:has([value="auto"])').click()
    expect(show.page.locator('#mode [value="auto"]')).to_be_checked()
    show.page.locator("#client-text").fill("Здравствуйте! Какой у вас режим работы?")
    show.page.locator("#client-text").press("Enter")

    frame = show.page.frame_locator("#app")
    expect(frame.locator('#draft[data-state="auto"]')).to_be_visible(timeout=20_000)
    show.picture("demo-countdown")
    expect(show.page.locator(".message.bot").last).to_contain_text("9:00", timeout=20_000)
    show.assert_clean()


def _more_than(rows, number: int) -> bool:
    return rows.count() > number


@pytest.mark.parametrize("language", ["ru", "en"])
def test_every_story_ends_in_something_to_say_or_a_person(show, settings, language):
    open_page(show, settings, language)
    runs = Run.objects.filter(trigger="message")
    chips = show.page.locator("#client-form .chip")

    for number in range(chips.count()):
        show.page.locator("#client-form .chip").nth(number).click()
        wanted = functools.partial(_more_than, runs.filter(state="done"), number)
        answered = show.b24.wait_until(wanted, 20)
        assert answered, list(runs.values_list("state", "reason"))
        frame = show.page.frame_locator("#app")
        expect(frame.locator("#draft")).to_have_attribute(
            "data-state", re.compile("ready|sent|waiting|auto"), timeout=20_000
        )
        title = show.b24.chat(max(show.b24.world.chats)).title.partition(" - ")[0]
        expect(show.page.locator("#chats")).to_contain_text(title)
        show.page.wait_for_timeout(2500)  # the frame of the new chat takes the place of the old
        show.picture(f"demo-{language}-{number}")
    show.assert_clean()


def test_administrator_sees_the_settings_in_the_same_frame(show, settings):
    open_page(show, settings)

    show.page.locator("#role").select_option("admin")

    frame = show.page.frame_locator("#app")
    expect(frame.locator("nav").first).to_be_visible(timeout=15_000)
    show.picture("demo-admin")
    show.assert_clean()
