"""The POST with which the portal opens our page in a frame."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from integrations.bitrix24.crm_items import ItemRef, entity_type_id
from integrations.bitrix24.forms import as_dict, flag_of, folded, int_of, text_of
from integrations.bitrix24.oauth import DOMAIN, MEMBER_ID, split_scope

_CARD = re.compile(r"^CRM_(?P<type>[A-Z]+(?:_INVOICE)?(?:_\d+)?)_(?:DETAIL|ACTIVITY|LIST)_")
_DIALOG = re.compile(r"^(?:chat|sg)?\d{1,20}$")


class NotAFramePost(ValueError):
    """Not what a portal posts, for example a reload by GET: ask to reopen the application."""


class FramePost(BaseModel):
    """Who opened which page. All of it is a claim until the authorization server confirms it.

    Source: settings/oauth/simple-way, api-reference/widgets/index.
    """

    model_config = ConfigDict(frozen=True)

    domain: str
    protocol: str = "https"
    lang: str = ""
    app_sid: str = ""
    access_token: str = Field(repr=False)
    refresh_token: str = Field(default="", repr=False)
    expires_in: int = 3600
    member_id: str
    status: str = ""
    server_endpoint: str = ""
    application_token: str = Field(default="", repr=False)
    scope: tuple[str, ...] = ()
    placement: str = "DEFAULT"
    options: dict[str, Any] = Field(default_factory=dict)

    @property
    def dialog_id(self) -> str:
        """`chat112`, a user's id for a private chat, or "". Forgeable: check it with his token."""
        dialog_id = text_of(folded(self.options).get("dialogid"))
        return dialog_id if _DIALOG.match(dialog_id) else ""

    @property
    def message_id(self) -> int | None:
        """The message whose menu the page was opened from. Forgeable like `dialog_id`."""
        message_id = int_of(folded(self.options).get("messageid"))
        return message_id if message_id and 0 < message_id < 2**63 else None

    @property
    def item_ref(self) -> ItemRef | None:
        """The CRM card the page was opened in. Forgeable like `dialog_id`."""
        options = folded(self.options)
        type_id, item_id = int_of(options.get("entitytypeid")), int_of(options.get("entityid"))
        card = _CARD.match(self.placement)
        if card:
            try:
                type_id = entity_type_id(card["type"])
            except ValueError:
                return None
            item_id = int_of(options.get("id")) or item_id
        if not type_id or not item_id or item_id < 0:
            return None
        return ItemRef(type_id, item_id)


def parse_frame_post(query: Mapping[str, Any], body: Mapping[str, Any]) -> FramePost:
    """The POST of a frame; older portals leave out some keys.

    Raises: NotAFramePost without a token and a portal id.
    """
    known = {**folded(query), **folded(body)}
    access_token, member_id = text_of(known.get("authid")), text_of(known.get("memberid"))
    domain = text_of(known.get("domain")).strip().lower()
    if not access_token or len(access_token) > 2000 or not MEMBER_ID.match(member_id):
        raise NotAFramePost("AUTH_ID or member_id is missing")
    if domain and not DOMAIN.match(domain):
        raise NotAFramePost("DOMAIN is not a domain")
    expires_in = int_of(known.get("authexpires"))
    return FramePost(
        domain=domain,
        protocol="http" if "protocol" in known and not flag_of(known["protocol"]) else "https",
        lang=text_of(known.get("lang"))[:10],
        app_sid=text_of(known.get("appsid"))[:64],
        access_token=access_token,
        refresh_token=text_of(known.get("refreshid")),
        expires_in=expires_in if expires_in and 0 < expires_in <= 86400 else 3600,
        member_id=member_id,
        status=text_of(known.get("status"))[:10],
        server_endpoint=text_of(known.get("serverendpoint")),
        application_token=text_of(known.get("applicationtoken")),
        scope=split_scope(known.get("applicationscope")),
        placement=text_of(known.get("placement")).strip().upper() or "DEFAULT",
        options=_options(known.get("placementoptions")),
    )


def _options(value: Any) -> dict[str, Any]:
    """A JSON text, an already decoded form part, absent, "" or `[]`."""
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return {}
    return as_dict(value) if isinstance(value, Mapping) else {}
