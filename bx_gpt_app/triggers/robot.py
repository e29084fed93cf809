"""Automation rules and workflow steps. Source: api-reference/bizproc/bizproc-robot/bizproc-robot-
add."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from bx_gpt_app.flow import RobotRequest
from integrations.bitrix24 import events
from integrations.bitrix24.forms import flag_of

ANSWER_BEFORE_SECONDS = 5
"""Our answer must arrive before the step's own time runs out."""


def hear_robot(payload: events.RobotCall) -> RobotRequest | None:
    properties = payload.properties
    timeout = payload.timeout_seconds
    give_up_at = (
        datetime.now(UTC) + timedelta(seconds=max(timeout - ANSWER_BEFORE_SECONDS, 1))
        if timeout
        else None
    )
    return RobotRequest(
        code=payload.code,
        text=str(properties.get("text") or ""),
        item=str(payload.document) if payload.document else "",
        update_crm=flag_of(properties.get("update_crm", "Y")),
        event_token=payload.event_token,
        waits=payload.waits,
        give_up_at=give_up_at,
    )
