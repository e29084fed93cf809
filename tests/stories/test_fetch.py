"""A portal whose bot's events we fetch: heard once, whatever dies, and switched without a loss."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone
from django_ox.models import OxTask

from bx_gpt_app.assistant.models import Dialog, Event, Message, Run
from bx_gpt_app.inbox import fetch
from bx_gpt_app.inbox.catch_up import catch_up
from bx_gpt_app.inbox.models import Hearing
from bx_gpt_app.portals.bindings import faults
from bx_gpt_app.portals.models import CallBudget
from bx_gpt_app.portals.tasks import rebind
from integrations.bitrix24.local_portal.methods_chat import remove_bot

HOURS = {"title": "Режим работы", "text": "Мы работаем Пн–Пт с 9:00 до 18:00."}
QUESTION = "Какой у вас режим работы?"


def choose(world, *, fetches: bool) -> None:
    """What the Connection screen does, and the task it starts."""
    portal = world.portal
    portal.fetches_events = fetches
    portal.save(update_fields=["fetches_events"])
    rebind.call(portal.pk)


@pytest.fixture
def fetched(world):
    world.configure(mode="auto", knowledge=[HOURS])
    # Binding so often fills the portal's bucket; nobody waits for that here.
    CallBudget.objects.update(rate=10_000, burst=10_000)
    choose(world, fetches=True)
    return world


def bot(world):
    return next(iter(world.b24.world.bots.values()))


def fetch_now() -> None:
    """One look into every queue, as a round of a worker does it."""
    Hearing.objects.update(due_at=timezone.now())
    fetch.fetch_everywhere.call(seconds=0)


def offsets(world) -> list[str | None]:
    return [call.params.get("offset") for call in world.b24.calls("imbot.v2.Event.get")]


def test_question_is_fetched_and_answered_under_the_key_a_webhook_would_have_had(fetched):
    posted = len(fetched.b24.deliveries)
    chat_id, message_id = fetched.b24.client_writes(QUESTION)

    fetch_now()
    fetched.work_until(lambda: fetched.b24.delivered(chat_id))

    assert "9:00" in fetched.b24.delivered(chat_id)[0]
    assert not [one for one in fetched.b24.deliveries[posted:] if "IMBOT" in one.event]
    key = f"bot-message:{fetched.portal.bot_id}:{message_id}"
    assert Event.objects.filter(source_key=key).count() == 1
    hearing = Hearing.objects.get()
    assert hearing.problem == ""
    assert timezone.now() - hearing.emptied_at < timedelta(seconds=30)
    assert hearing.due_at - hearing.emptied_at < timedelta(seconds=fetch.LIVE_SECONDS + 2)
    assert (hearing.busy_until, hearing.busy_with) == (None, "")


def test_process_that_dies_between_storing_and_confirming_loses_and_repeats_nothing(fetched):
    chat_id, _message_id = fetched.b24.client_writes(QUESTION)
    Hearing.objects.update(due_at=timezone.now())
    (dying,) = fetch.claim()
    Hearing.objects.update(busy_with="", busy_until=None)  # it is dead: nothing of its is written
    fetch.look(dying)
    stored = Event.objects.count()
    assert len(bot(fetched).queue) > 0, "nothing is confirmed yet"

    fetch_now()
    fetch_now()

    assert Event.objects.count() == stored
    assert not bot(fetched).queue
    assert offsets(fetched)[:2] == [None, None], "the second process began where nothing was noted"
    fetched.work_until(lambda: fetched.b24.delivered(chat_id))
    assert len(fetched.b24.delivered(chat_id)) == 1


def test_two_workers_do_not_poll_one_portal(fetched):
    Hearing.objects.update(due_at=timezone.now())
    claimed: list[int] = []
    barrier = threading.Barrier(4)

    def worker() -> None:
        barrier.wait()
        claimed.append(len(fetch.claim()))
        connection.close()

    threads = [threading.Thread(target=worker) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(claimed) == [0, 0, 0, 1]
    Hearing.objects.update(busy_until=timezone.now() - timedelta(seconds=1))  # its process died
    assert len(fetch.claim()) == 1


def test_round_polls_again_and_again_and_starts_the_next_one(fetched, monkeypatch):
    monkeypatch.setattr(fetch, "LIVE_SECONDS", 0.2)
    Hearing.objects.update(due_at=timezone.now(), heard_at=timezone.now())
    before = len(offsets(fetched))
    OxTask.objects.all().delete()

    fetch.fetch_everywhere.call(seconds=1.0)

    assert 3 <= len(offsets(fetched)) - before <= 6
    assert OxTask.objects.get().task_path.endswith("fetch_everywhere")
    assert Hearing.objects.get().busy_with == ""


def test_portal_that_is_due_soon_keeps_the_rounds_going_and_is_not_asked_early(fetched):
    due_at = timezone.now() + timedelta(seconds=8)
    Hearing.objects.update(due_at=due_at)
    before = len(offsets(fetched))
    OxTask.objects.all().delete()

    assert fetch.fetch_everywhere.call(seconds=0) == 1

    assert len(offsets(fetched)) == before
    assert OxTask.objects.filter(task_path__endswith="fetch_everywhere").count() == 1
    assert (Hearing.objects.get().due_at, Hearing.objects.get().busy_with) == (due_at, "")


def test_portal_that_sends_its_events_is_not_polled(world):
    world.configure(mode="suggest")

    assert fetch.fetch_everywhere.call(seconds=0) == 0
    assert offsets(world) == []


def test_switch_to_webhook_and_back_loses_nothing_and_hears_nothing_twice(fetched):
    first, _id = fetched.b24.client_writes("Первый: какой у вас режим работы?", external_id="1")
    second, _id = fetched.b24.client_writes("Второй: какой у вас режим работы?", external_id="2")
    # Another process polls at this very moment: it is not waited for.
    Hearing.objects.update(busy_with="another", busy_until=timezone.now() + timedelta(seconds=30))

    choose(fetched, fetches=False)

    assert bot(fetched).event_mode == "webhook"
    assert not Hearing.objects.get().fetching
    third = fetched.client_says("Третий: какой у вас режим работы?", external_id="3")
    choose(fetched, fetches=True)
    fourth, _id = fetched.b24.client_writes("Четвёртый: какой у вас режим работы?", external_id="4")

    fetch_now()

    said = Event.objects.filter(kind="message").order_by("id")
    assert [one.payload["text"].split()[0] for one in said] == [
        "Первый:", "Второй:", "Третий:", "Четвёртый:",
    ]  # fmt: skip
    fetched.work_until(lambda: all(map(fetched.b24.delivered, (first, second, third, fourth))))
    assert Run.objects.count() == 4


def test_message_that_falls_between_the_two_ways_is_found_by_the_safety_net(fetched):
    catch_up.call(fetched.portal.pk)
    portal = fetched.portal
    portal.fetches_events = False
    portal.save(update_fields=["fetches_events"])
    fetch.before_binding(portal)
    fetched.b24.client_writes("Именно сейчас")  # the portal drops its queue with the mode
    OxTask.objects.all().delete()

    rebind.call(portal.pk)

    (net,) = OxTask.objects.filter(task_path__endswith="catch_up.catch_up")
    catch_up.call(*net.args)
    assert Event.objects.get(kind="message").payload["text"] == "Именно сейчас"


def test_portal_that_refuses_our_address_goes_on_being_fetched(fetched, settings):
    settings.PUBLIC_URL = "ftp://nobody.example"

    choose(fetched, fetches=False)

    assert bot(fetched).event_mode == "fetch"
    assert fetched.portal.fetches_events
    assert ("bot", "BOT_INVALID_CALLBACK") in faults(fetched.portal)
    chat_id, _message_id = fetched.b24.client_writes(QUESTION)
    fetch_now()
    fetched.work_until(lambda: fetched.b24.delivered(chat_id))


@pytest.mark.parametrize("portal_options", [{"legacy_bots": True}])
def test_old_portal_goes_on_sending_its_events(world):
    world.configure(mode="auto", knowledge=[HOURS])

    choose(world, fetches=True)

    assert (world.portal.bot_api, world.portal.fetches_events) == ("legacy", False)
    assert not Hearing.objects.get().fetching
    chat_id = world.client_says(QUESTION)
    world.work_until(lambda: world.b24.delivered(chat_id))


def test_portal_that_is_down_is_asked_less_and_less_and_says_so(fetched):
    fetched.b24.go_down()

    fetch_now()
    fetch_now()

    hearing = Hearing.objects.get()
    assert (hearing.problem, hearing.failures) == ("unavailable", 2)
    assert hearing.due_at - timezone.now() > timedelta(seconds=fetch.RETRY_SECONDS[1] - 2)
    assert fetched.portal.down_since
    fetched.b24.come_up()
    fetch_now()
    assert (Hearing.objects.get().problem, fetched.portal.down_since) == ("", None)


def test_bot_that_somebody_removed_is_registered_again(fetched):
    with fetched.b24.world.lock:
        remove_bot(fetched.b24.world, bot(fetched))
    OxTask.objects.all().delete()

    fetch_now()

    assert Hearing.objects.get().problem == "BOT_NOT_FOUND"
    rebind.call(*OxTask.objects.get(task_path__endswith="tasks.rebind").args)
    chat_id, _message_id = fetched.b24.client_writes(QUESTION)
    fetch_now()
    fetched.work_until(lambda: fetched.b24.delivered(chat_id))


def test_what_waited_in_the_queue_for_hours_is_left_to_a_person(fetched):
    chat_id, _message_id = fetched.b24.client_writes(QUESTION)
    for event in bot(fetched).queue:
        if "message" in event["data"]:
            event["data"]["message"]["date"] = "2026-08-21T10:00:00+03:00"

    fetch_now()
    fetched.work_until(lambda: Run.objects.filter(state="done").exists())

    assert Run.objects.get().reason == "asked_long_ago"
    assert fetched.b24.delivered(chat_id) == []


def test_wrong_clock_of_a_portal_that_is_polled_steadily_does_not_matter(fetched):
    fetch_now()  # the queue is empty now: what comes next is new, whatever its date says
    chat_id, _message_id = fetched.b24.client_writes(QUESTION)
    for event in bot(fetched).queue:
        if "message" in event["data"]:
            event["data"]["message"]["date"] = "2026-08-21T10:00:00+03:00"

    fetch_now()
    fetched.work_until(lambda: fetched.b24.delivered(chat_id))

    said = Message.objects.get(author="client")
    assert timezone.now() - said.at < timedelta(minutes=1)
    assert Dialog.objects.get().owner == "bot"


def test_event_that_we_stumble_over_does_not_stop_those_behind_it(fetched, monkeypatch):
    fetched.b24.client_writes("Первый:", external_id="1")
    chat_id, _message_id = fetched.b24.client_writes(QUESTION, external_id="2")
    bot(fetched).queue[0]["data"] = {"message": {"id": 5, "date": "x" * 10}, "chat": 7, "bot": []}
    hear = fetch.hear

    def stumble(portal, incoming, **how):
        if incoming.payload is None:
            raise RuntimeError("a fault of ours")
        hear(portal, incoming, **how)

    monkeypatch.setattr(fetch, "hear", stumble)

    fetch_now()
    fetched.work_until(lambda: fetched.b24.delivered(chat_id))

    assert Hearing.objects.get().problem == ""
