"""The demo's page: a client, the real frame of the app, a card that shows what has changed."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.frontend import samples
from tests.frontend.demo_portal import DemoPortal
from tests.frontend.site import Reply, as_json
from tests.frontend.test_look import complaints

pytestmark = pytest.mark.e2e


@pytest.fixture
def portal(site) -> DemoPortal:
    return DemoPortal(site)


@pytest.fixture
def demo(page: Page, site, portal, console_errors) -> Page:
    page.set_viewport_size({"width": 1280, "height": 720})
    page.goto(f"{site.portal}/demo/")
    expect(page.locator("html")).to_have_attribute("data-ready", "")
    return page


def test_story_of_a_client_opens_the_real_frame(demo, site, console_errors):
    demo.get_by_role("button", name="Delivery").click()

    frame = demo.frame_locator("#app")
    expect(frame.get_by_label("Text of the reply")).to_have_value(samples.DRAFT_TEXT)
    expect(demo.get_by_role("log", name="Messages")).to_contain_text("Where is my order No. 1024?")
    [entry] = site.to("/entry")
    assert entry.headers["host"].startswith("localhost")
    assert entry.form["AUTH_ID"] == "signed"
    assert entry.form["PLACEMENT"] == "IM_SIDEBAR"
    assert not console_errors


def test_suggestion_goes_through_the_operator_to_the_client(demo):
    demo.get_by_role("button", name="Delivery").click()

    demo.frame_locator("#app").get_by_role("button", name="Insert into chat").click()
    expect(demo.locator("#composer")).to_have_value(samples.DRAFT_TEXT)
    demo.locator("#composer").press("Enter")

    expect(demo.locator(".message.operator")).to_contain_text(samples.DRAFT_TEXT)
    expect(demo.locator("#composer")).to_have_value("")


def test_frame_renews_its_session_through_the_portal(demo, site):
    site.tokens = {"token-2"}
    site.routes["/api/next"] = lambda request: Reply(status=204)
    demo.get_by_role("button", name="Delivery").click()
    frame = demo.frame_locator("#app")
    frame.locator("html[data-ready]").wait_for()

    with demo.expect_response(lambda answer: "/api/next" in answer.url and answer.status == 204):
        frame.get_by_role("button", name="Next version").click()

    assert site.to("/api/session")[0].body == '{"auth":"signed-again","token":"token-1"}'


def test_changed_value_of_the_card_is_shown_and_said(demo, portal):
    demo.get_by_role("button", name="Delivery").click()
    expect(demo.get_by_text("Заявка с сайта")).to_be_visible()
    expect(demo.locator(".flash")).to_have_count(0)

    portal.phone = "+7 900 000-00-24"
    portal.rev += 1

    expect(demo.locator(".flash")).to_contain_text("+7 900 000-00-24")
    expect(demo.locator("#status")).to_contain_text("Телефон: +7 900 000-00-24")


def test_client_writes_again_into_the_same_chat_and_a_new_client_into_another(demo, portal):
    demo.get_by_label("Message of the client").fill("Где заказ?")
    demo.get_by_label("Message of the client").press("Enter")
    expect(demo.locator(".message.client")).to_have_count(1)
    demo.get_by_label("Message of the client").fill("Алло")
    demo.get_by_label("Message of the client").press("Enter")
    expect(demo.locator(".message.client")).to_have_count(2)

    demo.get_by_role("button", name="New client").click()
    expect(demo.locator(".message")).to_have_count(0)
    demo.get_by_label("Message of the client").fill("Добрый день")
    demo.get_by_label("Message of the client").press("Enter")
    expect(demo.locator(".message.client")).to_have_text(re.compile("Добрый день"))
    demo.get_by_label("Chat").select_option("Анна Смирнова")

    expect(demo.locator(".message.client")).to_have_count(2)
    assert [len(chat["messages"]) for chat in portal.chats] == [2, 1]


def test_text_of_a_client_is_never_markup(demo):
    demo.get_by_label("Message of the client").fill("<img src=x onerror=alert(1)> <b>жирно</b>")
    demo.get_by_label("Message of the client").press("Enter")

    expect(demo.locator(".message.client")).to_contain_text(
        "<img src=x onerror=alert(1)> <b>жирно</b>"
    )
    assert demo.locator(".message img").count() == 0


def test_mode_of_the_line_is_switched_and_shown(demo, portal):
    expect(demo.get_by_label("Suggestions")).to_be_checked()

    demo.get_by_text("Automatic").click()

    expect(demo.get_by_label("Automatic")).to_be_checked()
    demo.wait_for_function("document.querySelector('[value=auto]').checked")
    assert portal.mode == "auto"


def test_administrator_sees_the_settings_in_the_frame(demo, site):
    demo.get_by_label("Role").select_option("I am an administrator")

    expect(demo.frame_locator("#app").get_by_role("heading", name="Style guide")).to_be_visible()
    expect(demo.get_by_text("CRM fills itself")).to_be_hidden()


def test_demonstration_model_says_what_it_is(demo):
    expect(demo.get_by_text("demonstration model")).to_be_visible()


def test_starting_over_empties_everything(demo):
    demo.get_by_role("button", name="Delivery").click()
    expect(demo.locator("#app")).to_be_visible()

    demo.get_by_role("button", name="Start over").click()

    expect(demo.locator("#app")).to_have_count(0)
    expect(demo.get_by_text("Choose a story below")).to_be_visible()


def test_limit_of_the_demo_is_said_in_words(demo, site):
    site.routes["/demo/say"] = lambda request: as_json({}, status=429)

    demo.get_by_role("button", name="Refund").click()

    expect(demo.get_by_text("Too many messages for a demo.")).to_be_visible()


def test_page_of_the_demo_is_accessible_and_never_scrolls_sideways(demo):
    demo.get_by_role("button", name="Delivery").click()
    demo.frame_locator("#app").locator("html[data-ready]").wait_for()

    found = [line for line in complaints(demo) if "frame-tested" not in line]
    wide = []
    for width in (320, 520, 760, 1000, 1280, 1440):
        demo.set_viewport_size({"width": width, "height": 720})
        if demo.evaluate("document.documentElement.scrollWidth") > width:
            wide.append(width)

    assert found == []
    assert wide == []
