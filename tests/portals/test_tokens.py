"""Tokens: refreshed once, on expired_token only, and kept apart by user."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from bx_gpt_app.portals.clients import client_for
from bx_gpt_app.portals.install import Claim, NotAdmin, install
from bx_gpt_app.portals.models import Grant, Portal
from bx_gpt_app.portals.registrations import registration
from integrations.bitrix24.errors import AccessLost, CallRejected
from integrations.bitrix24.local_portal import LocalPortal, PortalOptions
from integrations.bitrix24.oauth import NotGenuine, UnknownAuthorizationServer


@pytest.fixture
def b24(settings):
    options = PortalOptions(app_base_url="http://127.0.0.1:9", app_code="default", rate=None)
    with LocalPortal(options) as portal:
        settings.B24_OAUTH_URL = [portal.oauth_url]
        settings.B24_CLIENT_ID = portal.options.client_id
        settings.B24_CLIENT_SECRET = portal.options.client_secret
        yield portal


def claim(b24, user_id=1, **changes) -> Claim:
    access_token, refresh_token = b24.issue_tokens(user_id)
    values = {
        "member_id": b24.options.member_id,
        "access_token": access_token,
        "refresh_token": refresh_token,
        "expires_in": 3600,
        "domain": "",
        "server_endpoint": "",
        "application_token": b24.options.application_token,
    }
    return Claim(**{**values, **changes})


@pytest.fixture
def installed(b24, transactional_db) -> Portal:
    portal, _visitor = install(registration("default"), claim(b24))
    return portal


def refreshes(b24) -> int:
    return b24.stats()["token_refreshes"]


def test_expired_token_is_renewed_once_and_the_call_repeated(b24, installed):
    b24.expire_access_tokens()

    assert client_for(installed).call("user.admin") is True
    assert refreshes(b24) == 1


def test_many_callers_at_once_make_exactly_one_refresh(b24, installed):
    b24.expire_access_tokens()
    results: list[object] = []

    def call():
        results.append(client_for(Portal.objects.get()).call("user.admin"))
        connection.close()

    threads = [threading.Thread(target=call) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert results == [True] * 20
    assert refreshes(b24) == 1


def test_holder_of_the_refresh_that_died_is_followed(b24, installed):
    b24.expire_access_tokens()
    Grant.objects.update(
        refreshing_until=timezone.now() - timedelta(seconds=1), refreshing_by="a dead process"
    )

    assert client_for(installed).call("user.admin") is True


def test_other_refusals_do_not_refresh(b24, installed):
    b24.fail_next("user.admin", 401, "insufficient_scope", times=1)

    with pytest.raises(CallRejected):
        client_for(installed).call("user.admin")

    assert refreshes(b24) == 0


def test_dead_refresh_token_is_remembered_and_not_tried_again(b24, installed):
    b24.expire_access_tokens()
    b24.kill_refresh_tokens()
    for _ in range(2):
        with pytest.raises(AccessLost) as lost:
            client_for(installed).call("user.admin")
        assert lost.value.state == "broken"

    assert Grant.objects.get().dead_reason
    assert len([c for c in b24.rest_log if c.method == "user.admin"]) <= 3


def test_token_near_its_end_is_renewed_before_the_call(b24, installed):
    Grant.objects.update(expires_at=timezone.now() + timedelta(seconds=10))

    client_for(installed).call("user.admin")

    assert refreshes(b24) == 1


def test_secrets_are_not_readable_in_the_database(b24, installed):
    with connection.cursor() as cursor:
        cursor.execute("SELECT access_token, refresh_token FROM portals_grant")
        stored = cursor.fetchone()

    grant = Grant.objects.get()
    assert grant.access_token
    assert grant.access_token not in stored
    assert grant.refresh_token not in stored


def test_new_domain_is_kept_and_the_call_repeated(b24, installed):
    b24.move_to("localhost")

    assert client_for(installed).call("user.admin") is True
    installed.refresh_from_db()
    assert "localhost" in installed.client_endpoint


def test_operator_acts_by_his_own_grant(b24, installed):
    with pytest.raises(AccessLost):
        client_for(installed, user_id=7)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"access_token": "made-up"}, CallRejected),
        ({"member_id": "f" * 32}, NotGenuine),
        ({"server_endpoint": "https://evil.example/rest/"}, UnknownAuthorizationServer),
    ],
    ids=["made-up token", "another portal's id", "foreign authorization server"],
)
def test_forged_installation_stores_nothing(b24, transactional_db, changes, error):
    with pytest.raises(error):
        install(registration("default"), claim(b24, **changes))

    assert not Portal.objects.exists()
    assert not Grant.objects.exists()


def test_ordinary_employee_cannot_install(b24, transactional_db):
    with pytest.raises(NotAdmin):
        install(registration("default"), claim(b24, user_id=7))

    assert not Portal.objects.exists()


def test_reinstall_revives_the_same_portal_with_new_secrets(b24, installed):
    public_id = installed.public_id
    installed.move_to("gone")

    again, _visitor = install(registration("default"), claim(b24))

    assert (again.pk, again.public_id, again.state) == (installed.pk, public_id, "active")
    assert again.session_epoch == installed.session_epoch + 1
