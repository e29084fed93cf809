"""The authorization server: proof of identity, new tokens, the code flow."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import pytest
import responses

from integrations.bitrix24 import errors, oauth
from integrations.bitrix24.oauth import AppCredentials, AuthorizationServer, NotGenuine
from integrations.net import AddressGuard, open_session
from tests.bitrix24.portal_stand import Answer

MEMBER = "0123456789abcdef0123456789abcdef"
APP = AppCredentials(client_id="local.66", client_secret="canary-secret")
DOCUMENTED = ["https://oauth.bitrix24.tech", "https://oauth.bitrix.info/"]


def app_info(**changes):
    install = {
        "installed": True,
        "version": 3,
        "status": "F",
        "scope": "crm,imbot",
        "domain": "acme.bitrix24.ru",
        "uri": "https://acme.bitrix24.ru/",
        "client_endpoint": "https://acme.bitrix24.ru/rest/",
        "member_id": MEMBER,
    }
    body = {"client_id": "local.66", "scope": "crm,imbot", "user_id": 7, "install": install}
    install.update(changes.pop("install", {}))
    return {"result": {**body, **changes}}


def token_answer(**changes):
    return {
        "access_token": "new-access",
        "refresh_token": "new-refresh",
        "expires": 1787007200,
        "expires_in": 3600,
        "client_endpoint": "https://acme.bitrix24.ru/rest/",
        "server_endpoint": "https://oauth.bitrix24.tech/rest/",
        "domain": "oauth.bitrix24.tech",
        "member_id": MEMBER,
        "scope": "crm,im",
        "status": "L",
        "user_id": 1,
        **changes,
    }


@pytest.fixture
def server(stand, guard, session):
    return AuthorizationServer(
        f"{stand.url}/rest/", allowed=[stand.url], guard=guard, session=session
    )


@pytest.mark.parametrize(
    ("claimed", "expected"),
    [
        (None, "https://oauth.bitrix24.tech"),
        ("", "https://oauth.bitrix24.tech"),
        ("https://oauth.bitrix24.tech/rest/", "https://oauth.bitrix24.tech"),
        ("https://OAUTH.bitrix.info:443/rest/", "https://oauth.bitrix.info"),
    ],
)
def test_a_documented_server_is_picked(claimed, expected):
    assert oauth.pick_server(claimed, DOCUMENTED) == expected


@pytest.mark.parametrize(
    "claimed",
    [
        "https://evil.example.ru/rest/",
        "http://oauth.bitrix24.tech/rest/",
        "https://oauth.bitrix24.tech:8443/rest/",
        "https://oauth.bitrix24.tech.evil.ru/",
        "https://oauth.bitrix24.tech@evil.ru/",
        "https://evil.ru/#oauth.bitrix24.tech",
        "//oauth.bitrix24.tech",
        "oauth.bitrix24.tech",
        "https://[bad",
    ],
)
def test_a_server_that_a_stranger_names_is_refused(claimed):
    with pytest.raises(oauth.UnknownAuthorizationServer):
        oauth.pick_server(claimed, DOCUMENTED)


def test_the_owner_of_a_token_is_told(server, stand):
    stand.script["/rest/app.info/"] = Answer(app_info())

    info = server.app_info("access-1")

    assert stand.asked[0].verb == "GET"
    assert stand.asked[0].query == {"auth": "access-1"}
    assert info == oauth.AppInfo(
        client_id="local.66",
        user_id=7,
        member_id=MEMBER,
        domain="acme.bitrix24.ru",
        client_endpoint="https://acme.bitrix24.ru/rest/",
        scope=("crm", "imbot"),
        status="F",
        installed=True,
    )
    info.require(client_id="local.66", member_id=MEMBER, domain="ACME.bitrix24.ru")


@pytest.mark.parametrize(
    "wrong", [{"client_id": "app.1"}, {"member_id": "f" * 32}, {"domain": "evil.ru"}]
)
def test_a_token_of_somebody_else_is_no_proof(server, stand, wrong):
    stand.script["/rest/app.info/"] = Answer(app_info())
    posted = {"client_id": "local.66", "member_id": MEMBER, "domain": "acme.bitrix24.ru", **wrong}

    with pytest.raises(NotGenuine):
        server.app_info("access-1").require(**posted)


@pytest.mark.parametrize(
    "answer",
    [
        Answer({"error": "expired_token"}, 401),
        Answer({"error": "invalid_token"}, 401),
        Answer({"error": "wrong_client"}, 200),
        Answer({"error": "PAYMENT_REQUIRED"}, 401),
        Answer({"result": []}),
        Answer({}),
        Answer(app_info(client_id="")),
        Answer(app_info(user_id=None)),
        Answer(app_info(install={"member_id": "a/b"})),
        Answer(app_info(install={"domain": "", "client_endpoint": ""})),
        Answer(app_info(install={"domain": "a b"})),
        Answer(app_info(install={"client_endpoint": "javascript:alert(1)"})),
        Answer(app_info(install={"client_endpoint": "https://u:p@acme.bitrix24.ru/rest/"})),
    ],
)
def test_any_doubt_about_a_token_means_not_genuine(server, stand, answer):
    stand.script["/rest/app.info/"] = answer

    with pytest.raises(NotGenuine) as caught:
        server.app_info("canary-access")

    assert "canary" not in str(caught.value)


def test_a_private_portal_is_not_genuine_unless_private_networks_are_allowed(stand):
    guard = AddressGuard(resolver=lambda host: ["93.184.216.34"])
    with open_session(2, guard=guard) as session, responses.RequestsMock() as web:
        endpoint = {"client_endpoint": "https://192.168.0.5/rest/"}
        web.get("https://oauth.bitrix24.tech/rest/app.info/", json=app_info(install=endpoint))
        server = AuthorizationServer(None, allowed=DOCUMENTED, guard=guard, session=session)
        with pytest.raises(NotGenuine):
            server.app_info("access-1")


@pytest.mark.parametrize("answer", [Answer(b"", 502), Answer(drop=True), Answer(b"<html>", 200)])
def test_a_silent_server_gives_no_verdict(server, stand, answer):
    stand.script["/rest/app.info/"] = answer

    with pytest.raises(errors.Unavailable):
        server.app_info("access-1")


def test_no_token_is_not_asked_about(server, stand):
    with pytest.raises(NotGenuine):
        server.app_info("")
    assert stand.asked == []


def test_a_refresh_gives_a_new_pair(server, stand):
    stand.script["/oauth/token/"] = Answer(token_answer())

    tokens = server.refresh(APP, "old-refresh")

    assert stand.asked[0].query == {
        "grant_type": "refresh_token",
        "client_id": "local.66",
        "client_secret": "canary-secret",
        "refresh_token": "old-refresh",
    }
    assert (tokens.access_token, tokens.refresh_token) == ("new-access", "new-refresh")
    assert tokens.client_endpoint == "https://acme.bitrix24.ru/rest/"
    assert tokens.scope == ("crm", "im")
    assert tokens.user_id == 1
    assert timedelta(minutes=59) < tokens.expires_at - datetime.now(UTC) <= timedelta(hours=1)


def test_a_refresh_survives_what_servers_leave_out(server, stand):
    stand.script["/oauth/token/"] = Answer(
        {"access_token": "new", "member_id": MEMBER, "expires_in": "oops", "scope": "crm im"}
    )

    tokens = server.refresh(APP, "old-refresh")

    assert tokens.refresh_token == "old-refresh"
    assert tokens.client_endpoint == ""
    assert tokens.scope == ("crm", "im")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer({"error": "invalid_grant"}, 400), errors.AccessLost),
        (Answer({"error": "PAYMENT_REQUIRED"}, 401), errors.AccessLost),
        (Answer({"error": "wrong_client"}, 200), errors.AccessLost),
        (Answer({"error": "NOT_INSTALLED"}, 401), errors.AccessLost),
        (Answer({"error": "NO_AUTH_FOUND"}, 401), errors.AccessLost),
        (Answer({"error": "expired_token"}, 401), errors.AccessLost),
        (Answer({"error": "invalid_request"}, 400), errors.CallRejected),
        (Answer({"error": "invalid_scope"}, 403), errors.ScopeMissing),
        (Answer(b"bad gateway", 502), errors.Unavailable),
        (Answer(drop=True), errors.Unavailable),
        (Answer({"access_token": "x"}), errors.Unavailable),
        (Answer(token_answer(member_id="../x")), errors.Unavailable),
    ],
)
@pytest.mark.parametrize("act", ["refresh", "exchange_code"])
def test_what_the_server_refuses_says_what_to_do(server, stand, answer, kind, act):
    stand.script["/oauth/token/"] = answer

    with pytest.raises(kind):
        getattr(server, act)(APP, "old")


def test_a_code_is_exchanged_by_get_without_a_return_address(server, stand):
    stand.script["/oauth/token/"] = Answer(token_answer(scope="crm,im"))

    tokens = server.exchange_code(APP, "code-1")

    assert stand.asked[0].verb == "GET"
    assert stand.asked[0].query == {
        "grant_type": "authorization_code",
        "client_id": "local.66",
        "client_secret": "canary-secret",
        "code": "code-1",
    }
    assert tokens.access_token == "new-access"
    assert tokens.scope == ("crm", "im")


def test_the_browser_is_sent_to_the_portal():
    url = oauth.authorize_url("acme.bitrix24.ru", "local.66", "s&1")

    assert url == "https://acme.bitrix24.ru/oauth/authorize/?client_id=local.66&state=s%261"
    for domain in ("", "a/b", "evil.ru/x", "a b", "user@host", "a..b"):
        with pytest.raises(ValueError, match="domain"):
            oauth.authorize_url(domain, "local.66", "s")


def test_nothing_secret_is_logged_or_shown(server, stand, caplog):
    for name in (
        "urllib3.connectionpool",
        "requests_oauthlib",
        "requests_oauthlib.oauth2_session",
        "oauthlib",
        "integrations.bitrix24",
    ):
        caplog.set_level(logging.DEBUG, logger=name)
    stand.script["/oauth/token/"] = Answer(
        token_answer(access_token="canary-a", refresh_token="canary-r")
    )
    shown = [
        repr(server.refresh(APP, "canary-old")),
        repr(server.exchange_code(APP, "canary-code")),
        repr(APP),
    ]
    stand.script["/oauth/token/"] = Answer(
        {"error": "invalid_grant", "error_description": "canary-old canary-code canary-secret"}, 400
    )
    for act, value in ((server.refresh, "canary-old"), (server.exchange_code, "canary-code")):
        with pytest.raises(errors.AccessLost) as caught:
            act(APP, value)
        error = caught.value
        while error is not None:
            shown.append(
                f"{error!r} {error}".replace(
                    "canary-code" if value == "canary-old" else "canary-old", ""
                )
            )
            error = error.__cause__ or error.__context__
    shown += [f"{record.getMessage()} {record.__dict__}" for record in caplog.records]

    assert len(shown) > 5
    for line in shown:
        assert "canary" not in line, line
