"""The SQL that writes one table, as text. All of it takes many rows at once (see `bulk`).

Parameters beside `:rows`: `:txn`, `:source_ts`, and `:version`, the guard version of rows that carry none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from headrace.core.schema import Schema
from headrace.store import bulk
from headrace.store.schema import names, quote, seen_keys, tombstones


def blobs(schema: Schema, columns: Sequence[str]) -> frozenset[int]:
    """Which of `columns` hold bytes, by position."""
    return frozenset(i for i, name in enumerate(columns) if schema.column(name).type.storage == "BLOB")


@dataclass(frozen=True, slots=True)
class EventStatements:
    """Appending to a stream.

    Attributes
    ----------
    append
        Rows are the record's columns (and `_extra`). With a key, repeats of it are left out.
    last
        The number of the last event.
    keys_after
        The keys of the events after a number.
    stored
        Rows are keys: those of which there is an event.
    """

    append: str
    last: str
    keys_after: str
    stored: str

    @classmethod
    def of(cls, schema: Schema) -> EventStatements:
        """The statements of the stream `schema`."""
        table = quote(schema.name)
        columns, values = _columns(schema)
        repeats = f" ON CONFLICT ({names(schema.key)}) DO NOTHING" if schema.key else ""
        values += [_or_column(schema, schema.changed_at, ":source_ts"), ":txn"]
        return cls(
            append=f"INSERT OR FAIL INTO {table} ({names([*columns, '_source_ts', '_txn'])})"
            f" SELECT {', '.join(values)} {bulk.FROM_ROWS} WHERE 1{repeats}",
            last=f"SELECT max(_seq) FROM {table}",
            keys_after=f"SELECT {names(schema.key) or 'NULL'} FROM {table} WHERE _seq > ?",
            stored=f"SELECT {names(schema.key) or 'NULL'} FROM {table} WHERE ({names(schema.key) or 'NULL'}) IN"
            f" (SELECT {', '.join(bulk.source(len(schema.key), blobs=blobs(schema, schema.key))) or 'NULL'}"
            f" {bulk.FROM_ROWS})",
        )


@dataclass(frozen=True, slots=True)
class TableStatements:
    """Writing a live table.

    Attributes
    ----------
    upsert, upsert_past_tombstones, upsert_changed
        Rows are the record's columns (and `_extra`). The second looks for tombstones of newer deletes first; the third
        too, and leaves rows alone whose columns are equal.
    upsert_in_place, upsert_moved
        Together an upsert of rows with different keys: the first inserts, and updates rows whose indexed columns stay
        the same without touching the indexes; the second updates the others. Empty without such indexes.
    delete, bury_stored, delete_buried, note_seen
        Rows are keys. `bury_stored` leaves tombstones above the versions that are stored now; `delete_buried` deletes
        rows that are not newer than their tombstone.
    bury
        Rows are keys and the version of their delete.
    row
        The columns of one key's row (and `_extra`).
    missing
        Keys that were written before a stamp, up to a version, and are not noted as seen.
    """

    upsert: str
    upsert_past_tombstones: str
    upsert_changed: str
    upsert_in_place: str
    upsert_moved: str
    delete: str
    bury: str
    bury_stored: str
    delete_buried: str
    note_seen: str
    forget_seen: str
    row: str
    missing: str

    @classmethod
    def of(cls, schema: Schema) -> TableStatements:
        """The statements of the table `schema`."""
        table, key = quote(schema.name), names(schema.key)
        dead, seen = quote(tombstones(schema.name)), quote(seen_keys(schema.name))
        key_values = ", ".join(bulk.source(len(schema.key), blobs=blobs(schema, schema.key)))
        given = f"SELECT {key_values} {bulk.FROM_ROWS}"
        delete = f"DELETE FROM {table} WHERE ({key}) IN ({given})"
        latest = (
            f"ON CONFLICT ({key}) DO UPDATE SET _version = excluded._version, _txn = excluded._txn"
            f" WHERE excluded._version > {dead}._version"
        )
        return cls(
            **_upserts(schema),
            delete=delete,
            bury=f"INSERT INTO {dead} SELECT {key_values}, value->>{len(schema.key)}, :txn {bulk.FROM_ROWS}"
            f" WHERE 1 {latest}",
            # One more than the stored version, so that the row that is deleted here cannot be replayed into life.
            bury_stored=f"INSERT INTO {dead} SELECT {key}, _version + 1, :txn FROM {table} WHERE ({key}) IN ({given})"
            f" {latest}",
            delete_buried=f"{delete} AND _version <="
            f" (SELECT _version FROM {dead} AS dead WHERE {_same(schema, 'dead', schema.name)})",
            note_seen=f"INSERT OR IGNORE INTO {seen} {given}",
            forget_seen=f"DELETE FROM {seen}",
            row=f"SELECT {names(_columns(schema)[0])} FROM {table}"
            f" WHERE ({key}) = ({', '.join('?' * len(schema.key))})",
            missing=f"SELECT {key} FROM {table} WHERE _txn < ? AND _version <= ? AND NOT EXISTS"
            f" (SELECT 1 FROM {seen} AS seen WHERE {_same(schema, 'seen', schema.name)})",
        )


def _upserts(schema: Schema) -> dict[str, str]:
    table = quote(schema.name)
    columns, values = _columns(schema)
    version = _or_column(schema, schema.version, ":version")
    every = [*columns, "_version", "_source_ts", "_txn"]
    given = [*values, version, _or_column(schema, schema.changed_at, ":source_ts"), ":txn"]
    # OR FAIL: the whole transaction is rolled back on a failure, so SQLite need not be able to undo one statement.
    insert = f"INSERT OR FAIL INTO {table} ({names(every)}) SELECT {', '.join(given)} {bulk.FROM_ROWS}"
    updates = ", ".join(f"{quote(name)} = excluded.{quote(name)}" for name in every if name not in schema.key)
    update = f"ON CONFLICT ({names(schema.key)}) DO UPDATE SET {updates} WHERE excluded._version >= {table}._version"
    alive = (
        f"WHERE NOT EXISTS (SELECT 1 FROM {quote(tombstones(schema.name))} AS dead WHERE {_given_key(schema, values)}"
    )
    past = f"{insert} {alive} AND dead._version > {version})"
    others = [name for name in columns if name not in schema.key]
    differs = " OR ".join(f"excluded.{quote(name)} IS NOT {table}.{quote(name)}" for name in others)
    indexed = sorted({name for index in schema.indexes for name in index if name not in schema.key})
    same = " AND ".join(f"excluded.{quote(name)} IS {table}.{quote(name)}" for name in indexed)
    in_place = update.replace(updates, _assign(name for name in every if name not in {*schema.key, *indexed}))
    return {
        "upsert_in_place": f"{insert} WHERE 1 {in_place} AND {same}" if indexed else "",
        "upsert_moved": f"{insert} WHERE 1 {update} AND NOT ({same})" if indexed else "",
        "upsert": f"{insert} WHERE 1 {update}",
        "upsert_past_tombstones": f"{past} {update}",
        "upsert_changed": f"{past} {update} AND ({differs or '0'})",
    }


def _assign(columns: Iterable[str]) -> str:
    return ", ".join(f"{quote(name)} = excluded.{quote(name)}" for name in columns)


def _columns(schema: Schema) -> tuple[list[str], list[str]]:
    """The record's columns as they are stored, and the expressions that take them from a row."""
    columns = [*schema.names, *(["_extra"] if schema.adopt else [])]
    return columns, bulk.source(len(columns), blobs=blobs(schema, schema.names))


def _or_column(schema: Schema, name: str | None, otherwise: str) -> str:
    return otherwise if name is None else f"coalesce(value->>{schema.position(name)}, {otherwise})"


def _given_key(schema: Schema, values: list[str]) -> str:
    return " AND ".join(f"dead.{quote(name)} = {values[schema.position(name)]}" for name in schema.key)


def _same(schema: Schema, one: str, other: str) -> str:
    return " AND ".join(f"{quote(one)}.{quote(name)} = {quote(other)}.{quote(name)}" for name in schema.key)
