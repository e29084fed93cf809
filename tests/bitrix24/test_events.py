"""Events and robot calls as they come over the wire, told in named values."""

from __future__ import annotations

from datetime import datetime

import pytest

from integrations.bitrix24 import events
from integrations.bitrix24.crm import ItemRef
from integrations.bitrix24.events import Author, NotAnEvent, parse_event, source_key
from integrations.bitrix24.forms import encode_form, parse_body
from tests.bitrix24.conftest import form

MEMBER = "0123456789abcdef0123456789abcdef"
AUTH = {"member_id": MEMBER, "application_token": "51ab"}


def test_a_clients_message_is_read_from_the_form():
    event = parse_event(form("bot_message_add"))

    message = event.payload
    assert event.name == "ONIMBOTV2MESSAGEADD"
    assert event.handler_id == "31"
    assert event.ts == 1787000001
    assert event.auth.member_id == MEMBER
    assert event.auth.application_token == "51ab" * 8
    assert event.auth.access_token == ""
    assert isinstance(message, events.BotMessage)
    assert message.kind == "add"
    assert (message.bot_id, message.bot_code) == (456, "acme_ai_bot")
    assert (message.message_id, message.chat_id, message.dialog_id) == (90101, 112, "chat112")
    assert message.author is Author.CLIENT
    assert (message.author_id, message.author_name) == (880, "Иван")
    assert message.text.endswith("Мой телефон +7 999 123-45-67")
    assert message.at == datetime.fromisoformat("2026-08-21T10:00:00+03:00")
    assert message.files == ("3311", "3312")
    assert message.line
    assert (message.line.connector, message.line.line_id) == ("telegrambot", 22)
    assert message.line.imol == "imol|telegrambot|22|998877|880"
    assert message.session_id == 4411
    assert message.crm == (ItemRef(1, 77),)
    assert message.language == "ru"
    assert message.bot_auth
    assert message.bot_auth.access_token == "b7" * 12
    assert message.bot_auth.user_id == 456
    assert not message.blocked


def test_the_old_bots_event_tells_the_same_story():
    new, old = (
        parse_event(form(name)).payload for name in ("bot_message_add", "bot_message_add_legacy")
    )

    assert isinstance(new, events.BotMessage)
    assert isinstance(old, events.BotMessage)
    same = (
        "kind",
        "message_id",
        "chat_id",
        "dialog_id",
        "author",
        "author_id",
        "author_name",
        "line",
        "session_id",
        "crm",
        "language",
        "bot_code",
    )
    assert {name: getattr(old, name) for name in same} == {
        name: getattr(new, name) for name in same
    }
    assert old.bot_id == 39
    assert old.text == "Сколько стоит установка?"
    assert old.bot_auth
    assert old.bot_auth.user_id == 39


@pytest.mark.parametrize(
    ("name", "author"),
    [
        ("bot_message_operator", Author.OPERATOR),
        ("bot_message_whisper", Author.WHISPER),
        ("bot_message_update", Author.CLIENT),
    ],
)
def test_the_author_of_a_message_is_told(name, author):
    message = parse_event(form(name)).payload

    assert isinstance(message, events.BotMessage)
    assert message.author is author


@pytest.mark.parametrize(
    ("author_id", "user", "params", "system", "author"),
    [
        (0, {}, {}, False, Author.SYSTEM),
        (7, {}, {}, True, Author.SYSTEM),
        (456, {}, {}, False, Author.BOT),
        (457, {"bot": "1"}, {}, False, Author.BOT),
        (457, {"isbot": "Y"}, {}, False, Author.BOT),
        (880, {"connector": "1"}, {}, False, Author.CLIENT),
        (880, {"connector": True}, {}, False, Author.CLIENT),
        (880, {"isconnector": "Y"}, {}, False, Author.CLIENT),
        (880, {"externalauthid": "imconnector"}, {}, False, Author.CLIENT),
        (880, {}, {}, False, Author.CLIENT),
        (7, {}, {}, False, Author.OPERATOR),
        (7, {"connector": "0", "bot": "0"}, {}, False, Author.OPERATOR),
        (7, {"id": "7"}, {"componentid": "HiddenMessage"}, False, Author.WHISPER),
        (7, {"id": "7"}, {"class": "bx-content-item-system x"}, False, Author.WHISPER),
        (7, {"id": "7"}, {"skipconnector": "Y"}, False, Author.WHISPER),
        (456, {"bot": "1"}, {"skipconnector": "Y"}, False, Author.WHISPER),
    ],
)
def test_who_wrote_it(author_id, user, params, system, author):
    line = events.split_entity_id("livechat|22|1761|880")

    assert (
        events.author_of(
            author_id=author_id, bot_id=456, user=user, params=params, is_system=system, line=line
        )
        is author
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "bot_message_delete",
            events.MessageDeleted(bot_id=456, message_id=90101, chat_id=112, dialog_id="chat112"),
        ),
        ("bot_deleted", events.BotDeleted(bot_id=456, bot_code="acme_ai_bot")),
        ("lead_add", events.CrmChanged(entity_type_id=1, item_id=77, change="add")),
        ("lead_add_by_robot", events.CrmChanged(entity_type_id=1, item_id=78, change="add")),
        ("smart_process_add", events.CrmChanged(entity_type_id=1220, item_id=22, change="add")),
        ("activity_add", events.ActivityChanged(activity_id=3100, change="add")),
        ("app_install", events.AppInstalled(version="1", language="ru")),
        ("app_uninstall", events.AppUninstalled(clean=True, language="ru")),
    ],
)
def test_the_other_events_are_read(name, expected):
    assert parse_event(form(name)).payload == expected


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        (
            "onCrmDealUpdate",
            {"FIELDS": {"ID": "5"}},
            events.CrmChanged(entity_type_id=2, item_id=5, change="update"),
        ),
        (
            "ONCRMCONTACTDELETE",
            {"FIELDS": {"ID": 5}},
            events.CrmChanged(entity_type_id=3, item_id=5, change="delete"),
        ),
        (
            "ONCRMDYNAMICITEMADD_147",
            {"FIELDS": {"ID": "1"}},
            events.CrmChanged(entity_type_id=147, item_id=1, change="add"),
        ),
        ("ONCRMLEADUSERFIELDSETENUMVALUES", {}, events.FieldsChanged(entity_type_id=1)),
        ("ONCRMTYPEUSERFIELDADD", {}, events.FieldsChanged()),
        (
            "ONAPPUPDATE",
            {"VERSION": 4, "PREVIOUS_VERSION": "3"},
            events.AppUpdated(version="4", previous_version="3"),
        ),
        ("ONAPPUNINSTALL", {"CLEAN": 0}, events.AppUninstalled()),
        (
            "ONAPPPAYMENT",
            {"STATUS": "P", "PAYMENT_EXPIRED": "Y"},
            events.AppPayment(status="P", expired=True),
        ),
        ("ONAPPTEST", {"QUERY": {"a": "1"}}, events.AppTest(query={"a": "1"})),
        ("ONCRMLEADADD", {"FIELDS": {}}, None),
        ("ONCRMLEADADD", [], None),
        ("ONCRMLEADADD", None, None),
        ("ONIMBOTV2MESSAGEADD", {}, None),
        ("ONIMBOTV2REACTIONCHANGE", {"reaction": "like"}, None),
        ("ONSESSIONSTART", {"DATA": {}}, None),
    ],
)
def test_json_and_odd_shapes_are_read_too(name, data, expected):
    event = parse_event({"event": name, "data": data, "auth": AUTH})

    assert event.payload == expected
    assert event.name == name.upper()


def test_a_bot_joins_and_a_command_is_called():
    joined = parse_event(form("bot_joined")).payload
    called = parse_event(form("bot_command")).payload

    assert isinstance(joined, events.BotJoined)
    assert (joined.bot_id, joined.chat_id, joined.session_id) == (456, 112, 4411)
    assert isinstance(called, events.CommandCalled)
    assert (called.command, called.params, called.context) == ("help", "кратко", "textarea")
    assert called.message
    assert called.message.author is Author.OPERATOR


def test_a_robots_call_is_read():
    event = parse_event(form("robot_call"))

    call = event.payload
    assert event.name == events.ROBOT
    assert isinstance(call, events.RobotCall)
    assert call.code == "ai_reply"
    assert call.document == ItemRef(1, 77)
    assert call.document_id == "LEAD_77"
    assert call.event_token == "66c5d1f0a1b2c3.12345678|A55555_1|Zx8k32|.4f1e"
    assert call.properties["text"] == "Когда приедет мастер?"
    assert call.waits
    assert call.timeout_seconds == 300
    assert call.auth.user_id == 1


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (["crm", "CCrmDocumentDeal", "DEAL_5"], ItemRef(2, 5)),
        (
            [
                "crm",
                "Bitrix\\\\Crm\\\\Integration\\\\BizProc\\\\Document\\\\Dynamic",
                "DYNAMIC_147_1",
            ],
            ItemRef(147, 1),
        ),
        ({"0": "crm", "1": "X", "2": "SMART_INVOICE_3"}, ItemRef(31, 3)),
        ("CONTACT_3", ItemRef(3, 3)),
        (["lists", "BizprocDocument", "15"], None),
        (["lists", "BizprocDocument", "LEAD_15"], None),
        (["crm", "X", "15"], None),
        ([], None),
    ],
)
def test_documents_of_workflows_become_items(document, expected):
    assert events.document_ref(document) == expected


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"event": "ONCRMLEADADD"},
        {"event": "ONCRMLEADADD", "auth": {"application_token": "51ab"}},
        {"event": "ONCRMLEADADD", "auth": {"member_id": "../../etc"}},
        {"event": "", "auth": AUTH},
        {"event": "<script>", "auth": AUTH},
        {"event": ["x"], "auth": AUTH},
        {"event_token": "t", "auth": AUTH},
        {"auth": "x", "event": "ONCRMLEADADD"},
    ],
)
def test_what_is_no_event_is_refused(body):
    with pytest.raises(NotAnEvent):
        parse_event(body)


def test_missing_parts_of_a_message_do_no_harm():
    bare = {
        "bot": {"id": 456, "code": "c", "auth": []},
        "message": {"id": 5, "chat_id": 112, "author_id": 880, "text": None, "params": []},
        "chat": {
            "dialogId": "chat112",
            "entityType": "LINES",
            "entityId": "telegrambot|22|998|880",
            "entityData1": "",
            "entityData2": None,
        },
    }
    message = parse_event(
        {"event": "ONIMBOTV2MESSAGEADD", "ts": 1787000001, "data": bare, "auth": AUTH}
    ).payload

    assert isinstance(message, events.BotMessage)
    assert message.chat_id == 112
    assert message.author is Author.CLIENT
    assert message.text == ""
    assert message.crm == ()
    assert message.session_id is None
    assert message.bot_auth is None
    assert message.at.timestamp() == 1787000001


def test_a_private_chat_with_the_bot_has_no_line():
    data = {
        "bot": {"id": 456},
        "message": {"id": 5, "authorId": 7, "text": "hi"},
        "chat": {"id": 9, "dialogId": "7", "entityType": ""},
        "user": {"id": 7},
    }
    message = parse_event({"event": "ONIMBOTV2MESSAGEADD", "data": data, "auth": AUTH}).payload

    assert isinstance(message, events.BotMessage)
    assert message.line is None
    assert message.dialog_id == "7"
    assert message.author is Author.OPERATOR


def test_fetched_events_are_read_like_posted_ones():
    posted = parse_event(form("bot_message_add"))
    data = {
        **posted.raw["data"],
        "message": {**posted.raw["data"]["message"], "id": 90101, "isSystem": False},
    }
    fetched = events.parse_fetched(
        {
            "eventId": 1001,
            "type": "ONIMBOTV2MESSAGEADD",
            "date": "2026-08-21T10:00:00+03:00",
            "data": data,
        },
        posted.auth,
    )

    assert fetched.payload == posted.payload
    assert source_key(fetched) == source_key(posted)


@pytest.mark.parametrize(
    ("text", "item", "session_id", "blocked"),
    [
        ("Y|LEAD|77|N|N|4411|1787000000|22|0|", ItemRef(1, 77), 4411, False),
        ("Y|LEAD|1205|N|N|321|1773223732|0|0|0", ItemRef(1, 1205), 321, False),
        ("Y|DYNAMIC_147|3|N|N|321|1|0|1787000000|TIME_LIMIT", ItemRef(147, 3), 321, True),
        ("N|NONE|0|N|N|0|0|0|0|", None, None, False),
        ("", None, None, False),
        ("|||||x", None, None, False),
    ],
)
def test_entity_data_1(text, item, session_id, blocked):
    assert events.EntityData1.parse(text) == (item, session_id, blocked)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("LEAD|1205|COMPANY|0|CONTACT|9|DEAL|0", (ItemRef(1, 1205), ItemRef(3, 9))),
        ("LEAD|0|COMPANY|0|CONTACT|0|DEAL|0", ()),
        ("", ()),
        ("LEAD", ()),
        ("UNKNOWN|5|DEAL|6", (ItemRef(2, 6),)),
    ],
)
def test_crm_bindings(text, expected):
    assert events.parse_crm_bindings(text) == expected


def test_a_connectors_chat_id_may_contain_bars():
    line = events.split_entity_id("custom|22|a-b|c|d")

    assert line
    assert (line.connector_chat_id, line.connector_user_id) == ("a-b", "c|d")
    assert events.split_entity_id("chat112") is None
    assert events.split_entity_id("") is None


def test_the_same_message_heard_twice_has_one_key():
    one = form("bot_message_add")
    again = {**one, "ts": "1787000099", "event_handler_id": "77"}

    assert source_key(parse_event(one)) == source_key(parse_event(again)) == "bot-message:456:90101"


def test_different_things_have_different_keys():
    names = [
        "bot_message_add",
        "bot_message_update",
        "bot_message_operator",
        "bot_joined",
        "bot_message_delete",
        "bot_command",
        "lead_add",
        "lead_add_by_robot",
        "smart_process_add",
        "activity_add",
        "app_install",
        "app_uninstall",
        "robot_call",
    ]
    bodies = [form(name) for name in names]
    bodies.append({**form("lead_add"), "ts": "1787000999"})
    keys = [source_key(parse_event(body)) for body in bodies]

    assert len(set(keys)) == len(keys)
    assert all(len(key) <= 100 for key in keys)
    assert not any("66c5d1f0a1b2c3" in key for key in keys)


def test_without_a_time_nothing_is_taken_for_a_repeat():
    event = parse_event({"event": "ONCRMLEADADD", "data": {"FIELDS": {"ID": 1}}, "auth": AUTH})

    assert source_key(event) != source_key(event)


def test_tokens_do_not_show_in_texts():
    shown = (
        repr(parse_event(form("app_install")))
        + repr(parse_event(form("robot_call")))
        + repr(parse_event(form("bot_message_add")))
    )

    for secret in ("a1b2a1b2", "d0d0d0d0", "b7b7b7b7", "51ab51ab", "4f1e"):
        assert secret not in shown


def test_an_event_survives_the_way_through_a_form():
    body = {"event": "ONCRMLEADADD", "data": {"FIELDS": {"ID": 7}}, "ts": 5, "auth": AUTH}

    assert parse_event(parse_body("", encode_form(body))).payload == parse_event(body).payload
