"""Our bot on a portal: registering it and speaking as it, by the new API or the old one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from integrations.bitrix24.client import PortalClient
from integrations.bitrix24.errors import CallRejected, MethodMissing, Unavailable
from integrations.bitrix24.forms import as_dict, as_list, flag_of, int_of, text_of

BotApiKind = Literal["v2", "legacy"]
MAX_MESSAGE_LENGTH = 20_000
"""The portal cuts longer messages (imbot.v2/messages/chat-message-send)."""

_UUID4 = re.compile(r"^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")


@dataclass(frozen=True)
class BotProfile:
    """How the bot looks to people. `avatar` is a base64 image."""

    name: str
    last_name: str = ""
    position: str = ""
    color: str = "AZURE"
    avatar: str = ""


@dataclass(frozen=True)
class Bot:
    id: int
    code: str


@dataclass(frozen=True)
class Fetched:
    """Events of a bot that polls, for `events.parse_fetched`; store them, then ask from `next`."""

    events: tuple[dict[str, Any], ...]
    next_offset: int | None
    has_more: bool


class BotApi(Protocol):
    """What the product does with a bot. Any token of the application works."""

    def register(self, code: str, handler_url: str, profile: BotProfile) -> Bot:
        """Registers or updates the bot of this code: one per portal. "" as URL means polling.

        `code` is unique on the whole portal, so it carries our prefix.
        Raises: CallRejected (BOT_CODE_ALREADY_TAKEN: another application has it), …
        """

    def send(
        self,
        bot_id: int,
        dialog_id: str,
        text: str,
        *,
        key: str,
        whisper: bool = False,
        keyboard: Sequence[Mapping[str, Any]] | None = None,
    ) -> int:
        """Says something; the message's id. A whisper is seen by operators only.

        `key` is the logical message's own lower-case UUID4.
        Raises: Unavailable with `outcome_unknown` when it may have been sent: repeat with the
        same key only where keys are honoured (`honours_keys`), else look into the chat.
        """

    honours_keys: bool

    def update(self, bot_id: int, message_id: int, text: str) -> None:
        """Replaces the text of an own message."""

    def delete(self, bot_id: int, message_id: int) -> None:
        """Takes an own message out of the chat."""

    def typing(self, bot_id: int, dialog_id: str) -> None:
        """Shows that somebody is about to answer."""

    def unregister(self, bot_id: int) -> None:
        """Removes the bot from the portal and all chats. Raises: CallRejected if not there."""


class V2Bots:
    """imbot.v2.*. Source: api-reference/chat-bots/chat-bots-v2."""

    honours_keys = True

    def __init__(self, client: PortalClient) -> None:
        self._client = client

    def register(self, code: str, handler_url: str, profile: BotProfile) -> Bot:
        changeable: dict[str, Any] = {
            "properties": _filled(
                name=profile.name,
                lastName=profile.last_name,
                workPosition=profile.position,
                color=profile.color,
                avatar=profile.avatar,
            ),
            "isSupportOpenline": "Y",
            "eventMode": "webhook" if handler_url else "fetch",
            **_filled(webhookUrl=handler_url),
        }
        told = self._client.call(
            "imbot.v2.Bot.register",
            {"fields": {"code": code, "type": "bot", **changeable}},
            repeatable=True,
        )
        bot = as_dict(as_dict(told).get("bot")) or as_dict(told)
        bot_id = int_of(bot.get("id"))
        if not bot_id:
            raise CallRejected("imbot.v2.Bot.register: the answer names no bot")
        # registering a code that exists returns the bot unchanged, so it is always updated
        self._client.call(
            "imbot.v2.Bot.update", {"botId": bot_id, "fields": changeable}, repeatable=True
        )
        return Bot(bot_id, text_of(bot.get("code")) or code)

    def send(
        self,
        bot_id: int,
        dialog_id: str,
        text: str,
        *,
        key: str,
        whisper: bool = False,
        keyboard: Sequence[Mapping[str, Any]] | None = None,
    ) -> int:
        # letters instead of booleans: before revision 33 booleans were lost, and a lost
        # skipConnector shows an internal note to the client (chat-bots-v2/change-log)
        fields: dict[str, Any] = {
            "message": text[:MAX_MESSAGE_LENGTH],
            "urlPreview": "N",
            "templateId": _checked_key(key),
        }
        if whisper:
            fields["skipConnector"] = "Y"
        if keyboard:
            fields["keyboard"] = {"BOT_ID": bot_id, "BUTTONS": [dict(one) for one in keyboard]}
        method = "imbot.v2.Chat.Message.send"
        params = {"botId": bot_id, "dialogId": dialog_id, "fields": fields}
        try:
            return _message_id(self._client.call(method, params, repeatable=True), method)
        except CallRejected as error:
            if error.code.upper() == "SENDING_FAILED" and error.after_retry:
                # so the portal answers a key whose first attempt is still on its way
                raise Unavailable(
                    f"{method}: an earlier attempt is still undecided",
                    outcome_unknown=True,
                    code=error.code,
                    status=error.status,
                    method=method,
                ) from None
            raise

    def update(self, bot_id: int, message_id: int, text: str) -> None:
        self._client.call(
            "imbot.v2.Chat.Message.update",
            {
                "botId": bot_id,
                "messageId": message_id,
                "fields": {"message": text[:MAX_MESSAGE_LENGTH], "urlPreview": "N"},
            },
            repeatable=True,
        )

    def delete(self, bot_id: int, message_id: int) -> None:
        self._client.call(
            "imbot.v2.Chat.Message.delete",
            {"botId": bot_id, "messageId": message_id},
            repeatable=True,
        )

    def typing(self, bot_id: int, dialog_id: str) -> None:
        self._client.call(
            "imbot.v2.Chat.InputAction.notify", {"botId": bot_id, "dialogId": dialog_id}
        )

    def unregister(self, bot_id: int) -> None:
        self._client.call("imbot.v2.Bot.unregister", {"botId": bot_id})

    def fetch(self, bot_id: int, offset: int | None, *, limit: int = 100) -> Fetched:
        """Events of a polling bot. An `offset` confirms and deletes everything before it.

        Source: imbot.v2/events/event-get.
        """
        params: dict[str, Any] = {"botId": bot_id, "limit": limit}
        if offset is not None:
            params["offset"] = offset
        # with the urgency of a reply: clients wait behind it
        told = as_dict(self._client.call("imbot.v2.Event.get", params))
        return Fetched(
            events=tuple(as_dict(one) for one in as_list(told.get("events"))),
            next_offset=int_of(told.get("nextOffset")),
            has_more=flag_of(told.get("hasMore")),
        )


class LegacyBots:
    """imbot.*, for self-hosted portals without V2. Source: api-reference/chat-bots/outdated."""

    honours_keys = False

    def __init__(self, client: PortalClient) -> None:
        self._client = client

    def register(self, code: str, handler_url: str, profile: BotProfile) -> Bot:
        if not handler_url:
            raise MethodMissing("this portal's bots cannot be polled", method="imbot.register")
        changeable: dict[str, Any] = {
            "OPENLINE": "Y",
            **dict.fromkeys(
                (
                    "EVENT_MESSAGE_ADD",
                    "EVENT_WELCOME_MESSAGE",
                    "EVENT_BOT_DELETE",
                    "EVENT_MESSAGE_UPDATE",
                    "EVENT_MESSAGE_DELETE",
                ),
                handler_url,
            ),
            "PROPERTIES": _filled(
                NAME=profile.name,
                LAST_NAME=profile.last_name,
                WORK_POSITION=profile.position,
                COLOR=profile.color,
                PERSONAL_PHOTO=profile.avatar,
            ),
        }
        bot_id = int_of(
            self._client.call("imbot.register", {"CODE": code, "TYPE": "B", **changeable})
        )
        if not bot_id:
            raise CallRejected("imbot.register: the answer names no bot")
        self._client.call("imbot.update", {"BOT_ID": bot_id, "FIELDS": changeable}, repeatable=True)
        return Bot(bot_id, code)

    def send(
        self,
        bot_id: int,
        dialog_id: str,
        text: str,
        *,
        key: str,
        whisper: bool = False,
        keyboard: Sequence[Mapping[str, Any]] | None = None,
    ) -> int:
        params: dict[str, Any] = {
            "BOT_ID": bot_id,
            "DIALOG_ID": dialog_id,
            "MESSAGE": text[:MAX_MESSAGE_LENGTH],
            "URL_PREVIEW": "N",
            "TEMPLATE_ID": _checked_key(key),
        }
        if whisper:
            params["SKIP_CONNECTOR"] = "Y"
        if keyboard:
            params["KEYBOARD"] = {"BOT_ID": bot_id, "BUTTONS": [dict(one) for one in keyboard]}
        method = "imbot.message.add"
        return _message_id(self._client.call(method, params), method)

    def update(self, bot_id: int, message_id: int, text: str) -> None:
        self._client.call(
            "imbot.message.update",
            {
                "BOT_ID": bot_id,
                "MESSAGE_ID": message_id,
                "MESSAGE": text[:MAX_MESSAGE_LENGTH],
                "URL_PREVIEW": "N",
            },
            repeatable=True,
        )

    def delete(self, bot_id: int, message_id: int) -> None:
        self._client.call(
            "imbot.message.delete",
            {"BOT_ID": bot_id, "MESSAGE_ID": message_id},
            repeatable=True,
        )

    def typing(self, bot_id: int, dialog_id: str) -> None:
        self._client.call("imbot.chat.sendTyping", {"BOT_ID": bot_id, "DIALOG_ID": dialog_id})

    def unregister(self, bot_id: int) -> None:
        self._client.call("imbot.unregister", {"BOT_ID": bot_id})


def choose_bot_api(client: PortalClient) -> BotApiKind:
    """Which API this portal's bots speak; a portal keeps to one, their events differ."""
    try:
        told = client.call("method.get", {"name": "imbot.v2.Bot.register"}, repeatable=True)
    except MethodMissing:
        return "legacy"
    return "v2" if flag_of(as_dict(told).get("isExisting")) else "legacy"


def bot_api(client: PortalClient, kind: BotApiKind) -> V2Bots | LegacyBots:
    return V2Bots(client) if kind == "v2" else LegacyBots(client)


def put_button(label: str, text: str) -> dict[str, str]:
    """A button under a whisper that puts the text into the operator's input field."""
    return {"TEXT": label, "ACTION": "PUT", "ACTION_VALUE": text, "BG_COLOR_TOKEN": "primary"}


def send_as_operator(client: PortalClient, dialog_id: str, text: str, key: str) -> int:
    """Says something as the employee whose token `client` has; the message's id.

    The key is honoured by today's portals but documented nowhere, so a lost answer is not
    repeated here: look for the key in the chat (`openlines.chat_messages_command`).
    Source: api-reference/chats/messages/im-message-add.
    """
    method = "im.message.add"
    params = {
        "DIALOG_ID": dialog_id,
        "MESSAGE": text[:MAX_MESSAGE_LENGTH],
        "URL_PREVIEW": "N",
        "TEMPLATE_ID": _checked_key(key),
    }
    return _message_id(client.call(method, params), method)


def _checked_key(key: str) -> str:
    if not _UUID4.match(key):
        raise ValueError("the key of a message must be a lower-case UUID4")
    return key


def _message_id(result: Any, method: str) -> int:
    told = as_dict(result)
    found = int_of(told.get("id")) or int_of(told.get("messageId")) or int_of(result)
    if not found or isinstance(result, bool):
        raise Unavailable(
            f"{method}: the answer names no message", outcome_unknown=True, method=method
        )
    return found


def _filled(**values: str) -> dict[str, str]:
    return {key: value for key, value in values.items() if value}
