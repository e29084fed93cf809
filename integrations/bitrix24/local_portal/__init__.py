"""A local Bitrix24 portal that speaks the documented protocol, without the client side's code."""

from __future__ import annotations

from integrations.bitrix24.local_portal.options import (
    Employee,
    LineOptions,
    PortalOptions,
    SmartType,
    UserField,
)
from integrations.bitrix24.local_portal.portal import FrameForm, LocalPortal, Reply

__all__ = [
    "Employee",
    "FrameForm",
    "LineOptions",
    "LocalPortal",
    "PortalOptions",
    "Reply",
    "SmartType",
    "UserField",
]
