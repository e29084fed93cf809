"""Open lines: who hears what, sessions, hand-over, keyed sending."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from integrations.bitrix24.local_portal import LocalPortal
from tests.local_portal.conftest import Application, Caller, register_bot, welcome

KEY = "3f0c8a52-6f5e-4c7e-9a51-0d2f7b1c9e44"
JOIN, ADD = "ONIMBOTV2JOINCHAT", "ONIMBOTV2MESSAGEADD"


def events(portal: LocalPortal, application: Application) -> list[str]:
    portal.wait_deliveries()
    return application.events


def send(admin: Caller, bot_id: int, chat_id: int, text: str, **fields: Any) -> Any:
    return admin(
        "imbot.v2.Chat.Message.send",
        botId=bot_id,
        dialogId=f"chat{chat_id}",
        fields={"message": text, **fields},
    )


def test_first_message_joins_the_welcome_bot_and_then_tells_it(
    portal: LocalPortal, application: Application, bot_id: int
) -> None:
    chat_id, message_id = portal.client_writes("Когда приедет мастер? +7 999 123-45-67")

    assert events(portal, application) == [JOIN, ADD]
    form = application.last(ADD)
    assert form["data"]["message"]["id"] == str(message_id)
    assert form["data"]["message"]["text"] == "Когда приедет мастер? +7 999 123-45-67"
    assert form["data"]["message"]["isSystem"] == "0"
    assert form["data"]["chat"]["dialogId"] == f"chat{chat_id}"
    assert form["data"]["chat"]["entityId"].startswith("livechat|22|")
    assert form["data"]["chat"]["entityData1"].startswith("Y|LEAD|77|N|N|321|")
    assert form["data"]["chat"]["entityData2"] == "LEAD|77|COMPANY|0|CONTACT|0|DEAL|0"
    assert form["data"]["user"]["connector"] == "1"
    assert form["data"]["bot"]["auth"]["user_id"] == str(bot_id)
    assert form["auth"]["application_token"] == portal.application_token
    assert "access_token" not in form["auth"]


def test_empty_maps_and_lists_do_not_arrive_and_nulls_are_empty_text(
    portal: LocalPortal, application: Application, bot_id: int
) -> None:
    portal.client_writes("Здравствуйте")
    portal.wait_deliveries()

    message = application.last(ADD)["data"]["message"]
    assert "params" not in message
    assert message["forward"] == ""
    assert application.received[-1].raw.startswith("event=ONIMBOTV2MESSAGEADD&")
    assert "data%5Bmessage%5D%5Bid%5D=" in application.received[-1].raw


def test_line_without_a_welcome_bot_goes_to_an_operator_and_tells_nobody(
    portal: LocalPortal, application: Application, admin: Caller
) -> None:
    register_bot(admin, application)

    chat_id, _ = portal.client_writes("Здравствуйте")

    assert events(portal, application) == []
    assert portal.chat(chat_id).members[-1] == 7


def test_join_first_lets_the_bot_only_into_new_chats(
    portal: LocalPortal, application: Application, admin: Caller
) -> None:
    welcome(admin, register_bot(admin, application), WELCOME_BOT_JOIN="first")
    chat_id, _ = portal.client_writes("раз")
    portal.finish_session(chat_id)
    portal.wait_deliveries()
    application.forget()

    portal.client_writes("два", chat_id=chat_id)

    assert events(portal, application) == []


def test_binding_to_crm_may_come_after_the_first_event(
    make_portal: Callable[..., LocalPortal], application: Application
) -> None:
    portal = make_portal(crm_binding_delay_seconds=0.1)
    admin = Caller(portal)
    welcome(admin, register_bot(admin, application))

    chat_id, _ = portal.client_writes("Здравствуйте")

    portal.wait_deliveries()
    assert application.last(ADD)["data"]["chat"]["entityData2"] == ""
    assert portal.wait_until(lambda: portal.chat(chat_id).crm.get("lead") == 77)
    dialog = admin("imopenlines.dialog.get", CHAT_ID=chat_id)
    assert dialog["entity_data_2"] == "LEAD|77|COMPANY|0|CONTACT|0|DEAL|0"
    admin.session.close()


def test_simple_crm_mode_makes_a_deal_and_a_contact(
    make_portal: Callable[..., LocalPortal],
) -> None:
    portal = make_portal(crm_mode="simple")

    chat_id, _ = portal.client_writes("Здравствуйте")

    assert portal.chat(chat_id).crm == {"lead": 77, "company": 0, "contact": 77, "deal": 77}
    assert portal.item(1, 77)["stageSemanticId"] == "S"
    assert portal.item(3, 77)["hasImol"] == "Y"


def test_bots_own_messages_reach_the_client_and_raise_no_event(
    portal: LocalPortal, application: Application, admin: Caller, bot_id: int
) -> None:
    chat_id, _ = portal.client_writes("Здравствуйте")
    portal.wait_deliveries()
    application.forget()

    send(admin, bot_id, chat_id, "Мастер приедет завтра.")

    assert portal.delivered(chat_id) == ["Мастер приедет завтра."]
    assert events(portal, application) == []


def test_operators_and_whispers_are_events_that_can_be_told_apart(
    portal: LocalPortal, application: Application, bot_id: int
) -> None:
    chat_id, _ = portal.client_writes("Здравствуйте")

    portal.operator_writes(chat_id, 7, "спросить у склада", whisper=True)
    portal.operator_writes(chat_id, 7, "Добрый день!")

    assert events(portal, application) == [JOIN, ADD, ADD, ADD]
    whisper, answer = [one.form["data"] for one in application.received[-2:]]
    assert whisper["message"]["params"]["COMPONENT_ID"] == "HiddenMessage"
    assert "content-item-system" in whisper["message"]["params"]["CLASS"]
    assert answer["user"]["connector"] == "0"
    assert answer["user"]["bot"] == "0"
    assert portal.delivered(chat_id) == ["Добрый день!"]


def test_edits_and_deletes_of_the_client_are_told(
    portal: LocalPortal, application: Application, bot_id: int
) -> None:
    _, message_id = portal.client_writes("Здравствуйте")
    portal.client_edits(message_id, "Добрый вечер")
    portal.client_deletes(message_id)

    assert events(portal, application)[-2:] == ["ONIMBOTV2MESSAGEUPDATE", "ONIMBOTV2MESSAGEDELETE"]
    assert application.last("ONIMBOTV2MESSAGEUPDATE")["data"]["message"]["text"] == "Добрый вечер"
    assert application.last("ONIMBOTV2MESSAGEDELETE")["data"]["messageId"] == str(message_id)


def test_same_key_sends_once_and_answers_the_first_id(
    portal: LocalPortal, admin: Caller, bot_id: int
) -> None:
    chat_id, _ = portal.client_writes("Здравствуйте")

    first = send(admin, bot_id, chat_id, "Да", templateId=KEY)
    again = send(admin, bot_id, chat_id, "Да", templateId=KEY)

    assert first == again
    assert first["uuidMap"] == []
    assert portal.delivered(chat_id) == ["Да"]
    assert portal.stats()["duplicate_texts"] == 0


def test_key_that_is_not_a_lower_case_uuid4_does_not_protect(
    portal: LocalPortal, admin: Caller, bot_id: int
) -> None:
    chat_id, _ = portal.client_writes("Здравствуйте")

    for _ in range(2):
        send(admin, bot_id, chat_id, "Да", templateId=KEY.upper())

    assert portal.delivered(chat_id) == ["Да", "Да"]
    assert portal.stats()["duplicate_texts"] == 1


def test_key_of_a_failed_sending_stays_burnt(
    portal: LocalPortal, admin: Caller, bot_id: int
) -> None:
    chat_id, _ = portal.client_writes("Здравствуйте")
    portal.block_chat(chat_id)
    params = {
        "botId": bot_id,
        "dialogId": f"chat{chat_id}",
        "fields": {"message": "Да", "templateId": KEY},
    }
    assert admin.error("imbot.v2.Chat.Message.send", **params) == (400, "SENDING_FAILED")

    portal.block_chat(chat_id, "")

    assert admin.error("imbot.v2.Chat.Message.send", **params) == (400, "SENDING_FAILED")
    send(admin, bot_id, chat_id, "Да", templateId=KEY.replace("3f0c", "4f0c"))
    assert portal.delivered(chat_id) == ["Да"]


def test_system_messages_and_whispers_stay_inside(
    portal: LocalPortal, admin: Caller, bot_id: int
) -> None:
    chat_id, _ = portal.client_writes("Здравствуйте")

    send(admin, bot_id, chat_id, "служебное", system="Y")
    send(admin, bot_id, chat_id, "черновик", skipConnector="Y")

    assert portal.delivered(chat_id) == []
    assert portal.messages(chat_id)[-2].text == "[b]ИИ-помощник[/b]\nслужебное"
    assert portal.messages(chat_id)[-1].hidden


def test_old_revision_ignores_json_booleans_so_a_whisper_leaks(
    make_portal: Callable[..., LocalPortal], application: Application
) -> None:
    portal = make_portal(bot_revision=32)
    admin = Caller(portal)
    bot_id = register_bot(admin, application)
    welcome(admin, bot_id)
    chat_id, _ = portal.client_writes("Здравствуйте")

    send(admin, bot_id, chat_id, "черновик", skipConnector=True)
    send(admin, bot_id, chat_id, "тоже черновик", skipConnector="Y")

    assert portal.delivered(chat_id) == ["черновик"]
    admin.session.close()


def test_message_longer_than_the_limit_is_cut(
    portal: LocalPortal, admin: Caller, bot_id: int
) -> None:
    chat_id, _ = portal.client_writes("Здравствуйте")

    send(admin, bot_id, chat_id, "я" * 20_001)

    assert portal.delivered(chat_id)[0] == "я" * 20_000 + " (...)"


def test_bot_outside_a_chat_may_not_write_there(
    portal: LocalPortal, application: Application, admin: Caller
) -> None:
    bot_id = register_bot(admin, application)
    chat_id, _ = portal.client_writes("Здравствуйте")

    params = {"botId": bot_id, "dialogId": f"chat{chat_id}", "fields": {"message": "Да"}}
    assert admin.error("imbot.v2.Chat.Message.send", **params) == (403, "ACCESS_DENIED")


def test_client_typing_zero_is_told_and_then_handed_to_people(
    portal: LocalPortal, application: Application, admin: Caller, bot_id: int
) -> None:
    chat_id, _ = portal.client_writes("Здравствуйте")
    portal.client_writes("0", chat_id=chat_id)

    assert events(portal, application)[-1] == ADD
    assert admin("imopenlines.dialog.get", CHAT_ID=chat_id)["owner"] == 7


def test_left_close_keeps_the_bot_listening_after_the_hand_over(
    portal: LocalPortal, application: Application, admin: Caller, bot_id: int
) -> None:
    chat_id, _ = portal.client_writes("Здравствуйте")
    assert admin("imopenlines.bot.session.operator", CHAT_ID=chat_id) is True
    portal.wait_deliveries()
    application.forget()

    portal.client_writes("алло", chat_id=chat_id)

    assert events(portal, application) == [ADD]
    portal.finish_session(chat_id)
    assert bot_id not in portal.chat(chat_id).members


def test_left_queue_removes_the_bot_when_people_take_over(
    portal: LocalPortal, application: Application, admin: Caller
) -> None:
    bot_id = register_bot(admin, application)
    welcome(admin, bot_id, WELCOME_BOT_LEFT="queue")
    chat_id, _ = portal.client_writes("Здравствуйте")
    portal.operator_writes(chat_id, 7, "я отвечу")
    portal.wait_deliveries()
    application.forget()

    portal.client_writes("алло", chat_id=chat_id)

    assert events(portal, application) == []
    assert bot_id not in portal.chat(chat_id).members


def test_second_hand_over_says_that_a_person_already_leads(
    portal: LocalPortal, admin: Caller, bot_id: int
) -> None:
    chat_id, _ = portal.client_writes("Здравствуйте")
    admin("imopenlines.bot.session.operator", CHAT_ID=chat_id)

    answer = admin.error("imopenlines.bot.session.operator", CHAT_ID=chat_id)

    assert answer == (400, "WRONG_CHAT")


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"USER_ID": 8}, True),
        ({"QUEUE_ID": 23}, True),
        ({"TRANSFER_ID": "queue23"}, True),
        ({"USER_ID": 456}, "OPERATOR_WRONG"),
        ({"USER_ID": 0}, "USER_ID_EMPTY"),
        ({"user_id": 8}, "TRANSFER_ID_EMPTY"),
        ({}, "TRANSFER_ID_EMPTY"),
    ],
)
def test_transfer_reads_only_upper_case_names(
    portal: LocalPortal, admin: Caller, bot_id: int, params: dict[str, Any], expected: Any
) -> None:
    chat_id, _ = portal.client_writes("Здравствуйте")

    _, body = admin.answer("imopenlines.bot.session.transfer", CHAT_ID=chat_id, **params)

    assert body.get("result", body.get("error")) == expected


def test_bots_time_hands_the_dialog_over(
    portal: LocalPortal, application: Application, admin: Caller
) -> None:
    welcome(admin, register_bot(admin, application), WELCOME_BOT_TIME=1)

    chat_id, _ = portal.client_writes("Здравствуйте")

    session = portal.world.sessions[321]
    assert portal.wait_until(lambda: session.operator_id == 7, timeout=3)
    assert portal.chat(chat_id).session_id == 321


def test_bot_settings_sent_without_enable_are_reset(
    portal: LocalPortal, admin: Caller, bot_id: int
) -> None:
    admin(
        "imopenlines.config.update",
        CONFIG_ID=22,
        PARAMS={"WELCOME_BOT_ID": bot_id, "WELCOME_BOT_LEFT": "close"},
    )

    line = admin("imopenlines.config.get", CONFIG_ID=22)
    assert (line["WELCOME_BOT_ID"], line["WELCOME_BOT_LEFT"]) == ("0", "queue")
    assert line["WELCOME_BOT_TIME"] == "600"


def test_lines_are_changed_only_by_administrators_and_valid_queues(
    portal: LocalPortal, admin: Caller, operator: Caller
) -> None:
    wrong_queue = {"QUEUE": [{"ENTITY_TYPE": "user", "ENTITY_ID": "456789"}]}

    assert admin("imopenlines.config.update", CONFIG_ID=22, PARAMS=wrong_queue) is False
    assert operator.error("imopenlines.config.update", CONFIG_ID=22, PARAMS={}) == (
        403,
        "CONFIG_WRONG_USER_PERMISSION",
    )
    assert admin("imopenlines.config.get", CONFIG_ID=404) is False
    assert [line["ID"] for line in admin("imopenlines.config.list.get")] == ["22", "23"]


def test_history_has_only_its_session_with_lower_case_names(
    portal: LocalPortal, admin: Caller, bot_id: int
) -> None:
    chat_id, _ = portal.client_writes("первый разговор")
    portal.finish_session(chat_id)
    _, message_id = portal.client_writes("второй разговор", chat_id=chat_id)
    portal.operator_writes(chat_id, 7, "шёпот", whisper=True)

    history = admin("imopenlines.session.history.get", CHAT_ID=chat_id)

    texts = [one["text"] for one in history["message"].values()]
    assert "второй разговор" in texts
    assert "первый разговор" not in texts
    client = history["message"][str(message_id)]
    assert history["users"][client["senderid"]]["connector"] is True
    whisper = next(one for one in history["message"].values() if one["text"] == "шёпот")
    assert whisper["params"]["componentId"] == "HiddenMessage"
    assert any(one["senderid"] == "0" for one in history["message"].values())
    assert history["files"] == []


def test_stranger_reads_neither_dialog_nor_history(portal: LocalPortal) -> None:
    chat_id, _ = portal.client_writes("Здравствуйте")
    stranger = Caller(portal, 9)

    assert stranger.error("imopenlines.dialog.get", CHAT_ID=chat_id) == (400, "ACCESS_ERROR")
    history = stranger.error("imopenlines.session.history.get", CHAT_ID=chat_id)
    assert history == (400, "ACCESS_DENIED")
    stranger.session.close()


def test_operator_sends_once_by_key_and_takes_the_dialog(
    portal: LocalPortal, operator: Caller, bot_id: int
) -> None:
    chat_id, _ = portal.client_writes("Здравствуйте")
    params = {"DIALOG_ID": f"chat{chat_id}", "MESSAGE": "Добрый день", "TEMPLATE_ID": KEY}
    assert operator.error("im.message.add", **params) == (403, "ACCESS_ERROR")
    operator("imopenlines.session.join", CHAT_ID=chat_id)

    first = operator("im.message.add", **params)

    assert operator("im.message.add", **params) == first
    assert portal.delivered(chat_id) == ["Добрый день"]
    assert operator("imopenlines.dialog.get", CHAT_ID=chat_id)["owner"] == 7
    messages = operator("im.dialog.messages.get", DIALOG_ID=f"chat{chat_id}")["messages"]
    assert messages[0]["id"] == first
    assert messages[-1]["params"] == []


def test_chats_are_found_from_crm_and_crm_from_chats(portal: LocalPortal, admin: Caller) -> None:
    chat_id, _ = portal.client_writes("Здравствуйте")
    entity_id = portal.chat(chat_id).entity_id

    chats = admin("imopenlines.crm.chat.get", CRM_ENTITY_TYPE="lead", CRM_ENTITY=77)
    leads = admin("crm.item.list", entityTypeId=1, filter={"=imol": f"imol|{entity_id}"})

    assert [one["CHAT_ID"] for one in chats] == [str(chat_id)]
    assert [one["id"] for one in leads["items"]] == [77]
    assert admin("imopenlines.session.open", USER_CODE=entity_id) == {"chatId": str(chat_id)}


def test_registering_twice_changes_nothing_and_update_does(
    portal: LocalPortal, application: Application, admin: Caller
) -> None:
    first = register_bot(admin, application)
    again = register_bot(admin, application, webhookUrl="https://other.example.ru/")

    assert first == again
    assert portal.world.bots[first].webhook_url.startswith(application.url)
    admin(
        "imbot.v2.Bot.update",
        botId=first,
        fields={"webhookUrl": "https://other.example.ru/", "eventMode": "webhook"},
    )
    assert portal.world.bots[first].webhook_url == "https://other.example.ru/"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"code": ""}, "BOT_CODE_REQUIRED"),
        ({"code": "taken"}, "BOT_CODE_ALREADY_TAKEN"),
        ({"code": "x", "properties": {}}, "BOT_PROPERTIES_REQUIRED"),
        ({"code": "x", "type": "alien"}, "BOT_INVALID_TYPE"),
        ({"code": "x", "webhookUrl": ""}, "BOT_WEBHOOK_URL_REQUIRED"),
    ],
)
def test_registration_refuses(
    make_portal: Callable[..., LocalPortal], fields: dict[str, Any], code: str
) -> None:
    admin = Caller(make_portal(taken_bot_codes=frozenset({"taken"})))
    wanted = {
        "eventMode": "webhook",
        "webhookUrl": "https://ai.example.ru/",
        "properties": {"name": "AI"},
        **fields,
    }

    assert admin.error("imbot.v2.Bot.register", fields=wanted) == (400, code)
    admin.session.close()


def test_bot_in_fetch_mode_polls_and_confirms_with_the_offset(
    portal: LocalPortal, application: Application, admin: Caller
) -> None:
    bot_id = register_bot(admin, application, eventMode="fetch", webhookUrl="")
    welcome(admin, bot_id)
    portal.client_writes("Здравствуйте")

    first = admin("imbot.v2.Event.get", botId=bot_id)

    assert [one["type"] for one in first["events"]] == [JOIN, ADD]
    assert first["events"][1]["data"]["message"]["isSystem"] is False
    again = admin("imbot.v2.Event.get", botId=bot_id)
    assert again["events"] == first["events"], "nothing is deleted that was not confirmed"
    after = admin("imbot.v2.Event.get", botId=bot_id, offset=first["nextOffset"])
    assert after["events"] == []


def test_queue_of_a_bot_ends_with_its_mode(
    portal: LocalPortal, application: Application, admin: Caller
) -> None:
    bot_id = register_bot(admin, application, eventMode="fetch", webhookUrl="")
    welcome(admin, bot_id)
    chat_id, _message_id = portal.client_writes("Здравствуйте")
    assert events(portal, application) == []

    webhook = {"eventMode": "webhook", "webhookUrl": f"{application.url}/events/"}
    admin("imbot.v2.Bot.update", botId=bot_id, fields=webhook)
    portal.client_writes("Вы здесь?", chat_id=chat_id)

    assert events(portal, application) == [ADD]
    assert admin("imbot.v2.Event.get", botId=bot_id)["events"] == []


def test_each_session_leaves_a_trace_in_the_crm(portal: LocalPortal, admin: Caller) -> None:
    wanted = {"PROVIDER_ID": "IMOPENLINES_SESSION"}
    chat_id, _message_id = portal.client_writes("Здравствуйте")
    portal.client_writes("Есть кто?", chat_id=chat_id)

    (first,) = admin("crm.activity.list", filter=wanted, start=-1)
    portal.finish_session(chat_id)
    portal.client_writes("Это снова я", chat_id=chat_id)
    newest, closed = admin("crm.activity.list", filter=wanted, order={"ID": "DESC"})
    (newer,) = admin("crm.activity.list", filter={**wanted, ">ID": first["ID"]})

    session = portal.chat(chat_id).session_id
    assert (first["PROVIDER_TYPE_ID"], first["COMPLETED"]) == ("22", "N")
    assert first["PROVIDER_PARAMS"] == {"USER_CODE": portal.chat(chat_id).entity_id}
    assert (closed["ID"], closed["COMPLETED"]) == (first["ID"], "Y")
    assert (newest["ASSOCIATED_ENTITY_ID"], newest["COMPLETED"]) == (str(session), "N")
    assert newer == newest


def test_legacy_portal_knows_only_the_old_bots(
    make_portal: Callable[..., LocalPortal], application: Application
) -> None:
    portal = make_portal(legacy_bots=True)
    admin = Caller(portal)
    assert admin.error("imbot.v2.Bot.register", fields={}) == (404, "ERROR_METHOD_NOT_FOUND")
    assert admin("method.get", name="imbot.v2.Bot.register") == {
        "isExisting": False,
        "isAvailable": False,
    }
    bot_id = admin(
        "imbot.register",
        CODE="acme",
        TYPE="B",
        OPENLINE="Y",
        EVENT_HANDLER=f"{application.url}/events/",
        PROPERTIES={"NAME": "AI"},
    )
    welcome(admin, bot_id)

    chat_id, message_id = portal.client_writes("Здравствуйте")

    assert events(portal, application) == ["ONIMBOTJOINCHAT", "ONIMBOTMESSAGEADD"]
    data = application.last("ONIMBOTMESSAGEADD")["data"]
    assert data["BOT"][str(bot_id)]["BOT_CODE"] == "acme"
    assert data["PARAMS"]["MESSAGE_ID"] == str(message_id)
    assert data["PARAMS"]["CHAT_ENTITY_TYPE"] == "LINES"
    assert data["USER"]["IS_CONNECTOR"] == "Y"
    admin("imbot.message.add", BOT_ID=bot_id, DIALOG_ID=f"chat{chat_id}", MESSAGE="Да")
    assert portal.delivered(chat_id) == ["Да"]
    admin.session.close()


def test_duplicates_are_delivered_when_asked_for(
    make_portal: Callable[..., LocalPortal], application: Application
) -> None:
    portal = make_portal(deliver_duplicates=1.0)
    admin = Caller(portal)
    welcome(admin, register_bot(admin, application))

    portal.client_writes("Здравствуйте")

    assert events(portal, application) == [JOIN, JOIN, ADD, ADD]
    admin.session.close()


def test_events_of_one_chat_keep_their_order(
    portal: LocalPortal, application: Application, bot_id: int
) -> None:
    chat_id, _ = portal.client_writes("0 раз")
    for number in range(1, 30):
        portal.client_writes(f"{number} раз", chat_id=chat_id)
    portal.wait_deliveries()

    texts = [
        one.form["data"]["message"]["text"] for one in application.received if one.event == ADD
    ]
    assert texts == [f"{number} раз" for number in range(30)]


def test_private_dialog_with_the_bot_works_without_a_line(
    portal: LocalPortal, application: Application, admin: Caller, bot_id: int
) -> None:
    chat_id = portal.private_chat(7)
    portal.operator_writes(chat_id, 7, "что ты умеешь?")

    assert events(portal, application) == [JOIN, ADD]
    assert application.last(ADD)["data"]["chat"]["entityType"] == ""
    admin("imbot.v2.Chat.Message.send", botId=bot_id, dialogId="7", fields={"message": "Отвечаю"})
    assert portal.messages(chat_id)[-1].text == "Отвечаю"
    assert portal.delivered(chat_id) == []


def test_events_may_come_out_of_order_but_all_come(
    make_portal: Callable[..., LocalPortal], application: Application
) -> None:
    portal = make_portal(reorder_seconds=0.2)
    admin = Caller(portal)
    welcome(admin, register_bot(admin, application))
    chat_id, _ = portal.client_writes("0 раз")
    for number in range(1, 20):
        portal.client_writes(f"{number} раз", chat_id=chat_id)
    portal.wait_deliveries()

    texts = [
        one.form["data"]["message"]["text"] for one in application.received if one.event == ADD
    ]
    sent = [f"{number} раз" for number in range(20)]
    assert sorted(texts) == sorted(sent)
    assert texts != sent
    admin.session.close()


def test_events_may_come_without_the_bots_tokens(
    make_portal: Callable[..., LocalPortal], application: Application
) -> None:
    portal = make_portal(events_carry_tokens=False)
    admin = Caller(portal)
    welcome(admin, register_bot(admin, application))

    portal.client_writes("Здравствуйте")
    portal.wait_deliveries()

    assert "auth" not in application.last(ADD)["data"]["bot"]
    assert application.last(ADD)["auth"]["application_token"] == portal.application_token
    admin.session.close()


def test_message_of_the_session_is_nobodys_and_reaches_the_client(
    portal: LocalPortal, application: Application, admin: Caller, bot_id: int
) -> None:
    chat_id, _ = portal.client_writes("Здравствуйте")

    sent = admin(
        "imopenlines.bot.session.message.send", CHAT_ID=chat_id, NAME="DEFAULT", MESSAGE="Ждите"
    )

    assert sent is True
    assert portal.delivered(chat_id) == ["Ждите"]
    assert portal.messages(chat_id)[-1].author_id == 0
    assert events(portal, application) == [JOIN, ADD]
