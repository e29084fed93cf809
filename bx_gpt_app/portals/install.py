"""A portal comes, comes back, is updated, leaves. Nothing is believed before it is verified.

Source: settings/app-installation/installation-finish, settings/oauth/simple-way,
api-reference/common/events/on-app-install, on-app-update, on-app-uninstall.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from bx_gpt_app.portals.clients import FixedToken, authorization_server, client_with
from bx_gpt_app.portals.models import AppRegistration, Grant, Portal
from bx_gpt_app.portals.tokens import store_grant
from integrations.bitrix24.client import Command
from integrations.bitrix24.forms import as_dict

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Claim:
    """What a POST says of itself. True only after `verify`."""

    member_id: str
    access_token: str
    refresh_token: str
    expires_in: int
    domain: str
    server_endpoint: str
    application_token: str
    language: str = "ru"
    scope: tuple[str, ...] = ()


@dataclass(frozen=True)
class Visitor:
    """The employee behind a verified token."""

    user_id: int
    name: str
    is_admin: bool
    time_zone: str


class NotAdmin(Exception):
    """Only an administrator of the portal can install the app."""


def install(app: AppRegistration, claim: Claim) -> tuple[Portal, Visitor]:
    """Verify the claim, keep the portal and its tokens. Binding is the caller's next step.

    Raises: NotGenuine, UnknownAuthorizationServer (nothing stored), NotAdmin, Unavailable.
    """
    server = authorization_server(app, claim.server_endpoint)
    info = server.app_info(claim.access_token)
    info.require(client_id=app.client_id, member_id=claim.member_id, domain=claim.domain)
    # Not saved yet: a portal that fails its first calls leaves nothing behind.
    portal = Portal.objects.filter(registration=app, member_id=info.member_id).first() or Portal(
        registration=app, member_id=info.member_id
    )
    portal.client_endpoint, portal.domain = info.client_endpoint, info.domain or claim.domain
    portal.server_endpoint = claim.server_endpoint
    visitor, facts = _who(portal, claim.access_token, info.user_id)
    if not visitor.is_admin:
        raise NotAdmin
    portal.scope = list(facts.scope or info.scope or claim.scope)
    portal.licence = info.status or ""
    portal.app_code = facts.code
    portal.app_version = facts.version
    portal.language = "ru" if claim.language in ("ru", "kz", "by", "") else "en"
    portal.time_zone = visitor.time_zone or portal.time_zone
    returning = portal.state in (Portal.State.GONE, Portal.State.BROKEN, Portal.State.SUSPENDED)
    with transaction.atomic():
        if claim.application_token:
            portal.application_token = claim.application_token
        portal.state, portal.state_reason = Portal.State.ACTIVE, ""
        portal.state_changed_at = timezone.now()
        portal.installed_at = timezone.now()
        portal.uninstalled_at = None
        if returning:
            portal.session_epoch += 1
        portal.save()
        keep_grant(portal, claim, visitor, installation=True)
    logger.info("installed", extra={"portal": portal.pk, "user": visitor.user_id})
    return portal, visitor


@dataclass(frozen=True)
class _Facts:
    scope: tuple[str, ...]
    code: str
    version: str


def _who(portal: Portal, access_token: str, user_id: int | None) -> tuple[Visitor, _Facts]:
    """Who holds the token and what the portal says of the app: one batch, no scope needed."""
    client = client_with(portal, FixedToken(access_token))
    reply = client.batch(
        {
            "profile": Command("profile", {}),
            "admin": Command("user.admin", {}),
            "app": Command("app.info", {}),
            "scope": Command("scope", {}),
        }
    )
    profile, app = as_dict(reply.get("profile")), as_dict(reply.get("app"))
    scope = reply.get("scope")
    visitor = Visitor(
        user_id=int(profile.get("ID") or user_id or 0),
        name=" ".join(str(profile.get(k) or "") for k in ("NAME", "LAST_NAME")).strip(),
        is_admin=_is_true(profile.get("ADMIN")) or _is_true(reply.get("admin")),
        time_zone=str(profile.get("TIME_ZONE") or ""),
    )
    facts = _Facts(
        scope=tuple(str(name) for name in scope) if isinstance(scope, list) else (),
        code=str(app.get("CODE") or ""),
        version=str(app.get("VERSION") or ""),
    )
    return visitor, facts


def _is_true(value: Any) -> bool:
    return value is True or str(value).lower() in ("1", "y", "true")


def uninstall(portal: Portal, *, clean: bool, erase: Callable[[Portal], None]) -> None:
    """Proven by application_token: secrets go at once, work stops; with `clean` the data too."""
    with transaction.atomic():
        portal.grants.all().delete()
        portal.application_token = ""
        portal.hook_token_hash = ""
        portal.bot_id = None
        portal.bindings = {}
        portal.session_epoch += 1
        portal.uninstalled_at = timezone.now()
        portal.state, portal.state_reason = Portal.State.GONE, ""
        portal.state_changed_at = timezone.now()
        portal.save()
    logger.info("uninstalled", extra={"portal": portal.pk, "clean": clean})
    if clean:
        erase(portal)


def keep_grant(
    portal: Portal, claim: Claim, visitor: Visitor, *, installation: bool = False
) -> Grant.Kind:
    """Keep a visitor's verified tokens; returns as what. One refresh token lives in one row only,
    because it rotates: the installer's own calls use the installation grant."""
    current = portal.grants.filter(kind=Grant.Kind.INSTALLATION).first()
    stopped = portal.state in (Portal.State.BROKEN, Portal.State.SUSPENDED)
    mends = visitor.is_admin and (current is None or bool(current.dead_reason) or stopped)
    same_person = current is not None and current.user_id == visitor.user_id
    kind = Grant.Kind.INSTALLATION if installation or mends or same_person else Grant.Kind.USER
    store_grant(
        portal,
        kind,
        user_id=visitor.user_id,
        access_token=claim.access_token,
        refresh_token=claim.refresh_token,
        expires_at=timezone.now() + timedelta(seconds=claim.expires_in),
        is_admin=visitor.is_admin,
        user_name=visitor.name,
    )
    if mends and stopped:
        portal.move_to(Portal.State.ACTIVE)
    return kind


def visitor_of(portal: Portal, access_token: str, user_id: int | None) -> Visitor:
    """Raises: Bitrix24Error when the portal refuses the token."""
    return _who(portal, access_token, user_id)[0]
