"""A limit of spending fills up: cheaper model, suggestions only, holding text, nothing. Each step
is said on the run, in the log, and to the operator."""

from __future__ import annotations

import logging

import pytest
from django.utils import timezone, translation

from bx_gpt_app.assistant import notices
from bx_gpt_app.assistant.models import Departure, Notice, Run, Spending
from bx_gpt_app.portals.models import CallBudget
from bx_gpt_app.screens.draft import Place, draft_context, read_scene
from integrations.bitrix24.errors import CallRejected
from integrations.llm.local_model import LocalModel

PRICES = {"prices": {"input": 100, "output": 100, "currency": "RUB"}}
KNOWLEDGE = [{"title": "Режим работы", "text": "Мы работаем Пн–Пт с 9:00 до 18:00."}]
QUESTION = "Какой у вас режим работы?"
HANDOFF = "Передаю вопрос коллеге, он скоро ответит."


def configure(world, **llm) -> None:
    server = {"base_url": world.model.url, "model": "demo-rules-1", **PRICES}
    world.configure(
        mode="auto",
        knowledge=KNOWLEDGE,
        llm={**server, **llm},
        limits={"monthly_cost": 1000, "requests_per_minute": 1000},
    )
    # A note waits for quieter times when binding has just used up the portal's calls.
    CallBudget.objects.update_or_create(
        portal=world.portal, defaults={"rate": 10_000, "burst": 10_000}
    )


def spent(world, share: float) -> None:
    """So much of the limit was used up before."""
    Spending.objects.all().delete()
    Spending.objects.create(
        portal=world.portal,
        day=timezone.now().date(),
        model="demo-rules-1",
        cost=1000 * share,
        currency="RUB",
    )


def ask(world, chat_id: int | None = None) -> tuple[int, Run]:
    chat_id = world.client_says(QUESTION, chat_id)
    runs = Run.objects.filter(dialog__key=str(chat_id)).order_by("pk")
    before = runs.count()
    world.work_until(
        lambda: runs.count() > before and runs.last().state in ("done", "decided", "failed")
    )
    world.work()
    return chat_id, runs.last()


def for_operator(world, run: Run) -> dict:
    with translation.override("ru"):
        return draft_context(read_scene(run.dialog, world.portal), Place("/"))


def test_every_step_of_the_ladder_is_taken_and_said(world, caplog):
    caplog.set_level(logging.INFO)
    configure(world, cheaper={"model": "demo-cheap-1", "prices": {"input": 1, "output": 1}})

    spent(world, 0.85)
    chat, usual = ask(world)
    spent(world, 0.91)
    _chat, cheaper = ask(world)
    spent(world, 0.96)
    quiet_chat, only_suggested = ask(world)
    spent(world, 1.01)
    held_chat, over = ask(world)
    calls = world.model.calls
    _chat, silent = ask(world, held_chat)

    assert (usual.decision, usual.model, usual.saving) == ("send", "demo-rules-1", "")
    assert (cheaper.decision, cheaper.model, cheaper.saving) == (
        "send", "demo-cheap-1", "monthly_cost",
    )  # fmt: skip
    assert (only_suggested.decision, only_suggested.reason) == ("suggest", "budget_close")
    assert only_suggested.reason_detail == "monthly_cost"
    assert world.b24.delivered(quiet_chat) == []
    assert (over.decision, over.reason) == ("hand_over", "budget")
    assert world.b24.delivered(held_chat) == [HANDOFF]
    assert (silent.decision, silent.reason, silent.reply) == ("suggest", "budget", "")
    assert world.model.calls == calls, "nothing is asked any more"

    lines = [record for record in caplog.records if record.getMessage() == "decided"]
    assert [getattr(line, "saving", "") for line in lines][:2] == ["", "monthly_cost"]
    assert [line.reason for line in lines[2:4]] == ["budget_close", "budget"]
    assert "почти" in for_operator(world, only_suggested)["explanation"]["note"]
    assert "дешёвую модель" in for_operator(world, only_suggested)["explanation"]["saving"]
    assert "месячный лимит" in for_operator(world, over)["message"].lower()
    assert chat != held_chat


def test_the_model_for_outages_is_not_asked_for_the_sake_of_money(world):
    with LocalModel() as dear:
        configure(world, fallback={"base_url": dear.url, "model": "dear"})
        spent(world, 0.92)
        _chat, run = ask(world)

        assert (run.model, run.saving, dear.calls) == ("demo-rules-1", "", 0)


def test_the_second_server_saves_money_when_it_is_chosen_for_that(world):
    with LocalModel() as cheap:
        configure(
            world,
            fallback={"base_url": cheap.url, "model": "cheap", "prices": {"input": 1, "output": 1}},
            cheaper={"server": "fallback"},
        )
        spent(world, 0.92)
        _chat, run = ask(world)
        cheap.set(mode="error")
        _chat, rescued = ask(world)

        assert (run.model, run.currency, run.saving) == ("cheap", "USD", "monthly_cost")
        assert rescued.model == "demo-rules-1", "an outage of the cheaper one is no silence"


def test_answers_that_nobody_can_use_are_paid_for_too(world):
    with LocalModel() as second:
        configure(
            world,
            fallback={
                "base_url": second.url, "model": "second",
                "prices": {"input": 1, "output": 1, "currency": "USD"},
            },
        )  # fmt: skip
        world.model.set(mode="empty")
        _chat, rescued = ask(world)
        second.set(mode="empty")
        _chat, failed = ask(world)

        paid = dict(Spending.objects.values_list("model", "currency"))
        assert paid == {"demo-rules-1": "RUB", "second": "USD"}
        assert (rescued.model, rescued.currency) == ("second", "USD")
        assert rescued.other_costs["RUB"] > 0
        assert (failed.state, failed.reason) == ("failed", "not_understood")
        assert failed.prompt_tokens > 0
        assert set(Departure.objects.values_list("place", flat=True)) == {"own"}
        assert sum(Departure.objects.values_list("requests", flat=True)) == (
            world.model.calls + second.calls
        )


# ---- the portal's bell ----


def test_administrators_find_one_note_in_their_bell_whatever_happens(world):
    configure(world)
    spent(world, 0.85)
    ask(world)
    ask(world)
    notices.tell_admins.call(world.portal.pk)
    notices.tell_admins.call(world.portal.pk)
    Notice.objects.update(state=Notice.State.SENDING, not_before=timezone.now())  # it died there
    notices.tell_admins.call(world.portal.pk)

    [note] = world.b24.notifications(1)
    assert "850,0" in note
    assert "1 000,00" in note.replace("\xa0", " ")
    assert len(world.b24.calls("im.notify.system.add")) == 2
    assert Notice.objects.get().state == Notice.State.SENT


def test_a_portal_that_is_down_is_told_later_and_one_that_refuses_never(world):
    configure(world)
    spent(world, 0.85)
    ask(world)
    world.b24.go_down()
    notices.tell_admins.call(world.portal.pk)
    waiting = Notice.objects.get()
    world.b24.come_up()
    Notice.objects.update(not_before=timezone.now(), user_id=404)
    notices.tell_admins.call(world.portal.pk)
    refused = Notice.objects.get()
    notices.tell_admins.call(world.portal.pk)

    assert (waiting.state, waiting.attempts) == (Notice.State.PLANNED, 1)
    assert waiting.not_before > timezone.now()
    assert (refused.state, refused.attempts) == (Notice.State.FAILED, 2)
    assert Notice.objects.get().attempts == 2
    assert world.b24.notifications(1) == []


def test_the_portal_answers_false_when_it_made_no_note(world):
    from bx_gpt_app.portals.clients import client_for
    from integrations.bitrix24.notifications import notify

    with pytest.raises(CallRejected):
        notify(client_for(world.portal), 404, "text", tag="t")
