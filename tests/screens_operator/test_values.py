"""Values for the CRM: shown, corrected, written with the operator's own access, taken back."""

from __future__ import annotations

import pytest

from bx_gpt_app.assistant import tasks
from bx_gpt_app.assistant.models import Delivery, Dialog, FieldValue
from bx_gpt_app.portals.fields import refresh_catalogue
from bx_gpt_app.portals.models import Portal
from bx_gpt_app.portals.tasks import client_for
from integrations.bitrix24.crm import LEAD
from tests.factories import configure, make_dialog, make_grant, make_message
from tests.screens_operator.conftest import (
    Visitor,
    events_of,
    make_frame,
    make_run,
)

pytestmark = pytest.mark.django_db(transaction=True)

FIELDS = [
    {"name": "phone", "type": "phone", "description": "телефон клиента"},
    {"name": "subject", "type": "string", "description": "суть"},
    {"name": "visit", "type": "date", "description": "дата"},
    {"name": "budget", "type": "money", "description": "бюджет"},
    {"name": "product", "type": "choice", "choices": ["котёл", "бойлер"]},
]
MAPPINGS = [
    {"from": "phone", "entity": "lead", "to": "PHONE", "policy": "append"},
    {"from": "subject", "entity": "lead", "to": "TITLE", "policy": "fill_empty"},
    {"from": "visit", "entity": "lead", "to": "UF_CRM_VISIT", "policy": "fill_empty"},
    {"from": "product", "entity": "lead", "to": "UF_CRM_EQUIPMENT", "policy": "append"},
]


class Card:
    """A lead in the local portal, our dialog about it, and an operator who looks at it."""

    def __init__(self, stand) -> None:
        self.b24 = stand.b24
        self.portal: Portal = stand.installed()
        configure(self.portal, fields=FIELDS, mappings=MAPPINGS, crm={"write": "confirm"})
        refresh_catalogue(self.portal, client_for(self.portal), LEAD)
        access, refresh = self.b24.issue_tokens(7)
        make_grant(
            self.portal, kind="user", user_id=7, access_token=access, refresh_token=refresh,
            is_admin=False, user_name="Ольга Смирнова",
        )  # fmt: skip
        self.lead_id = self.b24.add_item(1, {"title": "Заявка с сайта"})
        self.dialog = make_dialog(self.portal, items=[f"LEAD_{self.lead_id}"])
        make_message(self.dialog, "мой номер +7 916 123-45-67")
        self.run = make_run(self.dialog)
        self.visitor = Visitor(stand.client, make_frame(self.portal), self.dialog)

    def propose(self, field="phone", value="+79161234567", target="PHONE", **values) -> FieldValue:
        defaults = {
            "type": next(one["type"] for one in FIELDS if one["name"] == field),
            "band": "confident",
            "item": f"LEAD_{self.lead_id}",
            "policy": "append" if field == "phone" else "fill_empty",
            "quote": "мой номер +7 916 123-45-67",
        }
        return FieldValue.objects.create(
            portal=self.portal, dialog=self.dialog, run=self.run, field=field, value=value,
            target=target, **{**defaults, **values},
        )  # fmt: skip

    def work(self) -> None:
        tasks.wake.call(self.dialog.pk)

    @property
    def lead(self) -> dict:
        return self.b24.item(1, self.lead_id)

    @property
    def phones(self) -> list[str]:
        return [one["value"] for one in self.lead["fm"] if one["typeId"] == "PHONE"]


@pytest.fixture
def card(stand) -> Card:
    return Card(stand)


def test_proposed_value_is_shown_with_its_quote_and_what_the_crm_has(card):
    value = card.propose()
    Dialog.objects.update(
        item_snapshot={
            f"LEAD_{card.lead_id}": {
                "fm": [{"id": 1, "typeId": "PHONE", "value": "+7 900 000-00-01"}]
            }
        }
    )

    page = card.visitor.get("values/").content.decode()

    assert "Phone" in page
    assert 'value="+79161234567"' in page
    assert "мой номер +7 916 123-45-67" in page
    assert "+7 900 000-00-01" in page
    assert f"values/{value.pk}/write/" in page


def test_value_is_written_by_the_operators_own_access_and_the_card_is_told(card):
    value = card.propose()

    answer = card.visitor.post(f"values/{value.pk}/write/", value="+79161234567")
    writing = card.visitor.get("values/")
    card.work()
    written = card.visitor.get("values/?rev=0&seen=0")

    value.refresh_from_db()
    assert "Saving…" in answer.content.decode()
    assert "every 1s" in writing.content.decode()
    assert card.phones == ["+79161234567"]
    assert value.state == "written"
    assert value.by == "Ольга Смирнова"
    assert "Undo" in written.content.decode()
    assert "crm-changed" in events_of(written)
    assert card.b24.calls("crm.item.update")[-1].user_id == 7


def test_written_phone_is_taken_back_and_nothing_else(card):
    card.b24.change_item(
        1,
        card.lead_id,
        {"fm": {"n0": {"typeId": "PHONE", "valueType": "WORK", "value": "+79000000001"}}},
    )
    value = card.propose()
    card.visitor.post(f"values/{value.pk}/write/", value="+79161234567")
    card.work()
    assert card.phones == ["+79000000001", "+79161234567"]

    answer = card.visitor.post(f"values/{value.pk}/undo/")
    card.work()

    value.refresh_from_db()
    assert card.phones == ["+79000000001"]
    assert value.state == "undone"
    assert f"values/{value.pk}/write/" in answer.content.decode()


def test_overwritten_field_gets_its_old_value_back(card):
    value = card.propose("subject", "Нужен котёл", "TITLE")
    card.visitor.post(f"values/{value.pk}/write/", value="Нужен котёл 24 кВт")
    card.work()
    assert card.lead["title"] == "Нужен котёл 24 кВт"

    card.visitor.post(f"values/{value.pk}/undo/")
    card.work()

    assert card.lead["title"] == "Заявка с сайта"


def test_field_that_was_empty_is_empty_again(card):
    value = card.propose("visit", "2026-12-01", "UF_CRM_VISIT")
    card.visitor.post(f"values/{value.pk}/write/", value="2026-12-01")
    card.work()
    assert str(card.lead["UF_CRM_VISIT"]).startswith("2026-12-01")

    card.visitor.post(f"values/{value.pk}/undo/")
    card.work()

    assert not card.lead["UF_CRM_VISIT"]


def test_value_that_a_person_changed_since_is_left_alone(card):
    value = card.propose("subject", "Нужен котёл", "TITLE")
    card.visitor.post(f"values/{value.pk}/write/", value="Нужен котёл")
    card.work()
    card.b24.change_item(1, card.lead_id, {"title": "Переписал менеджер"})

    card.visitor.post(f"values/{value.pk}/undo/")
    card.work()

    assert card.lead["title"] == "Переписал менеджер"


def test_undo_before_the_write_began_writes_nothing(card):
    value = card.propose()
    card.visitor.post(f"values/{value.pk}/write/", value="+79161234567")

    card.visitor.post(f"values/{value.pk}/undo/")
    card.work()

    value.refresh_from_db()
    assert value.state == "proposed"
    assert card.phones == []


def test_corrected_value_is_brought_into_its_form(card):
    value = card.propose()

    card.visitor.post(f"values/{value.pk}/write/", value="8 (916) 765-43-21")
    card.work()

    assert card.phones == ["+79167654321"]


@pytest.mark.parametrize(("text", "said"), [("кукуруза", "does not fit"), ("", "no text")])
def test_value_that_is_none_is_refused_at_its_field(card, text, said):
    value = card.propose()

    answer = card.visitor.post(f"values/{value.pk}/write/", value=text)

    value.refresh_from_db()
    page = answer.content.decode()
    assert answer.status_code == 422
    assert 'aria-invalid="true"' in page
    assert said in page
    assert value.state == "proposed"
    assert not Delivery.objects.exists()


def test_writing_twice_is_writing_once(card):
    value = card.propose()

    card.visitor.post(f"values/{value.pk}/write/", value="+79161234567")
    card.visitor.post(f"values/{value.pk}/write/", value="+79161234567")
    card.work()

    assert Delivery.objects.count() == 1
    assert card.phones == ["+79161234567"]


def test_confident_values_are_written_together_and_doubtful_ones_stay(card):
    card.propose()
    card.propose("subject", "Нужен котёл", "TITLE")
    doubtful = card.propose("visit", "2026-12-01", "UF_CRM_VISIT", band="check")

    page = card.visitor.get("values/").content.decode()
    card.visitor.post("values/confident/")
    card.work()

    doubtful.refresh_from_db()
    assert "Save confident (2)" in page
    assert Delivery.objects.count() == 1
    assert card.lead["title"] == "Нужен котёл"
    assert doubtful.state == "proposed"


def test_written_sum_and_date_are_shown_as_people_write_them(card):
    card.propose(
        "visit", "2026-12-01", "UF_CRM_VISIT", state="written", new_value={"UF_CRM_VISIT": "x"}
    )
    card.propose(
        "subject",
        {"amount": 90000, "currency": "RUB"},
        "TITLE",
        state="written",
        new_value={"TITLE": "x"},
    )

    page = card.visitor.get("values/").content.decode()

    assert "12/01/2026" in page
    assert "90,000 ₽" in page


def test_sum_to_confirm_is_shown_whole_and_read_back_as_it_was(card):
    value = card.propose("budget", {"amount": 1234567, "currency": "BYN"}, "UF_CRM_BUDGET")

    page = card.visitor.get("values/").content.decode()
    card.visitor.post(f"values/{value.pk}/write/", value="1,234,567 Br")
    card.work()

    value.refresh_from_db()
    assert 'value="1,234,567 Br"' in page
    assert value.value == {"amount": 1234567, "currency": "BYN"}
    assert value.state == "written"


def test_value_that_the_card_has_already_asks_for_nothing(card):
    snapshot = {f"LEAD_{card.lead_id}": {"id": card.lead_id, "title": "Нужен котёл"}}
    Dialog.objects.update(item_snapshot=snapshot)
    card.propose("subject", "нужен котёл", "TITLE")

    page = card.visitor.get("values/").content.decode()

    assert "нужен котёл" in page
    assert "/write/" not in page


def test_dismissed_values_disappear(card):
    card.propose()

    page = card.visitor.post("values/dismiss/").content.decode()

    assert "+79161234567" not in page
    assert FieldValue.objects.get().state == "dismissed"


def test_value_without_a_card_waits_for_one(card):
    Dialog.objects.update(items=[])
    value = card.propose(item="", target="")

    waiting = card.visitor.get("values/").content.decode()
    refused = card.visitor.post(f"values/{value.pk}/write/", value="+79161234567")
    Dialog.objects.update(items=[f"LEAD_{card.lead_id}"])
    card.visitor.post(f"values/{value.pk}/write/", value="+79161234567")
    card.work()

    assert "as soon as there is one" in waiting
    assert refused.status_code == 422
    assert card.phones == ["+79161234567"]


def test_refused_update_is_said_at_the_value(card):
    value = card.propose(item="LEAD_999999")
    card.visitor.post(f"values/{value.pk}/write/", value="+79161234567")
    card.work()

    page = card.visitor.get("values/").content.decode()

    value.refresh_from_db()
    assert value.state == "skipped"
    assert "The card is no longer there" in page
    assert f"values/{value.pk}/write/" in page
