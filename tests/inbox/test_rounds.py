"""When portals are caught up: every ten minutes, and at once after nobody lived for a while."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db.models import F
from django.utils import timezone
from django_ox.models import OxTask

from bx_gpt_app.inbox.catch_up import ROUND_SECONDS, catch_up_everywhere, heartbeat
from bx_gpt_app.inbox.models import Heartbeat
from tests.factories import make_portal

pytestmark = pytest.mark.django_db


def planned() -> list[OxTask]:
    tasks = OxTask.objects.filter(task_path__endswith="catch_up.catch_up")
    return list(tasks.order_by(F("run_after").asc(nulls_first=True)))


@pytest.mark.parametrize(
    ("silent_for", "caught_up"), [(None, False), (30, False), (90, True)], ids=str
)
def test_gap_of_more_than_a_minute_starts_a_round_at_once(silent_for, caught_up):
    portal = make_portal()
    if silent_for is not None:
        Heartbeat.objects.create(pk=1, at=timezone.now() - timedelta(seconds=silent_for))

    assert heartbeat.call() is caught_up
    assert heartbeat.call() is False, "a gap is noticed once"

    assert [task.args for task in planned()] == ([[portal.pk]] if caught_up else [])


def test_round_takes_the_liveliest_portals_first_and_spreads_hundreds():
    now = timezone.now()
    heard = {"a": None, "b": now, "c": now - timedelta(hours=1)}
    ids = {
        name: make_portal(member_id=name * 32, grant=False, last_event_at=at).pk
        for name, at in heard.items()
    }
    for name, values in {"d": {"state": "broken"}, "e": {"paused": True}}.items():
        make_portal(member_id=name * 32, grant=False, **values)

    catch_up_everywhere.call()

    assert [task.args[0] for task in planned()] == [ids["b"], ids["c"], ids["a"]]
    first, second, third = (task.run_after for task in planned())
    assert first is None or first <= now + timedelta(seconds=1)
    assert third - second == timedelta(seconds=0.5)


def test_round_of_very_many_portals_ends_within_its_time():
    for number in range(700):
        make_portal(member_id=f"{number:032x}", grant=False)
    began = timezone.now()

    catch_up_everywhere.call()

    tasks = planned()
    assert len(tasks) == 700
    assert max(task.run_after for task in tasks[1:]) < began + timedelta(seconds=ROUND_SECONDS + 5)
