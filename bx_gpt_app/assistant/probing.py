"""What a portal's model servers can do: tried when they are new, weekly, and after odd answers."""

from __future__ import annotations

import logging
from datetime import timedelta

from django.db.models import Q
from django.tasks import task
from django.utils import timezone

from bx_gpt_app.assistant import store, thinking
from bx_gpt_app.assistant.models import Configuration
from bx_gpt_app.common.database import give_back_connection
from bx_gpt_app.portals.models import Portal
from integrations.llm.failures import ModelFailed
from integrations.llm.providers import Capabilities

logger = logging.getLogger(__name__)

PROBED_FOR = timedelta(days=7)
NEW_FOR = timedelta(hours=3)
"""So long a server that does not answer yet is tried again and again after it was set up."""


def probe_models(portal: Portal) -> dict[str, str]:
    """Try every configured model and keep what its server can do.

    Returns the codes of what failed, by place (main, fallback, cheaper); a failed probe changes
    nothing.
    """
    config, _revision = store.load(portal)
    failed: dict[str, str] = {}
    servers = thinking.servers(portal, config)
    if "main" not in servers:
        failed["main"] = "no_provider"
    found: dict[str, Capabilities] = {}
    for place, server in servers.items():
        give_back_connection(for_long=True)
        try:
            found[place] = thinking.gateway().probe(server)
        except ModelFailed as error:
            failed[place] = error.failure.code
    if found:
        thinking.keep_capabilities(portal, found)
    return failed


@task(queue_name="background")
def probe_again(portal_id: int) -> None:
    portal = Portal.objects.select_related("registration").filter(pk=portal_id).first()
    if portal is None or not portal.works:
        return
    failed = probe_models(portal)
    if failed:
        logger.info("model not probed", extra={"portal": portal_id, "failed": failed})


@task(queue_name="background")
def probe_weekly() -> None:
    """Servers are updated and change; what was found out a week ago is looked at again."""
    _probe(Q(capabilities_at__lt=timezone.now() - PROBED_FOR))


@task(queue_name="background")
def probe_new() -> None:
    """Servers that were set up without the Model page: by a file, by the host."""
    _probe(
        Q(
            capabilities_at__isnull=True,
            updated_at__gte=timezone.now() - NEW_FOR,
            document__llm__base_url__startswith="http",
        )
    )


def _probe(which: Q) -> None:
    due = Configuration.objects.filter(
        which, portal__state=Portal.State.ACTIVE, portal__paused=False
    )
    for portal_id in due.values_list("pk", flat=True):
        probe_again.enqueue(portal_id)
