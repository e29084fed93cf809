"""The whole client side against a portal that was written from the documentation by itself."""

from __future__ import annotations

from uuid import uuid4

import pytest

from integrations.bitrix24 import bots, crm, errors, openlines, placements
from integrations.bitrix24.client import Command, PortalClient
from integrations.bitrix24.crm import ItemRef, Plan, Wanted, plan_changes
from integrations.bitrix24.events import Author
from integrations.bitrix24.limiter import Bucket, MemoryLimiter
from integrations.bitrix24.local_portal import LocalPortal, PortalOptions
from integrations.bitrix24.oauth import AppCredentials, AuthorizationServer
from tests.bitrix24.portal_stand import Answer, open_stand


class Grant:
    """Tokens of one user, renewed at the authorization server."""

    def __init__(self, portal, server, user_id):
        self.access, self.refresh = portal.issue_tokens(user_id)
        self.app = AppCredentials(
            client_id=portal.options.client_id, client_secret=portal.options.client_secret
        )
        self.server = server
        self.renewed = 0

    def access_token(self):
        return self.access

    def renew(self, stale):
        tokens = self.server.refresh(self.app, self.refresh)
        self.access, self.refresh = tokens.access_token, tokens.refresh_token
        self.renewed += 1
        return self.access


@pytest.fixture
def app():
    """Where the portal delivers its events."""
    with open_stand() as one:
        yield one


@pytest.fixture
def portal(app):
    options = PortalOptions(app_base_url=app.url, app_code="default", rate=None)
    with LocalPortal(options) as one:
        yield one


@pytest.fixture
def server(portal, guard, session):
    return AuthorizationServer(None, allowed=[portal.oauth_url], guard=guard, session=session)


@pytest.fixture
def grant(portal, server):
    return Grant(portal, server, 1)


@pytest.fixture
def client(portal, server, grant, guard, session):
    info = server.app_info(grant.access)
    return PortalClient(
        endpoint=info.client_endpoint,
        tokens=grant,
        limiter=MemoryLimiter(Bucket(1000, 1000)),
        session=session,
        guard=guard,
    )


def test_a_token_is_verified_renewed_and_used(portal, server, grant, client):
    info = server.app_info(grant.access)

    assert info.client_id == portal.options.client_id
    assert info.user_id == 1
    portal.expire_access_tokens()
    assert client.call("user.admin") is True
    assert grant.renewed == 1
    portal.expire_access_tokens()
    portal.kill_refresh_tokens()
    with pytest.raises(errors.AccessLost) as caught:
        client.call("user.admin")
    assert caught.value.state == "broken"


def test_a_portal_that_moves_is_followed(portal, client):
    portal.move_to("localhost")

    assert client.call("user.admin") is True
    assert client.endpoint.startswith("http://localhost:")


def test_a_card_is_filled_in(portal, client):
    item_id = portal.add_item(1, {"title": "Иван - Telegram", "name": "Иван"})
    ref = ItemRef(1, item_id if isinstance(item_id, int) else int(item_id["id"]))
    infos = crm.read_fields(client, 1)
    plan = plan_changes(
        crm.read_item(client, ref),
        infos,
        [
            Wanted("NAME+LAST_NAME", "Иван Петров"),
            Wanted("PHONE", "+79991234567", "append"),
            Wanted("EMAIL", "ivan@example.ru", "append"),
            Wanted("UF_CRM_TOPIC", "ремонт", "overwrite"),
            Wanted("UF_CRM_EQUIPMENT", ["котёл"], "append"),
            Wanted("UF_CRM_BUDGET", 12000),
            Wanted("UF_CRM_VISIT", "2026-08-22"),
            Wanted("UF_CRM_URGENT", True),
            Wanted("OPPORTUNITY", 12000),
            Wanted("STATUS_ID", "CONVERTED", "overwrite"),
        ],
        currency="RUB",
    )

    report = crm.write_batch(client, ref, plan, ("ИИ-помощник", "Заполнено"))
    again = crm.update_item(client, ref, plan.fields, {})

    assert plan.skipped == {"NAME": "same", "STATUS_ID": "stage"}
    assert report.refused == {}
    assert set(report.written) == {
        "LAST_NAME",
        "PHONE",
        "EMAIL",
        "UF_CRM_TOPIC",
        "UF_CRM_EQUIPMENT",
        "UF_CRM_BUDGET",
        "UF_CRM_VISIT",
        "UF_CRM_URGENT",
        "OPPORTUNITY",
    }
    assert report.note_id
    assert report.after
    assert crm.phones(report.after) == ("+79991234567",)
    assert again.refused == {}
    assert crm.find_people(client, phone="8 999 123-45-67") == (ref,)


def test_a_bad_value_is_left_out_and_an_unknown_name_noticed(portal, client):
    made = portal.add_item(1, {"title": "x"})
    ref = ItemRef(1, made if isinstance(made, int) else int(made["id"]))

    report = crm.write_batch(
        client,
        ref,
        Plan(fields={"lastName": "Петров", "UF_CRM_TOPIC": 99999, "UF_CRM_NONE": "x"}),
        None,
    )

    assert "LAST_NAME" in report.written
    assert set(report.refused) == {"UF_CRM_TOPIC", "UF_CRM_NONE"}


def test_a_client_is_answered_and_handed_over(portal, app, client):
    app.script["/b24/default/events/"] = Answer({})
    heard = []
    app.answer = lambda asked: heard.append(asked) or Answer({})
    api = bots.bot_api(client, bots.choose_bot_api(client))
    bot = api.register("acme_ai_bot", f"{app.url}/b24/default/events/", bots.BotProfile("ИИ"))
    previous = openlines.connect_bot(client, 22, bot.id)
    chat_id, message_id = portal.client_writes("Здравствуйте!", name="Иван", line_id=22)

    key = str(uuid4())
    sent = api.send(bot.id, f"chat{chat_id}", "Добрый день!", key=key)
    assert api.send(bot.id, f"chat{chat_id}", "Добрый день!", key=key) == sent
    api.send(bot.id, f"chat{chat_id}", "Черновик", key=str(uuid4()), whisper=True)
    assert [text for text in map(str, portal.delivered(chat_id)) if "Добрый" in text]
    assert not [text for text in map(str, portal.delivered(chat_id)) if "Черновик" in text]

    dialog = openlines.read_dialog(client, f"chat{chat_id}")
    assert dialog.line
    assert dialog.line.line_id == 22
    command = openlines.history_command(session_id=dialog.session_id)
    history = openlines.parse_history(client.call(command.method, command.params))
    told = {one.id: one.author for one in history.messages}
    assert told[message_id] is Author.CLIENT
    assert told[sent] is Author.BOT

    assert openlines.hand_over(client, chat_id) is True
    assert openlines.hand_over(client, chat_id) is False
    openlines.restore_bot(client, 22, previous)
    assert openlines.read_line(client, 22).welcome_bot_id is None


def test_lines_are_listed(client):
    lines = openlines.list_lines(client)

    assert [line.id for line in lines] == [22, 23]
    assert all(line.title for line in lines)


def test_everything_is_bound_and_bound_again(app, client):
    wanted = placements.wanted_for(f"{app.url}/b24/default/", robot_user_id=1)

    first = placements.bind_everything(client, wanted)
    second = placements.bind_everything(client, wanted)

    assert first.failed == ()
    assert second.failed == ()
    assert second.done == ("robot ai_reply",)


def test_a_batch_tells_results_and_refusals_apart(client):
    reply = client.batch({"me": Command("profile"), "no": Command("no.such.method")})

    assert int(reply.get("me")["ID"]) == 1
    assert isinstance(reply.errors["no"], errors.MethodMissing)


@pytest.mark.parametrize("trouble", ["drop", "html"])
def test_a_portal_in_trouble_is_unavailable_and_comes_back(portal, client, trouble):
    portal.go_down(trouble)
    with pytest.raises(errors.Unavailable):
        client.call("profile")
    portal.come_up()
    assert client.call("profile")
