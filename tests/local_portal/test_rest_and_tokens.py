"""Tokens, limits, faults, batch and the authorization server."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from integrations.bitrix24.local_portal import LocalPortal
from integrations.bitrix24.local_portal.oauth import Authority
from tests.local_portal.conftest import Application, Caller


def refresh(portal: LocalPortal, token: str) -> requests.Response:
    return requests.get(
        f"{portal.oauth_url}/oauth/token/",
        params={
            "grant_type": "refresh_token",
            "client_id": portal.options.client_id,
            "client_secret": portal.options.client_secret,
            "refresh_token": token,
        },
        timeout=5,
    )


# ---------------------------------------------------------------------- tokens


@pytest.mark.parametrize("where", ["query", "form", "json", "bearer", "access_token"])
def test_token_is_accepted_wherever_a_portal_accepts_it(
    portal: LocalPortal, admin: Caller, where: str
) -> None:
    url = f"{portal.rest_endpoint}profile.json"
    sent: dict[str, dict[str, Any]] = {
        "query": {"params": {"auth": admin.token}},
        "form": {"data": {"auth": admin.token}},
        "json": {"json": {"auth": admin.token}},
        "bearer": {"headers": {"Authorization": f"Bearer {admin.token}"}},
        "access_token": {"data": {"access_token": admin.token}},
    }

    answer = requests.post(url, timeout=5, **sent[where])

    assert answer.json()["result"]["ID"] == "1"


def test_bearer_wins_over_the_parameter(portal: LocalPortal, admin: Caller) -> None:
    answer = requests.post(
        f"{portal.rest_endpoint}profile",
        json={"auth": admin.token},
        headers={"Authorization": "Bearer nonsense"},
        timeout=5,
    )

    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")


def test_tokens_are_refused_with_the_documented_codes(portal: LocalPortal, admin: Caller) -> None:
    good = admin.token
    admin.token = ""
    assert admin.error("profile") == (401, "NO_AUTH_FOUND")
    admin.token = "a" * 70
    assert admin.error("profile") == (401, "invalid_token")
    admin.token = good
    portal.expire_access_tokens()
    assert admin.error("profile") == (401, "expired_token")
    fresh = refresh(portal, admin.refresh_token).json()
    admin.token = fresh["access_token"]
    assert admin("profile")["ID"] == "1"
    portal.dismiss(1)
    assert admin.error("profile") == (401, "authorization_error")


def test_tokens_live_as_long_as_told(make_portal: Callable[..., LocalPortal]) -> None:
    portal = make_portal(token_lifetime_seconds=1)
    admin = Caller(portal)
    assert admin("profile")["ID"] == "1"

    time.sleep(1.05)

    assert admin.error("profile") == (401, "expired_token")
    admin.session.close()


def test_killed_refresh_tokens_are_invalid_grants(portal: LocalPortal, admin: Caller) -> None:
    portal.kill_refresh_tokens()

    answer = refresh(portal, admin.refresh_token)

    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


def test_refresh_tells_the_endpoints_and_whose_token_it_is(
    portal: LocalPortal, operator: Caller
) -> None:
    tokens = refresh(portal, operator.refresh_token).json()

    assert tokens["client_endpoint"] == portal.rest_endpoint
    assert tokens["server_endpoint"] == f"{portal.oauth_url}/rest/"
    assert tokens["member_id"] == portal.member_id
    assert tokens["user_id"] == 7
    assert tokens["expires_in"] == 3600


def test_portals_of_one_market_app_share_an_authorization_server(
    make_portal: Callable[..., LocalPortal],
) -> None:
    first = make_portal()
    second = make_portal(issuer=first)
    stranger = Caller(second)

    tokens = refresh(first, stranger.refresh_token).json()

    assert second.oauth_url == first.oauth_url
    assert tokens["member_id"] == second.member_id
    assert tokens["client_endpoint"] == second.rest_endpoint
    stranger.token = tokens["access_token"]
    stranger.portal = first
    assert stranger.error("profile") == (401, "invalid_token")
    stranger.session.close()


def test_old_tokens_are_forgotten_first(
    portal: LocalPortal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("integrations.bitrix24.local_portal.oauth.TOKENS_KEPT", 3)
    authority = Authority()
    authority.serve(portal.world)

    grants = [authority.issue(portal.world, 1) for _ in range(5)]

    assert [authority.find(one.access_token) is not None for one in grants] == [
        False,
        False,
        True,
        True,
        True,
    ]


def test_authorization_code_flow_returns_to_the_application(portal: LocalPortal) -> None:
    portal.issue_tokens(1)

    answer = requests.get(
        f"{portal.url}/oauth/authorize/",
        params={"client_id": portal.options.client_id, "state": "s1"},
        allow_redirects=False,
        timeout=5,
    )

    location = urlsplit(answer.headers["Location"])
    query = {key: value[0] for key, value in parse_qs(location.query).items()}
    assert location.path == "/b24/default/oauth/callback/"
    assert query["state"] == "s1"
    assert query["member_id"] == portal.member_id
    assert query["domain"] == portal.domain


@pytest.mark.parametrize(
    ("token", "status", "error"),
    [("", 401, "NO_AUTH_FOUND"), ("junk", 401, "NO_AUTH_FOUND"), ("f" * 70, 400, "invalid_client")],
)
def test_app_info_refuses_foreign_tokens(
    portal: LocalPortal, token: str, status: int, error: str
) -> None:
    answer = requests.get(f"{portal.oauth_url}/rest/app.info/", params={"auth": token}, timeout=5)

    assert (answer.status_code, answer.json()["error"]) == (status, error)


# ---------------------------------------------------------------------- limits and trouble


def test_bucket_overflows_with_503_and_drains(make_portal: Callable[..., LocalPortal]) -> None:
    portal = make_portal(rate=20.0, burst=5.0)
    admin = Caller(portal)

    answers = [admin.answer("server.time")[0] for _ in range(12)]

    assert answers[:5] == [200] * 5
    assert 503 in answers[5:]
    assert admin.answer("server.time")[1].get("error") in (None, "QUERY_LIMIT_EXCEEDED")
    time.sleep(0.2)
    assert admin.answer("server.time")[0] == 200
    admin.session.close()


def test_exhausted_method_is_blocked_alone(portal: LocalPortal, admin: Caller) -> None:
    portal.exhaust_method("crm.item.list", seconds=0.15)

    assert admin.error("crm.item.list", entityTypeId=1) == (429, "OPERATION_TIME_LIMIT")
    assert admin("profile")["ID"] == "1"
    time.sleep(0.2)
    assert admin("crm.item.list", entityTypeId=1) == {"items": []}


def test_successful_answers_tell_the_operating_time(admin: Caller) -> None:
    _, body = admin.answer("profile")

    assert body["time"]["operating_reset_at"] > time.time()
    assert body["time"]["operating"] >= 0


def test_scope_that_was_not_granted(make_portal: Callable[..., LocalPortal]) -> None:
    portal = make_portal(scopes=("im",))
    admin = Caller(portal)

    assert admin.error("crm.item.fields", entityTypeId=1) == (403, "insufficient_scope")
    assert admin.error("event.bind", event="ONCRMLEADADD", handler="https://a.ru/") == (
        400,
        "ERROR_EVENT_NOT_FOUND",
    )
    assert admin("scope") == ["im"]
    assert admin("method.get", name="crm.item.get") == {"isExisting": True, "isAvailable": False}
    admin.session.close()


def test_switches_stop_everything(portal: LocalPortal, admin: Caller) -> None:
    switches = portal.world.switches
    switches.payment_required = True
    assert admin.error("profile") == (401, "PAYMENT_REQUIRED")
    assert refresh(portal, admin.refresh_token).json()["error"] == "PAYMENT_REQUIRED"
    switches.payment_required = False
    switches.rest_plan_off = True
    assert admin.error("profile") == (403, "ACCESS_DENIED")
    switches.rest_plan_off = False
    switches.missing_methods = {"profile"}
    assert admin.error("profile") == (404, "ERROR_METHOD_NOT_FOUND")


def test_bot_tokens_may_not_touch_crm(portal: LocalPortal, admin: Caller, bot_id: int) -> None:
    bot = Caller(portal, bot_id)

    answer = bot.error("crm.item.fields", entityTypeId=1)

    assert answer == (403, "allowed_only_intranet_user")
    bot.session.close()


def test_old_domain_redirects_and_keeps_nothing_of_the_body(
    portal: LocalPortal, admin: Caller
) -> None:
    old = portal.rest_endpoint
    portal.move_to("localhost")

    answer = requests.post(f"{old}profile", json={"auth": "x"}, allow_redirects=False, timeout=5)

    assert answer.status_code == 302
    assert answer.headers["Location"] == f"{portal.rest_endpoint}profile"
    assert admin("profile")["ID"] == "1"


def test_planned_fault_comes_once(portal: LocalPortal, admin: Caller) -> None:
    portal.fail_next("profile", 500, "INTERNAL_SERVER_ERROR")

    assert admin.error("profile") == (500, "INTERNAL_SERVER_ERROR")
    assert admin("profile")["ID"] == "1"


def test_work_may_be_done_although_nobody_answers(portal: LocalPortal, admin: Caller) -> None:
    portal.fail_next("crm.item.add", after_executing=True, drop=True)

    with pytest.raises(requests.ConnectionError):
        admin("crm.item.add", entityTypeId=1, fields={"title": "Котёл"})

    assert portal.item(1, 77)["title"] == "Котёл"


def test_portal_that_is_down_drops_or_shows_a_page(portal: LocalPortal, admin: Caller) -> None:
    portal.go_down("drop")
    with pytest.raises(requests.ConnectionError):
        admin("profile")
    portal.go_down("html")
    answer = requests.post(f"{portal.rest_endpoint}profile", timeout=5)
    assert (answer.status_code, answer.headers["Content-Type"]) == (502, "text/html; charset=utf-8")
    assert refresh(portal, admin.refresh_token).status_code == 200
    portal.come_up()
    assert admin("profile")["ID"] == "1"


def test_latency_is_added_to_every_call(make_portal: Callable[..., LocalPortal]) -> None:
    admin = Caller(make_portal(latency_ms=60))
    started = time.monotonic()

    admin("profile")

    assert time.monotonic() - started >= 0.06
    admin.session.close()


def test_log_keeps_calls_without_tokens(portal: LocalPortal, admin: Caller) -> None:
    admin("batch", cmd={"a": "profile"})
    admin.error("crm.item.get", entityTypeId=1, id=1)

    assert [(one.method, one.status, one.in_batch) for one in portal.rest_log] == [
        ("profile", 200, True),
        ("batch", 200, False),
        ("crm.item.get", 400, False),
    ]
    assert admin.token not in str(portal.rest_log)


# ---------------------------------------------------------------------- batch


def test_batch_answers_200_with_lists_for_empty_maps(admin: Caller) -> None:
    status, body = admin.answer("batch", cmd={"bad": "nope"})

    assert status == 200
    assert body["result"]["result"] == []
    assert body["result"]["result_next"] == []
    assert body["result"]["result_error"]["bad"]["error"] == "ERROR_METHOD_NOT_FOUND"


def test_batch_replaces_references_after_decoding(portal: LocalPortal, admin: Caller) -> None:
    portal.add_item(1, {"title": "Секрет"})

    result = admin(
        "batch",
        cmd={
            "lead": "crm.item.get?entityTypeId=1&id=77",
            "add": "crm.item.add?entityTypeId=1&fields[title]=клиент+сказал+"
            "%24result%5Blead%5D%5Bitem%5D%5Btitle%5D",
        },
    )["result"]

    assert result["add"]["item"]["title"] == "клиент сказал Секрет"


def test_batch_refuses_more_than_fifty_and_nesting(admin: Caller) -> None:
    commands = {f"c{number}": "server.time" for number in range(51)}
    errors = admin("batch", cmd=commands)["result_error"]
    assert errors["c50"]["error"] == "ERROR_BATCH_LENGTH_EXCEEDED"
    assert len(errors) == 1

    nested = admin("batch", cmd={"a": "batch?cmd[x]=profile"})["result_error"]
    assert nested["a"]["error"] == "ERROR_BATCH_METHOD_NOT_ALLOWED"


def test_batch_stops_at_the_first_error_when_told(admin: Caller) -> None:
    commands = {"a": "nope", "b": "server.time"}

    assert "b" in admin("batch", cmd=commands, halt=0)["result"]
    assert admin("batch", cmd=commands, halt=1)["result"] == []


def test_expired_token_fails_the_whole_batch(portal: LocalPortal, admin: Caller) -> None:
    portal.expire_access_tokens()

    assert admin.error("batch", cmd={"a": "profile"}) == (401, "expired_token")


# ---------------------------------------------------------------------- installation


def test_frame_installation_is_finished_only_by_the_wizard(
    portal: LocalPortal, application: Application
) -> None:
    reply = portal.install()

    assert (reply.status, reply.text) == (200, "<p>installer</p>")
    wizard = application.received[-1]
    assert wizard.path == "/b24/default/install/"
    assert wizard.query["DOMAIN"] == portal.domain
    assert len(wizard.query["APP_SID"]) == 32
    assert wizard.form["PLACEMENT"] == "DEFAULT"
    assert wizard.form["SERVER_ENDPOINT"] == f"{portal.oauth_url}/rest/"
    assert wizard.form["member_id"] == portal.member_id
    admin = Caller(portal)
    assert admin("app.info")["INSTALLED"] is False
    admin("event.bind", event="ONAPPINSTALL", handler=f"{application.url}/events/")
    admin("event.bind", event="ONCRMLEADADD", handler=f"{application.url}/events/")
    portal.add_item(1, {"title": "рано"})
    portal.wait_deliveries()
    assert application.events == []

    portal.finish_install()

    portal.wait_deliveries()
    assert application.events == ["ONAPPINSTALL"]
    assert admin("app.info")["INSTALLED"] is True
    portal.add_item(1, {"title": "пора"})
    portal.wait_deliveries()
    assert application.events == ["ONAPPINSTALL", "ONCRMLEADADD"]
    admin.session.close()


def test_server_installation_posts_tokens_that_work(
    portal: LocalPortal, application: Application
) -> None:
    portal.install("server")

    form = application.last("ONAPPINSTALL")
    info = requests.get(
        f"{portal.oauth_url}/rest/app.info/",
        params={"auth": form["auth"]["access_token"]},
        timeout=5,
    ).json()["result"]
    assert info["install"]["member_id"] == form["auth"]["member_id"]
    assert form["data"]["INSTALLED"] == "Y"
    assert refresh(portal, form["auth"]["refresh_token"]).status_code == 200


def test_uninstall_has_no_tokens_and_kills_all_of_them(
    portal: LocalPortal, application: Application, admin: Caller, bot_id: int
) -> None:
    admin("event.bind", event="ONAPPUNINSTALL", handler=f"{application.url}/events/")
    before = portal.application_token

    portal.uninstall(clean=True)

    portal.wait_deliveries()
    form = application.last("ONAPPUNINSTALL")
    assert form["data"]["CLEAN"] == "1"
    assert form["auth"]["application_token"] == before
    assert "access_token" not in form["auth"]
    assert admin.error("profile") == (401, "ERROR_OAUTH")
    assert refresh(portal, admin.refresh_token).json()["error"] == "NOT_INSTALLED"
    assert portal.world.bots == {}
    portal.install("server")
    assert portal.application_token != before


def test_update_tells_and_takes_bindings_away(
    portal: LocalPortal, application: Application, admin: Caller
) -> None:
    admin("event.bind", event="ONAPPUPDATE", handler=f"{application.url}/events/")

    portal.update_app(new_application_token=True)

    portal.wait_deliveries()
    form = application.last("ONAPPUPDATE")
    assert form["data"] == {"VERSION": "2", "PREVIOUS_VERSION": "1", "LANGUAGE_ID": "ru"}
    assert form["auth"]["refresh_token"]
    assert form["auth"]["application_token"] == portal.application_token
    assert admin("event.get") == []
