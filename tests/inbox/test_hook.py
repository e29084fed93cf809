"""What the hook accepts and refuses at once, before any worker looks at it."""

from __future__ import annotations

import json
from urllib.parse import urlencode

import pytest

from bx_gpt_app.assistant.models import Call, Dialog, Event
from tests.factories import configure, make_portal

pytestmark = pytest.mark.django_db


@pytest.fixture
def ask(client):
    """A question that does not wait; returns the response."""
    portal = make_portal()
    configure(portal, limits={"requests_per_minute": 1000})
    token = portal.issue_hook_token()

    def post(data=None, *, query="", form=None, **more):
        body = {"text": "Здравствуйте", "wait": 0, **(data or {}), **more}
        url = f"/hooks/{portal.public_id}/{query}"
        headers = {"Authorization": f"Bearer {token}"}
        if form is not None:
            kind = "application/x-www-form-urlencoded"
            return client.post(url, urlencode(form), content_type=kind, headers=headers)
        return client.post(url, json.dumps(body), content_type="application/json", headers=headers)

    post.portal = portal
    return post


@pytest.mark.parametrize(
    "entity_id", [10**30, 2**31, -1, 0, 7.0, 7.5, True, False, "7.0", "-7", "1e3", "x", [7], {}]
)
def test_id_that_no_item_can_have_is_refused_at_once(ask, entity_id):
    response = ask(entity_type="lead", entity_id=entity_id)

    assert response.status_code == 400
    assert "'entity_id'" in response.json()["error_description"]
    assert not Dialog.objects.exists()


@pytest.mark.parametrize(
    "entity_type",
    [10**12, 10**30, 2**31, -1, 0, 5, 14, 127, 147.0, True, False, "order", "quote", "14", "T93",
     "DYNAMIC_147", "L", "147.0", "١٤٧", "smart_invoice", "nothing", ["lead"]],
)  # fmt: skip
def test_type_that_is_none_of_the_contracts_is_refused_at_once(ask, entity_type):
    response = ask(entity_type=entity_type, entity_id=7)

    assert response.status_code == 400
    assert "'entity_type'" in response.json()["error_description"]
    assert not Dialog.objects.exists()


@pytest.mark.parametrize(
    ("entity_type", "item"),
    [("lead", "LEAD_77"), ("Deal", "DEAL_77"), ("contact", "CONTACT_77"), ("company", "COMPANY_77"),
     (1, "LEAD_77"), ("2", "DEAL_77"), (7, "QUOTE_77"), (31, "SMART_INVOICE_77"),
     (128, "DYNAMIC_128_77"), (147, "DYNAMIC_147_77"), ("147", "DYNAMIC_147_77"),
     (2**31 - 1, "DYNAMIC_2147483647_77")],
)  # fmt: skip
def test_every_type_of_the_universal_methods_is_taken(ask, entity_type, item):
    response = ask(entity_type=entity_type, entity_id="77")

    assert response.status_code == 202
    assert Event.objects.get().payload["item"] == item
    assert Dialog.objects.get().items == [item]


@pytest.mark.parametrize(
    ("field", "value"),
    [("text", 5), ("text", True), ("text", ["a"]), ("text", {"a": 1}),
     ("wait", True), ("wait", False), ("wait", -1), ("wait", 55.5), ("wait", "soon"),
     ("wait", "nan"), ("wait", float("nan")), ("wait", float("inf")), ("wait", [1]),
     ("type", "pigeon"), ("type", 1), ("update_crm", 2), ("update_crm", 1.0), ("update_crm", []),
     ("update_crm", "maybe"), ("dialog_id", 1.5), ("dialog_id", True), ("dialog_id", "x" * 41),
     ("idempotency_key", 5), ("idempotency_key", "x" * 201)],
)  # fmt: skip
def test_value_of_another_kind_is_refused_with_its_name(ask, field, value):
    response = ask({field: value})

    assert response.status_code == 400
    told = response.json()["error_description"]
    assert f"'{field}'" in told
    assert "Value error" not in told
    assert not Call.objects.exists()


@pytest.mark.parametrize(
    "data",
    [{"wait": "0"}, {"wait": 0.0}, {"update_crm": "Y"}, {"update_crm": 0}, {"dialog_id": 112},
     {"entity_type": "", "entity_id": ""}, {"entity_type": None, "entity_id": None}],
)  # fmt: skip
def test_loose_but_clear_values_are_taken(ask, data):
    assert ask(data).status_code == 202


def step(document: str, *, query: str, ask):
    """A call as the portal's own "outgoing webhook" step makes it (its answer is ignored)."""
    body = {"document_id[0]": "crm", "document_id[1]": "CCrmDocument", "document_id[2]": document}
    return ask(query=query, form=body)


@pytest.mark.parametrize(
    ("query", "document", "item"),
    [
        ("?text=Hello&entity_id=77", "LEAD_77", "LEAD_77"),
        ("?text=Hello&entity_type=lead", "LEAD_77", "LEAD_77"),
        ("?text=Hello&entity_type=147", "DYNAMIC_147_1", "DYNAMIC_147_1"),
        ("?text=Hello&entity_type=company&entity_id=5", "LEAD_77", "COMPANY_5"),
        ("?text=Hello", "LEAD_77", "LEAD_77"),
        ("", "LEAD_77", "LEAD_77"),
        ("?text=Hello", "4711", ""),
        ("?text=Hello", f"LEAD_{10**30}", ""),
        ("?text=Hello", f"DYNAMIC_{10**8}99_5", ""),
        ("?text=Hello", "LEAD_99999999999999999999", ""),
        ("?text=Hello", "ORDER_5", ""),
    ],
)
def test_webhook_step_is_answered_at_once_and_its_document_names_the_card(
    ask, query, document, item
):
    response = step(document, query=query, ask=ask)

    assert response.status_code == 202
    assert Event.objects.get().payload["item"] == item


@pytest.mark.parametrize("query", ["?text=Hello&entity_id=78", "?text=Hello&entity_type=deal"])
def test_half_an_item_that_contradicts_the_document_is_refused(ask, query):
    response = step("LEAD_77", query=query, ask=ask)

    assert response.status_code == 400
    assert response.json()["error"] == "invalid_entity"
    assert not Dialog.objects.exists()


@pytest.mark.parametrize("query", ["?entity_id=77", "?text=%20&entity_type=lead"])
def test_half_an_item_without_a_document_is_refused(ask, query):
    response = ask(query=query, form={"text": "Hello"})

    assert response.status_code == 400
    assert "go together" in response.json()["error_description"]
