"""Where records that broke their contract wait, with their bytes and the reason, until they are replayed or dropped."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import apsw

from headrace.core.changes import Violation
from headrace.core.errors import UnknownName
from headrace.store.board import Board

DEFAULT_LIMIT = 1 << 30
"""Bytes of waiting records per table. Beyond it, submissions that bring more violations are refused (backpressure):
the source waits, and nothing is lost."""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """One waiting record.

    Attributes
    ----------
    number
        Its name, never given twice.
    at
        When it was committed to quarantine (microseconds).
    raw
        The record's bytes as they arrived; empty in lists, which leave them out.
    """

    number: int
    table: str
    partition: str
    position: str
    rule: str
    column: str
    value: str
    message: str
    at: int
    raw: bytes = b""


def insert(db: apsw.Connection, table: str, partition: str, violations: Sequence[Violation], *, txn: int) -> int:
    """Let `violations` wait, inside the caller's transaction; returns the bytes that they take."""
    db.executemany(
        _INSERT,
        [(table, partition, v.position, v.rule, v.column, v.value, v.message, txn, v.raw) for v in violations],
    )
    return sum(len(v.raw) + len(v.message) for v in violations)


def waiting(
    db: apsw.Connection, *, table: str | None = None, rule: str | None = None, limit: int = 100, after: int = 0
) -> list[Quarantined]:
    """Waiting records, oldest first, without their bytes; `after` is the last number of the page before."""
    return [
        Quarantined(*row) for row in db.execute(_LIST, {"table": table, "rule": rule, "limit": limit, "after": after})
    ]


def get(db: apsw.Connection, number: int) -> Quarantined:
    """One waiting record with its bytes.

    Raises
    ------
    UnknownName
        No record of that number waits.
    """
    row = db.execute(f"SELECT {_COLUMNS}, raw FROM _hr_quarantine WHERE number = ?", (number,)).fetchone()
    if row is None:
        raise UnknownName(
            f"no record with the number {number} waits in quarantine", hint="see `headrace quarantine list`"
        )
    return Quarantined(*row)


def counts(db: apsw.Connection) -> dict[str, dict[str, int]]:
    """How many records wait, per table and rule."""
    found: dict[str, dict[str, int]] = {}
    for table, rule, count in db.execute("SELECT table_name, rule, count(*) FROM _hr_quarantine GROUP BY 1, 2"):
        found.setdefault(table, {})[rule] = count
    return found


class Load:
    """How much waits, per table: bytes in `sizes`, for the limit of each table, and records on the board."""

    def __init__(self, board: Board, limit: int) -> None:
        self.limit = limit
        self.sizes: dict[str, int] = {}
        self._board = board

    def add(self, table: str, records: int, taken: int) -> None:
        """So many more wait, which take so many bytes."""
        self.sizes[table] = self.sizes.get(table, 0) + taken
        self._board.add(table, "waiting", records)

    def weigh(self, db: apsw.Connection, tables: Iterable[str]) -> list[str]:
        """Measure anew, after records were taken out; which tables have room."""
        found = counts(db)
        for table in tables:
            self.sizes[table] = size(db, table)
            self._board.set_counter(table, "waiting", sum(found.get(table, {}).values()))
        return [table for table, taken in self.sizes.items() if taken < self.limit]


def count(db: apsw.Connection, numbers: Sequence[int]) -> int:
    """How many of these records wait."""
    sql = "SELECT count(*) FROM _hr_quarantine WHERE number IN (SELECT value FROM json_each(?))"
    return int(str(db.execute(sql, (json.dumps(list(numbers)),)).get))


def size(db: apsw.Connection, table: str) -> int:
    """The bytes that the table's waiting records take."""
    sql = "SELECT total(length(raw) + length(CAST(message AS BLOB))) FROM _hr_quarantine WHERE table_name = ?"
    return int(float(str(db.execute(sql, (table,)).get)))


def remove(db: apsw.Connection, *, numbers: Sequence[int] | None = None, table: str | None = None) -> int:
    """Take records out (they were replayed, or are dropped), inside the caller's transaction; returns how many.

    `numbers` and `table` narrow it down together; with neither, everything goes.
    """
    chosen = {"table": table, "numbers": None if numbers is None else json.dumps(list(numbers))}
    db.execute(_REMOVE, chosen)
    return db.changes()


_COLUMNS = "number, table_name, partition, position, rule, column_name, value, message, at"
_INSERT = """INSERT INTO _hr_quarantine (table_name, partition, position, rule, column_name, value, message, at, raw)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_LIST = f"""SELECT {_COLUMNS} FROM _hr_quarantine
WHERE number > :after AND (:table IS NULL OR table_name = :table) AND (:rule IS NULL OR rule = :rule)
ORDER BY number LIMIT :limit"""
_REMOVE = """DELETE FROM _hr_quarantine
WHERE (:table IS NULL OR table_name = :table)
AND (:numbers IS NULL OR number IN (SELECT value FROM json_each(:numbers)))"""
