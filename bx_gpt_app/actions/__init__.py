"""The shelf of actions: a client and values in, an ActionReport out. No database here.

A new action is one file with an `apply` function, one line in ACTIONS and a test. Every action can
be repeated after a crash: messages carry the delivery's key, the others read before they write.
"""

from __future__ import annotations

from collections.abc import Callable

from bx_gpt_app.actions import crm_item, hand_over, message, robot_result
from bx_gpt_app.actions.deed import Deed
from bx_gpt_app.flow import ActionReport

ACTIONS: dict[str, Callable[[Deed], ActionReport]] = {
    "message": message.apply,
    "operator_message": message.apply_as_operator,
    "whisper": message.apply_whisper,
    "hand_over": hand_over.apply,
    "crm": crm_item.apply,
    "robot_result": robot_result.apply,
}
