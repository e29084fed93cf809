"""Open lines: `imopenlines.*`."""

from __future__ import annotations

from typing import Any

from integrations.bitrix24.local_portal import lines
from integrations.bitrix24.local_portal.events import SYSTEM_USER
from integrations.bitrix24.local_portal.methods_chat import dialog_view, public_file
from integrations.bitrix24.local_portal.php import as_list, as_map, number, truth
from integrations.bitrix24.local_portal.rest import Call, Table
from integrations.bitrix24.local_portal.state import (
    LINE_DEFAULTS,
    SPAM,
    Chat,
    Line,
    Message,
    RestError,
    Session,
    User,
    World,
)

TABLE = Table()
SCOPE = "imopenlines"


# ---------------------------------------------------------------------- settings of lines


def _line_view(line: Line, *, with_queue: bool) -> dict[str, Any]:
    """Numbers come back as text. Source: api-reference/imopenlines/openlines/config"""
    shown: dict[str, Any] = {
        "ID": str(line.id),
        "ACTIVE": "Y" if line.active else "N",
        "LINE_NAME": line.name,
        **{
            key: [str(one) for one in value] if isinstance(value, list) else str(value)
            for key, value in line.settings.items()
        },
        "DATE_CREATE": {},
        "MODIFY_USER_ID": "1",
    }
    if with_queue:
        shown["QUEUE"] = [str(user_id) for user_id in line.queue]
        shown["QUEUE_FULL"] = {str(one): {"USER_ID": str(one)} for one in line.queue}
        shown["CONFIG_QUEUE"] = [
            {"ENTITY_TYPE": "user", "ENTITY_ID": str(user_id)} for user_id in line.queue
        ]
    return shown


@TABLE("imopenlines.config.list.get", scope=SCOPE)
def config_list(call: Call) -> Any:
    params = {key.lower(): value for key, value in call.map("PARAMS").items()}
    options = {key.upper(): value for key, value in call.map("OPTIONS").items()}
    offset = number(params.get("offset"))
    limit = min(number(params.get("limit")) or 200, 200)
    wanted = {key.upper(): str(value) for key, value in as_map(params.get("filter")).items()}
    rows = [
        _line_view(line, with_queue=truth(options.get("QUEUE") or options.get("CONFIG_QUEUE")))
        for line in call.world.lines.values()
    ]
    rows = [row for row in rows if all(str(row.get(key)) == one for key, one in wanted.items())]
    names = [str(one) for one in as_list(params.get("select"))]
    if names and "*" not in names:
        rows = [{key: row[key] for key in row if key in {"ID", *names}} for row in rows]
    return rows[offset : offset + limit]


@TABLE("imopenlines.config.get", scope=SCOPE)
def config_get(call: Call) -> Any:
    line = call.world.lines.get(call.int("CONFIG_ID"))
    if line is None:
        return False
    with_queue = call.get("WITH_QUEUE") is None or call.flag("WITH_QUEUE")
    return _line_view(line, with_queue=with_queue)


@TABLE("imopenlines.config.update", scope=SCOPE)
def config_update(call: Call) -> Any:
    """Partial, with a trap: bot settings sent without WELCOME_BOT_ENABLE=Y are reset.

    Source: imopenlines/lib/config.php
    """
    _check_may_configure(call)
    line = call.world.lines.get(call.int("CONFIG_ID"))
    if line is None:
        raise RestError("CONFIG_NOT_FOUND", "Open line is not found")
    wanted = {key.upper(): value for key, value in call.map("PARAMS").items()}
    if wanted.get("WELCOME_BOT_ENABLE") != "Y":
        resets = {"WELCOME_BOT_ID": 0, "WELCOME_BOT_TIME": 600, "WELCOME_BOT_LEFT": "queue"}
        wanted |= {key: value for key, value in resets.items() if key in wanted}
    return _apply_settings(call.world, line, wanted)


def _apply_settings(world: World, line: Line, wanted: dict[str, Any]) -> bool:
    if "QUEUE" in wanted:
        queue = _queue(world, wanted["QUEUE"])
        if queue is None:
            return False
        line.queue = queue
    if "LINE_NAME" in wanted:
        line.name = str(wanted["LINE_NAME"])
    if "ACTIVE" in wanted:
        line.active = truth(wanted["ACTIVE"])
    for key, value in wanted.items():
        if key not in LINE_DEFAULTS:
            continue
        default = LINE_DEFAULTS[key]
        if isinstance(default, int):
            line.settings[key] = number(value)
        elif isinstance(default, list):
            line.settings[key] = [str(one) for one in as_list(value)] or [""]
        else:
            line.settings[key] = str(value)
    world.touch()
    return True


def _queue(world: World, raw: Any) -> list[int] | None:
    """User ids of a queue; None when an entry is not an employee."""
    queue = []
    for entry in as_list(raw):
        about = as_map(entry)
        user = world.users.get(number(about.get("ENTITY_ID")))
        if about.get("ENTITY_TYPE") != "user" or user is None or user.kind != "employee":
            return None
        queue.append(user.id)
    return queue


def _check_may_configure(call: Call) -> None:
    if not call.user.admin:
        raise RestError("CONFIG_WRONG_USER_PERMISSION", "Permission denied", 403)


@TABLE("imopenlines.config.add", scope=SCOPE)
def config_add(call: Call) -> Any:
    _check_may_configure(call)
    line = Line(call.world.next_id("line"), "Открытая линия", True, [], dict(LINE_DEFAULTS))
    wanted = {key.upper(): value for key, value in call.map("PARAMS").items()}
    if not _apply_settings(call.world, line, wanted):
        return False
    call.world.lines[line.id] = line
    return line.id


@TABLE("imopenlines.config.delete", scope=SCOPE)
def config_delete(call: Call) -> Any:
    _check_may_configure(call)
    return call.world.lines.pop(call.int("CONFIG_ID"), None) is not None


@TABLE("imopenlines.config.path.get", scope=SCOPE)
def config_path(call: Call) -> Any:
    return {
        "SERVER_ADDRESS": f"{call.world.scheme}://{call.world.domain}",
        "PUBLIC_PATH": "/contact_center/lines_edit/",
    }


@TABLE("imopenlines.revision.get", scope=SCOPE)
def revision_get(call: Call) -> Any:
    return {"rest": 20, "web": 3, "mobile": 1}


# ---------------------------------------------------------------------- reading


def _readable_chat(call: Call) -> Chat:
    """The chat named by CHAT_ID, DIALOG_ID, SESSION_ID or USER_CODE, when the user may see it."""
    world = call.world
    chat: Chat | None
    if call.get("SESSION_ID"):
        session = world.sessions.get(call.int("SESSION_ID"))
        chat = world.chats[session.chat_id] if session else None
    elif call.get("USER_CODE"):
        chat = _chat_by_code(world, call.text("USER_CODE"))
    else:
        chat = world.chat_of(call.get("CHAT_ID") or call.get("DIALOG_ID"))
    if chat is None or not chat.is_line or not world.may_see(chat, call.user):
        raise RestError("ACCESS_ERROR", "You do not have access to the specified dialog")
    return chat


def _chat_by_code(world: World, code: str) -> Chat | None:
    parts = code.removeprefix("imol|").split("|", 3)
    number_ = world.chat_by_entity.get("|".join(parts[:3]))
    return world.chats.get(number_ or 0)


@TABLE("imopenlines.dialog.get", scope=SCOPE)
def dialog_get(call: Call) -> Any:
    return dialog_view(call.world, _readable_chat(call))


@TABLE("imopenlines.session.open", scope=SCOPE)
def session_open(call: Call) -> Any:
    chat = _chat_by_code(call.world, call.text("USER_CODE"))
    if chat is None or not call.world.may_see(chat, call.user):
        raise RestError("ACCESS_DENIED", "Access denied")
    return {"chatId": str(chat.id)}


@TABLE("imopenlines.session.history.get", scope=SCOPE)
def session_history(call: Call) -> Any:
    """All messages of one session, with lower-case names.

    Source: api-reference/imopenlines/openlines/sessions/imopenlines-session-history-get
    """
    world = call.world
    session = _history_session(call)
    chat = world.chats[session.chat_id]
    messages = [one for one in world.messages_of(chat) if one.session_id == session.id]
    authors = {one.author_id for one in messages if one.author_id} | set(chat.members)
    files = [one for message in messages for one in message.params.get("FILE_ID", [])]
    return {
        "chatId": chat.id,
        "canJoin": "Y",
        "canVoteAsHead": "N",
        "sessionId": session.id,
        "sessionVoteHead": 0,
        "sessionCommentHead": "",
        "userId": chat.dialog_id,
        "message": {str(one.id): _history_message(world, chat, one) for one in messages},
        "usersMessage": {chat.dialog_id: [str(one.id) for one in reversed(messages)]},
        "users": {str(one): _history_user(world.users[one]) for one in sorted(authors)},
        "openlines": {},
        "userInGroup": {},
        "woUserInGroup": {},
        "chat": {str(chat.id): _history_chat(world, chat)},
        "userBlockChat": {},
        "userInChat": {str(chat.id): list(chat.members)},
        "files": {str(one): _history_file(world, one) for one in files if one in world.files},
    }


def _history_session(call: Call) -> Session:
    world = call.world
    if call.get("SESSION_ID"):
        session = world.sessions.get(call.int("SESSION_ID"))
        if session is None:
            raise RestError("INVALID_SESSION_ID", "Session is not found")
    elif call.get("CHAT_ID"):
        chat = world.chat_of(call.get("CHAT_ID"))
        session = world.sessions.get(chat.session_id) if chat else None
        if session is None:
            raise RestError("ACCESS_DENIED", "Access denied")
    else:
        raise RestError("MISSING_REQUIRED_PARAM", "CHAT_ID or SESSION_ID is required")
    if not world.may_see(world.chats[session.chat_id], call.user):
        raise RestError("ACCESS_DENIED", "Access denied")
    return session


def _lower_first(name: str) -> str:
    """COMPONENT_ID as this method prints it: componentId."""
    head, *tail = name.lower().split("_")
    return head + "".join(part.capitalize() for part in tail)


def _history_message(world: World, chat: Chat, message: Message) -> dict[str, Any]:
    return {
        "id": str(message.id),
        "chatid": str(chat.id),
        "senderid": str(message.author_id),
        "recipientid": chat.dialog_id,
        "date": world.iso(message.at),
        "text": message.text,
        "textlegacy": message.text,
        "params": {_lower_first(key): value for key, value in message.params.items()},
    }


def _history_user(user: User) -> dict[str, Any]:
    client = user.kind == "client"
    return {
        "id": str(user.id),
        "name": user.full_name,
        "firstName": user.name,
        "lastName": user.last_name,
        "active": user.active,
        "connector": client,
        "bot": user.kind == "bot",
        "extranet": client,
        "network": False,
        "externalAuthId": {"client": "imconnector", "bot": "bot"}.get(user.kind, "default"),
        "workPosition": user.work_position,
    }


def _history_chat(world: World, chat: Chat) -> dict[str, Any]:
    session = world.session_of(chat)
    return {
        "id": str(chat.id),
        "name": chat.title,
        "owner": str(session.operator_id if session else 0),
        "type": "lines",
        "messageType": "L",
        "entityType": "LINES",
        "entityId": chat.entity_id,
        "entityData1": world.entity_data_1(chat),
        "entityData2": world.entity_data_2(chat),
        "entityData3": "N",
        "managerList": [one for one in chat.members if world.users[one].kind == "employee"],
        "dateCreate": world.iso(chat.created_at),
    }


def _history_file(world: World, number_: int) -> dict[str, Any]:
    return {key.lower(): value for key, value in public_file(world.files[number_]).items()}


# ---------------------------------------------------------------------- the bot's part


def _bot_session(call: Call) -> tuple[Chat, Session]:
    chat = call.line_chat("CHAT_ID", code="CHAT_ID_EMPTY")
    if not any(call.world.bots_in(chat)):
        raise RestError("BOT_ID_ERROR", "Bot is not in the chat")
    session = call.world.session_of(chat)
    if session is None or session.operator_id not in call.world.bots:
        raise RestError("WRONG_CHAT", "Operator is not a bot")
    return chat, session


@TABLE("imopenlines.bot.session.operator", scope=SCOPE)
def bot_session_operator(call: Call) -> Any:
    """To a free operator; WRONG_CHAT when a person already leads the session."""
    chat = call.line_chat("CHAT_ID", code="CHAT_ID_EMPTY")
    session = call.world.session_of(chat)
    if session is None or session.operator_id not in call.world.bots:
        raise RestError("WRONG_CHAT", "Operator is not a bot")
    lines.hand_to_queue(call.world, chat, session)
    return True


@TABLE("imopenlines.bot.session.transfer", scope=SCOPE)
def bot_session_transfer(call: Call) -> Any:
    """Only upper-case names are read here, and USER_ID wins over QUEUE_ID.

    Source: api-reference/imopenlines/openlines/chat-bots
    """
    chat, session = _bot_session(call)
    user_id, line_id = _transfer_target(call)
    stay = truth(call.params.get("LEAVE")) is False and "LEAVE" in call.params
    if user_id:
        person = call.world.users.get(user_id)
        if person is None or person.kind != "employee" or not person.active:
            raise RestError("OPERATOR_WRONG", "Operator is wrong")
        lines.hand_to_person(call.world, chat, session, person, stay=stay)
        return True
    if line_id not in call.world.lines:
        raise RestError("OPERATOR_WRONG", "Queue is wrong")
    lines.hand_to_queue(call.world, chat, session, line_id=line_id)
    return True


def _transfer_target(call: Call) -> tuple[int, int]:
    """(user id, 0) or (0, line id)."""
    params = call.params
    target = str(params.get("TRANSFER_ID") or "")
    if "USER_ID" in params:
        if not number(params["USER_ID"]):
            raise RestError("USER_ID_EMPTY", "User ID can't be empty")
        return number(params["USER_ID"]), 0
    if "QUEUE_ID" in params:
        if not number(params["QUEUE_ID"]):
            raise RestError("QUEUE_ID_EMPTY", "Queue ID can't be empty")
        return 0, number(params["QUEUE_ID"])
    if not target:
        raise RestError("TRANSFER_ID_EMPTY", "Queue ID or User ID can't be empty")
    return (0, number(target[5:])) if target.startswith("queue") else (number(target), 0)


@TABLE("imopenlines.bot.session.finish", scope=SCOPE)
def bot_session_finish(call: Call) -> Any:
    chat, session = _bot_session(call)
    lines.finish(call.world, chat, session)
    return True


@TABLE("imopenlines.bot.session.message.send", scope=SCOPE)
def bot_session_message(call: Call) -> Any:
    """A message of nobody that reaches the client; true even when nothing was sent."""
    chat = call.line_chat("CHAT_ID", code="CHAT_ID_EMPTY")
    text = call.text("MESSAGE")
    if call.text("NAME") == "WELCOME":
        line = call.world.lines[chat.line_id]
        text = str(line.settings["WELCOME_MESSAGE_TEXT"])
    if text:
        lines.add_message(call.world, chat, SYSTEM_USER, text)
    return True


# ---------------------------------------------------------------------- the operator's part


def _operator_session(call: Call) -> tuple[Chat, Session]:
    chat = call.line_chat("CHAT_ID")
    if not call.world.may_see(chat, call.user):
        raise RestError("ACCESS_DENIED", "Access denied", 403)
    session = call.world.session_of(chat)
    if session is None:
        raise RestError("CHAT_TYPE", "Chat has no open session")
    return chat, session


@TABLE("imopenlines.operator.answer", "imopenlines.session.intercept", scope=SCOPE)
def operator_answer(call: Call) -> Any:
    chat, session = _operator_session(call)
    lines.take(call.world, chat, session, call.user)
    return True


@TABLE("imopenlines.operator.skip", scope=SCOPE)
def operator_skip(call: Call) -> Any:
    chat, session = _operator_session(call)
    if session.operator_id == call.user.id:
        session.operator_id = 0
        lines.hand_to_queue(call.world, chat, session)
    return True


@TABLE("imopenlines.operator.finish", "imopenlines.operator.another.finish", scope=SCOPE)
def operator_finish(call: Call) -> Any:
    chat, session = _operator_session(call)
    lines.finish(call.world, chat, session)
    return True


@TABLE("imopenlines.operator.spam", scope=SCOPE)
def operator_spam(call: Call) -> Any:
    chat, session = _operator_session(call)
    lines.finish(call.world, chat, session, status=SPAM)
    return True


@TABLE("imopenlines.operator.transfer", scope=SCOPE)
def operator_transfer(call: Call) -> Any:
    chat, session = _operator_session(call)
    user_id, line_id = _transfer_target(call)
    person = call.world.users.get(user_id)
    if user_id and (person is None or person.kind != "employee"):
        raise RestError("OPERATOR_WRONG", "Operator is wrong")
    if person is not None:
        lines.hand_to_person(call.world, chat, session, person)
    elif line_id in call.world.lines:
        lines.hand_to_queue(call.world, chat, session, line_id=line_id)
    else:
        raise RestError("OPERATOR_WRONG", "Queue is wrong")
    return True


@TABLE("imopenlines.session.join", scope=SCOPE)
def session_join(call: Call) -> Any:
    chat, _ = _operator_session(call)
    if call.user.id not in chat.members:
        chat.members.append(call.user.id)
    call.world.touch(chat)
    return True


@TABLE("imopenlines.message.quick.save", scope=SCOPE)
def quick_save(call: Call) -> Any:
    chat, _ = _operator_session(call)
    message = call.world.messages.get(call.int("MESSAGE_ID"))
    if message is None or message.chat_id != chat.id:
        raise RestError("CANT_SAVE_QUICK_ANSWER", "Can't save quick answer")
    call.world.quick_answers.append({"TEXT": message.text, "MESSAGE_ID": message.id})
    return True


# ---------------------------------------------------------------------- CRM and chats


def _crm_chats(call: Call) -> list[Chat]:
    kind = call.text("CRM_ENTITY_TYPE").lower()
    number_ = call.int("CRM_ENTITY")
    if kind not in {"lead", "deal", "contact", "company"} or not number_:
        raise RestError("CRM_CHAT_EMPTY_CRM_DATA", "Empty CRM data")
    return [chat for chat in call.world.chats.values() if chat.crm.get(kind) == number_]


@TABLE("imopenlines.crm.chat.get", scope=SCOPE)
def crm_chat_get(call: Call) -> Any:
    only_active = call.get("ACTIVE_ONLY") is None or call.flag("ACTIVE_ONLY")
    return [
        {
            "CHAT_ID": str(chat.id),
            "CONNECTOR_ID": chat.connector,
            "CONNECTOR_TITLE": chat.title.rpartition(" - ")[2],
        }
        for chat in _crm_chats(call)
        if not only_active or call.world.session_of(chat) is not None
    ]


@TABLE("imopenlines.crm.chat.getLastId", "imopenlines.crm.chat.getlastid", scope=SCOPE)
def crm_chat_last(call: Call) -> Any:
    chats = _crm_chats(call)
    if not chats:
        raise RestError("CRM_CHAT_EMPTY_CRM_DATA", "Empty CRM data")
    return max(chat.id for chat in chats)


@TABLE("imopenlines.crm.chat.user.add", scope=SCOPE)
def crm_chat_user_add(call: Call) -> Any:
    chat, user_id = call.line_chat("CHAT_ID"), call.int("USER_ID")
    if user_id in call.world.users and user_id not in chat.members:
        chat.members.append(user_id)
        call.world.touch(chat)
    return str(chat.id)


@TABLE("imopenlines.crm.chat.user.delete", scope=SCOPE)
def crm_chat_user_delete(call: Call) -> Any:
    chat, user_id = call.line_chat("CHAT_ID"), call.int("USER_ID")
    if user_id in chat.members:
        chat.members.remove(user_id)
        call.world.touch(chat)
    return str(chat.id)


@TABLE("imopenlines.crm.lead.create", scope=SCOPE)
def crm_lead_create(call: Call) -> Any:
    chat, session = _operator_session(call)
    if session.operator_id != call.user.id:
        raise RestError("ERROR_USER_NOT_OPERATOR", "User is not the operator")
    line = call.world.lines[chat.line_id]
    forced = Line(
        line.id, line.name, True, line.queue, {**line.settings, "CRM": "Y", "CRM_CREATE": "lead"}
    )
    lines.bind_crm(call.world, chat, forced, call.world.users[chat.client_id])
    return True


@TABLE("imopenlines.crm.message.add", scope=SCOPE)
def crm_message_add(call: Call) -> Any:
    chat = call.line_chat("CHAT_ID")
    kind, number_ = call.text("CRM_ENTITY_TYPE").lower(), call.int("CRM_ENTITY")
    if chat.crm.get(kind) != number_:
        raise RestError("CHAT_NOT_IN_CRM", "Chat does not belong to the CRM entity")
    author = call.world.users.get(call.int("USER_ID"))
    if author is None or author.id not in chat.members:
        raise RestError("ACCESS_DENIED", "Access denied")
    return lines.staff_writes(call.world, chat, author, call.text("MESSAGE")).id
