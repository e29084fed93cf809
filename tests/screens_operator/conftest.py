"""A local portal in this process, our views behind Django's test client, and a visitor's frame."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import urlencode, urlsplit

import pytest

from bx_gpt_app.assistant.models import Dialog, Run, Suggestion
from bx_gpt_app.portals.models import Grant, Portal
from bx_gpt_app.screens.frame import Frame
from integrations.bitrix24.local_portal import LocalPortal, PortalOptions
from tests.factories import make_app, make_grant, make_portal


class Stand:
    """What a test does as a browser inside the portal."""

    def __init__(self, b24: LocalPortal, client) -> None:
        self.b24 = b24
        self.client = client

    def post_form(self, form):
        """Post a frame's form as the browser would."""
        action = urlsplit(form.action)
        return self.client.post(
            f"{action.path}?{action.query}",
            urlencode(form.fields),
            content_type="application/x-www-form-urlencoded",
        )

    def open(self, user_id=7, placement="DEFAULT", options=None, **more):
        return self.post_form(self.b24.frame(user_id, placement, options, **more))

    def installed(self, **values) -> Portal:
        """The local portal as our row, without the installer's calls."""
        access, refresh = self.b24.issue_tokens(1)
        portal = make_portal(
            grant=False,
            member_id=self.b24.member_id,
            domain=self.b24.domain,
            client_endpoint=self.b24.rest_endpoint,
            application_token=self.b24.application_token,
            registration=make_app(),
            **values,
        )
        make_grant(portal, access_token=access, refresh_token=refresh)
        return portal


@pytest.fixture
def stand(db, client, settings) -> Iterator[Stand]:
    options = PortalOptions(app_base_url="http://testserver", app_code="default", rate=None)
    with LocalPortal(options) as b24:
        settings.B24_OAUTH_URL = [b24.oauth_url]
        settings.B24_CLIENT_ID = b24.options.client_id
        settings.B24_CLIENT_SECRET = b24.options.client_secret
        make_app(client_id=b24.options.client_id, client_secret=b24.options.client_secret)
        yield Stand(b24, client)


def make_frame(portal: Portal, **values) -> Frame:
    defaults = {
        "portal_id": portal.pk,
        "user_id": 7,
        "user_name": "Ольга Смирнова",
        "is_admin": False,
        "placement": "IM_SIDEBAR",
        "chat_id": 112,
        "item": "",
        "language": "en",
        "epoch": portal.session_epoch,
    }
    return Frame(**{**defaults, **values})


class Visitor:
    """Requests with a page's token."""

    def __init__(self, client, frame: Frame, dialog: Dialog | None = None) -> None:
        self.client, self.frame, self.dialog = client, frame, dialog
        self.headers = {"authorization": f"Bearer {frame.token()}"}

    def url(self, deed: str = "") -> str:
        return f"/b24/{self.frame.portal.registration.code}/dialogs/{self.dialog.pk}/{deed}"

    def get(self, deed: str):
        return self.client.get(self.url(deed), headers=self.headers)

    def post(self, deed: str, **data):
        return self.client.post(self.url(deed), data, headers=self.headers)


def events_of(response) -> dict:
    return json.loads(response.headers.get("HX-Trigger", "{}"))


def make_suggestion(dialog: Dialog, text: str = "Доставка стоит 490 ₽.", **values) -> Suggestion:
    run = values.pop("run", None) or make_run(dialog)
    defaults = {"band": "confident", "answered_message_id": dialog.newest_message_id}
    return Suggestion.objects.create(
        portal=dialog.portal, dialog=dialog, run=run, text=text, **{**defaults, **values}
    )


def make_run(dialog: Dialog, **values) -> Run:
    defaults = {
        "state": "done",
        "decision": "suggest",
        "reason": "mode_suggest",
        "topic": "delivery",
        "newest_message_id": dialog.newest_message_id,
        "model": "demo-rules-1",
        "steps_ms": {"model": 1200},
        "cost": 0.41,
        "currency": "RUB",
        "attempts": 1,
    }
    return Run.objects.create(portal=dialog.portal, dialog=dialog, **{**defaults, **values})


__all__ = ["Grant", "Stand", "Visitor", "events_of", "make_frame", "make_run", "make_suggestion"]
