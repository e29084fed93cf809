"""Texts that are not chat messages: a CRM item's own words, e-mails and web forms.

Source: api-reference/crm/timeline/activities (providers CRM_EMAIL and CRM_WEBFORM).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bs4 import BeautifulSoup
from django.utils import timezone

from bx_gpt_app.assistant.config import PortalConfig
from bx_gpt_app.assistant.models import Dialog, Message
from integrations.bitrix24.client import PortalClient
from integrations.bitrix24.crm import ItemRef, item_value
from integrations.bitrix24.errors import NotFound
from integrations.bitrix24.forms import as_dict, as_list, int_of, text_of
from integrations.llm.language import detect_language
from integrations.llm.values import Author

MAX_TEXT = 20_000
ITEM_TEXTS = ("TITLE", "COMMENTS", "SOURCE_DESCRIPTION", "ADDITIONAL_INFO")
INCOMING = 1


def keep_item_text(dialog: Dialog) -> None:
    """The item speaks for its client when the caller sent no text: title, comments, source."""
    for item in (dialog.item_snapshot or {}).values():
        parts = [_plain(text_of(item_value(item, name))) for name in ITEM_TEXTS]
        _keep(dialog, "\n".join(part for part in parts if part))


def keep_activity(
    dialog: Dialog, client: PortalClient, activity_id: int, config: PortalConfig
) -> None:
    """Read an activity: an incoming e-mail or a web form becomes the client's text.

    Other kinds, and channels that are switched off, leave the dialog without a question.
    """
    dialog.history_loaded = True
    try:
        activity = as_dict(client.call("crm.activity.get", {"id": activity_id}, repeatable=True))
    except NotFound:
        return
    provider = text_of(activity.get("PROVIDER_ID")).upper()
    text = ""
    if provider == "CRM_EMAIL" and config.channels.email:
        if int_of(activity.get("DIRECTION")) == INCOMING:
            body = _plain(text_of(activity.get("DESCRIPTION")))
            text = f"{text_of(activity.get('SUBJECT'))}\n{body}"
    elif provider == "CRM_WEBFORM" and config.channels.form:
        text = "\n".join(_form_fields(as_dict(activity.get("PROVIDER_PARAMS"))))
    owner = _owner(activity)
    if text.strip() and owner:
        dialog.items = [owner]
        dialog.title = text_of(activity.get("SUBJECT"))[:255]
        _keep(dialog, text)


def _form_fields(params: Mapping[str, Any]) -> Iterator[str]:
    for field in map(as_dict, as_list(params.get("FIELDS"))):
        name = text_of(field.get("caption")) or text_of(field.get("CAPTION"))
        value = field.get("value", field.get("VALUE"))
        values = ", ".join(text_of(one) for one in as_list(value)) or text_of(value)
        if values:
            yield f"{name}: {values}" if name else values


def _owner(activity: Mapping[str, Any]) -> str:
    type_id, item_id = int_of(activity.get("OWNER_TYPE_ID")), int_of(activity.get("OWNER_ID"))
    return str(ItemRef(type_id, item_id)) if type_id and item_id else ""


def _plain(html: str) -> str:
    """Text of an HTML body, without quoted earlier letters."""
    if "<" not in html:
        return html.strip()
    page = BeautifulSoup(html, "html.parser")
    for quoted in page(["blockquote", "style", "script", "head"]):
        quoted.decompose()
    return page.get_text("\n", strip=True)


def _keep(dialog: Dialog, text: str) -> None:
    text = text.strip()[:MAX_TEXT]
    if not text:
        return
    Message.objects.create(dialog=dialog, author=Author.CLIENT, text=text, at=timezone.now())
    dialog.language = detect_language(text, default=dialog.language or "ru")
