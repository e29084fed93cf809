"""Personal data is replaced before a text leaves and put back in the answer."""

from __future__ import annotations

import json

from integrations.llm.gateway import Gateway
from integrations.llm.values import Author, Source, Turn
from tests.llm_gateway.asking import client, make_provider, make_request
from tests.llm_gateway.scripted_server import GOOD, ScriptedServer, Seen, said

PHONE = "+7 916 123-45-67"
EMAIL = "ivan.petrov@yandex.ru"


def answering_with_placeholders(seen: Seen):
    fields = {"name": None, "phone": "[PHONE_1]"}
    reply = "Позвоним на [PHONE_1], ответим на [EMAIL_1]."
    return said(json.dumps({**GOOD, "fields": fields, "reply": reply}, ensure_ascii=False))


def test_personal_data_stays_here_and_comes_back_in_the_answer(gateway: Gateway) -> None:
    asked = make_request(
        conversation=(
            client(f"Мой телефон {PHONE}, почта {EMAIL}"),
            Turn(author=Author.BOT, text=f"Записали {PHONE}"),
            client("Жду"),
        ),
        crm_facts={"Почта": EMAIL},
        steer=f"упомяни {PHONE}",
        sources=(Source(key="k", title="Наш телефон", text="8 800 555-35-35"),),
        mask=True,
    )
    with ScriptedServer(answering_with_placeholders) as server:
        result = gateway.answer(asked, [make_provider(server.base_url)])
    prompt = server.seen[0].prompt

    assert result.answer is not None
    assert PHONE in result.answer.reply
    assert EMAIL in result.answer.reply
    assert result.answer.fields["phone"] == PHONE
    assert "916" not in prompt
    assert EMAIL not in prompt
    assert "8 800 555-35-35" in prompt, "the company's own data is no secret"
    assert sum(result.masked_counts.values()) >= 2


def test_without_masking_texts_leave_as_they_are(gateway: Gateway) -> None:
    with ScriptedServer([said()]) as server:
        result = gateway.answer(
            make_request(f"Мой телефон {PHONE}"), [make_provider(server.base_url)]
        )

    assert PHONE in server.seen[0].prompt
    assert result.masked_counts == {}


def test_plain_text_and_the_repair_are_masked_as_well(gateway: Gateway) -> None:
    with ScriptedServer([said("Позвоним вам на [PHONE_1] завтра.")]) as server:
        result = gateway.answer(
            make_request(f"Мой телефон {PHONE}", mask=True), [make_provider(server.base_url)]
        )

    assert result.text == f"Позвоним вам на {PHONE} завтра."
    assert len(server.seen) == 2
    assert all("916" not in seen.prompt for seen in server.seen)
