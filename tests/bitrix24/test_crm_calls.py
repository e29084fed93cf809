"""Reading and writing CRM items over the wire."""

from __future__ import annotations

from copy import deepcopy
from urllib.parse import parse_qsl

import pytest

from integrations.bitrix24 import crm, errors
from integrations.bitrix24.crm import ItemRef, Plan
from integrations.bitrix24.forms import parse_form
from integrations.bitrix24.limiter import Priority
from tests.bitrix24.conftest import answer_of
from tests.bitrix24.portal_stand import Answer, Asked, refusal, result

LEAD = ItemRef(1, 77)
PHONE = {"n0": {"typeId": "PHONE", "valueType": "WORK", "value": "+79990000000"}}


class Card:
    """One lead that behaves as documented: unknown names ignored, whole item returned."""

    def __init__(self, stand, refuses=(), ignores=()):
        self.item = answer_of("lead")["item"]
        self.refuses, self.ignores = refuses, ignores
        self.notes = []
        self.writes = 0
        stand.script["crm.item.get"] = lambda asked: result({"item": deepcopy(self.item)})
        stand.script["crm.item.update"] = lambda asked: self.update(asked.body["fields"])
        stand.script["crm.timeline.logmessage.add"] = lambda asked: self.note(asked.body["fields"])

    def update(self, fields):
        if any(name in fields for name in self.refuses):
            return refusal("CRM_FIELD_ERROR_VALUE_NOT_VALID", 400, "Неверное значение")
        self.writes += 1
        for name, value in fields.items():
            if name == "fm":
                self.item["fm"] += [{"id": 600 + i, **one} for i, one in enumerate(value.values())]
            elif name not in self.ignores:
                self.item[name] = value
        return result({"item": deepcopy(self.item)})

    def note(self, fields):
        self.notes.append(fields)
        return result({"logMessage": {"id": 991}})


def batch_of(stand):
    """A batch endpoint that runs its commands against the stand's single methods."""

    def run(asked):
        results, failures = {}, {}
        for key, line in asked.body["cmd"].items():
            method, _, query = line.partition("?")
            body = parse_form(parse_qsl(query, keep_blank_values=True))
            answer = stand.answer(Asked("BATCH", f"/rest/{method}", {}, body, {})).body
            if "error" in answer:
                failures[key] = answer
                if asked.body["halt"]:
                    break
            else:
                results[key] = answer["result"]
        return result({"result": results or [], "result_error": failures or []})

    stand.script["batch"] = run


@pytest.fixture
def card(stand):
    batch_of(stand)
    return Card(stand)


def sources(asked):
    rows = [
        {"ENTITY_ID": "SOURCE", "STATUS_ID": "CALL", "NAME": "Звонок"},
        {"ENTITY_ID": "STATUS", "STATUS_ID": "NEW", "NAME": "Новый"},
    ]
    return result([row for row in rows if row["ENTITY_ID"] == asked.body["filter"]["ENTITY_ID"]])


def test_fields_are_read_with_their_choices_in_two_requests(client, stand):
    batch_of(stand)
    stand.result("crm.item.fields", answer_of("lead_fields"))
    stand.script["crm.status.list"] = sources

    fields = crm.read_fields(client, 1)

    assert [one.method for one in stand.asked if one.verb == "POST"] == ["crm.item.fields", "batch"]
    assert fields["LAST_NAME"].portal_name == "lastName"
    assert fields["LAST_NAME"].max_length == 50
    assert fields["ID"].read_only
    assert fields["UF_CRM_TOPIC"].title == "Тема"
    assert fields["UF_CRM_TOPIC"].choices == (("79", "Установка"), ("80", "Ремонт"))
    assert fields["UF_CRM_TAGS"].multiple
    assert fields["SOURCE_ID"].choices == (("CALL", "Звонок"),)
    assert fields["STATUS_ID"].status_type == "STATUS"
    assert fields["UF_CRM_3_1747309727"].portal_name == "ufCrm3_1747309727"
    assert fields["UF_CRM_3_1747309727"].max_length == 10
    assert fields["PHONE"].type == fields["EMAIL"].type == "crm_multifield"
    assert fields["PHONE"].multiple


def test_deals_have_no_phones_and_unreadable_directories_do_no_harm(client, stand):
    batch_of(stand)
    stand.result("crm.item.fields", answer_of("lead_fields"))
    stand.error("crm.status.list", "ACCESS_DENIED", 403)

    fields = crm.read_fields(client, 2)

    assert "PHONE" not in fields
    assert fields["SOURCE_ID"].choices == ()


def test_a_very_old_portal_is_asked_by_the_methods_of_its_time(client, stand):
    stand.result(
        "crm.lead.fields",
        {
            "TITLE": {"type": "string", "title": "Название"},
            "PHONE": {"type": "crm_multifield", "isMultiple": True, "title": "Телефон"},
            "UF_CRM_1": {"type": "string", "title": "UF_CRM_1", "formLabel": "Код"},
        },
    )

    fields = crm.read_fields(client, 1)

    assert fields["UF_CRM_1"].title == "Код"
    assert fields["TITLE"].portal_name == "TITLE"
    assert fields["PHONE"].title == "Телефон"
    with pytest.raises(errors.MethodMissing):
        crm.read_fields(client, 128)


def test_an_old_portal_is_written_to_by_the_methods_of_its_time(client, stand):
    item = {
        "ID": "77",
        "TITLE": "Котёл",
        "PHONE": [{"ID": "1", "VALUE": "+79990000000", "VALUE_TYPE": "WORK"}],
    }
    stand.result("crm.lead.update", True)
    stand.result("crm.lead.get", item)

    report = crm.update_item(client, LEAD, {"TITLE": "Котёл"}, {**PHONE, "1": {**PHONE["n0"]}})

    assert stand.asked[1].body["fields"] == {
        "TITLE": "Котёл",
        "PHONE": [
            {"VALUE": "+79990000000", "VALUE_TYPE": "WORK"},
            {"VALUE": "+79990000000", "VALUE_TYPE": "WORK", "ID": "1"},
        ],
    }
    assert report.written == ("TITLE", "PHONE")
    assert report.item == item


def test_an_update_sends_only_the_changes_with_original_names(client, stand, card):
    report = crm.update_item(client, LEAD, {"lastName": "Петров", "UF_CRM_TOPIC": 80}, PHONE)

    assert stand.asked[0].body == {
        "entityTypeId": 1,
        "id": 77,
        "useOriginalUfNames": "Y",
        "fields": {"lastName": "Петров", "UF_CRM_TOPIC": 80, "fm": PHONE},
        "auth": "access-1",
    }
    assert report.written == ("LAST_NAME", "UF_CRM_TOPIC", "PHONE")
    assert report.refused == {}


def test_one_bad_value_does_not_lose_the_others(client, stand):
    card = Card(stand, refuses=("UF_CRM_TOPIC",))
    fields = {
        "lastName": "Петров",
        "UF_CRM_TOPIC": 99,
        "opportunity": 5,
        "isManualOpportunity": "Y",
        "currencyId": "USD",
    }

    report = crm.update_item(client, LEAD, fields, PHONE)

    assert report.written == ("LAST_NAME", "OPPORTUNITY", "PHONE")
    assert report.refused == {"UF_CRM_TOPIC": "CRM_FIELD_ERROR_VALUE_NOT_VALID"}
    assert [sorted(one.body["fields"]) for one in stand.asked[1:]] == [
        ["lastName"],
        ["UF_CRM_TOPIC"],
        ["currencyId", "isManualOpportunity", "opportunity"],
        ["fm"],
    ]
    assert card.item["lastName"] == "Петров"


def test_a_single_bad_value_is_not_sent_again(client, stand):
    Card(stand, refuses=("UF_CRM_TOPIC",))

    report = crm.update_item(client, LEAD, {"UF_CRM_TOPIC": 99}, {})

    assert report.refused == {"UF_CRM_TOPIC": "CRM_FIELD_ERROR_VALUE_NOT_VALID"}
    assert len(stand.asked) == 1


def test_what_the_portal_silently_did_not_store_is_noticed(client, stand):
    Card(stand, ignores=("UF_CRM_NONE", "UF_CRM_VISIT"))

    report = crm.update_item(
        client, LEAD, {"UF_CRM_NONE": "x", "UF_CRM_VISIT": "2026-08-22", "lastName": "Петров"}, {}
    )

    assert report.written == ("LAST_NAME",)
    assert report.refused == {"UF_CRM_NONE": "not_stored", "UF_CRM_VISIT": "not_stored"}


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("2026-08-22", "2026-08-22T03:00:00+03:00"),
        ("2026-08-22T10:00:00+03:00", "2026-08-22T07:00:00+00:00"),
        ("12000|RUB", "12000.00|RUB"),
        ("Y", "1"),
        (80, "80"),
        ([1, 2], ["2", "1"]),
        ("Первый\nВторой", "Первый<br>Второй"),
        ("Первый\nВторой", "[p]Первый[/p][p]Второй[/p]"),
        (12000, 12000.0),
    ],
)
def test_the_portals_own_spelling_of_a_value_counts_as_stored(client, stand, sent, stored):
    stand.result("crm.item.update", {"item": {"id": 77, "UF_X": stored}})

    assert crm.update_item(client, LEAD, {"UF_X": sent}, {}).written == ("UF_X",)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("NOT_FOUND", errors.NotFound),
        ("ACCESS_DENIED", errors.AccessDenied),
        ("insufficient_scope", errors.ScopeMissing),
    ],
)
def test_an_item_that_cannot_be_written_is_not_tried_field_by_field(client, stand, code, kind):
    stand.error("crm.item.update", code)

    with pytest.raises(kind):
        crm.update_item(client, LEAD, {"title": "a", "name": "b"}, {})
    assert len(stand.asked) == 1


def test_new_phones_are_not_sent_twice_but_absolute_values_are(client, stand):
    stand.script["crm.item.update"] = Answer(drop=True)

    with pytest.raises(errors.Unavailable) as caught:
        crm.update_item(client, LEAD, {}, PHONE)
    assert caught.value.outcome_unknown
    assert len(stand.asked) == 1

    with pytest.raises(errors.Unavailable):
        crm.update_item(client, LEAD, {"title": "a"}, {})
    assert len(stand.asked) == 4


def test_read_write_and_note_are_one_request(client, stand, card):
    plan = Plan(fields={"lastName": "Петров"}, fm=PHONE)

    report = crm.write_batch(
        client, LEAD, plan, ("ИИ-помощник", "Заполнено: фамилия"), priority=Priority.BACKGROUND
    )

    assert stand.methods[0] == "batch"
    assert [one.verb for one in stand.asked].count("POST") == 1
    assert report.before
    assert report.before["lastName"] is None
    assert report.after
    assert report.after["lastName"] == "Петров"
    assert report.written == ("LAST_NAME", "PHONE")
    assert report.refused == {}
    assert report.note_id == 991
    assert card.notes[0]["entityTypeId"] == "1"
    assert card.notes[0]["title"] == "ИИ-помощник"


@pytest.mark.parametrize("text", ["$result[get][item]", "цена $total[x]"])
@pytest.mark.parametrize("where", ["value", "note"])
def test_a_text_that_a_batch_would_execute_is_sent_by_itself(client, stand, card, text, where):
    plan = Plan(fields={"lastName": text if where == "value" else "Петров"})
    note = ("ИИ", text if where == "note" else "Заполнено")

    report = crm.write_batch(client, LEAD, plan, note)

    assert stand.methods == ["crm.item.get", "crm.item.update", "crm.timeline.logmessage.add"]
    assert report.written == ("LAST_NAME",)
    assert report.before
    assert report.note_id == 991


def test_a_refused_value_in_a_batch_is_found_and_the_note_comes_after(client, stand):
    batch_of(stand)
    card = Card(stand, refuses=("UF_CRM_TOPIC",))
    plan = Plan(fields={"lastName": "Петров", "UF_CRM_TOPIC": 99})

    report = crm.write_batch(client, LEAD, plan, ("ИИ", "Заполнено"))

    assert report.written == ("LAST_NAME",)
    assert report.refused == {"UF_CRM_TOPIC": "CRM_FIELD_ERROR_VALUE_NOT_VALID"}
    assert report.before
    assert len(card.notes) == 1


def test_nothing_is_noted_when_nothing_could_be_written(client, stand):
    batch_of(stand)
    card = Card(stand, refuses=("UF_CRM_TOPIC",))

    report = crm.write_batch(client, LEAD, Plan(fields={"UF_CRM_TOPIC": 99}), ("ИИ", "Заполнено"))

    assert report.written == ()
    assert report.refused
    assert report.note_id is None
    assert card.notes == []


@pytest.mark.parametrize(
    ("plan", "note", "attempts"),
    [
        (Plan(fields={"lastName": "Петров"}), None, 3),
        (Plan(fields={"lastName": "Петров"}), ("ИИ", "x"), 1),
        (Plan(fm=PHONE), None, 1),
    ],
    ids=["absolute values", "a note would be written twice", "a phone would be added twice"],
)
def test_a_lost_batch_is_repeated_only_when_that_is_harmless(client, stand, plan, note, attempts):
    stand.script["batch"] = Answer(drop=True)

    with pytest.raises(errors.Unavailable) as caught:
        crm.write_batch(client, LEAD, plan, note)
    assert caught.value.outcome_unknown
    assert len(stand.asked) == attempts


def test_an_item_that_is_gone_is_an_error_of_the_batch(client, stand, card):
    stand.error("crm.item.get", "NOT_FOUND")

    with pytest.raises(errors.NotFound):
        crm.write_batch(client, LEAD, Plan(fields={"lastName": "Петров"}), None)
    assert card.writes == 0


def test_a_failed_note_does_not_spoil_the_write(client, stand, card):
    stand.error("crm.timeline.logmessage.add", "ACCESS_DENIED", 403)

    report = crm.write_batch(client, LEAD, Plan(fields={"lastName": "Петров"}), ("ИИ", "x"))

    assert report.written == ("LAST_NAME",)
    assert report.note_id is None


def test_an_empty_plan_writes_only_its_note(client, stand, card):
    assert crm.write_batch(client, LEAD, Plan(), None) == crm.WriteReport(None, None, (), {}, None)
    assert stand.asked == []
    assert crm.write_batch(client, LEAD, Plan(), ("ИИ", "x")).note_id == 991


def test_a_note_is_a_comment_where_there_are_no_log_entries(client, stand):
    stand.result("crm.timeline.comment.add", "999")

    assert crm.add_timeline_note(client, ItemRef(128, 5), "ИИ", "Заполнено") == 999
    assert stand.asked[1].body["fields"] == {
        "ENTITY_ID": 5,
        "ENTITY_TYPE": "dynamic_128",
        "COMMENT": "ИИ\nЗаполнено",
    }


def test_people_are_found_by_phone_and_mail(client, stand):
    stand.script["crm.duplicate.findbycomm"] = [
        result({"LEAD": [77], "CONTACT": ["275", 276]}),
        result([]),
    ]

    found = crm.find_people(client, phone="+79990000000", email="a@b.ru")

    assert found == (ItemRef(3, 275), ItemRef(3, 276), ItemRef(1, 77))
    assert [one.body["type"] for one in stand.asked] == ["PHONE", "EMAIL"]
    assert crm.find_people(client) == ()


def test_items_of_a_dialog_are_searched_by_its_line(client, stand, card):
    command = crm.find_by_dialog_command(3, "telegrambot|22|998877|880")

    assert command.params["filter"] == {"=imol": "imol|telegrambot|22|998877|880"}
    assert crm.find_by_dialog_command(3, "imol|a|1|b|c").params["filter"] == {
        "=imol": "imol|a|1|b|c"
    }


def test_an_item_is_read_by_old_methods_too(client, stand):
    stand.result("crm.deal.get", {"ID": "5", "TITLE": "Котёл"})

    assert crm.item_value(crm.read_item(client, ItemRef(2, 5)), "TITLE") == "Котёл"
