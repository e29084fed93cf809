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
from integrations.bitrix24.bots import BotProfile, bot_api
from integrations.bitrix24.client import PortalClient
from integrations.bitrix24.errors import (
    AccessLost,
    Bitrix24Error,
    LimitExceeded,
    MethodMissing,
    Unavailable,
)
from integrations.bitrix24.placements import BindReport, bind_everything, wanted_for

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
    installer = portal.grants.filter(kind=Grant.Kind.INSTALLATION).first()
    report: BindReport = bind_everything(
        client,
        wanted_for(base_url(portal), robot_user_id=installer.user_id if installer else 1),
    )
    portal.bindings = {
        "at": timezone.now().isoformat(),
        "base_url": base_url(portal),
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
        bot, portal.bot_api = (
            bot_api(client, "v2").register(bot_code(portal), events_url, profile),
            "v2",
        )
    except MethodMissing:
        bot = bot_api(client, "legacy").register(bot_code(portal), events_url, profile)
        portal.bot_api = "legacy"
    portal.bot_id = bot.id
    portal.save(update_fields=["bot_id", "bot_api"])


@cache
def _avatar() -> str:
    path = Path(__file__).resolve().parent.parent / "static" / "img" / "bot.png"
    return base64.b64encode(path.read_bytes()).decode() if path.is_file() else ""
