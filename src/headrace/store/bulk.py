"""Many rows in one step of SQLite.

Running a statement once per row costs more than its work: the interpreter lock is let go and taken back at every step,
and with another busy thread each taking back waits up to `sys.getswitchinterval()` (measured: 2.5 ms a row). So rows
travel as one JSON text that `jsonb_each` unpacks inside SQLite: one step for thousands of rows, with the lock free all
the while; and it is 15-25 % cheaper than a step a row even when nobody competes.

JSON carries every stored value exactly: 64-bit integers, finite reals (shortest form, read back to the same bits), text
with any character. Bytes travel as hexadecimal text.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

import apsw
import msgspec

from headrace.core.schema import Row, Stored

CHUNK_ROWS = 20_000
"""Rows in one step, at most."""

CHUNK_BYTES = 8 << 20
"""Bytes in one step, about: SQLite holds the text and its unpacked form at once."""

FIRST_ROWS = 1_000
"""Rows of the first step; it tells how large the others may be."""

_encode = msgspec.json.Encoder().encode


def source(columns: int, *, blobs: frozenset[int] = frozenset()) -> list[str]:
    """SQL expressions for the columns of a row that `run` passes, to be selected from `FROM_ROWS`.

    >>> source(2)
    ['value->>0', 'value->>1']
    """
    return [f"unhex(value->>{i})" if i in blobs else f"value->>{i}" for i in range(columns)]


FROM_ROWS = "FROM jsonb_each(:rows)"
"""Where a bulk statement finds its rows, in order: `value` is one row as a JSON array."""


def run(db: apsw.Connection, sql: str, rows: Sequence[Sequence[object]], **parameters: Stored) -> int:
    """Run a statement that selects `FROM_ROWS` over `rows`; returns how many rows of the database it changed.

    `parameters` are bound by name beside `:rows`.
    """
    before = db.total_changes()
    for text in _chunks(rows):
        db.execute(sql, {**parameters, "rows": text})
    return db.total_changes() - before


def fetch(db: apsw.Connection, sql: str, rows: Sequence[Sequence[object]]) -> list[Row]:
    """What a query that reads `FROM_ROWS` finds for all of `rows`."""
    return [found for text in _chunks(rows) for found in cast("list[Row]", db.execute(sql, {"rows": text}).fetchall())]


def carries(rows: Iterable[Row]) -> bool:
    """Whether JSON carries all these values as they are: no bytes among them, and no infinity."""
    return all(
        value is None or isinstance(value, int | str) or (isinstance(value, float) and math.isfinite(value))
        for row in rows
        for value in row
    )


def hexed(rows: Sequence[Row], positions: frozenset[int]) -> Sequence[Row]:
    """The rows with the bytes at `positions` as hexadecimal text."""
    if not positions:
        return rows
    return [tuple(_hex(v) if i in positions else v for i, v in enumerate(row)) for row in rows]


def _hex(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value


def _chunks(rows: Sequence[Sequence[object]]) -> Iterator[str]:
    count = len(rows)
    if count <= FIRST_ROWS:
        if count:
            yield _encode(rows).decode()
        return
    start, step = 0, FIRST_ROWS
    while start < count:
        text = _encode(rows[start : start + step]).decode()
        start += step
        step = max(1, min(CHUNK_ROWS, CHUNK_BYTES * step // len(text)))
        yield text
