"""Full text search in the database itself: FTS5 on SQLite, a GIN index on PostgreSQL.

Both hold the same tokens (`stems`), count them the same way and know no other grammar, so that both
find the same snippets in the same order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper

COUNTED_AT_MOST = 3000
"""A word in more snippets than that says little; where exactly it ends need not be known."""


@dataclass(frozen=True)
class Engine:
    """What differs between databases. `{token}`s are letters and digits only (`stems.token`)."""

    build: tuple[str, ...]
    drop: tuple[str, ...]
    count: str
    """Rows of (token, snippets that have it) for `{places}`."""
    hits: str
    """Rows of (id, weight) of the snippets that have one of the tokens, for `{branches}`."""
    branch: str
    """One token's part of it. Parameters: weight, quoted token."""
    between: str
    quote: str


# ruff: noqa: S608  made of constants; every value is a parameter

# The tokenizer takes everything beyond ASCII for letters, which is what the tokens are made of.
# `detail=none`: only whether a token is there matters. The table holds no texts, they are read from
# the snippets; the triggers keep it in step whatever way a row changes.
_SQLITE = Engine(
    build=(
        "CREATE VIRTUAL TABLE IF NOT EXISTS assistant_snippet_search USING fts5("
        "stems, content='assistant_snippet', content_rowid='id', tokenize='ascii', detail=none)",
        "CREATE VIRTUAL TABLE IF NOT EXISTS assistant_snippet_tokens USING fts5vocab("
        "assistant_snippet_search, row)",
        "CREATE TRIGGER IF NOT EXISTS assistant_snippet_added AFTER INSERT ON assistant_snippet "
        "BEGIN INSERT INTO assistant_snippet_search(rowid, stems) VALUES (new.id, new.stems); END",
        "CREATE TRIGGER IF NOT EXISTS assistant_snippet_removed AFTER DELETE ON assistant_snippet "
        "BEGIN INSERT INTO assistant_snippet_search(assistant_snippet_search, rowid, stems) "
        "VALUES ('delete', old.id, old.stems); END",
        "CREATE TRIGGER IF NOT EXISTS assistant_snippet_changed "
        "AFTER UPDATE OF stems ON assistant_snippet WHEN old.stems IS NOT new.stems "
        "BEGIN INSERT INTO assistant_snippet_search(assistant_snippet_search, rowid, stems) "
        "VALUES ('delete', old.id, old.stems); "
        "INSERT INTO assistant_snippet_search(rowid, stems) VALUES (new.id, new.stems); END",
        "INSERT INTO assistant_snippet_search(assistant_snippet_search) VALUES ('rebuild')",
    ),
    drop=(
        "DROP TRIGGER IF EXISTS assistant_snippet_added",
        "DROP TRIGGER IF EXISTS assistant_snippet_removed",
        "DROP TRIGGER IF EXISTS assistant_snippet_changed",
        "DROP TABLE IF EXISTS assistant_snippet_tokens",
        "DROP TABLE IF EXISTS assistant_snippet_search",
    ),
    count=(
        f"SELECT term, min(doc, {COUNTED_AT_MOST}) FROM assistant_snippet_tokens "
        "WHERE term IN ({places})"
    ),
    hits="{branches}",
    branch=(
        "SELECT rowid AS id, %s AS weight FROM assistant_snippet_search "
        "WHERE assistant_snippet_search MATCH %s"
    ),
    between=" UNION ALL ",
    quote='"',
)

# `fastupdate = off`: after an import every search would read the list of what is not yet sorted in.
_VECTOR = "array_to_tsvector(string_to_array(stems, ' '))"
_POSTGRES = Engine(
    build=(
        "CREATE INDEX IF NOT EXISTS assistant_snippet_search ON assistant_snippet "
        f"USING gin (({_VECTOR})) WITH (fastupdate = off)",
    ),
    drop=("DROP INDEX IF EXISTS assistant_snippet_search",),
    count=(
        "SELECT token, (SELECT count(*) FROM (SELECT 1 FROM assistant_snippet "
        f"WHERE {_VECTOR} @@ ('''' || token || '''')::tsquery LIMIT {COUNTED_AT_MOST}) AS found) "
        "FROM unnest(ARRAY[{places}]::text[]) AS token"
    ),
    hits=(
        "SELECT hit.id, wanted.weight FROM (VALUES {branches}) AS wanted(weight, token) "
        "CROSS JOIN LATERAL "
        f"(SELECT id FROM assistant_snippet WHERE {_VECTOR} @@ wanted.token) AS hit"
    ),
    branch="(%s::float, %s::tsquery)",
    between=", ",
    quote="'",
)

ENGINES: Mapping[str, Engine] = {"sqlite": _SQLITE, "postgresql": _POSTGRES}


def build(database: BaseDatabaseWrapper) -> None:
    """Make the index, from the rows that are there. A migration that makes the table of snippets
    anew (SQLite does so for many changes) loses the triggers and must call this again."""
    _execute(database, ENGINES[database.vendor].build)


def drop(database: BaseDatabaseWrapper) -> None:
    _execute(database, ENGINES[database.vendor].drop)


def _execute(database: BaseDatabaseWrapper, statements: Iterable[str]) -> None:
    with database.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def snippets_with(tokens: Iterable[str]) -> dict[str, int]:
    """In how many snippets each token is, `COUNTED_AT_MOST` at most; none: left out."""
    wanted = list(tokens)
    if not wanted:
        return {}
    sql = _engine().count.format(places=", ".join(["%s"] * len(wanted)))
    with connection.cursor() as cursor:
        cursor.execute(sql, wanted)
        return {token: count for token, count in cursor.fetchall() if count}


def best_matches(
    portal_id: int,
    weights: Mapping[str, float],
    *,
    topic: str,
    topic_factor: float,
    today: date,
    limit: int,
) -> list[int]:
    """Ids of the portal's valid snippets with the greatest sum of weights of their tokens."""
    engine = _engine()
    hits = engine.hits.format(branches=engine.between.join([engine.branch] * len(weights)))
    sql = (
        "SELECT snippet.id FROM "
        f"(SELECT id, SUM(weight) AS score FROM ({hits}) AS hits GROUP BY id) AS found "
        "JOIN assistant_snippet AS snippet ON snippet.id = found.id "
        "WHERE snippet.portal_id = %s "
        "AND (snippet.valid_until IS NULL OR snippet.valid_until >= %s) "
        "ORDER BY found.score * (CASE WHEN snippet.topic = %s THEN %s ELSE 1.0 END) "
        "DESC, snippet.id "
        "LIMIT %s"
    )
    parameters: list[Any] = []
    for token, weight in weights.items():
        parameters += [weight, f"{engine.quote}{token}{engine.quote}"]
    valid_on = connection.ops.adapt_datefield_value(today)
    parameters += [portal_id, valid_on, topic or "-", topic_factor, limit]
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return [row[0] for row in cursor.fetchall()]


def _engine() -> Engine:
    return ENGINES[connection.vendor]
