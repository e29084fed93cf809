"""E-mails and web forms arrive as CRM activities; their event carries an id only.

New leads are not listened to: open lines make them by themselves, and a form's lead brings its
activity.
Source: api-reference/crm/timeline/activities/events.
"""

from __future__ import annotations

from bx_gpt_app.flow import ItemAppeared
from integrations.bitrix24 import events


def hear_activity(payload: events.ActivityChanged) -> ItemAppeared | None:
    """What kind of activity it is gets read later; most kinds are dropped then."""
    return ItemAppeared(activity_id=payload.activity_id) if payload.change == "add" else None
