"""Open lines: what was said in a session, who holds it, how a line is set up."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict

from integrations.bitrix24.client import BATCH_SIZE, Command, PortalClient
from integrations.bitrix24.crm_items import ItemRef
from integrations.bitrix24.errors import CallRejected
from integrations.bitrix24.events import (
    Author,
    EntityData1,
    LineChat,
    author_of,
    parse_crm_bindings,
    split_entity_id,
)
from integrations.bitrix24.forms import as_dict, as_list, flag_of, folded, int_of, text_of
from integrations.bitrix24.limiter import Priority

HAND_OVER_AFTER_SECONDS = 600
"""After this the portal itself gives a silent bot's session to the queue; its own default."""
WELCOME_BOT_SETTINGS = (
    "WELCOME_BOT_ENABLE",
    "WELCOME_BOT_ID",
    "WELCOME_BOT_JOIN",
    "WELCOME_BOT_TIME",
    "WELCOME_BOT_LEFT",
)
_WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_LINES_PER_PAGE = 200


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True)


class HistoryMessage(_Value):
    id: int
    author: Author
    author_id: int
    author_name: str = ""
    text: str = ""
    at: datetime
    files: tuple[str, ...] = ()
    uuid: str = ""
    """The key that a message was sent with, where the portal tells it."""
    reached_client: bool = False
    """The messenger took it. False proves nothing: it may be on its way."""


class History(_Value):
    """One session's messages, oldest first."""

    messages: tuple[HistoryMessage, ...] = ()
    chat_id: int | None = None
    session_id: int | None = None
    line: LineChat | None = None
    crm: tuple[ItemRef, ...] = ()
    blocked: bool = False
    owner: int | None = None
    """Who holds the session now, as in `Dialog`; None where the portal does not tell."""
    members: tuple[int, ...] = ()
    """Who is in the chat now; empty where the portal does not tell."""
    latest_session_id: int | None = None
    """The chat's newest session, which may be another one."""

    def is_held_by(self, user_id: int | None) -> bool:
        if self.owner is not None:
            return self.owner == user_id
        return not self.members or user_id in self.members


class SessionTrace(_Value):
    """What the CRM keeps of a session: an activity of the client's card."""

    activity_id: int
    session_id: int
    line_id: int | None = None
    done: bool = False
    """Answered or closed: nobody waits in it."""


class Dialog(_Value):
    """A line's chat as it is now."""

    chat_id: int
    dialog_id: str
    name: str = ""
    owner: int = 0
    """Who holds the session: a bot's or an operator's user id; 0 nobody."""
    line: LineChat | None = None
    """None: not a chat of an open line."""
    session_id: int | None = None
    crm: tuple[ItemRef, ...] = ()
    blocked: bool = False
    last_message_id: int | None = None


class WorkingHours(_Value):
    enabled: bool = False
    opens: time = time(0)
    closes: time = time(23, 59)
    zone: str = "UTC"
    days_off: frozenset[str] = frozenset()
    holidays: frozenset[tuple[int, int]] = frozenset()
    """(day, month)"""

    def is_open(self, at: datetime) -> bool:
        """`at` is aware. Hours over midnight belong to the day on which they began."""
        if not self.enabled:
            return True
        local = at.astimezone(_zone(self.zone))
        if (local.day, local.month) in self.holidays or _WEEKDAYS[local.weekday()] in self.days_off:
            return False
        now = local.time().replace(second=0, microsecond=0)
        # 23:59 means "till midnight": the form has no 24:00
        until = self.closes if self.closes != time(23, 59) else time.max
        if self.opens <= until:
            return self.opens <= now < until
        return now >= self.opens or now < until


class Line(_Value):
    id: int
    title: str
    active: bool = True
    hours: WorkingHours = WorkingHours()
    welcome_bot: dict[str, str] = {}
    """The WELCOME_BOT_* settings as they are, for `restore_bot`."""

    @property
    def welcome_bot_id(self) -> int | None:
        """The bot that joins first, when the line lets one join."""
        enabled = flag_of(self.welcome_bot.get("WELCOME_BOT_ENABLE"))
        return (int_of(self.welcome_bot.get("WELCOME_BOT_ID")) or None) if enabled else None


# --- reading -------------------------------------------------------------------------------------


def history_command(*, session_id: int | None = None, chat_id: int | None = None) -> Command:
    """All messages of a session (recommended) or of a chat's last session; not paged.

    Source: imopenlines-session-history-get.
    """
    if session_id:
        return Command("imopenlines.session.history.get", {"SESSION_ID": session_id})
    return Command("imopenlines.session.history.get", {"CHAT_ID": chat_id})


def parse_history(result: Any, *, bot_id: int | None = None) -> History:
    """The result of `history_command`; its keys are lower-case and empty maps are `[]`."""
    told = folded(result)
    chat_id = int_of(told.get("chatid"))
    chats = as_dict(told.get("chat"))
    chat = folded(chats.get(str(chat_id)) or next(iter(chats.values()), {}))
    line = split_entity_id(text_of(chat.get("entityid")))
    data1, crm = _bindings(chat)
    users = {key: folded(user) for key, user in as_dict(told.get("users")).items()}
    messages = (
        _message(folded(one), users, line, bot_id) for one in as_dict(told.get("message")).values()
    )
    session_id = int_of(told.get("sessionid")) or data1.session_id
    present = as_dict(told.get("userinchat")).get(str(chat_id))
    return History(
        messages=tuple(sorted((one for one in messages if one), key=lambda one: one.id)),
        chat_id=chat_id,
        session_id=session_id,
        line=line,
        crm=crm,
        blocked=data1.blocked,
        owner=int_of(chat.get("owner")),
        members=tuple(one for one in map(int_of, as_list(present)) if one),
        latest_session_id=data1.session_id or session_id,
    )


def session_traces_command(after: int | None) -> Command:
    """Activities of sessions newer than `after`, oldest first; without it the newest first.

    One page, at most 50. Needs the scope crm. Source: crm-activity-list,
    settings/performance/huge-data.
    """
    newer = {} if after is None else {">ID": after}
    return Command(
        "crm.activity.list",
        {
            "filter": {"PROVIDER_ID": "IMOPENLINES_SESSION", **newer},
            "order": {"ID": "DESC" if after is None else "ASC"},
            "select": ["ID", "PROVIDER_TYPE_ID", "ASSOCIATED_ENTITY_ID", "COMPLETED"],
            "start": -1,
        },
    )


def parse_session_traces(result: Any) -> tuple[SessionTrace, ...]:
    """The result of `session_traces_command`, oldest first."""
    found = (_trace(folded(row)) for row in as_list(result))
    return tuple(sorted((one for one in found if one), key=lambda one: one.activity_id))


def _trace(told: Mapping[str, Any]) -> SessionTrace | None:
    activity_id, session_id = int_of(told.get("id")), int_of(told.get("associatedentityid"))
    if not activity_id or not session_id:
        return None
    return SessionTrace(
        activity_id=activity_id,
        session_id=session_id,
        line_id=int_of(told.get("providertypeid")) or None,
        done=flag_of(told.get("completed")),
    )


def chat_messages_command(dialog_id: str, limit: int = 50) -> Command:
    """A chat's last messages as its member sees them, with the keys they were sent with."""
    return Command("im.dialog.messages.get", {"DIALOG_ID": dialog_id, "LIMIT": min(limit, 50)})


def parse_chat_messages(result: Any, *, bot_id: int | None = None) -> tuple[HistoryMessage, ...]:
    """The result of `chat_messages_command`, oldest first."""
    told = folded(result)
    users = {text_of(user.get("id")): user for user in map(folded, as_list(told.get("users")))}
    found = (_message(folded(one), users, None, bot_id) for one in as_list(told.get("messages")))
    return tuple(sorted((one for one in found if one), key=lambda one: one.id))


def _message(
    told: Mapping[str, Any],
    users: Mapping[str, Mapping[str, Any]],
    line: LineChat | None,
    bot_id: int | None,
) -> HistoryMessage | None:
    message_id = int_of(told.get("id"))
    if not message_id:
        return None
    raw_author = told.get("senderid", told.get("authorid"))
    author_id = int_of(raw_author) or 0
    user = users.get(str(author_id), {})
    params = folded(told.get("params"))
    return HistoryMessage(
        id=message_id,
        author=author_of(
            author_id=author_id,
            bot_id=bot_id,
            user=user,
            params=params,
            is_system=flag_of(told.get("issystem")) or flag_of(told.get("system")),
            line=line,
        ),
        author_id=author_id,
        author_name=text_of(user.get("name")),
        text=text_of(told.get("text")),
        at=_moment(told.get("date")),
        files=tuple(text_of(one) for one in as_list(params.get("fileid")) if text_of(one)),
        uuid=text_of(told.get("uuid")) or text_of(told.get("templateid")),
        # the connector's own id of the message, written once it has accepted it
        reached_client=any(text_of(one) for one in as_list(params.get("connectormid"))),
    )


def dialog_command(dialog_id: str) -> Command:
    """Also the access check of an operator: he gets an error for a dialog that is not his.

    Source: imopenlines-dialog-get.
    """
    return Command("imopenlines.dialog.get", {"DIALOG_ID": dialog_id})


def parse_dialog(result: Any) -> Dialog:
    """The result of `dialog_command`. Raises: CallRejected when it names no chat."""
    told = folded(result)
    chat_id = int_of(told.get("id"))
    if not chat_id:
        raise CallRejected("imopenlines.dialog.get: the answer names no chat")
    is_line = text_of(told.get("entitytype")).upper() == "LINES"
    data1, crm = _bindings(told)
    return Dialog(
        chat_id=chat_id,
        dialog_id=text_of(told.get("dialogid")) or f"chat{chat_id}",
        name=text_of(told.get("name")),
        owner=int_of(told.get("owner")) or 0,
        line=split_entity_id(text_of(told.get("entityid"))) if is_line else None,
        session_id=data1.session_id,
        crm=crm,
        blocked=data1.blocked,
        last_message_id=int_of(told.get("lastmessageid")),
    )


def read_dialog(
    client: PortalClient, dialog_id: str, *, priority: Priority = Priority.LIVE
) -> Dialog:
    """Raises: CallRejected with ACCESS_ERROR when the token's user may not see it."""
    command = dialog_command(dialog_id)
    return parse_dialog(
        client.call(command.method, command.params, repeatable=True, priority=priority)
    )


def chats_of_item_command(ref: ItemRef, *, only_open: bool = False) -> Command:
    """The open-line chats of a CRM item, or those with an open session.

    Source: imopenlines-crm-chat-get.
    """
    active = "Y" if only_open else "N"
    return Command(
        "imopenlines.crm.chat.get",
        {"CRM_ENTITY_TYPE": ref.name, "CRM_ENTITY": ref.item_id, "ACTIVE_ONLY": active},
    )


def parse_chats_of_item(result: Any) -> tuple[int, ...]:
    """Chat ids, newest first."""
    ids = (int_of(folded(row).get("chatid")) for row in as_list(result))
    return tuple(sorted((one for one in ids if one), reverse=True))


def _bindings(chat: Mapping[str, Any]) -> tuple[EntityData1, tuple[ItemRef, ...]]:
    data1 = EntityData1.parse(text_of(chat.get("entitydata1")))
    crm = parse_crm_bindings(text_of(chat.get("entitydata2")))
    if data1.item and data1.item not in crm:
        crm = (*crm, data1.item)
    return data1, crm


def _moment(value: Any) -> datetime:
    try:
        at = datetime.fromisoformat(text_of(value))
    except ValueError:
        return datetime.fromtimestamp(0, UTC)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


# --- lines ---------------------------------------------------------------------------------------


def list_lines(client: PortalClient, *, priority: Priority = Priority.LIVE) -> tuple[Line, ...]:
    """All lines with their hours and bots. Source: imopenlines-config-list-get."""
    rows: list[Mapping[str, Any]] = []
    while len(rows) % _LINES_PER_PAGE == 0:
        params = {"order": {"ID": "ASC"}, "limit": _LINES_PER_PAGE, "offset": len(rows)}
        result = client.call(
            "imopenlines.config.list.get",
            {"PARAMS": params, "OPTIONS": {"QUEUE": "N"}},
            repeatable=True,
            priority=priority,
        )
        page = [row for row in map(as_dict, as_list(result)) if int_of(row.get("ID"))]
        if not page or page[0].get("ID") in [row.get("ID") for row in rows]:
            break
        rows += page
    # the list may leave the settings out
    incomplete = [row for row in rows if "WELCOME_BOT_ENABLE" not in row]
    for start in range(0, len(incomplete), BATCH_SIZE):
        part = incomplete[start : start + BATCH_SIZE]
        commands = {text_of(row["ID"]): _config_command(row["ID"]) for row in part}
        reply = client.batch(commands, priority=priority, repeatable=True)
        told = {key: as_dict(one) for key, one in reply.results.items()}
        rows = [{**row, **told.get(text_of(row["ID"]), {})} for row in rows]
    return tuple(parse_line(row) for row in rows)


def parse_line(config: Mapping[str, Any]) -> Line:
    line_id = int_of(config.get("ID")) or 0
    return Line(
        id=line_id,
        title=text_of(config.get("LINE_NAME")) or str(line_id),
        active=flag_of(config.get("ACTIVE", "Y")),
        hours=WorkingHours(
            enabled=flag_of(config.get("WORKTIME_ENABLE")),
            opens=_clock(config.get("WORKTIME_FROM"), time(0)),
            closes=_clock(config.get("WORKTIME_TO"), time(23, 59)),
            zone=text_of(config.get("WORKTIME_TIMEZONE")) or "UTC",
            days_off=frozenset(_words(config.get("WORKTIME_DAYOFF"))) & frozenset(_WEEKDAYS),
            holidays=frozenset(
                (int(day[1]), int(day[2]))
                for word in _words(config.get("WORKTIME_HOLIDAYS"))
                if (day := re.fullmatch(r"(\d{1,2})\.(\d{1,2})", word))
            ),
        ),
        welcome_bot={
            key: text_of(config[key]) for key in WELCOME_BOT_SETTINGS if config.get(key) is not None
        },
    )


def _words(value: Any) -> list[str]:
    """A list, or one text with commas; empty ones come as `[""]`."""
    return [
        word.strip().upper()
        for one in as_list(value)
        for word in text_of(one).split(",")
        if word.strip()
    ]


def _clock(value: Any, default: time) -> time:
    """`09:00`, and as the portal reads it back: `9`, `9.30`, `23.59`, `9.3` (half past nine)."""
    match = re.fullmatch(r"(\d{1,2})(?::(\d{1,2})(?::\d+)?|\.(\d{1,2}))?", text_of(value).strip())
    if not match:
        return default
    minutes = int(match[2] or (match[3] or "0").ljust(2, "0"))
    hours = int(match[1])
    if hours == 24:
        return time(23, 59)
    return time(hours, minutes) if hours < 24 and minutes < 60 else default


def _zone(name: str) -> Any:
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        return UTC


def _config_command(line_id: Any) -> Command:
    return Command(
        "imopenlines.config.get",
        {"CONFIG_ID": line_id, "WITH_QUEUE": "N", "SHOW_OFFLINE": "N"},
    )


def read_line(client: PortalClient, line_id: int, *, priority: Priority = Priority.LIVE) -> Line:
    """Raises: CallRejected when there is no such line (the portal answers false)."""
    command = _config_command(line_id)
    config = as_dict(
        client.call(command.method, command.params, repeatable=True, priority=priority)
    )
    if not config:
        raise CallRejected("imopenlines.config.get: no such line", method=command.method)
    return parse_line({"ID": line_id, **config})


def connect_bot(
    client: PortalClient,
    line_id: int,
    bot_id: int,
    *,
    hand_over_after_seconds: int = HAND_OVER_AFTER_SECONDS,
) -> dict[str, str]:
    """Makes our bot the one that joins every session and stays beside the operator.

    Returns the settings that were there, for `restore_bot`; store them before anything else and
    keep them when the line is connected again. Raises: CallRejected, AccessDenied.
    """
    previous = read_line(client, line_id).welcome_bot
    _update_line(
        client,
        line_id,
        {
            "WELCOME_BOT_ENABLE": "Y",
            "WELCOME_BOT_ID": bot_id,
            "WELCOME_BOT_JOIN": "always",
            "WELCOME_BOT_TIME": hand_over_after_seconds,
            "WELCOME_BOT_LEFT": "close",
        },
    )
    return previous


def restore_bot(client: PortalClient, line_id: int, previous: Mapping[str, str]) -> None:
    """Puts the settings of `connect_bot` back."""
    settings = {"WELCOME_BOT_ENABLE": "N", "WELCOME_BOT_ID": "0", **previous}
    known = {key: settings[key] for key in WELCOME_BOT_SETTINGS if key in settings}
    _update_line(client, line_id, known)


def _update_line(client: PortalClient, line_id: int, settings: Mapping[str, Any]) -> None:
    # the bot's settings go together: without ENABLE=Y in the same call the portal stores
    # id 0, 600 s and `queue` (imopenlines-config-update)
    result = client.call(
        "imopenlines.config.update",
        {"CONFIG_ID": line_id, "PARAMS": dict(settings)},
        repeatable=True,
    )
    if not flag_of(result):
        raise CallRejected(
            "imopenlines.config.update: the line was not changed",
            method="imopenlines.config.update",
        )


# --- sessions ------------------------------------------------------------------------------------


def hand_over(
    client: PortalClient,
    chat_id: int,
    *,
    user_id: int | None = None,
    queue_id: int | None = None,
) -> bool:
    """Gives the bot's session to an employee, another line's queue or any free operator.

    False when a person has it already, so a repeat is harmless.
    Source: imopenlines-bot-session-operator, imopenlines-bot-session-transfer.
    """
    method = "imopenlines.bot.session.operator"
    params: dict[str, Any] = {"CHAT_ID": chat_id}
    if user_id or queue_id:
        method = "imopenlines.bot.session.transfer"
        # the portal reads these keys in upper case only
        params |= {"USER_ID": user_id} if user_id else {"QUEUE_ID": queue_id}
        params["LEAVE"] = "N"
    try:
        return flag_of(client.call(method, params, repeatable=True))
    except CallRejected as error:
        if error.code.upper() == "WRONG_CHAT":
            return False
        raise


def finish(client: PortalClient, chat_id: int) -> None:
    """Closes the session that our bot holds. Source: imopenlines-bot-session-finish."""
    client.call("imopenlines.bot.session.finish", {"CHAT_ID": chat_id})
