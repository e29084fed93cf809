"""The configuration file: checked whole, exported without secrets, stored without loss."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import yaml
from django.db import connection

from bx_gpt_app.assistant import store, thinking
from bx_gpt_app.assistant.config import (
    ConfigProblems,
    PortalConfig,
    check_config,
    read_yaml,
    write_yaml,
)
from bx_gpt_app.assistant.models import Configuration, PromptVersion, Snippet
from bx_gpt_app.flow import Context
from integrations.llm.values import Answer, Author, Turn
from tests.factories import configure, make_portal

EXAMPLE = """
version: 1
language: ru
mode: suggest
lines:
  "22": {mode: auto, working_hours_only: false}
llm:
  base_url: https://api.openai.com/v1
  api_key: null
  model: gpt-4o-mini
  temperature: 0.2
  fallback: null
reply:
  max_length: 600
  debounce_seconds: 2
  min_confidence: 0.6
  handoff_message: "Передаю вопрос коллеге, он скоро ответит."
  signature: ""
prompt: |
  Вы — помощник компании …
topics:
  - {code: install, title: "Установка оборудования", description: "монтаж, выезд мастера"}
fields:
  - {name: name,    type: person_name, description: "имя клиента"}
  - {name: phone,   type: phone}
  - {name: email,   type: email}
  - {name: subject, type: string, max_length: 120}
  - {name: budget,  type: money}
  - {name: visit,   type: date}
  - {name: product, type: choice, choices: ["котёл", "бойлер"]}
mappings:
  - {from: phone,   entity: lead, to: PHONE,      policy: append}
  - {from: name,    entity: lead, to: NAME+LAST_NAME, policy: fill_empty}
  - {from: topic,   entity: lead, to: UF_CRM_TOPIC,   policy: overwrite}
  - {from: subject, entity: lead, to: TITLE,      policy: fill_empty}
crm:
  write: auto
  timeline_comment: true
knowledge:
  - {title: "Режим работы", text: "Пн–Пт 9:00–18:00", url: ""}
privacy:
  mask_personal_data: true
limits:
  monthly_tokens: null
  requests_per_minute: 60
"""


def test_documented_example_is_valid_and_survives_a_round_trip():
    config = read_yaml(EXAMPLE)

    assert read_yaml(write_yaml(config)) == config
    assert config.line(22).mode == "auto"
    assert config.line(23).mode == "suggest"


def test_all_mistakes_are_told_at_once_with_their_paths():
    with pytest.raises(ConfigProblems) as wrong:
        read_yaml(
            """
version: 2
mode: sometimes
lines: {"0": {}, "22": {mode: auto, speed: 1}}
llm: {base_url: "ftp://x", temperature: 5}
reply: {max_length: 0}
topics: [{code: a, title: A}, {code: a, title: B}]
fields: [{name: "1x", type: phone}, {name: p, type: choice}]
mappings: [{from: nothing, entity: lead, to: PHONE, policy: append}, {from: p, entity: ship, to: x}]
prompt: "{{ secret_key }}"
colour: red
"""
        )

    told = "\n".join(wrong.value.problems)
    assert "topics[1].code: 'a' is used twice" in told
    assert "mappings[0].from: there is no field 'nothing'" in told
    for path in (
        "version", "mode", "lines", "llm.base_url", "llm.temperature", "reply.max_length", "fields[0].name",
        "mappings[1].entity", "mappings[1].to", "prompt", "colour",
    ):  # fmt: skip
        assert path in told, told


def test_names_that_point_nowhere_are_told_together():
    with pytest.raises(ConfigProblems) as wrong:
        check_config(
            {
                "version": 1,
                "topics": [{"code": "a", "title": "A"}, {"code": "a", "title": "B"}],
                "fields": [{"name": "p", "type": "choice"}],
                "mappings": [{"from": "gone", "entity": "lead", "to": "PHONE", "policy": "append"}],
                "knowledge": [{"title": "x", "text": "y", "topic": "gone"}],
            }
        )

    assert len(wrong.value.problems) == 4


def test_file_of_a_few_lines_changes_only_these():
    stored = read_yaml(EXAMPLE)

    config = read_yaml("mode: auto\nreply: {max_length: 300}\n", onto=stored)

    assert (config.mode, config.reply.max_length) == ("auto", 300)
    assert config.reply.debounce_seconds == 2
    assert (config.topics, config.lines, config.prompt) == (
        stored.topics,
        stored.lines,
        stored.prompt,
    )


def test_address_of_knowledge_must_be_a_web_address():
    with pytest.raises(ConfigProblems) as wrong:
        check_config({"knowledge": [{"title": "a", "text": "b", "url": "javascript:alert(1)"}]})

    assert wrong.value.problems[0].startswith("knowledge[0].url: ")


def test_bare_off_of_yaml_is_the_word_off():
    config = read_yaml("version: 1\nmode: off\nlines: {22: {mode: off}}\ncrm: {write: off}\n")

    assert (config.mode, config.line(22).mode, config.crm.write) == ("off", "off", "off")
    assert read_yaml(write_yaml(config)) == config


def test_key_that_stands_twice_is_refused_with_its_line():
    with pytest.raises(ConfigProblems) as wrong:
        read_yaml("version: 1\nmode: auto\nmode: off\n")

    assert wrong.value.problems == ("line 3: not YAML: the key 'mode' stands twice",)


@pytest.mark.django_db
def test_snippet_outlives_its_topic():
    portal = make_portal()
    configure(
        portal,
        topics=[{"code": "old", "title": "Старая"}],
        knowledge=[{"title": "a", "text": "b", "topic": "old"}],
    )

    store.change(portal, by="admin", topics=[{"code": "new", "title": "Новая"}])

    assert Snippet.objects.get().topic == ""
    assert read_yaml(write_yaml(store.load_whole(portal)))


@pytest.mark.parametrize("text", ["[1, 2]", "just words", "a: [", "\t"])
def test_file_that_is_no_mapping_is_refused_with_a_sentence(text):
    with pytest.raises(ConfigProblems):
        read_yaml(text)


@pytest.mark.django_db
def test_import_of_an_export_changes_nothing():
    portal = make_portal()
    store.save(portal, read_yaml(EXAMPLE), by="admin")

    changed = store.save(portal, read_yaml(write_yaml(store.load_whole(portal))), by="admin")

    assert changed is False
    assert Configuration.objects.get().revision == 2


@pytest.mark.django_db
def test_keys_are_write_only_and_null_keeps_them():
    portal = make_portal()
    server = {"base_url": "https://models.example/v1", "model": "m"}
    configure(portal, llm={**server, "api_key": "sk-canary-123456"})

    exported = write_yaml(store.load_whole(portal))
    store.save(portal, read_yaml(exported), by="admin")

    assert "canary" not in exported
    assert (
        thinking.routes(portal, store.load(portal)[0])[0].api_key.get_secret_value()
        == "sk-canary-123456"
    )
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM assistant_configuration")
        assert "canary" not in str(cursor.fetchall())


@pytest.mark.django_db
def test_empty_key_deletes_the_stored_one():
    portal = make_portal()
    server = {"base_url": "https://models.example/v1", "model": "m"}
    configure(portal, llm={**server, "api_key": "sk-canary-123456"})

    configure(portal, llm={**server, "api_key": ""})

    assert Configuration.objects.get().api_key == ""


@pytest.mark.django_db
def test_key_never_travels_to_another_address(settings):
    settings.OPENAI_API_KEY, settings.OPENAI_BASE_URL = "sk-host", "https://api.openai.com/v1"
    portal = make_portal()
    configure(
        portal, llm={"base_url": "https://models.example/v1", "model": "m", "api_key": "sk-portal"}
    )

    moved = configure(portal, llm={"base_url": "https://evil.example/v1", "model": "m"})

    keys = [route.api_key.get_secret_value() for route in thinking.routes(portal, moved)]
    assert keys == [""]


@pytest.mark.django_db
def test_portal_without_a_model_uses_the_hosts_own(settings):
    settings.OPENAI_API_KEY, settings.OPENAI_BASE_URL = "sk-host", "https://api.openai.com/v1"
    portal = make_portal()

    route = thinking.routes(portal, PortalConfig())[0]

    assert (route.base_url, route.api_key.get_secret_value()) == (
        "https://api.openai.com/v1",
        "sk-host",
    )


@pytest.mark.django_db
def test_portal_without_any_key_has_no_model(settings):
    settings.OPENAI_API_KEY, settings.OPENAI_BASE_URL = "", "https://api.openai.com/v1"

    with pytest.raises(thinking.NoModel):
        thinking.routes(make_portal(), PortalConfig())


@pytest.mark.django_db
def test_changed_prompt_becomes_a_new_version_and_unchanged_snippets_keep_their_ids():
    portal = make_portal()
    first = {
        "prompt": "Первая",
        "knowledge": [{"title": "a", "text": "b"}, {"title": "c", "text": "d"}],
    }
    configure(portal, **first)
    kept = Snippet.objects.get(title="a").pk

    configure(
        portal, prompt="Вторая", knowledge=[{"title": "a", "text": "b", "url": "https://x.example"}]
    )

    assert list(PromptVersion.objects.values_list("number", "active")) == [(2, True), (1, False)]
    assert list(Snippet.objects.values_list("pk", "url")) == [(kept, "https://x.example")]


# ---- keys beyond the documented ones ----

SERVER_KEYS = ["base_url", "api_key", "model", "temperature", "fallback"]


def test_a_file_shows_further_keys_of_the_model_only_where_they_are_set():
    plain = yaml.safe_load(write_yaml(read_yaml(EXAMPLE)))
    full = read_yaml(
        EXAMPLE.replace(
            "  fallback: null",
            "  project: b1g\n  max_input_chars: 9000\n  mask_personal_data: false\n"
            "  fallback: {base_url: https://two.example/v1, model: m, project: p}\n"
            "  cheaper: {model: small, prices: {input: 1, output: 2, currency: RUB}}",
        ).replace("  monthly_tokens: null", "  daily_cost: 5\n  currency: RUB\n  rates: {USD: 90}")
    )

    assert list(plain["llm"]) == SERVER_KEYS
    assert list(plain["limits"]) == ["monthly_tokens", "requests_per_minute"]
    assert list(plain["privacy"]) == ["mask_personal_data"]
    assert read_yaml(write_yaml(full)) == full
    assert (full.llm.project, full.llm.fallback.project) == ("b1g", "p")
    assert full.limits.rates == {"USD": 90}


def test_import_of_an_export_with_every_key_changes_nothing(db):
    portal = make_portal()
    configure(
        portal,
        llm={
            "base_url": "https://one.example/v1", "model": "m", "project": "b1g",
            "api_key": "sk-1", "extra_headers": {"X-A": "b"}, "mask_personal_data": True,
            "fallback": {"base_url": "https://two.example/v1", "model": "n"},
            "cheaper": {"server": "fallback", "model": "o"},
        },
        limits={"monthly_cost": 10, "currency": "RUB", "rates": {"USD": 90}},
    )  # fmt: skip
    before = Configuration.objects.get()

    changed = store.save(portal, read_yaml(write_yaml(store.load_whole(portal))), by="file")

    after = Configuration.objects.get()
    assert not changed
    assert (after.revision, after.secret_headers) == (before.revision, before.secret_headers)


def test_a_file_that_names_another_server_brings_nothing_along_from_the_old_one():
    old = read_yaml(
        "llm: {base_url: https://one.example/v1, model: m, preset: deepseek, project: b1g,"
        " prices: {input: 1, output: 1}, fallback: {base_url: https://two.example/v1, model: n}}"
    )

    moved = read_yaml("llm: {base_url: https://three.example/v1, model: k}", onto=old)
    same = read_yaml("llm: {base_url: https://one.example/v1/, model: k}", onto=old)

    assert (moved.llm.preset, moved.llm.project, moved.llm.prices) == (None, None, None)
    assert moved.llm.fallback == old.llm.fallback
    assert (same.llm.model, same.llm.preset, same.llm.project) == ("k", "deepseek", "b1g")


@pytest.mark.parametrize(
    ("llm", "path"),
    [
        ("cheaper: {server: fallback}", "llm.cheaper"),
        ("cheaper: {server: main}", "llm.cheaper"),
        ("extra_headers: {'X A': b}", "llm.extra_headers"),
        ('extra_headers: {X-A: "b\\nHost: evil"}', "llm.extra_headers"),
    ],
)
def test_what_cannot_work_of_a_model_is_told(llm, path):
    with pytest.raises(ConfigProblems) as wrong:
        read_yaml(f"llm: {{base_url: https://one.example/v1, model: m, {llm}}}")

    assert all(problem.startswith(path) for problem in wrong.value.problems)


@pytest.mark.parametrize("length", [1, 2, 3, 9, 49, 50, 4001, 10**9])
def test_any_positive_length_of_a_reply_is_kept_to(length):
    config = read_yaml(f"reply: {{max_length: {length}}}")
    words = "Да. Мастер приедет завтра с 9 до 12, позвоните нам. "
    context = Context(
        conversation=(Turn(author=Author.CLIENT, text="Когда?"),), now=datetime.now(UTC)
    )

    judgement = thinking.judge(Answer(reply=words * 200), config, context, region="RU")

    assert thinking.spec_of(config).reply_max_length == min(length, 20_000)
    assert 1 <= len(judgement.reply.text) <= length
