"""Tokens of a grant: kept fresh by exactly one refresh, however many callers fail at once.

The refresh is a network call, so no transaction or row lock is held while it runs (on SQLite that
would stop every writer). Instead one caller takes `refreshing_until` with a conditional update; the
others wait until the stored token differs from the one they were refused with. A holder that dies
is followed after HOLD_SECONDS. See docs/adr/0004-single-flight-refresh.md.
"""

from __future__ import annotations

import logging
import time
import uuid
from datetime import datetime, timedelta

from django.db.models import Q
from django.utils import timezone

from bx_gpt_app.common.database import give_back_connection
from bx_gpt_app.portals.models import Grant, Portal
from bx_gpt_app.portals.registrations import credentials
from integrations.bitrix24.errors import AccessLost, Bitrix24Error, Unavailable
from integrations.bitrix24.oauth import AuthorizationServer, Tokens

logger = logging.getLogger(__name__)

HOLD_SECONDS = 45
"""Longer than a refresh can take (connect 5 s + read 30 s)."""
WAIT_STEP_SECONDS = 0.1
EARLY = timedelta(seconds=60)
"""A token this close to its end is renewed before the call that is about to be made."""


class GrantTokens:
    """Access tokens of one grant for a PortalClient (its `TokenSource`)."""

    def __init__(self, grant: Grant, server: AuthorizationServer) -> None:
        self._grant = grant
        self._server = server

    def access_token(self) -> str:
        """The stored token; renewed first when its hour is certainly over.

        Raises: AccessLost when the grant is dead.
        """
        grant = self._grant
        if grant.dead_reason:
            raise AccessLost(grant.dead_reason, state="broken", code="grant_dead")
        if grant.expires_at and grant.expires_at < timezone.now() + EARLY and grant.refresh_token:
            return self.renew(grant.access_token)
        return str(grant.access_token)

    def renew(self, stale: str) -> str:
        """A token newer than the refused one.

        Raises: AccessLost (grant dead or app removed), Unavailable (authorization server down).
        Source: settings/oauth/auto-renewal.
        """
        deadline = time.monotonic() + HOLD_SECONDS + 5
        while time.monotonic() < deadline:
            self._grant.refresh_from_db()
            if self._grant.dead_reason:
                raise AccessLost(self._grant.dead_reason, state="broken", code="grant_dead")
            if self._grant.access_token != stale:
                return str(self._grant.access_token)
            holder = self._take()
            if holder:
                return self._refresh(holder)
            give_back_connection()
            time.sleep(WAIT_STEP_SECONDS)
        raise Unavailable("Another process renews this token for too long.", retry_in=5.0)

    def _take(self) -> str:
        """The right to refresh: empty when another caller has it."""
        holder, now = uuid.uuid4().hex, timezone.now()
        won = (
            Grant.objects.filter(pk=self._grant.pk)
            .filter(Q(refreshing_until__isnull=True) | Q(refreshing_until__lt=now))
            .update(refreshing_until=now + timedelta(seconds=HOLD_SECONDS), refreshing_by=holder)
        )
        return holder if won else ""

    def _refresh(self, holder: str) -> str:
        stale = self._grant.access_token
        # The pair may have been renewed between our look and our turn.
        self._grant.refresh_from_db()
        mine = Grant.objects.filter(pk=self._grant.pk, refreshing_by=holder)
        if self._grant.access_token != stale:
            mine.update(refreshing_until=None)
            return str(self._grant.access_token)
        portal = self._grant.portal
        try:
            app, refresh_token = credentials(portal.registration), self._grant.refresh_token
            if not refresh_token:
                raise AccessLost("There is no refresh token.", state="broken", code="invalid_grant")
            give_back_connection()
            tokens = self._server.refresh(app, refresh_token)
            if tokens.member_id and tokens.member_id != portal.member_id:
                raise AccessLost(
                    "The token is another portal's.", state="broken", code="invalid_grant"
                )
        except AccessLost as error:
            mine.update(refreshing_until=None, dead_reason=str(error)[:200])
            self._grant.dead_reason = str(error)[:200]
            logger.warning("grant lost", extra={"portal": portal.pk, "code": error.code})
            raise
        except Bitrix24Error:
            mine.update(refreshing_until=None)
            raise
        self._store(tokens, holder)
        return tokens.access_token

    def _store(self, tokens: Tokens, holder: str) -> None:
        grant = self._grant
        grant.access_token, grant.refresh_token = tokens.access_token, tokens.refresh_token
        grant.expires_at, grant.renewed_at = tokens.expires_at, timezone.now()
        grant.refreshing_until, grant.refreshing_by = None, ""
        grant.save(
            update_fields=[
                "access_token", "refresh_token", "expires_at", "renewed_at",
                "refreshing_until", "refreshing_by",
            ]
        )  # fmt: skip
        portal = grant.portal
        if tokens.client_endpoint and tokens.client_endpoint != portal.client_endpoint:
            portal.client_endpoint = tokens.client_endpoint
            portal.save(update_fields=["client_endpoint"])
        if tokens.scope and sorted(tokens.scope) != sorted(portal.scope):
            portal.scope = list(tokens.scope)
            portal.save(update_fields=["scope"])


def store_grant(
    portal: Portal,
    kind: str,
    *,
    user_id: int,
    access_token: str,
    refresh_token: str,
    expires_at: datetime | None,
    is_admin: bool,
    user_name: str = "",
) -> Grant:
    """Keep tokens that were verified just now. An installation grant moves to whoever came last."""
    values = {
        "user_name": user_name[:160],
        "is_admin": is_admin,
        "access_token": access_token,
        "refresh_token": refresh_token,
        "expires_at": expires_at,
        "renewed_at": timezone.now(),
        "dead_reason": "",
        "refreshing_until": None,
        "refreshing_by": "",
    }
    if kind == Grant.Kind.INSTALLATION:
        grant, _created = Grant.objects.update_or_create(
            portal=portal, kind=kind, defaults={**values, "user_id": user_id}
        )
    else:
        grant, _created = Grant.objects.update_or_create(
            portal=portal, kind=kind, user_id=user_id, defaults=values
        )
    return grant
