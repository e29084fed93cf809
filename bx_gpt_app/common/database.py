"""Small facts about the database that several packages need."""

from __future__ import annotations

from django.db import connection


def give_back_connection(*, for_long: bool = False) -> None:
    """Before a wait on the network: few connections then serve many threads.

    SQLite has no pool and opening costs more than a query, so there it is closed only before a
    long wait, when hundreds of threads would each keep its cache in memory.
    Inside a transaction (a test's, say) it stays: a wait there is the caller's mistake, not ours.
    """
    if not connection.in_atomic_block and (for_long or connection.vendor != "sqlite"):
        connection.close()
