"""The card's tab in a real browser: a chat that is linked while it is open."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from bx_gpt_app.assistant.models import Suggestion

pytestmark = pytest.mark.e2e


def test_chat_appears_in_an_open_card_by_itself(stage):
    lead = stage.b24.add_item(1, {"title": "Заявка с сайта"})
    app = stage.open(placement="CRM_LEAD_DETAIL_TAB", item_id=lead, width=420)
    expect(app.locator("#draft")).to_contain_text("не привязан чат")
    assert stage.complaints() == []

    chat_id = stage.client_says("Здравствуйте!")
    stage.b24.world.chats[chat_id].crm["lead"] = lead  # the client was found by his phone
    stage.client_says("Какой у вас режим работы?", chat_id=chat_id)

    assert stage.b24.wait_until(
        lambda: Suggestion.objects.filter(text__contains="9:00").exists(), 20
    )
    app.locator("body").evaluate("window.dispatchEvent(new Event('online'))")  # asks at once
    expect(app.locator("[data-draft-text]")).to_contain_text("9:00")
    expect(app.locator("#card-dialogs")).to_contain_text("Иван")
    assert stage.complaints() == []
    stage.assert_clean()
