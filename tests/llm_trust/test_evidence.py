"""Values are believed only when the client wrote them: measured on labelled messages, then rule by rule."""

from __future__ import annotations

import pytest

from integrations.llm.evidence import check_fields
from integrations.llm.normalise import match_choice, normalise, parse_number
from integrations.llm.values import Band, CheckedValue, FieldSpec
from tests.llm_trust.eval_data import NOW, f1, rows

SPECS = (
    FieldSpec(name="name", type="person_name"),
    FieldSpec(name="phone", type="phone"),
    FieldSpec(name="email", type="email"),
    FieldSpec(name="date", type="date"),
    FieldSpec(name="amount", type="money"),
    FieldSpec(name="order"),
    FieldSpec(name="city"),
    FieldSpec(name="company"),
    FieldSpec(name="quantity", type="number"),
    FieldSpec(name="subject", max_length=120),
)
MESSAGES = rows("ru_client_messages.jsonl")


def labels(row):
    """The labels as an ideal model would return them."""
    fields = dict(row["fields"])
    if "amount" in fields:
        amount, currency = fields["amount"].split()
        fields["amount"] = {"amount": float(amount), "currency": currency}
    return fields


def checked(answer, text, specs=SPECS):
    texts = [text] if isinstance(text, str) else text
    return {
        value.field: value for value in check_fields(answer, specs, client_texts=texts, now=NOW)
    }


def one(spec: FieldSpec, raw, text) -> CheckedValue | None:
    texts = [text] if isinstance(text, str) else text
    return normalise(spec, raw, texts=texts, now=NOW)


@pytest.mark.parametrize("field", ["phone", "email"])
def test_contacts_are_found_without_any_help_of_the_model(field):
    found = wrong = missed = 0
    for row in MESSAGES:
        value = checked({}, row["text"]).get(field)
        label = row["fields"].get(field)
        found += bool(value and value.value == label)
        wrong += bool(value and value.value != label)
        missed += bool(label and (not value or value.value != label))

    assert f1(found, wrong, missed) == 1.0


def test_values_of_an_honest_model_are_confident():
    sure = {
        name: [0, 0]
        for name in ("name", "phone", "email", "amount", "order", "company", "quantity")
    }
    for row in MESSAGES:
        values = checked(labels(row), row["text"])
        for name, counts in sure.items():
            if name in row["fields"]:
                counts[1] += 1
                counts[0] += name in values and values[name].band is Band.CONFIDENT

    assert {name: right / total for name, (right, total) in sure.items()} == dict.fromkeys(
        sure, 1.0
    )


def test_summaries_of_an_honest_model_are_mostly_usable():
    bands = [
        checked(labels(row), row["text"])["subject"].band
        for row in MESSAGES
        if "subject" in row["fields"]
    ]

    assert bands.count(Band.CONFIDENT) / len(bands) >= 0.7
    assert bands.count(Band.UNSURE) / len(bands) <= 0.15


def test_no_value_of_another_client_is_ever_believed():
    invented = []
    for row in MESSAGES:
        text = row["text"].casefold().replace("ё", "е")
        for other in MESSAGES:
            for value in checked(labels(other), row["text"]).values():
                if value.field in ("subject", "date") or value.band is Band.UNSURE:
                    continue
                # what is kept must be in his own words: the quote is his
                if value.quote.casefold().replace("ё", "е") not in text:
                    invented.append((row["id"], value))
                if (
                    other is not row
                    and value.raw
                    and value.value == other["fields"].get(value.field)
                ):
                    same = str(value.value).casefold() in text or value.value == row["fields"].get(
                        value.field
                    )
                    if not same:
                        invented.append((row["id"], value))

    assert invented == []


def test_an_invented_phone_is_replaced_by_the_one_the_client_wrote():
    value = checked({"phone": "+7 999 000-00-00"}, "мой номер 8 916 123-45-67")["phone"]

    assert (value.value, value.band, value.quote) == (
        "+79161234567",
        Band.CONFIDENT,
        "8 916 123-45-67",
    )


def test_an_invented_phone_stays_unsure_when_the_client_wrote_none():
    value = checked({"phone": "+7 999 000-00-00"}, "Здравствуйте, сколько стоит диван?")["phone"]

    assert (value.band, value.doubt, value.quote) == (Band.UNSURE, "not_in_text", "")


def test_values_of_unknown_fields_are_dropped():
    assert checked({"surprise": "диван"}, "нужен диван") == {}


def test_a_value_is_cut_to_the_length_of_its_field():
    spec = FieldSpec(name="note", max_length=30)
    text = "Нужен большой угловой диван с ящиком для белья и подушками"

    value = one(spec, text, text)

    assert isinstance(value.value, str)
    assert len(value.value) <= 30


NAME, PHONE, EMAIL = SPECS[0], SPECS[1], SPECS[2]
DATE, MOMENT = SPECS[3], FieldSpec(name="at", type="datetime")
MONEY, NUMBER = SPECS[4], SPECS[8]
CITY, SUBJECT = SPECS[6], SPECS[9]
CHOICE = FieldSpec(name="product", type="choice", choices=("котёл", "бойлер", "Тёплый пол"))
BOOL = FieldSpec(name="delivery", type="bool", description="нужна ли доставка")
URL, ADDRESS = FieldSpec(name="site", type="url"), FieldSpec(name="address", type="address")
SURE, CHECK, UNSURE = Band.CONFIDENT, Band.CHECK, Band.UNSURE


@pytest.mark.parametrize(
    ("spec", "raw", "text", "value", "band"),
    [
        (NAME, "Анна Петрова", "меня зовут анна петрова", "Анна Петрова", SURE),
        (NAME, "Здравствуйте, меня зовут Иван", "Здравствуйте, меня зовут Иван", "Иван", SURE),
        (NAME, "Артур", "столик на имя артура", "Артур", SURE),
        (NAME, "Александр", "меня зовут Александра", "Александр", CHECK),
        (NAME, "Павел", "передайте Павлу спасибо", "Павел", CHECK),
        (NAME, "Алексей", "Ваш менеджер Алексей нахамил мне", "Алексей", CHECK),
        (NAME, "Кирилл Орлов", "Меня зовут Юлия, заказ на мужа — Кирилла Орлова", "Кирилл Орлов", CHECK),
        (NAME, "Иван Сидоров", "меня зовут Иван", "Иван Сидоров", UNSURE),
        (NAME, "Мария", "Хочу марлевую повязку", "Мария", UNSURE),
        (NAME, "не указано", "добрый день", None, None),
        (PHONE, "8 (916) 123-45-67", "+79161234567", "+79161234567", SURE),
        (PHONE, "+79161234567", "номер восемь девятьсот шестнадцать сто двадцать три сорок пять шестьдесят семь", "+79161234567", CHECK),
        (PHONE, "+79161234568", "+79161234567 или +79161234568", "+79161234568", CHECK),
        (PHONE, "300218", "номер заказа 300218", "300218", UNSURE),
        (EMAIL, "Ivan@Mail.RU", "почта ivan@mail.ru", "ivan@mail.ru", SURE),
        (EMAIL, "ivan@gmail.com", "почта ivan@mail.ru", "ivan@gmail.com", UNSURE),
        (DATE, "2026-11-23", "приезжайте завтра", "2026-11-23", SURE),
        (DATE, "завтра", "приезжайте завтра с 10 до 12", "2026-11-23", SURE),
        (DATE, "2026-11-25", "в следующий вторник удобно", "2026-11-24", CHECK),
        (DATE, "2025-12-15", "до 15 декабря", "2026-12-15", CHECK),
        (DATE, "2026-12-31", "хочу диван", "2026-12-31", UNSURE),
        (DATE, "13–15 июля", "с 13 по 15 июля", "2027-07-13", CHECK),
        (DATE, "2026-12-01", "как-нибудь в декабре", None, UNSURE),
        (MOMENT, "2026-11-27T18:30", "в пятницу в 18:30", "2026-11-27T18:30:00+03:00", SURE),
        (MOMENT, "в субботу", "в субботу", "2026-11-28T00:00:00+03:00", CHECK),
        (MONEY, "50 тыс", "бюджет до 50 тыс", {"amount": 50000, "currency": "RUB"}, SURE),
        (MONEY, 6490, "в чеке 6 490", {"amount": 6490, "currency": "RUB"}, SURE),
        (MONEY, "45128", "где мой заказ 45128?", {"amount": 45128, "currency": "RUB"}, CHECK),
        (MONEY, 10, "опыт 10 лет", {"amount": 10, "currency": "RUB"}, CHECK),
        (MONEY, 1234, "с карты 4276 1234 5678 9010", {"amount": 1234, "currency": "RUB"}, CHECK),
        (MONEY, {"amount": 3000, "currency": "USD"}, "around $3,000", {"amount": 3000, "currency": "USD"}, SURE),
        (MONEY, {"amount": 3000, "currency": "EUR"}, "around $3,000", {"amount": 3000, "currency": "USD"}, CHECK),
        (MONEY, 15000, "от 10 до 20 тыс", {"amount": 15000, "currency": "RUB"}, UNSURE),
        (MONEY, "от 10 до 20 тыс", "от 10 до 20 тыс", None, UNSURE),
        (MONEY, "99999|RUB", "сколько стоит?", {"amount": 99999, "currency": "RUB"}, UNSURE),
        (NUMBER, "3", "нужно три стула", 3, SURE),
        (NUMBER, 54, "квартира 54 метра", 54, SURE),
        (NUMBER, 5, "третий раз пишу", 5, UNSURE),
        (NUMBER, 3, "третий раз пишу", 3, UNSURE),
        (NUMBER, 916, "звоните +7 916 123-45-67", 916, UNSURE),
        (CITY, "Казань", "доставляете ли вы в казань", "Казань", SURE),
        (CITY, "Москва", "доставляете ли вы в казань", "Москва", UNSURE),
        (CITY, "Нижний Новгород", "я из Новгорода", "Нижний Новгород", CHECK),
        (SUBJECT, "перенос доставки", "Можно перенести доставку на субботу?", "перенос доставки", SURE),
        (SUBJECT, "скидка 20% на диван", "хочу диван", "скидка 20% на диван", UNSURE),
        (SUBJECT, "ремонт холодильника Samsung", "сломался холодильник, нужен ремонт", "ремонт холодильника Samsung", CHECK),
        (CHOICE, "Котел", "у меня течёт котёл", "котёл", SURE),
        (CHOICE, "тёплый пол", "есть вопрос про теплые полы", "Тёплый пол", SURE),
        (CHOICE, "котёл", "нет котла", "котёл", SURE),
        (CHOICE, "котёл", "котёл или бойлер?", "котёл", CHECK),
        (CHOICE, "котёл", "который час?", "котёл", UNSURE),
        (CHOICE, "котлы", "у меня котёл", "котлы", UNSURE),
        (BOOL, True, "Нужна доставка в Казань", True, SURE),
        (BOOL, "нет", "Доставка не нужна", False, SURE),
        (BOOL, True, "Доставка не нужна", True, CHECK),
        (BOOL, True, "Хочу диван", True, UNSURE),
        (URL, "https://shop.ru/item/5", "смотрел тут shop.ru/item/5", "https://shop.ru/item/5", SURE),
        (URL, "https://evil.ru", "смотрел на shop.ru", "https://evil.ru", UNSURE),
        (ADDRESS, "ул. Гагарина, д. 14, кв. 8", "живу на гагарина 14 кв 8", "ул. Гагарина, д. 14, кв. 8", SURE),
        (ADDRESS, "ул. Гагарина, д. 15", "живу на гагарина 14", "ул. Гагарина, д. 15", UNSURE),
    ],
)  # fmt: skip
def test_a_value_gets_its_normal_form_and_its_band(spec, raw, text, value, band):
    found = one(spec, raw, text)

    assert (found.value, found.band) == (value, band) if found else (value, band) == (None, None)


def test_the_number_that_works_wins_over_the_old_one():
    text = "Мой старый номер 8 916 000 00 00 не работает, новый 8 916 111 11 11"

    assert checked({}, text)["phone"].value == "+79161111111"


def test_the_newest_message_wins():
    texts = ["мой телефон +7 916 123-45-67", "ой, ошибся: +7 916 123-45-68"]

    assert checked({}, texts)["phone"].value == "+79161234568"


def test_choices_are_never_guessed():
    assert match_choice("бойлеры", ("котёл", "бойлер")) is None
    assert match_choice(" БОЙЛЕР ", ("котёл", "бойлер")) == "бойлер"
    assert match_choice("a", ("A", "a ")) is None


@pytest.mark.parametrize(
    ("text", "number"), [("пять", 5), ("1 200,5", 1200.5), ("от 3 до 5", None), ("нет", None)]
)
def test_a_number_is_read_from_words_and_figures(text, number):
    found = parse_number(text)

    assert (float(found) if found is not None else None) == number
