"""Bots and chats: `imbot.v2.*`, the legacy `imbot.*`, and `im.*` of operators."""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Any

from integrations.bitrix24.local_portal import lines
from integrations.bitrix24.local_portal.events import (
    SYSTEM_USER,
    bot_view,
    chat_view,
    message_view,
    user_view,
)
from integrations.bitrix24.local_portal.php import as_list, as_map, number, truth
from integrations.bitrix24.local_portal.rest import Call, Table
from integrations.bitrix24.local_portal.state import (
    OPERATOR_WROTE,
    Bot,
    Chat,
    Message,
    RestError,
    User,
    World,
)

TABLE = Table()
BOT_TYPES = {"bot", "openline", "supervisor", "personal", "network"}
BOTS_LIMIT = 100
ATTACH_LIMIT = 60_000
UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
IN_FLIGHT = 0


# ---------------------------------------------------------------------- bots


def _bot(call: Call) -> Bot:
    bot_id = call.int("botId", "BOT_ID")
    if not bot_id:
        raise RestError("BOT_ID_REQUIRED", "Bot id is required")
    bot = call.world.bots.get(bot_id)
    if bot is None:
        raise RestError("BOT_NOT_FOUND", "Bot not found")
    return bot


def _bot_answer(call: Call, bot: Bot) -> dict[str, Any]:
    return {"bot": bot_view(bot), "users": [user_view(call.world.users[bot.id])]}


def _checked_bot_fields(fields: dict[str, Any], *, mode: str, url: str) -> None:
    if fields.get("type", "bot") not in BOT_TYPES:
        raise RestError("BOT_INVALID_TYPE", "Invalid bot type")
    if mode not in {"fetch", "webhook"}:
        raise RestError("BOT_INVALID_EVENT_MODE", "Invalid event mode")
    if mode == "webhook" and not url:
        raise RestError("BOT_WEBHOOK_URL_REQUIRED", "Webhook URL is required")
    if url and not url.startswith(("http://", "https://")):
        raise RestError("BOT_INVALID_CALLBACK", "Invalid callback")
    avatar = as_map(fields.get("properties")).get("avatar")
    if avatar:
        try:
            base64.b64decode(str(avatar), validate=True)
        except binascii.Error:
            raise RestError("BOT_AVATAR_INCORRECT_TYPE", "Avatar is not an image") from None


@TABLE("imbot.v2.Bot.register", scope="imbot")
def bot_register(call: Call) -> Any:
    """The second call with a code changes nothing.

    Source: api-reference/chat-bots/chat-bots-v2/imbot.v2/bots/bot-register
    """
    world, fields = call.world, call.map("fields")
    code = str(fields.get("code") or "")
    if not code:
        raise RestError("BOT_CODE_REQUIRED", "Bot code is required")
    known = next((bot for bot in world.bots.values() if bot.code == code), None)
    if known is not None:
        return _bot_answer(call, known)
    if code in world.options.taken_bot_codes:
        raise RestError("BOT_CODE_ALREADY_TAKEN", "Bot code is taken by another application")
    properties = as_map(fields.get("properties"))
    if not properties.get("name"):
        raise RestError("BOT_PROPERTIES_REQUIRED", "Bot properties are required")
    mode = str(fields.get("eventMode") or "fetch")
    url = str(fields.get("webhookUrl") or "")
    _checked_bot_fields(fields, mode=mode, url=url)
    bot = _new_bot(world, code, "v2", properties)
    bot.type = str(fields.get("type") or "bot")
    _apply_bot_fields(world, bot, fields)
    return _bot_answer(call, bot)


def _new_bot(world: World, code: str, api: str, properties: dict[str, Any]) -> Bot:
    if len(world.bots) >= BOTS_LIMIT:
        raise RestError("BOT_LIMIT_EXCEEDED", "Too many bots")
    bot_id = world.next_id("bot")
    world.users[bot_id] = User(bot_id, str(properties.get("name") or "Bot"), kind="bot")
    bot = Bot(bot_id, code, api="v1" if api == "v1" else "v2")
    world.bots[bot_id] = bot
    _apply_properties(world, bot, properties)
    world.touch()
    return bot


def _apply_properties(world: World, bot: Bot, properties: dict[str, Any]) -> None:
    user = world.users[bot.id]
    user.name = str(properties.get("name", user.name))
    user.last_name = str(properties.get("lastName", user.last_name))
    user.work_position = str(properties.get("workPosition", user.work_position))


def _apply_bot_fields(world: World, bot: Bot, fields: dict[str, Any]) -> None:
    if "isSupportOpenline" in fields:
        bot.open_lines = truth(fields["isSupportOpenline"])
    if bot.type == "openline":
        bot.open_lines = True
    if "isHidden" in fields:
        bot.hidden = truth(fields["isHidden"])
    if "isReactionsEnabled" in fields:
        bot.reactions = truth(fields["isReactionsEnabled"])
    if "backgroundId" in fields:
        bot.background_id = fields["backgroundId"]
    if fields.get("eventMode"):
        bot.event_mode = "webhook" if fields["eventMode"] == "webhook" else "fetch"
        if bot.event_mode == "webhook":
            # The source keeps what was not fetched for its day; no page promises it.
            bot.queue.clear()
    if fields.get("webhookUrl"):
        bot.webhook_url = str(fields["webhookUrl"])
    _apply_properties(world, bot, as_map(fields.get("properties")))
    world.touch()


@TABLE("imbot.v2.Bot.update", scope="imbot")
def bot_update(call: Call) -> Any:
    bot, fields = _bot(call), call.map("fields")
    mode = str(fields.get("eventMode") or bot.event_mode)
    url = str(fields.get("webhookUrl") or bot.webhook_url)
    _checked_bot_fields({**fields, "type": "bot"}, mode=mode, url=url)
    _apply_bot_fields(call.world, bot, fields)
    return _bot_answer(call, bot)


@TABLE("imbot.v2.Bot.get", scope="imbot")
def bot_get(call: Call) -> Any:
    code = call.text("code")
    if code and not call.get("botId"):
        found = next((bot for bot in call.world.bots.values() if bot.code == code), None)
        if found is None:
            raise RestError("BOT_NOT_FOUND", "Bot not found")
        return _bot_answer(call, found)
    return _bot_answer(call, _bot(call))


@TABLE("imbot.v2.Bot.list", scope="imbot")
def bot_list(call: Call) -> Any:
    wanted = call.map("filter").get("type")
    bots = [bot for bot in call.world.bots.values() if wanted in (None, "", bot.type)]
    return {
        "bots": [bot_view(bot) for bot in bots],
        "users": [user_view(call.world.users[bot.id]) for bot in bots],
        "hasNextPage": False,
    }


@TABLE("imbot.v2.Bot.unregister", scope="imbot")
def bot_unregister(call: Call) -> Any:
    remove_bot(call.world, _bot(call))
    return True


def remove_bot(world: World, bot: Bot) -> None:
    """The bot leaves all chats; lines that pointed at it keep its number."""
    world.events.bot(bot, "DELETE", {}, lane=0)
    del world.bots[bot.id]
    world.users[bot.id].active = False
    for chat in world.chats.values():
        if bot.id in chat.members:
            chat.members.remove(bot.id)
    world.touch()


@TABLE("imbot.v2.Revision.get", scope="imbot")
def revision_get(call: Call) -> Any:
    revision = call.world.options.bot_revision
    return {"rest": revision, "web": revision, "mobile": revision, "desktop": revision}


@TABLE("imbot.v2.Event.get", scope="imbot")
def event_get(call: Call) -> Any:
    """Passing an offset confirms and deletes everything before it.

    Source: api-reference/chat-bots/chat-bots-v2/imbot.v2/events/event-get
    """
    bot = _bot(call)
    offset, limit = call.int("offset"), min(call.int("limit") or 100, 1000)
    while bot.queue and bot.queue[0]["eventId"] < offset:
        bot.queue.popleft()
    events = list(bot.queue)[:limit]
    following = events[-1]["eventId"] + 1 if events else offset or bot.next_event_id
    return {"events": events, "nextOffset": following, "hasMore": len(bot.queue) > len(events)}


# ---------------------------------------------------------------------- messages of bots


def _bot_chat(call: Call, bot: Bot) -> Chat:
    """A chat the bot is in; a number instead of `chat112` is a private dialog with a user."""
    world = call.world
    dialog_id = call.text("dialogId", "DIALOG_ID")
    if dialog_id.isdigit():
        return private_chat(world, bot, int(dialog_id))
    chat = world.chat_of(dialog_id)
    if chat is None or bot.id not in chat.members:
        raise RestError("ACCESS_DENIED", "Access denied", 403)
    return chat


def private_chat(world: World, bot: Bot, user_id: int) -> Chat:
    if user_id not in world.users:
        raise RestError("ACCESS_DENIED", "Access denied", 403)
    for chat in world.chats.values():
        if not chat.is_line and sorted(chat.members) == sorted((bot.id, user_id)):
            return chat
    chat = Chat(
        world.next_id("chat"),
        world.users[bot.id].full_name,
        members=[bot.id, user_id],
        created_at=world.now(),
    )
    world.chats[chat.id] = chat
    return chat


def _flag(call: Call, fields: dict[str, Any], name: str) -> bool:
    """Before revision 33 JSON booleans of these fields could be ignored (V2/change-log)."""
    value = fields.get(name)
    if isinstance(value, bool) and call.world.options.bot_revision < 33:
        return False
    return truth(value)


def _extras(fields: dict[str, Any], upper: bool = False) -> dict[str, Any]:
    """Attachment and keyboard, as they are kept with the message."""
    extras: dict[str, Any] = {}
    for name in ("attach", "keyboard"):
        value = fields.get(name.upper() if upper else name)
        if isinstance(value, str) and value not in ("", "N"):
            try:
                value = json.loads(value)
            except ValueError:
                raise RestError(f"PARAM_{name.upper()}_ERROR", f"Incorrect {name}") from None
        if value and value != "N":
            if len(json.dumps(value, ensure_ascii=False)) > ATTACH_LIMIT:
                raise RestError(f"PARAM_{name.upper()}_ERROR", f"{name} is too big")
            extras[name.upper()] = value
    return extras


def reserve_uuid(world: World, uuid: str) -> int | None:
    """The message already sent with this key, or None after reserving the key.

    Only a lower-case UUID of version 4 is a key. A key whose first sending failed fails again.
    Source: im/lib/Message/Uuid.php
    """
    if not UUID4.fullmatch(uuid):
        return None
    known = world.sent_uuids.get(uuid)
    if known is None:
        world.sent_uuids[uuid] = IN_FLIGHT
        return None
    if known == IN_FLIGHT:
        raise RestError("SENDING_FAILED", "Sending failed")
    return known


def _check_not_blocked(chat: Chat) -> None:
    if chat.block_reason:
        raise RestError("SENDING_FAILED", "Sending failed")


@TABLE("imbot.v2.Chat.Message.send", scope="imbot")
def message_send(call: Call) -> Any:
    """Source: api-reference/chat-bots/chat-bots-v2/imbot.v2/messages/chat-message-send"""
    bot, fields = _bot(call), call.map("fields")
    chat = _bot_chat(call, bot)
    text, extras = str(fields.get("message") or ""), _extras(fields)
    if not text.strip() and "ATTACH" not in extras and not fields.get("forwardIds"):
        raise RestError("EMPTY_MESSAGE", "Message is empty")
    system = _flag(call, fields, "system")
    hidden = _flag(call, fields, "skipConnector") or _flag(call, fields, "silentConnector")
    uuid = "" if system else str(fields.get("templateId") or "")
    sent = reserve_uuid(call.world, uuid)
    if sent is not None:
        return {"id": sent, "uuidMap": {}}
    message = _bot_says(
        call.world, chat, bot, text, extras=extras, uuid=uuid, hidden=hidden, system=system
    )
    return {"id": message.id, "uuidMap": {}}


def _bot_says(
    world: World,
    chat: Chat,
    bot: Bot,
    text: str,
    *,
    extras: dict[str, Any],
    uuid: str = "",
    hidden: bool = False,
    system: bool = False,
) -> Message:
    hidden = hidden and not world.options.whispers_leak
    if not (hidden or system):
        _check_not_blocked(chat)
    session = world.session_of(chat)
    if session is not None and not (hidden or system):
        session.status = OPERATOR_WROTE
    message = lines.add_message(
        world,
        chat,
        world.users[bot.id],
        f"[b]{world.options.app_title}[/b]\n{text}" if system else text,
        params=extras,
        uuid=uuid,
        hidden=hidden,
        silent=system,
    )
    if uuid:
        world.sent_uuids[uuid] = message.id
    return message


def _own_message(call: Call, bot: Bot) -> Message:
    message = call.world.messages.get(call.int("messageId", "MESSAGE_ID"))
    if message is None:
        raise RestError("MESSAGE_NOT_FOUND", "Message not found")
    if message.author_id != bot.id:
        raise RestError("ACCESS_DENIED", "Access denied", 403)
    return message


@TABLE("imbot.v2.Chat.Message.update", scope="imbot")
def message_update(call: Call) -> Any:
    message, fields = _own_message(call, _bot(call)), call.map("fields")
    if "message" in fields:
        message.text = str(fields["message"])
    if fields.get("keyboard") == "N":
        message.params.pop("KEYBOARD", None)
    message.params |= _extras(fields)
    message.edited = True
    call.world.touch(call.world.chats[message.chat_id])
    return True


@TABLE("imbot.v2.Chat.Message.delete", scope="imbot")
def message_delete(call: Call) -> Any:
    lines.remove_message(call.world, _own_message(call, _bot(call)))
    return True


@TABLE("imbot.v2.Chat.Message.read", scope="imbot")
def message_read(call: Call) -> Any:
    chat = _bot_chat(call, _bot(call))
    last = call.int("messageId") or (chat.message_ids[-1] if chat.message_ids else 0)
    if last not in chat.message_ids:
        raise RestError("MESSAGE_NOT_FOUND", "Message not found")
    return {"chatId": chat.id, "lastId": last, "counter": 0, "viewedMessages": [last]}


def _watched_message(call: Call) -> Message:
    bot = _bot(call)
    if bot.type not in {"supervisor", "personal"}:
        raise RestError("BOT_TYPE_NOT_ALLOWED", "Bot type is not allowed", 403)
    message = call.world.messages.get(call.int("messageId"))
    if message is None or bot.id not in call.world.chats[message.chat_id].members:
        raise RestError("MESSAGE_NOT_FOUND", "Message not found")
    return message


@TABLE("imbot.v2.Chat.Message.get", scope="imbot")
def message_get(call: Call) -> Any:
    message = _watched_message(call)
    author = call.world.users.get(message.author_id, SYSTEM_USER)
    return {"message": message_view(call.world, message), "user": user_view(author)}


@TABLE("imbot.v2.Chat.Message.getContext", scope="imbot")
def message_context(call: Call) -> Any:
    message = _watched_message(call)
    chat, reach = call.world.chats[message.chat_id], min(call.int("range") or 50, 50)
    place = chat.message_ids.index(message.id)
    first, last = max(0, place - reach), place + reach + 1
    near = [call.world.messages[one] for one in chat.message_ids[first:last]]
    authors = {one.author_id for one in near if one.author_id}
    return {
        "messages": [message_view(call.world, one) for one in near],
        "users": [user_view(call.world.users[one]) for one in sorted(authors)],
        "hasPrevPage": first > 0,
        "hasNextPage": last < len(chat.message_ids),
    }


@TABLE("imbot.v2.Chat.Message.Reaction.add", "imbot.v2.Chat.Message.Reaction.delete", scope="imbot")
def message_reaction(call: Call) -> Any:
    _bot(call)
    if call.int("messageId") not in call.world.messages:
        raise RestError("MESSAGE_NOT_FOUND", "Message not found")
    return True


@TABLE("imbot.v2.Chat.InputAction.notify", scope="imbot")
def input_action(call: Call) -> Any:
    chat = _bot_chat(call, _bot(call))
    chat.typing = call.text("statusMessageCode") or "typing"
    call.world.touch(chat)
    return True


@TABLE("imbot.v2.Chat.TextField.enabled", scope="imbot")
def text_field(call: Call) -> Any:
    _bot_chat(call, _bot(call))
    return True


# ---------------------------------------------------------------------- chats of bots


@TABLE("imbot.v2.Chat.get", scope="imbot")
def chat_get(call: Call) -> Any:
    chat = _bot_chat(call, _bot(call))
    return {"chat": {**chat_view(call.world, chat), **_chat_counts(call.world, chat)}}


def _chat_counts(world: World, chat: Chat) -> dict[str, Any]:
    return {
        "messageCount": len(chat.message_ids),
        "userCounter": len(chat.members),
        "managerList": _managers(world, chat),
        "lastMessageId": chat.message_ids[-1] if chat.message_ids else 0,
        "role": "member",
        "dateCreate": world.iso(chat.created_at),
    }


def _managers(world: World, chat: Chat) -> list[int]:
    return [one for one in chat.members if world.users[one].kind == "employee"]


@TABLE("imbot.v2.Chat.User.list", scope="imbot")
def chat_users(call: Call) -> Any:
    chat = _bot_chat(call, _bot(call))
    return [user_view(call.world.users[one]) for one in chat.members]


@TABLE("imbot.v2.Chat.User.add", scope="imbot")
def chat_user_add(call: Call) -> Any:
    chat = _bot_chat(call, _bot(call))
    for user_id in as_list(call.get("userIds")):
        if number(user_id) in call.world.users and number(user_id) not in chat.members:
            chat.members.append(number(user_id))
    call.world.touch(chat)
    return True


@TABLE("imbot.v2.Chat.leave", scope="imbot")
def chat_leave(call: Call) -> Any:
    bot = _bot(call)
    chat = _bot_chat(call, bot)
    chat.members.remove(bot.id)
    call.world.touch(chat)
    return True


# ---------------------------------------------------------------------- files, commands


@TABLE("imbot.v2.File.upload", scope="imbot")
def file_upload(call: Call) -> Any:
    bot, fields = _bot(call), call.map("fields")
    chat = _bot_chat(call, bot)
    try:
        content = base64.b64decode(str(fields.get("content") or ""), validate=True)
    except binascii.Error:
        raise RestError("FILE_INVALID_CONTENT", "Invalid content") from None
    if not content:
        raise RestError("FILE_EMPTY", "File is empty")
    file_id = call.world.next_id("file")
    name = str(fields.get("name") or "file")
    about = {
        "id": file_id,
        "chatId": chat.id,
        "name": name,
        "extension": name.rpartition(".")[2],
        "size": len(content),
    }
    call.world.files[file_id] = {**about, "content": content, "authorId": bot.id, "type": "file"}
    message = _bot_says(
        call.world, chat, bot, str(fields.get("message") or ""), extras={"FILE_ID": [file_id]}
    )
    return {
        "file": about,
        "messageId": message.id,
        "chatId": chat.id,
        "dialogId": chat.dialog_id,
    }


@TABLE("imbot.v2.File.download", scope="imbot")
def file_download(call: Call) -> Any:
    _bot(call)
    file = call.world.files.get(call.int("fileId"))
    if file is None:
        raise RestError("FILE_NOT_FOUND", "File not found")
    grant = call.world.authority.current(call.world, call.user.id)
    base = f"{call.world.client_endpoint}download.json"
    return {"downloadUrl": f"{base}?token={grant.access_token}&file={file['id']}"}


@TABLE("imbot.v2.Command.register", scope="imbot")
def command_register(call: Call) -> Any:
    bot, fields = _bot(call), call.map("fields")
    name = str(fields.get("command") or "")
    if not name:
        raise RestError("COMMAND_REQUIRED", "Command is required")
    if name.startswith("/"):
        raise RestError("COMMAND_NAME_INVALID", "Command name is invalid")
    if not truth(fields.get("hidden")) and not as_map(fields.get("title")):
        raise RestError("COMMAND_TITLE_REQUIRED", "Command title is required")
    commands = call.world.commands
    known = next((one for one in commands.values() if one["command"] == name), None)
    if known is None:
        known = {"id": call.world.next_id("command"), "botId": bot.id, **fields}
        commands[known["id"]] = known
    return {"command": known}


@TABLE("imbot.v2.Command.list", scope="imbot")
def command_list(call: Call) -> Any:
    bot = _bot(call)
    return {"commands": [one for one in call.world.commands.values() if one["botId"] == bot.id]}


@TABLE("imbot.v2.Command.unregister", scope="imbot")
def command_unregister(call: Call) -> Any:
    _bot(call)
    call.world.commands.pop(call.int("commandId"), None)
    return True


# ---------------------------------------------------------------------- legacy bots

LEGACY_TYPES = {"B": "bot", "O": "openline", "H": "personal", "S": "supervisor"}
LEGACY_PROPERTIES = {"NAME": "name", "LAST_NAME": "lastName", "WORK_POSITION": "workPosition"}


def _legacy_properties(fields: dict[str, Any]) -> dict[str, Any]:
    sent = {key.upper(): value for key, value in as_map(fields.get("PROPERTIES")).items()}
    return {new: sent[old] for old, new in LEGACY_PROPERTIES.items() if old in sent}


def _apply_legacy(world: World, bot: Bot, fields: dict[str, Any]) -> None:
    bot.handlers |= {
        key: str(value) for key, value in fields.items() if key.startswith("EVENT_") and value
    }
    if "OPENLINE" in fields:
        bot.open_lines = truth(fields["OPENLINE"])
    if bot.type == "openline":
        bot.open_lines = True
    _apply_properties(world, bot, _legacy_properties(fields))
    world.touch()


@TABLE("imbot.register", scope="imbot")
def legacy_register(call: Call) -> Any:
    """Source: api-reference/chat-bots/outdated"""
    world = call.world
    fields = {key.upper(): value for key, value in call.params.items()}
    code = str(fields.get("CODE") or "")
    if not code:
        raise RestError("CODE_ERROR", "Bot code isn't specified")
    if not fields.get("EVENT_HANDLER") and not fields.get("EVENT_MESSAGE_ADD"):
        raise RestError("EVENT_MESSAGE_ADD", 'Handler for "Message add" event isn\'t specified')
    if not _legacy_properties(fields).get("name"):
        raise RestError("NAME_ERROR", "Bot name isn't specified")
    known = next((bot for bot in world.bots.values() if bot.code == code), None)
    if known is not None:
        return known.id
    bot = _new_bot(world, code, "v1", _legacy_properties(fields))
    bot.type = LEGACY_TYPES.get(str(fields.get("TYPE") or "B"), "bot")
    bot.event_mode = "webhook"
    _apply_legacy(world, bot, fields)
    return bot.id


@TABLE("imbot.update", scope="imbot")
def legacy_update(call: Call) -> Any:
    bot = _legacy_bot(call)
    fields = {key.upper(): value for key, value in call.map("FIELDS").items()}
    _apply_legacy(call.world, bot, fields)
    return True


@TABLE("imbot.unregister", scope="imbot")
def legacy_unregister(call: Call) -> Any:
    remove_bot(call.world, _legacy_bot(call))
    return True


@TABLE("imbot.bot.list", scope="imbot")
def legacy_list(call: Call) -> Any:
    return {
        str(bot.id): {
            "ID": str(bot.id),
            "NAME": call.world.users[bot.id].full_name,
            "CODE": bot.code,
            "OPENLINE": "Y" if bot.open_lines else "N",
        }
        for bot in call.world.bots.values()
    }


def _legacy_bot(call: Call) -> Bot:
    """The bot sent, or the application's only one."""
    bots = call.world.bots
    wanted = call.int("BOT_ID")
    if not wanted and len(bots) == 1:
        return next(iter(bots.values()))
    if wanted not in bots:
        raise RestError("BOT_ID_ERROR", "Bot not found")
    return bots[wanted]


@TABLE("imbot.message.add", scope="imbot")
def legacy_message_add(call: Call) -> Any:
    bot = _legacy_bot(call)
    fields = {key.upper(): value for key, value in call.params.items()}
    if not fields.get("DIALOG_ID"):
        raise RestError("DIALOG_ID_EMPTY", "Dialog ID can't be empty")
    chat = _bot_chat(call, bot)
    text, extras = str(fields.get("MESSAGE") or ""), _extras(fields, upper=True)
    if not text.strip() and not extras:
        raise RestError("MESSAGE_EMPTY", "Message can't be empty")
    system = truth(fields.get("SYSTEM"))
    uuid = "" if system else str(fields.get("TEMPLATE_ID") or "")
    sent = reserve_uuid(call.world, uuid)
    if sent is not None:
        return sent
    message = _bot_says(
        call.world,
        chat,
        bot,
        text,
        extras=extras,
        uuid=uuid,
        hidden=truth(fields.get("SKIP_CONNECTOR")),
        system=system,
    )
    return message.id


@TABLE("imbot.message.update", scope="imbot")
def legacy_message_update(call: Call) -> Any:
    message = _own_message(call, _legacy_bot(call))
    message.text = call.text("MESSAGE")
    message.edited = True
    call.world.touch(call.world.chats[message.chat_id])
    return True


@TABLE("imbot.message.delete", scope="imbot")
def legacy_message_delete(call: Call) -> Any:
    lines.remove_message(call.world, _own_message(call, _legacy_bot(call)))
    return True


@TABLE("imbot.chat.sendTyping", "imbot.chat.sendtyping", scope="imbot")
def legacy_typing(call: Call) -> Any:
    chat = _bot_chat(call, _legacy_bot(call))
    chat.typing = "typing"
    call.world.touch(chat)
    return True


@TABLE("imbot.dialog.get", scope="imbot")
def legacy_dialog_get(call: Call) -> Any:
    return dialog_view(call.world, _bot_chat(call, _legacy_bot(call)))


@TABLE("imbot.chat.user.list", scope="imbot")
def legacy_chat_users(call: Call) -> Any:
    chat = call.world.chat_of(call.get("CHAT_ID"))
    if chat is None:
        raise RestError("CHAT_ID", "Chat not found")
    return list(chat.members)


@TABLE("imbot.chat.leave", scope="imbot")
def legacy_chat_leave(call: Call) -> Any:
    bot = _legacy_bot(call)
    chat = call.world.chat_of(call.get("CHAT_ID"))
    if chat is None or bot.id not in chat.members:
        raise RestError("CHAT_ID", "Chat not found")
    chat.members.remove(bot.id)
    call.world.touch(chat)
    return True


# ---------------------------------------------------------------------- im.* of operators


def dialog_view(world: World, chat: Chat) -> dict[str, Any]:
    """A chat in snake_case: `im.dialog.get`, `imopenlines.dialog.get`."""
    session = world.session_of(chat)
    return {
        "id": chat.id,
        "dialog_id": chat.dialog_id,
        "name": chat.title,
        "description": "",
        "owner": session.operator_id if session else 0,
        "type": "lines" if chat.is_line else "chat",
        "message_type": "L" if chat.is_line else "C",
        "entity_type": "LINES" if chat.is_line else "",
        "entity_id": chat.entity_id,
        "entity_data_1": world.entity_data_1(chat),
        "entity_data_2": world.entity_data_2(chat),
        "entity_data_3": "N" if chat.is_line else "",
        "message_count": len(chat.message_ids),
        "user_counter": len(chat.members),
        "last_message_id": chat.message_ids[-1] if chat.message_ids else 0,
        "manager_list": _managers(world, chat),
        "date_create": world.iso(chat.created_at),
        "role": "member",
        "extranet": chat.is_line,
        "color": "#ab7761",
        "avatar": "",
        "restrictions": {"send": True, "avatar": True, "rename": True, "leave": True},
        "permissions": {"manage_users_add": "member", "can_post": "member"},
        "text_field_enabled": True,
    }


def _operator_chat(call: Call, *, to_write: bool) -> Chat:
    chat = call.world.chat_of(call.get("DIALOG_ID", "CHAT_ID"))
    if chat is None:
        raise RestError("ACCESS_ERROR", "You do not have access to the specified dialog", 403)
    member = call.user.id in chat.members
    if not member and (to_write or not call.world.may_see(chat, call.user)):
        raise RestError("ACCESS_ERROR", "You do not have access to the specified dialog", 403)
    return chat


@TABLE("im.message.add", scope="im")
def im_message_add(call: Call) -> Any:
    """Source: api-reference/chats/messages/im-message-add"""
    fields = {key.upper(): value for key, value in call.params.items()}
    text, extras = str(fields.get("MESSAGE") or ""), _extras(fields, upper=True)
    if not text.strip() and not extras:
        raise RestError("MESSAGE_EMPTY", "Message can't be empty")
    if not fields.get("DIALOG_ID") and not fields.get("CHAT_ID"):
        raise RestError("USER_ID_EMPTY", "Dialog ID can't be empty")
    chat = _operator_chat(call, to_write=True)
    system = truth(fields.get("SYSTEM"))
    uuid = "" if system else str(fields.get("TEMPLATE_ID") or "")
    sent = reserve_uuid(call.world, uuid)
    if sent is not None:
        return sent
    whisper = truth(fields.get("SKIP_CONNECTOR"))
    if not (system or whisper):
        _check_not_blocked(chat)
    message = lines.staff_writes(
        call.world,
        chat,
        call.user,
        f"[b]{call.world.options.app_title}[/b]\n{text}" if system else text,
        uuid=uuid,
        params=extras,
        whisper=whisper,
        silent=system,
    )
    if uuid:
        call.world.sent_uuids[uuid] = message.id
    return message.id


def _staff_message(call: Call) -> Message:
    fields = {key.upper(): value for key, value in call.params.items()}
    message = call.world.messages.get(number(fields.get("MESSAGE_ID") or fields.get("ID")))
    if message is None or message.author_id != call.user.id:
        raise RestError("CANT_EDIT_MESSAGE", "You can't edit this message", 403)
    return message


@TABLE("im.message.update", scope="im")
def im_message_update(call: Call) -> Any:
    message = _staff_message(call)
    message.text = call.text("MESSAGE")
    message.edited = True
    call.world.touch(call.world.chats[message.chat_id])
    return True


@TABLE("im.message.delete", scope="im")
def im_message_delete(call: Call) -> Any:
    lines.remove_message(call.world, _staff_message(call))
    return True


@TABLE("im.dialog.get", scope="im")
def im_dialog_get(call: Call) -> Any:
    return dialog_view(call.world, _operator_chat(call, to_write=False))


@TABLE("im.dialog.writing", scope="im")
def im_dialog_writing(call: Call) -> Any:
    _operator_chat(call, to_write=True)
    return True


@TABLE("im.dialog.read", scope="im")
def im_dialog_read(call: Call) -> Any:
    chat = _operator_chat(call, to_write=False)
    return {"dialogId": chat.dialog_id, "chatId": chat.id, "counter": 0}


@TABLE("im.dialog.messages.get", scope="im")
def im_dialog_messages(call: Call) -> Any:
    """Members only, newest first. Source: api-reference/chats/messages/im-dialog-messages-get"""
    world, chat = call.world, _operator_chat(call, to_write=True)
    limit = min(call.int("LIMIT") or 20, 50)
    last, first = call.get("LAST_ID"), call.get("FIRST_ID")
    ids = chat.message_ids
    if last is not None:
        ids = [one for one in ids if one < number(last)] if number(last) in ids else []
        chosen = ids[-limit:]
    elif first is not None:
        ids = [one for one in ids if one > number(first)] if number(first) in ids else []
        chosen = ids[:limit]
    else:
        chosen = ids[-limit:]
    messages = [world.messages[one] for one in reversed(chosen)]
    authors = sorted({one.author_id for one in messages if one.author_id})
    files = [number(one) for message in messages for one in message.params.get("FILE_ID", [])]
    return {
        "chat_id": chat.id,
        "messages": [_im_message(world, one) for one in messages],
        "users": [im_user(world.users[one]) for one in authors],
        "files": [public_file(world.files[one]) for one in files if one in world.files],
    }


def _im_message(world: World, message: Message) -> dict[str, Any]:
    return {
        "id": message.id,
        "chat_id": message.chat_id,
        "author_id": message.author_id,
        "date": world.iso(message.at),
        "text": message.text,
        "unread": False,
        "uuid": message.uuid or None,
        "replaces": [],
        "params": message.params,
        "disappearing_date": None,
    }


def im_user(user: User) -> dict[str, Any]:
    """A user in snake_case."""
    shown = user_view(user)
    return {
        "id": shown["id"],
        "active": shown["active"],
        "name": shown["name"],
        "first_name": shown["firstName"],
        "last_name": shown["lastName"],
        "work_position": shown["workPosition"],
        "bot": shown["bot"],
        "connector": shown["connector"],
        "extranet": shown["extranet"],
        "external_auth_id": shown["externalAuthId"],
        "type": "bot" if shown["bot"] else "user",
    }


def public_file(file: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in file.items() if key != "content"}


@TABLE("im.user.get", scope="im")
def im_user_get(call: Call) -> Any:
    user = call.world.users.get(call.int("ID") or call.user.id)
    if user is None:
        raise RestError("USER_NOT_EXISTS", "User not found")
    return im_user(user)
