"""What every test relies on: no network but loopback, clean caches, one gateway at a time."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from collections.abc import Iterator

import pytest

# The sync Playwright API keeps an event loop on this thread; Django would refuse its own queries.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"

LOOPBACK = ("127.", "localhost", "::1")


@pytest.fixture(autouse=True)
def loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that reaches out of this machine is a mistake."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address):
        host = address[0] if isinstance(address, tuple) else str(address)
        if isinstance(address, tuple) and not str(host).startswith(LOOPBACK):
            raise AssertionError(f"a test tried to connect to {host}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    return


@pytest.fixture(autouse=True)
def clean_caches() -> Iterator[None]:
    """Each test has its own cache, connections to portals, and model gateway."""
    from django.core.cache import cache

    from bx_gpt_app.assistant import thinking
    from bx_gpt_app.portals import clients

    yield
    cache.clear()
    if thinking.gateway.cache_info().currsize:
        thinking.gateway().close()
        thinking.gateway.cache_clear()
    if clients.http_session.cache_info().currsize:
        clients.http_session().close()
        clients.http_session.cache_clear()
    clients.address_guard.cache_clear()


@pytest.fixture
def worker(transactional_db) -> Iterator[None]:
    """Does what was enqueued, as the worker process would."""
    from django.db import connections
    from django_ox.testing import run_tasks

    over = threading.Event()

    def work() -> None:
        while not over.wait(0.1):
            run_tasks()
        connections.close_all()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    yield
    over.set()
    thread.join(5)


# ---- the browser ----

BROWSER_FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever uses a browser is an e2e test, so that a machine without one can leave it out.

    Such a test is tried once more when it fails: a busy machine starves a browser now and then.
    The summary names every repetition.
    """
    for item in items:
        if {"browser", "page", "context"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict) -> dict:
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or ""
    assert path, "No Chromium: install one, or leave these tests out with -m 'not e2e'."
    return {**browser_type_launch_args, "executable_path": path, "args": BROWSER_FLAGS}


@pytest.fixture(scope="session")
def base_url() -> None:
    """Ours, because the plugin's own is a bound method, which pytest 9 warns of."""
