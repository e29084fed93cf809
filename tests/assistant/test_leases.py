"""Leases: one worker per dialog, fair lanes, nothing forgotten, claims by index."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from bx_gpt_app.assistant import leases
from bx_gpt_app.assistant.models import Dialog, Event
from tests.factories import make_dialog, make_portal

pytestmark = pytest.mark.django_db


def due(portal, chat_id, seconds_ago=1, **values) -> Dialog:
    return make_dialog(
        portal, chat_id, due_at=timezone.now() - timedelta(seconds=seconds_ago), **values
    )


def test_only_one_takes_a_dialog():
    dialog = due(make_portal(), 1)

    assert leases.take(dialog.pk)
    assert leases.take(dialog.pk) is None


def test_dialog_that_is_not_due_is_left_alone():
    dialog = make_dialog(make_portal(), 1, due_at=timezone.now() + timedelta(seconds=5))

    assert leases.take(dialog.pk) is None


def test_expired_lease_is_taken_over_and_the_old_holder_writes_nothing():
    dialog = due(make_portal(), 1)
    frozen = leases.take(dialog.pk)
    Dialog.objects.update(leased_until=timezone.now() - timedelta(seconds=1))

    new = leases.take(dialog.pk)

    assert new.token != frozen.token
    with pytest.raises(leases.LeaseLost):
        frozen.write(title="written by a ghost")
    assert frozen.release(None) is None
    assert Dialog.objects.get().lease == new.token


def test_portal_fills_its_lanes_and_no_more(settings):
    settings.PORTAL_LANES = 2
    busy, other = make_portal(), make_portal(member_id="f" * 32)
    dialogs = [due(busy, n) for n in range(1, 4)]

    taken = [leases.take(dialog.pk) for dialog in dialogs]

    assert [bool(lease) for lease in taken] == [True, True, False]
    assert leases.take(due(other, 9).pk)


def test_free_lane_takes_the_longest_waiting_dialog():
    portal = make_portal()
    due(portal, 1, seconds_ago=5)
    oldest = due(portal, 2, seconds_ago=50)

    assert leases.next_due(portal.pk) == oldest.pk


def test_release_looks_for_what_was_heard_meanwhile():
    portal = make_portal()
    dialog = due(portal, 1)
    lease = leases.take(dialog.pk)
    Event.objects.create(portal=portal, dialog=dialog, source_key="late", kind="message")

    assert lease.release(None) is not None
    assert leases.take(dialog.pk)


@pytest.mark.parametrize("values", [{"state": "suspended"}, {"paused": True}, {"state": "gone"}])
def test_portal_that_does_not_work_is_not_worked_for(values):
    dialog = due(make_portal(**values), 1)

    assert leases.take(dialog.pk) is None
    assert leases.due_everywhere(10) == []


def test_forgotten_work_becomes_due_again():
    portal = make_portal()
    dialog = make_dialog(portal, 1, due_at=None)
    Event.objects.create(
        portal=portal,
        dialog=dialog,
        source_key="forgotten",
        kind="message",
        received_at=timezone.now() - timedelta(minutes=5),
    )

    assert leases.repair() == 1
    assert leases.due_everywhere(10) == [dialog.pk]


def test_quarantined_dialog_waits_for_a_person():
    dialog = due(make_portal(), 1, quarantined_at=timezone.now())

    assert leases.take(dialog.pk) is None


def test_sweeper_finds_due_dialogs_by_the_partial_index():
    now = timezone.now()
    query = Dialog.objects.filter(due_at__lte=now).order_by("due_at").values_list("pk")

    if connection.vendor == "sqlite":
        plan = query.explain()
    else:
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
        plan = query.explain()

    assert "dialog_due" in plan
