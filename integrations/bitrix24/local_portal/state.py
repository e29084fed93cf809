"""The portal's world in memory: people, bots, lines, chats, sessions and bindings."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from integrations.bitrix24.local_portal.options import Employee, LineOptions, PortalOptions

if TYPE_CHECKING:
    from integrations.bitrix24.local_portal.crm import Crm
    from integrations.bitrix24.local_portal.events import Events
    from integrations.bitrix24.local_portal.oauth import Authority

UserKind = Literal["employee", "bot", "client"]
InstallKind = Literal["frame", "server"]
InstallState = Literal["absent", "pending", "installed"]

# Open-line session states (imopenlines/lib/session.php).
NEW, ANSWERED, CLIENT_WROTE, CLIENT_AFTER_OPERATOR, OPERATOR_WROTE, CLOSED, SPAM = (
    0,
    10,
    20,
    25,
    40,
    60,
    65,
)

FIRST_IDS = {
    "bot": 456,
    "client": 880,
    "chat": 112,
    "session": 321,
    "message": 90101,
    "handler": 31,
    "file": 3311,
    "command": 11,
    "line": 30,
    "timeline": 991,
    "activity": 3100,
    "field": 1200,
    "item": 77,
    "multifield": 501,
}

CONNECTOR_TITLES = {
    "livechat": "Онлайн-чат",
    "telegrambot": "Telegram",
    "whatsappbytwilio": "WhatsApp",
    "avito": "Avito",
    "vkgroup": "VK",
}


class RestError(Exception):
    """What a REST method answers instead of a result."""

    def __init__(self, code: str, description: str = "", status: int = 400, **extra: Any) -> None:
        super().__init__(code)
        self.code = code
        self.description = description
        self.status = status
        self.extra = extra


@dataclass(slots=True)
class User:
    id: int
    name: str
    last_name: str = ""
    kind: UserKind = "employee"
    admin: bool = False
    active: bool = True
    work_position: str = ""
    email: str = ""
    gender: str = ""
    crm_access: bool = True
    app_access: bool = True

    @property
    def full_name(self) -> str:
        return f"{self.name} {self.last_name}".strip()


@dataclass(slots=True)
class Bot:
    """A bot of the application; `handlers` are the addresses of a legacy bot by event."""

    id: int
    code: str
    api: Literal["v1", "v2"]
    type: str = "bot"
    open_lines: bool = False
    event_mode: Literal["fetch", "webhook"] = "fetch"
    webhook_url: str = ""
    handlers: dict[str, str] = field(default_factory=dict)
    hidden: bool = False
    reactions: bool = True
    background_id: str | None = None
    messages_received: int = 0
    queue: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=10_000))
    next_event_id: int = 1001


@dataclass(slots=True)
class Line:
    id: int
    name: str
    active: bool
    queue: list[int]
    settings: dict[str, Any]
    turn: int = 0


@dataclass(slots=True)
class Message:
    """One message. `to_client` says whether the messenger got it."""

    id: int
    chat_id: int
    author_id: int
    text: str
    at: float
    session_id: int = 0
    params: dict[str, Any] = field(default_factory=dict)
    uuid: str = ""
    hidden: bool = False
    to_client: bool = False
    edited: bool = False


@dataclass(slots=True)
class Session:
    """One conversation; `operator_id` is the person or bot who leads it, 0 = waiting in queue.

    `accepted` becomes true when a person answers or takes it.
    """

    id: int
    chat_id: int
    line_id: int
    opened_at: float
    operator_id: int = 0
    status: int = NEW
    accepted: bool = False
    closed_at: float | None = None
    activity_id: int = 0


@dataclass(slots=True)
class Chat:
    id: int
    title: str
    line_id: int = 0
    connector: str = ""
    connector_chat_id: str = ""
    client_id: int = 0
    members: list[int] = field(default_factory=list)
    message_ids: list[int] = field(default_factory=list)
    session_id: int = 0
    crm: dict[str, int] = field(default_factory=dict)
    created_at: float = 0.0
    block_reason: str = ""
    typing: str = ""
    rev: int = 0

    @property
    def dialog_id(self) -> str:
        return f"chat{self.id}"

    @property
    def is_line(self) -> bool:
        return bool(self.line_id)

    @property
    def entity_id(self) -> str:
        if not self.is_line:
            return ""
        return f"{self.connector}|{self.line_id}|{self.connector_chat_id}|{self.client_id}"


@dataclass(slots=True)
class EventBinding:
    id: int
    event: str
    handler: str
    auth_user_id: int = 0
    offline: bool = False


@dataclass(slots=True)
class PlacementBinding:
    placement: str
    handler: str
    title: str
    description: str
    options: dict[str, Any]
    lang_all: dict[str, Any]
    user_id: int = 0


@dataclass(slots=True)
class RobotRun:
    """One call of a robot; `returned` is what the application sent back."""

    event_token: str
    code: str
    waits: bool
    returned: dict[str, Any] | None = None
    log: list[str] = field(default_factory=list)
    answers: int = 0


@dataclass(slots=True)
class Installation:
    """The application on this portal."""

    state: InstallState = "absent"
    kind: InstallKind = "frame"
    version: int = 1
    user_id: int = 1
    application_token: str = ""


@dataclass(slots=True)
class Switches:
    """Portal states that stop an application."""

    payment_required: bool = False
    rest_plan_off: bool = False
    portal_deleted: bool = False
    down: Literal["", "drop", "html"] = ""
    missing_methods: set[str] = field(default_factory=set)


class World:
    """Everything the portal knows. Whoever touches it holds `lock`."""

    crm: Crm
    events: Events
    authority: Authority

    def __init__(self, options: PortalOptions) -> None:
        self.options = options
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.rev = 0
        self.url = ""
        self.oauth_url = ""
        self.domain = ""
        self.old_domains: set[str] = set()
        self.zone = timezone(timedelta(hours=options.utc_offset_hours))
        self.installation = Installation(application_token=options.application_token)
        self.switches = Switches()
        self.users: dict[int, User] = {person.id: _user(person) for person in options.people}
        self.bots: dict[int, Bot] = {}
        self.lines: dict[int, Line] = {line.id: _line(line) for line in options.lines}
        self.chats: dict[int, Chat] = {}
        self.chat_by_entity: dict[str, int] = {}
        self.sessions: dict[int, Session] = {}
        self.messages: dict[int, Message] = {}
        self.sent_uuids: dict[str, int] = {}
        self.files: dict[int, dict[str, Any]] = {}
        self.commands: dict[int, dict[str, Any]] = {}
        self.bindings: list[EventBinding] = []
        self.placements: list[PlacementBinding] = []
        self.robots: dict[str, dict[str, Any]] = {}
        self.robot_runs: dict[str, RobotRun] = {}
        self.quick_answers: list[dict[str, Any]] = []
        self.app_settings: dict[str, Any] = {}
        self.user_settings: dict[int, dict[str, Any]] = {}
        self.notifications: dict[int, dict[str, Any]] = {}
        self._ids: dict[str, int] = dict(FIRST_IDS)

    def next_id(self, kind: str) -> int:
        number = self._ids.setdefault(kind, FIRST_IDS.get(kind.partition(" ")[0], 1))
        self._ids[kind] = number + 1
        return number

    def touch(self, chat: Chat | None = None) -> int:
        """Mark a change, so that waiting observers wake up and `state?since=` finds it."""
        self.rev += 1
        if chat is not None:
            chat.rev = self.rev
        self.changed.notify_all()
        return self.rev

    def now(self) -> float:
        return time.time()

    def iso(self, moment: float) -> str:
        """A moment as the portal prints it: ISO 8601 in the server's own time zone."""
        return datetime.fromtimestamp(moment, UTC).astimezone(self.zone).isoformat("T", "seconds")

    # ------------------------------------------------------------------ addresses

    @property
    def scheme(self) -> str:
        return urlsplit(self.url).scheme or "http"

    @property
    def client_endpoint(self) -> str:
        return f"{self.scheme}://{self.domain}/rest/"

    @property
    def server_endpoint(self) -> str:
        return f"{self.oauth_url}/rest/"

    @property
    def scope_text(self) -> str:
        return ",".join(self.options.scopes)

    # ------------------------------------------------------------------ look-ups

    def chat_of(self, dialog_id: Any) -> Chat | None:
        """A chat by `chat112`, `112` (as number or text)."""
        text = str(dialog_id or "")
        digits = text[4:] if text.startswith("chat") else text
        return self.chats.get(int(digits)) if digits.isdigit() else None

    def session_of(self, chat: Chat) -> Session | None:
        """The open session of a chat."""
        session = self.sessions.get(chat.session_id)
        return session if session is not None and session.closed_at is None else None

    def messages_of(self, chat: Chat) -> list[Message]:
        return [self.messages[number] for number in chat.message_ids]

    def bots_in(self, chat: Chat) -> Iterable[Bot]:
        return [self.bots[user_id] for user_id in chat.members if user_id in self.bots]

    def queue_operators(self, line_id: int) -> list[User]:
        line = self.lines.get(line_id)
        people = (self.users.get(user_id) for user_id in (line.queue if line else ()))
        return [person for person in people if person is not None and person.active]

    def may_see(self, chat: Chat, user: User) -> bool:
        """Members, the line's operators and administrators may read a line's chat."""
        if user.id in chat.members or user.admin:
            return True
        line = self.lines.get(chat.line_id)
        return line is not None and user.id in line.queue

    # ------------------------------------------------------------------ CRM marks of a chat

    def entity_data_1(self, chat: Chat) -> str:
        if not chat.is_line:
            return ""
        kind, number = "NONE", 0
        for name in ("deal", "lead", "company", "contact"):
            if chat.crm.get(name):
                kind, number = name.upper(), chat.crm[name]
                break
        blocked = int(chat.created_at) if chat.block_reason else 0
        session = self.sessions.get(chat.session_id)
        return "|".join(
            str(part)
            for part in (
                "Y" if number else "N",
                kind,
                number,
                "N",
                "N",
                chat.session_id,
                int(session.opened_at if session else chat.created_at),
                0,
                blocked,
                chat.block_reason or 0,
            )
        )

    def entity_data_2(self, chat: Chat) -> str:
        if not chat.crm:
            return ""
        return "|".join(
            f"{name.upper()}|{chat.crm.get(name, 0)}"
            for name in ("lead", "company", "contact", "deal")
        )


def _user(person: Employee) -> User:
    return User(
        id=person.id,
        name=person.name,
        last_name=person.last_name,
        admin=person.admin,
        work_position=person.work_position,
        email=person.email or f"user{person.id}@example.ru",
        gender=person.gender,
        crm_access=person.crm_access,
        app_access=person.app_access,
    )


LINE_DEFAULTS: dict[str, Any] = {
    "WELCOME_BOT_ENABLE": "N",
    "WELCOME_BOT_ID": 0,
    "WELCOME_BOT_JOIN": "always",
    "WELCOME_BOT_TIME": 600,
    "WELCOME_BOT_LEFT": "queue",
    "NO_ANSWER_BOT_ID": 0,
    "WORKTIME_DAYOFF_BOT_ID": 0,
    "CLOSE_BOT_ID": 0,
    "AUTO_CLOSE_BOT_ID": 0,
    "QUEUE_TYPE": "evenly",
    "QUEUE_TIME": 60,
    "NO_ANSWER_TIME": 60,
    "NO_ANSWER_RULE": "none",
    "NO_ANSWER_TEXT": "",
    "WELCOME_MESSAGE": "Y",
    "WELCOME_MESSAGE_TEXT": "Здравствуйте! Мы скоро ответим.",
    "SEND_WELCOME_EACH_SESSION": "N",
    "WORKTIME_ENABLE": "N",
    "WORKTIME_FROM": "0",
    "WORKTIME_TO": "23.59",
    "WORKTIME_TIMEZONE": "Europe/Moscow",
    "WORKTIME_DAYOFF": [""],
    "WORKTIME_HOLIDAYS": [""],
    "WORKTIME_DAYOFF_RULE": "none",
    "WORKTIME_DAYOFF_TEXT": "",
    "CRM": "Y",
    "CRM_CREATE": "lead",
    "CRM_SOURCE": "create",
    "CRM_CHAT_TRACKER": "N",
    "AUTO_CLOSE_RULE": "none",
    "AUTO_CLOSE_TIME": 14400,
    "AUTO_CLOSE_TEXT": "",
    "CLOSE_RULE": "none",
    "CLOSE_TEXT": "",
    "FULL_CLOSE_TIME": 10,
    "VOTE_MESSAGE": "N",
    "OPERATOR_DATA": "profile",
    "LANGUAGE_ID": "ru",
    "QUICK_ANSWERS_IBLOCK_ID": 0,
}


def _line(options: LineOptions) -> Line:
    return Line(
        id=options.id,
        name=options.name,
        active=True,
        queue=list(options.queue),
        settings={**LINE_DEFAULTS, **options.settings},
    )


def _moved_on(world: World, rev: int) -> bool:
    return world.rev != rev


def when(world: World, predicate: Callable[[], bool], timeout: float) -> bool:
    """Wait until `predicate` is true. It is asked after every change and four times a second,
    without the lock, so it may also look elsewhere."""
    deadline = time.monotonic() + timeout
    while True:
        rev = world.rev
        if predicate():
            return True
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        with world.lock:
            world.changed.wait_for(partial(_moved_on, world, rev), min(left, 0.25))
