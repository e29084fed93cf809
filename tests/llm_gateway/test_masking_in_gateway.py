"""Personal data is replaced before a text leaves and put back in the answer."""

from __future__ import annotations

import json

from integrations.llm.gateway import Gateway
from integrations.llm.values import Author, Source, Turn
from tests.llm_gateway.asking import client, make_provider, make_request
from tests.llm_gateway.scripted_server import GOOD, ScriptedServer, Seen, error, said, serving

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


def test_each_server_gets_what_it_may_see_and_the_bill_counts_both(gateway: Gateway) -> None:
    asked = make_request(f"Меня зовут Анна Петрова, телефон {PHONE}, почта {EMAIL}", mask=False)
    with serving(error(503)) as abroad, serving(said()) as ours:
        result = gateway.answer(
            asked,
            [
                make_provider(abroad.base_url, mask=True, kind="openai", model="first"),
                make_provider(ours.base_url, model="second", leaves_country=False),
            ],
        )
    first, second = result.bills

    assert all(PHONE not in seen.prompt for seen in abroad.seen)
    assert PHONE in ours.seen[0].prompt
    assert (first.model, first.origin, first.calls) == ("first", abroad.base_url[:-3], 3)
    assert (first.masked, first.left) == ({"phone": 1, "email": 1}, {"name": 1})
    assert (second.masked, second.left) == ({}, {"phone": 1, "email": 1, "name": 1})
    assert first.characters == sum(len(seen.prompt) - 1 for seen in abroad.seen)
    assert second.characters == len(ours.seen[0].prompt) - 1
    assert result.masked_counts == {}
    assert PHONE not in repr(result.bills)


def test_a_server_that_was_not_called_gets_no_bill(gateway: Gateway) -> None:
    with serving(said()) as server:
        down = make_provider("http://127.0.0.1:1/v1", model="down")
        gateway._circuit.failure(down.key, permanent=True)
        result = gateway.answer(make_request(mask=True), [down, make_provider(server.base_url)])

    assert [bill.model for bill in result.bills] == ["test-model"]
