"""What the portal tells the application: app, bot, CRM and robot calls, as forms."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from integrations.bitrix24.local_portal.courier import Clock, Courier, Parcel
from integrations.bitrix24.local_portal.php import encode_form, scalar
from integrations.bitrix24.local_portal.state import (
    Bot,
    Chat,
    EventBinding,
    Message,
    RobotRun,
    User,
    World,
)

CRM_TYPES = ("LEAD", "DEAL", "CONTACT", "COMPANY")

# Event names an application may bind, by the scope that opens them (events.md of the platform
# lists many more; these are the ones this portal can raise or that applications ask for).
EVENT_SCOPES: dict[str, str] = {
    "ONAPPINSTALL": "",
    "ONAPPUPDATE": "",
    "ONAPPUNINSTALL": "",
    "ONAPPPAYMENT": "",
    "ONAPPTEST": "",
    "ONOFFLINEEVENT": "",
    "ONUSERADD": "user_basic",
    **{f"ONCRM{kind}{what}": "crm" for kind in CRM_TYPES for what in ("ADD", "UPDATE", "DELETE")},
    **{
        f"ONCRM{kind}USERFIELD{what}": "crm"
        for kind in CRM_TYPES
        for what in ("ADD", "UPDATE", "DELETE", "SETENUMVALUES")
    },
    **{f"ONCRMDYNAMICITEM{what}": "crm" for what in ("ADD", "UPDATE", "DELETE")},
    **{f"ONCRMTYPEUSERFIELD{what}": "crm" for what in ("ADD", "UPDATE", "DELETE")},
    **{f"ONCRMACTIVITY{what}": "crm" for what in ("ADD", "UPDATE", "DELETE")},
    **{f"ONCRMTIMELINECOMMENT{what}": "crm" for what in ("ADD", "UPDATE", "DELETE")},
    "ONCRMTIMELINEITEMACTION": "crm",
    **{f"ONOPENLINEMESSAGE{what}": "imopenlines" for what in ("ADD", "UPDATE", "DELETE")},
    "ONSESSIONSTART": "imopenlines",
    "ONSESSIONFINISH": "imopenlines",
}

LEGACY_HANDLERS = {
    "MESSAGEADD": "EVENT_MESSAGE_ADD",
    "MESSAGEUPDATE": "EVENT_MESSAGE_UPDATE",
    "MESSAGEDELETE": "EVENT_MESSAGE_DELETE",
    "JOINCHAT": "EVENT_WELCOME_MESSAGE",
    "DELETE": "EVENT_BOT_DELETE",
}


class Events:
    """Builds payloads and hands them to the courier. Called with the world's lock held."""

    def __init__(self, world: World) -> None:
        options = world.options
        self._world = world
        self._random = random.Random(0)  # noqa: S311 - reproducible disorder, not a secret
        self.clock = Clock()
        self.courier = Courier(
            options.event_workers, options.event_timeout_seconds, options.log_size
        )

    def start(self) -> None:
        self.clock.start()
        self.courier.start()

    def stop(self) -> None:
        self.clock.stop()
        self.courier.stop()

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        """Do something in the portal after a while, under its lock."""

        def locked() -> None:
            with self._world.lock:
                act()

        self.clock.after(seconds, locked)

    # ------------------------------------------------------------------ sending

    def post(self, name: str, url: str, payload: Mapping[str, Any], *, lane: int) -> None:
        options = self._world.options
        parcel = Parcel(name, url, encode_form(payload))
        copies = 1 + (self._random.random() < options.deliver_duplicates)
        for _ in range(copies):
            delay = options.event_delay_seconds + self._random.random() * options.reorder_seconds
            if not delay:
                self.courier.post(parcel, lane=lane)
                continue
            self.courier.promise()
            self.clock.after(delay, lambda: self.courier.keep_promise(parcel, lane=lane))

    @property
    def allowed(self) -> bool:
        """Events start when the installation is finished and stop when payment is over."""
        world = self._world
        return world.installation.state == "installed" and not world.switches.payment_required

    # ------------------------------------------------------------------ auth blocks

    def bare_auth(self) -> dict[str, Any]:
        world = self._world
        return {
            "domain": world.domain,
            "server_endpoint": world.server_endpoint,
            "client_endpoint": world.client_endpoint,
            "member_id": world.options.member_id,
            "application_token": world.installation.application_token,
        }

    def user_auth(self, user_id: int, *, with_refresh: bool) -> dict[str, Any]:
        world = self._world
        grant = world.authority.current(world, user_id)
        auth = {
            "access_token": grant.access_token,
            "expires": int(grant.expires_at),
            "expires_in": max(0, int(grant.expires_at - world.now())),
            "scope": world.scope_text,
            "status": world.options.status,
            "user_id": user_id,
            **self.bare_auth(),
        }
        if with_refresh:
            auth["refresh_token"] = grant.refresh_token
        return auth

    # ------------------------------------------------------------------ bound events

    def bound(
        self,
        name: str,
        data: Mapping[str, Any],
        *,
        user_id: int | None,
        with_refresh: bool = False,
        lane: int = 0,
        even_uninstalled: bool = False,
    ) -> None:
        """Deliver to every handler bound with `event.bind`.

        `user_id` is who caused it; None (robot, agent, open line) means an auth without tokens.
        """
        if not (self.allowed or even_uninstalled):
            return
        for binding in self._world.bindings:
            if binding.event == name and not binding.offline:
                author = binding.auth_user_id or user_id
                self._post_bound(binding, data, author, with_refresh=with_refresh, lane=lane)

    def _post_bound(
        self,
        binding: EventBinding,
        data: Mapping[str, Any],
        user_id: int | None,
        *,
        with_refresh: bool,
        lane: int,
    ) -> None:
        tokens = user_id is not None and self._world.options.events_carry_tokens
        auth = (
            self.user_auth(user_id, with_refresh=with_refresh)
            if tokens and user_id is not None
            else self.bare_auth()
        )
        payload = {
            "event": binding.event,
            "event_handler_id": binding.id,
            "data": data,
            "ts": int(self._world.now()),
            "auth": auth,
        }
        self.post(binding.event, binding.handler, payload, lane=lane)

    def install_payload(self, user_id: int) -> dict[str, Any]:
        """ONAPPINSTALL as the installation callback gets it."""
        world = self._world
        return {
            "event": "ONAPPINSTALL",
            "event_handler_id": 1,
            "data": self.install_data(),
            "ts": int(world.now()),
            "auth": self.user_auth(user_id, with_refresh=True),
        }

    def install_data(self) -> dict[str, Any]:
        world = self._world
        return {
            "VERSION": world.installation.version,
            "ACTIVE": "Y",
            "INSTALLED": "Y",
            "LANGUAGE_ID": world.options.language,
        }

    def crm(self, name: str, fields: Mapping[str, Any], *, user_id: int | None) -> None:
        self.bound(name, {"FIELDS": fields}, user_id=user_id, lane=int(fields.get("ID", 0)))

    # ------------------------------------------------------------------ bots

    def bot(self, bot: Bot, what: str, data: Mapping[str, Any], *, lane: int) -> None:
        """One bot event. `what` is the tail of its name: MESSAGEADD, JOINCHAT, …

        Source: api-reference/chat-bots/chat-bots-v2/imbot.v2/events/events
        """
        if not self.allowed:
            return
        if what == "MESSAGEADD":
            bot.messages_received += 1
        if bot.api == "v1":
            self._legacy_bot(bot, what, data, lane=lane)
            return
        world = self._world
        name = f"ONIMBOTV2{what}"
        language = {"language": world.options.language}
        if bot.event_mode == "fetch":
            bot.queue.append(
                {
                    "eventId": bot.next_event_id,
                    "type": name,
                    "date": world.iso(world.now()),
                    "data": {"bot": bot_view(bot), **data, **language},
                }
            )
            bot.next_event_id += 1
            return
        auth = (
            self.user_auth(bot.id, with_refresh=True) if world.options.events_carry_tokens else {}
        )
        payload = {
            "event": name,
            "event_handler_id": 30,
            "data": {"bot": {"id": bot.id, "code": bot.code, "auth": auth}, **data, **language},
            "ts": int(world.now()),
            "auth": self.bare_auth(),
        }
        self.post(name, bot.webhook_url, payload, lane=lane)

    def _legacy_bot(self, bot: Bot, what: str, data: Mapping[str, Any], *, lane: int) -> None:
        url = bot.handlers.get(LEGACY_HANDLERS.get(what, "")) or bot.handlers.get("EVENT_HANDLER")
        if not url:
            return
        world = self._world
        name = f"ONIMBOT{what}"
        auth = (
            self.user_auth(bot.id, with_refresh=True) if world.options.events_carry_tokens else {}
        )
        payload: dict[str, Any] = {
            "event": name,
            "event_handler_id": 30,
            "data": {
                "BOT": {
                    bot.id: {**auth, "AUTH": auth, "BOT_ID": bot.id, "BOT_CODE": bot.code},
                },
                **legacy_data(data, language=world.options.language),
            },
            "ts": int(world.now()),
            "auth": self.user_auth(bot.id, with_refresh=False) if auth else self.bare_auth(),
        }
        self.post(name, url, payload, lane=lane)

    # ------------------------------------------------------------------ robots

    def robot(
        self,
        code: str,
        properties: Mapping[str, Any],
        document: tuple[str, str, str],
        *,
        timeout_seconds: int = 300,
    ) -> RobotRun:
        """Call a registered robot for a document: ("crm", "CCrmDocumentLead", "LEAD_77").

        Source: api-reference/bizproc/bizproc-robot/bizproc-robot-add
        """
        world = self._world
        robot = world.robots[code]
        workflow_id = f"{secrets.token_hex(7)}.{secrets.randbelow(10**8):08d}"
        activity = f"A{secrets.randbelow(10**5)}_1"
        signature = secrets.token_hex(32)
        run = RobotRun(
            event_token=f"{workflow_id}|{activity}|{secrets.token_hex(16)}|.{signature}",
            code=code,
            waits=robot.get("USE_SUBSCRIPTION") == "Y",
        )
        world.robot_runs[run.event_token] = run
        user_id = int(robot.get("AUTH_USER_ID") or world.installation.user_id)
        payload = {
            "workflow_id": workflow_id,
            "code": code,
            "document_id": list(document),
            "document_type": [document[0], document[1], document[2].rsplit("_", 1)[0]],
            "event_token": run.event_token,
            "properties": properties,
            "use_subscription": "Y" if run.waits else "N",
            "timeout_duration": timeout_seconds if run.waits else 0,
            "ts": int(world.now()),
            "auth": {
                **self.user_auth(user_id, with_refresh=True),
                "WORKFLOW_ID": workflow_id,
                "ACTIVITY_NAME": activity,
                "CODE": code,
            },
        }
        self.post(f"ROBOT {code}", robot["HANDLER"], payload, lane=len(world.robot_runs))
        return run


# ---------------------------------------------------------------------- views of objects


def bot_view(bot: Bot) -> dict[str, Any]:
    """A bot as `imbot.v2.Bot.*` answers it."""
    return {
        "id": bot.id,
        "code": bot.code,
        "type": bot.type,
        "isHidden": bot.hidden,
        "isSupportOpenline": bot.open_lines,
        "isReactionsEnabled": bot.reactions,
        "backgroundId": bot.background_id,
        "language": "ru",
        "moduleId": "rest",
        "eventMode": bot.event_mode,
        "countMessage": bot.messages_received,
        "countCommand": 0,
        "countChat": 0,
        "countUser": 0,
    }


def chat_view(world: World, chat: Chat) -> dict[str, Any]:
    """A chat with camelCase names, as bot events carry it."""
    session = world.session_of(chat)
    return {
        "id": chat.id,
        "dialogId": chat.dialog_id,
        "name": chat.title,
        "description": "",
        "type": "lines" if chat.is_line else "chat",
        "messageType": "L" if chat.is_line else "C",
        "owner": session.operator_id if session else 0,
        "entityType": "LINES" if chat.is_line else "",
        "entityId": chat.entity_id,
        "entityData1": world.entity_data_1(chat),
        "entityData2": world.entity_data_2(chat),
        "entityData3": "N",
        "extranet": chat.is_line,
        "color": "#ab7761",
        "avatar": "",
        "diskFolderId": 0,
    }


def user_view(user: User) -> dict[str, Any]:
    """A user with camelCase names, as bot events and `imbot.v2.*` carry it."""
    client = user.kind == "client"
    return {
        "id": user.id,
        "active": user.active,
        "name": user.full_name,
        "firstName": user.name,
        "lastName": user.last_name,
        "workPosition": user.work_position,
        "color": "#df532d",
        "avatar": "",
        "gender": user.gender or "M",
        "birthday": "",
        "extranet": client,
        "network": False,
        "bot": user.kind == "bot",
        "connector": client,
        "externalAuthId": {"client": "imconnector", "bot": "bot", "employee": "default"}[user.kind],
        "status": "online",
        "idle": False,
        "lastActivityDate": False,
        "mobileLastDate": False,
        "absent": False,
        "departments": [],
        "type": {"client": "extranet", "bot": "bot", "employee": "user"}[user.kind],
    }


SYSTEM_USER = User(0, "", kind="employee")


def message_view(world: World, message: Message) -> dict[str, Any]:
    """A message with camelCase names; the source also repeats two ids in snake_case."""
    return {
        "id": message.id,
        "chatId": message.chat_id,
        "chat_id": message.chat_id,
        "authorId": message.author_id,
        "author_id": message.author_id,
        "date": world.iso(message.at),
        "text": message.text,
        "isSystem": message.author_id == 0,
        "uuid": message.uuid,
        "forward": None,
        "params": message.params,
        "viewedByOthers": False,
    }


def legacy_data(data: Mapping[str, Any], *, language: str) -> dict[str, Any]:
    """`PARAMS` and `USER` of a legacy bot event, made from the data of a new one.

    Source: api-reference/chat-bots/outdated
    """
    chat, user = data.get("chat", {}), data.get("user", {})
    message = data.get("message", {})
    hidden = "Y" if message.get("params", {}).get("COMPONENT_ID") == "HiddenMessage" else "N"
    params: dict[str, Any] = {
        "DIALOG_ID": chat.get("dialogId", ""),
        "CHAT_ID": chat.get("id", ""),
        "CHAT_TITLE": chat.get("name", ""),
        "CHAT_TYPE": chat.get("messageType", ""),
        "MESSAGE_TYPE": chat.get("messageType", ""),
        "CHAT_ENTITY_TYPE": chat.get("entityType", ""),
        "CHAT_ENTITY_ID": chat.get("entityId", ""),
        "CHAT_ENTITY_DATA_1": chat.get("entityData1", ""),
        "CHAT_ENTITY_DATA_2": chat.get("entityData2", ""),
        "CHAT_ENTITY_DATA_3": chat.get("entityData3", ""),
        "FROM_USER_ID": user.get("id", 0),
        "USER_ID": user.get("id", 0),
        "LANGUAGE": language,
    }
    if message or "messageId" in data:
        params |= {
            "MESSAGE": message.get("text", ""),
            "MESSAGE_ORIGINAL": message.get("text", ""),
            "MESSAGE_ID": message.get("id", data.get("messageId", 0)),
            "AUTHOR_ID": message.get("authorId", user.get("id", 0)),
            "TO_USER_ID": 0,
            "SYSTEM": "Y" if message.get("isSystem") else "N",
            "SKIP_CONNECTOR": hidden,
            "SILENT_CONNECTOR": hidden,
            "TEMPLATE_ID": message.get("uuid", ""),
            "PARAMS": message.get("params", {}),
        }
    return {"PARAMS": params, "USER": _legacy_user(user)}


def _legacy_user(user: Mapping[str, Any]) -> dict[str, str]:
    def flag(name: str) -> str:
        return "Y" if user.get(name) else "N"

    return {
        "ID": scalar(user.get("id", 0)),
        "NAME": str(user.get("name", "")),
        "FIRST_NAME": str(user.get("firstName", "")),
        "LAST_NAME": str(user.get("lastName", "")),
        "WORK_POSITION": str(user.get("workPosition", "")),
        "GENDER": str(user.get("gender", "M")),
        "IS_BOT": flag("bot"),
        "IS_CONNECTOR": flag("connector"),
        "IS_NETWORK": "N",
        "IS_EXTRANET": flag("extranet"),
    }
