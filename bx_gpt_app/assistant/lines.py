"""Modes of the lines, carried out on the portal: our bot sits in every line that is not off."""

from __future__ import annotations

from django.tasks import task

from bx_gpt_app.assistant import store
from bx_gpt_app.portals.clients import client_for, lose_access
from bx_gpt_app.portals.lines import connect_lines
from bx_gpt_app.portals.models import Portal
from integrations.bitrix24.errors import AccessLost


def apply_modes(portal: Portal) -> dict[int, str]:
    """Connect and disconnect lines by the configuration; returns line id → why it failed."""
    config, _revision = store.load(portal)
    wanted = [
        line.line_id for line in portal.lines.all() if config.line(line.line_id).mode != "off"
    ]
    chosen = [int(line_id) for line_id in config.lines]
    failed = connect_lines(portal, client_for(portal), wanted, chosen=chosen)
    others = [pair for pair in portal.bindings.get("failed", []) if not pair[0].startswith("line ")]
    told = [[f"line {line_id}", reason] for line_id, reason in failed.items()]
    portal.bindings = {**portal.bindings, "failed": [*others, *told]}
    portal.save(update_fields=["bindings"])
    return failed


@task()
def carry_out_modes(portal_id: int) -> None:
    """After a change of modes. Repeating it changes nothing."""
    portal = Portal.objects.select_related("registration").filter(pk=portal_id).first()
    if portal is None or not portal.works:
        return
    try:
        apply_modes(portal)
    except AccessLost as error:
        lose_access(portal, error)
