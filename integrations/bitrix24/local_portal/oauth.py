"""The authorization server: issues, rotates and checks the tokens of one or several portals."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from integrations.bitrix24.local_portal.state import RestError, World

CODE_LIFETIME_SECONDS = 30  # settings/oauth/index
REFRESH_LIFETIME_SECONDS = 180 * 24 * 3600  # settings/oauth/auto-renewal
TOKENS_KEPT = 50_000


@dataclass(slots=True)
class Grant:
    """A pair of tokens of one user of one portal."""

    access_token: str
    refresh_token: str
    member_id: str
    user_id: int
    expires_at: float
    refresh_expires_at: float
    dead: bool = False


@dataclass(slots=True)
class Code:
    member_id: str
    user_id: int
    expires_at: float


class Authority:
    """Tokens of all portals that share this authorization server. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._worlds: dict[str, World] = {}
        self._by_access: OrderedDict[str, Grant] = OrderedDict()
        self._by_refresh: dict[str, Grant] = {}
        self._latest: dict[tuple[str, int], Grant] = {}
        self._codes: dict[str, Code] = {}
        self.refreshes = 0

    def serve(self, world: World) -> None:
        """Issue tokens for this portal too."""
        with self._lock:
            self._worlds[world.options.member_id] = world

    def issue(self, world: World, user_id: int) -> Grant:
        """A fresh pair for a user."""
        now = time.time()
        grant = Grant(
            access_token=secrets.token_hex(35),
            refresh_token=secrets.token_hex(35),
            member_id=world.options.member_id,
            user_id=user_id,
            expires_at=now + world.options.token_lifetime_seconds,
            refresh_expires_at=now + REFRESH_LIFETIME_SECONDS,
        )
        with self._lock:
            self._by_access[grant.access_token] = grant
            self._by_refresh[grant.refresh_token] = grant
            self._latest[(grant.member_id, user_id)] = grant
            while len(self._by_access) > TOKENS_KEPT:
                _, oldest = self._by_access.popitem(last=False)
                self._by_refresh.pop(oldest.refresh_token, None)
        return grant

    def current(self, world: World, user_id: int) -> Grant:
        """A pair that lives for at least half an hour more, or a fresh one: what events carry."""
        lifetime = world.options.token_lifetime_seconds
        with self._lock:
            grant = self._latest.get((world.options.member_id, user_id))
        if (
            grant is not None
            and not grant.dead
            and grant.refresh_token in self._by_refresh
            and grant.expires_at - time.time() > lifetime / 2
        ):
            return grant
        return self.issue(world, user_id)

    def find(self, access_token: str) -> Grant | None:
        with self._lock:
            return self._by_access.get(access_token)

    def expire_access(self, member_id: str) -> None:
        with self._lock:
            for grant in self._by_access.values():
                if grant.member_id == member_id:
                    grant.expires_at = 0.0

    def kill_refresh(self, member_id: str) -> None:
        with self._lock:
            for token, grant in list(self._by_refresh.items()):
                if grant.member_id == member_id:
                    del self._by_refresh[token]

    def kill_all(self, member_id: str) -> None:
        """Uninstalled: the tokens are remembered only to say why they are refused."""
        with self._lock:
            for grant in self._by_access.values():
                if grant.member_id == member_id:
                    grant.dead = True

    def new_code(self, world: World, user_id: int) -> str:
        code = secrets.token_hex(35)
        with self._lock:
            self._codes[code] = Code(
                world.options.member_id, user_id, time.time() + CODE_LIFETIME_SECONDS
            )
        return code

    # ------------------------------------------------------------------ /oauth/token/

    def token(self, params: dict[str, Any]) -> dict[str, Any]:
        """Answer of `/oauth/token/`.

        Source: settings/oauth/index, settings/oauth/auto-renewal, settings/oauth/error-codes
        """
        kind = params.get("grant_type")
        if kind not in {"refresh_token", "authorization_code"}:
            raise RestError("invalid_request", "Invalid grant_type parameter or parameter missing")
        self._check_client(params)
        if kind == "refresh_token":
            world, user_id = self._spend_refresh(str(params.get("refresh_token") or ""), params)
        else:
            world, user_id = self._spend_code(str(params.get("code") or ""))
        self._check_installed(world)
        grant = self.issue(world, user_id)
        with self._lock:
            self.refreshes += kind == "refresh_token"
        return {
            "access_token": grant.access_token,
            "expires": int(grant.expires_at),
            "expires_in": world.options.token_lifetime_seconds,
            "scope": world.scope_text,
            "domain": world.oauth_url.partition("://")[2],
            "server_endpoint": world.server_endpoint,
            "status": world.options.status,
            "client_endpoint": world.client_endpoint,
            "member_id": world.options.member_id,
            "user_id": user_id,
            "refresh_token": grant.refresh_token,
        }

    def _check_client(self, params: dict[str, Any]) -> None:
        client_id = params.get("client_id")
        with self._lock:
            options = [world.options for world in self._worlds.values()]
        known = [one for one in options if one.client_id == client_id]
        if not known:
            # The one error of this server that comes with HTTP 200.
            raise RestError("wrong_client", "Wrong client", 200)
        secret = str(params.get("client_secret") or "").encode()
        if not any(secrets.compare_digest(secret, one.client_secret.encode()) for one in known):
            raise RestError("invalid_client", "The client credentials are invalid")

    def _spend_refresh(self, token: str, params: dict[str, Any]) -> tuple[World, int]:
        if not token:
            raise RestError("invalid_request", 'No "refresh_token" parameter found')
        with self._lock:
            grant = self._by_refresh.get(token)
            world = self._worlds.get(grant.member_id) if grant else None
            if (
                grant is None
                or world is None
                or world.options.client_id != params.get("client_id")
                or grant.refresh_expires_at < time.time()
            ):
                raise RestError("invalid_grant", "Invalid refresh token")
            if grant.dead:
                raise RestError("NOT_INSTALLED", "Application not installed", 401)
            if world.switches.payment_required:
                raise RestError("PAYMENT_REQUIRED", "Payment required", 401)
            del self._by_refresh[token]
        return world, grant.user_id

    def _spend_code(self, text: str) -> tuple[World, int]:
        with self._lock:
            code = self._codes.pop(text, None)
            if code is None or code.expires_at < time.time():
                raise RestError("invalid_grant", "Invalid authorization code")
            return self._worlds[code.member_id], code.user_id

    @staticmethod
    def _check_installed(world: World) -> None:
        if world.installation.state == "absent":
            raise RestError("NOT_INSTALLED", "Application not installed", 401)
        if world.switches.payment_required:
            raise RestError("PAYMENT_REQUIRED", "Payment required", 401)

    # ------------------------------------------------------------------ /rest/app.info/

    def app_info(self, access_token: str) -> dict[str, Any]:
        """What the authorization server knows about a token: the only proof of who sent it.

        Source: settings/oauth/simple-way
        """
        grant = self.find(access_token) if access_token else None
        if grant is None:
            if len(access_token) == 70 and access_token.isalnum():
                raise RestError("invalid_client", "Invalid token")
            raise RestError("NO_AUTH_FOUND", "Wrong authorization data", 401)
        if grant.dead:
            raise RestError("NOT_INSTALLED", "Application not installed", 401)
        if grant.expires_at < time.time():
            raise RestError("expired_token", "The access token provided has expired.", 401)
        with self._lock:
            world = self._worlds[grant.member_id]
        if world.switches.payment_required:
            raise RestError("PAYMENT_REQUIRED", "Payment required", 401)
        return {
            "client_id": world.options.client_id,
            "scope": world.scope_text,
            "expires": world.iso(grant.expires_at),
            "user_id": grant.user_id,
            "install": {
                "installed": world.installation.state == "installed",
                "version": world.installation.version,
                "status": world.options.status,
                "scope": world.scope_text,
                "domain": world.domain,
                "uri": f"{world.scheme}://{world.domain}/",
                "client_endpoint": world.client_endpoint,
                "member_id": world.options.member_id,
                "member_type": "bitrix24",
            },
        }
