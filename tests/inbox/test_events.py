"""The event address: verified, stored once, answered at once."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
from django_ox.models import OxTask

from bx_gpt_app.assistant.models import Dialog, Event
from bx_gpt_app.portals.models import Grant, Portal
from tests.factories import APPLICATION_TOKEN, MEMBER_ID, configure, make_portal

pytestmark = pytest.mark.django_db

URL = "/b24/default/events/"


def message_form(**changes: str) -> dict[str, str]:
    """A client's message as the portal's queue posts it."""
    form = {
        "event": "ONIMBOTV2MESSAGEADD",
        "event_handler_id": "31",
        "ts": "1787000001",
        "data[bot][id]": "456",
        "data[bot][code]": "ai_colleague_default",
        "data[message][id]": "90101",
        "data[message][chatId]": "112",
        "data[message][authorId]": "880",
        "data[message][date]": "2026-08-21T10:00:00+03:00",
        "data[message][text]": "Когда приедет мастер?",
        "data[message][isSystem]": "0",
        "data[chat][id]": "112",
        "data[chat][dialogId]": "chat112",
        "data[chat][type]": "lines",
        "data[chat][entityType]": "LINES",
        "data[chat][entityId]": "telegrambot|22|998877|880",
        "data[chat][entityData1]": "Y|LEAD|77|N|N|4411|1787000000|0|0|0",
        "data[chat][entityData2]": "LEAD|77|COMPANY|0|CONTACT|0|DEAL|0",
        "data[user][id]": "880",
        "data[user][name]": "Иван",
        "data[user][connector]": "1",
        "data[user][bot]": "0",
        "data[language]": "ru",
        "auth[domain]": "acme.bitrix24.ru",
        "auth[member_id]": MEMBER_ID,
        "auth[application_token]": APPLICATION_TOKEN,
    }
    return {**form, **changes}


def post(client, form: dict[str, str], url: str = URL):
    return client.post(url, urlencode(form), content_type="application/x-www-form-urlencoded")


def test_message_is_stored_with_its_dialog_and_a_worker_is_woken(client):
    make_portal()

    response = post(client, message_form())

    assert response.status_code == 200
    event = Event.objects.get()
    assert (event.kind, event.dialog.key) == ("message", "112")
    assert event.payload["text"] == "Когда приедет мастер?"
    assert event.dialog.due_at > event.received_at  # the quiet time
    assert OxTask.objects.get().run_after == event.dialog.due_at


def test_same_event_twice_is_stored_once(client):
    make_portal()

    codes = [post(client, message_form()).status_code for _ in range(2)]

    assert codes == [200, 200]
    assert Event.objects.count() == 1
    assert OxTask.objects.count() == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"auth[application_token]": "0" * 32},
        {"auth[application_token]": ""},
        {"auth[member_id]": "f" * 32},
    ],
    ids=["wrong token", "empty token", "unknown portal"],
)
def test_unproven_event_is_refused_and_leaves_no_trace(client, changes):
    make_portal()

    response = post(client, message_form(**changes))

    assert response.status_code == 403
    assert response.json()["error"] == "forbidden"
    assert not Event.objects.exists()
    assert not Dialog.objects.exists()


def test_portal_without_a_stored_token_believes_nobody(client):
    make_portal(application_token="")

    assert post(client, message_form(**{"auth[application_token]": ""})).status_code == 403


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", "application/x-www-form-urlencoded"),
        (b"hello=world", "application/x-www-form-urlencoded"),
        (b"{not json", "application/json"),
        (b"[1, 2]", "application/json"),
        (b"\xff\xfe\x00", "application/octet-stream"),
        (b"event=ONCRMLEADADD", "application/x-www-form-urlencoded"),
    ],
)
def test_body_that_is_not_bitrix24s_is_a_400_in_json(client, body, content_type):
    make_portal()

    response = client.post(URL, body, content_type=content_type)

    assert response.status_code == 400
    assert set(response.json()) == {"error", "error_description"}


def test_known_but_unwanted_event_is_answered_and_dropped(client):
    make_portal()
    form = {k: v for k, v in message_form().items() if not k.startswith("data")}

    response = post(client, {**form, "event": "ONCRMQUOTEADD", "data[FIELDS][ID]": "7"})

    assert response.status_code == 200
    assert not Event.objects.exists()


def test_json_body_is_understood_too(client):
    make_portal()
    data = {
        "event": "ONIMBOTV2MESSAGEADD",
        "data": {
            "bot": {"id": 456},
            "message": {
                "id": 5,
                "chatId": 112,
                "authorId": 880,
                "text": "Здравствуйте",
                "date": "",
            },
            "chat": {
                "id": 112,
                "dialogId": "chat112",
                "entityType": "LINES",
                "entityId": "livechat|22|1|880",
            },
            "user": {"id": 880, "connector": True, "bot": False, "name": "Иван"},
        },
        "auth": {"member_id": MEMBER_ID, "application_token": APPLICATION_TOKEN},
    }

    response = client.post(URL, data, content_type="application/json")

    assert response.status_code == 200
    assert Event.objects.get().payload["author"] == "client"


def test_line_that_is_off_stores_nothing(client):
    configure(make_portal(), mode="off")

    assert post(client, message_form()).status_code == 200
    assert not Event.objects.exists()


def test_message_of_a_private_chat_is_dropped(client):
    make_portal()

    response = post(
        client, message_form(**{"data[chat][entityType]": "", "data[chat][entityId]": ""})
    )

    assert response.status_code == 200
    assert not Event.objects.exists()


def test_suspended_portal_is_answered_but_stores_nothing(client):
    make_portal(state="suspended")

    assert post(client, message_form()).status_code == 200
    assert not Event.objects.exists()


def test_uninstall_takes_all_secrets_at_once(client):
    portal = make_portal()
    portal.issue_hook_token()
    form = {
        "event": "ONAPPUNINSTALL",
        "data[CLEAN]": "0",
        "auth[member_id]": MEMBER_ID,
        "auth[application_token]": APPLICATION_TOKEN,
    }

    response = post(client, form)

    portal.refresh_from_db()
    assert response.status_code == 200
    assert portal.state == "gone"
    assert (portal.application_token, portal.hook_token_hash) == ("", "")
    assert not Grant.objects.exists()
    assert post(client, message_form()).status_code == 403


def test_uninstall_with_clean_erases_the_data_as_well(client):
    configure(make_portal(), mode="auto")
    post(client, message_form())

    post(
        client,
        {
            "event": "ONAPPUNINSTALL",
            "data[CLEAN]": "1",
            "auth[member_id]": MEMBER_ID,
            "auth[application_token]": APPLICATION_TOKEN,
        },
    )

    portal = Portal.objects.get()
    assert not Dialog.objects.exists()
    assert not Event.objects.exists()
    assert not hasattr(portal, "configuration")


def test_unproven_uninstall_changes_nothing(client):
    make_portal()

    response = post(
        client,
        {
            "event": "ONAPPUNINSTALL",
            "auth[member_id]": MEMBER_ID,
            "auth[application_token]": "x" * 32,
        },
    )

    assert response.status_code == 403
    assert Portal.objects.get().state == "active"


def test_unknown_app_is_a_404(client):
    assert post(client, message_form(), url="/b24/nobody/events/").status_code == 404


@pytest.mark.parametrize("method", ["get", "head"])
@pytest.mark.parametrize("url", [URL, "/b24/default/robot/ai_reply/"])
def test_browser_gets_a_plain_page(client, method, url):
    assert getattr(client, method)(url).status_code == 200


def test_event_request_makes_few_queries(client, django_assert_max_num_queries):
    make_portal()
    post(client, message_form())

    with django_assert_max_num_queries(14):
        post(client, message_form(**{"data[message][id]": "90102"}))
