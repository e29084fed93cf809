"""The main ways through the settings, as a person clicks them."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from bx_gpt_app.assistant import store
from bx_gpt_app.assistant.models import Delivery, PromptVersion
from bx_gpt_app.portals.models import Portal
from integrations.llm.local_model import LocalModel
from tests.factories import configure

pytestmark = pytest.mark.e2e


def config(portal: Portal):
    return store.load(portal)[0]


def test_prompt_is_changed_compared_and_published(opened, portal):
    page: Page = opened("prompts/", language="en")

    page.get_by_label("Instructions for the model").fill("Reply briefly, {{ client_nam }}.")
    page.get_by_role("button", name="Save the draft").click()
    expect(page.get_by_label("Instructions for the model")).to_be_focused()
    expect(page.get_by_text("client_nam", exact=False).first).to_be_visible()
    page.get_by_label("Instructions for the model").fill("Reply briefly, {{ client_name }}.")
    page.get_by_role("button", name=re.compile("Compare with v1")).click()
    expect(page.locator(".diff ins").first).to_be_visible()
    page.get_by_label("What has changed").fill("shorter")
    page.get_by_role("button", name="Put v2 in force").click()
    expect(page.get_by_role("heading", name="Prompts")).to_be_visible()
    expect(page.locator(".page-head .badge")).to_contain_text("v2")

    assert config(portal).prompt == "Reply briefly, {{ client_name }}."
    assert PromptVersion.objects.get(portal=portal, active=True).note == "shorter"


def test_both_texts_answer_the_same_dialog_side_by_side(opened, portal, worker):
    with LocalModel() as model:
        configure(portal, llm={"base_url": model.url, "model": "demo-rules-1"})
        page: Page = opened("prompts/", language="en")

        page.get_by_label("Instructions for the model").fill("Reply in one word.")
        page.get_by_label("Answer this").select_option("sample-order")
        page.get_by_role("button", name="Try", exact=True).click()

        expect(page.locator("#tried article")).to_have_count(2)
        expect(page.locator("#tried .said")).to_have_count(2, timeout=20_000)
        expect(page.locator("#tried")).to_contain_text("v1")


def test_line_becomes_automatic_after_a_question_and_stops_with_one_button(opened, portal):
    page: Page = opened("lines/", language="en")
    line = page.locator("#line-22")

    line.get_by_text("Automatic", exact=True).click()
    line.get_by_label("Hold a reply back, seconds").fill("30")
    line.get_by_role("button", name="Save").click()
    question = page.get_by_role("alertdialog")
    expect(question).to_contain_text("30 seconds")
    expect(question.get_by_role("heading")).to_be_focused()
    assert config(portal).line(22).mode == "suggest"
    question.get_by_role("button", name="Switch on all the same").click()
    stop = page.get_by_role("button", name="Stop automatic replies")
    expect(stop).to_be_visible()
    assert config(portal).line(22).mode == "auto"

    stop.click()
    page.locator("#confirm").get_by_role("button", name="Stop automatic replies").click()
    expect(stop).to_have_count(0)
    assert config(portal).line(22).mode == "suggest"


def test_save_bar_appears_with_a_change_and_keeps_from_leaving(opened, portal):
    page: Page = opened("costs/", language="en")
    form = page.locator("#limits-form")
    bar = form.locator("[data-save-bar]")
    expect(bar).to_be_hidden()

    form.get_by_label("Tokens a day").fill("1000")
    expect(bar).to_be_visible()
    page.get_by_role("navigation").get_by_role("link", name="Model").click()
    page.locator("#confirm").get_by_role("button", name="Cancel").click()
    expect(page.locator("#limits-form")).to_be_visible()
    form.get_by_role("button", name="Save").click()
    expect(page.locator(".toast")).to_be_visible()
    expect(bar).to_be_hidden()

    assert config(portal).limits.daily_tokens == 1000


def test_file_with_mistakes_is_told_and_a_good_one_is_previewed_and_applied(opened, portal):
    page: Page = opened("connection/", language="en")
    text = page.get_by_label("Or its text")

    text.fill("version: 1\nmode: maybe\nreply: {max_length: 0}\n")
    page.get_by_role("button", name="Show what would change").click()
    expect(page.get_by_role("alert").filter(has_text="reply.max_length")).to_contain_text("mode")
    text.fill("version: 1\nprompt: Short replies only.\n")
    page.get_by_role("button", name="Show what would change").click()
    expect(page.locator(".diff ins", has_text="Short replies only.")).to_be_visible()
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_role("heading", name="Connection")).to_be_visible()

    assert config(portal).prompt == "Short replies only."


def test_configuration_is_downloaded(opened, portal):
    page: Page = opened("connection/", language="en")

    with page.expect_download() as started:
        page.get_by_role("button", name="Download").click()

    assert started.value.suggested_filename == "assistant-acme.bitrix24.ru.yaml"


def test_choosing_a_service_fills_in_its_address(opened, portal):
    page: Page = opened("model/", language="en")

    page.locator("#id_preset").select_option("mistral")
    expect(page.locator("#id_base_url")).to_have_value("https://api.mistral.ai/v1")
    page.locator(".save-bar").get_by_role("button", name="Save").click()
    expect(page.locator("#id_api_key")).to_be_focused()
    expect(page.locator("#id_api_key_error")).to_contain_text("https://api.mistral.ai")

    assert config(portal).llm.base_url == "https://api.openai.com/v1"


def test_key_is_checked_and_the_server_tried_out(opened, portal):
    with LocalModel() as model:
        page: Page = opened("model/", language="en")

        page.locator("#id_base_url").fill(model.url)
        page.locator("#id_model").fill("demo-rules-1")
        page.locator("#id_api_key").fill("any-key")
        page.locator("#check-main").click()

        expect(page.locator("#model-result-main .banner.ok").first).to_be_visible(timeout=15_000)
        expect(page.locator("#model-result-main")).to_contain_text("answered in", timeout=30_000)
        expect(page.locator("#model-result-main .spinner")).to_have_count(0, timeout=30_000)


def test_new_hook_token_can_be_copied_once(opened, portal):
    page: Page = opened("connection/", language="en")

    page.get_by_role("button", name="New token").click()
    token = page.locator("#hook-token").inner_text()

    portal.refresh_from_db()
    assert portal.accepts_hook_token(token)


def test_stuck_act_is_closed_with_a_reason(opened, portal):
    page: Page = opened("log/", language="en")
    page.get_by_role("navigation", name="Log").get_by_role("link", name="Needs a decision").click()
    act = page.locator('form[id^="delivery-"]').first

    act.get_by_role("button", name="Close…").click()
    act.get_by_label("Reason").fill("answered by phone")
    act.get_by_role("button", name="Close", exact=True).click()

    expect(page.locator('form[id^="delivery-"]')).to_have_count(0)


def test_menu_is_a_list_on_a_narrow_screen(opened, portal):
    page: Page = opened(language="en", width=320)

    page.get_by_label("Section", exact=True).select_option(label="Costs")

    expect(page.get_by_role("heading", name="Costs", level=1)).to_be_visible()


def test_whisper_is_tried_out_on_the_lines_screen_and_a_foreign_line_is_taken_over(opened, portal):
    portal.bindings = {**portal.bindings, "failed": [["line 23", "other_bot"]]}
    portal.save(update_fields=["bindings"])
    store.change(portal, by="x", lines={"22": {"mode": "suggest"}})
    page: Page = opened("lines/", language="en")
    whisper = page.locator("#whisper-22")
    switch = whisper.get_by_label("Show suggestions inside the chat")

    expect(switch).to_be_disabled()
    whisper.get_by_text("Locked until it is tested").click()
    whisper.get_by_role("button", name="Send a test").click()
    expect(whisper).to_contain_text("on its way into the chat")
    Delivery.objects.filter(portal=portal, kind="whisper").update(state="sent")
    seen = whisper.get_by_role("button", name="The client sees it too")
    seen.click()  # it appears by itself
    expect(whisper.get_by_role("alert")).to_contain_text("the switch stays locked")
    expect(switch).to_be_disabled()

    page.locator("#line-23").get_by_role("button", name="Take the line over").click()
    expect(page.locator("#line-23")).to_contain_text("being connected")
    assert config(portal).lines["23"].mode == "suggest"
