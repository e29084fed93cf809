"""Wake-ups: tasks carry an id and no truth. Each one is harmless when it comes twice, late or
never."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from django.conf import settings
from django.tasks import task
from django.utils import timezone
from django_ox.models import OxTask

logger = logging.getLogger(__name__)

SWEEP_LIMIT = 500


@task()
def wake(dialog_id: int) -> None:
    """Somebody should look at this dialog."""
    from bx_gpt_app.assistant.pipeline import work  # the pipeline wakes dialogs itself

    work(dialog_id)


def wake_at(dialog_id: int, at: datetime | None = None) -> None:
    """Ask for a look at a moment, or now. Inside a transaction it is committed with it."""
    wake.using(run_after=at).enqueue(dialog_id)


@task(priority=10)
def sweep() -> int:
    """Wake everything that is due and unleased: what a dead process or a lost task left behind."""
    from bx_gpt_app.assistant import comparison, leases

    leases.repair()
    due = leases.due_everywhere(SWEEP_LIMIT)
    for dialog_id in due:
        wake_at(dialog_id)
    for portal_id in comparison.abandoned():
        comparison.go_on.enqueue(portal_id)
    return len(due)


@task(queue_name="background")
def housekeeping() -> None:
    """Delete what is older than the retention: events, calls, finished dialogs, done tasks."""
    from bx_gpt_app.assistant.retention import forget_old

    forget_old(timezone.now() - timedelta(days=settings.RETENTION_DAYS))
    OxTask.objects.filter(
        status="SUCCESSFUL", finished_at__lt=timezone.now() - timedelta(hours=1)
    ).delete()
