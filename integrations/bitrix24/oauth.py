"""The authorization server: is a token genuine, a new pair of tokens, the code flow."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode, urlsplit

import requests
from oauthlib.oauth2.rfc6749.errors import OAuth2Error
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from requests_oauthlib import OAuth2Session

from integrations.bitrix24.client import exchange
from integrations.bitrix24.errors import (
    AccessLost,
    CallRejected,
    TokenExpired,
    Unavailable,
    error_from,
)
from integrations.bitrix24.forms import as_dict, flag_of, int_of, text_of
from integrations.net import AddressGuard, ForbiddenAddress

MEMBER_ID = re.compile(r"^[0-9A-Za-z_-]{1,64}$")
DOMAIN = re.compile(r"^(?=.{1,253}$)[\w-]+(\.[\w-]+)*(:\d{1,5})?$")
DEFAULT_TOKEN_SECONDS = 3600
_DEFAULT_PORTS = {"https": 443, "http": 80}


class NotGenuine(CallRejected):
    """The authorization server does not confirm what was posted: store nothing, call nobody."""


class UnknownAuthorizationServer(CallRejected):
    """The claimed server is not in the allow-list: it gets neither tokens nor our secret."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True)


class AppCredentials(_Value):
    """The keys of one app registration; the secret goes to authorization servers only."""

    client_id: str
    client_secret: SecretStr


class Tokens(_Value):
    """A grant as the authorization server gave it. `client_endpoint` is "" if it named none."""

    access_token: str = Field(repr=False)
    refresh_token: str = Field(repr=False)
    expires_at: datetime
    client_endpoint: str
    server_endpoint: str
    member_id: str
    scope: tuple[str, ...] = ()
    status: str = ""
    user_id: int | None = None


class AppInfo(_Value):
    """What the authorization server says about a token: the only evidence of who sent it."""

    client_id: str
    user_id: int
    member_id: str
    domain: str
    client_endpoint: str
    scope: tuple[str, ...] = ()
    status: str = ""
    installed: bool = False

    def require(self, *, client_id: str, member_id: str, domain: str = "") -> None:
        """Raises: NotGenuine, unless these are the app, portal and (if given) domain posted."""
        if self.client_id != client_id:
            raise NotGenuine("the token belongs to another application")
        if self.member_id != member_id:
            raise NotGenuine("the token belongs to another portal")
        hosts = {self.domain.casefold(), urlsplit(self.client_endpoint).netloc.casefold()}
        if domain and domain.casefold() not in hosts:
            raise NotGenuine("the token belongs to another domain")


def split_scope(value: Any) -> tuple[str, ...]:
    """Scopes separated by commas or spaces, both occur (api-reference/common/events)."""
    if isinstance(value, list | tuple):
        return tuple(text_of(one) for one in value)
    return tuple(one for one in re.split(r"[,\s]+", text_of(value)) if one)


def origin_of(url: str) -> str:
    """`https://oauth.bitrix24.tech/rest/` -> `https://oauth.bitrix24.tech`.

    Raises: UnknownAuthorizationServer when it is no http(s) address or carries credentials.
    """
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        raise UnknownAuthorizationServer(
            "the authorization server's address is malformed"
        ) from None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or "@" in parts.netloc:
        raise UnknownAuthorizationServer("the authorization server's address is malformed")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname.rstrip(".")
    shown = "" if port in (None, _DEFAULT_PORTS[parts.scheme]) else f":{port}"
    return f"{parts.scheme}://{host}{shown}"


def pick_server(claimed: str | None, allowed: Sequence[str]) -> str:
    """The origin of the allowed server that a request named; the first one if it named none.

    Raises: UnknownAuthorizationServer. Source: settings/oauth/index.
    """
    origins = [origin_of(one) for one in allowed]
    if not origins:
        raise UnknownAuthorizationServer("no authorization server is configured")
    if not claimed:
        return origins[0]
    origin = origin_of(claimed)
    if origin not in origins:
        raise UnknownAuthorizationServer("the named authorization server is not in the allow-list")
    return origin


def authorize_url(domain: str, client_id: str, state: str, *, scheme: str = "https") -> str:
    """Where to send the browser. The return address is the one of the app's registration.

    Raises: ValueError when the domain is none. Source: settings/oauth/index.
    """
    if not DOMAIN.match(domain):
        raise ValueError("not a portal's domain")
    query = urlencode({"client_id": client_id, "state": state})
    return f"{scheme}://{domain}/oauth/authorize/?{query}"


class AuthorizationServer:
    """One server of the allow-list."""

    def __init__(
        self,
        base_url: str | None,
        *,
        allowed: Sequence[str],
        guard: AddressGuard,
        session: requests.Session,
    ) -> None:
        self.origin = pick_server(base_url, allowed)
        self._guard = guard
        self._session = session

    def app_info(self, access_token: str) -> AppInfo:
        """Whose token this is. Compare the answer with what was posted: `AppInfo.require`.

        Raises: NotGenuine on any doubt; Unavailable when the server did not answer (no verdict).
        Source: settings/oauth/simple-way.
        """
        if not access_token:
            raise NotGenuine("no access token was given")
        try:
            body = self._get("/rest/app.info/", {"auth": access_token}, name="app.info")
        except Unavailable:
            raise
        except (CallRejected, TokenExpired, AccessLost) as error:
            code = error.code
            raise NotGenuine(
                "the authorization server does not know this token", code=code
            ) from None
        return self._read_app_info(as_dict(body.get("result")))

    def refresh(self, app: AppCredentials, refresh_token: str) -> Tokens:
        """Exchange a refresh token for a new pair. Store the pair before doing anything else.

        Only after `expired_token`, never on a schedule: automation may block the app.
        Raises: AccessLost (app removed, not paid for, token dead), Unavailable, CallRejected.
        Source: settings/oauth/auto-renewal.
        """
        body = self._ask_for_tokens(
            {
                "grant_type": "refresh_token",
                "client_id": app.client_id,
                "client_secret": app.client_secret.get_secret_value(),
                "refresh_token": refresh_token,
            },
            name="oauth.refresh",
        )
        return self._read_tokens({"refresh_token": refresh_token, **_filled(body)})

    def exchange_code(self, app: AppCredentials, code: str) -> Tokens:
        """Exchange the code of the browser's return, which lives 30 s, for tokens.

        Raises: AccessLost (code bad or too old), Unavailable, CallRejected.
        Source: settings/oauth/index.
        """
        flow = _CodeFlow(app.client_id, server=self)
        try:
            token = flow.fetch_token(
                "https://authorization.server/oauth/token/",
                code=code,
                method="GET",
                include_client_id=True,
                client_secret=app.client_secret.get_secret_value(),
            )
        except OAuth2Error:
            token = {}
        return self._read_tokens(token)

    def _ask_for_tokens(self, query: Mapping[str, str], *, name: str) -> dict[str, Any]:
        try:
            return self._get("/oauth/token/", query, name=name)
        except TokenExpired as error:
            refused = error
        # nothing is left to refresh with: here it means that the grant is no more
        # (settings/oauth/error-codes)
        raise AccessLost(
            str(refused),
            state="gone" if refused.code.upper() == "NO_AUTH_FOUND" else "broken",
            code=refused.code,
            status=refused.status,
            method=name,
        )

    def _get(self, path: str, query: Mapping[str, str], *, name: str) -> dict[str, Any]:
        answer, failure = exchange(
            self._session,
            "GET",
            self.origin + path,
            params=query,
            headers={"Accept": "application/json"},
            name=name,
        )
        if failure or answer is None:
            raise failure or Unavailable(f"{name}: no answer", method=name)
        body = answer.body
        # errors may come with HTTP 200 (wrong_client), so the key decides
        if answer.status == 200 and isinstance(body, dict) and "error" not in body:
            return body
        raise error_from(
            answer.status,
            body,
            method=name,
            retry_after=answer.retry_after,
            secrets=[value for key, value in query.items() if key != "grant_type"],
        )

    def _read_app_info(self, result: dict[str, Any]) -> AppInfo:
        install = as_dict(result.get("install"))
        client_id, user_id = text_of(result.get("client_id")), int_of(result.get("user_id"))
        member_id = text_of(install.get("member_id"))
        endpoint = text_of(install.get("client_endpoint"))
        if not client_id or user_id is None or not MEMBER_ID.match(member_id):
            raise NotGenuine("the authorization server's answer names no app, user or portal")
        domain = text_of(install.get("domain")) or urlsplit(endpoint).netloc
        if not DOMAIN.match(domain):
            raise NotGenuine("the authorization server's answer names no domain")
        return AppInfo(
            client_id=client_id,
            user_id=user_id,
            member_id=member_id,
            domain=domain,
            client_endpoint=self._endpoint(endpoint),
            scope=split_scope(result.get("scope") or install.get("scope")),
            status=text_of(install.get("status")),
            installed=flag_of(install.get("installed")),
        )

    def _endpoint(self, url: str) -> str:
        try:
            self._guard.check_form(url)
        except ForbiddenAddress:
            raise NotGenuine("the portal's address is not allowed here") from None
        return url.rstrip("/") + "/"

    def _read_tokens(self, body: Mapping[str, Any]) -> Tokens:
        access, refresh = text_of(body.get("access_token")), text_of(body.get("refresh_token"))
        member_id = text_of(body.get("member_id"))
        if not access or not refresh or not MEMBER_ID.match(member_id):
            raise Unavailable("oauth.token: the answer holds no tokens", outcome_unknown=True)
        seconds = int_of(body.get("expires_in"))
        if seconds is None or not 0 < seconds <= 30 * 24 * 3600:
            seconds = DEFAULT_TOKEN_SECONDS
        endpoint = text_of(body.get("client_endpoint"))
        return Tokens(
            access_token=access,
            refresh_token=refresh,
            # by our own clock: the server's `expires` is only as good as its clock
            expires_at=datetime.now(UTC) + timedelta(seconds=seconds),
            client_endpoint=self._endpoint(endpoint) if endpoint else "",
            server_endpoint=text_of(body.get("server_endpoint")) or f"{self.origin}/rest/",
            member_id=member_id,
            scope=split_scope(body.get("scope")),
            status=text_of(body.get("status")),
            user_id=int_of(body.get("user_id")),
        )


def _filled(body: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if value not in (None, "")}


class _CodeFlow(OAuth2Session):
    """The library's code flow, sent through our own guarded exchange.

    The library insists on https; the guard is the judge here, because a stand on the loopback
    may speak http. So the library sees a stand-in address, and the request goes to the server.
    """

    def __init__(self, client_id: str, *, server: AuthorizationServer) -> None:
        super().__init__(client_id)
        self._server = server

    def request(self, method: str, url: str, **kwargs: Any) -> requests.Response:  # type: ignore[override]  # narrower on purpose: only fetch_token calls it
        body = self._server._ask_for_tokens(kwargs["params"], name="oauth.code")
        response = requests.Response()
        response.status_code = 200
        response.request = requests.Request(method, url).prepare()
        response._content = json.dumps(
            {**body, "scope": " ".join(split_scope(body.get("scope")))}
        ).encode()
        return response
