"""From a declared table to its tables and indexes in SQLite."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from headrace.core.schema import Column, ColumnType, Schema, TableKind


def quote(name: str) -> str:
    """`name` as an SQL identifier.

    >>> print(quote("order"))
    "order"
    """
    return '"' + name.replace('"', '""') + '"'


def names(columns: tuple[str, ...] | list[str]) -> str:
    """Identifiers, joined by commas."""
    return ", ".join(quote(column) for column in columns)


def is_stored(schema: Schema) -> bool:
    """Whether rows are kept at all: events without `keep` only feed rollups."""
    return schema.kind is TableKind.TABLE or schema.keep is not None


def tombstones(table: str) -> str:
    """The name of the table that remembers the deleted keys of `table` with their guard version."""
    return f"_hr_tombstones_{table}"


def seen_keys(table: str) -> str:
    """The name of the table that notes which keys a full copy of `table` has brought."""
    return f"_hr_seen_{table}"


def create_statements(schema: Schema) -> list[str]:
    """The statements that create the tables (not the indexes) of `schema`, if they are missing."""
    if not is_stored(schema):
        return []
    if schema.kind is TableKind.EVENTS:
        return [_create_events(schema)]
    key = f"PRIMARY KEY ({names(schema.key)})) WITHOUT ROWID"
    keys = ", ".join(column_definition(schema.column(name)) for name in schema.key)
    return [
        f"CREATE TABLE IF NOT EXISTS {quote(schema.name)} ({_columns(schema)}, _version INTEGER NOT NULL,"
        f" _source_ts INTEGER NOT NULL, _txn INTEGER NOT NULL, {key}",
        f"CREATE TABLE IF NOT EXISTS {quote(tombstones(schema.name))} ({keys}, _version INTEGER NOT NULL,"
        f" _txn INTEGER NOT NULL, {key}",
        f"CREATE TABLE IF NOT EXISTS {quote(seen_keys(schema.name))} ({keys}, {key}",
    ]


def _create_events(schema: Schema) -> str:
    return (
        f"CREATE TABLE IF NOT EXISTS {quote(schema.name)} (_seq INTEGER PRIMARY KEY, {_columns(schema)},"
        " _source_ts INTEGER NOT NULL, _txn INTEGER NOT NULL)"
    )


def _columns(schema: Schema) -> str:
    columns = [column_definition(column) for column in schema.columns]
    return ", ".join([*columns, "_extra TEXT"] if schema.adopt else columns)


def column_definition(column: Column) -> str:
    """How `column` is written in CREATE TABLE and ADD COLUMN."""
    # NOT NULL is the contract's business: a column that the declaration drops must be free to stay behind as NULL.
    name = quote(column.name)
    if column.type.storage == "INTEGER":
        # JSON (see `bulk`) turns integers over 64 bits into reals: never silently. Costs about 0.02 us a row.
        return f"{name} INTEGER CHECK (typeof({name}) <> 'real')"
    return f"{name} {column.type.storage}"


def indexes(schema: Schema) -> dict[str, str]:
    """The statement that creates each index that the declaration asks for, by index name."""
    if not is_stored(schema):
        return {}
    wanted = list(schema.indexes)
    if schema.kind is TableKind.EVENTS and schema.event_time is not None:
        wanted.append((schema.event_time,))
    table = quote(schema.name)
    made = {
        name: f"CREATE INDEX {quote(name)} ON {table} ({names(columns)})"
        for columns in wanted
        for name in [f"{schema.name}__by_{'_'.join(columns)}"]
    }
    if schema.kind is TableKind.EVENTS and schema.key:
        name = f"{schema.name}__key"
        made[name] = f"CREATE UNIQUE INDEX {quote(name)} ON {table} ({names(schema.key)})"
    return made


def to_text(schema: Schema) -> str:
    """The declaration as JSON, as it is kept in `_hr_meta`."""
    fields = asdict(schema)
    del fields["_positions"]
    return json.dumps(fields, separators=(",", ":"))


def from_text(text: str) -> Schema:
    """The declaration that `to_text` wrote."""
    fields: dict[str, Any] = json.loads(text)
    return Schema(
        name=fields["name"],
        kind=TableKind(fields["kind"]),
        columns=tuple(_read_column(column) for column in fields["columns"]),
        key=tuple(fields["key"]),
        indexes=tuple(tuple(index) for index in fields["indexes"]),
        event_time=fields["event_time"],
        version=fields["version"],
        changed_at=fields["changed_at"],
        keep=fields["keep"],
        adopt=fields["adopt"],
    )


def _read_column(fields: dict[str, Any]) -> Column:
    known = {name: value for name, value in fields.items() if name != "type"}
    return Column(type=ColumnType(fields["type"]), **known)
