"""Text of a model in, `Answer` or a reason out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from integrations.llm.parse import BadAnswer, as_plain_text, parse_answer
from integrations.llm.schema import AnswerSpec
from integrations.llm.values import Answer, FieldSpec, Topic

SPEC = AnswerSpec(
    topics=(
        Topic(code="delivery", title="Доставка"),
        Topic(code="sales", title="Продажи"),
        Topic(code="other", title="Другое"),
    ),
    fields=(
        FieldSpec(name="name", type="person_name"),
        FieldSpec(name="phone", type="phone"),
        FieldSpec(name="email", type="email"),
        FieldSpec(name="budget", type="money", description="Бюджет проекта"),
    ),
)
GOOD = (
    '{"topic": "delivery", "language": "ru", "reply": "Проверим заказ.", "confidence": 0.8, '
    '"needs_human": false, "fields": {"name": "Анна", "phone": null}}'
)
OTHER = GOOD.replace("delivery", "sales").replace("Проверим заказ.", "Хорошо.")
FIXTURE = Path(__file__).parents[1] / "fixtures" / "llm" / "llm_bad_outputs.jsonl"
CASES = [json.loads(line) for line in FIXTURE.read_text(encoding="utf-8").splitlines()]


def parse(text: str | None, finish_reason: str = "stop") -> Answer:
    return parse_answer(text, SPEC, finish_reason=finish_reason)


@pytest.mark.parametrize("case", CASES, ids=[case["case"] for case in CASES])
def test_every_known_odd_output_is_accepted_or_refused_as_wanted(case: dict[str, str]) -> None:
    wanted = case["expect"]
    if wanted in ("retry", "provider_error"):
        with pytest.raises(BadAnswer) as refusal:
            parse(case["output"])
        assert (refusal.value.looks_like == "html") == (wanted == "provider_error")
        return
    try:
        answer = parse(case["output"])
    except BadAnswer:
        assert "retry" in wanted
        return

    assert answer.topic == "delivery"
    assert answer.reply.startswith("Проверим")
    assert answer.confidence == 0.8
    if wanted == "ok_sanitised":
        assert answer.fields["name"] == ""
    else:
        assert answer.fields["name"] == "Анна"


@pytest.mark.parametrize(
    "text",
    [
        "Вот ответ:\n```json\n" + GOOD + "\n```\nНадеюсь, помог!",
        "```\n" + GOOD,
        "Конечно! " + GOOD + " Готово.",
        GOOD + "\n" + GOOD,
        GOOD[:-1] + ",} Надеюсь, помог.",
        GOOD[:-1],
        'Мысли {"topic": "sales"} </think>' + GOOD,
        "<|channel|>" + GOOD + "<|end|>",
        '{"name": "answer", "arguments": ' + json.dumps(GOOD) + "}",
        '{"response": ' + json.dumps(GOOD) + "}",
        json.dumps(json.dumps(GOOD)),
        '[{"result": ' + GOOD + "}]",
        GOOD.replace('"delivery", ', '"delivery", // тема\n'),
        GOOD.replace('"', "'"),
    ],
    ids=[
        "fence", "open fence", "prose", "same twice", "comma and prose", "no last brace",
        "only end of thinking", "template tokens", "tool call as text", "wrapped string",
        "encoded twice", "list of wrapped", "comment", "single quotes",
    ],
)  # fmt: skip
def test_the_answer_is_found_inside_its_wrapping(text: str) -> None:
    answer = parse(text)

    assert (answer.topic, answer.reply) == ("delivery", "Проверим заказ.")
    assert answer.fields["name"] == "Анна"


def test_flat_object_with_russian_keys_is_understood() -> None:
    answer = parse(
        '{"Ответ": "Да, приедем.", "имя": "Иван", "Телефон": "+7 999 123-45-67", '
        '"тема": "Доставка", "почта": "a@b.ru", "бюджет проекта": "50 тыс", "мусор": 1,}'
    )

    assert answer.reply == "Да, приедем."
    assert answer.topic == "delivery"
    assert answer.fields == {
        "name": "Иван",
        "phone": "+7 999 123-45-67",
        "email": "a@b.ru",
        "budget": "50 тыс",
    }


def test_a_field_named_like_one_of_our_keys_stays_a_field() -> None:
    spec = AnswerSpec(fields=(FieldSpec(name="message"), FieldSpec(name="schema")))

    answer = parse_answer(
        '{"reply": "Ок", "fields": {"message": "a", "schema": "b"}}', spec, finish_reason="stop"
    )

    assert answer.fields == {"message": "a", "schema": "b"}


def test_fields_as_a_list_of_pairs_are_understood() -> None:
    answer = parse('{"reply": "Ок", "fields": [{"name": "phone", "value": "+7999"}]}')

    assert answer.fields == {"phone": "+7999"}


@pytest.mark.parametrize(
    "text",
    [
        GOOD + "\n" + OTHER,
        GOOD[:-1] + ",}\n" + OTHER,
        GOOD[:-1] + ', "topic": "sales"}',
        "[1, 2]",
        "[" + GOOD + "," + OTHER + "]",
        "<think>ничего " + GOOD,
        '{"topic": "delivery"}',
    ],
    ids=["two", "two damaged", "contradiction", "numbers", "list of two", "only thoughts", "bare"],
)
def test_what_could_be_misread_is_refused(text: str) -> None:
    with pytest.raises(BadAnswer):
        parse(text)


def test_unknown_topic_is_explained_and_the_rest_is_kept_for_later() -> None:
    with pytest.raises(BadAnswer) as refusal:
        parse(GOOD.replace("delivery", "weather"))

    assert "delivery, sales, other" in refusal.value.message_for_the_model
    assert refusal.value.partial is not None
    assert refusal.value.partial.topic is None
    assert refusal.value.partial.reply == "Проверим заказ."


def test_empty_reply_is_refused_unless_a_person_is_wanted() -> None:
    with pytest.raises(BadAnswer):
        parse('{"topic": "sales", "reply": ""}')

    assert parse('{"topic": "sales", "reply": null, "needs_human": "да"}').needs_human


@pytest.mark.parametrize("length", range(20, len(GOOD)))
def test_an_answer_cut_anywhere_is_refused_or_what_is_left_is_true(length: int) -> None:
    try:
        answer = parse(GOOD[:length], "length")
    except BadAnswer:
        return

    assert answer.reply == "Проверим заказ."
    assert answer.confidence == 0.8
    assert answer.fields.get("name") in (None, "Анна")


def test_reply_that_was_cut_off_is_never_accepted() -> None:
    text = '{"topic": "sales", "confidence": 0.9, "fields": {}, "reply": "Стоимость 50'
    for length in range(len(text) - 15, len(text)):
        for finish_reason in ("length", "stop", ""):
            with pytest.raises(BadAnswer):
                parse(text[:length], finish_reason)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("0.7", 0.7), ('"0,7"', 0.7), ("70", 0.7), ('"70 %"', 0.7), ('"высокая"', 0.9), ("-1", 0.0),
        ("10283456789", 0.0), ("true", 0.5), ("null", 0.5), ("NaN", 0.5), ('"очень"', 0.5), ("1", 1.0),
    ],
)  # fmt: skip
def test_confidence_is_a_number_between_zero_and_one(said: str, meant: float) -> None:
    assert parse('{"reply": "Ок", "confidence": ' + said + "}").confidence == pytest.approx(meant)


@pytest.mark.parametrize(
    ("said", "meant"),
    [("ru-RU", "ru"), ("Русский", "ru"), ("EN", "en"), ("klingon", ""), ("рус", "")],
)
def test_language_is_a_code_of_two_letters(said: str, meant: str) -> None:
    assert parse('{"reply": "Ок", "language": "' + said + '"}').language == meant


def test_characters_that_break_a_database_are_removed() -> None:
    answer = parse(
        '{"reply": "Да\\u0000 \\ud83d\\ude00 \\udc00нет", "fields": {"name": "А\\u0007"}}'
    )

    assert answer.reply == "Да 😀 нет"
    assert answer.fields == {"name": "А"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Здравствуйте! Мы проверим: завтра.", "Здравствуйте! Мы проверим: завтра."),
        ("<think>так</think> Добрый день!", "Добрый день!"),
        ('Он сказал "да" и ушёл', 'Он сказал "да" и ушёл'),
        ("topic: delivery\nreply: Да", ""),
        ("<topic>delivery</topic>", ""),
        ('{"topic": "sales", "reply', ""),
        ('{"topic": "sales", "reply": "Завтра.\\nЖдём', "Завтра.\nЖдём"),
        ('{{"reply": "Завтра", "fields": {]]', "Завтра"),
        ("null", ""),
        ("12345", ""),
        ('Вот: {"topic": "sales', ""),
        ("<html><body>502</body></html>", ""),
        (None, ""),
    ],
)
def test_only_prose_or_the_replys_own_words_count_as_a_plain_reply(
    text: str | None, words: str
) -> None:
    assert as_plain_text(text) == words


def test_hopeless_texts_end_in_a_refusal_and_nothing_else() -> None:
    for text in ("[" * 5000, "{" * 5000, '{"a":' * 3000, "\\" * 50, '"' * 99, "{}", "[]", '""'):
        with pytest.raises(BadAnswer):
            parse(text)
