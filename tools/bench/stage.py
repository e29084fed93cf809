"""The stage: portals, model, database, web and workers as processes of their own on free ports."""

from __future__ import annotations

import json
import logging
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from tools.bench import figures
from tools.bench.sides import Model, Portal
from tools.run import worker_command

ROOT = Path(__file__).resolve().parent.parent.parent
START_SECONDS = 60.0
STOP_SECONDS = 20.0
KNOWLEDGE = [
    {"title": "Режим работы", "text": "Мы работаем Пн–Пт с 9:00 до 18:00."},
    {"title": "Доставка", "text": "Доставка по Москве занимает 2 дня и стоит 500 рублей."},
    {"title": "Гарантия", "text": "Гарантия на оборудование составляет 12 месяцев."},
]


class Stage:
    """Everything that plays, started in order and stopped in reverse; all of it is ours alone."""

    def __init__(self, *, portals: int, latency_ms: float, database_url: str) -> None:
        self._how_many = portals
        self._latency_ms = latency_ms
        self._wanted_database = database_url
        self._folder = Path(tempfile.mkdtemp(prefix="bench-"))
        self._processes: list[subprocess.Popen[str]] = []
        self._scratch_database = ""
        self.portals: list[Portal] = []
        self.model: Model
        self.web: subprocess.Popen[str]
        self.worker: subprocess.Popen[str] | None = None
        self.engine = "PostgreSQL" if database_url.startswith("postgres") else "SQLite"

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    # ---- up ----

    def _start(self) -> None:
        port = _free_port()
        client_id, client_secret = "local.bench", secrets.token_hex(16)
        told = self._start_outside(
            "integrations.bitrix24.local_portal", self._how_many,
            "--portals", str(self._how_many), "--rate", "0", "--event-workers", "8",
            "--client-id", client_id, "--client-secret", client_secret,
            "--control-key", secrets.token_hex(16), "--app-url", f"http://127.0.0.1:{port}",
        )  # fmt: skip
        self.portals = [Portal(json.loads(line)) for line in told]
        url, control = self._start_outside(
            "integrations.llm.local_model", 2, "--latency-ms", str(self._latency_ms)
        )
        control_url, _header, key = control.split()
        self.model = Model(url, control_url, key)
        os.environ.update(
            {
                "ENV_FILE": "/nonexistent",
                "DJANGO_SETTINGS_MODULE": "bx_gpt_app.settings",
                "SECRET_KEY": secrets.token_urlsafe(50),
                "ENCRYPTION_KEYS": _fernet_key(),
                "DATABASE_URL": self._database(),
                "PORT": str(port),
                "PUBLIC_URL": f"http://127.0.0.1:{port}",
                "ALLOWED_HOSTS": "127.0.0.1",
                "ALLOW_PRIVATE_NETWORK": "on",
                "B24_OAUTH_URL": self.portals[0].oauth_url,
                "B24_CLIENT_ID": client_id,
                "B24_CLIENT_SECRET": client_secret,
                "OPENAI_BASE_URL": url,
                "OPENAI_API_KEY": "",
                "OPENAI_MODEL": "demo-rules-1",
                "DEBUG": "off",
                "DEMO": "off",
                "LOG_JSON": "on",
            }
        )
        self._migrate()
        self._start_web(port)
        self._install()

    def _start_outside(self, module: str, lines: int, *arguments: str) -> list[str]:
        """A server of the other side; returns the first lines it says."""
        process = self._popen([sys.executable, "-m", module, *arguments], stdout=subprocess.PIPE)
        if process.stdout is None:
            raise RuntimeError(f"{module} cannot be read.")
        told = [process.stdout.readline().strip() for _ in range(lines)]
        if not all(told):
            raise RuntimeError(f"{module} did not start: see {self.log_file}.")
        return told

    def _popen(
        self, command: Sequence[str], *, stdout: int | None = None, **environment: str
    ) -> subprocess.Popen[str]:
        with self.log_file.open("a") as log:
            process = subprocess.Popen(
                list(command),
                cwd=ROOT,
                env={**os.environ, **environment},
                stdout=stdout or log,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    @property
    def log_file(self) -> Path:
        return self._folder / "log.jsonl"

    def _database(self) -> str:
        """The address of an empty database of our own on the wanted engine."""
        if self.engine == "SQLite":
            return f"sqlite:///{self._folder / 'db.sqlite3'}"
        import psycopg

        name = f"bench_{secrets.token_hex(6)}"
        with psycopg.connect(self._wanted_database, autocommit=True) as server:
            server.execute(f'CREATE DATABASE "{name}"')
        self._scratch_database = name
        return urlsplit(self._wanted_database)._replace(path=f"/{name}").geturl()

    def _migrate(self) -> None:
        import django
        from django.core.management import call_command

        django.setup()
        logging.disable(logging.WARNING)  # of this process; the others write into the log file
        call_command("migrate", interactive=False, verbosity=0)
        call_command("collectstatic", interactive=False, verbosity=0)
        _close_connections()

    def _start_web(self, port: int) -> None:
        from tools.run import web_command

        self.web = self._popen(web_command()[1])
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                urllib.request.urlopen(
                    f"http://127.0.0.1:{port}/b24/default/events/", b"", timeout=5
                )
            except urllib.error.HTTPError:
                return
            except OSError:
                if time.monotonic() > deadline or self.web.poll() is not None:
                    raise RuntimeError(
                        f"The web process did not start: {self.last_words()}"
                    ) from None
                time.sleep(0.1)
            else:
                return

    def _install(self) -> None:
        """Every portal installs the app; limits that belong to a portal are lifted: they are not
        what is measured."""
        from bx_gpt_app.portals.install import Claim, install
        from bx_gpt_app.portals.models import CallBudget
        from bx_gpt_app.portals.registrations import registration

        for b24 in self.portals:
            b24.tell("install", kind="server")
            fields = b24.tell("frame", user_id=1)["fields"]
            claim = Claim(
                member_id=b24.member_id,
                access_token=fields["AUTH_ID"],
                refresh_token=fields["REFRESH_ID"],
                expires_in=int(fields["AUTH_EXPIRES"]),
                domain=b24.domain,
                server_endpoint=fields["SERVER_ENDPOINT"],
                application_token=fields["APPLICATION_TOKEN"],
            )
            portal, _visitor = install(registration("default"), claim)
            CallBudget.objects.update_or_create(
                portal=portal, defaults={"rate": 10_000, "burst": 10_000}
            )
        self.configure(debounce_seconds=0)

    def configure(self, *, debounce_seconds: float) -> None:
        """Automatic replies in every line of every portal, with this quiet time."""
        from bx_gpt_app.assistant import store
        from bx_gpt_app.assistant.config import check_config
        from bx_gpt_app.portals.models import Portal as PortalRow
        from bx_gpt_app.portals.tasks import bind_now

        config = check_config(
            {
                "version": 1,
                "mode": "auto",
                "reply": {"debounce_seconds": debounce_seconds},
                "knowledge": KNOWLEDGE,
                "limits": {"requests_per_minute": 10_000},
                "llm": {"max_in_flight": 500, "deadline_seconds": 60},
            }
        )
        for row in PortalRow.objects.select_related("registration"):
            store.save(row, config, by="bench")
            bind_now(row)
        _close_connections()

    # ---- workers ----

    def start_worker(self, *, concurrency: int) -> None:
        self.worker = self._popen(worker_command()[1], WORKER_CONCURRENCY=str(concurrency))

    def kill_worker(self) -> None:
        """As the kernel does when memory is short: no signal handler, no last words."""
        if self.worker is not None:
            os.kill(self.worker.pid, signal.SIGKILL)
            self._ended(self.worker)

    def stop_worker(self) -> None:
        if self.worker is not None:
            self.worker.terminate()
            self._ended(self.worker)
            self.worker = None

    def _ended(self, process: subprocess.Popen[str]) -> None:
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_SECONDS)
        self._processes.remove(process)

    # ---- looking ----

    def our_processes(self) -> list[int]:
        worker = figures.family(self.worker.pid) if self.worker else []
        return [*figures.family(self.web.pid), *worker]

    def memory(self) -> tuple[float, float]:
        """Peak of web and of worker, MB."""
        worker = figures.family(self.worker.pid) if self.worker else []
        return figures.peak_megabytes(figures.family(self.web.pid)), figures.peak_megabytes(worker)

    def is_idle(self) -> bool:
        """No event is on its way, none is unread, no dialog is due or in work."""
        from bx_gpt_app.assistant.models import Delivery, Dialog, Event

        if any(portal.ask("stats")["events_pending"] for portal in self.portals):
            return False
        open_rows = (
            Event.objects.filter(done_at__isnull=True),
            Delivery.objects.filter(state__in=Delivery.OPEN),
            Dialog.objects.filter(due_at__isnull=False),
            Dialog.objects.filter(leased_until__isnull=False),
        )
        idle = not any(rows.exists() for rows in open_rows)
        _close_connections()
        return idle

    def messages_heard(self) -> int:
        """How many messages of clients the product knows."""
        from bx_gpt_app.assistant.models import Message

        count = Message.objects.filter(author="client").count()
        _close_connections()
        return count

    def last_words(self) -> str:
        try:
            return self.log_file.read_text(errors="replace")[-2000:]
        except OSError:
            return ""

    # ---- down ----

    def _stop(self) -> None:
        for process in reversed(self._processes):
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for process in self._processes:
            try:
                process.wait(max(deadline - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(STOP_SECONDS)
            if process.stdout:
                process.stdout.close()
        self._drop_database()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _drop_database(self) -> None:
        if not self._scratch_database:
            return
        import psycopg

        with psycopg.connect(self._wanted_database, autocommit=True) as server:
            server.execute(f'DROP DATABASE IF EXISTS "{self._scratch_database}" WITH (FORCE)')


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _fernet_key() -> str:
    from cryptography.fernet import Fernet

    return Fernet.generate_key().decode()


def _close_connections() -> None:
    from django.db import connections

    connections.close_all()
