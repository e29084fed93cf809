"""What an answer satisfies, and the numbers made of many answers. No network, no database."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bx_gpt_app.assistant.cases import Case
from bx_gpt_app.assistant.config import check_config
from bx_gpt_app.assistant.evaluation import judge_case
from bx_gpt_app.assistant.report import Report
from bx_gpt_app.flow import Context
from integrations.llm.gateway import Result
from integrations.llm.values import Answer, Author, Turn, Usage

CONFIG = check_config(
    {
        "topics": [{"code": "install", "title": "Монтаж"}, {"code": "sales", "title": "Цены"}],
        "fields": [
            {"name": "name", "type": "person_name"},
            {"name": "phone", "type": "phone"},
            {"name": "budget", "type": "money"},
            {"name": "visit", "type": "date"},
            {"name": "product", "type": "choice", "choices": ["котёл", "бойлер"]},
        ],
        "mappings": [],
    }
)
TEXT = "Это Иван Петров, 8 (999) 123-45-67. Нужен котёл до 50 тыс. рублей, приезжайте 12 марта"
SAID = {
    "name": "Иван Петров",
    "phone": "+79991234567",
    "budget": "50 тыс. рублей",
    "visit": "2026-03-12",
    "product": "котёл",
}
NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)


def judged(expect, answer=None, *, text=TEXT, words="", **result):
    """One case's result; `answer=None` is a model that did not answer."""
    values = {
        "answer": Answer.model_validate(answer) if answer is not None else None,
        "text": words,
        "how": "json_schema" if answer is not None else "failed",
        "usage": Usage(prompt_tokens=100, completion_tokens=20, costs={"USD": 0.01}),
        "latency_ms": 800,
    }
    case = Case.model_validate({"text": text, "expect": expect})
    context = Context(conversation=(Turn(author=Author.CLIENT, text=text),), now=NOW)
    return judge_case(case, Result.model_validate({**values, **result}), CONFIG, context)


def answer_with(**parts):
    return {
        "reply": "Мастер приедет.",
        "topic": "install",
        "confidence": 0.9,
        "language": "ru",
        **parts,
    }


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("name", "Иван Петров"),
        ("name", "иван  петров"),
        ("phone", "+79991234567"),
        ("phone", "8 999 123 45 67"),
        ("phone", 79991234567),
        ("budget", 50000),
        ("budget", "50 000 руб."),
        ("budget", {"amount": 50000, "currency": "RUB"}),
        ("visit", "2026-03-12"),
        ("visit", "12 марта"),
        ("product", "Котёл"),
    ],
)
def test_a_value_is_right_in_any_spelling_of_its_normal_form(field, expected):
    result = judged({"fields": {field: expected}}, answer_with(fields=SAID))

    assert result.checks[0].verdict == "right", result.checks[0]
    assert result.score == 1.0


@pytest.mark.parametrize(
    ("field", "expected", "said", "verdict"),
    [
        ("product", "бойлер", SAID, "wrong"),
        ("product", "котёл", {}, "missed"),
        ("product", None, SAID, "invented"),
        ("product", None, {}, "rightly_empty"),
        ("budget", 60000, SAID, "wrong"),
    ],
)
def test_a_value_is_judged_against_its_label(field, expected, said, verdict):
    result = judged({"fields": {field: expected}}, answer_with(fields=said))

    assert result.checks[0].verdict == verdict
    assert result.checks[0].ok == (verdict == "rightly_empty")


def test_a_value_the_client_never_wrote_is_refused_and_counted():
    text = "Здравствуйте, нужен котёл"

    result = judged(
        {"fields": {"name": None, "phone": None}},
        answer_with(fields={"name": "Пётр Сидоров", "phone": "+79990000000"}),
        text=text,
    )

    assert [check.verdict for check in result.checks] == ["rightly_empty", "rightly_empty"]
    assert (result.named_by_model, result.refused_by_evidence, result.accepted) == (2, 2, 0)


def test_only_named_expectations_are_judged():
    assert judged({}, answer_with(fields=SAID)).checks == ()
    assert judged({}, answer_with(fields=SAID)).score == 1.0


def test_score_is_the_share_of_satisfied_expectations():
    expect = {
        "topic": "sales",
        "needs_human": False,
        "fields": {"phone": "+79991234567"},
        "reply_contains": ["МАСТЕР", "завтра"],
        "reply_max_length": 10,
    }

    result = judged(expect, answer_with())

    missed = [check.what for check in result.failed]
    assert missed == ["topic", "reply_contains 'завтра'", "reply_max_length"]
    assert result.score == pytest.approx(3 / 6)
    assert "expected sales, got install" in result.in_words()


def test_no_topic_can_be_expected_too():
    assert judged({"topic": None}, answer_with(topic=None)).score == 1.0
    assert judged({"topic": None}, answer_with()).score == 0.0


def test_a_failed_model_still_finds_phones_and_hands_over():
    expect = {"topic": "install", "needs_human": True, "fields": {"phone": "+79991234567"}}

    result = judged(expect, None, reason="timeout")

    assert [check.ok for check in result.checks] == [False, True, True]
    assert "model: timeout" in result.in_words()


def test_plain_text_is_a_reply_but_no_valid_answer():
    result = judged(
        {"topic": "install", "reply_contains": "мастер"}, None, how="plain", words="Приедет мастер."
    )

    assert [check.ok for check in result.checks] == [False, True]
    assert not result.understood


def test_report_counts_precision_recall_and_f1_per_field():
    results = (
        judged({"fields": {"product": "котёл"}}, answer_with(fields=SAID)),
        judged({"fields": {"product": "бойлер"}}, answer_with(fields=SAID)),
        judged({"fields": {"product": "котёл"}}, answer_with()),
        judged({"fields": {"product": None}}, answer_with(fields=SAID)),
        judged({"fields": {"product": "котёл"}}, answer_with(fields=SAID)),
    )

    score = Report(results=results).by_field["product"]

    assert (score.right, score.wrong, score.missed, score.invented) == (2, 1, 1, 1)
    assert score.precision == pytest.approx(2 / 4)
    assert score.recall == pytest.approx(2 / 4)
    assert score.f1 == pytest.approx(0.5)


def test_report_adds_up_topics_steps_money_and_time():
    results = (
        judged({"topic": "install"}, answer_with(), latency_ms=100),
        judged({"topic": "sales"}, answer_with(), how="json_object", repaired=True, latency_ms=300),
        judged({"topic": "sales"}, None, latency_ms=900, usage=Usage()),
    )

    report = Report(results=results, model="m")

    assert report.score == pytest.approx(1 / 3)
    assert report.topic_accuracy == pytest.approx(1 / 3)
    assert report.by_step == {
        "json_schema": {"answers": 1, "understood": 1, "at_first_try": 1},
        "json_object": {"answers": 1, "understood": 1, "at_first_try": 0},
        "failed": {"answers": 1, "understood": 0, "at_first_try": 0},
    }
    assert report.understood_rate == pytest.approx(2 / 3)
    assert report.cost == {"USD": pytest.approx(0.02)}
    assert (report.usage.prompt_tokens, report.usage.completion_tokens) == (200, 40)
    assert report.latency_ms(0.5) == 300
    assert report.as_document()["steps"]["failed"]["answers"] == 1
    assert any("0.0200 USD" in line for line in report.in_words())


def test_invented_rate_counts_values_where_none_was_expected():
    results = (
        judged({"fields": {"product": None}}, answer_with(fields={"product": "котёл"})),
        judged({"fields": {"product": "котёл"}}, answer_with(fields={"product": "котёл"})),
    )

    report = Report(results=results)

    # The phone of the text is found in both without the model: four accepted values, one invented.
    assert report.invented_rate == pytest.approx(1 / 4)


def test_empty_report_has_no_rates():
    report = Report(results=())

    assert (report.score, report.topic_accuracy, report.invented_rate) == (0.0, None, None)
    assert report.in_words()
