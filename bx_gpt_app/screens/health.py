"""For those who operate the host: is it alive, is it ready, what does it do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Count, Min, Q
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe
from django_ox.models import OxTask
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from bx_gpt_app.assistant.models import Delivery, Dialog, Event
from bx_gpt_app.portals.models import Portal

STUCK_AFTER = timedelta(seconds=60)
"""Work that is due for so long while no worker claims anything means that no worker runs."""


@csrf_exempt
@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """GET /healthz: the process answers."""
    return HttpResponse("ok", content_type="text/plain")


@csrf_exempt
@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """GET /readyz: 200 when database, migrations and queue are in order, else 503 and why."""
    problems: dict[str, str] = {}
    for name, check in CHECKS.items():
        try:
            problem = check()
        except DatabaseError:
            problem = "the database does not answer"
        if problem:
            problems[name] = problem
            break  # what follows needs what has failed
    if problems:
        return JsonResponse({"status": "not ready", "problems": problems}, status=503)
    return JsonResponse({"status": "ready"})


def _database() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        cursor.fetchone()
    return ""


def _migrations() -> str:
    executor = MigrationExecutor(connection)
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return f"{len(missing)} migrations are not applied: run `manage.py migrate`" if missing else ""


def _queue() -> str:
    """Old due work is no problem by itself: a busy worker claims other tasks meanwhile."""
    now = timezone.now()
    oldest = _oldest_due()
    if oldest is None or now - oldest < STUCK_AFTER:
        return ""
    lately = OxTask.objects.filter(last_attempted_at__gte=now - STUCK_AFTER).exists()
    if lately:
        return ""
    return "due work waits and no worker claims it: start `make worker`"


CHECKS: dict[str, Callable[[], str]] = {
    "database": _database,
    "migrations": _migrations,
    "queue": _queue,
}


def _due_tasks() -> Q:
    return Q(status=OxTask.Status.READY) & (
        Q(run_after__isnull=True) | Q(run_after__lte=timezone.now())
    )


def _oldest_due() -> datetime | None:
    """Since when the task that waits longest could have been done."""
    due = OxTask.objects.filter(_due_tasks()).aggregate(
        delayed=Min("run_after"), at_once=Min("enqueued_at", filter=Q(run_after__isnull=True))
    )
    return min(filter(None, due.values()), default=None)


@csrf_exempt
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """GET /metrics: this process's counters, and the state of the work read from the database."""
    registry = CollectorRegistry()
    registry.register(_Work())
    text = generate_latest(REGISTRY) + generate_latest(registry)
    return HttpResponse(text, content_type=CONTENT_TYPE_LATEST)


class _Work(Collector):
    """Read at every scrape, so it is the same whichever process answers."""

    def collect(self) -> Iterator[Metric]:
        now = timezone.now()
        yield _gauge("b24_tasks_due", "Tasks that wait for a worker.", _count_due_tasks())
        yield _gauge("b24_queue_age_seconds", "Age of the oldest due task.", _queue_age())
        yield _gauge(
            "b24_dialogs_due",
            "Dialogs that somebody should look at now.",
            Dialog.objects.filter(due_at__lte=now, quarantined_at__isnull=True).count(),
        )
        yield _gauge(
            "b24_dialogs_in_quarantine",
            "Dialogs that wait for a person after repeated errors.",
            Dialog.objects.filter(quarantined_at__isnull=False).count(),
        )
        yield _gauge(
            "b24_events_pending",
            "Stored events that no worker has read.",
            Event.objects.filter(done_at__isnull=True).count(),
        )
        yield _counted("b24_portals", "Portals by state.", Portal, Portal.State.values)
        yield _counted("b24_deliveries", "Deliveries by state.", Delivery, Delivery.State.values)


def _count_due_tasks() -> int:
    return OxTask.objects.filter(_due_tasks()).count()


def _queue_age() -> float:
    oldest = _oldest_due()
    return max(0.0, (timezone.now() - oldest).total_seconds()) if oldest else 0.0


def _gauge(name: str, words: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, words, value=value)


def _counted(
    name: str, words: str, model: type[Portal] | type[Delivery], states: list[str]
) -> GaugeMetricFamily:
    counts = dict(model.objects.order_by().values_list("state").annotate(count=Count("pk")))
    family = GaugeMetricFamily(name, words, labels=["state"])
    for state in states:
        family.add_metric([state], counts.get(state, 0))
    return family
