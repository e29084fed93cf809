"""The answer to a waiting automation rule. Source: bizproc/bizproc-robot/bizproc-event-send."""

from __future__ import annotations

from bx_gpt_app.actions.deed import Deed
from bx_gpt_app.flow import ActionReport


def apply(deed: Deed) -> ActionReport:
    """Closes the step; repeated sends are ignored by the portal, so a repeat is harmless."""
    deed.client.call(
        "bizproc.event.send",
        {
            "EVENT_TOKEN": deed.payload["event_token"],
            "RETURN_VALUES": deed.payload["values"],
            "LOG_MESSAGE": deed.payload.get("log", ""),
        },
        repeatable=True,
    )
    return ActionReport()
