"""Messages into an open-line chat: by the bot, by an operator, or seen by operators only."""

from __future__ import annotations

from typing import Any

from bx_gpt_app.actions.deed import Deed, OutcomeUnknown
from bx_gpt_app.flow import ActionReport
from integrations.bitrix24.bots import bot_api, put_button, send_as_operator
from integrations.bitrix24.errors import CallRejected
from integrations.bitrix24.openlines import history_command, parse_history


def apply(deed: Deed) -> ActionReport:
    """The bot's message to the client. Source: imbot.v2/messages/chat-message-send."""
    return _say(deed, str(deed.payload["text"]))


def already_said(deed: Deed) -> ActionReport | None:
    """What a begun attempt has left in the chat; None when the message is not there.

    Raises: OutcomeUnknown when the chat cannot be read.
    """
    sent = _find_sent(deed, str(deed.payload["text"]))
    return ActionReport(result={"message_id": sent}) if sent else None


def apply_as_operator(deed: Deed) -> ActionReport:
    """The operator's own message, by his token. Source: api-reference/chats/messages/im-message-
    add."""
    text = str(deed.payload["text"])
    sent = _find_sent(deed, text) if deed.repeated else None
    message_id = sent or send_as_operator(deed.client, deed.dialog_id, text, key=deed.key)
    return ActionReport(result={"message_id": message_id})


def apply_whisper(deed: Deed) -> ActionReport:
    """A draft inside the chat, for operators only, with a button that takes it over; or, with
    `removes`, such a draft out of the chat again."""
    payload = deed.payload
    if "removes" in payload:
        return _remove(deed, int(payload["message_id"] or 0))
    text = str(payload["text"])
    button = put_button(str(payload["button"]), text)
    return _say(deed, f"{payload['title']}\n{text}", whisper=True, keyboard=[button])


def _say(deed: Deed, text: str, **how: Any) -> ActionReport:
    """The bot's words, once: what a crash or a lost answer left unknown is looked up first."""
    bots = bot_api(deed.client, deed.bot_api)
    if deed.repeated and not bots.honours_keys:
        # Old bots have no message key: the chat itself must tell what was sent before the crash.
        sent = _find_sent(deed, text)
        if sent:
            return ActionReport(result={"message_id": sent})
    try:
        message_id = bots.send(deed.bot_id, deed.dialog_id, text, key=deed.key, **how)
    except CallRejected as error:
        # A repeat while the first attempt is still in flight is refused so; the chat knows better.
        if error.code != "SENDING_FAILED" or not deed.repeated:
            raise
        sent = _find_sent(deed, text)
        if not sent:
            raise
        message_id = sent
    return ActionReport(result={"message_id": message_id})


def _remove(deed: Deed, message_id: int) -> ActionReport:
    """Gone already, or the bot has left the chat: there is nothing more to do."""
    try:
        bot_api(deed.client, deed.bot_api).delete(deed.bot_id, message_id)
    except CallRejected as error:
        return ActionReport(ok=False, result={"message_id": message_id, "refused": error.code})
    return ActionReport(result={"message_id": message_id})


def _find_sent(deed: Deed, text: str) -> int | None:
    """Our message among the chat's last ones, by its key or its words.

    Raises: OutcomeUnknown when the chat cannot be read.
    """
    command = history_command(session_id=deed.session_id, chat_id=deed.chat_id)
    try:
        told = deed.client.call(command.method, command.params, repeatable=True)
    except CallRejected as error:
        raise OutcomeUnknown(str(error)) from error
    after = int(deed.payload.get("after_message_id") or deed.payload.get("answers") or 0)
    for message in reversed(parse_history(told, bot_id=deed.bot_id).messages):
        ours = message.author in ("bot", "operator", "whisper")
        same_words = ours and message.text.strip() == text.strip()
        if message.uuid == deed.key or (message.id > after and same_words):
            return message.id
    return None
