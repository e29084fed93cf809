"""Which part of the portal answers an address."""

from __future__ import annotations

import html
import json
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from integrations.bitrix24.local_portal.control import Control
from integrations.bitrix24.local_portal.php import dump_json, scalar
from integrations.bitrix24.local_portal.server import DROP, Request, Response, page
from integrations.bitrix24.local_portal.state import RestError

if TYPE_CHECKING:
    from integrations.bitrix24.local_portal.portal import LocalPortal

STATIC = Path(__file__).parent / "static"
STATIC_TYPES = {".js": "text/javascript; charset=utf-8", ".html": "text/html; charset=utf-8"}


class Routes:
    """Answers every HTTP request of one portal."""

    def __init__(self, portal: LocalPortal) -> None:
        self._portal = portal
        self._world = portal.world
        self._control = Control(portal)

    def answer(self, request: Request) -> Response:
        path = request.path
        if path.startswith("/_control/"):
            return self._control.answer(request)
        if path.startswith("/_static/"):
            return self._static(path.removeprefix("/_static/"))
        if path.startswith("/_portal/"):
            return self._own_page(request)
        if path.startswith("/oauth/token"):
            return self._token(request)
        if path == "/rest/app.info/" or (path == "/rest/app.info" and request.method == "GET"):
            return self._authority_app_info(request)
        if self._world.switches.down:
            return DROP if self._world.switches.down == "drop" else page(502, "Bad Gateway")
        if request.headers.get("host", "") in self._world.old_domains:
            return self._moved(request)
        if path.startswith("/oauth/authorize"):
            return self._authorize(request)
        if path == "/rest/download.json":
            return self._download(request)
        if path.startswith("/rest/"):
            return self._rest(request)
        return page(404 if path != "/" else 200, "Local Bitrix24 portal")

    # ------------------------------------------------------------------ REST

    def _rest(self, request: Request) -> Response:
        name = request.path.removeprefix("/rest/").strip("/").removesuffix(".json")
        if "/" in name:
            return _json(401, {"error": "INVALID_CREDENTIALS", "error_description": "Invalid"})
        try:
            params = request.params()
        except ValueError:
            return _json(400, {"error": "INVALID_REQUEST", "error_description": "Malformed body"})
        if self._world.options.latency_ms:
            time.sleep(self._world.options.latency_ms / 1000)
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        answer = self._portal.rest.answer(name, params, bearer)
        return DROP if answer.drop else _json(answer.status, answer.body)

    def _moved(self, request: Request) -> Response:
        world = self._world
        query = f"?{request.query}" if request.query else ""
        location = f"{world.scheme}://{world.domain}{request.path}{query}"
        return Response(302, b"<html>Moved</html>", "text/html", {"Location": location})

    def _download(self, request: Request) -> Response:
        params = request.query_params
        grant = self._world.authority.find(scalar(params.get("token", "")))
        file = self._world.files.get(int(scalar(params.get("file", "")) or 0))
        if grant is None or grant.expires_at < time.time() or file is None:
            return page(403, "Access denied")
        return Response(200, file["content"], "application/octet-stream")

    # ------------------------------------------------------------------ the authorization server

    def _token(self, request: Request) -> Response:
        fault = self._portal.rest.fault_for("oauth.token", any_method=False)
        if fault is not None and not fault.after_executing:
            return DROP if fault.drop else _json(fault.status, {"error": fault.error})
        try:
            answer = _json(200, self._world.authority.token(request.params()))
        except RestError as error:
            answer = _refused(error)
        if fault is not None:
            return DROP if fault.drop else _json(fault.status, {"error": fault.error})
        return answer

    def _authority_app_info(self, request: Request) -> Response:
        started = time.time()
        try:
            params = request.params()
            token = scalar(params.get("auth") or params.get("access_token") or "")
            result = self._world.authority.app_info(token)
        except RestError as error:
            return _refused(error)
        finished = time.time()
        moment = {
            "start": started,
            "finish": finished,
            "duration": finished - started,
            "processing": finished - started,
            "date_start": self._world.iso(started),
            "date_finish": self._world.iso(finished),
        }
        return _json(200, {"result": result, "time": moment})

    def _authorize(self, request: Request) -> Response:
        """The consent is given at once, by the administrator or by `user_id` of the query."""
        params, world = request.query_params, self._world
        if params.get("client_id") != world.options.client_id:
            return page(400, "Application not found")
        if world.installation.state == "absent":
            return page(400, "Application not installed")
        user_id = int(scalar(params.get("user_id", "1")))
        back = urlencode(
            {
                "code": world.authority.new_code(world, user_id),
                "state": scalar(params.get("state", "")),
                "domain": world.domain,
                "member_id": world.options.member_id,
                "scope": world.scope_text,
                "server_domain": world.oauth_url.partition("://")[2],
            }
        )
        location = f"{world.options.app_root}oauth/callback/?{back}"
        return Response(302, b"", "text/html", {"Location": location})

    # ------------------------------------------------------------------ pages

    @staticmethod
    def _static(name: str) -> Response:
        file = STATIC / name
        if "/" in name or not file.is_file():
            return page(404, "Not found")
        headers = {"Access-Control-Allow-Origin": "*", "Cache-Control": "no-cache"}
        return Response(200, file.read_bytes(), STATIC_TYPES[file.suffix], headers)

    def _own_page(self, request: Request) -> Response:
        """`/_portal/?key=…&user_id=7&placement=IM_SIDEBAR&chat_id=112`: one opened placement."""
        params = request.query_params
        options = self._world.options
        key = scalar(params.get("key", ""))
        if not options.control_enabled or not secrets.compare_digest(
            key.encode(), options.control_key.encode()
        ):
            return page(403, "The control key is wrong")
        user_id = int(scalar(params.get("user_id", "1")))
        if request.path == "/_portal/auth":
            return _json(200, self._fresh_auth(user_id))
        if request.path == "/_portal/finish":
            self._portal.finish_install()
            return _json(200, {"ok": True})
        form = self._portal.frame(
            user_id,
            scalar(params.get("placement", "DEFAULT")),
            _placement_options(params),
            scalar(params["path"]) if "path" in params else None,
        )
        if request.path == "/_portal/form":
            return _json(200, form.as_json())
        visitor = urlencode({"key": key, "user_id": user_id})
        about = {
            "form": form.as_json(),
            "form_url": f"/_portal/form?{visitor}",
            "auth_url": f"/_portal/auth?{visitor}",
            "finish_url": f"/_portal/finish?{urlencode({'key': key})}",
            "chat": self._shown_chat(params),
            "is_admin": self._world.users[user_id].admin,
            "pending": self._world.installation.state == "pending",
            "denied": [one for one in scalar(params.get("denied", "")).split(",") if one],
        }
        template = (STATIC / "portal.html").read_text()
        text = template.replace("{{about}}", html.escape(json.dumps(about), quote=True))
        return Response(200, text.encode(), "text/html; charset=utf-8")

    def _shown_chat(self, params: dict[str, Any]) -> dict[str, Any] | None:
        """The messages of the page's chat, and what applications hang into a message's menu."""
        world = self._world
        chat = world.chats.get(int(scalar(params.get("chat_id", "0")) or 0))
        if chat is None:
            return None
        with world.lock:
            return {
                "id": chat.id,
                "messages": [
                    {"id": one.id, "author": world.users[one.author_id].name, "text": one.text}
                    for one in world.messages_of(chat)
                    if one.author_id
                ],
                "menu": [
                    one.title for one in world.placements if one.placement == "IM_CONTEXT_MENU"
                ],
            }

    def _fresh_auth(self, user_id: int) -> dict[str, Any]:
        grant = self._world.authority.issue(self._world, user_id)
        return {
            "AUTH_ID": grant.access_token,
            "AUTH_EXPIRES": self._world.options.token_lifetime_seconds,
            "REFRESH_ID": grant.refresh_token,
        }


def _placement_options(params: dict[str, Any]) -> dict[str, Any] | None:
    if "options" in params:
        return dict(json.loads(scalar(params["options"])))
    if "chat_id" in params:
        message = {"messageId": scalar(params["message_id"])} if "message_id" in params else {}
        return {"dialogId": f"chat{scalar(params['chat_id'])}", **message}
    if "item_id" in params:
        return {"ID": scalar(params["item_id"])}
    return None


def _json(status: int, body: Any) -> Response:
    return Response(status, dump_json(body))


def _refused(error: RestError) -> Response:
    return _json(error.status, {"error": error.code, "error_description": error.description})
