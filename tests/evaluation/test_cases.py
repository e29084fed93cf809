"""Cases: every way to write one, and every mistake told at once."""

from __future__ import annotations

import pytest

from bx_gpt_app.assistant.cases import CasesProblems, read_cases, write_cases
from bx_gpt_app.assistant.config import PortalConfig, check_config
from bx_gpt_app.assistant.management.commands.evaluate import HELP

CONFIG = PortalConfig()


def test_text_and_messages_in_all_spellings_are_understood():
    cases = read_cases(
        """
- text: Здравствуйте
  expect: {}
- id: 7
  messages:
    - Нужен котёл
    - {author: operator, text: Какой}
    - {role: assistant, text: Газовый или электрический}
    - {from: client, text: газовый}
  expect: {topic: sales, reply_contains: котёл}
- messages:
    - {role: user, content: Нужен котёл}
    - {role: assistant, content: "Какой?"}
    - {author: User, content: газовый}
  expect: {}
""",
        CONFIG,
    )

    assert [(said.author, said.text) for said in cases[2].turns] == [
        ("client", "Нужен котёл"), ("bot", "Какой?"), ("client", "газовый"),
    ]  # fmt: skip
    assert read_cases(write_cases(cases), CONFIG) == cases

    assert [said.author for said in cases[1].turns] == ["client", "operator", "bot", "client"]
    assert cases[0].turns[0].text == "Здравствуйте"
    assert cases[1].expect.reply_contains == ["котёл"]
    assert cases[1].label == "7 газовый"
    assert (cases[0].expect.names_topic, cases[1].expect.names_topic) == (False, True)


def test_all_mistakes_are_told_at_once_with_their_places():
    with pytest.raises(CasesProblems) as caught:
        read_cases(
            """
- text: a
- text: b
  messages: [c]
  expect: {}
- text: d
  expect: {topik: sales}
- text: e
  expect: {topic: nonsense, fields: {colour: red}}
- messages: [{author: nobody, text: f}]
  expect: {}
- just a text
- messages: [{role: user, content: g, text: h}]
  expect: {}
""",
            CONFIG,
        )

    told = caught.value.problems
    assert [line.split(":")[0] for line in told] == [
        "case 1.expect",
        "case 2",
        "case 3.expect.topik",
        "case 4.expect.topic",
        "case 4.expect.fields.colour",
        "case 5.messages[0].author",
        "case 6",
        "case 7.messages[0].content",
    ]
    assert "known: sales" in told[3]


@pytest.mark.parametrize(
    ("text", "told"),
    [("a: [", "line 1"), ("", "must be a list"), ("text: a", "must be a list"), ("[]", "list")],
)
def test_what_is_no_list_of_cases_is_told_in_one_line(text, told):
    with pytest.raises(CasesProblems, match=told) as caught:
        read_cases(text, CONFIG)

    assert len(caught.value.problems) == 1


def test_dates_and_phones_may_stand_without_quotes():
    """YAML makes a date and a number of them."""
    config = check_config(
        {
            "fields": [{"name": "visit", "type": "date"}, {"name": "phone", "type": "phone"}],
            "mappings": [],
        }
    )

    (case,) = read_cases(
        "- {text: a, expect: {fields: {visit: 2026-03-12, phone: +79991234567}}}", config
    )

    assert case.expect.fields == {"visit": "2026-03-12", "phone": 79991234567}


def test_the_example_of_the_help_is_a_valid_file():
    example = HELP[HELP.index("  - text") : HELP.index("Each of")]

    assert len(read_cases(example, CONFIG)) == 2
