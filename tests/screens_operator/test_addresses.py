"""Every address under /b24/: who may call it, and that no frame response sets a cookie."""

from __future__ import annotations

import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from bx_gpt_app.inbox import views as inbox
from bx_gpt_app.screens import entry, install, oauth
from tests.factories import make_dialog, make_portal
from tests.screens_operator.conftest import make_frame

pytestmark = pytest.mark.django_db

DOORS = {entry.entry, entry.placement, entry.session, install.door, inbox.event}
"""They prove their caller themselves: tokens, application_token."""
BROWSER = {oauth.start, oauth.callback}


def patterns(resolver, prefix=""):
    for one in resolver.url_patterns:
        route = prefix + str(one.pattern)
        if isinstance(one, URLResolver):
            yield from patterns(one, route)
        elif isinstance(one, URLPattern):
            yield route, one.callback


def under_b24():
    return [(route, view) for route, view in patterns(get_resolver()) if route.startswith("b24/")]


def example(route: str) -> str:
    import re

    values = {"app": "default", "pk": "1", "value": "1", "name": "send", "code": "ai_reply"}
    return "/" + re.sub(
        r"<(?:(\w+):)?(\w+)>",
        lambda found: values.get(found[2], "1" if found[1] == "int" else "x"),
        route,
    )


def test_there_are_addresses_to_look_at():
    assert len(under_b24()) > 15


@pytest.mark.parametrize(
    ("route", "view"), under_b24(), ids=lambda one: one if isinstance(one, str) else ""
)
def test_address_is_a_frame_view_or_a_known_door(route, view):
    is_frame = getattr(view, "is_frame_view", False)
    is_download = getattr(view, "is_signed_download", False)

    assert is_frame or is_download or view in DOORS | BROWSER


@pytest.mark.parametrize(
    "route", [route for route, view in under_b24() if getattr(view, "is_frame_view", False)]
)
def test_frame_view_needs_a_token_and_sets_no_cookie(client, route):
    make_dialog(make_portal())
    url = example(route)

    plain, forged, posted = (
        client.get(url),
        client.get(url, headers={"authorization": "Bearer x.y.z"}),
        client.post(url),
    )

    assert plain.status_code == 200
    assert "frame-token" not in plain.content.decode()
    assert (forged.status_code, posted.status_code) == (401, 401)
    assert not client.cookies


@pytest.mark.parametrize(
    "route",
    # A signed address of a minute's life is nothing that the Market checks.
    [route for route, view in under_b24() if not getattr(view, "is_signed_download", False)],
)
def test_address_answers_get_and_head_with_200(client, route):
    assert client.get(example(route)).status_code == 200
    assert client.head(example(route)).status_code == 200


@pytest.mark.parametrize(
    "route", [route for route, view in under_b24() if getattr(view, "is_frame_view", False)]
)
def test_verified_visitor_gets_no_cookie_and_only_his_portal_may_frame_it(client, route):
    portal = make_portal()
    make_dialog(portal)
    token = make_frame(portal, is_admin=True).token()

    response = client.get(example(route), headers={"authorization": f"Bearer {token}"})

    assert not client.cookies
    assert "X-Frame-Options" not in response
    ancestors = response["Content-Security-Policy"].partition("frame-ancestors ")[2]
    assert ancestors == "https://acme.bitrix24.ru"


@pytest.mark.parametrize("route", [route for route, view in under_b24()])
def test_no_other_site_is_ever_let_in_by_cors(client, route):
    portal = make_portal()
    make_dialog(portal)
    asks = {
        "origin": "https://evil.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization",
    }
    token = make_frame(portal, is_admin=True).token()
    own = {"origin": "https://acme.bitrix24.ru", "authorization": f"Bearer {token}"}

    answers = [
        client.options(example(route), headers=asks),
        client.get(example(route), headers=asks),
        client.get(example(route), headers=own),
    ]

    told = [
        name for answer in answers for name in answer.headers if "access-control" in name.lower()
    ]
    assert told == []


def test_token_of_one_app_registration_is_nothing_at_anothers_address(client):
    portal = make_portal()
    dialog = make_dialog(portal)
    token = make_frame(portal, is_admin=True).token()

    answer = client.get(
        f"/b24/other/dialogs/{dialog.pk}/draft/", headers={"authorization": f"Bearer {token}"}
    )

    assert answer.status_code == 404
