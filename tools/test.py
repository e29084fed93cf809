"""Runs all tests: on SQLite, then on PostgreSQL where a server is reachable. Finds a Chromium
and Bitrix24's browser SDK first.

Extra arguments go to pytest (`python -m tools.test -k name` runs on SQLite only).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tools.browser_sdk import NoSdk, browser_sdk

ROOT = Path(__file__).resolve().parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
LOCAL_POSTGRES = "postgres://postgres@127.0.0.1:5432/postgres"
NOT_FOR_POSTGRESQL = ("llm_gateway", "llm_trust", "bitrix24", "local_portal", "frontend", "common")
"""Folders of tests that know no database, and the tests of our SQLite backend."""
WITHOUT_BROWSER = ["-m", "not e2e"]


def find_chromium() -> str:
    """The path of a Chromium: on the machine, else by Playwright, else by the distribution."""
    for name in BROWSERS:
        path = shutil.which(name)
        if path:
            return path
    print("No Chromium on this machine; asking Playwright for one…", flush=True)
    if _quietly([sys.executable, "-m", "playwright", "install", "chromium"]):
        return _playwrights_own()
    if shutil.which("apt-get") and os.geteuid() == 0:
        print("Installing the distribution's Chromium…", flush=True)
        _quietly(["apt-get", "update"])
        _quietly(["apt-get", "install", "-y", "--no-install-recommends", "chromium"])
    return shutil.which("chromium") or ""


def _quietly(command: list[str]) -> bool:
    try:
        done = subprocess.run(command, capture_output=True, timeout=900, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _playwrights_own() -> str:
    code = (
        "from playwright.sync_api import sync_playwright as s\n"
        "with s() as p: print(p.chromium.executable_path)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else ""


def postgres_url() -> str:
    """Where PostgreSQL is: as set, else this machine's own if it lets us in; empty when nowhere."""
    wanted = os.environ.get("TEST_DATABASE_URL", "")
    if wanted:
        return wanted if wanted.startswith("postgres") else ""
    import psycopg

    try:
        psycopg.connect(LOCAL_POSTGRES, connect_timeout=2).close()
    except psycopg.Error:
        return ""
    return LOCAL_POSTGRES


def run_pytest(arguments: list[str], **environment: str) -> int:
    command = [sys.executable, "-m", "pytest", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, check=False
    ).returncode


def main() -> int:
    chromium = find_chromium()
    if not chromium:
        sentence = "No Chromium was found and none could be installed: apt-get install chromium."
        if os.environ.get("CI"):
            print(sentence)
            return 1
        print(sentence, "Browser tests are left out.")
    if chromium:
        try:
            browser_sdk()
        except NoSdk as error:
            print(error)
            if os.environ.get("CI"):
                return 1
            print("Tests against it are left out.")
    environment = {"CHROMIUM": chromium}
    browserless = [] if chromium else WITHOUT_BROWSER
    extra = sys.argv[1:]
    common = ["-n", "2", "--dist", "loadfile", "-q"]
    print("== SQLite ==", flush=True)
    code = run_pytest([*common, *browserless, *extra], **environment, TEST_DATABASE_URL="")
    postgres = "" if extra else postgres_url()
    if code or not postgres:
        return code
    print("== PostgreSQL ==", flush=True)
    ignored = [f"--ignore=tests/{name}" for name in NOT_FOR_POSTGRESQL]
    # What a browser shows does not depend on the database behind it.
    return run_pytest([*common, *WITHOUT_BROWSER, *ignored], TEST_DATABASE_URL=postgres)


if __name__ == "__main__":
    sys.exit(main())
