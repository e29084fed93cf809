"""Real worker processes on the test's own database, next to the world of the stories."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest
from django.conf import settings as django_settings
from django.db import connection

from bx_gpt_app.portals.models import CallBudget
from tests.stories.conftest import World, model, portal_options, world

__all__ = ["model", "portal_options", "world"]  # fixtures
ROOT = Path(__file__).resolve().parent.parent.parent
HOURS = {"title": "Режим работы", "text": "Мы работаем Пн–Пт с 9:00 до 18:00."}


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.kill)


@dataclass
class Worker:
    """One `manage.py worker`; its log tells what it noticed."""

    process: subprocess.Popen[bytes]
    log: Path

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        """As the kernel does when memory is short."""
        self.signal(signal.SIGKILL)
        assert self.process.wait(10) == -signal.SIGKILL, self.log.read_text()

    def stop(self) -> int:
        """The polite end; returns the exit code."""
        self.signal(signal.SIGTERM)
        return self.process.wait(30)


@dataclass
class Workers:
    folder: Path
    environment: dict[str, str]
    started: list[Worker] = field(default_factory=list)

    def start(self) -> Worker:
        log = self.folder / f"worker-{len(self.started)}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "manage.py", "worker"],
                cwd=ROOT, env=self.environment, stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip
        self.started.append(Worker(process, log))
        return self.started[-1]

    def end_all(self) -> None:
        for worker in self.started:
            if worker.process.poll() is None:
                worker.signal(signal.SIGKILL)
                worker.process.wait(10)


def database_url() -> str:
    """The address of the test's database for other processes."""
    known = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{Path(known['NAME']).resolve()}"
    password = f":{quote(known['PASSWORD'])}" if known["PASSWORD"] else ""
    return f"postgres://{known['USER']}{password}@{known['HOST']}:{known['PORT']}/{known['NAME']}"


@pytest.fixture
def workers(world: World, tmp_path: Path) -> Iterator[Workers]:
    """Workers for the world's portal. Its call limit is lifted: nobody waits for that here."""
    world.configure(mode="auto", knowledge=[HOURS], limits={"requests_per_minute": 10_000})
    CallBudget.objects.update_or_create(
        portal=world.portal, defaults={"rate": 10_000, "burst": 10_000}
    )
    found = Workers(
        tmp_path,
        {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "bx_gpt_app.settings",
            "ENV_FILE": "/nonexistent",
            "SECRET_KEY": django_settings.SECRET_KEY,
            "ENCRYPTION_KEYS": ",".join(django_settings.ENCRYPTION_KEYS),
            "DATABASE_URL": database_url(),
            "PUBLIC_URL": django_settings.PUBLIC_URL,
            "B24_OAUTH_URL": django_settings.B24_OAUTH_URL[0],
            "B24_CLIENT_ID": django_settings.B24_CLIENT_ID,
            "B24_CLIENT_SECRET": django_settings.B24_CLIENT_SECRET,
            "OPENAI_BASE_URL": django_settings.OPENAI_BASE_URL,
            "OPENAI_API_KEY": django_settings.OPENAI_API_KEY,
            "ALLOW_PRIVATE_NETWORK": "on",
            "WORKER_CONCURRENCY": "30",
            "LOG_JSON": "on",
        },
    )
    yield found
    found.end_all()
