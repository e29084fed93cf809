"""Names, phones, e-mails, links and languages in texts."""

from __future__ import annotations

import re

import pytest

from integrations.llm.contacts import (
    find_emails,
    find_links,
    find_phones,
    find_spoken_phones,
    is_allowed_link,
    link_key,
)
from integrations.llm.language import detect_language, is_written_in, same_language
from integrations.llm.names import (
    client_name,
    find_names,
    is_form_of,
    name_tagger,
    without_greeting,
)
from integrations.llm.words import WordIndex, fold, same_word, sentences
from tests.llm_trust.eval_data import f1, rows

MESSAGES = rows("ru_client_messages.jsonl")


@pytest.fixture(scope="module")
def tagger():
    found = name_tagger()
    if found is None:
        pytest.skip("the extra ru-names is not installed")
    return found


def name_scores(tagger) -> float:
    found = wrong = missed = 0
    for row in rows("factrueval_person_names.jsonl"):
        gold = {(part["start"], part["end"]) for part in row["persons"]}
        told = {
            (name.start + part.start(), name.start + part.end())
            for name in find_names(row["text"], tagger)
            for part in re.finditer(r"[\w'’-]+", name.text)
        }
        found += len(gold & told)
        wrong += len(told - gold)
        missed += len(gold - told)
    return f1(found, wrong, missed)


def test_names_in_news_are_found_with_the_tagger(tagger):
    assert name_scores(tagger) >= 0.95


def test_names_in_news_are_rarely_wrong_without_the_tagger():
    assert name_scores(None) >= 0.75


@pytest.mark.parametrize("with_tagger", [False, True])
def test_the_clients_own_name_is_found(with_tagger, request):
    tagger = request.getfixturevalue("tagger") if with_tagger else None
    found = wrong = missed = 0
    for row in MESSAGES:
        own, label = client_name(row["text"], tagger), row["fields"].get("name")
        right = bool(own and label and fold(own.text) == fold(label))
        found += right
        wrong += bool(own) and not right
        missed += bool(label) and not right

    assert f1(found, wrong, missed) >= 0.95


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Здравствуйте, меня зовут ирина", "ирина"),
        ("на имя Петрова Сергея Ивановича", "Петрова Сергея Ивановича"),
        ("Хочу стол. С уважением, Ольга Сергеевна", "Ольга Сергеевна"),
        ("Анна, +7 916 123-45-67, нужна доставка", "Анна"),
        ("My name is John Smith, I need help", "John Smith"),
        ("Ваш мастер Олег не приехал", None),
        ("Позовите Марину", None),
        ("живу на улице Гагарина", None),
        ("Люди говорят, что у вас дорого", None),
        ("Спасибо!", None),
    ],
)
def test_only_a_name_the_client_gives_himself_is_his(text, name):
    own = client_name(text)

    assert (own.text if own else None) == name


@pytest.mark.parametrize(
    ("name", "written", "same"),
    [
        ("иван", "ивану", True), ("анна", "анной", True), ("павел", "павла", True), ("лев", "льва", True),
        ("петров", "петровым", True), ("мария", "марией", True), ("иван", "иванов", False), ("мария", "марлевую", False),
        ("анна", "антон", False), ("кира", "кирилла", False), ("ян", "яна", True),
    ],
)  # fmt: skip
def test_a_declined_name_is_the_same_name(name, written, same):
    assert is_form_of(name, written) is same


def test_a_greeting_is_no_part_of_a_name():
    assert without_greeting("Здравствуйте, меня зовут Анна Петрова.") == "Анна Петрова"


@pytest.mark.parametrize(
    ("text", "phones"),
    [
        ("+7 916 123-45-67", ["+79161234567"]),
        ("т.89161234567", ["+79161234567"]),
        ("тел:+7(916)123-45-67", ["+79161234567"]),
        ("8.916.123.45.67 или 8 495 123 45 67", ["+79161234567", "+74951234567"]),
        ("+7 916 123–45–67", ["+79161234567"]),
        ("0049 171 1234567", ["+491711234567"]),
        ("+998 90 123 45 67", ["+998901234567"]),
        ("8-800-555-35-35", ["+78005553535"]),
        ("номер заказа 89161234567", []),
        ("Заказ № 9161234567", []),
        ("ИНН 7701234567", []),
        ("ИНН: 9161234567", []),
        ("СНИЛС 112-233-445 95", []),
        ("карта 4276 1234 5678 9010", []),
        ("трек 80086212345678", []),
        ("паспорт 4509 123456", []),
        ("2026-11-12 10:30", []),
        ("123-45-67", []),
    ],
)
def test_phones_are_found_and_order_numbers_are_not(text, phones):
    assert [found.value for found in find_phones(text)] == phones


def test_the_region_decides_what_a_short_number_means():
    assert [found.value for found in find_phones("8 029 123 45 67", "BY")] == ["+375291234567"]


def test_a_phone_in_words_is_found_apart():
    text = "Мой номер: восемь девятьсот три один два три сорок пять шестьдесят семь, Лариса"

    assert find_phones(text) == ()
    assert [found.value for found in find_spoken_phones(text)] == ["+79031234567"]


@pytest.mark.parametrize(
    ("text", "emails"),
    [
        ("почта:Ivan.Petrov@Mail.ru.", ["ivan.petrov@mail.ru"]),
        ("пишите на opt.zakup@mail.ru, жду", ["opt.zakup@mail.ru"]),
        ("a+b@sub.example-shop.com; c_d@x.io", ["a+b@sub.example-shop.com", "c_d@x.io"]),
        ("(info@firma.ru)", ["info@firma.ru"]),
        ("иван@почта.рф", ["иван@почта.рф"]),
        ("собака @ mail", []),
        ("a@b", []),
        ("..@mail.ru", []),
    ],
)
def test_emails_are_found(text, emails):
    assert [found.value for found in find_emails(text)] == emails


@pytest.mark.parametrize(
    ("text", "links"),
    [
        ("https://Shop.ru/item/?a=1.", ["shop.ru/item/?a=1"]),
        ("www.shop.ru", ["shop.ru"]),
        ("смотрите shop.ru/sale", ["shop.ru/sale"]),
        ("пишите info@firma.ru", []),
        ("Готово.Спасибо", []),
        ("магазин.рф", ["магазин.рф"]),
        ("http://firma.ru@evil.com/x", ["firma.ru@evil.com/x"]),
    ],
)
def test_links_are_found(text, links):
    assert [found.value for found in find_links(text)] == links


def test_a_link_below_an_allowed_one_is_allowed_and_a_lookalike_is_not():
    allowed = ["https://firma.ru/docs", "shop.ru"]

    assert is_allowed_link(link_key("http://www.firma.ru/docs/a"), allowed)
    assert is_allowed_link(link_key("shop.ru/any?x=1"), allowed)
    assert not is_allowed_link(link_key("https://firma.ru/other"), allowed)
    assert not is_allowed_link(link_key("https://shop.ru.evil.com"), allowed)
    assert not is_allowed_link(link_key("https://shop.ru@evil.com"), allowed)
    assert not is_allowed_link(link_key("https://evil.com/shop.ru"), allowed)


def test_the_language_of_clients_is_told():
    wrong = [row["id"] for row in MESSAGES if detect_language(row["text"]) != row["lang"]]

    assert wrong == []


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Привет", "ru"), ("Дякую, ще питання є", "uk"), ("Сәлеметсіз бе, қанша тұрады?", "kk"), ("Добры дзень, ёсць пытанне ў мяне", "be"),
        ("hello", "en"), ("iPhone 15 Pro Max есть?", "ru"), ("zdravstvuyte, skolko stoit", "ru"), ("Salom, narxi qancha?", "uz"),
        ("12345", "ru"), ("👍", "ru"), ("https://example.com", "ru"),
    ],
)  # fmt: skip
def test_letters_tell_the_language(text, language):
    assert detect_language(text) == language


def test_codes_of_one_language_agree():
    assert same_language("ru", "ru-RU")
    assert same_language("Russian", "ru")
    assert same_language("", "en")
    assert not same_language("ru", "uk")


def test_a_reply_is_judged_by_its_language_only_on_evidence():
    assert is_written_in("Ок", "uk")
    assert is_written_in("Hallo, wie geht es Ihnen?", "de")
    assert not is_written_in("Здравствуйте, чем могу помочь?", "en")
    assert not is_written_in("Hello, how can I help you?", "ru")
    assert not is_written_in("Здравствуйте, мы ответим вам сегодня", "uk")


def test_forms_of_a_word_are_one_word_and_neighbours_are_not():
    assert same_word("котел", "котла")
    assert same_word("доставка", "доставку")
    assert not same_word("котел", "который")
    assert WordIndex(["перенести доставку"]).has_root("перенос")


def test_abbreviations_and_list_numbers_end_no_sentence():
    assert sentences("Живу на ул. Гагарина 14. Приезжайте!") == [
        "Живу на ул. Гагарина 14.",
        "Приезжайте!",
    ]
    assert sentences("1. Пришлите фото.\n2. Ждите.") == ["1. Пришлите фото.", "2. Ждите."]
