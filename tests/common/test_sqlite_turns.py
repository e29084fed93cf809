"""Writers on SQLite take turns: nobody sleeps while the database is free, nobody keeps his turn."""

from __future__ import annotations

import sqlite3
import threading
import time

import pytest
from django.db import OperationalError, connection, transaction

from bx_gpt_app.common.sqlite3 import base
from tests.factories import make_app

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("connection.vendor != 'sqlite'", reason="PostgreSQL locks rows"),
]


def in_thread(act) -> float:
    """Run in another thread with a connection of its own; returns the seconds it took."""
    took: list[float] = []

    def run() -> None:
        try:
            started = time.monotonic()
            act()
            took.append(time.monotonic() - started)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(10)
    return took[0]


def write() -> None:
    with transaction.atomic():
        make_app(code=f"app-{time.monotonic_ns()}")


def test_thread_waits_for_its_turn_without_asking_the_database(monkeypatch):
    looks: list[float] = []
    monkeypatch.setattr(base.time, "sleep", looks.append)
    done = threading.Event()
    other = threading.Thread(target=lambda: (in_thread(write), done.set()))
    with transaction.atomic():
        make_app()
        other.start()
        assert not done.wait(0.3)
    assert done.wait(10)
    other.join()

    assert looks == []


@pytest.mark.parametrize("end", ["fails", "closes"])
def test_turn_is_passed_on_however_a_transaction_ends(end):
    def spoil() -> None:
        with transaction.atomic():
            make_app()
            if end == "closes":
                connection.close()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        spoil()

    in_thread(write)
    assert not base._turn.locked()


def test_patience_with_other_processes_ends_and_the_turn_is_passed_on(monkeypatch):
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "timeout", 0.2)
    connection.close()
    other = sqlite3.connect(connection.settings_dict["NAME"])
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(OperationalError, match="locked"), transaction.atomic():
            make_app()
        assert not base._turn.locked()
    finally:
        other.rollback()
        other.close()

    in_thread(write)
