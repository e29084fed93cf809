"""Money and what left for whom: counted by server, never added up over currencies."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from bx_gpt_app.assistant import notices, spending, store
from bx_gpt_app.assistant.models import Departure, Notice, Spending
from integrations.llm.question import Bill
from integrations.llm.values import Usage
from tests.factories import configure, make_grant, make_portal

ROUBLES = {"prices": {"input": 100, "output": 400, "currency": "RUB"}}


def make_bill(**values: Any) -> Bill:
    usage = values.pop("usage", None) or Usage(
        prompt_tokens=900, completion_tokens=100, costs={values.pop("currency", "RUB"): 2.5}
    )
    defaults: dict[str, Any] = {
        "provider_kind": "yandex",
        "model": "yandexgpt/latest",
        "origin": "https://llm.api.cloud.yandex.net",
        "own_network": False,
        "leaves_country": False,
        "calls": 1,
        "characters": 3000,
        "usage": usage,
        "masked": {"phone": 1},
        "left": {"name": 2},
    }
    return Bill(**{**defaults, **values})


ABROAD = {
    "provider_kind": "openai", "model": "gpt-4o-mini", "origin": "https://api.openai.com",
    "leaves_country": True, "currency": "USD",
}  # fmt: skip


def test_usage_of_two_currencies_has_two_sums_and_no_one_number():
    both = Usage(prompt_tokens=10, costs={"RUB": 2.5}) + Usage(prompt_tokens=5, costs={"USD": 0.1})
    same = Usage(costs={"RUB": 2.5}) + Usage(costs={"RUB": 1}) + Usage(prompt_tokens=1)

    assert (both.costs, both.cost, both.currency) == ({"RUB": 2.5, "USD": 0.1}, None, "")
    assert both.total_tokens == 15
    assert (same.costs, same.cost, same.currency) == ({"RUB": 3.5}, 3.5, "RUB")


def test_each_server_is_counted_on_its_own(db):
    portal = make_portal()

    with transaction.atomic():
        spending.record_calls(portal, [make_bill(), make_bill(**ABROAD)], prompt_number=3)
        spending.record_calls(portal, [make_bill(calls=2, masked={"phone": 2, "email": 1})])

    rows = Spending.objects.order_by("pk").values_list("model", "currency", "cost", "prompt_number")
    assert list(rows) == [
        ("yandexgpt/latest", "RUB", 2.5, 3),
        ("gpt-4o-mini", "USD", 2.5, 3),
        ("yandexgpt/latest", "RUB", 2.5, 0),
    ]
    yandex, openai = Departure.objects.order_by("pk")
    assert (yandex.place, openai.place) == ("country", "abroad")
    assert (yandex.requests, yandex.characters, yandex.tokens) == (3, 6000, 2000)
    assert yandex.masked == {"phone": 3, "email": 1}
    assert yandex.unmasked == {"name": 4}


@pytest.mark.parametrize(
    ("limits", "used", "uncounted"),
    [
        ({"daily_cost": 10}, 0.25, {"USD": 2.5}),
        ({"daily_cost": 10, "rates": {"USD": 2}}, 0.75, {}),
        ({"daily_cost": 10, "currency": "USD"}, 0.25, {"RUB": 2.5}),
        ({"daily_cost": 10, "currency": "EUR", "rates": {"USD": 1, "RUB": 0.1}}, 0.275, {}),
    ],
    ids=["of the model's price", "with a rate", "of another currency", "of a third one"],
)
def test_limits_of_money_never_add_roubles_to_dollars(db, limits, used, uncounted):
    portal = make_portal()
    config = configure(portal, llm=ROUBLES, limits=limits)
    spending.record_calls(portal, [make_bill(), make_bill(**ABROAD)])

    [budget] = spending.portal_budgets(portal, config)

    assert budget.used == pytest.approx(used)
    assert budget.currency == limits.get("currency", "RUB")
    assert spending.without_rate({"RUB": 2.5, "USD": 2.5}, config) == uncounted


def test_tokens_are_limited_whatever_they_are_paid_in(db):
    portal = make_portal()
    config = configure(portal, limits={"monthly_tokens": 4000})
    free = Usage(prompt_tokens=900, completion_tokens=100)
    spending.record_calls(portal, [make_bill(), make_bill(**ABROAD), make_bill(usage=free)])

    assert spending.budget(portal, config).used == 0.75


# ---- told ----


def spend(portal, amount: float) -> None:
    config = store.load(portal)[0]
    with transaction.atomic():
        spending.record_calls(portal, [make_bill(usage=Usage(costs={"RUB": amount}))])
        notices.watch_budget(portal, config)


def told(portal) -> list[tuple[int, str]]:
    return [
        (one.user_id, one.key.partition(f":{timezone.now().year}")[0])
        for one in Notice.objects.filter(portal=portal).order_by("pk")
    ]


def test_each_admin_is_told_once_that_a_limit_fills_up_and_once_that_it_is_used_up(db):
    portal = make_portal()
    make_grant(portal, kind="user", user_id=1)
    make_grant(portal, kind="user", user_id=5)
    make_grant(portal, kind="user", user_id=7, is_admin=False)
    configure(portal, llm=ROUBLES, limits={"daily_cost": 100})

    spend(portal, 79)
    before = told(portal)
    for _ in range(3):
        spend(portal, 2)
    close = told(portal)
    spend(portal, 20)
    spend(portal, 20)

    assert before == []
    assert close == [(1, "daily_cost:close"), (5, "daily_cost:close")]
    assert told(portal) == [*close, (1, "daily_cost:over"), (5, "daily_cost:over")]
    text = Notice.objects.first().text
    assert "81 %" in text
    assert "81,00 ₽" in text


def test_a_raised_limit_is_another_one(db):
    portal = make_portal()
    configure(portal, llm=ROUBLES, limits={"monthly_cost": 100})
    spend(portal, 85)
    configure(portal, llm=ROUBLES, limits={"monthly_cost": 200})
    spend(portal, 20)
    spend(portal, 60)

    assert told(portal) == [(1, "monthly_cost:close")] * 2


def test_the_database_keeps_a_notice_from_being_planned_twice(db):
    portal = make_portal()
    Notice.objects.create(portal=portal, key="k", user_id=1, text="…")

    with pytest.raises(IntegrityError), transaction.atomic():
        Notice.objects.create(portal=portal, key="k", user_id=1, text="…")


def test_without_limits_nothing_is_read(db, django_assert_num_queries):
    portal = make_portal()
    config = configure(portal)

    with django_assert_num_queries(0):
        notices.watch_budget(portal, config)
        assert spending.budget(portal, config).used == 0
