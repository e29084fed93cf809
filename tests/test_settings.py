"""Settings: every mistake is one clear line, and nothing starts half-configured."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bx_gpt_app.common.logs import JsonLines, PlainLines, log_context
from bx_gpt_app.environment import Environment

ROOT = Path(__file__).resolve().parent.parent
GOOD = {
    "ENV_FILE": "/nonexistent",
    "SECRET_KEY": "x" * 60,
    "ENCRYPTION_KEYS": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
    "PATH": os.environ["PATH"],
}


def start(**changes: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in {**GOOD, **changes}.items() if v != "<unset>"}
    return subprocess.run(
        [sys.executable, "-c", "import bx_gpt_app.settings as s; print(s.PORT, s.DEBUG, s.PUBLIC_URL)"],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_good_settings_start():
    done = start(PORT="8123")

    assert (done.returncode, done.stdout.strip()) == (0, "8123 False http://127.0.0.1:8123")


def test_all_mistakes_are_told_in_one_go_without_a_traceback():
    done = start(
        PORT="http", DEBUG="maybe", PUBLIC_URL="ai.example.ru", DATABASE_URL="mysql://x", B24_CLIENT_ID="only-half",
        ENCRYPTION_KEYS="not-a-key", WORKER_CONCURRENCY="0", B24_OAUTH_URL="ftp://x", SECRET_KEY="<unset>",
    )  # fmt: skip

    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    for name in (
        "PORT", "DEBUG", "PUBLIC_URL", "DATABASE_URL", "B24_CLIENT_ID", "ENCRYPTION_KEYS", "WORKER_CONCURRENCY",
        "B24_OAUTH_URL", "SECRET_KEY",
    ):  # fmt: skip
        assert [line for line in done.stderr.splitlines() if line.startswith(f"{name}: ")], name


def test_set_variable_wins_over_the_file(tmp_path, monkeypatch):
    (tmp_path / ".env").write_text("PORT=8001\nLOG_JSON=on\n")
    monkeypatch.setenv("PORT", "8002")
    monkeypatch.delenv("LOG_JSON", raising=False)

    environment = Environment(tmp_path / ".env")

    assert environment.number("PORT", 8000, least=1, most=65535) == 8002
    monkeypatch.delenv("LOG_JSON", raising=False)


def test_debug_log_of_the_sdk_is_refused_in_production():
    assert "OPENAI_LOG" in start(OPENAI_LOG="debug").stderr


@pytest.mark.parametrize("formatter", [JsonLines(), PlainLines()])
def test_log_line_never_carries_the_request_with_its_query(formatter, rf):
    record = logging.makeLogRecord(
        {
            "msg": "Not Found: %s",
            "args": ("/hooks/1/",),
            "request": rf.get("/hooks/1/?token=canary-token"),
        }
    )

    with log_context(portal=7):
        line = formatter.format(record)

    assert "canary" not in line
    assert "7" in line
