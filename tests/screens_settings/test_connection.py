"""How the bot's events come: chosen on the Connection screen, carried out by a task, told in words."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from django_ox.models import OxTask

from bx_gpt_app.inbox.models import Hearing
from tests.screens_settings.conftest import text_of


def enqueued() -> list[str]:
    return list(OxTask.objects.values_list("task_path", flat=True))


def test_fetching_is_chosen_and_the_bot_is_registered_anew(portal, admin):
    page = admin.get("connection/")
    assert page.context["events"]["health"] is None
    OxTask.objects.all().delete()

    answer = admin.post("connection/events/", {"events": "fetch"})

    portal.refresh_from_db()
    assert portal.fetches_events
    assert answer.context["poll_url"]
    assert enqueued() == ["bx_gpt_app.portals.tasks.rebind"]
    assert 'value="fetch" aria-describedby="id_events_1_hint" checked' in (
        admin.get("connection/").content.decode()
    )


@pytest.mark.parametrize(
    ("chosen", "values", "kind"),
    [
        ("webhook", {}, "ok"),
        ("smoke signals", {}, "warn"),
        ("", {}, "warn"),
        ("fetch", {"bot_api": "legacy"}, "warn"),
    ],
    ids=["as it is", "unknown", "nothing", "old portal"],
)
def test_choice_that_changes_nothing_says_so(portal, admin, chosen, values, kind):
    type(portal).objects.filter(pk=portal.pk).update(**values)
    OxTask.objects.all().delete()

    answer = admin.post("connection/events/", {"events": chosen})

    portal.refresh_from_db()
    assert answer.context["result"]["kind"] == kind
    assert not portal.fetches_events
    assert enqueued() == []


def test_old_portal_is_not_offered_the_choice(portal, admin):
    type(portal).objects.filter(pk=portal.pk).update(bot_api="legacy")

    assert 'name="events"' not in admin.get("connection/").content.decode()


@pytest.mark.parametrize(
    ("state", "kind", "said"),
    [
        ({}, "warn", "Ещё ничего не забирали."),
        ({"emptied_at": timedelta(0)}, "ok", "Последний раз забирали:"),
        (
            {"emptied_at": timedelta(hours=1)},
            "bad",
            "Никто не забирает: запущен ли фоновый процесс?",
        ),
        ({"emptied_at": timedelta(0), "problem": "unavailable"}, "bad", "Портал не отвечает."),
        ({"problem": "BOT_NOT_FOUND"}, "bad", "Битрикс24 не знает бота"),
        ({"problem": "ACCESS_DENIED"}, "bad", "ACCESS_DENIED"),
    ],
    ids=["new", "well", "no worker", "portal down", "no bot", "refused"],
)
def test_health_of_fetching_is_told_in_words(portal, admin, state, kind, said):
    type(portal).objects.filter(pk=portal.pk).update(fetches_events=True)
    ago = state.get("emptied_at")
    Hearing.objects.create(
        portal=portal,
        fetching=True,
        problem=state.get("problem", ""),
        emptied_at=None if ago is None else timezone.now() - ago,
    )

    page = admin.get("connection/")

    assert page.context["events"]["health"]["kind"] == kind
    assert said in text_of(page)
