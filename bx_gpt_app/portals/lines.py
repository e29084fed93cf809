"""Open lines of a portal: known, connected to our bot, and put back as they were.

Source: api-reference/imopenlines/openlines/imopenlines-config-update (the four WELCOME_BOT settings
go together).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection

from django.utils import timezone

from bx_gpt_app.portals.models import Line, Portal
from integrations.bitrix24.client import PortalClient
from integrations.bitrix24.errors import AccessLost, Bitrix24Error, CallRejected, Unavailable
from integrations.bitrix24.openlines import (
    WorkingHours,
    connect_bot,
    list_lines,
    read_line,
    restore_bot,
)

logger = logging.getLogger(__name__)


def sync_lines(portal: Portal, client: PortalClient) -> list[Line]:
    """Read the portal's lines into our rows; lines that are gone there are gone here."""
    seen: list[int] = []
    for told in list_lines(client):
        seen.append(told.id)
        Line.objects.update_or_create(
            portal=portal,
            line_id=told.id,
            defaults={
                "title": told.title[:255],
                "active": told.active,
                "working_hours": told.hours.model_dump(mode="json"),
                "seen_at": timezone.now(),
            },
        )
    portal.lines.exclude(line_id__in=seen).delete()
    return list(portal.lines.all())


OTHER_BOT = "other_bot"
"""Another bot answers in this line; ours takes its place only when an administrator says so."""


def failed_lines(portal: Portal) -> dict[int, str]:
    """Line id → why our bot is not in it, as it was told when the modes were carried out last."""
    pairs = [(str(one[0]), str(one[1])) for one in portal.bindings.get("failed") or []]
    return {int(name[5:]): why for name, why in pairs if re.fullmatch(r"line \d+", name)}


def connect_lines(
    portal: Portal,
    client: PortalClient,
    wanted: Collection[int],
    *,
    chosen: Collection[int] = (),
) -> dict[int, str]:
    """Put our bot into the wanted lines and take it out of the others.

    In a line that was not `chosen` by name another bot is left in its place. Returns what failed:
    line id → reason. What a line had before is kept until it is put back.
    """
    failed: dict[int, str] = {}
    for line in portal.lines.all():
        try:
            if line.line_id in wanted and portal.bot_id:
                if not _connect(line, client, portal.bot_id, by_force=line.line_id in chosen):
                    failed[line.line_id] = OTHER_BOT
            elif line.connected:
                _disconnect(line, client)
        except (AccessLost, Unavailable):
            raise
        except (CallRejected, Bitrix24Error) as error:
            failed[line.line_id] = error.code or str(error)[:100]
            logger.warning(
                "line not connected",
                extra={"portal": portal.pk, "line": line.line_id, "code": error.code},
            )
    return failed


def _connect(line: Line, client: PortalClient, bot_id: int, *, by_force: bool) -> bool:
    """False when another bot sits there and nobody chose ours for this line."""
    if not by_force and not line.connected:
        sitting = read_line(client, line.line_id).welcome_bot_id
        if sitting not in (None, bot_id):
            return False
    previous = connect_bot(client, line.line_id, bot_id)
    ours = previous.get("WELCOME_BOT_ID") == str(bot_id)
    if not line.connected and not ours:
        line.previous_bot = previous
    line.connected = True
    line.save(update_fields=["previous_bot", "connected"])
    return True


def _disconnect(line: Line, client: PortalClient) -> None:
    restore_bot(client, line.line_id, line.previous_bot or {})
    line.connected, line.previous_bot = False, None
    line.save(update_fields=["previous_bot", "connected"])


def is_open(portal: Portal, line_id: int | None) -> bool:
    """Is it working time in this line? Unknown hours are open ones."""
    line = portal.lines.filter(line_id=line_id).first() if line_id else None
    if line is None or not line.working_hours:
        return True
    return WorkingHours.model_validate(line.working_hours).is_open(timezone.now())
