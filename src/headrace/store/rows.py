"""Applying judged changes to one table: the only SQL that runs once per row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter

import apsw

from headrace.core.changes import Deletes, Upserts
from headrace.core.schema import Row, Schema, TableKind
from headrace.store.schema import is_stored, names, quote, seen_keys, tombstones


@dataclass(frozen=True, slots=True)
class Stamp:
    """What the store adds to each row of one submission.

    `version` is None where neither the batch nor the table's version column orders changes: then order of arrival does.
    """

    txn: int
    source_ts: int
    version: int | None


class TableRows:
    """The stored rows of one table, with its statements prepared once.

    `has_tombstones` lets tables that never saw a versioned delete skip the look at the tombstones for each row.
    """

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.stored = is_stored(schema)
        self.events = schema.kind is TableKind.EVENTS
        self.has_tombstones = False
        self._tag = _tagger(schema)
        self._sql = _Statements(schema)
        self._key_of = _key_getter(schema)

    def keys(self, rows: Sequence[Row]) -> list[Row]:
        """The key of each row."""
        key_of = self._key_of
        return [key_of(row) for row in rows]

    def bind(self, change: Upserts, stamp: Stamp) -> list[Row]:
        """The rows with the store's columns, as the insert takes them."""
        rows = change.rows
        if self.schema.adopt:
            extras = change.extras or [None] * len(rows)
            rows = [(*row, extra) for row, extra in zip(rows, extras, strict=True)]
        return self._tag(rows, stamp)

    def insert_sql(self, *, unchanged_stay: bool = False) -> str:
        """The statement that takes one bound row."""
        if self.events:
            return self._sql.append
        if unchanged_stay:
            return self._sql.upsert_changed
        return self._sql.upsert_past_tombstones if self.has_tombstones else self._sql.upsert

    def upsert(self, db: apsw.Connection, change: Upserts, stamp: Stamp, *, unchanged_stay: bool = False) -> int:
        """Insert or update; returns how many rows took effect (an older version never overwrites a newer one).

        `unchanged_stay` leaves rows alone whose columns are all equal, so that a full copy does not make them look new.
        """
        before = db.total_changes()
        db.executemany(self.insert_sql(unchanged_stay=unchanged_stay), self.bind(change, stamp))
        return db.total_changes() - before

    def append(self, db: apsw.Connection, change: Upserts, stamp: Stamp) -> Sequence[Row]:
        """Append events; returns those that are new (all of them when the stream has no key)."""
        if not self.stored:
            return change.rows
        last = db.execute(self._sql.last_event).get or 0
        if self.upsert(db, change, stamp) == len(change.rows):
            return change.rows
        return self._new_events(db, change.rows, last)

    def _new_events(self, db: apsw.Connection, rows: Sequence[Row], last: object) -> list[Row]:
        new = set(db.execute(self._sql.keys_after, (last,)).fetchall())
        kept: list[Row] = []
        for row, key in zip(rows, self.keys(rows), strict=True):
            if key in new:
                new.discard(key)
                kept.append(row)
        return kept

    def delete(self, db: apsw.Connection, change: Deletes, stamp: Stamp) -> int:
        """Delete keys, leaving tombstones where versions order the changes; returns how many rows went."""
        keys = change.keys
        versions = change.versions
        if versions is None and self.schema.version is None and stamp.version is None:
            return self._count(db, self._sql.delete, keys)
        self.has_tombstones = True
        if versions is None and self.schema.version is not None:
            # A delete that does not say its version: it follows what is stored now, and nothing older may come back.
            db.executemany(self._sql.bury_stored, [(stamp.txn, *key) for key in keys])
            return self._count(db, self._sql.delete, keys)
        guards = versions if versions is not None else [stamp.version] * len(keys)
        guarded = [(*key, version) for key, version in zip(keys, guards, strict=True)]
        db.executemany(self._sql.bury, [(*row, stamp.txn) for row in guarded])
        return self._count(db, self._sql.delete_guarded, guarded)

    def _count(self, db: apsw.Connection, sql: str, bindings: Sequence[Row]) -> int:
        before = db.total_changes()
        db.executemany(sql, bindings)
        return db.total_changes() - before

    def note_seen(self, db: apsw.Connection, rows: Sequence[Row]) -> None:
        """Note that a full copy has brought the keys of `rows`."""
        db.executemany(self._sql.note_seen, self.keys(rows))

    def missing(self, db: apsw.Connection, started: int, version: int | None) -> list[Row]:
        """The keys that a full copy, begun at `started` and taken at `version`, did not bring."""
        if version is None or self.schema.version is not None:
            return db.execute(self._sql.missing, (started, _MAX)).fetchall()
        return db.execute(self._sql.missing, (started, version)).fetchall()

    def forget_seen(self, db: apsw.Connection) -> None:
        """A full copy ended or begins anew."""
        db.execute(self._sql.forget_seen)

    def is_empty(self, db: apsw.Connection) -> bool:
        """Whether there is no row at all."""
        return db.execute(f"SELECT 1 FROM {quote(self.schema.name)} LIMIT 1").get is None

    def look_for_tombstones(self, db: apsw.Connection) -> None:
        """Find out whether there are tombstones (at the start, and after old ones were purged)."""
        if not self.events:
            table = quote(tombstones(self.schema.name))
            self.has_tombstones = db.execute(f"SELECT 1 FROM {table} LIMIT 1").get is not None


_MAX = (1 << 63) - 1


class _Statements:
    """The SQL of one table."""

    def __init__(self, schema: Schema) -> None:
        table = quote(schema.name)
        columns = [*schema.names, *(["_extra"] if schema.adopt else [])]
        if schema.kind is TableKind.EVENTS:
            self._write_events(schema, table, columns)
        else:
            self._write_table(schema, table, columns)

    def _write_events(self, schema: Schema, table: str, columns: list[str]) -> None:
        every = [*columns, "_source_ts", "_txn"]
        self.append = f"INSERT INTO {table} ({names(every)}) VALUES ({_marks(len(every))})"
        if schema.key:
            self.append += f" ON CONFLICT ({names(schema.key)}) DO NOTHING"
            self.keys_after = f"SELECT {names(schema.key)} FROM {table} WHERE _seq > ?"
        self.last_event = f"SELECT max(_seq) FROM {table}"

    def _write_table(self, schema: Schema, table: str, columns: list[str]) -> None:
        key = names(schema.key)
        every = [*columns, "_version", "_source_ts", "_txn"]
        updates = ", ".join(f"{quote(name)} = excluded.{quote(name)}" for name in every if name not in schema.key)
        newer = f"excluded._version >= {table}._version"
        head = f"INSERT INTO {table} ({names(every)})"
        update = f"ON CONFLICT ({key}) DO UPDATE SET {updates} WHERE {newer}"
        self.upsert = f"{head} VALUES ({_marks(len(every))}) {update}"
        dead = tombstones(schema.name)
        match = " AND ".join(f"{quote(name)} = ?{schema.position(name) + 1}" for name in schema.key)
        buried = f"SELECT 1 FROM {quote(dead)} WHERE {match} AND _version > ?{len(columns) + 1}"
        past = f"{head} SELECT {_marks(len(every))} WHERE NOT EXISTS ({buried})"
        self.upsert_past_tombstones = f"{past} {update}"
        differs = " OR ".join(f"excluded.{quote(n)} IS NOT {table}.{quote(n)}" for n in columns if n not in schema.key)
        self.upsert_changed = f"{past} {update} AND ({differs or '0'})"
        self._write_deletes(schema, table)

    def _write_deletes(self, schema: Schema, table: str) -> None:
        key, dead, seen = names(schema.key), quote(tombstones(schema.name)), quote(seen_keys(schema.name))
        match = " AND ".join(f"{quote(name)} = ?" for name in schema.key)
        latest = f"ON CONFLICT ({key}) DO UPDATE SET _version = excluded._version, _txn = excluded._txn"
        newer = f"WHERE excluded._version > {dead}._version"
        self.delete = f"DELETE FROM {table} WHERE {match}"
        self.delete_guarded = f"{self.delete} AND _version <= ?"
        self.bury = f"INSERT INTO {dead} VALUES ({_marks(len(schema.key) + 2)}) {latest} {newer}"
        # One more than the stored version, so that the row that is deleted here cannot be replayed into life.
        self.bury_stored = (
            f"INSERT INTO {dead} SELECT {key}, _version + 1, ? FROM {table} WHERE {match} {latest} {newer}"
        )
        self.note_seen = f"INSERT OR IGNORE INTO {seen} VALUES ({_marks(len(schema.key))})"
        self.forget_seen = f"DELETE FROM {seen}"
        same = " AND ".join(f"seen.{quote(name)} = live.{quote(name)}" for name in schema.key)
        self.missing = (
            f"SELECT {key} FROM {table} AS live WHERE _txn < ? AND _version <= ?"
            f" AND NOT EXISTS (SELECT 1 FROM {seen} AS seen WHERE {same})"
        )


def _marks(count: int) -> str:
    return ", ".join(f"?{i + 1}" for i in range(count))


def _key_getter(schema: Schema) -> Callable[[Row], Row]:
    positions = schema.key_positions
    if len(positions) == 1:
        only = positions[0]
        return lambda row: (row[only],)
    return itemgetter(*positions) if positions else lambda row: ()


Tagger = Callable[[Sequence[Row], Stamp], list[Row]]


def _tagger(schema: Schema) -> Tagger:
    """How rows get their stamp: the store's own columns, after those of the record."""
    version = None if schema.version is None else schema.position(schema.version)
    changed = None if schema.changed_at is None else schema.position(schema.changed_at)
    if schema.kind is TableKind.EVENTS:
        return _tag_events if changed is None else _events_tagger(changed)
    return _tag_plain if version is None and changed is None else _columns_tagger(version, changed)


def _tag_events(rows: Sequence[Row], stamp: Stamp) -> list[Row]:
    meta = (stamp.source_ts, stamp.txn)
    return [row + meta for row in rows]


def _events_tagger(changed: int) -> Tagger:
    def tag(rows: Sequence[Row], stamp: Stamp) -> list[Row]:
        source_ts, txn = stamp.source_ts, stamp.txn
        return [(*row, source_ts if row[changed] is None else row[changed], txn) for row in rows]

    return tag


def _tag_plain(rows: Sequence[Row], stamp: Stamp) -> list[Row]:
    meta = (stamp.txn if stamp.version is None else stamp.version, stamp.source_ts, stamp.txn)
    return [row + meta for row in rows]


def _columns_tagger(version: int | None, changed: int | None) -> Tagger:
    def tag(rows: Sequence[Row], stamp: Stamp) -> list[Row]:
        txn, source_ts = stamp.txn, stamp.source_ts
        arrival = txn if stamp.version is None else stamp.version
        return [
            (
                *row,
                arrival if version is None or row[version] is None else row[version],
                source_ts if changed is None or row[changed] is None else row[changed],
                txn,
            )
            for row in rows
        ]

    return tag
