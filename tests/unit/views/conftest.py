"""A tiny store: applies deltas to SQLite in the layout of live tables, and calls maintainers as the store does."""

from __future__ import annotations

from collections.abc import Sequence

import apsw
import pytest

from headrace.core.schema import Row, Schema, TableKind
from headrace.store.base import Delta, Maintainer
from headrace.views.definitions import quoted


class TinyStore:
    """One connection, no contracts, no versions: only what views need."""

    def __init__(self, *schemas: Schema) -> None:
        self.db = apsw.Connection(":memory:")
        self.txn = 0
        self.maintainers: list[Maintainer] = []
        for schema in schemas:
            self.create(schema)

    def create(self, schema: Schema) -> None:
        columns = ", ".join(f"{quoted(c.name)} {c.type.storage}" for c in schema.columns)
        if schema.kind is TableKind.EVENTS:
            self.db.execute(
                f"CREATE TABLE {quoted(schema.name)}(_seq INTEGER PRIMARY KEY, {columns}, _source_ts INTEGER NOT NULL,"
                " _txn INTEGER NOT NULL)"
            )
            indexes = [(schema.event_time or "",), *schema.indexes]
        else:
            key = ", ".join(map(quoted, schema.key))
            self.db.execute(
                f"CREATE TABLE {quoted(schema.name)}({columns}, _version INTEGER NOT NULL, _source_ts INTEGER NOT NULL,"
                f" _txn INTEGER NOT NULL, PRIMARY KEY({key})) WITHOUT ROWID"
            )
            indexes = list(schema.indexes)
        for index in indexes:
            name = quoted(f"{schema.name}__by_{'_'.join(index)}")
            self.db.execute(f"CREATE INDEX {name} ON {quoted(schema.name)}({', '.join(map(quoted, index))})")

    def maintain(self, *maintainers: Maintainer) -> None:
        for maintainer in maintainers:
            maintainer.setup(self.db)
        self.maintainers += maintainers

    def commit(
        self, *steps: tuple[Schema, Sequence[Row], Sequence[Row]], source_ts: int | None = None, together: bool = True
    ) -> int:
        """One transaction of (schema, upserted rows, deleted keys) steps; the commit stamp.

        `together`: as the store does, all maintainers look before anything is applied. Else step by step.
        """
        self.txn += 1
        ts = self.txn if source_ts is None else source_ts
        with self.db:
            if together:
                self.apply(steps, ts)
            else:
                for step in steps:
                    self.apply([step], ts)
            for maintainer in self.maintainers:
                maintainer.finish(self.db, txn=self.txn)
        return self.txn

    def apply(self, steps: Sequence[tuple[Schema, Sequence[Row], Sequence[Row]]], ts: int) -> None:
        deltas: list[Delta] = []
        for schema, rows, deleted in steps:
            upserted = [tuple(row[p] for p in schema.key_positions) for row in rows]
            keys = [] if schema.kind is TableKind.EVENTS else [*upserted, *deleted]
            deltas.append(Delta(schema, rows, keys, ts))
        for delta in deltas:
            for maintainer in self._wanting(delta):
                maintainer.before(self.db, delta)
        for schema, rows, deleted in steps:
            self._write(schema, rows, deleted, ts)
        for delta in deltas:
            for maintainer in self._wanting(delta):
                maintainer.after(self.db, delta, txn=self.txn)

    def _wanting(self, delta: Delta) -> list[Maintainer]:
        return [maintainer for maintainer in self.maintainers if delta.schema.name in maintainer.inputs]

    def _write(self, schema: Schema, rows: Sequence[Row], deleted: Sequence[Row], ts: int) -> None:
        table = quoted(schema.name)
        if schema.kind is TableKind.EVENTS:
            marks = ", ".join("?" * (len(schema.columns) + 2))
            names = ", ".join(map(quoted, schema.names))
            insert = f"INSERT INTO {table}({names}, _source_ts, _txn) VALUES ({marks})"
            self.db.executemany(insert, [(*row, ts, self.txn) for row in rows])
            return
        marks = ", ".join("?" * (len(schema.columns) + 3))
        upsert = f"INSERT OR REPLACE INTO {table} VALUES ({marks})"
        self.db.executemany(upsert, [(*row, self.txn, ts, self.txn) for row in rows])
        where = " AND ".join(f"{quoted(k)} = ?" for k in schema.key)
        self.db.executemany(f"DELETE FROM {table} WHERE {where}", list(deleted))


@pytest.fixture(scope="session")
def make_store() -> type[TinyStore]:
    return TinyStore
