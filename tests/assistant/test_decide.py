"""Deciding is pure: one table of situations and what follows from each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bx_gpt_app.assistant.config import check_config
from bx_gpt_app.assistant.decide import Situation, decide, find_stop_word
from bx_gpt_app.assistant.listen import quiet_until
from bx_gpt_app.flow import Judgement
from integrations.llm.values import Answer, Band, CheckedReply, Doubt

CONFIG = check_config(
    {
        "version": 1,
        "topics": [
            {"code": "sales", "title": "Продажи"},
            {"code": "complaint", "title": "Жалоба", "handoff": True},
            {"code": "legal", "title": "Договор", "auto": False},
        ],
        "reply": {"signature": "— ИИ", "handoff_message": "Зову коллегу."},
    }
)


def judgement(**changes) -> Judgement:
    band = changes.pop("band", Band.CONFIDENT)
    text = changes.pop("text", "Здравствуйте!")
    doubts = changes.pop("doubts", ())
    values = {
        "answer": Answer(reply=text),
        "reply": CheckedReply(text=text, band=band, doubts=doubts),
        "topic": "sales",
        "confidence": 0.9,
    }
    return Judgement(**{**values, **changes})


AUTO = Situation(mode="auto", owner="bot")
PRICE = Doubt(kind="price", text="9 900 ₽")


@pytest.mark.parametrize(
    ("given", "situation", "act", "reason"),
    [
        (judgement(), AUTO, "send", "auto"),
        (judgement(), Situation(mode="suggest", owner="bot"), "suggest", "mode_suggest"),
        (judgement(), Situation(mode="off", owner="bot"), "skip", "line_is_off"),
        (judgement(), Situation(mode="auto", owner="operator"), "suggest", "person_in_dialog"),
        (
            judgement(),
            Situation(mode="auto", owner="bot", handed_over=True),
            "suggest",
            "person_in_dialog",
        ),
        (
            judgement(),
            Situation(mode="auto", owner="bot", auto_stopped=True),
            "suggest",
            "stopped_in_chat",
        ),
        (
            judgement(),
            Situation(mode="auto", owner="bot", blocked=True),
            "suggest",
            "messenger_closed",
        ),
        (
            judgement(needs_human=True),
            Situation(mode="auto", owner="bot", asked_long_ago=True, stop_word="суд"),
            "suggest",
            "asked_long_ago",
        ),
        (
            judgement(),
            Situation(mode="auto", owner="bot", tight_limit="daily_cost"),
            "suggest",
            "budget_close",
        ),
        (
            judgement(),
            Situation(mode="auto", owner="bot", stop_word="суд"),
            "hand_over",
            "stop_word",
        ),
        (
            judgement(),
            Situation(mode="auto", owner="bot", file_unread=True),
            "suggest",
            "file_not_read",
        ),
        (judgement(plain_text=True), AUTO, "suggest", "plain_text_only"),
        (judgement(needs_human=True), AUTO, "hand_over", "needs_human"),
        (judgement(topic="complaint"), AUTO, "hand_over", "topic_for_people"),
        (judgement(topic="legal"), AUTO, "suggest", "topic_not_automatic"),
        (judgement(topic=None), AUTO, "send", "auto"),
        (
            judgement(),
            Situation(mode="auto", owner="bot", working_hours_only=True, line_open=False),
            "suggest",
            "outside_working_hours",
        ),
        (judgement(), Situation(mode="auto", owner="bot", line_open=False), "send", "auto"),
        (judgement(text="", band=Band.UNSURE), AUTO, "suggest", "empty_reply"),
        (judgement(band=Band.CHECK, doubts=(PRICE,)), AUTO, "suggest", "reply_in_doubt"),
        (judgement(confidence=0.59), AUTO, "suggest", "low_confidence"),
        (judgement(confidence=0.6), AUTO, "send", "auto"),
        (
            judgement(),
            Situation(mode="auto", owner="bot", kind="hook"),
            "return",
            "asked_by_caller",
        ),
        (
            judgement(),
            Situation(mode="off", owner="bot", kind="robot"),
            "return",
            "asked_by_caller",
        ),
        (judgement(), Situation(mode="off", owner="bot", kind="item"), "suggest", "letter_or_form"),
    ],
)
def test_decision(given, situation, act, reason):
    decision = decide(given, CONFIG, situation)

    assert (decision.act, decision.reason) == (act, reason)


def test_sent_reply_is_signed():
    assert decide(judgement(), CONFIG, AUTO).say == "Здравствуйте!\n— ИИ"


def test_hand_over_says_the_admins_words_and_calls_a_person():
    decision = decide(judgement(needs_human=True), CONFIG, AUTO)

    assert (decision.say, decision.to_person) == ("Зову коллегу.", True)


def test_nobody_is_called_when_a_person_is_there_already():
    assert not decide(
        judgement(needs_human=True), CONFIG, Situation(mode="auto", owner="operator")
    ).to_person


def test_doubts_are_named_in_the_decision():
    decision = decide(judgement(band=Band.CHECK, doubts=(PRICE,)), CONFIG, AUTO)

    assert "9 900 ₽" in decision.detail


def test_stop_word_is_found_in_any_case():
    assert find_stop_word(("Подам в СУД!",), ["адвокат", "суд"]) == "суд"
    assert find_stop_word(("Спасибо",), ["суд", " "]) == ""


NOW = datetime(2026, 8, 21, 10, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("waits_for", "expected"),
    [(None, 2), (0, 2), (3, 2), (7, 1), (8, 0), (100, 0)],
    ids=["first", "same moment", "second", "near the cap", "at the cap", "long past it"],
)
def test_quiet_time_is_stretched_by_a_burst_but_not_for_ever(waits_for, expected):
    since = None if waits_for is None else NOW - timedelta(seconds=waits_for)

    assert quiet_until(NOW, since, 2) == NOW + timedelta(seconds=expected)
