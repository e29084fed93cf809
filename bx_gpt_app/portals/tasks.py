"""Work on a portal as a whole: binding, uninstalling, looking after its health."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta

from django.tasks import task
from django.utils import timezone

from bx_gpt_app.portals import bindings, lines
from bx_gpt_app.portals.clients import authorization_server, client_for, lose_access
from bx_gpt_app.portals.fields import refresh_catalogue
from bx_gpt_app.portals.install import Claim, install, uninstall
from bx_gpt_app.portals.models import AppRegistration, Grant, Portal
from integrations.bitrix24.crm import CONTACT, LEAD
from integrations.bitrix24.errors import AccessLost, Bitrix24Error, CallRejected, Unavailable
from integrations.bitrix24.events import Incoming

logger = logging.getLogger(__name__)

IDLE_GRANT = timedelta(days=150)
"""A refresh token lives 180 days; an idle portal's is renewed before that
(settings/oauth/auto-renewal)."""

before_binding: list[Callable[[Portal], object]] = []
"""What higher packages do first: binding may change how the bot's events come."""
after_binding: list[Callable[[Portal], object]] = []
"""What higher packages do once a portal is bound (the assistant connects its lines)."""
after_leaving: list[Callable[[Portal], None]] = []
"""What higher packages erase when a portal leaves with its data."""


def bind_now(portal: Portal) -> dict[str, object]:
    """Bind everything, read lines and fields. Raises: AccessLost, Unavailable."""
    client = client_for(portal)
    for prepare in before_binding:
        prepare(portal)
    report = bindings.bind(portal, client)
    for part in (
        lambda: lines.sync_lines(portal, client),
        lambda: refresh_catalogue(portal, client, LEAD),
        lambda: refresh_catalogue(portal, client, CONTACT),
    ):
        try:
            part()
        except CallRejected as error:
            logger.warning("not read", extra={"portal": portal.pk, "code": error.code})
    for follow in after_binding:
        follow(portal)
    return report


@task()
def rebind(portal_id: int) -> None:
    """After an update everything of ours is gone from the portal; binding again is harmless."""
    portal = Portal.objects.select_related("registration").filter(pk=portal_id).first()
    if portal is None or portal.state != Portal.State.ACTIVE:
        return
    try:
        bind_now(portal)
    except AccessLost as error:
        lose_access(portal, error)


def install_by_callback(app: AppRegistration, incoming: Incoming) -> Portal:
    """ONAPPINSTALL or ONAPPUPDATE from the portal's server, proven by its tokens.

    Raises: NotGenuine, NotAdmin, Unavailable.
    """
    auth = incoming.auth
    portal, _visitor = install(
        app,
        Claim(
            member_id=auth.member_id,
            access_token=auth.access_token,
            refresh_token=auth.refresh_token,
            expires_in=auth.expires_in or 3600,
            domain=auth.domain,
            server_endpoint=auth.server_endpoint,
            application_token=auth.application_token,
            language=getattr(incoming.payload, "language", "") or "ru",
            scope=auth.scope,
        ),
    )
    rebind.enqueue(portal.pk)
    return portal


def leave(portal: Portal, *, clean: bool) -> None:
    def erase(gone: Portal) -> None:
        for follow in after_leaving:
            follow(gone)

    uninstall(portal, clean=clean, erase=erase)


@task(queue_name="background")
def look_at_licence(portal_id: int) -> None:
    """Ask the authorization server how the portal stands; bring it back when it is paid again."""
    portal = Portal.objects.select_related("registration").filter(pk=portal_id).first()
    grant = Grant.objects.filter(portal_id=portal_id, kind=Grant.Kind.INSTALLATION).first()
    if portal is None or grant is None or portal.state == Portal.State.GONE:
        return
    try:
        client_for(portal).call("profile", repeatable=True)
    except AccessLost as error:
        lose_access(portal, error)
        return
    except Bitrix24Error:
        return
    if portal.state == Portal.State.SUSPENDED:
        portal.move_to(Portal.State.ACTIVE)
    server = authorization_server(portal.registration, portal.server_endpoint)
    try:
        info = server.app_info(grant.access_token)
    except Bitrix24Error:
        return
    Portal.objects.filter(pk=portal.pk).update(licence=info.status)


@task(queue_name="background")
def check_portals() -> None:
    """Every hour: probe suspended portals, keep idle grants alive, sync lines, bind what is new."""
    for portal in Portal.objects.filter(state=Portal.State.SUSPENDED):
        look_at_licence.enqueue(portal.pk)
    for portal in Portal.objects.filter(state=Portal.State.ACTIVE, paused=False):
        check_portal.enqueue(portal.pk)


@task(queue_name="background")
def check_portal(portal_id: int) -> None:
    portal = Portal.objects.select_related("registration").filter(pk=portal_id).first()
    if portal is None or not portal.works:
        return
    grant = portal.grants.filter(kind=Grant.Kind.INSTALLATION).first()
    idle = grant is not None and grant.renewed_at < timezone.now() - IDLE_GRANT
    try:
        client = client_for(portal)
        if idle:
            client.call("profile", repeatable=True)
        lines.sync_lines(portal, client)
        if bindings.is_behind(portal):
            rebind.enqueue(portal.pk)
    except AccessLost as error:
        lose_access(portal, error)
    except (CallRejected, Unavailable) as error:
        logger.info("portal not checked", extra={"portal": portal.pk, "code": error.code})
