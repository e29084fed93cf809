"""Starts the product's processes: `all` (web, worker, demo), `web` or `worker`.

Ctrl-C or SIGTERM stops all of them in order; when one dies, the rest are stopped too and it is said
which.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bx_gpt_app.settings")
PATIENCE_SECONDS = 20
"""A worker drains what it has in hand; then it is killed, and nothing is lost by that."""

Command = tuple[str, list[str]]


def prepare(static: bool) -> None:
    """Settings checked, database migrated, static files collected."""
    import django
    from django.core.management import call_command

    from bx_gpt_app.common.database import UNUSABLE, require_database, stop_without_database

    django.setup()
    require_database()
    try:
        call_command("migrate", interactive=False, verbosity=0)
    except UNUSABLE as error:
        stop_without_database(error)
    if static:
        call_command("collectstatic", interactive=False, verbosity=0)


def web_command() -> Command:
    from django.conf import settings

    return "web", [
        sys.executable, "-m", "gunicorn", "bx_gpt_app.wsgi",
        "--bind", f"{settings.BIND_ADDRESS}:{settings.PORT}",
        "--worker-class", "gthread",
        "--workers", str(settings.WEB_PROCESSES),
        "--threads", str(settings.WEB_THREADS),
        "--timeout", "90", "--graceful-timeout", "10", "--keep-alive", "30",
        "--no-control-socket",
        "--log-level", "warning",
    ]  # fmt: skip


def worker_command() -> Command:
    return "worker", [sys.executable, "manage.py", "worker"]


def demo_commands() -> list[Command]:
    from urllib.parse import urlsplit

    from django.conf import settings

    commands: list[Command] = [
        (
            "demo portal",
            [
                sys.executable, "-m", "integrations.bitrix24.local_portal",
                "--port", str(urlsplit(settings.DEMO_PORTAL_URL).port),
                "--control-key", settings.DEMO_CONTROL_KEY,
                "--client-id", "local.demo", "--client-secret", settings.DEMO_CONTROL_KEY,
                "--app-url", f"http://127.0.0.1:{settings.PORT}", "--app-code", settings.DEMO_APP,
            ],
        )
    ]  # fmt: skip
    if not settings.OPENAI_API_KEY and not os.environ.get("OPENAI_BASE_URL"):
        port = str(urlsplit(settings.DEMO_MODEL_URL).port)
        commands.append(
            (
                "demo model",
                [
                    sys.executable,
                    "-m",
                    "integrations.llm.local_model",
                    "--port",
                    port,
                    "--latency-ms",
                    "700",
                ],
            )
        )
    return commands


class Processes:
    def __init__(self) -> None:
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._stopping = False

    def start(self, command: Command) -> None:
        name, arguments = command
        # A session of its own: Ctrl-C in the terminal reaches us only, and we stop them in order.
        # What the helpers of the demo print (addresses, control keys) is of no use to a reader.
        quiet = subprocess.DEVNULL if name in ("demo portal", "demo model") else None
        self._running[name] = subprocess.Popen(
            arguments, cwd=ROOT, start_new_session=True, stdout=quiet
        )

    def stop(self, *_: int | FrameType | None) -> None:
        self._stopping = True

    def watch(self) -> int:
        """Waits until a signal or a death; returns the exit code."""
        code = 0
        while not self._stopping:
            for name, process in self._running.items():
                if process.poll() is not None:
                    print(
                        f"{name} ended with code {process.returncode}; stopping the rest.",
                        flush=True,
                    )
                    code = process.returncode or 1
                    self._stopping = True
            time.sleep(0.2)
        self._end_all()
        return code

    def _end_all(self) -> None:
        for process in self._running.values():
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + PATIENCE_SECONDS
        for process in self._running.values():
            try:
                process.wait(max(deadline - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def run_one(what: str) -> NoReturn:
    """Becomes the web or the worker process."""
    prepare(static=what == "web")
    _name, arguments = web_command() if what == "web" else worker_command()
    os.chdir(ROOT)
    os.execv(arguments[0], arguments)


def run_all() -> int:
    os.environ.setdefault("DEMO_CONTROL_KEY", secrets.token_urlsafe(24))
    prepare(static=True)
    from django.conf import settings

    processes = Processes()
    signal.signal(signal.SIGINT, processes.stop)
    signal.signal(signal.SIGTERM, processes.stop)
    if settings.DEMO:
        for command in demo_commands():
            processes.start(command)
    processes.start(web_command())
    processes.start(worker_command())
    if settings.DEMO:
        processes.start(("demo", [sys.executable, "manage.py", "demo"]))
    address = f"http://127.0.0.1:{settings.PORT}"
    print(f"\n  {address}/demo/ — the demo portal\n  Ctrl-C stops everything.\n", flush=True)
    return processes.watch()


if __name__ == "__main__":
    wanted = sys.argv[1] if len(sys.argv) > 1 else "all"
    if wanted != "all":
        run_one(wanted)
    sys.exit(run_all())
