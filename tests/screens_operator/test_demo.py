"""The demo's own interface over a local portal: what newcomers see and do."""

from __future__ import annotations

import json

import pytest

from bx_gpt_app.assistant.models import Dialog
from bx_gpt_app.portals.models import AppRegistration, Portal
from bx_gpt_app.screens import demo
from integrations.bitrix24.local_portal import LocalPortal, PortalOptions

KEY = "demo-control-key"


class Demo:
    def __init__(self, b24: LocalPortal, client) -> None:
        self.b24, self.client = b24, client
        page = client.get("/demo/?language=ru", headers={"host": "127.0.0.1:8000"})
        self.page = page
        self.token = page.content.decode().split('name="demo-token" content="')[1].split('"')[0]

    def post(self, path: str, **data):
        return self.client.post(
            f"/demo/{path}/",
            json.dumps(data),
            content_type="application/json",
            headers={"x-demo-token": self.token, "host": "127.0.0.1:8000"},
        )

    def state(self, since: str = "0", chat: object = ""):
        return self.client.get(f"/demo/state/ru/?since={since}&chat={chat}")


@pytest.fixture
def show(transactional_db, live_server, settings, client):
    settings.DEMO = True
    settings.DEMO_CONTROL_KEY = KEY
    settings.PUBLIC_URL = live_server.url
    options = PortalOptions(
        app_base_url=live_server.url, app_code="demo", rate=None, control=True, control_key=KEY,
        client_id="local.demo", client_secret=KEY,
    )  # fmt: skip
    with LocalPortal(options) as b24:
        settings.DEMO_PORTAL_URL = b24.url
        demo.prepare()
        yield Demo(b24, client)


def test_preparing_installs_and_configures_and_may_be_repeated(show):
    demo.prepare()

    portal = Portal.objects.get()
    assert portal.state == "active"
    assert portal.snippets.count() >= 8
    assert AppRegistration.objects.get(code="demo").client_id == "local.demo"
    assert {line.connected for line in portal.lines.all()} == {True}
    assert show.b24.world.installation.state == "installed"


def test_an_earlier_demo_is_forgotten(show):
    app = AppRegistration.objects.get(code="demo")
    Portal.objects.create(
        registration=app, member_id="old", domain="x", client_endpoint="http://x/rest/"
    )

    demo.prepare()

    assert Portal.objects.count() == 1


def test_page_frames_the_other_host_of_this_machine(show):
    policy = show.page["Content-Security-Policy"]

    assert "frame-src 'self' http://localhost:8000" in policy
    assert "form-action 'self' http://localhost:8000" in policy
    assert show.page.status_code == 200


def test_client_writes_and_the_state_shows_chat_and_card(show):
    empty = show.state().json()
    chat_id = show.post("say", chat_id=None, text="Где мой заказ?").json()["chat_id"]

    full = show.state(chat=chat_id).json()

    assert empty["chats"] == []
    assert full["chats"][0]["id"] == chat_id
    assert {"author": "client", "text": "Где мой заказ?"}.items() <= full["chats"][0]["messages"][
        -1
    ].items()
    assert full["item"]["type"] == "Лид"
    assert [one["name"] for one in full["item"]["fields"]][:3] == ["NAME", "LAST_NAME", "PHONE"]
    assert full["line"]["mode"] == "suggest"
    show.b24.wait_deliveries()
    rev = show.state(chat=chat_id).json()["rev"]
    assert show.state(since=rev, chat=chat_id).status_code == 204


def test_frame_is_the_real_entry_seen_from_this_page(show):
    chat_id = show.post("say", chat_id=None, text="Здравствуйте").json()["chat_id"]

    form = show.post("frame/ru", placement="IM_SIDEBAR", chat_id=chat_id, role="operator").json()

    assert form["action"].startswith("http://localhost:8000/b24/demo/placement/?")
    assert form["window_name"] == f"127.0.0.1:8000|0|{form['sid']}"
    assert form["fields"]["PLACEMENT"] == "IM_SIDEBAR"
    assert form["auth"]["AUTH_ID"] == form["fields"]["AUTH_ID"]


def test_mode_is_carried_out_on_the_portal(show):
    assert show.post("mode", mode="off").status_code == 204

    off = show.state().json()["line"]["mode"]
    show.post("mode", mode="auto")

    assert off == "off"
    assert show.state().json()["line"]["mode"] == "auto"
    assert show.post("mode", mode="nonsense").status_code == 400


def test_operator_writes_into_the_chat(show):
    chat_id = show.post("say", chat_id=None, text="Здравствуйте").json()["chat_id"]

    show.post("operator", chat_id=chat_id, text="Добрый день, это Ольга")

    last = show.state(chat=chat_id).json()["chats"][0]["messages"][-1]
    assert (last["author"], last["text"]) == ("operator", "Добрый день, это Ольга")


def test_starting_over_empties_the_page(show):
    show.post("say", chat_id=None, text="Здравствуйте")
    show.b24.wait_deliveries()
    assert Dialog.objects.exists()

    assert show.post("reset").status_code == 204

    assert show.state().json()["chats"] == []
    assert not Dialog.objects.exists()


def test_strangers_post_is_refused_and_a_flood_is_limited(show):
    foreign = show.client.post("/demo/say/", "{}", content_type="application/json")
    answers = {show.post("mode", mode="nonsense").status_code for _ in range(70)}

    assert foreign.status_code == 403
    assert answers == {400, 429}


def test_silent_portal_is_a_503(show):
    show.b24.stop()

    assert show.state().status_code == 503


@pytest.mark.parametrize("path", ["", "state/ru/", "portal_frame.js"])
def test_demo_is_not_there_unless_it_is_switched_on(client, db, settings, path):
    settings.DEMO = settings.DEBUG = False

    assert client.get(f"/demo/{path}").status_code == 404
