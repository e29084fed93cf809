"""Messages of open-line chats. Source: chat-bots-v2/imbot.v2/events/events."""

from __future__ import annotations

from bx_gpt_app.flow import BotJoined, Chat, ChatMessage
from integrations.bitrix24 import events
from integrations.llm.values import Author


def hear_message(payload: events.BotMessage) -> ChatMessage | None:
    """A message of an open-line chat; None for the bot's private chats and group chats."""
    if payload.line is None:
        return None
    return ChatMessage(
        change="update" if payload.kind == "update" else "add",
        message_id=payload.message_id,
        author=Author(payload.author),
        author_id=payload.author_id,
        author_name=payload.author_name,
        text=payload.text,
        files=len(payload.files),
        at=payload.at,
        language=payload.language,
        chat=_chat(payload),
    )


def hear_deletion(payload: events.MessageDeleted) -> ChatMessage:
    """A deletion names the message only; in chats we do not know it changes nothing."""
    return ChatMessage(
        change="delete",
        message_id=payload.message_id,
        author=Author.SYSTEM,
        chat=Chat(chat_id=payload.chat_id),
    )


def hear_joining(payload: events.BotJoined) -> BotJoined | None:
    return BotJoined(chat=_chat(payload)) if payload.line else None


def _chat(payload: events.BotMessage | events.BotJoined) -> Chat:
    line = payload.line
    return Chat(
        chat_id=payload.chat_id,
        line_id=line.line_id if line else None,
        connector=line.connector if line else "",
        entity_id=line.entity_id if line else "",
        session_id=payload.session_id,
        items=tuple(str(ref) for ref in payload.crm),
        blocked=isinstance(payload, events.BotMessage) and payload.blocked,
    )
