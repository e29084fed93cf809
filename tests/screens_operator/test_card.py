"""The card's panel: no chat yet, several, a closed one, and a chat that comes while it is open."""

from __future__ import annotations

import re

import pytest

from bx_gpt_app.assistant.models import Dialog
from bx_gpt_app.screens.frame import read_token
from tests.factories import make_dialog, make_message
from tests.screens_operator.conftest import make_suggestion
from tests.screens_operator.test_entry import token_in

pytestmark = pytest.mark.django_db

CARD = "CRM_LEAD_DETAIL_TAB"


@pytest.fixture
def portal(stand):
    return stand.installed()


@pytest.fixture
def lead(stand, portal):
    return stand.b24.add_item(1, {"title": "Заявка"})


class Card:
    """An opened card, and what it asks by itself."""

    def __init__(self, stand, lead_id):
        self._client = stand.client
        page = stand.open(7, CARD, {"ID": str(lead_id)})
        assert page.status_code == 200, page.content.decode()[:500]
        self.shown = page.content.decode()
        self._token = token_in(page)

    @property
    def frame(self):
        return read_token(self._token)

    @property
    def state(self):
        return re.search(r'data-state="(\w+)"', self.shown)[1]

    def poll(self):
        url = re.search(r'id="card-dialogs" hx-get="([^"]+)"', self.shown)[1].replace("&amp;", "&")
        answer = self._client.get(url, headers={"authorization": f"Bearer {self._token}"})
        if answer.status_code == 200:
            self.shown = answer.content.decode()
        return answer.status_code


def heard(portal, chat_id, lead_id, name="Анна"):
    dialog = make_dialog(portal, chat_id, items=[f"LEAD_{lead_id}"], client_name=name)
    make_message(dialog, "Когда доставка?")
    return dialog


def test_chat_that_comes_while_the_card_is_open_appears_by_itself(stand, portal, lead):
    card = Card(stand, lead)
    before = (card.state, card.poll())

    make_suggestion(heard(portal, 112, lead), "Доставка завтра.")

    assert before == ("none", 204)
    assert card.poll() == 200
    assert card.state == "ready"
    assert "Доставка завтра." in card.shown
    assert card.poll() == 204


def test_second_chat_joins_the_list_and_leaves_the_draft_alone(stand, portal, lead):
    heard(portal, 112, lead)
    card = Card(stand, lead)
    unchanged = card.poll()

    make_suggestion(heard(portal, 113, lead, name="Пётр"))
    answer = card.poll()

    assert (unchanged, answer) == (204, 200)
    assert "Пётр" in card.shown
    assert "Анна" in card.shown
    assert "data-draft" not in card.shown  # only the list is swapped
    assert card.shown.count("<li") == 2


def test_chat_of_another_card_is_not_shown(stand, portal, lead):
    card = Card(stand, lead)

    heard(portal, 112, lead * 10)

    assert card.poll() == 204


def test_chat_that_nobody_has_heard_is_told_apart_from_no_chat(stand, portal):
    """The portal lists a chat of the card; the line was off when the client wrote."""
    chat_id, _message = stand.b24.client_writes("Здравствуйте!")

    card = Card(stand, stand.b24.chat(chat_id).crm["lead"])

    assert card.state == "unheard"
    assert card.poll() == 204


def test_closed_dialog_says_so_and_opens_again_with_the_client(stand, portal):
    chat_id, _message = stand.b24.client_writes("Здравствуйте!")
    lead = stand.b24.chat(chat_id).crm["lead"]
    dialog = heard(portal, chat_id, lead)
    opened = Card(stand, lead).shown
    stand.b24.finish_session(chat_id)
    stand.client.cookies.clear()

    closed = Card(stand, lead).shown

    dialog.refresh_from_db()
    assert dialog.owner == Dialog.Owner.CLOSED
    words = "Диалог в Битрикс24 закрыт"
    assert (words in opened, words in closed) == (False, True)


def test_waiting_client_keeps_his_dialog_open_whatever_the_list_says(stand, portal):
    """The client writes into a closed dialog at the moment when the card is opened."""
    chat_id, _message = stand.b24.client_writes("Здравствуйте!")
    lead = stand.b24.chat(chat_id).crm["lead"]
    dialog = heard(portal, chat_id, lead)
    stand.b24.finish_session(chat_id)
    Dialog.objects.update(client_waits_since=dialog.created_at)

    Card(stand, lead)

    dialog.refresh_from_db()
    assert dialog.owner == Dialog.Owner.BOT
