"""All REST methods of the portal in one table."""

from __future__ import annotations

from integrations.bitrix24.local_portal import (
    methods_app,
    methods_chat,
    methods_crm,
    methods_lines,
)
from integrations.bitrix24.local_portal.rest import Table

METHODS = Table(
    {
        **methods_app.TABLE,
        **methods_chat.TABLE,
        **methods_lines.TABLE,
        **methods_crm.TABLE,
    }
)
