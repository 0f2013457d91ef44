"""Dropping what is out of retention, a bounded number of rows at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import apsw

from headrace.core.schema import Schema, TableKind
from headrace.store import idempotency
from headrace.store.base import Maintainer
from headrace.store.rows import TableRows
from headrace.store.schema import quote, tombstones

TOMBSTONES_KEPT = 7 * 24 * 3_600 * 1_000_000
"""How long the version of a deleted key is remembered, in microseconds; an older change that comes later than that
brings the row back."""


def purge(
    db: apsw.Connection,
    tables: Mapping[str, TableRows],
    maintainers: Sequence[Maintainer],
    *,
    watermarks: Mapping[str, int],
    now: int,
    limit: int,
) -> int:
    """Drop at most about `limit` rows of each kind, inside the caller's transaction; returns how many."""
    dropped = idempotency.forget(db, before=now - idempotency.KEPT, limit=limit)
    for rows in tables.values():
        if rows.schema.kind is TableKind.TABLE:
            dropped += _purge_tombstones(db, rows, before=now - TOMBSTONES_KEPT, limit=limit)
        elif rows.stored:
            dropped += _purge_events(db, rows.schema, watermarks.get(rows.schema.name), now=now, limit=limit)
    return dropped + sum(maintainer.housekeep(db, now=now, limit=limit) for maintainer in maintainers)


def _purge_events(db: apsw.Connection, schema: Schema, watermark: int | None, *, now: int, limit: int) -> int:
    if schema.keep is None or schema.event_time is None or watermark is None:
        return 0
    # Measured from the latest event, so that replaying last year does not drop it at once, but never from the future.
    before = min(now, watermark) - schema.keep
    table, time = quote(schema.name), quote(schema.event_time)
    db.execute(
        f"DELETE FROM {table} WHERE _seq IN (SELECT _seq FROM {table} WHERE {time} < ? ORDER BY {time} LIMIT ?)",
        (before, limit),
    )
    return db.changes()


def _purge_tombstones(db: apsw.Connection, rows: TableRows, *, before: int, limit: int) -> int:
    if not rows.has_tombstones:
        return 0
    table, key = quote(tombstones(rows.schema.name)), ", ".join(quote(name) for name in rows.schema.key)
    db.execute(
        f"DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} WHERE _txn < ? LIMIT ?)", (before, limit)
    )
    return db.changes()
