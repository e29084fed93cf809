"""Prepares the demo portal of `make run`, then waits: the local portal lives in memory."""

from __future__ import annotations

import signal
import time
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from bx_gpt_app.screens import demo

READY_WITHIN_SECONDS = 60


class Command(BaseCommand):
    help = "Install the app into the local demo portal (DEMO must be on)."

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.DEMO:
            raise CommandError("DEMO is off: set DEMO=on for a demonstration.")
        deadline = time.monotonic() + READY_WITHIN_SECONDS
        while not self._prepared():
            if time.monotonic() > deadline:
                raise CommandError("The demo portal or the web process did not start in time.")
            time.sleep(0.5)
        self.stdout.write(f"  The demo is ready: http://127.0.0.1:{settings.PORT}/demo/")
        signal.pause()

    def _prepared(self) -> bool:
        try:
            demo.prepare()
        except demo.NotReady:
            return False
        return True
