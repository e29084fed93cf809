"""Rows for tests: plain functions with defaults."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone

from bx_gpt_app.assistant import store
from bx_gpt_app.assistant.config import PortalConfig, check_config
from bx_gpt_app.assistant.models import Dialog, Message
from bx_gpt_app.portals.models import AppRegistration, Grant, Line, Portal

MEMBER_ID = "0123456789abcdef0123456789abcdef"
APPLICATION_TOKEN = "51ab51ab51ab51ab51ab51ab51ab51ab"


def make_app(code: str = "default", **values: Any) -> AppRegistration:
    defaults = {"client_id": "local.test", "client_secret": "test-client-secret"}
    return AppRegistration.objects.get_or_create(code=code, defaults={**defaults, **values})[0]


def make_portal(*, grant: bool = True, **values: Any) -> Portal:
    """An installed, working portal with an installation grant of its admin (user 1)."""
    defaults: dict[str, Any] = {
        "member_id": MEMBER_ID,
        "domain": "acme.bitrix24.ru",
        "client_endpoint": "https://acme.bitrix24.ru/rest/",
        "server_endpoint": "",
        "application_token": APPLICATION_TOKEN,
        "scope": ["crm", "im", "imbot", "imopenlines", "placement", "bizproc", "user_brief"],
        "state": Portal.State.ACTIVE,
        "installed_at": timezone.now(),
        "bot_id": 456,
    }
    app = values.pop("registration", None) or make_app()
    portal = Portal.objects.create(registration=app, **{**defaults, **values})
    if grant:
        make_grant(portal)
    return portal


def make_grant(portal: Portal, **values: Any) -> Grant:
    defaults: dict[str, Any] = {
        "kind": Grant.Kind.INSTALLATION,
        "user_id": 1,
        "user_name": "Анна Иванова",
        "is_admin": True,
        "access_token": "access-1",
        "refresh_token": "refresh-1",
        "expires_at": timezone.now() + timedelta(hours=1),
    }
    return Grant.objects.create(portal=portal, **{**defaults, **values})


def make_line(portal: Portal, line_id: int = 22, **values: Any) -> Line:
    return Line.objects.create(portal=portal, line_id=line_id, **{"title": "Сайт", **values})


def configure(portal: Portal, **parts: Any) -> PortalConfig:
    """Save a configuration made of the defaults and these top-level parts."""
    config = check_config({"version": 1, **parts})
    store.save(portal, config, by="test")
    return config


def make_dialog(portal: Portal, chat_id: int = 112, **values: Any) -> Dialog:
    defaults: dict[str, Any] = {
        "kind": Dialog.Kind.CHAT,
        "line_id": 22,
        "connector": "livechat",
        "entity_id": "livechat|22|1761|880",
        "session_id": 4411,
        "client_name": "Иван",
        "history_loaded": True,
        "last_message_at": timezone.now(),
    }
    return Dialog.objects.create(portal=portal, key=str(chat_id), **{**defaults, **values})


def make_message(dialog: Dialog, text: str, *, author: str = "client", **values: Any) -> Message:
    last = dialog.messages.order_by("-external_id").first()
    external_id = (last.external_id or 90100 if last else 90100) + 1
    defaults = {"external_id": external_id, "author_name": "Иван"}
    message = Message.objects.create(
        dialog=dialog, author=author, text=text, **{**defaults, **values}
    )
    Dialog.objects.filter(pk=dialog.pk).update(newest_message_id=message.external_id)
    dialog.refresh_from_db()
    return message
