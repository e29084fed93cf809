"""A portal's own cases: kept within bounds, taken from dialogs without personal data, undone."""

from __future__ import annotations

import json

import pytest

from bx_gpt_app.assistant import portal_cases, store
from bx_gpt_app.assistant.cases import Case, CasesProblems, read_cases, write_cases
from bx_gpt_app.assistant.config import PortalConfig
from bx_gpt_app.assistant.models import PortalCase, Run
from bx_gpt_app.assistant.portal_cases import case_of, from_dialog
from tests.factories import configure, make_dialog, make_message, make_portal

pytestmark = pytest.mark.django_db

CONFIG = PortalConfig()


@pytest.fixture
def portal(db):
    return make_portal(grant=False)


def case(text: str = "Где заказ?", **expect) -> Case:
    return Case.model_validate({"text": text, "expect": expect})


def add(portal, *cases, origin="typed") -> int:
    return portal_cases.add(portal, cases, origin=origin, by="Анна")


def test_cases_stand_in_the_order_in_which_they_came_and_equal_ones_once(portal):
    add(portal, case("а"), case("б", topic="sales"))

    added = add(portal, case("в"), case("а"), case("в"))

    assert added == 1
    assert [case_of(row).text for row in portal.cases.all()] == ["а", "б", "в"]


def test_two_hundred_fit_and_what_is_too_much_is_refused_as_a_whole(portal):
    add(portal, *(case(f"вопрос {n}") for n in range(portal_cases.CASES_AT_MOST - 1)))

    with pytest.raises(CasesProblems, match="200"):
        add(portal, case("ещё"), case("и ещё"))
    add(portal, case("последний"))

    assert portal.cases.count() == portal_cases.CASES_AT_MOST
    assert not portal.cases.filter(document__text="и ещё").exists()


def test_file_that_was_written_reads_back_as_the_same_cases():
    text = """
- {id: 7, text: "два\\nряда", expect: {topic: null, fields: {phone: "+79000000001", email: null}}}
- messages: [Нужен котёл, {author: operator, text: Какой}, газовый]
  now: 2026-03-10T12:00
  expect: {needs_human: false, reply_contains: [котёл], reply_max_length: 200}
"""
    cases = read_cases(text, CONFIG)

    again = read_cases(write_cases(cases), CONFIG)

    assert again == cases
    assert [one.expect.names_topic for one in again] == [True, False]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- &a {text: x, expect: {}}\n- *a", "line 2"),
        ("[" * 5000, "nested too deeply"),
        ('- {text: "a\\0b", expect: {}}', "no text"),
        ("- {text: x, expect: {fields: {phone: .nan}}}", "finite"),
        (f"- {{text: {'x' * 20_000}, id: {'y' * 50_000}, expect: {{}}}}", ""),
        (f"- {{messages: [{', '.join(['x' * 19_000] * 4)}], expect: {{}}}}", "longer than 60000"),
    ],
    ids=["references", "brackets", "no text", "no number", "long", "too long"],
)
def test_file_that_would_harm_is_refused_in_a_sentence(text, told):
    if not told:
        assert len(read_cases(text, CONFIG)) == 1
        return
    with pytest.raises(CasesProblems, match=told):
        read_cases(text, CONFIG)


def test_deleted_case_comes_back_to_its_place_once(portal):
    add(portal, case("а"), case("б", topic="sales"), case("в"))
    before = list(portal.cases.values("pk", "position", "document", "origin", "created_by"))

    gone = json.loads(json.dumps(portal_cases.take_out(portal.cases.all()[1])))
    assert portal.cases.count() == 2
    assert portal_cases.put_back(portal, gone)
    assert portal_cases.put_back(portal, gone)

    after = list(portal.cases.values("pk", "position", "document", "origin", "created_by"))
    assert after == before


def test_deleted_case_never_comes_back_to_another_portal(portal):
    stranger = make_portal(grant=False, member_id="e" * 32, domain="other.bitrix24.ru")
    add(portal, case())
    gone = portal_cases.take_out(portal.cases.get())

    assert not portal_cases.put_back(stranger, gone)
    assert not PortalCase.objects.exists()


def test_expectations_follow_a_renamed_topic_and_field(portal):
    add(portal, case("а", topic="sales", fields={"phone": None, "email": "x@example.com"}))
    add(portal, case("б", topic="delivery"))

    portal_cases.rename(portal, topic=("sales", "shop"), field=("phone", "mobile"))

    first, second = (row.document["expect"] for row in portal.cases.all())
    assert first == {"topic": "shop", "fields": {"mobile": None, "email": "x@example.com"}}
    assert second == {"topic": "delivery"}


# ---- from a dialog ----


@pytest.fixture
def dialog(portal):
    dialog = make_dialog(portal)
    make_message(dialog, "Здравствуйте, я Анна, +7 916 123-45-67, anna@mail.ru")
    make_message(dialog, "Чем помочь?", author="operator")
    make_message(dialog, "Где заказ? Звоните 8 916 123 45 67")
    run = Run.objects.create(
        portal=portal, dialog=dialog, state=Run.State.DONE, topic="delivery",
        newest_message_id=dialog.newest_message_id, answer={"needs_human": False},
        values=[
            {"field": "phone", "value": "+79161234567", "band": "confident"},
            {"field": "email", "value": "anna@mail.ru", "band": "check"},
            {"field": "name", "value": "Пётр", "band": "unsure"},
            {"field": "gone", "value": "x", "band": "confident"},
        ],
    )  # fmt: skip
    make_message(dialog, "Привезём завтра", author="operator")
    make_message(dialog, "А это уже другой вопрос")
    dialog.refresh_from_db()
    assert dialog.newest_message_id > run.newest_message_id
    return dialog


def test_dialog_becomes_a_case_up_to_the_question_that_was_judged(dialog):
    found = from_dialog(dialog, CONFIG)

    assert [said.author for said in found.turns] == ["client", "operator", "client"]
    assert found.expect.topic == "delivery"
    assert found.expect.needs_human is False
    assert set(found.expect.fields) == {"phone", "email"}


def test_phones_and_mails_of_a_dialog_are_made_up_alike_in_words_and_expectations(dialog):
    found = from_dialog(dialog, CONFIG)

    kept = json.dumps(found.document, ensure_ascii=False)
    assert "916" not in kept
    assert "mail.ru" not in kept
    assert found.expect.fields == {"phone": "+79000000001", "email": "client1@example.com"}
    assert found.turns[0].text == "Здравствуйте, я Анна, +79000000001, client1@example.com"
    assert found.turns[2].text == "Где заказ? Звоните +79000000001"


def test_dialog_without_an_answer_yet_is_a_case_without_expectations(portal):
    dialog = make_dialog(portal)
    assert from_dialog(dialog, CONFIG) is None
    make_message(dialog, "Где заказ?")

    assert from_dialog(dialog, CONFIG).document == {"text": "Где заказ?", "expect": {}}


# ---- samples ----


@pytest.mark.parametrize("language", ["ru", "en"])
def test_samples_expect_only_what_the_portal_knows(portal, language):
    configure(
        portal, topics=[{"code": "sales", "title": "Продажи"}], fields=[], mappings=[]
    )  # fmt: skip

    found = portal_cases.samples(store.load(portal)[0], language)

    assert len(portal_cases.samples(CONFIG, language)) == 6
    assert {one.expect.topic for one in found} == {"sales", None}
    assert not any(one.expect.fields for one in found)
    assert all(one.document["expect"] for one in found)
