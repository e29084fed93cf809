"""Numbers for screens, whatever the zones of the host and of the person who looks."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from bx_gpt_app.assistant import statistics
from bx_gpt_app.assistant.models import Spending
from tests.factories import make_portal

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("zone", ["UTC", "Europe/Moscow", "Asia/Kamchatka"])
def test_money_of_yesterday_is_not_counted_as_todays(zone):
    portal, today = make_portal(), statistics.spending_day()
    for day, cost in ((today, 10.0), (today - timedelta(days=1), 7.0)):
        Spending.objects.create(portal=portal, day=day, model="m", cost=cost, currency="RUB")

    with timezone.override(zone):
        found = statistics.figures(portal, statistics.start_of_day(timezone.localdate()))

    assert found.cost == {"RUB": 10.0}
