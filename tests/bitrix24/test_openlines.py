"""Sessions and the set-up of open lines."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from integrations.bitrix24 import errors, openlines
from integrations.bitrix24.crm import ItemRef
from integrations.bitrix24.events import Author
from integrations.bitrix24.openlines import WorkingHours, parse_line
from tests.bitrix24.conftest import answer_of
from tests.bitrix24.portal_stand import refusal, result

MOSCOW = ZoneInfo("Europe/Moscow")


def test_a_sessions_history_is_read_in_order():
    history = openlines.parse_history(answer_of("session_history"))

    assert [(one.id, one.author, one.author_name) for one in history.messages] == [
        (85833, Author.CLIENT, "Иван"),
        (85834, Author.SYSTEM, ""),
        (85840, Author.BOT, "ИИ-помощник"),
        (85845, Author.WHISPER, "Анна Смирнова"),
        (85851, Author.OPERATOR, "Анна Смирнова"),
    ]
    assert history.messages[0].files == ("5437",)
    assert history.messages[0].at == datetime.fromisoformat("2026-03-11T13:10:00+01:00")
    assert history.chat_id == 1763
    assert history.session_id == 321
    assert history.line
    assert history.line.line_id == 22
    assert history.crm == (ItemRef(1, 1205), ItemRef(3, 9))
    assert not history.blocked


@pytest.mark.parametrize(
    ("chat", "present", "holds"),
    [
        ({"owner": "456"}, [456, 880], True),
        ({"owner": 7}, [456, 7, 880], False),
        ({"owner": "0"}, [456, 880], False),
        ({}, [456, 880], True),
        ({}, [7, 880], False),
        ({}, [], True),
    ],
    ids=["bot", "operator", "nobody", "bot is there", "bot is not there", "not told"],
)
def test_history_tells_whether_the_bot_holds_the_session(chat, present, holds):
    history = openlines.parse_history(
        {"chatId": 5, "sessionId": 9, "chat": {"5": chat}, "userInChat": {"5": present}}
    )

    assert history.is_held_by(456) is holds


def test_history_names_a_later_session_of_its_chat():
    chat = {"entityData1": "Y|LEAD|77|N|N|12|1787000000|22|0|"}

    history = openlines.parse_history({"chatId": 5, "sessionId": 9, "chat": {"5": chat}})

    assert (history.session_id, history.latest_session_id) == (9, 12)


def test_traces_of_sessions_are_read_oldest_first():
    rows = [
        {"ID": "3102", "PROVIDER_TYPE_ID": "23", "ASSOCIATED_ENTITY_ID": "322", "COMPLETED": "Y"},
        {"ID": "3101", "PROVIDER_TYPE_ID": "22", "ASSOCIATED_ENTITY_ID": "321", "COMPLETED": "N"},
        {"ID": "3100", "PROVIDER_TYPE_ID": "", "ASSOCIATED_ENTITY_ID": "0"},
    ]

    first, second = openlines.parse_session_traces(rows)

    assert (first.activity_id, first.session_id, first.line_id, first.done) == (
        3101,
        321,
        22,
        False,
    )
    assert (second.activity_id, second.done) == (3102, True)
    assert openlines.parse_session_traces([]) == ()
    assert openlines.session_traces_command(3100).params["filter"][">ID"] == 3100
    assert openlines.session_traces_command(None).params["order"] == {"ID": "DESC"}


@pytest.mark.parametrize("value", [[], {}, None, {"message": [], "users": [], "chat": []}])
def test_an_empty_history_is_empty(value):
    assert openlines.parse_history(value).messages == ()


def test_history_is_asked_for_by_session_or_chat():
    assert openlines.history_command(session_id=321, chat_id=5).params == {"SESSION_ID": 321}
    assert openlines.history_command(chat_id=5).params == {"CHAT_ID": 5}


def test_own_messages_are_found_in_a_chat_by_their_key():
    key = "0c42a08f-4235-49fc-994f-c9bccd499ac1"
    messages = openlines.parse_chat_messages(
        {
            "chat_id": 112,
            "messages": [
                {
                    "id": 90102,
                    "author_id": 456,
                    "date": "2026-08-21T10:00:05+03:00",
                    "text": "Да",
                    "uuid": key,
                    "params": [],
                },
                {
                    "id": 90101,
                    "author_id": 880,
                    "date": "2026-08-21T10:00:00+03:00",
                    "text": "?",
                    "params": {"FILE_ID": [5255]},
                },
            ],
            "users": [
                {"id": 880, "name": "Иван", "connector": True},
                {"id": 456, "name": "ИИ", "bot": True},
            ],
            "files": [],
        }
    )

    assert [(one.id, one.author, one.uuid) for one in messages] == [
        (90101, Author.CLIENT, ""),
        (90102, Author.BOT, key),
    ]
    assert messages[0].files == ("5255",)
    assert openlines.parse_chat_messages([]) == ()


def test_a_dialog_is_read_as_it_is_now(client, stand):
    stand.result(
        "imopenlines.dialog.get",
        {
            "id": 112,
            "dialog_id": "chat112",
            "name": "Иван",
            "owner": "456",
            "entity_type": "LINES",
            "entity_id": "telegrambot|22|998877|880",
            "entity_data_1": "Y|DEAL|5|N|N|4411|1|22|1787000000|TIME",
            "entity_data_2": "LEAD|77|COMPANY|0|CONTACT|0|DEAL|0",
            "last_message_id": "90101",
        },
    )

    dialog = openlines.read_dialog(client, "chat112")

    assert dialog.owner == 456
    assert dialog.session_id == 4411
    assert dialog.crm == (ItemRef(1, 77), ItemRef(2, 5))
    assert dialog.blocked
    assert dialog.last_message_id == 90101
    assert dialog.line
    assert dialog.line.connector == "telegrambot"


def test_a_dialog_that_is_none_is_refused(client, stand):
    stand.result("imopenlines.dialog.get", [])

    with pytest.raises(errors.CallRejected):
        openlines.read_dialog(client, "chat1")


def test_chats_of_an_item_are_numbered_newest_first():
    assert openlines.parse_chats_of_item([{"CHAT_ID": "5"}, {"CHAT_ID": 12}, {}]) == (12, 5)
    assert openlines.parse_chats_of_item([]) == ()


HOURS = parse_line(answer_of("line")).hours


@pytest.mark.parametrize(
    ("hours", "moment", "is_open"),
    [
        (HOURS, "2026-08-21T09:00", True),
        (HOURS, "2026-08-21T08:59", False),
        (HOURS, "2026-08-21T18:29", True),
        (HOURS, "2026-08-21T18:30", False),
        (HOURS, "2026-08-22T12:00", False),
        (HOURS, "2027-01-01T12:00", False),
        (WorkingHours(), "2026-08-22T03:00", True),
        (
            parse_line(
                {
                    "ID": 1,
                    "WORKTIME_ENABLE": "Y",
                    "WORKTIME_FROM": "0",
                    "WORKTIME_TO": "23.59",
                    "WORKTIME_TIMEZONE": "Europe/Moscow",
                    "WORKTIME_DAYOFF": [""],
                    "WORKTIME_HOLIDAYS": [""],
                }
            ).hours,
            "2026-08-22T23:59",
            True,
        ),
        (
            parse_line(
                {
                    "ID": 1,
                    "WORKTIME_ENABLE": "Y",
                    "WORKTIME_FROM": "20:00",
                    "WORKTIME_TO": "06:00",
                    "WORKTIME_TIMEZONE": "Europe/Moscow",
                }
            ).hours,
            "2026-08-22T23:00",
            True,
        ),
        (
            parse_line(
                {
                    "ID": 1,
                    "WORKTIME_ENABLE": "Y",
                    "WORKTIME_FROM": "20:00",
                    "WORKTIME_TO": "06:00",
                    "WORKTIME_TIMEZONE": "Europe/Moscow",
                }
            ).hours,
            "2026-08-22T12:00",
            False,
        ),
    ],
)
def test_working_hours(hours, moment, is_open):
    at = datetime.fromisoformat(moment).replace(tzinfo=MOSCOW)

    assert hours.is_open(at) is is_open
    assert hours.is_open(at.astimezone(ZoneInfo("UTC"))) is is_open


@pytest.mark.parametrize(
    ("text", "clock"),
    [
        ("9", "09:00"),
        ("9.30", "09:30"),
        ("9.3", "09:30"),
        ("09:05", "09:05"),
        ("23.59", "23:59"),
        ("24", "23:59"),
        ("0", "00:00"),
        ("18:00:00", "18:00"),
        ("25", "00:00"),
        ("x", "00:00"),
        (9.5, "09:50"),
    ],
)
def test_clocks_are_read_as_the_portal_writes_them(text, clock):
    assert parse_line({"ID": 1, "WORKTIME_FROM": text}).hours.opens.isoformat("minutes") == clock


def test_an_unknown_time_zone_does_not_stop_the_line():
    hours = parse_line(
        {
            "ID": 1,
            "WORKTIME_ENABLE": "Y",
            "WORKTIME_FROM": "9",
            "WORKTIME_TO": "18",
            "WORKTIME_TIMEZONE": "Mars/Base",
        }
    ).hours

    assert hours.is_open(datetime(2026, 8, 21, 12, tzinfo=ZoneInfo("UTC")))


def test_lines_are_listed_and_what_the_list_leaves_out_is_read(client, stand):
    full = answer_of("line")
    stand.result(
        "imopenlines.config.list.get", [full, {"ID": "23", "LINE_NAME": "VK", "ACTIVE": "N"}]
    )
    stand.result(
        "batch",
        {
            "result": {
                "23": {
                    **full,
                    "ID": "23",
                    "LINE_NAME": "VK",
                    "ACTIVE": "N",
                    "WELCOME_BOT_ENABLE": "Y",
                    "WELCOME_BOT_ID": "456",
                }
            }
        },
    )

    lines = openlines.list_lines(client)

    assert [(one.id, one.title, one.active, one.welcome_bot_id) for one in lines] == [
        (22, "Сайт и Telegram", True, None),
        (23, "VK", False, 456),
    ]
    assert stand.methods == ["imopenlines.config.list.get", "batch"]
    assert list(stand.asked[1].body["cmd"]) == ["23"]


def test_two_hundred_lines_are_two_pages(client, stand):
    def page(asked):
        offset = int(asked.body["PARAMS"]["offset"])
        return result(
            [
                {"ID": i + 1, "WELCOME_BOT_ENABLE": "N"}
                for i in range(offset, min(offset + 200, 230))
            ]
        )

    stand.script["imopenlines.config.list.get"] = page

    assert len(openlines.list_lines(client)) == 230


def test_a_portal_that_ignores_the_offset_is_not_read_for_ever(client, stand):
    stand.result(
        "imopenlines.config.list.get",
        [{"ID": i + 1, "WELCOME_BOT_ENABLE": "N"} for i in range(200)],
    )

    assert len(openlines.list_lines(client)) == 200


def test_a_bot_is_connected_with_all_its_settings_together_and_put_back(client, stand):
    stand.result("imopenlines.config.get", answer_of("line"))
    stand.result("imopenlines.config.update", True)

    previous = openlines.connect_bot(client, 22, 456)
    openlines.restore_bot(client, 22, previous)

    assert previous == {
        "WELCOME_BOT_ENABLE": "N",
        "WELCOME_BOT_ID": "0",
        "WELCOME_BOT_JOIN": "first",
        "WELCOME_BOT_TIME": "600",
        "WELCOME_BOT_LEFT": "queue",
    }
    assert stand.asked[1].body["PARAMS"] == {
        "WELCOME_BOT_ENABLE": "Y",
        "WELCOME_BOT_ID": 456,
        "WELCOME_BOT_JOIN": "always",
        "WELCOME_BOT_TIME": 600,
        "WELCOME_BOT_LEFT": "close",
    }
    assert stand.asked[2].body["PARAMS"] == previous


def test_a_line_that_is_not_there_or_not_changed_is_an_error(client, stand):
    stand.result("imopenlines.config.get", False)
    with pytest.raises(errors.CallRejected):
        openlines.connect_bot(client, 99, 456)

    stand.result("imopenlines.config.get", answer_of("line"))
    stand.result("imopenlines.config.update", False)
    with pytest.raises(errors.CallRejected):
        openlines.connect_bot(client, 22, 456)


@pytest.mark.parametrize(
    ("target", "method", "params"),
    [
        ({}, "imopenlines.bot.session.operator", {"CHAT_ID": 112}),
        (
            {"user_id": 7},
            "imopenlines.bot.session.transfer",
            {"CHAT_ID": 112, "USER_ID": 7, "LEAVE": "N"},
        ),
        (
            {"queue_id": 23},
            "imopenlines.bot.session.transfer",
            {"CHAT_ID": 112, "QUEUE_ID": 23, "LEAVE": "N"},
        ),
    ],
)
def test_a_session_is_handed_over_once(client, stand, target, method, params):
    stand.script[method] = [result(True), refusal("WRONG_CHAT", 400, "Operator is not a bot")]

    assert openlines.hand_over(client, 112, **target) is True
    assert openlines.hand_over(client, 112, **target) is False
    assert stand.asked[0].body == {**params, "auth": "access-1"}


def test_other_refusals_of_a_hand_over_are_errors(client, stand):
    stand.error("imopenlines.bot.session.operator", "CHAT_ID_EMPTY")

    with pytest.raises(errors.CallRejected):
        openlines.hand_over(client, 112)


def test_a_session_is_finished(client, stand):
    stand.result("imopenlines.bot.session.finish", True)

    openlines.finish(client, 112)

    assert stand.asked[0].body["CHAT_ID"] == 112
