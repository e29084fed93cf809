"""The red button: no automatic reply leaves after it, and no client is left with a silent bot."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from django.utils import timezone

from bx_gpt_app.assistant import deliver, whispers
from bx_gpt_app.assistant.models import Delivery, Dialog, Run, Suggestion
from bx_gpt_app.screens.settings.page import SECTIONS
from tests.screens_settings.conftest import Visitor
from tests.stories.test_whisper import HOURS, QUESTION, switch_on, whispers_in


@pytest.fixture
def admin(world):
    return Visitor(world.portal)


def automatic(world, delay=20):
    world.configure(lines={"22": {"mode": "auto", "delay_seconds": delay}}, knowledge=[HOURS])


def press_stop(admin):
    began = time.monotonic()
    assert admin.post("stop/").status_code == 200
    return time.monotonic() - began


def queued(world):
    world.work_until(lambda: Delivery.objects.filter(kind="message", state="planned").exists())


def time_passes(seconds):
    """The delay of what waits is over."""
    earlier = timezone.now() - timedelta(seconds=1)
    Delivery.objects.filter(state="planned").update(not_before=earlier)
    Dialog.objects.update(due_at=earlier)


def test_reply_that_waits_out_its_delay_does_not_leave_and_operators_are_called(world, admin):
    automatic(world)
    chat_id = world.client_says(QUESTION)
    queued(world)

    took = press_stop(admin)
    time_passes(20)
    world.work_until(lambda: Dialog.objects.get().handed_over)

    assert took < 1
    assert world.b24.delivered(chat_id) == []
    assert Suggestion.objects.get().state == "ready"
    assert (Run.objects.get().decision, Run.objects.get().reason) == ("suggest", "mode_changed")
    assert world.requests.count("imopenlines.bot.session.operator") == 1


def test_worker_that_is_just_about_to_send_does_not(world, admin, monkeypatch):
    """It has looked at the settings for the last time; the button comes before its claim."""
    automatic(world, delay=0)
    claim = deliver._attempt

    def stopped_first(delivery, *rest, **more):
        monkeypatch.setattr(deliver, "_attempt", claim)
        press_stop(admin)
        return claim(delivery, *rest, **more)

    monkeypatch.setattr(deliver, "_attempt", stopped_first)
    chat_id = world.client_says(QUESTION)
    world.work_until(lambda: Dialog.objects.get().handed_over)

    assert world.b24.delivered(chat_id) == []
    assert Delivery.objects.get(kind="message").state == "cancelled"
    assert Suggestion.objects.get().state == "ready"


def test_reply_that_was_being_sent_is_out_once_and_nothing_follows(world, admin, monkeypatch):
    automatic(world, delay=0)
    act = deliver.ACTIONS["message"]

    def stopped_meanwhile(deed):
        monkeypatch.setitem(deliver.ACTIONS, "message", act)
        press_stop(admin)
        return act(deed)

    monkeypatch.setitem(deliver.ACTIONS, "message", stopped_meanwhile)
    chat_id = world.client_says(QUESTION)
    world.work_until(lambda: world.b24.delivered(chat_id))
    world.client_says("А в субботу какой режим работы?", chat_id=chat_id)
    world.work_until(lambda: Run.objects.filter(state="done").count() == 2)

    assert len(world.b24.delivered(chat_id)) == 1
    assert Run.objects.order_by("-id").first().reason == "mode_suggest"


def test_stop_while_the_model_thinks_leaves_a_suggestion_and_calls_people(world, admin):
    automatic(world, delay=0)
    chat_id = world.client_says(QUESTION)
    world.on_model_call(lambda: press_stop(admin))

    world.work_until(lambda: Dialog.objects.get().handed_over)

    assert world.b24.delivered(chat_id) == []
    assert Suggestion.objects.get().state == "ready"


def test_held_back_reply_is_whispered_where_that_is_on(world, admin):
    switch_on(world, mode="auto", delay_seconds=20)
    chat_id = world.client_says(QUESTION)
    queued(world)

    press_stop(admin)
    world.work_until(lambda: whispers_in(world, chat_id))

    assert whispers.test_of(world.portal, 22).stage == "none"
    assert world.b24.delivered(chat_id) == []


def test_button_is_on_every_settings_page_while_a_line_is_automatic(world, admin):
    automatic(world)
    pages = ["" if one.name == "overview" else f"{one.name}/" for one in SECTIONS]

    without = [page for page in pages if "settings/stop/" not in admin.get(page).content.decode()]
    press_stop(admin)
    still = [page for page in pages if "settings/stop/" in admin.get(page).content.decode()]

    assert (without, still) == ([], [])
