"""The life of an open line: sessions, the welcome bot, messages, hand-over, CRM binding.

Every function is called with the world's lock held.
"""

from __future__ import annotations

from typing import Any

from integrations.bitrix24.local_portal.crm_fields import COMPANY, CONTACT, DEAL, LEAD
from integrations.bitrix24.local_portal.events import (
    SYSTEM_USER,
    chat_view,
    message_view,
    user_view,
)
from integrations.bitrix24.local_portal.methods_crm import add_activity
from integrations.bitrix24.local_portal.state import (
    ANSWERED,
    CLIENT_AFTER_OPERATOR,
    CLIENT_WROTE,
    CLOSED,
    CONNECTOR_TITLES,
    NEW,
    OPERATOR_WROTE,
    Bot,
    Chat,
    Line,
    Message,
    RestError,
    Session,
    User,
    World,
)

ITEM_TYPES = {"lead": LEAD, "deal": DEAL, "contact": CONTACT, "company": COMPANY}
MESSAGE_LIMIT = 20_000  # api-reference/chat-bots/chat-bots-v2/imbot.v2/messages/chat-message-send
WHISPER = {
    "COMPONENT_ID": "HiddenMessage",
    "CLASS": "bx-messenger-content-item-system",
}


# ---------------------------------------------------------------------- the client


def client_writes(
    world: World,
    text: str,
    *,
    chat_id: int | None,
    name: str,
    connector: str,
    line_id: int,
    external_id: str = "",
    files: tuple[str, ...] = (),
) -> Message:
    """A client's message arrives: session, welcome bot, CRM, then events.

    Source: api-reference/imopenlines and imopenlines/lib/session.php
    """
    line = world.lines[line_id if chat_id is None else world.chats[chat_id].line_id]
    if chat_id is None:
        known = world.chat_by_entity.get(f"{connector}|{line_id}|{external_id}")
        chat_id = known if external_id else None
    chat = _new_chat(world, name, connector, line, external_id) if chat_id is None else None
    is_new = chat is not None
    chat = chat or world.chats[chat_id or 0]
    client = world.users[chat.client_id]
    session = world.session_of(chat)
    joined = None
    if session is None:
        session = _open_session(world, chat, line)
        joined = _welcome_bot(world, chat, line, session, is_new=is_new)
        if joined is None:
            _to_queue(world, chat, line, session)
    if chat.crm or not world.options.crm_binding_delay_seconds:
        bind_crm(world, chat, line, client)
    if joined is not None:
        _tell_joined(world, chat, joined, client)
    params: dict[str, Any] = {}
    if files:
        params["FILE_ID"] = [_new_file(world, chat, client, file) for file in files]
    session.status = CLIENT_AFTER_OPERATOR if session.status == OPERATOR_WROTE else CLIENT_WROTE
    message = add_message(world, chat, client, text, params=params)
    if world.options.crm_binding_delay_seconds and not chat.crm:
        world.events.later(
            world.options.crm_binding_delay_seconds,
            lambda: bind_crm(world, chat, line, client),
        )
    if text.strip() == "0" and session.operator_id in world.bots:
        hand_to_queue(world, chat, session)
    return message


def client_edits(world: World, message: Message, text: str) -> None:
    message.text = text
    message.edited = True
    _to_bots(world, world.chats[message.chat_id], "MESSAGEUPDATE", message)
    world.touch(world.chats[message.chat_id])


def client_deletes(world: World, message: Message) -> None:
    chat = world.chats[message.chat_id]
    remove_message(world, message)
    author = world.users[message.author_id]
    data = {
        "messageId": message.id,
        "chat": chat_view(world, chat),
        "user": user_view(author),
    }
    for bot in world.bots_in(chat):
        if bot.open_lines:
            world.events.bot(bot, "MESSAGEDELETE", data, lane=chat.id)


def remove_message(world: World, message: Message) -> None:
    chat = world.chats[message.chat_id]
    message.text = "Сообщение удалено."
    message.params = {"IS_DELETED": "Y"}
    world.touch(chat)


def _new_chat(world: World, name: str, connector: str, line: Line, external_id: str) -> Chat:
    client = User(world.next_id("client"), name, kind="client")
    world.users[client.id] = client
    number = world.next_id("chat")
    chat = Chat(
        id=number,
        title=f"{name} - {CONNECTOR_TITLES.get(connector, connector)}",
        line_id=line.id,
        connector=connector,
        connector_chat_id=external_id or str(1_000 + number),
        client_id=client.id,
        members=[client.id],
        created_at=world.now(),
    )
    world.chats[number] = chat
    world.chat_by_entity[f"{connector}|{line.id}|{chat.connector_chat_id}"] = number
    return chat


def _new_file(world: World, chat: Chat, author: User, name: str) -> int:
    number = world.next_id("file")
    world.files[number] = {
        "id": number,
        "chatId": chat.id,
        "authorId": author.id,
        "name": name,
        "extension": name.rpartition(".")[2],
        "type": "file",
        "size": len(name),
        "content": name.encode(),
        "urlDownload": f"{world.scheme}://{world.domain}/rest/download.json?file={number}",
    }
    return number


# ---------------------------------------------------------------------- messages


def add_message(
    world: World,
    chat: Chat,
    author: User,
    text: str,
    *,
    params: dict[str, Any] | None = None,
    uuid: str = "",
    hidden: bool = False,
    silent: bool = False,
) -> Message:
    """Put a message into a chat and tell the bots that are in it.

    `hidden` is a whisper; `silent` a message that stays inside the portal for another reason.
    Bots' and system messages raise no events, so bots cannot talk to each other for ever.
    """
    number = world.next_id("message")
    to_client = chat.is_line and not (hidden or silent or author.kind == "client")
    message = Message(
        id=number,
        chat_id=chat.id,
        author_id=author.id,
        text=text if len(text) <= MESSAGE_LIMIT else f"{text[:MESSAGE_LIMIT]} (...)",
        at=world.now(),
        session_id=chat.session_id,
        params={**(params or {}), **(WHISPER if hidden else {})},
        uuid=uuid,
        hidden=hidden,
        to_client=to_client,
    )
    if to_client:
        message.params["CONNECTOR_MID"] = [str(number)]
    world.messages[number] = message
    chat.message_ids.append(number)
    chat.typing = ""
    if author.id and author.kind != "bot":
        _to_bots(world, chat, "MESSAGEADD", message)
    world.touch(chat)
    return message


def note(world: World, chat: Chat, text: str) -> None:
    """A system message: nobody's, never an event, never to the client."""
    add_message(world, chat, SYSTEM_USER, text, silent=True)


def _to_bots(world: World, chat: Chat, what: str, message: Message) -> None:
    author = world.users[message.author_id]
    data: dict[str, Any] = {}
    for bot in world.bots_in(chat):
        if bot.open_lines or not chat.is_line:
            data = data or {
                "message": message_view(world, message),
                "chat": chat_view(world, chat),
                "user": user_view(author),
            }
            world.events.bot(bot, what, data, lane=chat.id)


def staff_writes(
    world: World,
    chat: Chat,
    author: User,
    text: str,
    *,
    uuid: str = "",
    params: dict[str, Any] | None = None,
    whisper: bool = False,
    silent: bool = False,
) -> Message:
    """An operator's message. An answer takes the session from a bot or the queue; a whisper not."""
    session = world.session_of(chat)
    if session is not None and not whisper and not silent:
        leader = session.operator_id
        if leader in world.bots or (not session.accepted and leader in (0, author.id)):
            take(world, chat, session, author)
        session.status = OPERATOR_WROTE
    return add_message(
        world, chat, author, text, uuid=uuid, params=params, hidden=whisper, silent=silent
    )


# ---------------------------------------------------------------------- sessions


def _open_session(world: World, chat: Chat, line: Line) -> Session:
    session = Session(
        id=world.next_id("session"),
        chat_id=chat.id,
        line_id=line.id,
        opened_at=world.now(),
        status=NEW,
    )
    world.sessions[session.id] = session
    chat.session_id = session.id
    note(world, chat, f"Начат новый диалог №{session.id}")
    return session


def _welcome_bot(
    world: World, chat: Chat, line: Line, session: Session, *, is_new: bool
) -> Bot | None:
    """Let the line's welcome bot lead the new session, when its settings say so."""
    settings = line.settings
    bot = world.bots.get(int(settings["WELCOME_BOT_ID"] or 0))
    if not (line.active and settings["WELCOME_BOT_ENABLE"] == "Y" and bot is not None):
        return None
    if settings["WELCOME_BOT_JOIN"] != "always" and not is_new:
        return None
    session.operator_id = bot.id
    _enter(chat, bot.id)
    seconds = int(settings["WELCOME_BOT_TIME"] or 0)
    if seconds:
        world.events.later(seconds, lambda: _bot_time_is_over(world, chat, session, bot))
    return bot


def _tell_joined(world: World, chat: Chat, bot: Bot, who: User) -> None:
    data = {
        "dialogId": chat.dialog_id,
        "chat": chat_view(world, chat),
        "user": user_view(who),
    }
    world.events.bot(bot, "JOINCHAT", data, lane=chat.id)


def _bot_time_is_over(world: World, chat: Chat, session: Session, bot: Bot) -> None:
    if session.closed_at is None and session.operator_id == bot.id:
        hand_to_queue(world, chat, session)


def invite_bot(world: World, chat: Chat, bot: Bot, who: User) -> None:
    """An operator (or the application) puts the bot into a chat."""
    _enter(chat, bot.id)
    _tell_joined(world, chat, bot, who)
    world.touch(chat)


def _enter(chat: Chat, user_id: int) -> None:
    if user_id not in chat.members:
        chat.members.append(user_id)


def _leave(chat: Chat, user_id: int) -> None:
    if user_id in chat.members:
        chat.members.remove(user_id)


def _bot_leaves(world: World, chat: Chat, session: Session) -> None:
    """With LEFT=queue bots leave when people take over; with LEFT=close they stay and listen."""
    line = world.lines[session.line_id]
    if line.settings["WELCOME_BOT_LEFT"] == "close":
        return
    for bot in list(world.bots_in(chat)):
        _leave(chat, bot.id)


def _to_queue(world: World, chat: Chat, line: Line, session: Session) -> None:
    operators = world.queue_operators(line.id)
    session.status, session.accepted = NEW, False
    if not operators:
        session.operator_id = 0
        return
    if line.settings["QUEUE_TYPE"] == "all":
        session.operator_id = 0
        for operator in operators:
            _enter(chat, operator.id)
        note(world, chat, "Обращение направлено всем операторам")
        return
    chosen = operators[line.turn % len(operators)]
    line.turn += 1
    session.operator_id = chosen.id
    _enter(chat, chosen.id)
    note(world, chat, f"Обращение направлено на {chosen.full_name}")


def hand_to_queue(
    world: World, chat: Chat, session: Session, *, line_id: int | None = None
) -> None:
    """The bot's part is over; a line's operators get the session."""
    _bot_leaves(world, chat, session)
    line = world.lines[session.line_id if line_id is None else line_id]
    _to_queue(world, chat, line, session)
    world.touch(chat)


def hand_to_person(
    world: World, chat: Chat, session: Session, person: User, *, stay: bool = False
) -> None:
    if not stay:
        _bot_leaves(world, chat, session)
    session.operator_id = person.id
    session.status, session.accepted = NEW, False
    _enter(chat, person.id)
    note(world, chat, f"Обращение направлено на {person.full_name}")
    world.touch(chat)


def take(world: World, chat: Chat, session: Session, person: User) -> None:
    """An employee takes the session: he leads it and the bot may have to leave."""
    session.operator_id = person.id
    session.status, session.accepted = ANSWERED, True
    _bot_leaves(world, chat, session)
    _enter(chat, person.id)
    began = "начала" if person.gender == "F" else "начал"
    note(world, chat, f"{person.full_name} {began} работу с диалогом")


def finish(world: World, chat: Chat, session: Session, *, status: int = CLOSED) -> None:
    """Close the session; bots leave the chat in any case."""
    session.closed_at = world.now()
    session.status = status
    note(world, chat, "Диалог завершён")
    _complete_trace(world, session)
    for bot in list(world.bots_in(chat)):
        _leave(chat, bot.id)
    world.touch(chat)


def open_session_or_error(world: World, chat: Chat) -> Session:
    session = world.session_of(chat)
    if session is None:
        raise RestError("WRONG_CHAT", "Chat has no open session")
    return session


# ---------------------------------------------------------------------- CRM


def bind_crm(world: World, chat: Chat, line: Line, client: User) -> None:
    """Create or keep the item of a chat the way the line's settings say.

    In simple CRM mode a lead is converted at once: the dialog gets a contact and a deal.
    """
    create = line.settings["CRM_CREATE"]
    if line.settings["CRM"] != "Y":
        return
    if chat.crm or create == "none":
        _leave_trace(world, chat)
        return
    chat.crm = world.crm.from_dialog(
        title=chat.title,
        client_name=client.name,
        imol=f"imol|{chat.entity_id}",
        source=f"{line.id}|{chat.connector.upper()}",
        assigned_to=(line.queue or [world.installation.user_id])[0],
        wanted=str(create),
    )
    note(world, chat, f"Данные сохранены в CRM: {chat.title}")
    _leave_trace(world, chat)
    world.touch(chat)


def _leave_trace(world: World, chat: Chat) -> None:
    """The session's activity on the card of its client.

    Source: imopenlines/lib/crm/activity.php
    """
    session = world.session_of(chat)
    owner = next(
        (name for name in ("deal", "lead", "company", "contact") if chat.crm.get(name)), ""
    )
    if session is None or session.activity_id or not owner:
        return
    session.activity_id = add_activity(
        world.crm,
        world.crm.item(ITEM_TYPES[owner], chat.crm[owner]),
        {
            "PROVIDER_ID": "IMOPENLINES_SESSION",
            "PROVIDER_TYPE_ID": session.line_id,
            "ASSOCIATED_ENTITY_ID": session.id,
            "ORIGIN_ID": f"IMOL_{session.id}",
            "RESULT_SOURCE_ID": chat.connector,
            "DIRECTION": 1,
            "SUBJECT": chat.title,
            "PROVIDER_PARAMS": {"USER_CODE": chat.entity_id},
        },
        user_id=None,
    )


def _complete_trace(world: World, session: Session) -> None:
    activity = world.crm.activities.get(session.activity_id)
    if activity is not None:
        activity |= {"COMPLETED": "Y", "STATUS": "2"}
        world.events.crm("ONCRMACTIVITYUPDATE", {"ID": session.activity_id}, user_id=None)
