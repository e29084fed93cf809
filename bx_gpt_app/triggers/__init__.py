"""The shelf of triggers: what a platform payload means for us, or None. No database here.

A new trigger is one file with a `hear` function, one line in TRIGGERS, a fixture and a test.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bx_gpt_app.flow import TriggerInput
from bx_gpt_app.triggers import chat, crm, robot
from integrations.bitrix24.events import Incoming

TRIGGERS: dict[str, Callable[[Any], TriggerInput | None]] = {
    "BotMessage": chat.hear_message,
    "MessageDeleted": chat.hear_deletion,
    "BotJoined": chat.hear_joining,
    "ActivityChanged": crm.hear_activity,
    "RobotCall": robot.hear_robot,
}


def understand(incoming: Incoming) -> TriggerInput | None:
    """The event in our words; None for events we know but do not want."""
    hear = TRIGGERS.get(type(incoming.payload).__name__)
    return hear(incoming.payload) if hear else None
