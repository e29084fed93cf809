"""Small facts about the database that several packages need."""

from __future__ import annotations

import sys
from typing import Any

from django.db import DatabaseError, OperationalError, ProgrammingError, connection
from django.db.migrations.exceptions import MigrationSchemaMissing

UNUSABLE = (OperationalError, ProgrammingError, MigrationSchemaMissing)
"""What a database says that is down, has no tables yet, or gives its user no rights."""


def give_back_connection(*, for_long: bool = False) -> None:
    """Before a wait on the network: few connections then serve many threads.

    SQLite has no pool and opening costs more than a query, so there it is closed only before a
    long wait, when hundreds of threads would each keep its cache in memory.
    Inside a transaction (a test's, say) it stays: a wait there is the caller's mistake, not ours.
    """
    if not connection.in_atomic_block and (for_long or connection.vendor != "sqlite"):
        connection.close()


def require_database() -> None:
    """Ends the process with one line when the database cannot be used.

    Asked by a connection of its own: the pool would go on trying for half a minute.
    """
    wrapper: Any = connection
    try:
        if wrapper.vendor == "postgresql":
            with wrapper.wrap_database_errors:
                wrapper.Database.connect(**wrapper.get_connection_params()).close()
        else:
            wrapper.ensure_connection()
    except DatabaseError as error:
        stop_without_database(error)


def stop_without_database(error: DatabaseError) -> None:
    """Ends the process with one line; no password stands in what a server says."""
    said = " ".join(str(error).split())
    sys.exit(f"DATABASE_URL: the database cannot be used: {said[:400]}")
