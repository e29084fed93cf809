"""A portal to talk to, and the parts of a client."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from integrations.bitrix24.client import PortalClient
from integrations.bitrix24.forms import parse_form
from integrations.bitrix24.limiter import Bucket, MemoryLimiter
from integrations.net import AddressGuard, open_session
from tests.bitrix24.portal_stand import Stand, open_stand

FIXTURES = Path(__file__).parents[1] / "fixtures" / "bitrix24"


class OneToken:
    """A token source without a database; `renewed` lists the tokens that were refused."""

    def __init__(self, token: str = "access-1") -> None:
        self.token = token
        self.renewed: list[str] = []

    def access_token(self) -> str:
        return self.token

    def renew(self, stale: str) -> str:
        self.renewed.append(stale)
        self.token = f"access-{len(self.renewed) + 1}"
        return self.token


@pytest.fixture
def stand() -> Iterator[Stand]:
    with open_stand() as one:
        yield one


@pytest.fixture
def guard() -> AddressGuard:
    return AddressGuard(allow_private=True)


@pytest.fixture
def session(guard: AddressGuard) -> Iterator[requests.Session]:
    with open_session(100, guard=guard) as one:
        yield one


@pytest.fixture
def tokens() -> OneToken:
    return OneToken()


@pytest.fixture
def limiter() -> MemoryLimiter:
    return MemoryLimiter(Bucket(rate=10_000, burst=10_000))


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def make_client(stand, guard, session, tokens, limiter, slept) -> Callable[..., PortalClient]:
    def make(**changes: Any) -> PortalClient:
        parts = {
            "endpoint": f"{stand.url}/rest/",
            "tokens": tokens,
            "limiter": limiter,
            "session": session,
            "guard": guard,
            "sleep": slept.append,
        }
        return PortalClient(**{**parts, **changes})

    return make


@pytest.fixture
def client(make_client) -> PortalClient:
    return make_client()


def form(name: str) -> dict[str, Any]:
    """A body as it came over the wire, decoded by our own parser."""
    return parse_form((FIXTURES / f"{name}.form").read_bytes())


def answer_of(name: str) -> Any:
    return json.loads((FIXTURES / f"{name}.json").read_text())
