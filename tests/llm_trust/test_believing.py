"""What the model says is believed only for a reason."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from integrations.llm.evidence import check_fields
from integrations.llm.values import FieldSpec
from integrations.llm.words import fold
from tests.llm_trust.eval_data import rows

NAME = (FieldSpec(name="name", type="person_name"),)
NOW = datetime(2026, 8, 21, 10, 0, tzinfo=UTC)


def band_of(name: str, text: str) -> str:
    return check_fields({"name": name}, NAME, client_texts=[text], now=NOW)[0].band


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("А", "А что дальше?"), ("И", "И сколько?"), ("В", "В понедельник"), ("Да", "Да"),
        ("Спасибо", "Спасибо"), ("Сколько", "Сколько стоит?"), ("Котёл", "Котёл нужен срочно"),
        ("Доставка", "Доставка есть?"), ("Москву", "Везёте в Москву?"), ("что", "что это"),
        ("I", "I need help"), ("ужас", "Это ужас, а не сервис"), ("Передумала", "Я передумала"),
        ("учёбы", "ноутбук для учёбы"), ("на", "Чайник сломался на второй день"),
        ("Бюджет", "Бюджет 50 тыс"), ("Подскажите", "Подскажите, есть ли рассрочка"),
        ("angry", "I am angry"), ("Хочу вернуть кроссовки", "Хочу вернуть кроссовки. Марина"),
        ("Алексей нахамил", "Ваш менеджер Алексей нахамил мне"),
    ],
)  # fmt: skip
def test_any_word_of_the_client_is_no_name(word, text):
    assert band_of(word, text) == "unsure"


@pytest.mark.parametrize(
    ("name", "text", "band"),
    [
        ("Иван", "Иван", "confident"),
        ("Гюльчатай", "Меня зовут Гюльчатай", "confident"),
        ("Рустам Ахметов", "Рустам Ахметов, +7 937 000 00 00", "confident"),
        ("John Smith", "My name is John Smith", "confident"),
        ("Zaur", "Zaur +7 900 111-22-33", "check"),
        ("Zaur", "С уважением, Zaur", "check"),
        ("иван петров", "иван петров", "confident"),
        ("Люба", "в любой день", "check"),
    ],
)
def test_name_has_a_reason_to_be_one(name, text, band):
    assert band_of(name, text) == band


@pytest.mark.parametrize(
    ("told", "text", "name"),
    [
        ("Анна Петрова, хочу", "Меня зовут Анна Петрова, хочу заказать кухню", "Анна Петрова"),
        ("Заказ 551200, Марина", "Обмен. Заказ 551200, Марина", "Марина"),
        ("на имя артур", "столик на имя артур", "Артур"),
        ("Тимур Телефон", "Имя: Тимур Телефон: +7 747 123 45 67", "Тимур"),
    ],
)
def test_words_around_a_name_are_cut_off(told, text, name):
    [checked] = check_fields({"name": told}, NAME, client_texts=[text], now=NOW)

    assert (checked.value, checked.band) == (name, "confident")


def test_of_all_the_words_of_clients_only_their_names_are_believed():
    """A small model may take any words of a message for the name."""
    wrong, doubtful = [], []
    for row in rows("ru_client_messages.jsonl"):
        text, own = row["text"], set(fold(row["fields"].get("name", "")).replace(".", " ").split())
        words = list(re.finditer(r"[^\W\d_]+", text))
        for first, last in (
            (at, at + more) for more in range(3) for at in range(len(words) - more)
        ):
            told = text[words[first].start() : words[last].end()]
            [checked] = check_fields({"name": told}, NAME, client_texts=[text], now=NOW)
            if checked.band == "unsure":
                continue
            if set(fold(checked.value).replace(".", " ").split()) - own:
                (wrong if checked.band == "confident" else doubtful).append(told)

    assert wrong == []
    # people whom the client names, and words that stand like a signature: to be looked at
    assert len(doubtful) <= 12, doubtful
