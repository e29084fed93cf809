"""A REST client for a portal: one HTTP session per process, tokens and limits from the database."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache

import requests
from django.conf import settings
from django.utils import timezone

from bx_gpt_app.portals.limiter import DatabaseLimiter
from bx_gpt_app.portals.models import AppRegistration, Grant, Portal
from bx_gpt_app.portals.registrations import allowed_servers
from bx_gpt_app.portals.tokens import GrantTokens
from integrations.bitrix24.client import PortalClient, TokenSource
from integrations.bitrix24.errors import AccessLost
from integrations.bitrix24.limiter import MemoryLimiter
from integrations.bitrix24.oauth import AuthorizationServer, pick_server
from integrations.net import AddressGuard, open_session


class FixedToken:
    """A token that came with a request and is used for that request only."""

    def __init__(self, token: str) -> None:
        self._token = token

    def access_token(self) -> str:
        return self._token

    def renew(self, stale: str) -> str:
        raise AccessLost("The posted token is not accepted.", state="broken", code="invalid_token")


@cache
def address_guard() -> AddressGuard:
    return AddressGuard(allow_private=settings.ALLOW_PRIVATE_NETWORK or settings.DEMO)


@cache
def http_session() -> requests.Session:
    """As many pooled connections as there are threads: a session per call costs a TLS handshake."""
    threads = max(settings.WORKER_CONCURRENCY, settings.WEB_THREADS)
    return open_session(threads, guard=address_guard())


def authorization_server(app: AppRegistration, claimed: str = "") -> AuthorizationServer:
    """The server that may be asked for this portal.

    Raises: UnknownAuthorizationServer when the claimed one is not on the allow-list.
    """
    allowed = allowed_servers(app)
    return AuthorizationServer(
        pick_server(claimed or None, allowed),
        allowed=allowed,
        guard=address_guard(),
        session=http_session(),
    )


def client_with(
    portal: Portal, tokens: TokenSource, *, pause: Callable[[float], None] = time.sleep
) -> PortalClient:
    """A client for one portal; one that is not stored yet is limited in memory only."""
    if portal._state.adding:
        return PortalClient(
            endpoint=portal.client_endpoint,
            tokens=tokens,
            limiter=MemoryLimiter(),
            session=http_session(),
            guard=address_guard(),
        )

    def moved(endpoint: str) -> None:
        Portal.objects.filter(pk=portal.pk).update(
            client_endpoint=endpoint, domain=endpoint.split("://", 1)[-1].split("/", 1)[0]
        )
        portal.refresh_from_db(fields=["client_endpoint", "domain"])

    return PortalClient(
        endpoint=portal.client_endpoint,
        tokens=tokens,
        limiter=DatabaseLimiter(portal.pk),
        session=http_session(),
        guard=address_guard(),
        on_moved=moved,
        sleep=pause,
    )


def client_for(
    portal: Portal,
    user_id: int | None = None,
    *,
    pause: Callable[[float], None] = time.sleep,
) -> PortalClient:
    """A client that acts as the installation, or as one operator by his own grant.

    `pause` waits before a request that has to (its turn, a repeat); what it raises ends the call.
    Raises: AccessLost when there is no such grant.
    """
    grants = Grant.objects.filter(portal=portal)
    if user_id is None:
        grant = grants.filter(kind=Grant.Kind.INSTALLATION).first()
    else:
        # The installer's own tokens live in the installation grant.
        grant = grants.filter(user_id=user_id).order_by("kind").first()
    if grant is None:
        raise AccessLost(
            "There is no token: an administrator must open the app."
            if user_id is None
            else "This operator must open the app's panel once more.",
            state="broken",
            code="no_grant",
        )
    grant.portal = portal  # known already: reading it again would decrypt its secrets again
    server = authorization_server(portal.registration, portal.server_endpoint)
    return client_with(portal, GrantTokens(grant, server), pause=pause)


def lose_access(portal: Portal, error: AccessLost) -> None:
    """The portal stops with a sentence for its admin.

    "Application not found" may also be a passing fault of the portal, so it is no uninstall: only a
    proven event is. Any administrator's visit brings the portal back.
    """
    state = Portal.State.BROKEN if error.state == "gone" else error.state
    portal.move_to(state, str(error))


def note_success(portal: Portal) -> None:
    """The portal answers: forget that it was down (at most one write a minute)."""
    now = timezone.now()
    fresh = portal.last_call_at and (now - portal.last_call_at).total_seconds() < 60
    if fresh and portal.down_since is None:
        return
    portal.last_call_at, portal.down_since = now, None
    portal.save(update_fields=["last_call_at", "down_since"])


def note_failure(portal: Portal, error: Exception, *, down: bool) -> None:
    """Remember the last problem for the admin; `down` when the portal did not answer at all."""
    portal.last_error, portal.last_error_at = str(error)[:300], timezone.now()
    if down and portal.down_since is None:
        portal.down_since = timezone.now()
    portal.save(update_fields=["last_error", "last_error_at", "down_since"])
