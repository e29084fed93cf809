"""Our bot on new and old portals."""

from __future__ import annotations

import pytest

from integrations.bitrix24 import bots, errors
from integrations.bitrix24.bots import BotProfile, LegacyBots, V2Bots
from tests.bitrix24.portal_stand import Answer, refusal, result

KEY = "3f0c8a52-6f5e-4c7e-9a51-0d2f7b1c9e44"
URL = "https://ai.example.ru/b24/default/events/"
PROFILE = BotProfile(name="ИИ", last_name="Помощник", position="Отвечает клиентам")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (result({"isExisting": True, "isAvailable": True}), "v2"),
        (result({"isExisting": "Y"}), "v2"),
        (result({"isExisting": False, "isAvailable": False}), "legacy"),
        (result([]), "legacy"),
        (refusal("ERROR_METHOD_NOT_FOUND", 404), "legacy"),
    ],
)
def test_the_bot_api_is_chosen_by_what_the_portal_knows(client, stand, answer, kind):
    stand.script["method.get"] = answer

    chosen = bots.choose_bot_api(client)

    assert chosen == kind
    assert isinstance(bots.bot_api(client, chosen), V2Bots if kind == "v2" else LegacyBots)


def test_a_bot_is_registered_for_open_lines_and_then_updated(client, stand):
    stand.result(
        "imbot.v2.Bot.register", {"bot": {"id": "456", "code": "acme_ai_bot"}, "users": []}
    )
    stand.result("imbot.v2.Bot.update", {"bot": {}})

    bot = V2Bots(client).register("acme_ai_bot", URL, PROFILE)

    fields = stand.asked[0].body["fields"]
    assert bot == bots.Bot(456, "acme_ai_bot")
    assert (
        fields["type"],
        fields["isSupportOpenline"],
        fields["eventMode"],
        fields["webhookUrl"],
    ) == ("bot", "Y", "webhook", URL)
    assert fields["properties"] == {
        "name": "ИИ",
        "lastName": "Помощник",
        "workPosition": "Отвечает клиентам",
        "color": "AZURE",
    }
    assert stand.asked[1].body["botId"] == 456
    assert stand.asked[1].body["fields"]["webhookUrl"] == URL


def test_a_bot_without_an_address_polls(client, stand):
    stand.result("imbot.v2.Bot.register", {"bot": {"id": 456, "code": "c"}})
    stand.result("imbot.v2.Bot.update", True)
    stand.result(
        "imbot.v2.Event.get", {"events": [{"eventId": 1001}], "nextOffset": 1002, "hasMore": False}
    )

    api = V2Bots(client)
    api.register("c", "", PROFILE)
    fetched = api.fetch(456, None)
    api.fetch(456, 1002)

    assert stand.asked[0].body["fields"]["eventMode"] == "fetch"
    assert "webhookUrl" not in stand.asked[0].body["fields"]
    assert fetched == bots.Fetched(({"eventId": 1001},), 1002, False)
    assert "offset" not in stand.asked[2].body
    assert stand.asked[3].body["offset"] == 1002


def test_an_old_portals_bot_is_registered_with_all_its_handlers(client, stand):
    stand.result("imbot.register", "39")
    stand.result("imbot.update", True)

    assert LegacyBots(client).register("acme_ai_bot", URL, PROFILE) == bots.Bot(39, "acme_ai_bot")

    told = stand.asked[0].body
    assert (told["OPENLINE"], told["TYPE"]) == ("Y", "B")
    assert all(
        told[name] == URL
        for name in ("EVENT_MESSAGE_ADD", "EVENT_WELCOME_MESSAGE", "EVENT_BOT_DELETE")
    )
    with pytest.raises(errors.MethodMissing):
        LegacyBots(client).register("c", "", PROFILE)


def test_a_code_that_another_application_has_is_an_error(client, stand):
    stand.error("imbot.v2.Bot.register", "BOT_CODE_ALREADY_TAKEN")

    with pytest.raises(errors.CallRejected) as caught:
        V2Bots(client).register("c", URL, PROFILE)
    assert caught.value.code == "BOT_CODE_ALREADY_TAKEN"


def test_a_message_is_sent_with_its_key_and_letters_for_booleans(client, stand):
    stand.result("imbot.v2.Chat.Message.send", {"id": "90102", "uuidMap": []})

    assert V2Bots(client).send(456, "chat112", "Завтра", key=KEY) == 90102
    assert stand.asked[0].body == {
        "botId": 456,
        "dialogId": "chat112",
        "fields": {"message": "Завтра", "urlPreview": "N", "templateId": KEY},
        "auth": "access-1",
    }


def test_a_whisper_stays_inside_the_portal(client, stand):
    stand.result("imbot.v2.Chat.Message.send", {"id": 1})
    stand.result("imbot.message.add", 2)
    button = [bots.put_button("Вставить", "Завтра")]

    V2Bots(client).send(456, "chat112", "Черновик", key=KEY, whisper=True, keyboard=button)
    LegacyBots(client).send(39, "chat112", "Черновик", key=KEY, whisper=True, keyboard=button)

    new, old = stand.asked[0].body["fields"], stand.asked[1].body
    assert new["skipConnector"] == old["SKIP_CONNECTOR"] == "Y"
    assert new["keyboard"]["BUTTONS"] == old["KEYBOARD"]["BUTTONS"] == button


def test_a_lost_send_is_repeated_with_the_same_key(client, stand):
    stand.script["imbot.v2.Chat.Message.send"] = [Answer(drop=True), result({"id": 90102})]

    assert V2Bots(client).send(456, "chat112", "Завтра", key=KEY) == 90102
    assert [one.body["fields"]["templateId"] for one in stand.asked] == [KEY, KEY]


def test_a_key_that_is_still_on_its_way_is_not_a_refusal(client, stand):
    stand.script["imbot.v2.Chat.Message.send"] = [Answer(drop=True), refusal("SENDING_FAILED")]
    with pytest.raises(errors.Unavailable) as caught:
        V2Bots(client).send(456, "chat112", "Завтра", key=KEY)
    assert caught.value.outcome_unknown

    stand.script["imbot.v2.Chat.Message.send"] = refusal("SENDING_FAILED")
    with pytest.raises(errors.CallRejected):
        V2Bots(client).send(456, "chat112", "Завтра", key=KEY)


def test_sends_without_an_honoured_key_are_not_repeated(client, stand):
    stand.script["imbot.message.add"] = stand.script["im.message.add"] = Answer(drop=True)

    for send in (
        lambda: LegacyBots(client).send(39, "chat112", "x", key=KEY),
        lambda: bots.send_as_operator(client, "chat112", "x", KEY),
    ):
        with pytest.raises(errors.Unavailable) as caught:
            send()
        assert caught.value.outcome_unknown
    assert len(stand.asked) == 2


def test_an_operator_speaks_in_his_own_name(client, stand):
    stand.result("im.message.add", 90103)

    assert bots.send_as_operator(client, "chat112", "Добрый день", KEY) == 90103
    assert stand.asked[0].body == {
        "DIALOG_ID": "chat112",
        "MESSAGE": "Добрый день",
        "URL_PREVIEW": "N",
        "TEMPLATE_ID": KEY,
        "auth": "access-1",
    }


@pytest.mark.parametrize("key", ["", "x", KEY.upper(), "3f0c8a52-6f5e-1c7e-9a51-0d2f7b1c9e44"])
def test_a_key_that_the_portal_would_not_honour_is_a_mistake_of_ours(client, stand, key):
    with pytest.raises(ValueError, match="UUID4"):
        V2Bots(client).send(456, "chat112", "x", key=key)
    assert stand.asked == []


@pytest.mark.parametrize("told", [True, False, None, [], {}, "x"])
def test_an_answer_without_a_message_is_an_unknown_outcome(client, stand, told):
    stand.result("imbot.v2.Chat.Message.send", told)

    with pytest.raises(errors.Unavailable) as caught:
        V2Bots(client).send(456, "chat112", "x", key=KEY)
    assert caught.value.outcome_unknown


def test_long_messages_are_cut_by_us(client, stand):
    stand.result("imbot.v2.Chat.Message.send", {"id": 1})

    V2Bots(client).send(456, "chat112", "т" * 30_000, key=KEY)

    assert len(stand.asked[0].body["fields"]["message"]) == 20_000


@pytest.mark.parametrize(
    ("api", "methods"),
    [
        (
            V2Bots,
            [
                "imbot.v2.Chat.Message.update",
                "imbot.v2.Chat.InputAction.notify",
                "imbot.v2.Bot.unregister",
            ],
        ),
        (LegacyBots, ["imbot.message.update", "imbot.chat.sendTyping", "imbot.unregister"]),
    ],
)
def test_the_rest_of_a_bots_life(client, stand, api, methods):
    for method in methods:
        stand.result(method, True)

    api(client).update(456, 90102, "Исправлено")
    api(client).typing(456, "chat112")
    api(client).unregister(456)

    assert stand.methods == methods
