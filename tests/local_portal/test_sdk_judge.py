"""The official SDK as an independent judge: it must work with the portal unmodified.

Only its hard-coded `https://` and authorization host are pointed at loopback.
"""

from __future__ import annotations

import importlib

import pytest
from b24pysdk import errors
from b24pysdk.api.callers.call_method import call_method
from b24pysdk.api.requesters import BitrixOAuthRequester
from b24pysdk.credentials import BitrixApp, BitrixToken
from b24pysdk.credentials.oauth_event_data import OAuthEventData
from b24pysdk.credentials.oauth_placement_data import OAuthPlacementData
from b24pysdk.credentials.oauth_workflow_data import OAuthWorkflowData
from b24pysdk.errors import oauth as oauth_errors

from integrations.bitrix24.local_portal import LocalPortal
from tests.local_portal.conftest import Application, Caller

calling = importlib.import_module(call_method.__module__)


@pytest.fixture
def app(portal: LocalPortal, monkeypatch: pytest.MonkeyPatch) -> BitrixApp:
    monkeypatch.setattr(
        calling._MethodCaller, "_base_url", property(lambda self: f"http://{self._domain}/rest")
    )
    monkeypatch.setattr(
        BitrixOAuthRequester, "_OAUTH_TOKEN_URL", f"{portal.oauth_url}/oauth/token/"
    )
    monkeypatch.setattr(BitrixOAuthRequester, "_APP_INFO_URL", f"{portal.oauth_url}/rest/app.info/")
    return BitrixApp(client_id=portal.options.client_id, client_secret=portal.options.client_secret)


@pytest.fixture
def token(app: BitrixApp, portal: LocalPortal) -> BitrixToken:
    access, refresh = portal.issue_tokens(1)
    return BitrixToken(
        domain=portal.domain, auth_token=access, refresh_token=refresh, bitrix_app=app
    )


def test_sdk_calls_a_method_and_reads_its_time(token: BitrixToken) -> None:
    response = token.get_client().profile().response

    assert response.result["NAME"] == "Анна"
    assert response.time.duration >= 0


def test_sdk_refreshes_an_expired_token_and_repeats_the_call(
    token: BitrixToken, portal: LocalPortal
) -> None:
    before = token.auth_token
    portal.expire_access_tokens()

    result = token.get_client().profile().response.result

    assert result["ID"] == "1"
    assert token.auth_token != before


def test_sdk_sees_that_a_refresh_token_works_once(app: BitrixApp, token: BitrixToken) -> None:
    spent = token.refresh_token
    renewed = app.refresh_oauth_token(spent)

    assert renewed.oauth_token.refresh_token != spent
    with pytest.raises(oauth_errors.BitrixOAuthInvalidGrant):
        app.refresh_oauth_token(spent)


def test_sdk_exchanges_an_authorization_code(app: BitrixApp, portal: LocalPortal) -> None:
    portal.issue_tokens(1)
    code = portal.world.authority.new_code(portal.world, 1)

    assert app.get_oauth_token(code).member_id == portal.member_id
    with pytest.raises(oauth_errors.BitrixOAuthInvalidGrant):
        app.get_oauth_token(code)


def test_sdk_reads_app_info_of_the_authorization_server(
    app: BitrixApp, token: BitrixToken, portal: LocalPortal
) -> None:
    info = app.get_app_info(token.auth_token).result

    assert info.client_id == portal.options.client_id
    assert info.user_id == 1
    assert info.install.member_id == portal.member_id
    assert info.install.client_endpoint == portal.rest_endpoint
    assert info.install.installed


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("client_id", "app.stranger", oauth_errors.BitrixOauthWrongClient),
        ("client_secret", "wrong", oauth_errors.BitrixOAuthInvalidClient),
    ],
)
def test_sdk_knows_the_errors_of_wrong_keys(
    app: BitrixApp, token: BitrixToken, field: str, value: str, error: type[Exception]
) -> None:
    setattr(app, field, value)

    with pytest.raises(error):
        app.refresh_oauth_token(token.refresh_token)


def test_sdk_verifies_a_frame_post(app: BitrixApp, portal: LocalPortal) -> None:
    portal.install()
    form = portal.frame(7, "IM_SIDEBAR", {"dialogId": "chat112"})
    query = dict(pair.split("=") for pair in form.action.partition("?")[2].split("&"))
    payload = {**form.fields, **query, "DOMAIN": portal.domain}

    data = OAuthPlacementData.from_dict(payload)

    assert data.placement_options == {"dialogId": "chat112", "URI": "/online/"}
    info = app.get_app_info(data.oauth_token.access_token).result
    assert data.validate_against_app_info(info)


def test_sdk_parses_bound_events(
    admin: Caller, application: Application, portal: LocalPortal
) -> None:
    admin("event.bind", event="ONCRMLEADADD", handler=f"{application.url}/events/")
    number = portal.add_item(1, {"title": "Новый"})
    portal.wait_deliveries()

    event = OAuthEventData.from_dict(application.last("ONCRMLEADADD"))

    assert event.data == {"FIELDS": {"ID": str(number)}}
    assert event.auth.application_token == portal.application_token
    assert event.auth.user_id == 1


def test_sdk_parses_a_robot_call(
    admin: Caller, application: Application, portal: LocalPortal
) -> None:
    admin(
        "bizproc.robot.add",
        CODE="ai_reply",
        HANDLER=f"{application.url}/robot/",
        NAME="ИИ",
        USE_SUBSCRIPTION="Y",
        PROPERTIES={"text": {"Name": "Текст", "Type": "text"}},
    )
    portal.run_robot("ai_reply", {"text": "Когда приедет мастер?"}, "LEAD_77")
    portal.wait_deliveries()

    call = OAuthWorkflowData.from_dict(application.received[-1].form)

    assert call.code == "ai_reply"
    assert call.properties == {"text": "Когда приедет мастер?"}
    assert call.use_subscription


def test_sdk_batches_and_reads_errors_by_key(token: BitrixToken, portal: LocalPortal) -> None:
    portal.add_item(1, {"title": "Первый"})

    result = token.call_batch(
        {
            "lead": ("crm.item.get", {"entityTypeId": 1, "id": 77}),
            "next": ("crm.item.get", {"entityTypeId": 1, "id": "$result[lead][item][id]"}),
            "bad": ("crm.item.get", {"entityTypeId": 1, "id": 1}),
        }
    )["result"]

    assert result["result"]["next"]["item"]["title"] == "Первый"
    assert result["result_error"]["bad"]["error"] == "NOT_FOUND"
    assert result["result_total"] == []


def test_sdk_walks_a_long_list_page_by_page(token: BitrixToken, portal: LocalPortal) -> None:
    for number in range(120):
        portal.add_item(1, {"title": f"Лид {number}"})

    items = token.call_list("crm.item.list", {"entityTypeId": 1, "select": ["id"]})["result"]

    assert [item["id"] for item in items] == list(range(77, 197))


def test_sdk_walks_a_long_list_the_fast_way(token: BitrixToken, portal: LocalPortal) -> None:
    for number in range(70):
        portal.add_item(1, {"title": f"Лид {number}"})

    rows = list(token.call_list_fast("crm.lead.list", {"select": ["ID"]})["result"])

    assert [row["ID"] for row in rows] == [str(number) for number in range(77, 147)]


def test_sdk_writes_an_item_and_reads_it_back(token: BitrixToken) -> None:
    crm = token.get_client().crm
    added = crm.item.add(entity_type_id=1, fields={"title": "Котёл"}).response.result["item"]

    updated = crm.item.update(
        bitrix_id=added["id"],
        entity_type_id=1,
        fields={
            "opportunity": 12000,
            "fm": {"n0": {"typeId": "PHONE", "valueType": "WORK", "value": "+79991234567"}},
        },
    ).response.result["item"]

    assert updated["opportunity"] == 12000
    assert updated["phone"] == "+79991234567"


def test_sdk_maps_the_portals_errors(token: BitrixToken, portal: LocalPortal) -> None:
    with pytest.raises(errors.BitrixAPINotFound):
        token.call_method("crm.item.get", {"entityTypeId": 1, "id": 5})
    portal.world.switches.payment_required = True
    with pytest.raises(errors.BitrixAPIPaymentRequired):
        token.call_method("profile")


def test_sdk_sees_where_a_moved_portal_went(token: BitrixToken, portal: LocalPortal) -> None:
    portal.move_to("localhost")
    token._AUTO_CHANGED_DOMAIN = False

    with pytest.raises(errors.BitrixResponse302JSONDecodeError) as caught:
        token.call_method("profile")

    assert caught.value.redirect_url.startswith(f"http://{portal.domain}/rest/profile")
