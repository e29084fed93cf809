"""A draft beside the active text over all cases: paid once, stoppable, and what comes of it."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.utils import timezone
from django_ox.models import OxTask
from django_ox.testing import run_tasks

from bx_gpt_app.assistant import comparison, evaluation, portal_cases, retention, store, tasks
from bx_gpt_app.assistant.cases import Case
from bx_gpt_app.assistant.comparison import Line, Standing, standing
from bx_gpt_app.assistant.models import (
    CaseAnswer,
    Delivery,
    Dialog,
    Evaluation,
    PortalCase,
    PromptVersion,
    Run,
    Snippet,
    Spending,
)
from bx_gpt_app.assistant.report import CaseResult, Check
from bx_gpt_app.portals.models import Portal
from bx_gpt_app.screens.settings.prompts import keep_draft
from integrations.llm.local_model import LocalModel
from tests.factories import configure, make_portal

pytestmark = pytest.mark.django_db(transaction=True)

BLUNT = "BLUNT. Отвечайте одним словом."


class ObedientModel(LocalModel):
    """Told to be blunt, it calls nobody to those who complain."""

    def _completion(self, request, send):
        blunt = b"BLUNT" in request.body and "деньги".encode() in request.body
        if self.mode in ("normal", "invent"):
            self.mode = "invent" if blunt else "normal"
        super()._completion(request, send)


@pytest.fixture
def model():
    with ObedientModel() as model:
        yield model


@pytest.fixture
def portal(model):
    portal = make_portal(grant=False)
    configure_model(portal, model)
    portal_cases.add(
        portal,
        [
            case("Сколько стоит доставка? +7 900 000-00-01", topic="delivery",
                 fields={"phone": "+79000000001", "email": None}),
            case("Верните деньги, я буду жаловаться!", topic="complaint", needs_human=True),
            case("Не работает котёл, пришлите мастера", topic="service"),
        ],
        origin="typed", by="Анна",
    )  # fmt: skip
    return portal


def configure_model(portal, model, **parts):
    llm = {
        "base_url": model.url, "api_key": "k", "model": "demo-rules-1",
        "prices": {"input": 15, "output": 60, "currency": "RUB"},
    }  # fmt: skip
    configure(portal, **{"llm": llm, **parts})


def case(text: str, **expect) -> Case:
    return Case.model_validate({"text": text, "expect": expect})


def check(portal, **options) -> Standing:
    comparison.start(portal, **options)
    run_tasks(raise_failures=True)
    return standing(portal)


def draft(portal, text: str = BLUNT) -> PromptVersion:
    return keep_draft(portal, text, by="Анна")


# ---- what is asked ----


def test_both_texts_answer_every_case_and_what_gets_worse_is_named(portal, model):
    draft(portal)

    now = check(portal)

    assert model.calls == 6
    assert now.is_complete
    assert [line.change for line in now.lines] == ["same", "worse", "same"]
    assert (now.report("active").passed, now.report("draft").passed) == (3, 2)
    assert now.report("active").topic_accuracy == 1.0
    assert now.report("active").all_fields.recall == 1.0
    assert now.evaluation.state == Evaluation.State.DONE


def test_chats_and_crm_stay_alone_and_the_money_is_counted_by_version(portal):
    draft(portal)

    check(portal)

    assert not Dialog.objects.exists()
    assert not Run.objects.exists()
    assert not Delivery.objects.exists()
    spent = Spending.objects.filter(portal=portal, purpose=evaluation.PURPOSE)
    assert {row.prompt_number: row.calls for row in spent} == {1: 3, 2: 3}
    assert all(row.cost > 0 and row.currency == "RUB" for row in spent)


def test_without_a_draft_the_active_text_is_asked_alone(portal, model):
    now = check(portal)

    assert (model.calls, now.draft, now.wanted) == (3, None, 3)
    assert [line.change for line in now.lines] == ["", "", ""]


def test_nothing_is_asked_twice_and_a_published_draft_brings_its_answers(portal, model):
    draft(portal)
    check(portal)
    check(portal)
    assert model.calls == 6

    store.publish_prompt(portal, BLUNT, note="", author="x")
    now = standing(portal)

    assert now.score("active") == {"passed": 2, "of": 3}
    assert check(portal).is_complete
    assert model.calls == 6


def test_everything_is_asked_again_on_request(portal, model):
    check(portal)

    now = check(portal, anew=True)

    assert model.calls == 6
    assert now.is_complete


def test_changed_and_new_cases_alone_are_asked(portal, model):
    check(portal)
    row = portal.cases.last()
    portal_cases.change(row, case("Не работает котёл, пришлите мастера", topic="other"))
    portal_cases.add(portal, [case("Привет")], origin="typed", by="x")

    now = standing(portal)
    assert [line.active is None for line in now.lines] == [False, False, True, True]
    check(portal)

    assert model.calls == 5


CHANGES = {
    "topics": lambda portal: store.change(
        portal, by="x", topics=[{"code": "other", "title": "Другое"}]
    ),
    "fields": lambda portal: store.change(portal, by="x", fields=[], mappings=[]),
    "length": lambda portal: store.change(portal, by="x", reply={"max_length": 300}),
    "knowledge": lambda portal: Snippet.objects.create(portal=portal, title="а", text="б"),
    "prompt": lambda portal: store.publish_prompt(portal, "Иначе", note="", author="x"),
}
NO_CHANGES = {
    "lines": lambda portal: store.change(portal, by="x", lines={"22": {"mode": "auto"}}),
    "limits": lambda portal: store.change(portal, by="x", limits={"daily_cost": 5}),
    "the name": lambda portal: portal.cases.update(title="Другое имя"),
    "uses": lambda portal: portal.snippets.update(uses=5),
}


def keys(portal) -> list[str]:
    now = standing(portal)
    return [now.active.key(line.case) for line in now.lines]


def test_answer_holds_until_something_changes_that_it_depends_on(portal):
    Snippet.objects.create(portal=portal, title="Доставка", text="Доставка стоит 500 рублей.")
    portal.refresh_from_db()

    for name, change in NO_CHANGES.items():
        before = keys(portal)
        change(portal)
        assert keys(portal) == before, name
    for name, change in CHANGES.items():
        before = keys(portal)
        change(portal)
        assert not set(keys(portal)) & set(before), name


def test_answer_of_another_portal_is_not_known(portal, model):
    check(portal)
    other = make_portal(grant=False, member_id="e" * 32, domain="other.bitrix24.ru")
    configure_model(other, model)
    portal_cases.add(
        other,
        [portal_cases.case_of(row) for row in portal.cases.all()],
        origin="typed",
        by="x",
    )

    assert standing(other).answered == 0


# ---- the verdict ----


def result(*oks: bool) -> CaseResult:
    checks = tuple(Check(what=f"c{n}", ok=ok) for n, ok in enumerate(oks))
    return CaseResult(number=1, label="", checks=checks, how="json_schema")


@pytest.mark.parametrize(
    ("active", "draft", "change"),
    [
        (result(True), result(True), "same"),
        (result(True), result(False), "worse"),
        (result(False), result(True), "better"),
        (result(False, True), result(False, False), "worse"),
        (result(True, False), result(False, True), "same"),
        (None, result(True), ""),
        (result(True), None, ""),
    ],
)
def test_case_changes_with_the_share_of_its_expectations(active, draft, change):
    assert Line(PortalCase(), case("x"), active, draft).change == change


# ---- stopping, waiting, failing ----


def test_stopped_run_keeps_what_it_has_and_goes_on_from_there(portal, model, monkeypatch):
    draft(portal)
    monkeypatch.setattr(comparison, "CALLS_AT_ONCE", 1)
    model.set(latency_ms=50)
    kept = []

    def stop_after_two(self, *answer, keep=comparison._Passage._keep):
        kept.append(keep(self, *answer))
        if len(kept) == 2:
            comparison.stop(portal)
        return kept[-1]

    monkeypatch.setattr(comparison._Passage, "_keep", stop_after_two)
    comparison.start(portal)
    run_tasks(raise_failures=True)

    now = standing(portal)
    assert (model.calls, now.answered) == (2, 2)
    assert [line.change for line in now.lines] == ["same", "", ""]
    assert now.evaluation.state == Evaluation.State.STOPPED
    assert check(portal).is_complete
    assert model.calls == 6


def test_long_run_is_passed_on_so_that_a_worker_can_end(portal, model, monkeypatch):
    monkeypatch.setattr(comparison, "PASSAGE_SECONDS", 0.05)
    monkeypatch.setattr(comparison, "CALLS_AT_ONCE", 1)
    model.set(latency_ms=80)

    now = check(portal)

    assert now.is_complete
    assert model.calls == 3
    assert OxTask.objects.filter(task_path=comparison.go_on.module_path).count() >= 3


def test_no_more_calls_at_once_than_leave_room_for_clients(portal, model):
    portal_cases.add(portal, [case(f"Вопрос {n}") for n in range(12)], origin="typed", by="x")
    model.set(latency_ms=40)
    most, over = [0], threading.Event()

    def watch():
        while not over.wait(0.003):
            most[0] = max(most[0], sum(t.name.startswith("cases") for t in threading.enumerate()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    check(portal)
    over.set()
    watcher.join()

    assert 1 < most[0] <= comparison.CALLS_AT_ONCE
    assert model.calls == 15


def test_used_up_budget_stops_the_run_before_the_next_call(portal, model):
    configure_model(portal, model, limits={"daily_tokens": 1})

    now = check(portal)
    assert now.is_complete, "all three left before the first was paid"
    portal_cases.add(portal, [case("Ещё вопрос")], origin="typed", by="x")
    now = check(portal)

    assert model.calls == 3
    assert (now.evaluation.state, now.evaluation.problem) == ("stopped", "budget")
    assert now.evaluation.problem_detail == "daily_tokens"
    configure_model(portal, model)
    assert check(portal).is_complete
    assert model.calls == 4


def test_calls_a_minute_are_shared_with_the_clients(portal, model, monkeypatch):
    """Two of three cases fit into this minute; the thread is given back meanwhile."""
    monkeypatch.setattr(comparison, "PASSAGE_SECONDS", 0.2)
    monkeypatch.setattr(comparison, "EXTEND_SECONDS", 0.05)
    monkeypatch.setattr(comparison, "CALLS_AT_ONCE", 1)
    configure_model(portal, model, limits={"requests_per_minute": 2})
    comparison.start(portal)

    run_tasks(max_tasks=3, raise_failures=True)
    assert model.calls == 2
    assert standing(portal).is_running
    CaseAnswer.objects.update(asked_at=timezone.now() - timedelta(minutes=2))
    run_tasks(max_tasks=2, raise_failures=True)

    assert standing(portal).is_complete
    assert model.calls == 3


@pytest.mark.parametrize(
    ("mode", "problem"), [("error", "unavailable"), ("drop", "cut_off"), ("html", "not_a_model")]
)
def test_broken_server_stops_the_run_and_blames_no_case(portal, model, monkeypatch, mode, problem):
    monkeypatch.setattr(evaluation, "LONGEST_PAUSE_SECONDS", 0.0)
    model.set(mode=mode)

    now = check(portal)

    assert now.answered == 0
    assert now.evaluation.state == Evaluation.State.STOPPED
    assert now.evaluation.problem in (problem, "circuit_open")


def test_answer_without_form_is_the_texts_fault_and_is_kept(portal, model):
    model.set(mode="garbage")

    now = check(portal)

    assert now.is_complete
    assert now.report("active").understood_rate == 0.0


def test_portal_without_a_model_is_told_what_to_do(portal, settings):
    settings.OPENAI_BASE_URL = "https://api.openai.com/v1"
    configure(portal, llm={"api_key": ""})

    now = check(portal)

    assert (now.evaluation.state, now.evaluation.problem) == ("stopped", "no_model")


def test_error_of_our_own_ends_the_run_instead_of_repeating_it(portal, monkeypatch):
    monkeypatch.setattr(comparison._Passage, "_missing", lambda self: 1 / 0)

    now = check(portal)

    assert (now.evaluation.state, now.evaluation.problem) == ("stopped", "internal")
    assert comparison.abandoned() == []


def test_draft_that_changes_under_way_is_said_and_can_be_checked_instead(portal, model):
    draft(portal)
    comparison.start(portal)

    draft(portal, "Совсем другой текст.")
    assert standing(portal).runs_another_text
    comparison.start(portal)
    assert not standing(portal).runs_another_text
    run_tasks(raise_failures=True)

    assert standing(portal).is_complete
    assert model.calls == 6


# ---- processes ----


def test_run_is_taken_by_one_worker_and_taken_over_when_its_lease_is_over(portal, model):
    comparison.start(portal)
    Evaluation.objects.update(lease="other", leased_until=timezone.now() + timedelta(seconds=9))

    assert comparison.abandoned() == []
    comparison.go_on.call(portal.pk)
    assert model.calls == 0
    Evaluation.objects.update(leased_until=timezone.now() - timedelta(seconds=1))
    OxTask.objects.all().delete()
    tasks.sweep.call()
    run_tasks(raise_failures=True)

    assert standing(portal).is_complete


def test_worker_that_lost_its_lease_asks_no_more_but_keeps_what_was_paid(
    portal, model, monkeypatch
):
    monkeypatch.setattr(comparison, "CALLS_AT_ONCE", 1)
    comparison.start(portal)
    still = comparison._Passage._still_ours

    def lose(self):
        Evaluation.objects.update(lease="somebody else")
        return still(self)

    monkeypatch.setattr(comparison._Passage, "_still_ours", lose)
    comparison.go_on.call(portal.pk)

    now = standing(portal)
    assert (model.calls, now.answered) == (1, 1)
    assert (now.evaluation.lease, now.evaluation.state) == ("somebody else", "running")


@pytest.mark.parametrize("change", [{"paused": True}, {"state": Portal.State.SUSPENDED}])
def test_portal_that_does_not_work_spends_nothing(portal, model, change):
    Portal.objects.update(**change)

    comparison.start(portal)
    run_tasks(raise_failures=True)

    assert model.calls == 0
    assert comparison.abandoned() == []
    assert standing(portal).is_running


def test_answers_are_forgotten_like_other_texts_and_erased_with_the_portal(portal):
    check(portal)
    CaseAnswer.objects.filter(pk=CaseAnswer.objects.first().pk).update(
        asked_at=timezone.now() - timedelta(days=20)
    )

    retention.forget_old(timezone.now() - timedelta(days=14))
    assert CaseAnswer.objects.count() == 2
    assert PortalCase.objects.count() == 3
    retention.erase(portal)

    rows = (CaseAnswer, PortalCase, Evaluation, Spending)
    assert [model.objects.count() for model in rows] == [0, 0, 0, 0]


def test_answer_that_arrives_after_the_portal_was_erased_leaves_no_row(portal, monkeypatch):
    monkeypatch.setattr(comparison, "CALLS_AT_ONCE", 1)
    keep = comparison._Passage._keep

    def erase_first(self, *answer):
        retention.erase(portal)
        return keep(self, *answer)

    monkeypatch.setattr(comparison._Passage, "_keep", erase_first)
    check(portal)

    assert CaseAnswer.objects.count() + Spending.objects.count() + PortalCase.objects.count() == 0


# ---- scores ----


def test_version_published_without_a_check_gets_its_score_with_the_first_one(portal):
    draft(portal)
    check(portal)

    first = PromptVersion.objects.get(active=True)
    assert first.score == {"passed": 3, "of": 3}
    PromptVersion.objects.filter(pk=first.pk).update(score={"passed": 1, "of": 3})
    check(portal, anew=True)

    assert PromptVersion.objects.get(active=True).score == {"passed": 1, "of": 3}
    assert PromptVersion.objects.get(draft=True).score is None
