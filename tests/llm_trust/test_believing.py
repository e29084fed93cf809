"""What the model says is believed only for a reason."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from integrations.llm.evidence import check_fields
from integrations.llm.values import FieldSpec

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
        ("I", "I need help"),
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
    ],
)
def test_name_has_a_reason_to_be_one(name, text, band):
    assert band_of(name, text) == band
