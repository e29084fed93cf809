"""Messages into an open-line chat: by the bot, by an operator, or seen by operators only."""

from __future__ import annotations

from bx_gpt_app.actions.deed import Deed, OutcomeUnknown
from bx_gpt_app.flow import ActionReport
from integrations.bitrix24.bots import bot_api, put_button, send_as_operator
from integrations.bitrix24.errors import CallRejected
from integrations.bitrix24.openlines import history_command, parse_history


def apply(deed: Deed) -> ActionReport:
    """The bot's message to the client. Source: imbot.v2/messages/chat-message-send."""
    text = str(deed.payload["text"])
    bots = bot_api(deed.client, deed.bot_api)
    if deed.repeated and not bots.honours_keys:
        # Old bots have no message key: the chat itself must tell what was sent before the crash.
        sent = _find_sent(deed, text)
        if sent:
            return ActionReport(result={"message_id": sent})
    try:
        message_id = bots.send(deed.bot_id, deed.dialog_id, text, key=deed.key)
    except CallRejected as error:
        # A repeat while the first attempt is still in flight is refused so; the chat knows better.
        if error.code != "SENDING_FAILED" or not deed.repeated:
            raise
        sent = _find_sent(deed, text)
        if not sent:
            raise
        message_id = sent
    return ActionReport(result={"message_id": message_id})


def apply_as_operator(deed: Deed) -> ActionReport:
    """The operator's own message, by his token. Source: api-reference/chats/messages/im-message-
    add."""
    text = str(deed.payload["text"])
    sent = _find_sent(deed, text) if deed.repeated else None
    message_id = sent or send_as_operator(deed.client, deed.dialog_id, text, key=deed.key)
    return ActionReport(result={"message_id": message_id})


def apply_whisper(deed: Deed) -> ActionReport:
    """The suggestion inside the chat, for operators only, with a button that takes it over."""
    text = str(deed.payload["text"])
    message_id = bot_api(deed.client, deed.bot_api).send(
        deed.bot_id,
        deed.dialog_id,
        f"{deed.payload.get('title') or ''}\n{text}".strip(),
        key=deed.key,
        whisper=True,
        keyboard=[put_button(str(deed.payload.get("button") or "Insert"), text)],
    )
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
    after = int(deed.payload.get("after_message_id") or 0)
    for message in reversed(parse_history(told, bot_id=deed.bot_id).messages):
        same_words = message.author in ("bot", "operator") and message.text.strip() == text.strip()
        if message.uuid == deed.key or (message.id > after and same_words):
            return message.id
    return None
