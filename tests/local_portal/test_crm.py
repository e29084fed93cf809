"""CRM items: names, values, phones and what is silently ignored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from integrations.bitrix24.local_portal import LocalPortal
from integrations.bitrix24.local_portal.crm_fields import camel_of
from tests.local_portal.conftest import Application, Caller


@pytest.fixture
def lead(portal: LocalPortal) -> int:
    return portal.add_item(1, {"title": "Котёл", "name": "Иван"})


def update(admin: Caller, number: int, **fields: Any) -> dict[str, Any]:
    answer = admin(
        "crm.item.update", entityTypeId=1, id=number, useOriginalUfNames="Y", fields=fields
    )
    return dict(answer["item"])


@pytest.mark.parametrize(
    ("upper", "camel"),
    [
        ("UF_CRM_3_1747309727", "ufCrm3_1747309727"),
        ("UF_CRM_3_DIGIT", "ufCrm3Digit"),
        ("UF_CRM_3_DIGIT10", "ufCrm_3_DIGIT10"),
        ("UF_CRM_1747309879", "ufCrm_1747309879"),
        ("UF_CRM_TOPIC", "ufCrmTopic"),
    ],
)
def test_custom_names_convert_as_documented(upper: str, camel: str) -> None:
    assert camel_of(upper) == camel


def test_custom_fields_have_original_names_only_when_asked_for(admin: Caller, lead: int) -> None:
    original = admin("crm.item.get", entityTypeId=1, id=lead, useOriginalUfNames="Y")["item"]
    converted = admin("crm.item.get", entityTypeId=1, id=lead)["item"]

    assert "UF_CRM_TOPIC" in original
    assert "UF_CRM_TOPIC" not in converted
    assert "ufCrmTopic" in converted
    fields = admin("crm.item.fields", entityTypeId=1, useOriginalUfNames="Y")["fields"]
    assert fields["UF_CRM_TOPIC"]["items"][0] == {"ID": "79", "VALUE": "Установка оборудования"}
    assert fields["sourceId"]["statusType"] == "SOURCE"
    assert "fm" not in fields


def test_names_nobody_knows_are_ignored_without_a_word(admin: Caller, lead: int) -> None:
    item = update(admin, lead, TITLE="не так", ufCrmTopic=80, ID=5, nonsense=1)

    assert item["title"] == "Котёл"
    assert item["UF_CRM_TOPIC"] is None
    assert item["id"] == lead


@pytest.mark.parametrize(
    ("field", "sent", "stored"),
    [
        ("UF_CRM_URGENT", True, "Y"),
        ("UF_CRM_URGENT", "Y", "Y"),
        ("UF_CRM_URGENT", 1, "N"),
        ("UF_CRM_URGENT", "1", "N"),
        ("UF_CRM_TOPIC", "80", 80),
        ("UF_CRM_EQUIPMENT", [89, "90"], [89, 90]),
        ("UF_CRM_VISIT", "2026-08-22", "2026-08-22T03:00:00+03:00"),
        ("UF_CRM_VISIT", "22 августа", None),
        ("UF_CRM_VISIT_AT", "2026-08-22T10:00:00+00:00", "2026-08-22T13:00:00+03:00"),
        ("UF_CRM_BUDGET", "300|RUB", "300|RUB"),
        ("opportunity", "12000", 12000),
        ("opportunity", 12.5, 12.5),
        ("sourceId", "WEB", "WEB"),
        ("lastName", "я" * 60, "я" * 50),
        ("name", "", None),
    ],
)
def test_values_are_stored_as_the_portal_stores_them(
    admin: Caller, lead: int, field: str, sent: Any, stored: Any
) -> None:
    assert update(admin, lead, **{field: sent})[field] == stored


@pytest.mark.parametrize(
    ("field", "sent", "code"),
    [
        ("UF_CRM_TOPIC", "Ремонт", "CRM_FIELD_ERROR_VALUE_NOT_VALID"),
        ("UF_CRM_TOPIC", 5, "CRM_FIELD_ERROR_VALUE_NOT_VALID"),
        ("UF_CRM_EQUIPMENT", 89, "100"),
        ("UF_CRM_BUDGET", "много", "CRM_FIELD_ERROR_VALUE_NOT_VALID"),
        ("sourceId", "Сайт", "CRM_FIELD_ERROR_VALUE_NOT_VALID"),
        ("stageId", "WON", "CRM_FIELD_ERROR_VALUE_NOT_VALID"),
        ("opportunity", "дорого", "CRM_FIELD_ERROR_VALUE_NOT_VALID"),
        ("fm", {"n0": {"typeId": "EMAIL", "value": "не почта"}}, ""),
        ("fm", {"n0": {"typeId": "PHONE", "value": "9" * 251}}, ""),
    ],
)
def test_one_bad_value_rejects_the_whole_update(
    portal: LocalPortal, admin: Caller, lead: int, field: str, sent: Any, code: str
) -> None:
    answer = admin.error(
        "crm.item.update",
        entityTypeId=1,
        id=lead,
        useOriginalUfNames="Y",
        fields={"title": "другой", field: sent},
    )

    assert answer == (400, code)
    assert portal.item(1, lead)["title"] == "Котёл"


def test_phones_are_added_changed_and_deleted_by_key(admin: Caller, lead: int) -> None:
    first = update(
        admin,
        lead,
        fm={
            "n0": {"typeId": "PHONE", "valueType": "MOBILE", "value": "+79991234567"},
            "n1": {"typeId": "EMAIL", "valueType": "WORK", "value": "ivan@example.ru"},
            "n2": {"typeId": "PHONE"},
            "n3": {"value": "+7000"},
        },
    )
    assert [one["value"] for one in first["fm"]] == ["+79991234567", "ivan@example.ru"]
    assert (first["phoneMobile"], first["hasEmail"]) == ("+79991234567", "Y")

    phone, email = (str(one["id"]) for one in first["fm"])
    second = update(
        admin,
        lead,
        fm={
            phone: {"typeId": "PHONE", "valueType": "WORK", "value": "+79990000000"},
            email: {"typeId": "EMAIL", "value": ""},
            "777777": {"typeId": "PHONE", "value": "+7555"},
        },
    )
    assert [(one["valueType"], one["value"]) for one in second["fm"]] == [
        ("WORK", "+79990000000"),
        ("WORK", "+7555"),
    ]


def test_same_phone_twice_is_two_entries(admin: Caller, lead: int) -> None:
    for _ in range(2):
        item = update(admin, lead, fm={"n0": {"typeId": "PHONE", "value": "+79991234567"}})

    assert len(item["fm"]) == 2


def test_deals_have_no_phones(portal: LocalPortal, admin: Caller) -> None:
    number = portal.add_item(2, {"title": "Сделка"})

    item = admin(
        "crm.item.update",
        entityTypeId=2,
        id=number,
        fields={"fm": {"n0": {"typeId": "PHONE", "value": "+7"}}},
    )["item"]

    assert "fm" not in item


def test_update_without_a_difference_saves_and_tells_nothing(
    portal: LocalPortal, application: Application, admin: Caller, lead: int
) -> None:
    admin("event.bind", event="ONCRMLEADUPDATE", handler=f"{application.url}/events/")
    update(admin, lead, title="Котёл", name="Иван")
    portal.wait_deliveries()
    assert application.events == []

    update(admin, lead, title="Бойлер")

    portal.wait_deliveries()
    assert application.last("ONCRMLEADUPDATE")["data"] == {"FIELDS": {"ID": str(lead)}}


def test_smart_process_items_have_their_own_events(
    portal: LocalPortal, application: Application, admin: Caller
) -> None:
    admin("event.bind", event="ONCRMDYNAMICITEMADD", handler=f"{application.url}/events/")
    item = admin("crm.item.add", entityTypeId=128, fields={"title": "Монтаж"})["item"]
    portal.wait_deliveries()

    data = application.last("ONCRMDYNAMICITEMADD")["data"]
    assert data == {"FIELDS": {"ID": str(item["id"]), "ENTITY_TYPE_ID": "128"}}
    assert item["stageId"] == "DT128_1:NEW"
    assert admin("crm.type.list")["types"][0]["id"] == 3


def test_lists_filter_order_and_page(portal: LocalPortal, admin: Caller) -> None:
    for number in range(60):
        portal.add_item(1, {"title": f"Лид {number}", "opportunity": number})

    status, body = admin.answer("crm.item.list", entityTypeId=1, select=["id"])
    assert (status, body["total"], body["next"]) == (200, 60, 50)
    _, body = admin.answer(
        "crm.item.list", entityTypeId=1, filter={">id": 130}, order={"id": "DESC"}, start=-1
    )
    assert "total" not in body
    assert [one["id"] for one in body["result"]["items"]] == [136, 135, 134, 133, 132, 131]
    found = admin(
        "crm.item.list",
        entityTypeId=1,
        filter={"logic": "OR", "0": {"=opportunity": 5}, "1": {"%title": "лид 59"}},
    )["items"]
    assert [one["title"] for one in found] == ["Лид 5", "Лид 59"]


def test_phones_come_in_lists_only_with_the_star(portal: LocalPortal, admin: Caller) -> None:
    portal.add_item(1, {"title": "x", "fm": [{"typeId": "PHONE", "value": "+7"}]})

    named = admin("crm.item.list", entityTypeId=1, select=["id", "fm"])["items"][0]
    everything = admin("crm.item.list", entityTypeId=1, select=["*"])["items"][0]

    assert "fm" not in named
    assert everything["fm"][0]["value"] == "+7"


def test_duplicates_are_found_by_normalised_phone(portal: LocalPortal, admin: Caller) -> None:
    number = portal.add_item(
        3, {"name": "Иван", "fm": [{"typeId": "PHONE", "value": "8 (999) 123-45-67"}]}
    )

    found = admin("crm.duplicate.findbycomm", type="PHONE", values=["+79991234567"])

    assert found == {"CONTACT": [number]}
    assert admin("crm.duplicate.findbycomm", type="EMAIL", values=["a@example.ru"]) == []


def test_legacy_methods_speak_upper_case_text(admin: Caller, lead: int) -> None:
    assert admin(
        "crm.lead.update",
        id=lead,
        fields={"TITLE": "Бойлер", "PHONE": [{"VALUE": "+7999", "VALUE_TYPE": "WORK"}]},
    )
    shown = admin("crm.lead.get", id=lead)

    assert (shown["ID"], shown["TITLE"], shown["STATUS_ID"]) == (str(lead), "Бойлер", "NEW")
    assert "EMAIL" not in shown
    phone_id = shown["PHONE"][0]["ID"]
    admin("crm.lead.update", id=lead, fields={"PHONE": [{"ID": phone_id}]})
    assert "PHONE" not in admin("crm.lead.get", id=lead)
    fields = admin("crm.lead.fields")
    assert fields["PHONE"]["type"] == "crm_multifield"
    assert fields["UF_CRM_TOPIC"]["title"] == "UF_CRM_TOPIC"
    assert fields["UF_CRM_TOPIC"]["formLabel"] == "Тема обращения"
    assert admin.answer("crm.lead.get", id=5) == (
        400,
        {"error": "", "error_description": "Not found"},
    )


def test_employee_without_rights_is_denied(portal: LocalPortal, lead: int) -> None:
    stranger = Caller(portal, 9)

    assert stranger.error("crm.item.get", entityTypeId=1, id=lead) == (400, "ACCESS_DENIED")
    stranger.session.close()


def test_timeline_notes_and_comments(portal: LocalPortal, admin: Caller, lead: int) -> None:
    note = admin(
        "crm.timeline.logmessage.add",
        fields={
            "entityTypeId": 1,
            "entityId": lead,
            "title": "ИИ",
            "text": "Заполнено",
            "iconCode": "info",
        },
    )
    comment = {"ENTITY_ID": lead, "ENTITY_TYPE": "lead", "COMMENT": "Да"}

    assert note["logMessage"]["text"] == "Заполнено"
    assert admin("crm.timeline.comment.add", fields=comment) > 0
    assert portal.timeline(1, lead) == [
        {"kind": "logmessage", "title": "ИИ", "text": "Заполнено"},
        {"kind": "comment", "title": "Анна Иванова", "text": "Да"},
    ]
    upper = admin.error("crm.timeline.comment.add", FIELDS=comment)
    assert upper == (400, "INVALID_ARG_VALUE")
    gone = {**comment, "ENTITY_ID": 5}
    assert admin.error("crm.timeline.comment.add", fields=gone) == (400, "OWNER_NOT_FOUND")


def test_email_activity_is_told_without_tokens_and_read_back(
    portal: LocalPortal, application: Application, admin: Caller, lead: int
) -> None:
    admin("event.bind", event="ONCRMACTIVITYADD", handler=f"{application.url}/events/")
    number = portal.incoming_email(
        1, lead, subject="Вопрос", html="<p>Цена?</p>", sender="a@example.ru"
    )
    portal.wait_deliveries()

    form = application.last("ONCRMACTIVITYADD")
    assert form["data"]["FIELDS"]["ID"] == str(number)
    assert "access_token" not in form["auth"]
    activity = admin("crm.activity.get", id=number)
    assert (activity["PROVIDER_ID"], activity["DIRECTION"]) == ("CRM_EMAIL", "1")
    assert activity["SETTINGS"] == []
    rows = admin(
        "crm.activity.list",
        filter={"BINDINGS": [{"OWNER_TYPE_ID": 1, "OWNER_ID": lead}]},
        select=["*", "COMMUNICATIONS"],
    )
    assert rows[0]["COMMUNICATIONS"][0]["VALUE"] == "a@example.ru"


def test_new_custom_field_appears_everywhere(admin: Caller, lead: int) -> None:
    admin(
        "userfieldconfig.add",
        moduleId="crm",
        field={
            "entityId": "CRM_LEAD",
            "fieldName": "UF_CRM_AI_MOOD",
            "userTypeId": "enumeration",
            "editFormLabel": {"ru": "Настроение"},
            "enum": [{"value": "доброе"}, {"value": "злое"}],
        },
    )

    fields = admin("crm.item.fields", entityTypeId=1, useOriginalUfNames="Y")["fields"]
    choices = fields["UF_CRM_AI_MOOD"]["items"]
    item = update(admin, lead, UF_CRM_AI_MOOD=choices[1]["ID"])
    assert fields["UF_CRM_AI_MOOD"]["title"] == "Настроение"
    assert str(item["UF_CRM_AI_MOOD"]) == choices[1]["ID"]


def test_directories_and_pipelines(admin: Caller, make_portal: Callable[..., LocalPortal]) -> None:
    sources = admin("crm.status.list", filter={"ENTITY_ID": "SOURCE"}, order={"SORT": "ASC"})
    stages = admin("crm.status.list", filter={"ENTITY_ID": "DEAL_STAGE_1"})
    categories = admin("crm.category.list", entityTypeId=2)["categories"]

    assert sources[0]["STATUS_ID"] == "CALL"
    assert stages[0]["STATUS_ID"] == "C1:NEW"
    assert [(one["id"], one["isDefault"]) for one in categories] == [(0, "Y"), (1, "N")]
    assert admin("crm.settings.mode.get") == 1
