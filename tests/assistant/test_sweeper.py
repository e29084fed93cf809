"""The sweeper wakes as many dialogs as there are free lanes, whatever has piled up."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from bx_gpt_app.assistant import leases
from tests.factories import make_app, make_dialog, make_portal

pytestmark = pytest.mark.django_db


def make_due(portal, first: int, count: int, **values) -> None:
    for number in range(count):
        due_at = timezone.now() - timedelta(seconds=100 - number)
        make_dialog(portal, first + number, **{"due_at": due_at, **values})


def test_flood_in_one_portal_is_woken_lane_by_lane(settings):
    settings.PORTAL_LANES = 3
    flooded = make_portal()
    calm = make_portal(member_id="f" * 32, registration=make_app())
    make_due(flooded, 1, 10)
    make_due(calm, 1, 1)

    woken = leases.due_everywhere(100)

    oldest = flooded.dialogs.order_by("due_at").values_list("pk", flat=True)[:3]
    assert set(woken) == {*oldest, calm.dialogs.get().pk}


def test_portal_without_a_free_lane_is_not_woken_and_hides_nobody(settings):
    settings.PORTAL_LANES = 2
    busy = make_portal()
    calm = make_portal(member_id="f" * 32, registration=make_app())
    make_due(busy, 1, 2, leased_until=timezone.now() + timedelta(seconds=5))
    make_due(busy, 11, 5)
    make_due(calm, 1, 1)

    assert leases.due_everywhere(3) == [calm.dialogs.get().pk]
