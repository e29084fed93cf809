"""Asking a real model server about cases, and the command around it."""

from __future__ import annotations

import io
import json
import threading
import time

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from bx_gpt_app.assistant import evaluation, portal_cases, store, thinking
from bx_gpt_app.assistant.cases import read_cases
from bx_gpt_app.assistant.models import Delivery, Dialog, Run, Snippet, Spending
from integrations.llm.local_model import LocalModel
from tests.factories import MEMBER_ID, configure, make_app, make_portal

pytestmark = pytest.mark.django_db(transaction=True)

CASES = """
- text: Здравствуйте, меня зовут Анна Петрова, мой телефон +7 916 123-45-67. Сколько стоит доставка?
  expect: {topic: delivery, fields: {phone: "+79161234567", email: null}, needs_human: false}
- text: Не работает котёл, пришлите мастера
  expect: {topic: service, fields: {phone: null}}
- text: Верните деньги, я буду жаловаться!
  expect: {topic: sales}
"""


@pytest.fixture
def model():
    with LocalModel(seed=1) as model:
        yield model
    thinking.gateway().close()
    thinking.gateway.cache_clear()


@pytest.fixture
def portal(model):
    portal = make_portal(grant=False)
    configure(portal, llm={"base_url": model.url, "api_key": "k", "model": "demo-rules-1"})
    return portal


@pytest.fixture
def cases_file(tmp_path):
    path = tmp_path / "cases.yaml"
    path.write_text(CASES, encoding="utf-8")
    return str(path)


def evaluate(*arguments: str) -> str:
    out = io.StringIO()
    call_command("evaluate", MEMBER_ID, *arguments, stdout=out, stderr=out)
    return out.getvalue()


def test_every_case_has_a_line_and_the_numbers_follow(portal, cases_file):
    text = evaluate(cases_file)

    lines = text.splitlines()
    assert sum(line.startswith(("ok", "FAIL")) for line in lines) == 3
    assert "expected sales, got complaint" in text
    assert "Topic accuracy 66.7%" in text
    assert any(line.startswith("phone") and "100.0%" in line for line in lines)
    assert "Valid answers 100.0% (json_schema: 3 of 3 understood" in text
    assert "\x1b" not in text, "no progress bar where nobody watches"


def test_lines_stand_in_the_order_of_the_file_whoever_answers_first(portal, model, tmp_path):
    path = tmp_path / "many.yaml"
    path.write_text("- {text: Привет, expect: {}}\n" * 12, encoding="utf-8")
    model.set(jitter_ms=200)

    lines = evaluate(str(path)).splitlines()

    printed = [line for line in lines if line.startswith(("ok", "FAIL"))]
    assert [int(line.split(" s ")[1].split()[0]) for line in printed] == list(range(1, 13))


def test_score_below_the_minimum_is_exit_code_1(portal, cases_file):
    with pytest.raises(CommandError) as caught:
        evaluate(cases_file, "--min-score", "0.9")
    enough = evaluate(cases_file, "--min-score", "0.5")

    assert caught.value.returncode == 1
    assert "Score" in enough


def test_results_are_written_as_json(portal, cases_file, tmp_path):
    path = tmp_path / "report.json"

    evaluate(cases_file, "--json", str(path), "--limit", "2")
    printed = json.loads(evaluate(cases_file, "--json", "-", "--limit", "1"))

    document = json.loads(path.read_text())
    assert (document["cases"], document["score"], document["topic_accuracy"]) == (2, 1.0, 1.0)
    assert document["fields"]["phone"]["precision"] == 1.0
    assert document["results"][0]["checks"][0]["what"] == "topic"
    assert printed["cases"] == 1


def test_chats_and_crm_stay_alone_but_the_money_is_counted(portal, cases_file):
    evaluate(cases_file)

    assert not Dialog.objects.exists()
    assert not Run.objects.exists()
    assert not Delivery.objects.exists()
    spent = Spending.objects.get()
    assert (spent.purpose, spent.calls) == ("evaluate", 3)
    assert spent.prompt_tokens > 0


def test_knowledge_is_given_to_the_model_as_in_a_dialog(portal, model):
    Snippet.objects.create(portal=portal, title="Доставка", text="Доставка стоит 500 рублей.")
    config = store.load(portal)[0]
    cases = read_cases("- {text: Сколько стоит доставка, expect: {}}", config)

    evaluation.run(portal, config, cases)

    assert "Доставка стоит 500 рублей." in json.dumps(model.requests[-1], ensure_ascii=False)


def test_no_more_calls_at_once_than_the_provider_takes(portal, model):
    configure(
        portal,
        llm={"base_url": model.url, "api_key": "k", "model": "demo-rules-1", "max_in_flight": 3},
    )
    model.set(latency_ms=60)
    config = store.load(portal)[0]
    cases = read_cases("\n".join(f"- {{text: Вопрос {n}, expect: {{}}}}" for n in range(9)), config)
    most, stop = [0], threading.Event()

    def watch():
        while not stop.is_set():
            own = [t for t in threading.enumerate() if t.name.startswith("evaluate")]
            most[0] = max(most[0], len(own))
            time.sleep(0.005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    told = []
    started = time.monotonic()
    evaluation.run(
        portal, config, cases, progress=lambda _result, done, total: told.append((done, total))
    )
    seconds = time.monotonic() - started
    stop.set()
    watcher.join()

    assert most[0] == 3
    assert told == [(n, 9) for n in range(1, 10)]
    assert seconds >= 0.18, "nine calls, three at a time"


def test_a_broken_model_is_reported_not_raised(portal, model, cases_file):
    model.set(mode="text")

    text = evaluate(cases_file)

    assert "Valid answers 0.0% (plain: 0 of 3 understood" in text
    assert any(line.startswith("phone") and "100.0%" in line for line in text.splitlines())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["/nowhere/cases.yaml"], "cannot be read"),
        (["{file}", "--min-score", "80"], "from 0 to 1"),
        (["{file}", "--limit", "0"], "1 or more"),
        (["{file}", "--app", "other"], "app registration 'other'"),
    ],
)
def test_wrong_arguments_are_told_in_a_sentence(portal, cases_file, arguments, sentence):
    with pytest.raises(CommandError, match=sentence) as caught:
        evaluate(*[argument.format(file=cases_file) for argument in arguments])

    assert caught.value.returncode == 2


def test_mistakes_of_the_cases_are_told_all_at_once(portal, tmp_path):
    path = tmp_path / "cases.yaml"
    path.write_text("- {text: a, expect: {topic: x}}\n- {expect: {}}\n", encoding="utf-8")

    with pytest.raises(CommandError) as caught:
        evaluate(str(path))

    assert len(str(caught.value).splitlines()) == 3
    assert Spending.objects.count() == 0


def test_without_a_file_the_portals_own_cases_are_asked(portal):
    with pytest.raises(CommandError, match="no test cases of its own") as caught:
        evaluate()
    cases = read_cases(CASES, store.load(portal)[0])
    portal_cases.add(portal, cases, origin="typed", by="x")

    text = evaluate("--limit", "2")

    assert caught.value.returncode == 2
    assert "over 2 cases" in text


def test_unknown_portal_is_one_sentence(db, cases_file):
    with pytest.raises(CommandError) as caught:
        evaluate(cases_file)

    assert str(caught.value).count(".") <= 2
    assert "portal list" in str(caught.value)


def test_portal_without_a_model_is_one_sentence(settings, cases_file):
    settings.OPENAI_BASE_URL = "https://api.openai.com/v1"
    make_portal(grant=False, registration=make_app("default"))

    with pytest.raises(CommandError, match="no model"):
        evaluate(cases_file)


def test_used_up_budget_asks_nothing(portal, model, cases_file):
    configure(portal, limits={"monthly_tokens": 0}, llm={"base_url": model.url, "model": "m"})

    with pytest.raises(CommandError, match="monthly_tokens"):
        evaluate(cases_file)

    assert model.calls == 0
