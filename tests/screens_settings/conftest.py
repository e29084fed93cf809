"""A lively portal and an administrator's eyes on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client

from bx_gpt_app.portals.models import Portal
from tests.screens_settings.rows import frame_for, make_lively_portal


@pytest.fixture(autouse=True)
def only_settings(settings) -> None:
    settings.ROOT_URLCONF = "tests.screens_settings.urls"


@pytest.fixture
def portal(db) -> Portal:
    return make_lively_portal()


class Visitor:
    """A person of a portal with a page token; addresses are relative to the settings."""

    def __init__(self, portal: Portal, **frame: Any) -> None:
        self.portal = portal
        self.frame = frame_for(portal, **frame)
        self._headers = {"Authorization": f"Bearer {self.frame.token()}"}
        self._client = Client()

    def url(self, path: str) -> str:
        return f"/b24/{self.portal.registration.code}/settings/{path}"

    def get(self, path: str = "", **query: Any) -> HttpResponse:
        return self._client.get(self.url(path), query, headers=self._headers)  # type: ignore[return-value]

    def post(self, path: str, data: dict[str, Any] | None = None) -> HttpResponse:
        return self._client.post(self.url(path), data or {}, headers=self._headers)  # type: ignore[return-value]


@pytest.fixture
def visitor(portal: Portal) -> Callable[..., Visitor]:
    return lambda **frame: Visitor(portal, **frame)


@pytest.fixture
def admin(portal: Portal) -> Visitor:
    return Visitor(portal)


def text_of(response: HttpResponse) -> str:
    """What a person reads: tags and runs of blanks are gone."""
    from html import unescape
    from re import sub

    body = sub(r"<(script|style|svg)[\s\S]*?</\1>", " ", response.content.decode())
    return " ".join(unescape(sub(r"<[^>]+>", " ", body)).split())
