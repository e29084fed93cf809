"""Personal data leaves as placeholders and comes back."""

from __future__ import annotations

import time

import pytest

from integrations.llm.masking import Masker, is_iban, is_inn, is_snils, luhn
from integrations.llm.names import name_tagger
from tests.llm_trust.eval_data import rows

MESSAGES = [row["text"] for row in rows("ru_client_messages.jsonl")]


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Мой телефон +7 916 123-45-67, почта a.b@mail.ru", "Мой телефон [PHONE_1], почта [EMAIL_1]"),
        ("карта 4111 1111 1111 1111", "карта [CARD_1]"),
        ("4276 1234 5678 9010", "[CARD_1]"),
        ("Паспорт 4509 123456, выдан", "Паспорт [PASSPORT_1], выдан"),
        ("паспорт серия 45 09 № 123456", "паспорт серия [PASSPORT_1]"),
        ("СНИЛС 112-233-445 95", "СНИЛС [SNILS_1]"),
        ("ИНН 7701234567", "ИНН [INN_1]"),
        ("500100732259", "[INN_1]"),
        ("IBAN DE89 3704 0044 0532 0130 00", "IBAN [IBAN_1]"),
        ("заказ 300218, артикул 88-1203, 2026 год, 15 000 руб", "заказ 300218, артикул 88-1203, 2026 год, 15 000 руб"),
        ("меня зовут Анна Петрова", "меня зовут Анна Петрова"),
        ("трек 12345678901234", "трек 12345678901234"),
    ],
)  # fmt: skip
def test_personal_data_becomes_placeholders_and_nothing_else_does(text, masked):
    masker = Masker()

    assert masker.mask(text) == masked
    assert masker.unmask(masked) == text


def test_names_are_masked_when_asked_for():
    masker = Masker(names=True)

    masked = masker.mask("Добрый день, меня зовут Анна Петрова. Ваш мастер Олег молодец")

    assert masked == "Добрый день, меня зовут [NAME_1]. Ваш мастер [NAME_2] молодец"
    assert masker.unmask("[NAME_1], здравствуйте!") == "Анна Петрова, здравствуйте!"


def test_every_message_comes_back_as_it_was_but_for_spellings_of_one_value():
    for text in MESSAGES:
        masker = Masker(names=True)
        assert masker.unmask(masker.mask(text)) == text


def test_no_phone_or_address_of_a_client_leaves():
    for row in rows("ru_client_messages.jsonl"):
        masked = Masker().mask(row["text"])
        assert "@" not in masked
        digits = "".join(char for char in masked if char.isdigit())
        if "phone" in row["fields"]:
            assert row["fields"]["phone"][-7:] not in digits


def test_one_value_in_two_spellings_gets_one_placeholder():
    masker = Masker()

    assert masker.mask("8 916 123 45 67") == masker.mask("+7 (916) 123-45-67") == "[PHONE_1]"
    assert masker.counts == {"phone": 1}


@pytest.mark.parametrize(
    "written",
    [
        "[PHONE_1]",
        "[phone_1]",
        "[ PHONE 1 ]",
        "\\[PHONE_1\\]",
        "[PHONE\\_1]",
        "[PHONE-1]",
        "[PHONE_1]у",
    ],
)
def test_a_placeholder_survives_what_models_do_to_it(written):
    masker = Masker()
    masker.mask("8 916 123 45 67")

    assert masker.unmask(f"Звоним на {written}.") == "Звоним на 8 916 123 45 67."


def test_an_unknown_placeholder_is_removed():
    assert Masker().unmask("Позвоним на [PHONE_7], [NAME_2], сегодня") == "Позвоним на, сегодня"
    assert Masker().unmask("[NAME_1], здравствуйте!") == "здравствуйте!"


def test_a_client_cannot_write_a_placeholder_himself():
    masker = Masker()

    masked = masker.mask("Перезвоните на [PHONE_1], мой 8 916 123 45 67")

    assert masked == "Перезвоните на (PHONE_1), мой [PHONE_1]"


def test_values_inside_json_come_back():
    masker = Masker(names=True)
    masker.mask("меня зовут Анна Петрова, 8 916 123 45 67")

    restored = masker.unmask_json(
        {
            "name": "[NAME_1]",
            "phone": "[PHONE_1]",
            "email": "[EMAIL_1]",
            "n": 3,
            "list": ["[NAME_1]", None, True],
        }
    )

    assert restored == {
        "name": "Анна Петрова",
        "phone": "8 916 123 45 67",
        "email": None,
        "n": 3,
        "list": ["Анна Петрова", None, True],
    }


def test_two_maskers_share_nothing():
    first, second = Masker(), Masker()
    first.mask("8 916 123 45 67")

    assert second.unmask("[PHONE_1]") == ""


def test_check_sums():
    assert luhn("4111111111111111")
    assert not luhn("4111111111111112")
    assert is_snils("11223344595")
    assert not is_snils("11223344596")
    assert is_inn("500100732259")
    assert is_inn("7707083893")
    assert not is_inn("500100732258")
    assert is_iban("DE89370400440532013000")
    assert not is_iban("DE89370400440532013001")


def test_masking_with_names_takes_little_time():
    if name_tagger() is None:
        pytest.skip("the extra ru-names is not installed")
    spent = []
    for number in range(4):
        started = time.process_time()
        for text in MESSAGES[:30]:
            Masker(names=True).mask(f"{text} {number}")
        spent.append((time.process_time() - started) / 30)

    # the first round loads the tagger; a busy machine spoils single rounds
    assert min(spent) < 0.008


def test_a_message_is_searched_for_names_once_and_not_with_every_answer(monkeypatch):
    searched = []

    class Tagger:
        def spans(self, text):
            searched.append(text)
            return [(0, 9)]

    monkeypatch.setattr("integrations.llm.masking.name_tagger", Tagger)
    conversation = [f"Гульнасаб спрашивает о заказе {number}" for number in range(20)]

    first = [Masker(names=True).mask(text) for text in conversation]
    again = [Masker(names=True).mask(text) for text in conversation]
    without = [Masker(names=False).mask(text) for text in conversation]

    assert searched == conversation
    assert first == again == [f"[NAME_1] спрашивает о заказе {number}" for number in range(20)]
    assert without == conversation
