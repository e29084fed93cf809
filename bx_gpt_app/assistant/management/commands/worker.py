"""The worker process: wakes what a dead one left behind, then serves the queue."""

from __future__ import annotations

import sys
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand

from bx_gpt_app.assistant.tasks import sweep

POLL_SECONDS = 0.05
"""A woken dialog is picked up within this; an idle poll costs 3 % of a core."""

SWITCH_SECONDS = 0.0005
"""How long a thread computes while others wait. With Python's 5 ms a transaction of ten statements
holds the database for many times what it needs, because every statement lets another thread in."""


class Command(BaseCommand):
    help = "Serve background work until SIGTERM; any number of workers may run on PostgreSQL."

    def handle(self, *args: Any, **options: Any) -> None:
        sys.setswitchinterval(SWITCH_SECONDS)
        sweep.call()
        call_command(
            "ox_worker",
            concurrency=settings.WORKER_CONCURRENCY,
            interval=POLL_SECONDS,
            verbosity=0,  # our own log format is enough
        )
