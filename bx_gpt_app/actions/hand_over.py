"""The dialog goes to the line's operators. Source: imopenlines/openlines/chat-bots."""

from __future__ import annotations

from bx_gpt_app.actions.deed import Deed
from bx_gpt_app.flow import ActionReport
from integrations.bitrix24.openlines import hand_over


def apply(deed: Deed) -> ActionReport:
    """To a free operator, or to the one or the line named. With a person already: a success too."""
    moved = hand_over(
        deed.client,
        deed.chat_id,
        user_id=deed.payload.get("user_id"),
        queue_id=deed.payload.get("queue_id"),
    )
    return ActionReport(result={"moved": moved})
