"""A configuration file with mistakes: all of them at once, in the reader's words; sizes too."""

from __future__ import annotations

import json
import random
import re

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import translation

from bx_gpt_app.assistant import store
from bx_gpt_app.assistant.config import ConfigProblems, check_config, read_yaml
from bx_gpt_app.assistant.models import Snippet
from bx_gpt_app.screens.settings.sealed import NotOurs, TooMuch, seal, unseal
from tests.factories import configure, make_portal
from tests.screens_settings.conftest import text_of

EVERY_KIND = """
version: 2
language: rus
mode: perhaps
colour: red
lines:
  abc: {mode: auto}
  "22": {delay_seconds: soon, working_hours_only: maybe, speed: 1}
  "23": 5
llm: {temperature: 9, model: 5, max_in_flight: 1.5, base_url: ftp://x, prices: {input: x}}
reply: {max_length: 0, stop_words: abc, handoff_message: "%s"}
topics: [{code: "1", title: A}, 5]
fields: {a: 1}
mappings: [{from: gone, entity: ship, to: x}]
knowledge: [{title: "", text: a, valid_until: soon, topic: nowhere}]
limits: {monthly_tokens: -1, daily_cost: .inf}
prompt: "{{ secret }}"
crm: []
""" % ("я" * 1001)
TOLD = {
    "version": "должно быть одно из: 1",
    "language": "нужно: две строчные латинские буквы, например ru",
    "mode": "должно быть одно из: off, suggest, auto",
    "lines.abc": "название ключа: нужно: номер линии, например 22",
    "lines.22.delay_seconds": "должно быть целое число",
    "lines.22.working_hours_only": "должно быть true или false",
    "lines.23": "должен быть набор «ключ: значение»",
    "llm.temperature": "должно быть не больше 2",
    "llm.model": "должен быть текст",
    "llm.max_in_flight": "должно быть целое число",
    "llm.base_url": "должен быть адрес вида https://api.openai.com/v1",
    "llm.prices.input": "должно быть число",
    "llm.prices.output": "не указано",
    "reply.max_length": "должно быть не меньше 1",
    "reply.stop_words": "должен быть список",
    "reply.handoff_message": "должно быть не больше 1000 символов",
    "topics[0].code": "нужно: до 40 латинских букв, цифр, _ и -, первой — буква",
    "topics[1]": "должен быть набор «ключ: значение»",
    "fields": "должен быть список",
    "mappings[0].from": "поля «gone» нет",
    "mappings[0].to": "нужно: код поля CRM, например PHONE или UF_CRM_TOPIC, либо двух: "
    "NAME+LAST_NAME",
    "knowledge[0].title": "не должно быть пустым",
    "knowledge[0].valid_until": "нужно: дата вида 2026-10-31",
    "knowledge[0].topic": "темы «nowhere» нет",
    "limits.monthly_tokens": "должно быть не меньше 0",
    "prompt": "строка 1: неизвестная переменная secret",
    "crm": "должен быть набор «ключ: значение»",
}


def test_every_mistake_of_a_file_is_told_at_once_with_its_path_in_russian(admin):
    answer = admin.post("connection/import/", {"text": EVERY_KIND})

    told = dict(problem.split(": ", 1) for problem in answer.context["problems"])
    assert answer.status_code == 422
    assert {place: told.get(place) for place in TOLD} == TOLD
    assert told["mappings[0].entity"].startswith(
        "должно быть одно из: lead, deal, contact, company"
    )
    assert told["colour"].startswith("такого ключа здесь нет; есть: version, language, mode")
    assert told["lines.22.speed"].endswith("есть: mode, working_hours_only, delay_seconds, whisper")
    english = [
        words for words in told.values() if re.search(r"(?i)\b(input|should|valid)\b", words)
    ]
    assert english == []


def test_command_line_tells_the_same_in_english():
    with translation.override("en"), pytest.raises(ConfigProblems) as wrong:
        check_config({"mode": "perhaps", "lines": {"22": {"speed": 1}}})

    assert wrong.value.problems == (
        "mode: must be one of: off, suggest, auto",
        "lines.22.speed: there is no such key here; there are: mode, working_hours_only, "
        "delay_seconds, whisper",
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: b: c", "строка 1: это не YAML: лишнее двоеточие"),
        ("mode: auto\n\treply: {}", "строка 2: это не YAML: строка начинается с табуляции"),
        ("reply: {max_length: 1", "строка 1: это не YAML: скобка не закрыта"),
        ("prompt: 'x\nmode: off", "строка 2: это не YAML: кавычка не закрыта"),
        ("mode: off\nmode: auto", "строка 2: это не YAML: ключ «mode» указан дважды"),
        ("a: &x [1]\nb: *x", "строка 2: это не YAML: ссылки (*имя) не читаются"),
        ("- 1", "файл: должен быть набор ключей"),
        ("a: " + "[" * 3000, "файл: слишком глубокая вложенность"),
    ],
)  # fmt: skip
def test_mistake_of_yaml_is_told_with_its_line_and_what_is_meant(text, told):
    with translation.override("ru"), pytest.raises(ConfigProblems) as wrong:
        read_yaml(text)

    assert wrong.value.problems[0].startswith(told)


def test_hundred_mistakes_are_listed_and_the_rest_counted(admin):
    rows = "\n".join("- {from: gone, entity: lead, to: PHONE}" for _ in range(130))

    answer = admin.post("connection/import/", {"text": f"mappings:\n{rows}"})

    assert len(answer.context["problems"]) == 101
    assert answer.context["problems"][-1] == "и ещё 30 ошибок"


# ---- sizes


DICE = random.Random(7)


def noise(characters):
    """Text that cannot be packed, another one each time."""
    return "".join(DICE.choices("абвгдежзийклмнопрстуфхцчшщъыьэюя0123456789", k=characters))


def test_configuration_too_large_to_come_back_is_told_before_anything_changes(portal, admin):
    text = json.dumps(
        {"knowledge": [{"title": f"{n}", "text": noise(19_000)} for n in range(60)]},
        ensure_ascii=False,
    )
    before = store.load_whole(portal)

    answer = admin.post(
        "connection/import/", {"file": SimpleUploadedFile("big.yaml", text.encode())}
    )

    assert answer.status_code == 422
    assert "слишком велик" in " ".join(answer.context["problems"])
    assert store.load_whole(portal) == before


def test_large_configuration_that_packs_well_goes_both_ways(portal, admin):
    """Over a megabyte of words: more than a plain hidden field could carry."""
    rows = [{"title": f"Вопрос {n}", "text": "Доставляем по городу. " * 400} for n in range(70)]
    file = SimpleUploadedFile(
        "big.yaml", json.dumps({"knowledge": rows}, ensure_ascii=False).encode()
    )

    preview = admin.post("connection/import/", {"file": file})
    answer = admin.post("connection/import/", {"sealed": preview.context["sealed"], "apply": "1"})

    assert (file.size > 1_048_576, preview.status_code, answer.status_code) == (True, 200, 200)
    assert Snippet.objects.filter(portal=portal).count() == 70


def test_text_over_a_megabyte_gets_a_sentence_not_a_bare_refusal(admin):
    answer = admin.post("connection/import/", {"text": "а" * 600_000})

    assert answer.status_code == 413
    assert "файл" in answer.json()["error_description"]


def test_knowledge_too_large_to_come_back_is_told_before_anything_is_added(portal, admin):
    before = Snippet.objects.filter(portal=portal).count()
    text = "\n\n".join(f"# Раздел {n}\n\n{noise(900)}" for n in range(900))

    answer = admin.post("knowledge/import/", {"file": SimpleUploadedFile("big.md", text.encode())})

    assert answer.status_code == 422
    assert "ничего ещё не добавлено" in text_of(answer)
    assert Snippet.objects.filter(portal=portal).count() == before


def test_sealed_preview_of_one_portal_is_nothing_to_another(portal):
    other = make_portal(member_id="e" * 32)
    sealed = seal(portal, "prompt: x")

    assert unseal(portal, sealed) == "prompt: x"
    for forged in (sealed[:-4], "x", ""):
        with pytest.raises(NotOurs):
            unseal(portal, forged)
    with pytest.raises(NotOurs):
        unseal(other, sealed)
    with pytest.raises(TooMuch):
        seal(portal, noise(900_000))


def test_key_that_is_not_carried_over_to_another_server_is_told_before_and_after(portal, admin):
    configure(portal, llm={"base_url": "https://one.example/v1", "api_key": "sk-canary-1"})
    told = (
        "Сохранённый ключ — для https://one.example, на https://two.example он не уйдёт. "
        "Введите ключ нового сервера."
    )

    preview = admin.post(
        "connection/import/", {"text": "llm: {base_url: 'https://two.example/v1', api_key: null}"}
    )
    applied = admin.post("connection/import/", {"sealed": preview.context["sealed"], "apply": "1"})
    later = admin.get("connection/")

    for page in (preview, applied):
        assert told in text_of(page)
        assert f'href="{admin.url("model/")}"' in page.content.decode()
    assert told not in text_of(later)
