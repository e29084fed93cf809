"""What an action needs, handed in by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from typing import Any

from integrations.bitrix24.bots import BotApiKind
from integrations.bitrix24.client import PortalClient
from integrations.bitrix24.crm import FieldInfo


@dataclass(frozen=True)
class Deed:
    """One delivery, ready to happen. `repeated`: it was begun before, nobody knows how it ended."""

    client: PortalClient
    key: str
    payload: Mapping[str, Any]
    dialog_id: str = ""
    chat_id: int = 0
    session_id: int | None = None
    bot_id: int = 0
    bot_api: BotApiKind = "v2"
    repeated: bool = False
    snapshot: Mapping[str, Any] = field(default_factory=dict)
    """CRM items as they were read last, by LEAD_77; empty when they must be read first."""
    zone: tzinfo = UTC
    """The portal's: a client's "at five" is meant in it."""
    fields_of: Callable[[int], dict[str, FieldInfo]] = lambda entity_type_id: {}


class OutcomeUnknown(Exception):
    """The act was begun before a crash and the portal cannot tell whether it happened."""
