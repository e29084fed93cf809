"""Who writes next: threads of this process in turn, then this process among the others.

SQLite lets one writer in at a time and makes the others sleep for up to 100 ms between their looks,
so with many threads some wait for seconds while nobody writes. Here one thread of a process asks
at a time, and looks again every millisecond.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from django.db.backends.sqlite3 import base
from django.db.utils import OperationalError

LOOK_EVERY_SECONDS = 0.001

_turn = threading.Lock()


class DatabaseWrapper(base.DatabaseWrapper):
    _has_turn = False

    def _start_transaction_under_autocommit(self) -> None:
        patience: float = self.settings_dict["OPTIONS"].get("timeout", 5.0)
        deadline = time.monotonic() + patience
        if not _turn.acquire(timeout=patience):
            raise OperationalError("database is locked")
        self._has_turn = True
        try:
            self._begin(deadline, patience)
        except BaseException:
            self._pass_on()
            raise

    def _begin(self, deadline: float, patience: float) -> None:
        connection: Any = self.connection
        connection.execute("PRAGMA busy_timeout=0")
        try:
            while True:
                try:
                    super()._start_transaction_under_autocommit()  # type: ignore[misc]  # no stub
                except OperationalError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(LOOK_EVERY_SECONDS)
                else:
                    return
        finally:
            connection.execute(f"PRAGMA busy_timeout={int(patience * 1000)}")

    def _commit(self) -> None:
        super()._commit()  # type: ignore[misc]  # no stub
        self._pass_on()

    def _rollback(self) -> None:
        try:
            super()._rollback()  # type: ignore[misc]  # no stub
        finally:
            self._pass_on()

    def _close(self) -> None:
        try:
            super()._close()  # type: ignore[misc]  # no stub
        finally:
            self._pass_on()

    def _pass_on(self) -> None:
        if self._has_turn:
            self._has_turn = False
            _turn.release()
