"""Everything of ours inside a portal: bot, events, pages, robots. Binding again changes nothing."""

from __future__ import annotations

import base64
import logging
from functools import cache
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils import timezone

from bx_gpt_app.portals.models import Grant, Portal
from integrations.bitrix24.bots import Bot, BotProfile, bot_api
from integrations.bitrix24.client import PortalClient
from integrations.bitrix24.errors import (
    AccessLost,
    Bitrix24Error,
    CallRejected,
    LimitExceeded,
    MethodMissing,
    Unavailable,
)
from integrations.bitrix24.placements import (
    BindReport,
    WantedBindings,
    bind_everything,
    wanted_for,
)

logger = logging.getLogger(__name__)

NEEDED_SCOPES: dict[str, tuple[str, str]] = {
    "imbot": ("the assistant's bot in chats", "бот-помощник в чатах"),
    "imopenlines": ("open lines and their dialogs", "открытые линии и диалоги"),
    "im": ("sending a suggestion as the operator", "отправка подсказки от имени оператора"),
    "crm": ("reading and filling CRM cards", "чтение и заполнение карточек CRM"),
    "placement": ("our panel beside the chat", "наша панель рядом с чатом"),
    "bizproc": ("automation rules and workflows", "роботы и бизнес-процессы"),
}
"""Scope → why it is needed, English and Russian. `user_brief` is welcome but not needed."""


def missing_scopes(portal: Portal) -> list[str]:
    granted = {str(name).lower() for name in portal.scope}
    return [name for name in NEEDED_SCOPES if name not in granted] if granted else []


def faults(portal: Portal) -> list[tuple[str, str]]:
    """What the portal refused: name → code. A line that keeps its own bot is a matter of the
    lines (`lines.failed_lines`)."""
    pairs = [(str(one[0]), str(one[1])) for one in portal.bindings.get("failed") or []]
    return [pair for pair in pairs if not pair[0].startswith("line ")]


def base_url(portal: Portal) -> str:
    """Where this portal's app registration lives on our host."""
    return f"{settings.PUBLIC_URL}/b24/{portal.registration.code}/"


def bot_code(portal: Portal) -> str:
    """Unique on the whole portal, so it carries the registration's name."""
    return f"ai_colleague_{portal.registration.code}"


def bind(portal: Portal, client: PortalClient) -> dict[str, Any]:
    """Register the bot, then bind events, pages and robots; keep and return the report.

    A part that fails (a missing scope, an old portal) is named in the report; the rest goes on.
    Raises: AccessLost, Unavailable.
    """
    failed: list[tuple[str, str]] = []
    try:
        _register_bot(portal, client)
    except (AccessLost, LimitExceeded, Unavailable):
        raise
    except Bitrix24Error as error:
        failed.append(("bot", error.code or str(error)[:100]))
    event_mode = mode_in_force(portal) if failed else _mode(portal.fetches_events)
    report: BindReport = bind_everything(client, _wanted(portal))
    portal.bindings = {
        "at": timezone.now().isoformat(),
        "base_url": base_url(portal),
        "event_mode": event_mode,
        "bound": [*report.done, *report.already, *(["bot"] if not failed else [])],
        "failed": [list(pair) for pair in (*failed, *report.failed)],
        "missing_scopes": missing_scopes(portal),
    }
    portal.save(update_fields=["bindings"])
    logger.info(
        "bound",
        extra={
            "portal": portal.pk,
            "done": len(report.done),
            "failed": len(portal.bindings["failed"]),
        },
    )
    return dict(portal.bindings)


def _wanted(portal: Portal) -> WantedBindings:
    installer = portal.grants.filter(kind=Grant.Kind.INSTALLATION).first()
    return wanted_for(base_url(portal), robot_user_id=installer.user_id if installer else 1)


def is_behind(portal: Portal) -> bool:
    """Does this release want more than the portal was ever asked for? Nobody tells it so."""
    told = {*portal.bindings.get("bound", []), *(pair[0] for pair in faults(portal))}
    return bool(portal.bindings) and not _wanted(portal).names <= told


def mode_in_force(portal: Portal) -> str:
    """How the bot's events come since it was last registered: `webhook` or `fetch`."""
    return str(portal.bindings.get("event_mode") or _mode(False))


def _mode(fetches: bool) -> str:
    return "fetch" if fetches else "webhook"


def _register_bot(portal: Portal, client: PortalClient) -> None:
    """By the new bot API; on portals that do not have it yet by the old one."""
    is_russian = portal.language == "ru"
    profile = BotProfile(
        name="ИИ" if is_russian else "AI",
        last_name="Помощник" if is_russian else "Assistant",
        position="Отвечает клиентам" if is_russian else "Answers clients",
        avatar=_avatar(),
    )
    events_url = f"{base_url(portal)}events/"
    try:
        bot, portal.bot_api = _register_new_bot(portal, client, events_url, profile), "v2"
    except MethodMissing:
        bot = bot_api(client, "legacy").register(bot_code(portal), events_url, profile)
        portal.bot_api, portal.fetches_events = "legacy", False
    if portal.bot_id != bot.id:
        # What was proven with another bot is not proven with this one.
        portal.lines.update(whisper_tested_at=None)
    portal.bot_id = bot.id
    portal.save(update_fields=["bot_id", "bot_api", "fetches_events"])


def _register_new_bot(
    portal: Portal, client: PortalClient, events_url: str, profile: BotProfile
) -> Bot:
    api = bot_api(client, "v2")
    try:
        wanted = "" if portal.fetches_events else events_url
        return api.register(bot_code(portal), wanted, profile)
    except MethodMissing:
        raise
    except CallRejected:
        if _mode(portal.fetches_events) == mode_in_force(portal):
            raise
        # The portal has taken the other mode before it refused the address: put it back, or
        # nobody would be told anything.
        portal.fetches_events = not portal.fetches_events
        portal.save(update_fields=["fetches_events"])
        api.register(bot_code(portal), "" if portal.fetches_events else events_url, profile)
        raise


@cache
def _avatar() -> str:
    path = Path(__file__).resolve().parent.parent / "static" / "img" / "bot.png"
    return base64.b64encode(path.read_bytes()).decode() if path.is_file() else ""
