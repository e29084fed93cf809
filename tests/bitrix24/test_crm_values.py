"""Values in the portal's formats, names of people, and what a set of wishes changes."""

from __future__ import annotations

from datetime import date, datetime
from zoneinfo import ZoneInfo

import pytest

from integrations.bitrix24 import crm
from integrations.bitrix24.crm import (
    Change,
    FieldInfo,
    ItemRef,
    NotWritable,
    PersonName,
    Wanted,
    plan_changes,
    same_value,
    split_person_name,
    to_portal_value,
)
from tests.bitrix24.conftest import answer_of

MOSCOW = ZoneInfo("Europe/Moscow")
TOPICS = (("79", "Установка"), ("80", "Ремонт котла"), ("81", "79"))
SOURCES = (("CALL", "Звонок"), ("22|TELEGRAM", "Telegram"), ("WEB", "Сайт"))


def info(kind, name="UF_CRM_X", **more):
    return FieldInfo(name=name, title=name, type=kind, portal_name=crm.camel_name(name), **more)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        (info("string"), "  текст ", "текст"),
        (info("string"), 12, "12"),
        (info("string", max_length=5), "длинный", "длинн"),
        (info("string", name="NAME", max_length=50), " Иван \n Петрович ", "Иван Петрович"),
        (info("string", name="TITLE", max_length=255), "т" * 300, "т" * 255),
        (info("text"), "две\nстроки\x00", "две\nстроки"),
        (info("address"), "ул. Ленина,\n 5", "ул. Ленина, 5"),
        (info("string"), ["один"], "один"),
        (info("integer"), "12", 12),
        (info("integer"), 12.0, 12),
        (info("double"), "12 000,50", 12000.5),
        (info("double"), "12\u00a0000", 12000),
        (info("double"), 0.5, 0.5),
        (info("boolean"), True, "Y"),
        (info("boolean"), False, "N"),
        (info("boolean"), "да", "Y"),
        (info("boolean"), 1, "Y"),
        (info("char"), "n", "N"),
        (info("date"), "2026-08-22", "2026-08-22"),
        (info("date"), "2026-08-22T10:00:00+03:00", "2026-08-22"),
        (info("date"), "22.8.2026", "2026-08-22"),
        (info("date"), date(2026, 8, 22), "2026-08-22"),
        (info("datetime"), "2026-08-22T10:00", "2026-08-22T10:00:00+03:00"),
        (info("datetime"), "2026-08-22 10:00:00+05:00", "2026-08-22T10:00:00+05:00"),
        (info("datetime"), "2026-08-22T07:00:00Z", "2026-08-22T07:00:00+00:00"),
        (info("enumeration", choices=TOPICS), "установка", 79),
        (info("enumeration", choices=TOPICS), " РЕМОНТ  котла ", 80),
        (info("enumeration", choices=TOPICS), "80", 80),
        (info("enumeration", choices=TOPICS), 79, 79),
        (info("enumeration", choices=TOPICS), "79", 81),
        (info("enumeration", choices=TOPICS, multiple=True), "Установка", [79]),
        (
            info("enumeration", choices=TOPICS, multiple=True),
            ["Установка", 80, "установка"],
            [79, 80],
        ),
        (info("crm_status", choices=SOURCES, status_type="SOURCE"), "звонок", "CALL"),
        (info("crm_status", choices=SOURCES, status_type="SOURCE"), "22|TELEGRAM", "22|TELEGRAM"),
        (info("money"), "300|rub", "300|RUB"),
        (info("money"), {"amount": 300.5, "currency": "USD"}, "300.5|USD"),
        (info("money"), 12000, "12000|RUB"),
        (info("double", name="OPPORTUNITY"), {"amount": 12000, "currency": "RUB"}, 12000),
        (info("url"), "https://example.ru/a", "https://example.ru/a"),
        (info("employee"), "7", 7),
        (info("crm"), "D_1", "D_1"),
        (info("crm", multiple=True), ["5", "C_2"], [5, "C_2"]),
        (info("crm_currency"), "usd", "USD"),
        (info("string", multiple=True), "один", ["один"]),
    ],
)
def test_a_value_is_brought_into_the_portals_format(field, value, expected):
    told = to_portal_value(field, value, zone=MOSCOW, currency="RUB")

    assert told == expected
    assert type(told) is type(expected)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        (info("string", read_only=True), "x", "read_only"),
        (info("string", name="STAGE_ID"), "NEW", "stage"),
        (
            info("crm_status", name="UF_X", status_type="DEAL_STAGE_1", choices=SOURCES),
            "WEB",
            "stage",
        ),
        (info("crm_status", name="STATUS_ID", status_type="STATUS"), "NEW", "stage"),
        (info("string"), "", "empty"),
        (info("string"), "  ", "empty"),
        (info("string"), None, "empty"),
        (info("string", multiple=True), [], "empty"),
        (info("string"), ["a", "b"], "wrong_type"),
        (info("string"), {"a": 1}, "wrong_type"),
        (info("string"), True, "wrong_type"),
        (info("integer"), "12.5", "wrong_type"),
        (info("integer"), "двенадцать", "wrong_type"),
        (info("double"), float("nan"), "wrong_type"),
        (info("double"), "1e400", "wrong_type"),
        (info("double"), True, "wrong_type"),
        (info("boolean"), "может быть", "wrong_type"),
        (info("date"), "завтра", "wrong_type"),
        (info("date"), "2026-02-30", "wrong_type"),
        (info("datetime"), "2026-08-22", "wrong_type"),
        (info("enumeration", choices=TOPICS), "Установ", "unknown_choice"),
        (info("enumeration", choices=TOPICS), "Ремонт котлов", "unknown_choice"),
        (
            info("enumeration", choices=(*TOPICS, ("90", "УСТАНОВКА"))),
            "Установка",
            "ambiguous_choice",
        ),
        (info("enumeration"), "Установка", "no_choices"),
        (info("enumeration", choices=TOPICS), True, "wrong_type"),
        (
            info("enumeration", choices=TOPICS, multiple=True),
            ["Установка", "нет такой"],
            "unknown_choice",
        ),
        (info("crm_status", choices=SOURCES, status_type="SOURCE"), "Факс", "unknown_choice"),
        (info("money"), {"currency": "RUB"}, "wrong_type"),
        (info("money"), "много", "wrong_type"),
        (info("money"), {"amount": 1, "currency": "рубли"}, "wrong_type"),
        (info("url"), "javascript:alert(1)", "wrong_type"),
        (info("employee"), "Иванов", "wrong_type"),
        (info("crm"), "что-то", "wrong_type"),
        (info("file"), "x", "unsupported_type"),
        (info("resourcebooking"), "x", "unsupported_type"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_a_reason(field, value, reason):
    with pytest.raises(NotWritable) as caught:
        to_portal_value(field, value, zone=MOSCOW, currency="RUB")

    assert caught.value.reason == reason
    assert str(value) not in str(caught.value) or not str(value).strip()


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [(info("datetime"), "2026-08-22T10:00", "no_timezone"), (info("money"), 300, "no_currency")],
)
def test_nothing_is_left_to_the_portals_guess(field, value, reason):
    with pytest.raises(NotWritable) as caught:
        to_portal_value(field, value)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("text", "first", "last", "second"),
    [
        ("Иван", "Иван", "", ""),
        ("Иван Петров", "Иван", "Петров", ""),
        ("Петров Иван", "Иван", "Петров", ""),
        ("Петров Иван Сергеевич", "Иван", "Петров", "Сергеевич"),
        ("Иван Сергеевич Петров", "Иван", "Петров", "Сергеевич"),
        ("Иван Сергеевич", "Иван", "", "Сергеевич"),
        ("Анна Сергеевна", "Анна", "", "Сергеевна"),
        ("Смирнова Анна Ильинична", "Анна", "Смирнова", "Ильинична"),
        ("Лев Николаевич Толстой", "Лев", "Толстой", "Николаевич"),
        ("Толстой Лев Николаевич", "Лев", "Толстой", "Николаевич"),
        ("Адам Мицкевич", "Адам", "Мицкевич", ""),
        ("Иван Рабинович", "Иван", "Рабинович", ""),
        ("Рабинович Иван Абрамович", "Иван", "Рабинович", "Абрамович"),
        ("Константин Ким", "Константин", "Ким", ""),
        ("Ким Константин", "Константин", "Ким", ""),
        ("Марина Ильина", "Марина", "Ильина", ""),
        ("Бондаренко Олеся", "Олеся", "Бондаренко", ""),
        ("Гусейнов Фарид", "Фарид", "Гусейнов", ""),
        ("Алиев Фарид Самед оглы", "Фарид", "Алиев", "Самед оглы"),
        ("иван петров", "Иван", "Петров", ""),
        ("ПЕТРОВ ИВАН", "Иван", "Петров", ""),
        ("Петрова-Водкина Анна", "Анна", "Петрова-Водкина", ""),
        ("Петров, Иван", "Иван", "Петров", ""),
        ("Маша", "Маша", "", ""),
        ("John Smith", "John", "Smith", ""),
        ("Kevin Martin", "Kevin", "Martin", ""),
        ("Smith, John", "John", "Smith", ""),
        ("John Fitzgerald Kennedy", "John", "Kennedy", "Fitzgerald"),
        ("Petrov Ivan Sergeevich", "Ivan", "Petrov", "Sergeevich"),
        ("Ivan Petrov", "Ivan", "Petrov", ""),
        ("Petrov Ivan", "Ivan", "Petrov", ""),
        ("  Иван   Петров. ", "Иван", "Петров", ""),
        ("", "", "", ""),
        ("+7 999", "", "", ""),
    ],
)
def test_a_persons_name_is_split(text, first, last, second):
    assert split_person_name(text) == PersonName(first, last, second)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("+7 (999) 123-45-67", "89991234567", True),
        ("9991234567", "+79991234567", True),
        ("+7 999 123-45-67 доб. 12", "+79991234567", True),
        ("+7 999 123-45-67", "+7 999 123-45-68", False),
        ("8 800 555-35-35", "+7 800 555 35 35", True),
        ("+375 29 123-45-67", "375291234567", True),
    ],
)
def test_spellings_of_one_number_are_equal(one, other, same):
    assert (crm.phone_key(one) == crm.phone_key(other)) is same


@pytest.mark.parametrize(
    ("kind", "one", "other", "same"),
    [
        ("string", "Иван", " Иван ", True),
        ("string", "Иван", "иван", False),
        ("string", "+79991234567", "79991234567", False),
        ("string", "007", "7", False),
        ("double", 12000, "12000.00", True),
        ("enumeration", 79, "79", True),
        ("enumeration", [1, 2], ["2", "1"], True),
        ("enumeration", [1], [1, 2], False),
        ("date", "2026-08-22", "2026-08-22T03:00:00+03:00", True),
        ("datetime", "2026-08-22T10:00:00+03:00", "2026-08-22T07:00:00+00:00", True),
        ("money", "300|RUB", "300.00|RUB", True),
        ("money", "300|RUB", "300|USD", False),
        ("boolean", "Y", "1", True),
        ("boolean", "N", None, True),
        ("string", None, "", True),
    ],
)
def test_spellings_of_one_value_are_equal(kind, one, other, same):
    assert same_value(kind, one, other) is same


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("LEAD_77", ItemRef(1, 77)),
        ("lead:77", ItemRef(1, 77)),
        ("DEAL_5", ItemRef(2, 5)),
        ("SMART_INVOICE_3", ItemRef(31, 3)),
        ("DYNAMIC_147_1", ItemRef(147, 1)),
        ("T93_5", ItemRef(147, 5)),
        ("CO_4", ItemRef(4, 4)),
    ],
)
def test_items_are_named_in_many_ways(text, ref):
    assert ItemRef.parse(text) == ref
    assert ItemRef.parse(str(ref)) == ref


@pytest.mark.parametrize(
    "text", ["", "77", "1_77", "LEAD_", "LEAD_0", "LEAD_-1", "WHAT_5", "DYNAMIC_5_1", "LEAD_7x"]
)
def test_what_names_no_item_is_refused(text):
    with pytest.raises(ValueError, match="CRM item"):
        ItemRef.parse(text)


@pytest.mark.parametrize(
    ("name", "number"),
    [("lead", 1), ("LEAD", 1), (1, 1), ("1", 1), ("dynamic_128", 128), (1220, 1220), ("quote", 7)],
)
def test_types_are_named_in_many_ways(name, number):
    assert crm.entity_type_id(name) == number
    assert ItemRef(number, 1).name in ("lead", "quote", f"dynamic_{number}")


@pytest.mark.parametrize(
    ("portal", "admin"),
    [
        ("lastName", "LAST_NAME"),
        ("assignedById", "ASSIGNED_BY_ID"),
        ("utmSource", "UTM_SOURCE"),
        ("title", "TITLE"),
        ("ufCrm3_1747309727", "UF_CRM_3_1747309727"),
        ("ufCrm3Digit", "UF_CRM_3_DIGIT"),
        ("ufCrm_3_DIGIT10", "UF_CRM_3_DIGIT10"),
        ("ufCrm_1747309879", "UF_CRM_1747309879"),
        ("ufCrmTopic", "UF_CRM_TOPIC"),
        ("UF_CRM_TOPIC", "UF_CRM_TOPIC"),
    ],
)
def test_names_of_fields_convert(portal, admin):
    assert crm.upper_name(portal) == admin


# --- plans ---------------------------------------------------------------------------------------

INFOS = {
    one.name: one
    for one in [
        info("string", name="TITLE", max_length=255),
        info("string", name="NAME", max_length=50),
        info("string", name="LAST_NAME", max_length=50),
        info("string", name="SECOND_NAME", max_length=50),
        info("text", name="COMMENTS", max_length=60),
        info("double", name="OPPORTUNITY"),
        info("crm_currency", name="CURRENCY_ID"),
        info("crm_status", name="SOURCE_ID", choices=SOURCES, status_type="SOURCE"),
        info("enumeration", name="UF_CRM_TOPIC", choices=TOPICS),
        info(
            "enumeration",
            name="UF_CRM_TAGS",
            choices=(("1", "Срочно"), ("2", "Повторно")),
            multiple=True,
        ),
        info("boolean", name="UF_CRM_URGENT"),
        info("string", name="UF_CRM_1720019876"),
        info("string", name="ID", read_only=True),
        info("crm_multifield", name="PHONE", multiple=True, max_length=250),
        info("crm_multifield", name="EMAIL", multiple=True, max_length=250),
    ]
}
LEAD = answer_of("lead")["item"]


def new(type_id, value, kind="WORK"):
    return {"typeId": type_id, "valueType": kind, "value": value}


@pytest.mark.parametrize(
    ("wanted", "fields", "fm", "skipped"),
    [
        (Wanted("TITLE", "Котёл", "fill_empty"), {}, {}, {"TITLE": "already_filled"}),
        (Wanted("TITLE", "Котёл", "overwrite"), {"title": "Котёл"}, {}, {}),
        (Wanted("TITLE", "Котёл", "append"), {}, {}, {"TITLE": "already_filled"}),
        (Wanted("TITLE", "Иван - Telegram", "overwrite"), {}, {}, {"TITLE": "same"}),
        (Wanted("LAST_NAME", "Петров"), {"lastName": "Петров"}, {}, {}),
        (Wanted("LAST_NAME", "Петров", "append"), {"lastName": "Петров"}, {}, {}),
        (Wanted("NAME", "Пётр"), {}, {}, {"NAME": "already_filled"}),
        (Wanted("UF_CRM_TOPIC", "Ремонт котла", "overwrite"), {"UF_CRM_TOPIC": 80}, {}, {}),
        (Wanted("UF_CRM_TOPIC", "Установка", "overwrite"), {}, {}, {"UF_CRM_TOPIC": "same"}),
        (
            Wanted("UF_CRM_TOPIC", "Нет такой", "overwrite"),
            {},
            {},
            {"UF_CRM_TOPIC": "unknown_choice"},
        ),
        (Wanted("UF_CRM_TAGS", "Повторно", "append"), {"UF_CRM_TAGS": [1, 2]}, {}, {}),
        (Wanted("UF_CRM_TAGS", "Срочно", "append"), {}, {}, {"UF_CRM_TAGS": "same"}),
        (Wanted("UF_CRM_TAGS", ["Повторно"], "overwrite"), {"UF_CRM_TAGS": [2]}, {}, {}),
        (Wanted("UF_CRM_URGENT", True), {"UF_CRM_URGENT": "Y"}, {}, {}),
        (Wanted("UF_CRM_1720019876", "код", "append"), {"UF_CRM_1720019876": "код"}, {}, {}),
        (Wanted("OPPORTUNITY", 12000), {"opportunity": 12000, "isManualOpportunity": "Y"}, {}, {}),
        (
            Wanted("OPPORTUNITY", {"amount": 10, "currency": "RUB"}),
            {"opportunity": 10, "isManualOpportunity": "Y"},
            {},
            {},
        ),
        (
            Wanted("OPPORTUNITY", {"amount": 10, "currency": "usd"}),
            {"opportunity": 10, "isManualOpportunity": "Y", "currencyId": "USD"},
            {},
            {},
        ),
        (Wanted("OPPORTUNITY", {"currency": "RUB"}), {}, {}, {"OPPORTUNITY": "wrong_type"}),
        (Wanted("STAGE_ID", "WON", "overwrite"), {}, {}, {"STAGE_ID": "stage"}),
        (Wanted("STATUS_ID", "CONVERTED", "overwrite"), {}, {}, {"STATUS_ID": "stage"}),
        (Wanted("ID", 5, "overwrite"), {}, {}, {"ID": "read_only"}),
        (Wanted("UF_CRM_GONE", 5, "overwrite"), {}, {}, {"UF_CRM_GONE": "no_such_field"}),
        (Wanted("TITLE", None, "overwrite"), {}, {}, {"TITLE": "empty"}),
        (Wanted("PHONE", "+7 999 123 45 67", "append"), {}, {}, {"PHONE": "same"}),
        (Wanted("PHONE", "+79990000000", "append"), {}, {"n0": new("PHONE", "+79990000000")}, {}),
        (Wanted("PHONE", "+79990000000", "fill_empty"), {}, {}, {"PHONE": "already_filled"}),
        (
            Wanted("PHONE", "+79990000000", "overwrite"),
            {},
            {"502": new("PHONE", "+79990000000", "MOBILE")},
            {},
        ),
        (Wanted("PHONE", "123", "append"), {}, {}, {"PHONE": "invalid"}),
        (
            Wanted("PHONE", ["+79990000000", "8 999 000-00-00", "+79990000001"], "append"),
            {},
            {"n0": new("PHONE", "+79990000000"), "n1": new("PHONE", "+79990000001")},
            {},
        ),
        (Wanted("EMAIL", "Ivan@Example.ru"), {}, {"n0": new("EMAIL", "Ivan@Example.ru")}, {}),
        (Wanted("EMAIL", "ivan@example", "append"), {}, {}, {"EMAIL": "invalid"}),
        (Wanted("EMAIL", "a@b.ru, c@d.ru", "append"), {}, {}, {"EMAIL": "invalid"}),
        (Wanted("EMAIL", "i@" + "x" * 260 + ".ru", "append"), {}, {}, {"EMAIL": "invalid"}),
        (Wanted("EMAIL", "", "append"), {}, {}, {"EMAIL": "empty"}),
        (Wanted("NAME+LAST_NAME", "Иван Петров"), {"lastName": "Петров"}, {}, {"NAME": "same"}),
        (
            Wanted("NAME+LAST_NAME", "Петров Иван Сергеевич"),
            {"lastName": "Петров"},
            {},
            {"NAME": "same"},
        ),
        (
            Wanted("NAME+LAST_NAME+SECOND_NAME", "Петров Иван Сергеевич"),
            {"lastName": "Петров", "secondName": "Сергеевич"},
            {},
            {"NAME": "same"},
        ),
        (
            Wanted("NAME+LAST_NAME", "Пётр Сидоров"),
            {},
            {},
            {"NAME": "already_filled", "LAST_NAME": "already_filled"},
        ),
        (
            Wanted("NAME+LAST_NAME", "Пётр Сидоров", "overwrite"),
            {"name": "Пётр", "lastName": "Сидоров"},
            {},
            {},
        ),
        (Wanted("NAME+LAST_NAME", None), {}, {}, {"NAME+LAST_NAME": "wrong_type"}),
        (Wanted("NAME+TITLE", "Иван"), {}, {}, {"NAME+TITLE": "wrong_type"}),
    ],
)
def test_a_wish_becomes_a_change_or_a_reason(wanted, fields, fm, skipped):
    before = answer_of("lead")["item"]

    plan = plan_changes(LEAD, INFOS, [wanted])

    assert plan.fields == fields
    assert plan.fm == fm
    assert plan.skipped == skipped
    assert plan.is_empty is (not fields and not fm)
    assert before == LEAD


def test_a_change_tells_the_old_and_the_new_value():
    plan = plan_changes(
        LEAD,
        INFOS,
        [
            Wanted("UF_CRM_TOPIC", "Ремонт котла", "overwrite"),
            Wanted("PHONE", "+79990000000", "overwrite"),
        ],
    )

    assert plan.changes == (
        Change("UF_CRM_TOPIC", 79, "Ремонт котла", 80),
        Change("PHONE", "8 (999) 123-45-67", "+79990000000", "+79990000000"),
    )


def test_appending_to_a_text_adds_a_line_once_and_only_while_there_is_room():
    item = {"id": 1, "comments": "Первый звонок"}
    first = plan_changes(item, INFOS, [Wanted("COMMENTS", "Просит котёл", "append")])
    again = plan_changes(
        {"comments": first.fields["comments"]},
        INFOS,
        [Wanted("COMMENTS", "просит котёл", "append")],
    )
    full = plan_changes(item, INFOS, [Wanted("COMMENTS", "т" * 55, "append")])

    assert first.fields == {"comments": "Первый звонок\nПросит котёл"}
    assert again.skipped == {"COMMENTS": "same"}
    assert full.skipped == {"COMMENTS": "too_long"}


def test_two_wishes_for_one_field_meet():
    plan = plan_changes(
        {"id": 1, "fm": []},
        INFOS,
        [
            Wanted("UF_CRM_TAGS", "Срочно", "append"),
            Wanted("UF_CRM_TAGS", "Повторно", "append"),
            Wanted("PHONE", "+79990000000", "append"),
            Wanted("PHONE", "89990000000", "append"),
        ],
    )

    assert plan.fields == {"UF_CRM_TAGS": [1, 2]}
    assert list(plan.fm) == ["n0"]


def test_phones_and_mails_of_a_deal_belong_to_its_contact():
    infos = {name: one for name, one in INFOS.items() if name not in ("PHONE", "EMAIL")}
    deal = {"id": 5, "contactId": 9, "entityTypeId": 2}
    phone, mail = Wanted("PHONE", "+79990000000", "append"), Wanted("EMAIL", "a@b.ru", "append")

    plan = plan_changes(deal, infos, [phone, mail, Wanted("TITLE", "Котёл")])

    assert plan.redirect == "contact"
    assert plan.redirects == (phone, mail)
    assert plan.skipped == {"PHONE": "belongs_to_contact", "EMAIL": "belongs_to_contact"}
    assert plan.fields == {"title": "Котёл"}


def test_a_smart_process_without_contacts_has_nowhere_to_put_a_phone():
    plan = plan_changes({"id": 5}, {"TITLE": INFOS["TITLE"]}, [Wanted("PHONE", "+79990000000")])

    assert plan.redirects == ()
    assert plan.skipped == {"PHONE": "no_such_field"}


@pytest.mark.parametrize("empty", [None, "", " ", [], 0, "0", "0.00", "0|RUB"])
def test_a_sum_of_nothing_is_empty(empty):
    infos = {"UF_M": info("money", name="UF_M"), "OPPORTUNITY": INFOS["OPPORTUNITY"]}
    item = {"UF_M": empty, "opportunity": empty, "currencyId": "RUB"}

    plan = plan_changes(item, infos, [Wanted("UF_M", 5), Wanted("OPPORTUNITY", 5)])

    assert plan.fields == {"UF_M": "5|RUB", "opportunity": 5, "isManualOpportunity": "Y"}


def test_items_are_read_however_the_portal_spells_them():
    old = {
        "ID": "77",
        "LAST_NAME": "Петров",
        "STATUS_ID": "NEW",
        "PHONE": [{"ID": "1", "VALUE": "+7999", "VALUE_TYPE": "WORK"}],
    }
    flat = {"id": 1, "phone": "+7999", "email": "a@b.ru", "ufCrm3_1747309727": "код"}

    assert crm.phones(LEAD) == ("8 (999) 123-45-67",)
    assert crm.phones(old) == crm.phones(flat) == ("+7999",)
    assert crm.emails(flat) == ("a@b.ru",)
    assert crm.emails(LEAD) == ()
    assert crm.item_value(LEAD, "STATUS_ID") == "NEW"
    assert crm.item_value(old, "LAST_NAME") == "Петров"
    assert crm.item_value(LEAD, "UF_CRM_TOPIC") == 79
    assert crm.item_value(flat, "UF_CRM_3_1747309727") == "код"
    assert crm.item_value(LEAD, "UF_CRM_NONE") is None
    assert crm.item_value(LEAD, "PHONE") == ["8 (999) 123-45-67"]


def test_a_time_without_an_offset_uses_the_given_zone():
    infos = {"UF_D": info("datetime", name="UF_D")}
    wish = Wanted("UF_D", datetime(2026, 8, 22, 10, 0))  # noqa: DTZ001 - that is the case

    assert plan_changes({}, infos, [wish], zone=MOSCOW).fields == {
        "UF_D": "2026-08-22T10:00:00+03:00"
    }
    assert plan_changes({}, infos, [wish]).skipped == {"UF_D": "no_timezone"}
