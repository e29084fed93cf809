"""Days, times and amounts: thresholds on published corpora, then what clients of ours write."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import Decimal

import pytest

from integrations.llm.money import find_money, parse_money
from integrations.llm.when import find_durations, find_timetables, find_whens, parse_when
from tests.llm_trust.eval_data import NOW, rows

CORPUS_NOW = datetime(2013, 2, 12, 4, 30, tzinfo=timezone(timedelta(hours=-2)))
CURRENCIES = {"Dollar": "USD", "Cent": "USD", "Pound": "GBP", "Unnamed": "USD"}
BOUNDS = {"simple": "", "under": "at_most", "above": "at_least"}


def instants(*grains: str):
    return [
        row
        for row in rows("duckling_ru_time.jsonl")
        if row["kind"] == "instant" and row["grain"] in grains
    ]


def test_whole_days_of_the_corpus_are_read():
    wanted = instants("Day")
    right = [
        row
        for row in wanted
        if (when := parse_when(row["text"], CORPUS_NOW)) and str(when.day) == row["value"][:10]
    ]

    assert len(right) / len(wanted) >= 0.95


def test_hours_and_minutes_of_the_corpus_are_read():
    wanted = [row for row in instants("Hour", "Minute", "Second") if "дн" not in row["text"]]
    right = [
        row
        for row in wanted
        if (when := parse_when(row["text"], CORPUS_NOW))
        and when.start.strftime("%Y-%m-%dT%H:%M:%S") == row["value"]
    ]

    assert len(right) / len(wanted) >= 0.9


def test_stretches_of_the_corpus_are_ambiguous_or_no_day():
    for row in rows("duckling_ru_time.jsonl"):
        if row["kind"] == "interval":
            when = parse_when(row["text"], CORPUS_NOW)
            assert when is None or when.ambiguous or when.day is None, row["text"]


def test_amounts_of_the_corpus_are_read():
    wanted = rows("duckling_ru_money.jsonl")

    def is_right(row) -> bool:
        found = find_money(row["text"])
        currency = CURRENCIES.get(row["currency"], row["currency"])
        if len(found) != 1 or found[0].currency != currency:
            return False
        if row["kind"] == "between":
            return (found[0].amount, found[0].upper) == (row["from"], row["to"])
        cents = 100 if row["currency"] == "Cent" else 1
        amount = Decimal(str(row["amount"])) / cents
        return (found[0].amount, found[0].upper, found[0].bound) == (
            amount,
            None,
            BOUNDS[row["kind"]],
        )

    assert sum(map(is_right, wanted)) / len(wanted) >= 0.95


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("в следующий вторник", "2026-11-24 00:00"),
        ("завтра в 17 часов", "2026-11-23 17:00"),
        ("через 2 недели", "2026-12-06 00:00"),
        ("через три рабочих дня", "2026-11-25 00:00"),
        ("15.02", "2027-02-15 00:00"),
        ("15.02.2026", "2026-02-15 00:00"),
        ("2026-02-15", "2026-02-15 00:00"),
        ("2026-02-15T10:00:00+05:00", "2026-02-15 08:00"),
        ("2026-02-15 10:00", "2026-02-15 10:00"),
        ("2 декабря 2026 г. в 18-30", "2026-12-02 18:30"),
        ("в среду, 25 ноября, в 14:00", "2026-11-25 14:00"),
        ("двадцать пятого ноября", "2026-11-25 00:00"),
        ("к 25 числу", "2026-11-25 00:00"),
        ("в пятницу к 6 вечера", "2026-11-27 18:00"),
        ("завтра к 12", "2026-11-23 12:00"),
        ("послезавтра в 9:30", "2026-11-24 09:30"),
        ("8 марта в 20.00", "2027-03-08 20:00"),
        ("сегодня часов в семь", "2026-11-22 19:00"),
        ("завтра в полтретьего", "2026-11-23 14:30"),
        ("завтра без пятнадцати шесть", "2026-11-23 17:45"),
        ("на этой неделе в четверг", "2026-11-19 00:00"),
        ("вторник на следующей неделе", "2026-11-24 00:00"),
        ("через полчаса", "2026-11-22 13:18"),
        ("через полтора часа", "2026-11-22 14:18"),
        ("позавчера", "2026-11-20 00:00"),
        ("в прошлую пятницу", "2026-11-20 00:00"),
        ("3 дня назад", "2026-11-19 00:00"),
        ("завтра в 16:00 мск", "2026-11-23 16:00"),
        ("next Friday at 3 pm", "2026-11-27 15:00"),
        ("tomorrow at 5pm", "2026-11-23 17:00"),
        ("Dec 15", "2026-12-15 00:00"),
        ("15th of December", "2026-12-15 00:00"),
        ("12/25/2026", "2026-12-25 00:00"),
        ("in 2 weeks", "2026-12-06 00:00"),
    ],
)
def test_what_clients_write_is_read_from_the_present_moment(text, start):
    when = parse_when(text, NOW)

    assert when is not None
    assert when.start.strftime("%Y-%m-%d %H:%M") == start


@pytest.mark.parametrize(
    "text",
    [
        "с 13 по 15 июля", "завтра с 10 до 12", "на выходных", "в субботу после 15:00", "до конца месяца",
        "19.11", "через пару дней", "завтра вечером", "в понедельник или во вторник",
    ],
)  # fmt: skip
def test_what_a_reader_could_take_for_another_moment_is_ambiguous(text):
    when = parse_when(text, NOW)

    assert when is not None
    assert when.ambiguous


@pytest.mark.parametrize(
    "text",
    [
        "+7 916 123-45-67", "заказ 88-1203", "в 3 раза дороже", "15.5 кг", "12.10 руб", "версия 15.02.1", "24/7",
        "квартира 54 метра", "2 дня", "жду 3 часа", "в течение 3 дней", "31 февраля", "Добрый вечер!", "май нейм",
        "пн–пт с 9:00 до 18:00", "по понедельникам", "окружающая среда", "10-12 человек", "May I ask you?",
        "на второй день сломался", "1/2 листа", "карта 4276 1234 5678 9010", "",
    ],
)  # fmt: skip
def test_what_only_looks_like_a_date_is_none(text):
    assert [when.text for when in find_whens(text, NOW) if when.day] == []


def test_the_quote_is_the_clients_own_words():
    text = "Запишите, пожалуйста, на ПЯТНИЦУ в 18:30, это удобно"

    when = parse_when(text, NOW)

    assert when is not None
    assert when.text == "на ПЯТНИЦУ в 18:30"
    assert text[slice(*when.position)] == when.text


def test_a_leap_day_is_found_in_its_year():
    when = parse_when("29 февраля", NOW)

    assert when is not None
    assert str(when.day) == "2028-02-29"


@pytest.mark.parametrize(
    ("text", "amount", "currency"),
    [
        ("50 т.р.", 50000, "RUB"), ("1,5 млн рублей", 1500000, "RUB"), ("200к", 200000, ""), ("3500р", 3500, "RUB"),
        ("две с половиной тысячи", 2500, ""), ("полторы тысячи рублей", 1500, "RUB"), ("полмиллиона", 500000, ""),
        ("5 тысяч 300 рублей", 5300, "RUB"), ("2 миллиона 300 тысяч рублей", 2300000, "RUB"),
        ("1.500.000 руб", 1500000, "RUB"), ("1 200,50 руб", Decimal("1200.5"), "RUB"), ("€1.200", 1200, "EUR"),
        ("100 500 руб.", 100500, "RUB"), ("до 1 млн руб.", 1000000, "RUB"), ("50 коп", Decimal("0.5"), "RUB"),
        ("15 тыщ", 15000, ""), ("бел. руб 20", 20, "BYN"), ("5 000 тенге", 5000, "KZT"), ("6490", 6490, ""),
    ],
)  # fmt: skip
def test_an_amount_is_read_with_its_multiplier_and_currency(text, amount, currency):
    money = parse_money(text)

    assert money is not None
    assert (money.amount, money.currency, money.upper) == (amount, currency, None)


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("от 10 до 20 тыс", 10000, 20000),
        ("300-400 тыр", 300000, 400000),
        ("в районе 40-50к", 40000, 50000),
    ],
)
def test_a_range_keeps_both_ends(text, low, high):
    money = parse_money(text)

    assert money is not None
    assert (money.amount, money.upper) == (low, high)


@pytest.mark.parametrize(
    "text",
    [
        "Kia Rio 2018",
        "8 916 123 45 67",
        "5 кг",
        "54 м",
        "айфон 15 про",
        "10 раз",
        "",
        "сом и карп",
        "2 раза",
    ],
)
def test_what_only_looks_like_money_is_none(text):
    assert find_money(text) == ()


def test_lengths_of_time_and_timetables_are_comparable():
    def lengths(text):
        return [(found.shortest_minutes, found.longest_minutes) for found in find_durations(text)]

    assert lengths("2–3 дня") == [(2880.0, 4320.0)]
    assert lengths("в течение двух недель") == [(20160.0, 20160.0)]
    assert lengths("за полчаса или за час") == [(30.0, 30.0), (60.0, 60.0)]
    assert [(a, b) for a, b, _ in find_timetables("Пн–Пт, а также с понедельника по пятницу")] == [
        (0, 4),
        (0, 4),
    ]
    assert [(a, b) for a, b, _ in find_timetables("Работаем ежедневно")] == [(0, 6)]
