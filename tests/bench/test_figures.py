"""The benchmark's own arithmetic: what counts as answered, lost, repeated, and how it is told."""

from __future__ import annotations

import os

import pytest

from tools.bench import figures
from tools.bench.figures import Column


def said(kind: str, at: float, *, chat_id: int = 1, uuid: str = "") -> dict:
    to_client = kind == "bot"
    return {"chat_id": chat_id, "kind": kind, "at": at, "to_client": to_client, "uuid": uuid}


def test_reply_belongs_to_the_question_before_it():
    told = {"p": [said("client", 1), said("bot", 2), said("client", 5), said("bot", 7)]}

    assert [(one.asked_at, one.replied_at) for one in figures.exchanges(told)] == [
        (1.0, [2.0]),
        (5.0, [7.0]),
    ]


def test_pieces_written_in_a_row_are_one_question_asked_with_the_last():
    told = {"p": [said("client", 1), said("client", 3), said("bot", 4)]}

    assert [(one.asked_at, one.replied_at) for one in figures.exchanges(told)] == [(3.0, [4.0])]


def test_unanswered_and_twice_answered_questions_are_seen_and_chats_are_kept_apart():
    told = {
        "p": [said("client", 1), said("client", 2, chat_id=2), said("bot", 3), said("bot", 4)],
        "q": [said("client", 5)],
    }

    assert [len(one.replied_at) for one in figures.exchanges(told)] == [2, 0, 0]


def test_key_that_reached_a_client_twice_is_counted_within_its_portal():
    told = {
        "p": [said("bot", 1, uuid="a"), said("bot", 2, uuid="a")],
        "q": [said("bot", 1, uuid="a")],
    }

    assert figures.repeated_keys(told) == 1


@pytest.mark.parametrize(
    ("count", "expected"), [(1, (1, 1, 1)), (100, (50, 95, 99)), (200, (100, 190, 198))]
)
def test_percentiles_are_measured_values(count, expected):
    seconds = [number / 1000 for number in range(count, 0, -1)]

    assert figures.percentiles(seconds) == pytest.approx(expected)


def test_process_is_read_from_proc():
    own = figures.family(os.getpid())

    assert own[0] == os.getpid()
    assert figures.cpu_seconds(own) > 0
    assert 5 < figures.peak_megabytes(own) < 5000


def test_table_shows_what_was_measured_and_leaves_the_rest_out():
    text = figures.table([Column("kill -9", {"lost": "0", "workers killed": "10"})])

    assert [line.split() for line in text.splitlines()[2:]] == [
        ["workers", "killed", "10"],
        ["lost", "0", "0"],
    ]
