"""An operator at work in a real browser: the reply goes into the chat, the values into the card."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from bx_gpt_app.assistant.models import Dialog, FieldValue, Run
from bx_gpt_app.portals.models import Portal

pytestmark = pytest.mark.e2e

QUESTION = "Здравствуйте! Сколько стоит доставка? Мой телефон +7 916 123-45-67"


@pytest.fixture
def opened(stage):
    """The draft for a client's question, beside the chat."""
    chat_id = stage.client_says(QUESTION)
    app = stage.open(chat_id=chat_id)
    expect(app.locator("#draft-text")).to_contain_text("490", timeout=15_000)
    stage.chat_id = chat_id
    return app


def test_reply_goes_into_the_empty_field_of_the_chat(stage, opened):
    text = opened.locator("#draft-text").input_value()

    opened.get_by_role("button", name="Вставить в чат").or_(
        opened.get_by_role("button", name="Insert into chat")
    ).click()

    expect(stage.page.locator("#composer")).to_have_value(text)
    stage.picture("operator-inserted")
    stage.assert_clean()


def test_operators_own_text_is_kept_when_the_field_is_not_empty(stage, opened):
    stage.page.locator("#composer").fill("Мой текст")

    opened.locator("#draft-insert").click()
    expect(opened.locator("#insert-choice")).to_be_visible()
    stage.picture("operator-field-not-empty")
    opened.locator('[data-action="insert-append"]').click()

    expect(stage.page.locator("#composer")).to_have_value(re.compile(r"^Мой текст\n.*490", re.S))
    stage.assert_clean()


def test_silent_chat_leaves_the_text_in_the_clipboard(stage):
    chat_id = stage.client_says(QUESTION)
    app = stage.open(chat_id=chat_id, denied="im:getImTextareaContent,im:setImTextareaContent")
    expect(app.locator("#draft-text")).to_contain_text("490", timeout=15_000)

    app.locator("#draft-insert").click()

    expect(app.locator("#toasts")).to_contain_text("Ctrl+V", timeout=5_000)
    assert stage.composer() == ""


def test_poll_never_replaces_what_the_operator_has_typed(stage, opened):
    opened.locator("#draft-text").fill("Мой ответ, который нельзя потерять")

    stage.client_says("Подскажите режим работы?", chat_id=stage.chat_id)

    expect(opened.locator("#draft-changed")).to_be_visible(timeout=15_000)
    expect(opened.locator("#draft-text")).to_have_value("Мой ответ, который нельзя потерять")
    stage.picture("operator-client-added")
    stage.assert_clean()


def test_message_is_sent_as_the_operator_after_five_seconds(stage, opened):
    opened.locator("#draft-text").fill("Доставка стоит 490 ₽")
    opened.locator("#draft-send").click()

    expect(opened.locator("#send-cancel")).to_be_visible()
    stage.picture("operator-sending")
    expect(opened.locator('#draft[data-state="sent"]')).to_be_visible(timeout=15_000)

    assert stage.b24.delivered(stage.chat_id)[-1] == "Доставка стоит 490 ₽"
    expect(opened.locator("#save-to-knowledge")).to_be_visible()
    stage.picture("operator-sent")
    stage.assert_clean()


def test_message_that_was_taken_back_never_leaves(stage, opened):
    opened.locator("#draft-text").fill("Ошибочный текст")
    opened.locator("#draft-send").click()
    opened.locator("#send-cancel").click()

    expect(opened.locator("#draft-text")).to_be_visible()
    stage.page.wait_for_timeout(6000)  # the delay of the message must be over
    assert "Ошибочный текст" not in stage.b24.delivered(stage.chat_id)


def test_value_is_saved_into_the_card_and_taken_back(stage, opened):
    value = (
        opened.locator("#values form", has_text="+7")
        .or_(opened.locator("#values form:has(input[type=tel])"))
        .first
    )
    expect(value).to_be_visible()
    stage.picture("operator-values")
    lead_id = stage.b24.chat(stage.chat_id).crm["lead"]
    row = FieldValue.objects.get(field="phone")

    opened.locator(f"#value-{row.pk}-write").click()

    expect(opened.locator(f"#value-{row.pk}-undo")).to_be_visible(timeout=10_000)
    stage.picture("operator-value-written")
    assert [
        one["value"] for one in stage.b24.item(1, lead_id)["fm"] if one["typeId"] == "PHONE"
    ] == ["+79161234567"]
    opened.locator(f"#value-{row.pk}-undo button").click()
    expect(opened.locator(f"#value-{row.pk}-write")).to_be_visible(timeout=10_000)
    stage.b24.wait_until(
        lambda: not [one for one in stage.b24.item(1, lead_id)["fm"] if one["typeId"] == "PHONE"],
        10,
    )
    assert not [one for one in stage.b24.item(1, lead_id)["fm"] if one["typeId"] == "PHONE"]
    stage.assert_clean()


def test_card_reloads_itself_after_a_value_was_written(stage):
    chat_id = stage.client_says(QUESTION)
    lead_id = stage.b24.chat(chat_id).crm["lead"]
    stage.b24.wait_until(lambda: Dialog.objects.filter(runs__state="done").exists(), 15)
    app = stage.open(placement="CRM_LEAD_DETAIL_TAB", item_id=lead_id, width=900)
    expect(app.locator("#draft-text")).to_contain_text("490", timeout=15_000)
    row = FieldValue.objects.get(field="phone")
    stage.picture("card-tab")

    app.locator(f"#value-{row.pk}-write").click()

    expect(app.locator(f"#value-{row.pk}-undo")).to_be_visible(timeout=10_000)
    stage.page.wait_for_function("window.portal.refreshed > 0", timeout=10_000)
    stage.assert_clean()


def test_another_version_is_kept_beside_the_first(stage, opened):
    opened.locator("#draft-another").click()

    expect(opened.get_by_text(re.compile(r"2 (of|из) 2"))).to_be_visible(timeout=15_000)
    stage.picture("operator-variants")
    opened.locator("#draft-previous").click()
    expect(opened.get_by_text(re.compile(r"1 (of|из) 2"))).to_be_visible()
    stage.assert_clean()


def test_colleagues_answer_closes_the_draft_by_name(stage, opened):
    stage.b24.operator_writes(stage.chat_id, 8, "Здравствуйте, это Сергей")

    expect(opened.locator('#draft[data-state="closed"]')).to_be_visible(timeout=15_000)
    expect(opened.locator("#draft")).to_contain_text("Сергей")
    stage.picture("operator-colleague")
    stage.assert_clean()


def test_ended_session_is_renewed_without_a_word(stage, opened):
    Portal.objects.update(session_epoch=1)
    stage.page.evaluate("window.portal.log.length = 0")
    frame = next(one for one in stage.page.frames if "/b24/" in one.url)
    frame.evaluate(
        """() => { const real = window.fetch; let spoilt = false;
        window.fetch = (url, options) => {
          if (!spoilt && String(url).includes('/dialogs/')) { spoilt = true;
            const headers = new Headers(options.headers); headers.set('Authorization', 'Bearer old');
            return real(url, {...options, headers}); }
          return real(url, options); }; }"""
    )

    opened.locator("#draft-another").click()

    expect(opened.get_by_text(re.compile(r"2 (of|из) 2"))).to_be_visible(timeout=15_000)
    asked = stage.page.evaluate(
        "window.portal.log.filter((one) => one.method === 'refreshAuth').length"
    )
    assert asked == 1
    expect(opened.locator("#session-ended")).to_be_hidden()
    headers = {
        one.headers.get("authorization", "").removeprefix("Bearer ") for one in stage.requests
    }
    tokens = headers - {"", "old"}
    assert len(tokens) == 2, "the page's own and the renewed one"
    assert not [one.url for one in stage.requests if any(token in one.url for token in tokens)]


def test_foreign_page_cannot_frame_the_assistant(stage, opened, live_server):
    form = stage.b24.frame(7, "IM_SIDEBAR", {"dialogId": f"chat{stage.chat_id}"})
    inputs = "".join(
        f"<input name='{name}' value='{value}'>" for name, value in form.fields.items()
    )
    stage.page.goto(live_server.url.replace("localhost", "127.0.0.1") + "/healthz")

    stage.page.set_content(
        f'<iframe name=evil></iframe><form id=f method=post target=evil action="{form.action}">{inputs}</form>'
    )
    with stage.page.expect_event("framenavigated", lambda one: "chrome-error" in one.url):
        stage.page.evaluate("document.getElementById('f').submit()")

    framed = [one for one in stage.page.frames if one.name == "evil"]
    assert framed
    assert framed[0].url.startswith("chrome-error")


@pytest.mark.parametrize(
    ("language", "word"), [("ru", "Ответ клиенту"), ("en", "Reply to the client")]
)
def test_view_is_accessible_in_both_languages(stage, language, word):
    chat_id = stage.client_says(QUESTION)
    object.__setattr__(stage.b24.options, "language", language)
    app = stage.open(chat_id=chat_id)
    expect(app.locator("#draft-text")).to_contain_text("490", timeout=15_000)

    expect(app.locator("html")).to_have_attribute("lang", language)
    assert stage.complaints() == []
    stage.picture(f"operator-{language}")
    stage.assert_clean()


def test_operators_list_leads_to_a_chat_and_back(stage):
    chat_id = stage.client_says(QUESTION, name="Анна Смирнова")
    stage.b24.wait_until(lambda: Dialog.objects.filter(runs__state="done").exists(), 15)
    app = stage.open(user=7, width=800)
    stage.picture("operator-list")

    app.get_by_role("link", name="Анна Смирнова").click()

    expect(app.locator("#draft-text")).to_contain_text("490", timeout=15_000)
    expect(app.locator('[data-action="insert"]')).to_have_count(0)
    stage.picture("operator-from-list")
    assert stage.complaints() == []
    assert str(chat_id)
    stage.assert_clean()


def test_operator_is_told_that_settings_are_for_administrators(stage, opened, live_server):
    frame = next(one for one in stage.page.frames if "/b24/" in one.url)

    status = frame.evaluate(
        """async () => (await fetch('/b24/default/settings/', {headers: {Authorization: 'Bearer '
        + document.querySelector('meta[name="frame-token"]').content}})).status"""
    )

    assert status == 403


def test_menu_of_an_earlier_message_leads_to_an_answer_to_it(stage, opened):
    stage.client_says("Подскажите режим работы?", chat_id=stage.chat_id)
    stage.b24.wait_until(lambda: Run.objects.filter(state="done").count() == 2, 15)
    stage.open(chat_id=stage.chat_id)
    earlier = stage.page.locator("#messages li", has_text="Сколько стоит доставка")

    earlier.get_by_role("button", name="ИИ: подсказать ответ").click()
    menu = stage.page.frame_locator("#slider iframe")
    menu.locator("html[data-ready]").wait_for()

    expect(menu.locator("#draft-chosen")).to_contain_text("Сколько стоит доставка")
    expect(menu.locator("#chosen-why")).to_contain_text("подсказок")
    stage.picture("operator-chosen-message")
    menu.locator("#draft-now").click()
    expect(menu.locator("#draft-text")).to_contain_text("490", timeout=15_000)
    text = menu.locator("#draft-text").input_value()
    menu.locator("#draft-insert").click()
    expect(stage.page.locator("#composer")).to_have_value(text)
    stage.picture("operator-chosen-answered")
    assert stage.complaints() == []
    menu.locator("#chosen-latest").click()
    expect(menu.locator("#draft-text")).to_contain_text("9:00")
    stage.assert_clean()
