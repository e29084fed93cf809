"""What operations ask: alive, ready, how much work."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from django_ox.models import OxTask

from bx_gpt_app.screens import health
from tests.factories import make_dialog, make_portal

pytestmark = pytest.mark.django_db


def make_task(**values) -> OxTask:
    defaults = {
        "task_path": "bx_gpt_app.assistant.tasks.wake",
        "backend_name": "default",
        "enqueued_at": timezone.now(),
    }
    return OxTask.objects.create(**{**defaults, **values})


def test_healthz_says_ok_without_a_query(client, django_assert_num_queries):
    with django_assert_num_queries(0):
        answer = client.get("/healthz")

    assert (answer.status_code, answer.content) == (200, b"ok")


def test_ready_with_migrations_applied_and_an_empty_queue(client):
    assert client.get("/readyz").json() == {"status": "ready"}


def test_not_ready_when_due_work_waits_and_nobody_claims_it(client):
    make_task(enqueued_at=timezone.now() - timedelta(minutes=5))

    answer = client.get("/readyz")

    assert answer.status_code == 503
    assert "worker" in answer.json()["problems"]["queue"]


def test_busy_worker_is_ready_and_work_for_later_is_no_trouble(client):
    old = timezone.now() - timedelta(minutes=5)
    make_task(enqueued_at=old)
    make_task(enqueued_at=old, status="SUCCESSFUL", last_attempted_at=timezone.now())
    make_task(enqueued_at=old, run_after=timezone.now() + timedelta(hours=1))

    assert client.get("/readyz").status_code == 200


def test_missing_migration_is_named(client, monkeypatch):
    monkeypatch.setitem(health.CHECKS, "migrations", lambda: "2 migrations are not applied")

    answer = client.get("/readyz")

    assert answer.status_code == 503
    assert "migrations" in answer.json()["problems"]


def test_metrics_tell_the_work_from_the_database(client):
    portal = make_portal()
    make_dialog(portal, due_at=timezone.now() - timedelta(seconds=5))
    make_task(enqueued_at=timezone.now() - timedelta(seconds=30))

    text = client.get("/metrics").content.decode()

    assert "b24_dialogs_due 1.0" in text
    assert 'b24_portals{state="active"} 1.0' in text
    assert 'b24_deliveries{state="failed"} 0.0' in text
    age = next(line for line in text.splitlines() if line.startswith("b24_queue_age_seconds "))
    assert 25 < float(age.split()[1]) < 60
    assert "b24_events_received_total" in text


def test_front_page_offers_the_demo_only_when_there_is_one(client, settings):
    settings.DEMO = False
    without = client.get("/?language=en").content.decode()
    settings.DEMO = True

    assert "/demo/" not in without
    assert "/demo/" in client.get("/?language=en").content.decode()
    assert client.get("/?language=ru")["X-Frame-Options"] == "DENY"
