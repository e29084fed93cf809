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


@pytest.mark.parametrize(
    "url",
    ["http://oauth.example", "https://127.0.0.1:9000", "https://localhost", "https://10.0.0.5",
     "https://[::1]", "https://169.254.169.254", "https://0x7f.1"],
)  # fmt: skip
def test_secrets_go_to_no_authorization_server_in_clear_text_or_at_home(url):
    done = start(B24_OAUTH_URL=f"https://oauth.bitrix24.tech,{url}")
    at_home = start(B24_OAUTH_URL=url, ALLOW_PRIVATE_NETWORK="on")

    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    told = [line for line in done.stderr.splitlines() if line.startswith("B24_OAUTH_URL: ")]
    assert len(told) == 1
    assert url in told[0]
    never = ("169.254", "0x7f")  # no setting allows a cloud's metadata or a disguise
    assert at_home.returncode == (1 if any(part in url for part in never) else 0)


NOBODY_LISTENS = "postgres://postgres:pw-canary@127.0.0.1:1/assistant"


@pytest.mark.parametrize(
    "command",
    [["manage.py", "portal", "list"], ["manage.py", "worker"], ["manage.py", "migrate"],
     ["-m", "tools.run", "web"], ["-m", "tools.run", "worker"]],
    ids=" ".join,
)  # fmt: skip
def test_database_that_cannot_be_reached_is_one_line_at_once(command):
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT, env={**GOOD, "DATABASE_URL": NOBODY_LISTENS},
        capture_output=True, text=True, timeout=25, check=False,
    )  # fmt: skip

    assert done.returncode == 1
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("DATABASE_URL: the database cannot be used: ")
    assert "127.0.0.1" in lines[0]
    assert "pw-canary" not in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("sqlite:////proc/nosuch/db.sqlite3", "/proc/nosuch"),
        ("postgres://postgres@127.0.0.1:5432/", "name"),
        ("postgres://postgres@127.0.0.1:port/x", "cannot be read"),
    ],
)
def test_database_address_that_cannot_be_right_is_a_wrong_setting(url, told):
    done = start(DATABASE_URL=url)

    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert told in next(
        line for line in done.stderr.splitlines() if line.startswith("DATABASE_URL")
    )


def test_options_in_the_address_of_the_database_reach_it():
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import bx_gpt_app.settings as s; print(s.DATABASES['default']['OPTIONS'])",
        ],
        cwd=ROOT, env={**GOOD, "DATABASE_URL": "postgres://u@db.example/x?sslmode=require"},
        capture_output=True, text=True, timeout=25, check=False,
    )  # fmt: skip

    assert "'sslmode': 'require'" in done.stdout
    assert "'connect_timeout': 5" in done.stdout


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
