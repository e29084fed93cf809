"""The local portal: a Bitrix24 of one's own on a loopback port, for tests, demo and benchmark."""

from __future__ import annotations

import copy
import http.client
import json
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlencode, urlsplit

from integrations.bitrix24.local_portal import lines
from integrations.bitrix24.local_portal.courier import Delivered
from integrations.bitrix24.local_portal.crm import Crm, Item
from integrations.bitrix24.local_portal.events import Events
from integrations.bitrix24.local_portal.methods import METHODS
from integrations.bitrix24.local_portal.methods_chat import private_chat, remove_bot
from integrations.bitrix24.local_portal.methods_crm import add_activity
from integrations.bitrix24.local_portal.oauth import Authority
from integrations.bitrix24.local_portal.options import PortalOptions
from integrations.bitrix24.local_portal.php import encode_form
from integrations.bitrix24.local_portal.rest import Fault, Logged, Rest
from integrations.bitrix24.local_portal.routes import Routes
from integrations.bitrix24.local_portal.server import HttpServer
from integrations.bitrix24.local_portal.state import (
    Chat,
    InstallKind,
    Message,
    RobotRun,
    World,
    when,
)

DOCUMENT_CLASSES = {
    "LEAD": "CCrmDocumentLead",
    "DEAL": "CCrmDocumentDeal",
    "CONTACT": "CCrmDocumentContact",
    "COMPANY": "CCrmDocumentCompany",
    "DYNAMIC": "Bitrix\\Crm\\Integration\\BizProc\\Document\\Dynamic",
}


@dataclass(frozen=True, slots=True)
class FrameForm:
    """What the portal posts into the iframe it has just made, and the iframe's name."""

    action: str
    fields: dict[str, str]
    window_name: str
    sid: str

    def as_json(self) -> dict[str, Any]:
        return {
            "action": self.action,
            "fields": self.fields,
            "window_name": self.window_name,
            "sid": self.sid,
        }


@dataclass(frozen=True, slots=True)
class Reply:
    """What the application answered to a POST of the portal."""

    status: int
    headers: dict[str, str]
    text: str


class LocalPortal:
    """One portal with its own address. Start it, install the application, let clients write.

    Several portals may share one authorization server: give `issuer` the first of them.
    """

    def __init__(
        self, options: PortalOptions | None = None, *, issuer: LocalPortal | None = None
    ) -> None:
        self.options = options or PortalOptions()
        self.world = World(self.options)
        self._issuer = issuer
        self.world.authority = issuer.world.authority if issuer else Authority()
        self.world.authority.serve(self.world)
        self.world.crm = Crm(self.world)
        self.world.events = Events(self.world)
        self.rest = Rest(self.world, METHODS)
        self._server: HttpServer | None = None

    # ------------------------------------------------------------------ life

    def start(self) -> LocalPortal:
        options, world = self.options, self.world
        server = HttpServer(options.host, options.port, Routes(self).answer)
        world.url = f"http://{options.host}:{server.port}"
        world.domain = self._with_port(options.domain or options.host, server.port)
        world.oauth_url = self._issuer.oauth_url if self._issuer else world.url
        world.events.start()
        server.start()
        self._server = server
        return self

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None
            self.world.events.stop()

    def __enter__(self) -> LocalPortal:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @staticmethod
    def _with_port(domain: str, port: int) -> str:
        return domain if ":" in domain or port in (80, 443) else f"{domain}:{port}"

    @property
    def url(self) -> str:
        return self.world.url

    @property
    def oauth_url(self) -> str:
        return self.world.oauth_url

    @property
    def rest_endpoint(self) -> str:
        return self.world.client_endpoint

    @property
    def domain(self) -> str:
        return self.world.domain

    @property
    def member_id(self) -> str:
        return self.options.member_id

    @property
    def application_token(self) -> str:
        return self.world.installation.application_token

    # ------------------------------------------------------------------ the application's life

    def install(self, kind: InstallKind = "frame", *, user_id: int = 1) -> Reply:
        """Install the application: the wizard's frame POST or the server callback.

        After `frame` the state is "pending" until `finish_install`; `server` is finished at once.
        Source: settings/app-installation
        """
        with self.world.lock:
            installation = self.world.installation
            if installation.state == "absent" and installation.version > 1:
                installation.application_token = secrets.token_hex(16)
            installation.kind, installation.user_id = kind, user_id
            installation.state = "pending" if kind == "frame" else "installed"
            self.world.touch()
            if kind == "server":
                payload = self.world.events.install_payload(user_id)
        if kind == "server":
            return post(f"{self.options.app_root}install/", encode_form(payload))
        return self.open_frame(user_id, app_path="install/")

    def finish_install(self) -> None:
        """What `BX24.installFinish()` does: events and widgets begin to work."""
        with self.world.lock:
            installation = self.world.installation
            if installation.state == "pending":
                installation.state = "installed"
                events = self.world.events
                events.bound(
                    "ONAPPINSTALL",
                    events.install_data(),
                    user_id=installation.user_id,
                    with_refresh=True,
                )
                self.world.touch()

    def issue_tokens(self, user_id: int = 1) -> tuple[str, str]:
        """(access, refresh) for a user; the application becomes installed when it was not."""
        with self.world.lock:
            if self.world.installation.state == "absent":
                self.world.installation.state = "installed"
        grant = self.world.authority.issue(self.world, user_id)
        return grant.access_token, grant.refresh_token

    def update_app(self, *, new_application_token: bool = False) -> None:
        """A new version: ONAPPUPDATE, then handlers, widgets and robots are gone.

        Source: api-reference/common/events/on-app-update
        """
        with self.world.lock:
            installation = self.world.installation
            previous = installation.version
            installation.version += 1
            if new_application_token:
                installation.application_token = secrets.token_hex(16)
            data = {
                "VERSION": installation.version,
                "PREVIOUS_VERSION": previous,
                "LANGUAGE_ID": self.options.language,
            }
            self.world.events.bound(
                "ONAPPUPDATE", data, user_id=installation.user_id, with_refresh=True
            )
            self._forget_bindings()

    def uninstall(self, clean: bool = True) -> None:
        """ONAPPUNINSTALL without tokens; every token is dead, bots and bindings are gone.

        Source: api-reference/common/events/on-app-uninstall
        """
        with self.world.lock:
            world = self.world
            was_installed = world.installation.state != "absent"
            data = {"LANGUAGE_ID": self.options.language, "CLEAN": "1" if clean else "0"}
            world.events.bound("ONAPPUNINSTALL", data, user_id=None, even_uninstalled=was_installed)
            world.installation.state = "absent"
            world.installation.version += 1
            world.authority.kill_all(self.member_id)
            self._forget_bindings()
            for bot in list(world.bots.values()):
                remove_bot(world, bot)
            if clean:
                world.app_settings.clear()
            world.touch()

    def _forget_bindings(self) -> None:
        self.world.bindings.clear()
        self.world.placements.clear()
        self.world.robots.clear()
        self.world.touch()

    # ------------------------------------------------------------------ frames

    def frame(
        self,
        user_id: int = 1,
        placement: str = "DEFAULT",
        options: Mapping[str, Any] | None = None,
        app_path: str | None = None,
        *,
        language: str = "",
        old_build: bool = False,
    ) -> FrameForm:
        """The form of one opened page. `app_path` is relative to `/b24/<app>/`; without it the
        bound handler of the placement is opened. `old_build` leaves out the newer fields.

        Source: settings/oauth/simple-way, api-reference/widgets
        """
        with self.world.lock:
            action = self._frame_url(placement, app_path)
            world = self.world
            grant = world.authority.issue(world, user_id)
            sid = secrets.token_hex(16)
            fields = {
                "AUTH_ID": grant.access_token,
                "AUTH_EXPIRES": str(self.options.token_lifetime_seconds),
                "REFRESH_ID": grant.refresh_token,
                "member_id": self.member_id,
                "status": self.options.status,
                "PLACEMENT": placement,
            }
            if not old_build:
                fields |= {
                    "SERVER_ENDPOINT": world.server_endpoint,
                    "APPLICATION_TOKEN": world.installation.application_token,
                    "APPLICATION_SCOPE": world.scope_text,
                }
            if options is not None or placement != "DEFAULT":
                shown = {key: str(value) for key, value in (options or {}).items()}
                if placement != "IMMOBILE_CONTEXT_MENU":
                    shown.setdefault("URI", "/online/" if placement.startswith("IM_") else "/crm/")
                text = json.dumps(shown, ensure_ascii=False, separators=(",", ":"))
                fields["PLACEMENT_OPTIONS"] = text.replace("/", "\\/")
            protocol = 1 if world.scheme == "https" else 0
            query = urlencode(
                {
                    "DOMAIN": world.domain,
                    "PROTOCOL": protocol,
                    "LANG": language or self.options.language,
                    "APP_SID": sid,
                }
            )
            separator = "&" if "?" in action else "?"
            name = f"{world.domain}|{protocol}|{sid}"
        return FrameForm(f"{action}{separator}{query}", fields, name, sid)

    def _frame_url(self, placement: str, app_path: str | None) -> str:
        root = self.options.app_root
        if app_path is not None:
            return f"{root}{app_path.lstrip('/')}"
        if placement == "DEFAULT":
            pending = self.world.installation.state == "pending"
            return f"{root}install/" if pending else root
        bound = [one.handler for one in self.world.placements if one.placement == placement]
        return bound[0] if bound else f"{root}placement/"

    def open_frame(self, user_id: int = 1, placement: str = "DEFAULT", **more: Any) -> Reply:
        """Post a frame's form, as the browser would."""
        form = self.frame(user_id, placement, **more)
        return post(form.action, urlencode(form.fields).encode())

    # ------------------------------------------------------------------ clients and operators

    def client_writes(
        self,
        text: str,
        *,
        chat_id: int | None = None,
        name: str = "Иван",
        connector: str = "livechat",
        line_id: int = 22,
        external_id: str = "",
        files: tuple[str, ...] = (),
    ) -> tuple[int, int]:
        """A client's message, in a new chat without `chat_id`. Returns (chat id, message id)."""
        with self.world.lock:
            message = lines.client_writes(
                self.world,
                text,
                chat_id=chat_id,
                name=name,
                connector=connector,
                line_id=line_id,
                external_id=external_id,
                files=files,
            )
            return message.chat_id, message.id

    def client_edits(self, message_id: int, text: str) -> None:
        with self.world.lock:
            lines.client_edits(self.world, self.world.messages[message_id], text)

    def client_deletes(self, message_id: int) -> None:
        with self.world.lock:
            lines.client_deletes(self.world, self.world.messages[message_id])

    def operator_writes(self, chat_id: int, user_id: int, text: str, whisper: bool = False) -> int:
        """An operator's message (who enters the chat when he was not in it); returns its id."""
        with self.world.lock:
            chat = self.world.chats[chat_id]
            if user_id not in chat.members:
                chat.members.append(user_id)
            author = self.world.users[user_id]
            return lines.staff_writes(self.world, chat, author, text, whisper=whisper).id

    def finish_session(self, chat_id: int) -> None:
        with self.world.lock:
            chat = self.world.chats[chat_id]
            session = self.world.session_of(chat)
            if session is not None:
                lines.finish(self.world, chat, session)

    def hand_to_queue(self, chat_id: int) -> None:
        """What happens when the bot's time is over."""
        with self.world.lock:
            chat = self.world.chats[chat_id]
            lines.hand_to_queue(self.world, chat, lines.open_session_or_error(self.world, chat))

    def invite_bot(self, chat_id: int, *, user_id: int = 7) -> None:
        """An operator puts the application's bot into a chat."""
        with self.world.lock:
            bot = next(iter(self.world.bots.values()))
            chat, who = self.world.chats[chat_id], self.world.users[user_id]
            lines.invite_bot(self.world, chat, bot, who)

    def private_chat(self, user_id: int = 7) -> int:
        """An employee opens a private dialog with the application's bot; the bot is told."""
        with self.world.lock:
            bot = next(iter(self.world.bots.values()))
            chat = private_chat(self.world, bot, user_id)
            lines.invite_bot(self.world, chat, bot, self.world.users[user_id])
            return chat.id

    def block_chat(self, chat_id: int, reason: str = "TIME_LIMIT") -> None:
        """The messenger's reply window is over: sending fails until `reason` is empty."""
        with self.world.lock:
            self.world.chats[chat_id].block_reason = reason
            self.world.touch(self.world.chats[chat_id])

    # ------------------------------------------------------------------ CRM and automation

    def add_item(
        self, entity_type_id: int, fields: Mapping[str, Any], *, user_id: int | None = 1
    ) -> int:
        """Create an item as an employee (or, with None, as an agent without tokens)."""
        with self.world.lock:
            return self.world.crm.add(entity_type_id, fields, user_id=user_id).id

    def change_item(
        self,
        entity_type_id: int,
        item_id: int,
        fields: Mapping[str, Any],
        *,
        user_id: int | None = 1,
    ) -> bool:
        with self.world.lock:
            crm = self.world.crm
            return crm.update(crm.item(entity_type_id, item_id), fields, user_id=user_id)

    def add_activity(
        self,
        entity_type_id: int,
        item_id: int,
        fields: Mapping[str, Any],
        *,
        user_id: int | None = None,
    ) -> int:
        """An activity with legacy upper-case fields; e-mails and forms arrive without tokens."""
        with self.world.lock:
            crm = self.world.crm
            return add_activity(crm, crm.item(entity_type_id, item_id), fields, user_id=user_id)

    def incoming_email(
        self, entity_type_id: int, item_id: int, *, subject: str, html: str, sender: str
    ) -> int:
        """An e-mail to an item, as the portal's mail integration stores it."""
        return self.add_activity(
            entity_type_id,
            item_id,
            {
                "TYPE_ID": 4,
                "PROVIDER_ID": "CRM_EMAIL",
                "PROVIDER_TYPE_ID": "EMAIL",
                "DIRECTION": 1,
                "SUBJECT": subject,
                "DESCRIPTION": html,
                "DESCRIPTION_TYPE": 3,
                "COMMUNICATIONS": [
                    {
                        "TYPE": "EMAIL",
                        "VALUE": sender,
                        "ENTITY_ID": item_id,
                        "ENTITY_TYPE_ID": entity_type_id,
                    }
                ],
            },
        )

    def submitted_form(
        self, entity_type_id: int, item_id: int, values: Mapping[str, str], *, form_id: int = 5
    ) -> int:
        """A CRM form a visitor has sent."""
        return self.add_activity(
            entity_type_id,
            item_id,
            {
                "PROVIDER_ID": "CRM_WEBFORM",
                "PROVIDER_TYPE_ID": form_id,
                "SUBJECT": "Заполнена CRM-форма",
                "PROVIDER_PARAMS": {
                    "FIELDS": [
                        {"caption": caption, "values": [value], "value": value}
                        for caption, value in values.items()
                    ],
                    "FORM": {"LINK": "", "IP": "192.0.2.1"},
                    "VISITED_PAGES": [],
                },
            },
        )

    def run_robot(
        self,
        code: str,
        properties: Mapping[str, Any],
        document: str | tuple[str, str, str],
        *,
        timeout_seconds: int = 300,
    ) -> RobotRun:
        """Call a registered robot for `LEAD_77`, `DYNAMIC_128_1`, … or a full document id."""
        if isinstance(document, str):
            kind = document.partition("_")[0]
            document = ("crm", DOCUMENT_CLASSES[kind], document)
        with self.world.lock:
            return self.world.events.robot(
                code, properties, document, timeout_seconds=timeout_seconds
            )

    # ------------------------------------------------------------------ looking

    def chat(self, chat_id: int) -> Chat:
        """A copy of a chat as it is now."""
        with self.world.lock:
            return copy.deepcopy(self.world.chats[chat_id])

    def messages(self, chat_id: int) -> list[Message]:
        """Copies of a chat's messages, oldest first, notes of the portal included."""
        with self.world.lock:
            return copy.deepcopy(self.world.messages_of(self.world.chats[chat_id]))

    def delivered(self, chat_id: int) -> list[str]:
        """The texts that reached the client's messenger."""
        return [one.text for one in self.messages(chat_id) if one.to_client]

    def item(self, entity_type_id: int, item_id: int) -> dict[str, Any]:
        """An item as `crm.item.get` shows it, with `UF_…` names."""
        with self.world.lock:
            crm: Crm = self.world.crm
            found: Item = crm.item(entity_type_id, item_id)
            return copy.deepcopy(crm.view(found))

    def notifications(self, user_id: int) -> list[str]:
        """What stands in a user's bell, oldest first."""
        with self.world.lock:
            notes = self.world.notifications.values()
            return [note["text"] for note in notes if note["user_id"] == user_id]

    def timeline(self, entity_type_id: int, item_id: int) -> list[dict[str, str]]:
        """Notes and comments of an item: {kind: "logmessage" | "comment", title, text}."""
        with self.world.lock:
            return self.world.crm.timeline(self.world.crm.item(entity_type_id, item_id))

    @property
    def rest_log(self) -> list[Logged]:
        return list(self.rest.log)

    def calls(self, method: str) -> list[Logged]:
        """Logged calls of one method, also those inside a batch."""
        return [one for one in self.rest_log if one.method.lower() == method.lower()]

    @property
    def deliveries(self) -> list[Delivered]:
        """What was posted to the application, in order of completion."""
        return list(self.world.events.courier.log)

    def wait_until(self, predicate: Callable[[], bool], timeout: float = 5.0) -> bool:
        """Wait for a condition over the portal's state; it is asked again after every change."""
        return when(self.world, predicate, timeout)

    def wait_deliveries(self, timeout: float = 5.0) -> bool:
        """Wait until every event was posted or lost."""
        return self.world.events.courier.idle(timeout)

    def stats(self) -> dict[str, Any]:
        """Counters for a benchmark."""
        with self.world.lock:
            sent = [one for one in self.world.messages.values() if one.to_client and one.author_id]
            texts = Counter((one.chat_id, one.session_id, one.text) for one in sent)
            keys = Counter((one.chat_id, one.uuid) for one in sent if one.uuid)
            clients = sum(
                1
                for one in self.world.messages.values()
                if one.author_id and self.world.users[one.author_id].kind == "client"
            )
            items = sum(len(table) for table in self.world.crm.items.values())
        log = self.deliveries
        return {
            "rest_requests": self.rest.requests,
            "rest_calls": self.rest.calls,
            "token_refreshes": self.world.authority.refreshes,
            "client_messages": clients,
            "messages_to_clients": len(sent),
            "duplicate_texts": sum(count - 1 for count in texts.values()),
            "duplicate_keys": sum(count - 1 for count in keys.values()),
            "chats": len(self.world.chats),
            "items": items,
            "events_pending": self.world.events.courier.waiting,
            "events_logged": len(log),
            "events_failed": sum(1 for one in log if one.status is None or one.status >= 400),
        }

    # ------------------------------------------------------------------ trouble

    def expire_access_tokens(self) -> None:
        """Every access token of this portal answers `expired_token` from now on."""
        self.world.authority.expire_access(self.member_id)

    def kill_refresh_tokens(self) -> None:
        """Every refresh token of this portal answers `invalid_grant` from now on."""
        self.world.authority.kill_refresh(self.member_id)

    def go_down(self, how: Literal["drop", "html"] = "drop") -> None:
        """The portal (not the authorization server) stops answering, or answers with a 502 page."""
        self.world.switches.down = how

    def come_up(self) -> None:
        self.world.switches.down = ""

    def fail_next(
        self,
        method: str,
        status: int = 500,
        error: str = "INTERNAL_SERVER_ERROR",
        times: int = 1,
        *,
        after_executing: bool = False,
        drop: bool = False,
    ) -> None:
        """Make the next calls of a method fail (`*` any REST method, `oauth.token` the refresh).

        `after_executing` does the work first; with `drop` the connection closes instead of an
        answer: the caller cannot know whether the work was done.
        """
        self.rest.faults.append(
            Fault(method, times, status, error, after_executing=after_executing, drop=drop)
        )

    def exhaust_method(self, method: str, seconds: float = 60.0) -> None:
        """`OPERATION_TIME_LIMIT` for one method."""
        self.rest.exhaust(method, seconds)

    def move_to(self, domain: str) -> None:
        """The portal gets a new address; the old one answers 302.

        Source: settings/how-to-call-rest-api/change-domen
        """
        with self.world.lock:
            port = urlsplit(self.world.url).port or 80
            self.world.old_domains.add(self.world.domain)
            self.world.domain = self._with_port(domain, port)
            self.world.old_domains.discard(self.world.domain)

    def dismiss(self, user_id: int) -> None:
        """An employee leaves; his tokens die with him."""
        with self.world.lock:
            self.world.users[user_id].active = False


def post(url: str, body: bytes, timeout_seconds: float = 30.0) -> Reply:
    """POST a form and read the answer. Raises OSError when nobody answers."""
    target = urlsplit(url)
    kind = http.client.HTTPSConnection if target.scheme == "https" else http.client.HTTPConnection
    connection = kind(target.hostname or "", target.port, timeout=timeout_seconds)
    try:
        path = f"{target.path}?{target.query}" if target.query else target.path
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        connection.request("POST", path or "/", body=body, headers=headers)
        answer = connection.getresponse()
        text = answer.read().decode("utf-8", "replace")
        return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, text)
    finally:
        connection.close()
