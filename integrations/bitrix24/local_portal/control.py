"""Control over HTTP for other processes: JSON under `/_control/`, guarded by `X-Control-Key`."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from integrations.bitrix24.local_portal.server import Request, Response
from integrations.bitrix24.local_portal.state import Chat, Message, RestError, World, when

if TYPE_CHECKING:
    from integrations.bitrix24.local_portal.portal import LocalPortal

MESSAGES_PER_ANSWER = 5000
WAIT_LIMIT_SECONDS = 25.0

Act = Callable[["LocalPortal", dict[str, Any]], Any]


class Control:
    """Answers `/_control/<name>`; reads with GET, acts with POST and a JSON body."""

    def __init__(self, portal: LocalPortal) -> None:
        self._portal = portal

    def answer(self, request: Request) -> Response:
        options = self._portal.options
        key = request.headers.get("x-control-key", "")
        if not options.control_enabled:
            return _json(404, {"error": "control is off"})
        if not secrets.compare_digest(key.encode(), options.control_key.encode()):
            return _json(403, {"error": "wrong X-Control-Key"})
        name = request.path.removeprefix("/_control/").strip("/")
        act = (READS if request.method == "GET" else ACTS).get(name)
        if act is None:
            return _json(404, {"error": f"unknown control {name!r}", "known": sorted(ACTS)})
        try:
            sent = json.loads(request.body) if request.body else request.query_params
            return _json(200, act(self._portal, sent))
        except (KeyError, TypeError, ValueError) as error:
            return _json(400, {"error": f"{type(error).__name__}: {error}"})
        except RestError as error:
            return _json(409, {"error": error.code, "error_description": error.description})
        except OSError as error:
            return _json(502, {"error": f"the application did not answer: {type(error).__name__}"})


def _json(status: int, body: Any) -> Response:
    return Response(status, json.dumps(body, ensure_ascii=False, default=str).encode())


# ---------------------------------------------------------------------- reading


def message_state(world: World, message: Message) -> dict[str, Any]:
    """A message for observers."""
    author = world.users.get(message.author_id)
    return {
        "id": message.id,
        "chat_id": message.chat_id,
        "session_id": message.session_id,
        "author_id": message.author_id,
        "author": author.full_name if author else "",
        "kind": author.kind if author else "system",
        "text": message.text,
        "at": message.at,
        "hidden": message.hidden,
        "to_client": message.to_client,
        "edited": message.edited,
        "uuid": message.uuid,
        "keyboard": message.params.get("KEYBOARD"),
        "attach": message.params.get("ATTACH"),
    }


def chat_state(world: World, chat: Chat) -> dict[str, Any]:
    """A chat for observers, with all its messages."""
    session = world.sessions.get(chat.session_id)
    operator = world.users.get(session.operator_id) if session else None
    return {
        "id": chat.id,
        "dialog_id": chat.dialog_id,
        "title": chat.title,
        "line_id": chat.line_id,
        "connector": chat.connector,
        "rev": chat.rev,
        "members": [
            {"id": one, "name": world.users[one].full_name, "kind": world.users[one].kind}
            for one in chat.members
        ],
        "crm": chat.crm,
        "typing": chat.typing,
        "session": None
        if session is None
        else {
            "id": session.id,
            "status": session.status,
            "open": session.closed_at is None,
            "operator_id": session.operator_id,
            "operator_kind": operator.kind if operator else "",
        },
        "messages": [message_state(world, one) for one in world.messages_of(chat)],
    }


def _state(portal: LocalPortal, params: dict[str, Any]) -> Any:
    """Chats and items changed after `since`; `wait` seconds for a change (long poll)."""
    world, since = portal.world, int(params.get("since", 0))
    wait = min(float(params.get("wait", 0)), WAIT_LIMIT_SECONDS)
    if wait:
        when(world, lambda: world.rev > since, wait)
    only_chat = params.get("chat_id")
    with world.lock:
        return {
            "rev": world.rev,
            "installation": world.installation.state,
            "version": world.installation.version,
            "bots": [bot.code for bot in world.bots.values()],
            "bindings": [{"event": one.event, "handler": one.handler} for one in world.bindings],
            "placements": [
                {"placement": one.placement, "handler": one.handler, "title": one.title}
                for one in world.placements
            ],
            "robots": [*world.robots],
            "lines": [
                {"id": line.id, "name": line.name, "settings": line.settings, "queue": line.queue}
                for line in world.lines.values()
            ],
            "chats": [
                chat_state(world, chat)
                for chat in world.chats.values()
                if chat.rev > since and only_chat in (None, str(chat.id))
            ],
            "items": [
                {
                    **world.crm.view(item),
                    "rev": item.rev,
                    "entityTypeId": item.entity_type_id,
                    "timeline": world.crm.timeline(item),
                }
                for table in world.crm.items.values()
                for item in table.values()
                if item.rev > since
            ],
        }


def _fields(portal: LocalPortal, params: dict[str, Any]) -> Any:
    """Titles and choices of a type's fields, by the names items have in `state`."""
    specs = portal.world.crm.specs[int(params.get("entity_type_id", 1))]
    return {
        spec.upper if spec.custom else spec.name: {
            "title": spec.title,
            "type": spec.type,
            "custom": spec.custom,
            "choices": {str(key): text for key, text in spec.choices},
        }
        for spec in specs
    }


def _messages(portal: LocalPortal, params: dict[str, Any]) -> Any:
    """Messages with an id above `since`, oldest first."""
    world, since = portal.world, int(params.get("since", 0))
    with world.lock:
        fresh = [number for number in reversed(world.messages) if number > since]
        fresh.reverse()
        return [
            message_state(world, world.messages[number]) for number in fresh[:MESSAGES_PER_ANSWER]
        ]


def _log(portal: LocalPortal, params: dict[str, Any]) -> Any:
    last = int(params.get("last", 200))
    return [
        {
            "method": one.method,
            "params": one.params,
            "status": one.status,
            "error": one.error,
            "at": one.at,
            "user_id": one.user_id,
            "in_batch": one.in_batch,
        }
        for one in portal.rest_log[-last:]
    ]


def _deliveries(portal: LocalPortal, params: dict[str, Any]) -> Any:
    last = int(params.get("last", 200))
    return [
        {
            "event": one.event,
            "url": one.url,
            "status": one.status,
            "seconds": one.seconds,
            "at": one.at,
            "error": one.error,
        }
        for one in portal.deliveries[-last:]
    ]


READS: dict[str, Act] = {
    "state": _state,
    "fields": _fields,
    "messages": _messages,
    "log": _log,
    "deliveries": _deliveries,
    "stats": lambda portal, params: portal.stats(),
    "about": lambda portal, params: about(portal),
}


def about(portal: LocalPortal) -> dict[str, Any]:
    """Where this portal is and how to control it."""
    return {
        "url": portal.url,
        "domain": portal.domain,
        "member_id": portal.member_id,
        "oauth_url": portal.oauth_url,
        "rest_endpoint": portal.rest_endpoint,
        "client_id": portal.options.client_id,
        "control_key": portal.options.control_key,
        "at": time.time(),
    }


# ---------------------------------------------------------------------- acting


def _client_message(portal: LocalPortal, params: dict[str, Any]) -> Any:
    chat_id, message_id = portal.client_writes(
        str(params["text"]),
        chat_id=int(params["chat_id"]) if params.get("chat_id") else None,
        name=str(params.get("name") or "Иван"),
        connector=str(params.get("connector") or "livechat"),
        line_id=int(params.get("line_id") or 22),
        external_id=str(params.get("external_id") or ""),
        files=tuple(params.get("files") or ()),
    )
    return {"chat_id": chat_id, "message_id": message_id, "at": time.time()}


def _operator_message(portal: LocalPortal, params: dict[str, Any]) -> Any:
    message_id = portal.operator_writes(
        int(params["chat_id"]),
        int(params.get("user_id") or 7),
        str(params["text"]),
        bool(params.get("whisper")),
    )
    return {"message_id": message_id}


def _frame(portal: LocalPortal, params: dict[str, Any]) -> Any:
    form = portal.frame(
        int(params.get("user_id") or 1),
        str(params.get("placement") or "DEFAULT"),
        params.get("options"),
        params.get("path"),
        language=str(params.get("language") or ""),
    )
    return form.as_json()


def _install(portal: LocalPortal, params: dict[str, Any]) -> Any:
    kind = "server" if params.get("kind") == "server" else "frame"
    reply = portal.install("server" if kind == "server" else "frame")
    if params.get("finish", kind == "frame") and reply.status == 200:
        portal.finish_install()
    return {"status": reply.status, "text": reply.text}


def _robot(portal: LocalPortal, params: dict[str, Any]) -> Any:
    run = portal.run_robot(
        str(params["code"]), params.get("properties") or {}, str(params["document"])
    )
    return {"event_token": run.event_token}


def _fault(portal: LocalPortal, params: dict[str, Any]) -> Any:
    portal.fail_next(
        str(params["method"]),
        int(params.get("status") or 500),
        str(params.get("error") or "INTERNAL_SERVER_ERROR"),
        int(params.get("times") or 1),
        after_executing=bool(params.get("after_executing")),
        drop=bool(params.get("drop")),
    )


SWITCHES = ("payment_required", "rest_plan_off", "portal_deleted")


def _switch(portal: LocalPortal, params: dict[str, Any]) -> Any:
    for name in SWITCHES:
        if name in params:
            setattr(portal.world.switches, name, bool(params[name]))
    if "missing_methods" in params:
        portal.world.switches.missing_methods = {str(one) for one in params["missing_methods"]}


def _add_item(portal: LocalPortal, params: dict[str, Any]) -> Any:
    fields = params.get("fields") or {}
    return {"id": portal.add_item(int(params.get("entity_type_id") or 1), fields)}


def _email(portal: LocalPortal, params: dict[str, Any]) -> Any:
    number = portal.incoming_email(
        int(params.get("entity_type_id") or 1),
        int(params["item_id"]),
        subject=str(params.get("subject") or ""),
        html=str(params.get("html") or ""),
        sender=str(params.get("sender") or "client@example.ru"),
    )
    return {"activity_id": number}


def _plain(act: Callable[[LocalPortal, dict[str, Any]], object]) -> Act:
    def run(portal: LocalPortal, params: dict[str, Any]) -> Any:
        return act(portal, params) or {"ok": True}

    return run


ACTS: dict[str, Act] = {
    "client-message": _client_message,
    "client-edit": _plain(lambda p, q: p.client_edits(int(q["message_id"]), str(q["text"]))),
    "client-delete": _plain(lambda p, q: p.client_deletes(int(q["message_id"]))),
    "operator-message": _operator_message,
    "finish-session": _plain(lambda p, q: p.finish_session(int(q["chat_id"]))),
    "invite-bot": _plain(lambda p, q: p.invite_bot(int(q["chat_id"]))),
    "frame": _frame,
    "install": _install,
    "finish-install": _plain(lambda p, q: p.finish_install()),
    "update-app": _plain(lambda p, q: p.update_app()),
    "uninstall": _plain(lambda p, q: p.uninstall(bool(q.get("clean", True)))),
    "robot": _robot,
    "item": _add_item,
    "email": _email,
    "faults": _plain(_fault),
    "switch": _plain(_switch),
    "expire-tokens": _plain(lambda p, q: p.expire_access_tokens()),
    "kill-refresh-tokens": _plain(lambda p, q: p.kill_refresh_tokens()),
    "go-down": _plain(lambda p, q: p.go_down("html" if q.get("how") == "html" else "drop")),
    "come-up": _plain(lambda p, q: p.come_up()),
    "move": _plain(lambda p, q: p.move_to(str(q["domain"]))),
}
