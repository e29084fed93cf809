"""The operator's frame: the reply reaches the chat, the operator's own text is never lost."""

from __future__ import annotations

import re
import time

import pytest
from playwright.sync_api import expect

from tests.frontend import samples
from tests.frontend.conftest import render
from tests.frontend.site import Reply

pytestmark = pytest.mark.e2e

TEXT = "Text of the reply"
INSERT = "Insert into chat"


def draft_reply(**changes) -> Reply:
    return Reply(render("components/operator_draft.html", draft=samples.make_draft(**changes)))


def value_reply(**changes) -> Reply:
    return Reply(render("components/operator_value.html", value=samples.make_value(**changes)))


@pytest.fixture
def composer(page):
    return page.locator("#composer")


# ---- insert


def test_reply_goes_into_an_empty_field_and_is_reported(
    opened, site, composer, page, console_errors
):
    app = opened("/page/operator")

    with page.expect_response(re.compile("/api/used")):
        app.get_by_role("button", name=INSERT).click()

    expect(composer).to_have_value(samples.DRAFT_TEXT)
    expect(app.locator("#inserted")).to_be_visible()
    [used] = site.to("/api/used")
    assert used.form == {"suggestion": "s-1", "how": "insert", "text": samples.DRAFT_TEXT}
    assert not console_errors


def test_second_insert_replaces_our_own_text_without_a_question(opened, composer):
    app = opened("/page/operator")
    app.get_by_role("button", name=INSERT).click()
    expect(composer).to_have_value(samples.DRAFT_TEXT)

    app.get_by_label(TEXT).fill("Короче")
    app.get_by_role("button", name=INSERT).click()

    expect(composer).to_have_value("Короче")


def test_text_of_the_operator_in_the_chat_is_never_replaced_without_a_word(opened, composer):
    app = opened("/page/operator", before="() => { composer.value = 'Я сам отвечу'; }")

    app.get_by_role("button", name=INSERT).click()

    expect(app.get_by_role("group", name="There is already a text")).to_be_visible()
    expect(app.get_by_role("button", name="Add below")).to_be_focused()
    expect(composer).to_have_value("Я сам отвечу")


def test_reply_is_added_below(opened, composer):
    app = opened("/page/operator", before="() => { composer.value = 'Я сам отвечу'; }")
    app.get_by_role("button", name=INSERT).click()

    app.get_by_role("button", name="Add below").click()

    expect(composer).to_have_value(f"Я сам отвечу\n{samples.DRAFT_TEXT}")


def test_replaced_text_comes_back(opened, composer):
    app = opened("/page/operator", before="() => { composer.value = 'Я сам отвечу'; }")
    app.get_by_role("button", name=INSERT).click()
    app.get_by_role("button", name="Replace").click()
    expect(composer).to_have_value(samples.DRAFT_TEXT)

    app.get_by_role("button", name="Bring my text back").click()

    expect(composer).to_have_value("Я сам отвечу")
    expect(app.get_by_role("button", name="Bring my text back")).to_be_hidden()


def test_cancelled_insert_changes_nothing(opened, composer, page):
    app = opened("/page/operator", before="() => { composer.value = 'Я сам отвечу'; }")
    app.get_by_role("button", name=INSERT).click()
    expect(app.get_by_role("group", name="There is already a text")).to_be_visible()

    page.keyboard.press("Escape")

    expect(app.get_by_role("group", name="There is already a text")).to_be_hidden()
    expect(app.get_by_role("button", name=INSERT)).to_be_focused()
    expect(composer).to_have_value("Я сам отвечу")


@pytest.mark.parametrize(
    "state",
    [
        "portal.denied.push('im:getImTextareaContent')",
        "portal.broken = true",
        "portal.swallow = true",
    ],
    ids=["no answer", "refusal", "accepted but not written"],
)
def test_reply_is_copied_when_the_chat_does_not_take_it(opened, page, composer, state):
    app = opened("/page/operator", before=f"() => {{ {state}; }}")

    app.get_by_role("button", name=INSERT).click()

    expect(app.locator(".toast")).to_contain_text("The chat did not answer. The text is copied")
    composer.focus()
    page.keyboard.press("Control+V")
    expect(composer).to_have_value(samples.DRAFT_TEXT)


def test_browser_that_refuses_copying_shows_the_text_selected(opened, page):
    app = opened("/page/operator?card=1")
    frame = next(frame for frame in page.frames if "/page/operator" in frame.url)
    frame.evaluate("document.execCommand = () => false")

    app.get_by_role("button", name="Copy").click()

    dialog = app.get_by_role("dialog", name="Press Ctrl+C")
    expect(dialog.get_by_role("textbox")).to_have_value(samples.DRAFT_TEXT)
    assert frame.evaluate("getSelection().toString() || document.activeElement.value.length > 0")


def test_square_brackets_are_not_read_as_markup_by_the_chat(opened, composer):
    app = opened("/page/operator")
    app.get_by_label(TEXT).fill("[url=https://evil.example]скидка[/url] и [1] пункт")

    app.get_by_role("button", name=INSERT).click()

    expect(composer).to_have_value("[\u200burl=https://evil.example]скидка[\u200b/url] и [1] пункт")


def test_card_has_copying_as_its_main_button(opened, page, site):
    app = opened("/page/operator?card=1")

    with page.expect_response(re.compile("/api/used")):
        app.get_by_role("button", name="Copy").click()

    expect(app.get_by_role("button", name=INSERT)).to_have_count(0)
    assert site.to("/api/used")[0].form["how"] == "copy"


# ---- send


def test_sending_counts_down_and_can_be_cancelled(opened, site):
    site.routes["/api/send"] = lambda request: draft_reply(
        state="sending", seconds=5, cancel_url="/api/send/cancel"
    )
    site.routes["/api/send/cancel"] = lambda request: draft_reply()
    app = opened("/page/operator")

    app.get_by_role("button", name="Send").click()
    expect(app.get_by_role("button", name=re.compile(r"Cancel \([1-5]\)"))).to_be_focused()
    expect(app.get_by_role("button", name="Cancel (4)")).to_be_visible()
    app.get_by_role("button", name=re.compile("Cancel")).click()

    expect(app.get_by_label(TEXT)).to_have_value(samples.DRAFT_TEXT)
    assert site.to("/api/send")[0].form == {"suggestion": "s-1", "text": samples.DRAFT_TEXT}


def test_doubtful_reply_is_sent_only_after_the_doubt_was_read(opened, site, page):
    site.routes["/api/send"] = lambda request: draft_reply(state="sent")
    app = opened("/page/operator?draft=check")

    page.keyboard.press("Control+Shift+Enter")
    dialog = app.get_by_role("dialog", name="Send without a check?")
    expect(dialog).to_contain_text(samples.DOUBT)
    assert site.to("/api/send") == []
    dialog.get_by_role("button", name="Send").click()

    expect(app.get_by_text("Sent", exact=True)).to_be_visible()


def test_reply_the_assistant_is_not_sure_of_is_sent_only_after_an_edit(opened):
    app = opened("/page/operator?draft=unsure")
    expect(app.get_by_role("button", name="Send")).to_be_disabled()

    app.get_by_label(TEXT).fill("Назовите номер заказа")

    expect(app.get_by_role("button", name="Send")).to_be_enabled()


# ---- the operator's edits


def test_poll_does_not_touch_an_edited_draft(opened, site, page):
    site.routes["/api/draft"] = lambda request: draft_reply(
        text="Новый ответ", poll_url="/api/draft?rev=2", notice="Клиент дополнил вопрос."
    )
    page.clock.install()
    app = opened("/page/operator")
    app.get_by_label(TEXT).fill("Мой ответ")

    with page.expect_response(re.compile("/api/draft")):
        page.clock.run_for(4100)

    expect(app.locator("#draft-changed")).to_contain_text("Клиент дополнил вопрос.")
    expect(app.get_by_label(TEXT)).to_have_value("Мой ответ")
    app.get_by_role("button", name="Refresh the draft").click()
    expect(app.get_by_label(TEXT)).to_have_value("Новый ответ")
    app.get_by_role("button", name="Bring my text back").click()
    expect(app.get_by_label(TEXT)).to_have_value("Мой ответ")


def test_poll_replaces_a_draft_nobody_has_touched(opened, site, page):
    site.routes["/api/draft"] = lambda request: draft_reply(text="Новый ответ")
    page.clock.install()
    app = opened("/page/operator")

    page.clock.run_for(4100)

    expect(app.get_by_label(TEXT)).to_have_value("Новый ответ")


def test_poll_that_changes_something_else_keeps_the_text_and_the_cursor(opened, site, page):
    site.routes["/api/draft"] = lambda request: draft_reply(doubts=["Проверьте номер."])
    page.clock.install()
    app = opened("/page/operator")
    app.get_by_label(TEXT).fill("Мой ответ")

    page.clock.run_for(4100)

    expect(app.get_by_text("Проверьте номер.")).to_be_visible()
    expect(app.get_by_label(TEXT)).to_have_value("Мой ответ")
    expect(app.get_by_label(TEXT)).to_be_focused()


def test_another_version_keeps_the_edited_text_for_undo(opened, site, page):
    site.routes["/api/regenerate"] = lambda request: draft_reply(text="Другой вариант")
    app = opened("/page/operator")
    app.get_by_label(TEXT).fill("Мой ответ")

    page.keyboard.press("Alt+r")
    expect(app.get_by_label(TEXT)).to_have_value("Другой вариант")
    expect(app.get_by_role("button", name="Bring my text back")).to_be_visible()
    page.keyboard.press("Alt+z")

    expect(app.get_by_label(TEXT)).to_have_value("Мой ответ")
    assert site.to("/api/regenerate")[0].form == {"how": "another"}


def test_wish_in_words_is_sent(opened, site):
    site.routes["/api/regenerate"] = lambda request: draft_reply(text="На «ты»")
    app = opened("/page/operator")

    app.get_by_role("button", name="Change…").click()
    app.get_by_label("What should be changed?").fill("на ты")
    app.get_by_role("button", name="Rewrite").click()

    expect(app.get_by_label(TEXT)).to_have_value("На «ты»")
    assert site.to("/api/regenerate")[0].form == {"how": "steer", "steer": "на ты"}


def test_open_question_holds_the_polls_for_a_minute(opened, site, page, composer):
    page.clock.install()
    app = opened("/page/operator", before="() => { composer.value = 'Я сам отвечу'; }")
    app.get_by_role("button", name=INSERT).click()
    expect(app.get_by_role("button", name="Add below")).to_be_visible()

    page.clock.run_for(30_000)
    assert site.to("/api/draft") == []
    with page.expect_response(re.compile("/api/draft")):
        page.clock.run_for(40_000)

    expect(app.get_by_role("button", name="Add below")).to_be_visible()


def test_impatient_operator_sends_once(opened, site, page):
    def slow(request):
        time.sleep(0.3)
        return draft_reply(state="sending", seconds=5, cancel_url="/api/x")

    site.routes["/api/send"] = slow
    app = opened("/page/operator")

    for _ in range(3):
        page.keyboard.press("Control+Shift+Enter")
    expect(app.get_by_text("Sending…")).to_be_visible()
    page.wait_for_timeout(500)

    assert len(site.to("/api/send")) == 1


# ---- values


def test_swap_keeps_a_value_the_operator_is_correcting(opened, site, page):
    site.routes["/api/topic"] = lambda request: Reply(
        render(
            "components/operator_values.html",
            values=samples.make_values(
                rows=[
                    samples.make_value(text="+7 900 111-11-11"),
                ]
            ),
        )
    )
    app = opened("/page/operator")
    app.locator("#topic").evaluate("element => element.setAttribute('hx-target', '#values')")
    app.get_by_label("Телефон").fill("+7 900 000-00-25")

    app.get_by_label("Topic").select_option("refund")
    expect(app.get_by_label("Адрес")).to_have_count(0)

    expect(app.get_by_label("Телефон")).to_have_value("+7 900 000-00-25")


def test_value_is_written_undone_and_the_card_reads_again(opened, site, page):
    site.routes["/api/value/phone"] = lambda request: Reply(
        value_reply(state="written", undo_url="/api/value/phone/undo").body,
        headers={"HX-Trigger": "crm-changed"},
    )
    site.routes["/api/value/phone/undo"] = lambda request: value_reply()
    app = opened("/page/operator?card=1")

    app.get_by_label("Телефон").fill("+7 900 000-00-25")
    page.keyboard.press("Alt+1")
    expect(app.get_by_role("button", name="Undo")).to_be_visible()
    page.wait_for_function("portal.log.some((entry) => entry.method === 'reloadData')")
    page.keyboard.press("Alt+z")

    expect(app.get_by_label("Телефон")).to_have_value("+7 900 000-00-24")
    assert site.to("/api/value/phone")[0].form == {"value": "+7 900 000-00-25"}


def test_undo_goes_away_after_ten_seconds(opened, site, page):
    site.routes["/api/value/phone"] = lambda request: value_reply(
        state="written", undo_url="/api/value/phone/undo"
    )
    page.clock.install()
    app = opened("/page/operator")
    app.locator("#value-phone-write").click()
    expect(app.get_by_role("button", name="Undo")).to_be_focused()

    page.clock.run_for(10_100)

    expect(app.get_by_role("button", name="Undo")).to_have_count(0)
    expect(app.get_by_text("+7 900 000-00-24", exact=True)).to_be_visible()


def test_bad_reply_is_reported_with_its_reasons(opened, site, page):
    site.routes["/api/rate"] = lambda request: Reply(
        render("components/operator_rating.html", draft=samples.make_draft(rating="bad"))
    )
    app = opened("/page/operator")

    app.get_by_role("button", name="Bad reply").click()
    app.get_by_role("dialog").get_by_text("Wrong tone").click()
    app.get_by_label("Comment").fill("Сухо")
    app.get_by_role("button", name="Report").click()

    expect(app.get_by_text("Thank you, noted")).to_be_visible()
    assert site.to("/api/rate")[0].form == {"mark": "bad", "reason": "tone", "comment": "Сухо"}


# ---- keys


def test_keys_do_not_depend_on_the_keyboard_layout(opened, composer, page):
    app = opened("/page/operator")
    expect(app.locator("[data-operator]")).to_be_focused()
    frame = next(frame for frame in page.frames if "/page/operator" in frame.url)

    # What a Russian layout sends for Alt+R.
    with page.expect_request(re.compile("/api/regenerate")):
        frame.evaluate(
            "document.body.dispatchEvent(new KeyboardEvent('keydown',"
            " {code: 'KeyR', key: 'к', altKey: true, bubbles: true}))"
        )
    page.keyboard.press("Control+Enter")

    expect(composer).to_have_value(samples.DRAFT_TEXT)


def test_question_mark_lists_the_keys_except_in_a_text(opened, page):
    app = opened("/page/operator")

    app.get_by_label(TEXT).press("Shift+?")
    expect(app.get_by_role("dialog", name="Keyboard shortcuts")).to_be_hidden()
    app.get_by_role("button", name="Copy").focus()
    page.keyboard.press("Shift+?")

    expect(app.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()


def test_all_confident_values_are_written_by_one_key(opened, site, page):
    site.routes["/api/values/confident"] = lambda request: Reply(
        render(
            "components/operator_values.html",
            values=samples.make_values(rows=[], message="Всё записано"),
        )
    )
    app = opened("/page/operator")

    page.keyboard.press("Alt+a")

    expect(app.get_by_text("Всё записано")).to_be_visible()


def test_keys_switch_works_at_once(opened, site, page):
    site.routes["/api/keys"] = lambda request: Reply(status=204)
    app = opened("/page/operator")
    page.keyboard.press("Shift+?")

    with page.expect_response(re.compile("/api/keys")):
        app.get_by_label("Use keyboard shortcuts").uncheck()
    app.get_by_role("button", name="Close").click()
    page.keyboard.press("Shift+?")

    expect(app.get_by_role("dialog", name="Keyboard shortcuts")).to_be_hidden()


def test_automatic_reply_can_be_stopped_and_asks_at_its_end(opened, site, page):
    site.routes["/api/stop"] = lambda request: draft_reply(poll_url="/api/draft?rev=2")
    page.clock.install()
    app = opened("/page/operator?draft=auto")
    expect(app.get_by_text(re.compile(r"The reply leaves in 0:(20|1\d)"))).to_be_visible()

    page.clock.run_for(10_000)  # the page's own seconds go on besides
    expect(app.get_by_text(re.compile(r"The reply leaves in 0:(10|0\d)"))).to_be_visible()
    page.keyboard.press("Escape")

    expect(app.get_by_text("The reply leaves in")).to_have_count(0)
    assert len(site.to("/api/stop")) == 1


def test_end_of_a_countdown_asks_what_has_happened(opened, site, page):
    site.routes["/api/draft"] = lambda request: draft_reply(state="sent")
    site.routes["/api/send"] = lambda request: draft_reply(
        state="sending",
        seconds=5,
        cancel_url="/api/x",
        poll_url="/api/draft?rev=2",
        poll_every="60s",
    )
    page.clock.install()
    app = opened("/page/operator")
    app.get_by_role("button", name="Send").click()
    expect(app.get_by_text("Sending…")).to_be_visible()

    page.clock.run_for(5500)

    expect(app.get_by_text("Sent", exact=True)).to_be_visible()


def test_keys_can_be_switched_off(opened, composer, page):
    app = opened("/page/operator?keys_off=1")

    app.get_by_label(TEXT).press("Control+Enter")
    app.get_by_role("button", name="Copy").click()

    expect(app.locator(".toast")).to_be_visible()
    expect(composer).to_have_value("")
