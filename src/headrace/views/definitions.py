"""What the store remembers of derived tables: the definition that they were last filled by, and as of when.

One row a rollup or materialised view in `_hr_derived`. A derived table whose definition differs from the declared one
is rebuilt in `setup`; that is the whole migration of views.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import cast

import apsw

from headrace.core.schema import Row, Stored
from headrace.store import bulk

_CREATE = """
CREATE TABLE IF NOT EXISTS _hr_derived(
    name TEXT PRIMARY KEY,
    definition TEXT NOT NULL,  -- a digest; a changed one means: rebuild
    as_of INTEGER,             -- refreshed views: complete up to here, microseconds
    tables TEXT NOT NULL       -- names of the physical tables, separated by spaces
) WITHOUT ROWID"""


def digest(*parts: str) -> str:
    """A short stable digest of a definition."""
    return hashlib.sha256("\x00".join(parts).encode()).hexdigest()[:32]


def quoted(name: str) -> str:
    """`name` as an SQL identifier.

    >>> quoted("items")
    '"items"'
    """
    return '"' + name.replace('"', '""') + '"'


def fetch(db: apsw.Connection, sql: str, bindings: Sequence[Stored] | Mapping[str, Stored] = ()) -> list[Row]:
    """All rows of a query, as the values that live tables hold."""
    return cast("list[Row]", db.execute(sql, bindings).fetchall())


def insert_all(db: apsw.Connection, table: str, rows: Sequence[Row]) -> None:
    """Insert rows of any values into a table (as named in SQL)."""
    if not rows:
        return
    width = len(rows[0])
    if bulk.carries(rows):
        bulk.run(db, f"INSERT INTO {table} SELECT {', '.join(bulk.source(width))} {bulk.FROM_ROWS}", rows)
    else:
        db.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * width)})", rows)


def stored_definition(db: apsw.Connection, name: str) -> str | None:
    """The digest that `name` was last filled by; None when it never was."""
    db.execute(_CREATE)
    row = db.execute("SELECT definition FROM _hr_derived WHERE name = ?", (name,)).fetchone()
    return None if row is None else str(row[0])


def stored_tables(db: apsw.Connection, name: str) -> list[str]:
    """The physical tables that hold `name`; empty when there are none."""
    row = db.execute("SELECT tables FROM _hr_derived WHERE name = ?", (name,)).fetchone()
    return [] if row is None else str(row[0]).split()


def remember(db: apsw.Connection, name: str, definition: str, tables: tuple[str, ...]) -> None:
    """Note that `name` is now filled by `definition` into `tables`."""
    db.execute(
        "INSERT INTO _hr_derived(name, definition, tables) VALUES (?, ?, ?) ON CONFLICT(name) DO UPDATE"
        " SET definition = excluded.definition, as_of = NULL, tables = excluded.tables",
        (name, definition, " ".join(tables)),
    )


def drop_tables(db: apsw.Connection, name: str) -> None:
    """Drop the physical tables of `name` and forget it."""
    db.execute(_CREATE)
    for table in stored_tables(db, name):
        db.execute(f"DROP TABLE IF EXISTS {quoted(table)}")
    db.execute("DELETE FROM _hr_derived WHERE name = ?", (name,))


def derived_names(db: apsw.Connection) -> list[str]:
    """Names of all derived tables that the store holds, declared or not."""
    db.execute(_CREATE)
    return [str(row[0]) for row in db.execute("SELECT name FROM _hr_derived ORDER BY name")]


def set_as_of(db: apsw.Connection, name: str, as_of: int | None) -> None:
    """Note as of when a refreshed view is complete (microseconds)."""
    db.execute("UPDATE _hr_derived SET as_of = ? WHERE name = ?", (as_of, name))


def get_as_of(db: apsw.Connection, name: str) -> int | None:
    """As of when a refreshed view is complete (microseconds); None: never refreshed, or nobody knows."""
    row = db.execute("SELECT as_of FROM _hr_derived WHERE name = ?", (name,)).fetchone()
    return None if row is None or row[0] is None else int(row[0])
