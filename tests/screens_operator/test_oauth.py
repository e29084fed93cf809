"""The code flow in a browser of its own: state, cookie, code, tokens, portal."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from bx_gpt_app.portals.models import Grant, Portal

pytestmark = pytest.mark.django_db


def begin(stand):
    answer = stand.client.get(f"/b24/default/oauth/start/?domain={stand.b24.domain}")
    assert answer.status_code == 302, answer.content.decode()
    return answer


def consent(location: str) -> str:
    """What the portal's own page sends the browser back to."""
    answer = requests.get(location, allow_redirects=False, timeout=5)
    assert answer.status_code == 302, answer.text
    back = urlsplit(answer.headers["Location"])
    return f"{back.path}?{back.query}"


def test_administrator_connects_his_portal(stand):
    stand.b24.issue_tokens(1)

    answer = begin(stand)
    page = stand.client.get(consent(answer["Location"]))

    portal = Portal.objects.get()
    assert page.status_code == 200, page.content.decode()
    assert "connected" in page.content.decode()
    assert portal.domain == stand.b24.domain
    assert Grant.objects.get().kind == "installation"
    cookie = answer.cookies["b24_oauth"]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    assert cookie["path"] == "/b24/default/oauth/"


def test_known_portal_keeps_its_settings_and_gets_the_visitors_tokens(stand):
    portal = stand.installed()
    answer = begin(stand)

    page = stand.client.get(consent(f"{answer['Location']}&user_id=7"))

    assert Portal.objects.get().pk == portal.pk
    assert Grant.objects.get(user_id=7).kind == "user"
    told = page.content.decode()
    assert "Your access is stored" in told
    assert f"The assistant is installed in {portal.domain} already" in told
    assert "connected" not in told


def test_visitor_is_told_that_the_portal_does_not_work_in_spite_of_his_access(stand):
    portal = stand.installed()
    Portal.objects.filter(pk=portal.pk).update(state=Portal.State.BROKEN)

    page = stand.client.get(consent(f"{begin(stand)['Location']}&user_id=7"))

    assert "Access to the portal is lost" in page.content.decode()
    assert Portal.objects.get().state == Portal.State.BROKEN


def test_administrator_mends_a_portal_and_reads_that_it_is_connected(stand):
    portal = stand.installed()
    Portal.objects.filter(pk=portal.pk).update(state=Portal.State.BROKEN)

    page = stand.client.get(consent(begin(stand)["Location"]))

    assert "The portal is connected" in page.content.decode()
    assert Portal.objects.get().state == Portal.State.ACTIVE


def test_operator_cannot_connect_an_unknown_portal(stand):
    stand.b24.issue_tokens(1)
    answer = begin(stand)

    page = stand.client.get(consent(f"{answer['Location']}&user_id=7"))

    assert page.status_code == 403
    assert not Portal.objects.exists()


def test_return_into_another_browser_is_refused_before_the_code_is_spent(stand):
    stand.b24.issue_tokens(1)
    back = consent(begin(stand)["Location"])
    stand.client.cookies.clear()

    page = stand.client.get(back)

    assert page.status_code == 400
    assert not Portal.objects.exists()


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("state", "forged", 400),
        ("domain", "evil.example", 400),
        ("code", "", 400),
        ("code", "0" * 70, 403),
        ("server_domain", "evil.example", 403),
        ("member_id", "f" * 32, 403),
    ],
)
def test_tampered_return_stores_nothing(stand, name, value, status):
    stand.b24.issue_tokens(1)
    back = urlsplit(consent(begin(stand)["Location"]))
    query = {key: found[0] for key, found in parse_qs(back.query).items()}

    page = stand.client.get(back.path, {**query, name: value})

    assert page.status_code == status
    assert not Portal.objects.exists()


@pytest.mark.parametrize(
    "domain", ["https://acme.bitrix24.ru", "a b", "acme..ru/x", "evil.example/x?y"]
)
def test_domain_must_be_a_host_name(client, db, settings, domain):
    settings.B24_CLIENT_ID, settings.B24_CLIENT_SECRET = "local.test", "secret"

    page = client.get("/b24/default/oauth/start/", {"domain": domain})

    assert page.status_code == 400
    assert "Location" not in page


def test_private_address_is_no_portal_in_production(client, db, settings):
    settings.ALLOW_PRIVATE_NETWORK = False

    page = client.get("/b24/default/oauth/start/", {"domain": "127.0.0.1:8001"})

    assert page.status_code == 400
