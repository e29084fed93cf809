"""Control over HTTP and the portal as a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import requests

from integrations.bitrix24.local_portal import LocalPortal, PortalOptions
from tests.local_portal.conftest import Application


class Controller:
    def __init__(self, url: str, key: str) -> None:
        self.url, self.headers = url, {"X-Control-Key": key}

    def get(self, read: str, **params: Any) -> Any:
        url = f"{self.url}/_control/{read}"
        answer = requests.get(url, params=params, headers=self.headers, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def act(self, act: str, **body: Any) -> Any:
        url = f"{self.url}/_control/{act}"
        answer = requests.post(url, json=body, headers=self.headers, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture
def control(portal: LocalPortal) -> Controller:
    return Controller(portal.url, portal.options.control_key)


def test_control_needs_its_key(portal: LocalPortal) -> None:
    for headers in ({}, {"X-Control-Key": "guess"}):
        answer = requests.get(f"{portal.url}/_control/state", headers=headers, timeout=5)
        assert answer.status_code == 403


def test_control_is_off_where_others_may_come(make_portal: Callable[..., LocalPortal]) -> None:
    assert PortalOptions(host="0.0.0.0").control_enabled is False
    portal = make_portal(control=False)

    answer = requests.get(
        f"{portal.url}/_control/state",
        headers={"X-Control-Key": portal.options.control_key},
        timeout=5,
    )

    assert answer.status_code == 404


def test_story_through_control(control: Controller, application: Application) -> None:
    assert control.act("install")["status"] == 200
    start = control.get("state")["rev"]
    sent = control.act("client-message", text="Здравствуйте", name="Пётр")
    control.act("operator-message", chat_id=sent["chat_id"], user_id=7, text="Добрый день")

    state = control.get("state", since=start)

    assert state["installation"] == "installed"
    chat = state["chats"][0]
    assert [one["kind"] for one in chat["messages"] if one["kind"] != "system"] == [
        "client",
        "employee",
    ]
    assert state["items"][0]["title"] == "Пётр - Онлайн-чат"
    assert state["items"][0]["timeline"] == []
    assert control.get("fields")["UF_CRM_TOPIC"]["choices"]["80"] == "Ремонт"
    assert control.get("state", since=state["rev"])["chats"] == []
    assert control.get("stats")["messages_to_clients"] == 1
    new = control.get("messages", since=sent["message_id"])
    assert new[-1]["text"] == "Добрый день"
    form = control.act("frame", user_id=7, placement="IM_SIDEBAR", options={"dialogId": "chat112"})
    assert form["action"].startswith(f"{application.url}/b24/default/placement/?DOMAIN=")
    assert form["window_name"].endswith(f"|0|{form['sid']}")


def test_state_waits_for_a_change(control: Controller, portal: LocalPortal) -> None:
    start = control.get("state")["rev"]
    threading.Timer(0.15, lambda: portal.client_writes("Здравствуйте")).start()
    began = time.monotonic()

    state = control.get("state", since=start, wait=10)

    assert state["rev"] > start
    assert 0.1 < time.monotonic() - began < 5


def test_wrong_requests_are_explained(control: Controller) -> None:
    answer = requests.post(
        f"{control.url}/_control/client-message", json={}, headers=control.headers, timeout=5
    )

    assert (answer.status_code, answer.json()) == (400, {"error": "KeyError: 'text'"})


def test_process_tells_where_it_is_and_stops_on_sigterm(application: Application) -> None:
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "integrations.bitrix24.local_portal",
            *("--control-key", "k1", "--portals", "2", "--rate", "0"),
            *("--app-url", application.url, "--client-id", "local.x", "--client-secret", "s"),
        ],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        text=True,
    )
    try:
        assert process.stdout is not None
        about = [json.loads(process.stdout.readline()) for _ in range(2)]
        control = Controller(about[1]["url"], "k1")
        reply = control.act("install", kind="server")

        assert reply["status"] == 200
        assert about[0]["oauth_url"] == about[1]["oauth_url"]
        assert about[0]["member_id"] != about[1]["member_id"]
        form = application.last("ONAPPINSTALL")
        assert form["auth"]["member_id"] == about[1]["member_id"]
        assert form["auth"]["server_endpoint"] == f"{about[0]['oauth_url']}/rest/"
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert process.stdout is not None
        process.stdout.close()
