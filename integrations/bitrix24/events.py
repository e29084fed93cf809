"""What the portal tells us: events and robot calls as named values instead of loose forms."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from integrations.bitrix24.crm_items import ENTITY_NAMES, ItemRef, entity_type_id
from integrations.bitrix24.forms import as_dict, as_list, flag_of, folded, int_of, text_of
from integrations.bitrix24.oauth import MEMBER_ID, split_scope

Change = Literal["add", "update", "delete"]


class NotAnEvent(ValueError):
    """The body is not an event of Bitrix24: answer 400."""


class Author(StrEnum):
    CLIENT = "client"
    BOT = "bot"
    OPERATOR = "operator"
    SYSTEM = "system"
    WHISPER = "whisper"
    """Written inside the portal for colleagues; the client does not see it."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class EventAuth(_Value):
    """Who sent the event. Only `application_token` proves it; tokens may be missing.

    Source: api-reference/events/index, api-reference/events/safe-event-handlers.
    """

    member_id: str
    application_token: str = Field(default="", repr=False)
    domain: str = ""
    client_endpoint: str = ""
    server_endpoint: str = ""
    access_token: str = Field(default="", repr=False)
    refresh_token: str = Field(default="", repr=False)
    expires_in: int | None = None
    user_id: int | None = None
    scope: tuple[str, ...] = ()
    status: str = ""


class LineChat(_Value):
    """The open line behind a chat. Source: imopenlines-session-open."""

    connector: str
    line_id: int
    connector_chat_id: str = ""
    connector_user_id: str = ""
    entity_id: str = ""

    @property
    def imol(self) -> str:
        """The value by which CRM items are bound to this chat."""
        return f"imol|{self.entity_id}"


class EntityData1(NamedTuple):
    """`Y|LEAD|77|N|N|4411|1787000000|22|0|`: CRM, session and block of a line's chat."""

    item: ItemRef | None
    session_id: int | None
    blocked: bool
    """The messenger does not take replies any more (its 24 hours are over)."""

    @classmethod
    def parse(cls, text: str) -> EntityData1:
        parts = [*text.split("|"), *[""] * 10]
        return cls(
            item=_ref(parts[1], parts[2]),
            session_id=_positive(parts[5]),
            blocked=any(part.strip() not in ("", "0", "N") for part in parts[8:10]),
        )


def parse_crm_bindings(entity_data_2: str) -> tuple[ItemRef, ...]:
    """`LEAD|77|COMPANY|0|CONTACT|0|DEAL|0` -> the items with an id, in this order."""
    parts = entity_data_2.split("|")
    refs = (_ref(name, number) for name, number in zip(parts[::2], parts[1::2], strict=False))
    return tuple(ref for ref in refs if ref)


def split_entity_id(entity_id: str) -> LineChat | None:
    """`telegrambot|22|998877|880`; None when it is not the id of a line's chat."""
    parts = [*entity_id.split("|", 3), "", "", ""]
    line_id = _positive(parts[1])
    if not parts[0] or line_id is None:
        return None
    return LineChat(
        connector=parts[0],
        line_id=line_id,
        connector_chat_id=parts[2],
        connector_user_id=parts[3],
        entity_id=entity_id,
    )


class BotMessage(_Value):
    """A message in a chat where our bot is, whichever bot API brought it."""

    kind: Literal["add", "update"]
    bot_id: int
    bot_code: str = ""
    message_id: int
    chat_id: int
    dialog_id: str
    author_id: int
    text: str
    at: datetime
    author: Author
    author_name: str = ""
    files: tuple[str, ...] = ()
    line: LineChat | None = None
    session_id: int | None = None
    crm: tuple[ItemRef, ...] = ()
    """May still be empty in the first event of a dialog: the portal binds items later."""
    language: str = ""
    bot_auth: EventAuth | None = None
    blocked: bool = False


class BotJoined(_Value):
    bot_id: int
    bot_code: str = ""
    chat_id: int
    dialog_id: str
    line: LineChat | None = None
    session_id: int | None = None
    crm: tuple[ItemRef, ...] = ()
    language: str = ""
    bot_auth: EventAuth | None = None


class BotDeleted(_Value):
    bot_id: int
    bot_code: str = ""


class MessageDeleted(_Value):
    bot_id: int
    message_id: int
    chat_id: int
    dialog_id: str


class CommandCalled(_Value):
    bot_id: int
    command_id: int
    command: str
    """Without the slash."""
    params: str = ""
    context: str = ""
    message: BotMessage | None = None


class CrmChanged(_Value):
    entity_type_id: int
    item_id: int
    change: Change

    @property
    def item(self) -> ItemRef:
        return ItemRef(self.entity_type_id, self.item_id)


class ActivityChanged(_Value):
    activity_id: int
    change: Change


class FieldsChanged(_Value):
    """Custom fields of CRM were changed: what is cached about fields is old."""

    entity_type_id: int | None = None


class AppInstalled(_Value):
    """The tokens are in the event's `auth`."""

    version: str = ""
    language: str = ""


class AppUpdated(_Value):
    version: str = ""
    previous_version: str = ""
    language: str = ""


class AppUninstalled(_Value):
    clean: bool = False
    """The admin asked to delete settings and data as well."""
    language: str = ""


class AppPayment(_Value):
    """A hint to look at app.info again; its sender is not proven."""

    status: str = ""
    expired: bool = False


class AppTest(_Value):
    query: dict[str, Any] = Field(default_factory=dict)


class RobotCall(_Value):
    """A robot or workflow step asks. Source: api-reference/bizproc/bizproc-robot."""

    code: str
    workflow_id: str = ""
    document: ItemRef | None = None
    """None for documents that are not CRM items."""
    document_id: str = ""
    event_token: str = Field(repr=False)
    properties: dict[str, Any] = Field(default_factory=dict)
    waits: bool = False
    timeout_seconds: int | None = None
    """None when it waits for ever."""
    auth: EventAuth


type Payload = (
    BotMessage
    | BotJoined
    | BotDeleted
    | MessageDeleted
    | CommandCalled
    | CrmChanged
    | ActivityChanged
    | FieldsChanged
    | AppInstalled
    | AppUpdated
    | AppUninstalled
    | AppPayment
    | AppTest
    | RobotCall
)

_CHANGES: dict[str, Change] = {"ADD": "add", "UPDATE": "update", "DELETE": "delete"}

ROBOT = "ROBOT"
"""The name under which robot calls travel: they have no event name of their own."""


class Incoming(_Value):
    name: str
    """Upper case."""
    auth: EventAuth
    ts: int | None = None
    handler_id: str = ""
    payload: Payload | None = None
    """None for an event that is genuine in form but of no use to us."""
    raw: dict[str, Any] = Field(default_factory=dict, repr=False)


def parse_event(data: Mapping[str, Any]) -> Incoming:
    """A decoded body (`forms.parse_body`), form or JSON. Raises: NotAnEvent."""
    top = folded(data)
    auth = parse_auth(top.get("auth"))
    if auth is None:
        raise NotAnEvent("the body names no portal (auth[member_id])")
    name = text_of(top.get("event")).strip().upper()
    ts = int_of(top.get("ts"))
    payload: Payload | None
    if not name and text_of(top.get("eventtoken")):
        name, payload = ROBOT, _robot_call(top, auth)
    elif re.fullmatch(r"[A-Z0-9_:.\\]{3,100}", name):
        payload = _payload(name, as_dict(top.get("data")), ts)
    else:
        raise NotAnEvent("the body names no event")
    return Incoming(
        name=name,
        auth=auth,
        ts=ts,
        handler_id=text_of(top.get("eventhandlerid")) or text_of(top.get("eventid")),
        payload=payload,
        raw=dict(data),
    )


def parse_fetched(event: Mapping[str, Any], auth: EventAuth) -> Incoming:
    """One event of a bot that polls (imbot.v2.Event.get): typed values, no auth of its own."""
    top = folded(event)
    name = text_of(top.get("type")).strip().upper()
    at = _moment(top.get("date"))
    ts = int(at.timestamp()) if at else None
    return Incoming(
        name=name,
        auth=auth,
        ts=ts,
        handler_id=text_of(top.get("eventid")),
        payload=_payload(name, as_dict(top.get("data")), ts),
        raw=dict(event),
    )


def parse_auth(value: Any) -> EventAuth | None:
    """None when it names no portal, for example the empty one of a chain of events."""
    given = folded(value)
    member_id = text_of(given.get("memberid"))
    if not MEMBER_ID.match(member_id):
        return None
    return EventAuth(
        member_id=member_id,
        application_token=text_of(given.get("applicationtoken")),
        domain=text_of(given.get("domain")),
        client_endpoint=text_of(given.get("clientendpoint")),
        server_endpoint=text_of(given.get("serverendpoint")),
        access_token=text_of(given.get("accesstoken")),
        refresh_token=text_of(given.get("refreshtoken")),
        expires_in=int_of(given.get("expiresin")),
        user_id=int_of(given.get("userid")),
        scope=split_scope(given.get("scope")),
        status=text_of(given.get("status")),
    )


def source_key(incoming: Incoming) -> str:
    """The natural key by which the same thing heard twice is recognised (≤ 100 characters).

    Without a natural key (no time in the event) every event is a new one.
    """
    name, payload = incoming.name.removeprefix("ON"), incoming.payload
    if isinstance(payload, BotMessage) and payload.kind == "add":
        return f"bot-message:{payload.bot_id}:{payload.message_id}"
    if isinstance(payload, RobotCall):
        return f"robot:{_digest(payload.event_token)}"
    if isinstance(payload, MessageDeleted):
        return f"bot-message-deleted:{payload.bot_id}:{payload.message_id}"
    if incoming.ts is None:
        return f"{name[:50]}:{uuid.uuid4().hex}"
    if isinstance(payload, BotMessage):
        key = f"{payload.bot_id}:{payload.message_id}:{_digest(payload.text)}"
    elif isinstance(payload, CrmChanged):
        key = f"{payload.entity_type_id}:{payload.item_id}"
    elif isinstance(payload, ActivityChanged):
        key = str(payload.activity_id)
    else:
        key = _digest(repr(_without_auth(incoming.raw)))
    return f"{name[:50]}:{incoming.ts}:{key}"


def author_of(
    *,
    author_id: int,
    bot_id: int | None = None,
    user: Mapping[str, Any],
    params: Mapping[str, Any],
    is_system: bool = False,
    line: LineChat | None = None,
) -> Author:
    """Who wrote a message; `user` and `params` with folded keys.

    Anybody who cannot be told is taken for an operator: then nothing is answered by itself.
    """
    if author_id == 0:
        return Author.SYSTEM
    if (
        text_of(params.get("componentid")) == "HiddenMessage"
        or "content-item-system" in text_of(params.get("class"))
        or flag_of(params.get("skipconnector"))
        or flag_of(params.get("silentconnector"))
    ):
        return Author.WHISPER
    if is_system:
        return Author.SYSTEM
    if author_id == bot_id or flag_of(user.get("bot")) or flag_of(user.get("isbot")):
        return Author.BOT
    if (
        flag_of(user.get("connector"))
        or flag_of(user.get("isconnector"))
        or text_of(user.get("externalauthid")) == "imconnector"
    ):
        return Author.CLIENT
    if not user and line and line.connector_user_id == str(author_id):
        return Author.CLIENT
    return Author.OPERATOR


# --- one reader for each family of events -------------------------------------------------------


def _payload(name: str, data: dict[str, Any], ts: int | None) -> Payload | None:
    reader = _READERS.get(name)
    if reader:
        return reader(data, ts)
    for pattern, read in _PATTERNS:
        match = pattern.match(name)
        if match:
            return read(match, data)
    return None


def _bot_message(kind: Literal["add", "update"]) -> Callable[..., Payload | None]:
    def read(data: dict[str, Any], ts: int | None) -> BotMessage | None:
        return _read_message(kind, _one_spelling(data), ts)

    return read


def _one_spelling(data: dict[str, Any]) -> dict[str, Any]:
    """The data of a bot event in V2's spelling, keys folded; legacy events are translated.

    Source: api-reference/chat-bots/outdated, imbot.v2/events/events.
    """
    known = folded(data)
    if "params" not in known or "message" in known:
        known["bot"] = folded(known.get("bot"))
        return known
    params, user = folded(known["params"]), folded(known.get("user"))
    bot = folded(next(iter(as_dict(known.get("bot")).values()), {}))
    inner = folded(params.get("params"))
    return {
        "bot": {
            "id": bot.get("botid") or params.get("botid") or params.get("touserid"),
            "code": bot.get("botcode"),
            "auth": bot.get("auth") or bot,
        },
        "message": {
            "id": params.get("messageid"),
            "chatid": params.get("chatid") or params.get("tochatid"),
            "authorid": params.get("authorid") or params.get("fromuserid"),
            "text": params.get("message"),
            "issystem": params.get("system"),
            "params": {
                **inner,
                "fileid": params.get("fileid") or inner.get("fileid"),
                "skipconnector": params.get("skipconnector"),
                "silentconnector": params.get("silentconnector"),
            },
        },
        "messageid": params.get("messageid"),
        "command": known.get("command"),
        "dialogid": params.get("dialogid"),
        "chat": {
            "id": params.get("chatid") or params.get("tochatid"),
            "dialogid": params.get("dialogid"),
            "entitytype": params.get("chatentitytype"),
            "entityid": params.get("chatentityid"),
            "entitydata1": params.get("chatentitydata1"),
            "entitydata2": params.get("chatentitydata2"),
        },
        "user": user,
        "language": params.get("language") or known.get("language"),
    }


class _Where(NamedTuple):
    chat_id: int
    dialog_id: str
    line: LineChat | None
    data1: EntityData1
    crm: tuple[ItemRef, ...]

    @classmethod
    def of(cls, chat: dict[str, Any], *others: Any) -> _Where:
        """From the event's chat; `others` are further places that may name the dialog."""
        dialog_id = next((text_of(one) for one in (chat.get("dialogid"), *others) if one), "")
        chat_id = _positive(chat.get("id")) or _positive(dialog_id.removeprefix("chat")) or 0
        is_line = text_of(chat.get("entitytype")).upper() == "LINES"
        data1 = EntityData1.parse(text_of(chat.get("entitydata1")) if is_line else "")
        crm = parse_crm_bindings(text_of(chat.get("entitydata2"))) if is_line else ()
        if data1.item and data1.item not in crm:
            crm = (*crm, data1.item)
        return cls(
            chat_id=chat_id,
            dialog_id=dialog_id or f"chat{chat_id}",
            line=split_entity_id(text_of(chat.get("entityid"))) if is_line else None,
            data1=data1,
            crm=crm,
        )


def _read_message(
    kind: Literal["add", "update"], known: dict[str, Any], ts: int | None
) -> BotMessage | None:
    bot, message = folded(known.get("bot")), folded(known.get("message"))
    user, params = folded(known.get("user")), folded(message.get("params"))
    message_id, bot_id = _positive(message.get("id")), _positive(bot.get("id"))
    where = _Where.of(folded(known.get("chat")), known.get("dialogid"), message.get("dialogid"))
    chat_id = where.chat_id or _positive(message.get("chatid")) or 0
    if not message_id or not bot_id or not (chat_id or where.dialog_id != "chat0"):
        return None
    author_id = int_of(message.get("authorid"))
    if author_id is None:
        author_id = int_of(message.get("senderid")) or int_of(user.get("id")) or 0
    return BotMessage(
        kind=kind,
        bot_id=bot_id,
        bot_code=text_of(bot.get("code")),
        message_id=message_id,
        chat_id=chat_id,
        dialog_id=where.dialog_id if where.dialog_id != "chat0" else f"chat{chat_id}",
        author_id=author_id,
        text=text_of(message.get("text")),
        at=_moment(message.get("date")) or datetime.fromtimestamp(ts or _now(), UTC),
        author=author_of(
            author_id=author_id,
            bot_id=bot_id,
            user=user,
            params=params,
            is_system=flag_of(message.get("issystem")),
            line=where.line,
        ),
        author_name=_name_of(user),
        files=tuple(text_of(one) for one in as_list(params.get("fileid")) if text_of(one)),
        line=where.line,
        session_id=where.data1.session_id,
        crm=where.crm,
        language=text_of(known.get("language")),
        bot_auth=parse_auth(bot.get("auth")),
        blocked=where.data1.blocked,
    )


def _bot_joined(data: dict[str, Any], ts: int | None) -> BotJoined | None:
    known = _one_spelling(data)
    bot = folded(known.get("bot"))
    where = _Where.of(folded(known.get("chat")), known.get("dialogid"))
    bot_id = _positive(bot.get("id"))
    if not bot_id:
        return None
    return BotJoined(
        bot_id=bot_id,
        bot_code=text_of(bot.get("code")),
        chat_id=where.chat_id,
        dialog_id=where.dialog_id,
        line=where.line,
        session_id=where.data1.session_id,
        crm=where.crm,
        language=text_of(known.get("language")),
        bot_auth=parse_auth(bot.get("auth")),
    )


def _bot_deleted(data: dict[str, Any], ts: int | None) -> BotDeleted | None:
    known = folded(data)
    bot = folded(known.get("bot"))
    bot_id = _positive(bot.get("id")) or _positive(known.get("botid"))
    code = text_of(bot.get("code")) or text_of(known.get("botcode"))
    if not bot_id:
        legacy = folded(next(iter(bot.values()), {}))
        bot_id, code = _positive(legacy.get("botid")), text_of(legacy.get("botcode"))
    return BotDeleted(bot_id=bot_id, bot_code=code) if bot_id else None


def _message_deleted(data: dict[str, Any], ts: int | None) -> MessageDeleted | None:
    known = _one_spelling(data)
    where = _Where.of(folded(known.get("chat")), known.get("dialogid"))
    bot_id = _positive(folded(known.get("bot")).get("id"))
    message_id = _positive(known.get("messageid")) or _positive(
        folded(known.get("message")).get("id")
    )
    if not bot_id or not message_id:
        return None
    return MessageDeleted(
        bot_id=bot_id, message_id=message_id, chat_id=where.chat_id, dialog_id=where.dialog_id
    )


def _command_called(data: dict[str, Any], ts: int | None) -> CommandCalled | None:
    known = _one_spelling(data)
    called = folded(known.get("command"))
    if not text_of(called.get("command")):  # legacy: COMMAND{"<id>": {...}}
        called = folded(next(iter(called.values()), {}))
    bot_id = _positive(folded(known.get("bot")).get("id")) or _positive(called.get("botid"))
    name = text_of(called.get("command")).removeprefix("/")
    if not bot_id or not name:
        return None
    return CommandCalled(
        bot_id=bot_id,
        command_id=int_of(called.get("id")) or int_of(called.get("commandid")) or 0,
        command=name,
        params=text_of(called.get("params")) or text_of(called.get("commandparams")),
        context=text_of(called.get("context")) or text_of(called.get("commandcontext")).lower(),
        message=_read_message("add", known, ts),
    )


def _crm_changed(match: re.Match[str], data: dict[str, Any]) -> CrmChanged | None:
    fields = folded(folded(data).get("fields"))
    item_id = _positive(fields.get("id"))
    if match["type"] == "DYNAMICITEM":
        type_id = _positive(fields.get("entitytypeid")) or _positive(match["spa"])
    else:
        type_id = entity_type_id(match["type"])
    if not item_id or not type_id:
        return None
    return CrmChanged(entity_type_id=type_id, item_id=item_id, change=_CHANGES[match["change"]])


def _activity_changed(match: re.Match[str], data: dict[str, Any]) -> ActivityChanged | None:
    activity_id = _positive(folded(folded(data).get("fields")).get("id"))
    if not activity_id:
        return None
    return ActivityChanged(activity_id=activity_id, change=_CHANGES[match["change"]])


def _fields_changed(match: re.Match[str], data: dict[str, Any]) -> FieldsChanged:
    name = match["type"]
    return FieldsChanged(entity_type_id=entity_type_id(name) if name in ENTITY_NAMES else None)


def _app_installed(data: dict[str, Any], ts: int | None) -> AppInstalled:
    known = folded(data)
    return AppInstalled(
        version=text_of(known.get("version")), language=text_of(known.get("languageid"))
    )


def _app_updated(data: dict[str, Any], ts: int | None) -> AppUpdated:
    known = folded(data)
    return AppUpdated(
        version=text_of(known.get("version")),
        previous_version=text_of(known.get("previousversion")),
        language=text_of(known.get("languageid")),
    )


def _app_uninstalled(data: dict[str, Any], ts: int | None) -> AppUninstalled:
    known = folded(data)
    return AppUninstalled(
        clean=flag_of(known.get("clean")), language=text_of(known.get("languageid"))
    )


def _app_payment(data: dict[str, Any], ts: int | None) -> AppPayment:
    known = folded(data)
    return AppPayment(
        status=text_of(known.get("status")), expired=flag_of(known.get("paymentexpired"))
    )


def _app_test(data: dict[str, Any], ts: int | None) -> AppTest:
    return AppTest(query=as_dict(folded(data).get("query")))


def _robot_call(top: dict[str, Any], auth: EventAuth) -> RobotCall:
    own = folded(top.get("auth"))
    code = text_of(top.get("code")) or text_of(own.get("code"))
    if not code:
        raise NotAnEvent("the robot's call names no code")
    document = [text_of(one) for one in as_list(top.get("documentid"))]
    document_id = document[-1] if document else ""
    seconds = int_of(top.get("timeoutduration"))
    return RobotCall(
        code=code,
        workflow_id=text_of(top.get("workflowid")),
        document=document_ref(document),
        document_id=document_id,
        event_token=text_of(top.get("eventtoken")),
        properties=as_dict(top.get("properties")),
        waits=flag_of(top.get("usesubscription")),
        timeout_seconds=seconds if seconds and seconds > 0 else None,
        auth=auth,
    )


def document_ref(document_id: Any) -> ItemRef | None:
    """`["crm", "CCrmDocumentLead", "LEAD_77"]` or its last part -> the item; None if not CRM's."""
    parts = [text_of(one) for one in as_list(document_id)]
    if not parts or (len(parts) > 1 and parts[0].casefold() != "crm"):
        return None
    try:
        return ItemRef.parse(parts[-1])
    except ValueError:
        return None


type _Reader = Callable[[dict[str, Any], int | None], Payload | None]

_READERS: dict[str, _Reader] = {
    "ONIMBOTV2MESSAGEADD": _bot_message("add"),
    "ONIMBOTV2MESSAGEUPDATE": _bot_message("update"),
    "ONIMBOTV2MESSAGEDELETE": _message_deleted,
    "ONIMBOTV2JOINCHAT": _bot_joined,
    "ONIMBOTV2DELETE": _bot_deleted,
    "ONIMBOTV2COMMANDADD": _command_called,
    "ONIMBOTMESSAGEADD": _bot_message("add"),
    "ONIMBOTMESSAGEUPDATE": _bot_message("update"),
    "ONIMBOTMESSAGEDELETE": _message_deleted,
    "ONIMBOTJOINCHAT": _bot_joined,
    "ONIMBOTDELETE": _bot_deleted,
    "ONIMCOMMANDADD": _command_called,
    "ONAPPINSTALL": _app_installed,
    "ONAPPUPDATE": _app_updated,
    "ONAPPUNINSTALL": _app_uninstalled,
    "ONAPPPAYMENT": _app_payment,
    "ONAPPTEST": _app_test,
}

_PATTERNS: tuple[
    tuple[re.Pattern[str], Callable[[re.Match[str], dict[str, Any]], Payload | None]], ...
] = (
    (
        re.compile(
            r"^ONCRM(?P<type>LEAD|DEAL|CONTACT|COMPANY|QUOTE|DYNAMICITEM)"
            r"(?P<change>ADD|UPDATE|DELETE)(?:_(?P<spa>\d+))?$"
        ),
        _crm_changed,
    ),
    (re.compile(r"^ONCRMACTIVITY(?P<change>ADD|UPDATE|DELETE)$"), _activity_changed),
    (
        re.compile(r"^ONCRM(?P<type>[A-Z]+?)USERFIELD(?:ADD|UPDATE|DELETE|SETENUMVALUES)$"),
        _fields_changed,
    ),
)


def _positive(value: Any) -> int | None:
    number = int_of(value)
    return number if number and number > 0 else None


def _ref(name: str, number: str) -> ItemRef | None:
    item_id = _positive(number)
    try:
        return ItemRef(entity_type_id(name), item_id) if item_id else None
    except ValueError:
        return None


def _moment(value: Any) -> datetime | None:
    try:
        at = datetime.fromisoformat(text_of(value))
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _name_of(user: Mapping[str, Any]) -> str:
    parts = (text_of(user.get("firstname")), text_of(user.get("lastname")))
    return text_of(user.get("name")) or " ".join(part for part in parts if part)


def _now() -> float:
    return datetime.now(UTC).timestamp()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:32]


def _without_auth(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in raw.items() if key.casefold() != "auth"}
