"""Real local models. Collected only when named on the command line: `make test-local-llm`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from integrations.llm.failures import MemoryCircuit
from integrations.llm.gateway import Gateway
from integrations.net import AddressGuard
from tests.local_llm.servers import LocalServer, llama_server, transformers_server
from tools.local_llm import LLAMA_SERVER, MODEL, TINY_LLAMA, TRANSFORMERS_CLI

MEASURED = pytest.StashKey[dict[str, str]]()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """These tests need minutes of setting up, so they are no part of `make test`."""
    named = any("local_llm" in argument for argument in config.args)
    return None if named else True


@pytest.fixture(scope="session")
def measured(pytestconfig: pytest.Config) -> dict[str, str]:
    """What is printed at the end: a name and a number in words."""
    return pytestconfig.stash.setdefault(MEASURED, {})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    numbers = terminalreporter.config.stash.get(MEASURED, {})
    if numbers:
        terminalreporter.section("measured on this machine")
        for name, number in numbers.items():
            terminalreporter.write_line(f"{name}: {number}")


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    gateway = Gateway(circuit=MemoryCircuit(), address_guard=AddressGuard(allow_private=True))
    yield gateway
    gateway.close()


@pytest.fixture(scope="session")
def llamacpp(measured: dict[str, str]) -> Iterator[LocalServer]:
    if not (LLAMA_SERVER.is_file() and MODEL.is_file()):
        pytest.fail("llama.cpp is not set up: run `make test-local-llm`")
    with llama_server() as server:
        measured["llama-server, start"] = f"{server.started_in_seconds:.1f} s"
        yield server
        measured["llama-server, peak memory"] = f"{server.peak_memory_mb()} MB"


@pytest.fixture(scope="session")
def transformers(measured: dict[str, str]) -> Iterator[LocalServer]:
    if not (TRANSFORMERS_CLI.is_file() and TINY_LLAMA.is_dir()):
        pytest.skip("transformers is not set up: python -m tools.local_llm transformers")
    with transformers_server() as server:
        measured["transformers serve, start"] = f"{server.started_in_seconds:.1f} s"
        yield server
        measured["transformers serve, peak memory"] = f"{server.peak_memory_mb()} MB"
