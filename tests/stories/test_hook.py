"""A script, a form or a workflow asks over HTTP; the answer comes back and the card is filled."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from bx_gpt_app.assistant import quarantine
from bx_gpt_app.assistant.models import Call, Dialog, Run
from tests.factories import make_dialog


@pytest.fixture
def hook(world, client):
    """The hook of the world's portal, with a worker running beside it."""
    world.configure(mode="suggest")
    portal = world.portal
    token = portal.issue_hook_token()
    stop = threading.Event()

    def work():
        while not stop.is_set():
            world.work()
            connection.close()
            stop.wait(0.05)

    worker = threading.Thread(target=work)
    worker.start()

    def ask(data=None, *, json=True, query="", auth=True, **extra):
        headers = {"Authorization": f"Bearer {token}"} if auth else {}
        kind = {"content_type": "application/json"} if json else {}
        return client.post(
            f"/hooks/{portal.public_id}/{query}", data or {}, headers=headers, **kind, **extra
        )

    ask.token, ask.portal, ask.world = token, portal, world
    yield ask
    stop.set()
    worker.join()


def test_answer_comes_back_and_the_lead_is_filled(hook):
    lead_id = hook.world.b24.add_item(1, {"title": "Заявка с сайта"})

    response = hook(
        {
            "text": "Меня зовут Иван Петров, +7 916 123-45-67, хочу узнать цену котла",
            "type": "form",
            "entity_type": "lead",
            "entity_id": lead_id,
        }
    )

    answer = response.json()
    assert response.status_code == 200
    assert answer["status"] == "done"
    assert answer["fields"]["phone"] == "+79161234567"
    assert answer["fields"]["name"] == "Иван Петров"
    assert answer["reply"]
    assert 0 <= answer["confidence"] <= 1
    assert isinstance(answer["needs_human"], bool)
    assert answer["crm"]["entity_type"] == "lead"
    assert "PHONE" in answer["crm"]["updated"]
    lead = hook.world.b24.item(1, lead_id)
    assert hook.world.multifield(lead, "PHONE") == ["+79161234567"]
    assert (lead["name"], lead["lastName"]) == ("Иван", "Петров")


def test_form_and_query_are_understood_like_json(hook):
    response = hook({"text": "Здравствуйте"}, json=False, query="?type=chat&wait=20")

    assert response.status_code == 200
    assert response.json()["status"] == "done"


def test_same_idempotency_key_is_the_same_call(hook):
    first = hook({"text": "Здравствуйте", "idempotency_key": "order-1"}).json()
    second = hook({"text": "Другое", "idempotency_key": "order-1"}).json()

    assert first == second
    assert Call.objects.count() == 1


def test_caller_who_does_not_wait_fetches_the_answer_later(hook, client):
    response = hook({"text": "Здравствуйте", "wait": 0})

    assert response.status_code == 202
    pending = response.json()
    assert pending["status"] == "pending"
    hook.world.work_until(lambda: Call.objects.get().response is not None)
    fetched = client.get(pending["url"], headers={"Authorization": f"Bearer {hook.token}"})
    assert fetched.status_code == 200
    assert fetched.json()["id"] == pending["id"]
    assert client.get(pending["url"]).status_code == 401


def test_standard_webhook_step_sends_only_the_document_and_the_lead_is_read(hook):
    lead_id = hook.world.b24.add_item(
        1, {"title": "Заявка", "comments": "Иван Петров, телефон 8 916 123 45 67, нужен котёл"}
    )

    response = hook(
        {
            "document_id[0]": "crm",
            "document_id[1]": "CCrmDocumentLead",
            "document_id[2]": f"LEAD_{lead_id}",
        },
        json=False,
        query=f"?token={hook.token}",
        auth=False,
    )

    assert response.status_code == 202
    hook.world.work_until(lambda: Call.objects.get().response is not None)
    lead = hook.world.b24.item(1, lead_id)
    assert hook.world.multifield(lead, "PHONE") == ["+79161234567"]


def test_update_crm_off_leaves_the_card_alone(hook):
    lead_id = hook.world.b24.add_item(1, {"title": "Заявка"})

    answer = hook(
        {
            "text": "+7 916 123-45-67",
            "entity_type": "lead",
            "entity_id": lead_id,
            "update_crm": False,
        }
    ).json()

    assert answer["fields"]["phone"] == "+79161234567"
    assert answer["crm"]["updated"] == []
    assert hook.world.multifield(hook.world.b24.item(1, lead_id), "PHONE") == []


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        ({}, 400, "text_required"),
        ({"text": "x" * 20_001}, 413, "text_too_long"),
        ({"text": "a", "type": "carrier pigeon"}, 400, "invalid_parameter"),
        ({"text": "a", "entity_type": "lead"}, 400, "invalid_entity"),
        ({"text": "a", "entity_type": "nothing", "entity_id": 1}, 400, "invalid_entity"),
        ({"text": "a", "entity_type": "lead", "entity_id": "seven"}, 400, "invalid_parameter"),
        ({"text": "a", "wait": 56}, 400, "invalid_parameter"),
        ({"text": ["a"]}, 400, "invalid_parameter"),
    ],
)
def test_bad_question_gets_one_clear_sentence(hook, data, status, code):
    response = hook(data)

    assert (response.status_code, response.json()["error"]) == (status, code)
    assert response.json()["error_description"]


def test_nobody_gets_in_without_the_token(hook, client):
    url = f"/hooks/{hook.portal.public_id}/"

    assert client.post(url, {"text": "a"}).status_code == 401
    assert client.post(url, {"text": "a", "token": "wrong"}).status_code == 401
    assert client.post("/hooks/0000000000000000/", {"text": "a"}).status_code == 404
    assert not Dialog.objects.exists()


def test_new_token_ends_the_old_one(hook):
    hook.portal.issue_hook_token()

    assert hook({"text": "Здравствуйте"}).status_code == 401


def test_quota_of_calls_a_minute_is_a_429_that_says_when(hook):
    hook.world.configure(limits={"requests_per_minute": 1})

    first = hook({"text": "Здравствуйте", "wait": 0})
    second = hook({"text": "Здравствуйте", "wait": 0})

    assert (first.status_code, second.status_code) == (202, 429)
    assert int(second["Retry-After"]) > 0


def test_model_that_is_down_still_gives_the_data_and_says_why_there_is_no_more(hook, monkeypatch):
    from bx_gpt_app.assistant import pipeline

    monkeypatch.setattr(pipeline, "PATIENCE", timedelta(0))
    hook.world.model.set(mode="error")

    answer = hook({"text": "Перезвоните: +7 916 123-45-67", "wait": 20}).json()

    assert answer["status"] == "done"
    assert answer["needs_human"] is True
    assert answer["band"] == "unsure"
    assert answer["fields"]["phone"] == "+79161234567"
    assert answer["reason"]
    assert answer["error_description"].endswith(".")
    assert "позже" not in answer["error_description"]


def test_call_that_gets_no_turn_within_the_portals_limit_is_ended_with_words(
    world, client, monkeypatch
):
    from bx_gpt_app.assistant import pipeline

    world.configure(mode="suggest", limits={"requests_per_minute": 1})
    other = make_dialog(world.portal, 7)
    Run.objects.create(portal=world.portal, dialog=other, attempts=1)
    headers = {"Authorization": f"Bearer {world.portal.issue_hook_token()}"}
    url = f"/hooks/{world.portal.public_id}/"
    pending = client.post(url, {"text": "Здравствуйте", "wait": 0}, headers=headers).json()

    world.work()
    patient = client.get(pending["url"], headers=headers)
    monkeypatch.setattr(pipeline, "PATIENCE", timedelta(0))
    Dialog.objects.filter(kind=Dialog.Kind.HOOK).update(due_at=timezone.now())
    world.work()
    told = client.get(pending["url"], headers=headers).json()

    assert patient.status_code == 202
    assert (told["status"], told["reason"]) == ("done", "too_many_questions")
    assert told["needs_human"] is True
    assert told["error_description"]


def test_words_without_a_form_are_left_to_a_person(hook):
    hook.world.model.set(mode="text")

    answer = hook({"text": "Здравствуйте, подскажите, пожалуйста"}).json()

    assert answer["reply"]
    assert answer["confidence"] == 0.0
    assert answer["needs_human"] is True
    assert answer["band"] != "confident"


@pytest.mark.parametrize(
    ("asked", "told"), [(147, 147), ("147", "147"), ("Lead", "lead"), (1, 1)], ids=repr
)
def test_type_of_the_item_comes_back_as_it_was_asked(hook, asked, told):
    answer = hook({"text": "Здравствуйте", "entity_type": asked, "entity_id": 5}).json()

    assert answer["crm"]["entity_type"] == told
    assert answer["crm"]["entity_id"] == 5


def quarantined_call(world, client):
    """A call whose row holds what no code can read, worked at until workers gave it up."""
    world.configure(mode="suggest")
    headers = {"Authorization": f"Bearer {world.portal.issue_hook_token()}"}
    url = f"/hooks/{world.portal.public_id}/"
    pending = client.post(url, {"text": "Звоните: +7 916 123-45-67", "wait": 0}, headers=headers)
    Dialog.objects.update(items=["NONSENSE"])
    for _attempt in range(5):
        Dialog.objects.update(due_at=timezone.now())
        world.work()
    assert Dialog.objects.get().quarantined_at
    return lambda: client.get(pending.json()["url"], headers=headers)


def test_call_that_workers_gave_up_fails_for_its_caller_and_goes_on_when_it_is_retried(
    world, client
):
    fetch = quarantined_call(world, client)

    failed = fetch()
    Dialog.objects.update(items=[])
    quarantine.retry_dialogs(Dialog.objects.all())
    retried = fetch()
    world.work()
    done = fetch()

    assert failed.json()["status"] == "failed"
    assert failed.json()["error"] == "internal_error"
    assert failed.json()["error_description"]
    assert failed.json()["needs_human"] is True
    assert (retried.status_code, retried.json()["status"]) == (202, "pending")
    assert (done.status_code, done.json()["status"]) == (200, "done")
    assert done.json()["fields"]["phone"] == "+79161234567"


def test_call_that_an_administrator_closes_stays_failed(world, client):
    fetch = quarantined_call(world, client)

    quarantine.close_dialogs(Dialog.objects.all(), "a test")

    assert fetch().json()["status"] == "failed"


def test_call_of_a_portal_that_does_not_work_any_more_is_not_pending_for_ever(world, client):
    world.configure(mode="suggest")
    portal = world.portal
    headers = {"Authorization": f"Bearer {portal.issue_hook_token()}"}
    url = f"/hooks/{portal.public_id}/"
    pending = client.post(url, {"text": "Здравствуйте", "wait": 0}, headers=headers).json()
    portal.paused = True
    portal.save(update_fields=["paused"])

    told = client.get(pending["url"], headers=headers)
    portal.paused = False
    portal.save(update_fields=["paused"])

    assert (told.status_code, told.json()["error"]) == (503, "portal_not_working")
    assert int(told["Retry-After"]) > 0
    assert client.get(pending["url"], headers=headers).status_code == 202
