"""A model server as a child process on a loopback port of its own, stopped by its pid."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import requests

from tools.local_llm import (
    HOME,
    LLAMA_SERVER,
    MODEL,
    TINY_LLAMA,
    TRANSFORMERS_CLI,
    SetupFailed,
)

MODEL_NAME = "smollm2"
STOP_SECONDS = 15.0
PR_SET_PDEATHSIG = 1
"""Source: linux/prctl.h."""


class LocalServer:
    """`with LocalServer(…) as server:`; `base_url` is what the product would be given."""

    def __init__(
        self, name: str, command: list[str], *, port: int, environment: Mapping[str, str]
    ) -> None:
        self.name = name
        self.port = port
        self.base_url = f"http://127.0.0.1:{port}/v1"
        self.log = HOME / f"{name}.log"
        self.started_in_seconds = 0.0
        self._command = command
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, *, patience_seconds: float) -> None:
        """Returns when the server answers. Raises: SetupFailed, with the end of its log."""
        started = time.monotonic()
        with self.log.open("wb") as out:
            self._process = subprocess.Popen(
                self._command,
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **self._environment},
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        try:
            while not self._is_healthy():
                if self._process.poll() is not None:
                    raise SetupFailed(
                        f"{self.name} ended at once with code {self._process.returncode} (if it "
                        "was built on another machine, remove it from var/local-llm and run make "
                        f"test-local-llm again):\n{self._end_of_log()}"
                    )
                if time.monotonic() - started > patience_seconds:
                    raise SetupFailed(f"{self.name} does not answer:\n{self._end_of_log()}")
                time.sleep(0.05)
        except BaseException:
            self.stop()
            raise
        self.started_in_seconds = time.monotonic() - started

    def stop(self) -> None:
        """Ends the process and whatever it started; nothing else on the machine."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(STOP_SECONDS)

    def peak_memory_mb(self) -> int:
        """0 where the system does not tell (no /proc)."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text()
        except OSError:
            return 0
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        return int(found[1]) // 1024 if found else 0

    def __enter__(self) -> LocalServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _is_healthy(self) -> bool:
        try:
            address = f"http://127.0.0.1:{self.port}/health"
            return requests.get(address, timeout=2).status_code == 200
        except requests.RequestException:
            return False

    def _end_of_log(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])


def llama_server(name: str = "llama-server", *more: str) -> LocalServer:
    """llama.cpp's server with the small model, started. Raises: SetupFailed."""
    # --no-repack: some virtual machines announce AMX and die of its first instruction, which is
    # only used for repacked weights. One thread: two of them wait for each other busily, and on
    # cores that others use as well that makes an answer ten times slower.
    port = free_port()
    server = LocalServer(
        name,
        [
            str(LLAMA_SERVER), "-m", str(MODEL), "--alias", MODEL_NAME,
            "--host", "127.0.0.1", "--port", str(port),
            "-c", "4096", "-np", "1", "-t", "1", "-tb", "1", "--no-repack", *more,
        ],
        port=port,
        environment={},
    )  # fmt: skip
    server.start(patience_seconds=60)
    return server


def transformers_server() -> LocalServer:
    """`transformers serve` with the tiny model, started. Raises: SetupFailed."""
    port = free_port()
    hub = HOME / "hub"
    # Without this folder the list of models is a 500.
    hub.mkdir(exist_ok=True)
    server = LocalServer(
        "transformers-serve",
        [
            str(TRANSFORMERS_CLI), "serve", str(TINY_LLAMA), "--device", "cpu",
            "--host", "127.0.0.1", "--port", str(port),
        ],
        port=port,
        environment={
            "HF_HUB_OFFLINE": "1",
            "HF_HUB_CACHE": str(hub),
            "HF_HOME": str(hub),
            # Several threads for so small a model only wait for one another.
            "OMP_NUM_THREADS": "1",
        },
    )  # fmt: skip
    server.start(patience_seconds=180)
    return server


def _die_with_parent() -> None:
    """Also a test run that is killed leaves no server behind (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def free_port() -> int:
    # llama-server prints the port it chose nowhere but in its log, so it is chosen here.
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
