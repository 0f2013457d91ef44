"""Bringing what is stored in step with what is declared, or refusing with a way out.

| the declaration now has            | what happens                                                              |
|------------------------------------|---------------------------------------------------------------------------|
| a new column, optional or defaulted | added; rows take it from `_extra`, or the default |
| a new column, required             | the same if every stored row has a value in `_extra`; otherwise refused   |
| a column less                      | it stays behind, unused, and is NULL in new rows                          |
| an index more or less              | it is created or dropped                                                  |
| another type, key or kind          | refused                                                                   |
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

import apsw

from headrace.core.errors import MigrationRefused, StoreError
from headrace.core.schema import Column, ColumnType, Schema
from headrace.store.schema import (
    column_definition,
    create_statements,
    from_text,
    indexes,
    is_stored,
    quote,
    seen_keys,
    to_text,
    tombstones,
)

FORMAT = 1
"""Version of the layout of the store's file."""


def prepare(db: apsw.Connection, schemas: Sequence[Schema]) -> None:
    """Create or migrate the system tables and the tables of `schemas`, all or nothing.

    Raises
    ------
    MigrationRefused
        The stored rows cannot follow the declaration; nothing was changed.
    StoreError
        The store was written by another format version.
    """
    with db:
        db.execute(files("headrace.store").joinpath("system.sql").read_text(encoding="utf-8"))
        _check_format(db)
        for schema in schemas:
            _follow(db, schema)


def stored_schema(db: apsw.Connection, table: str) -> Schema | None:
    """The declaration that `table` was last opened with."""
    text = db.execute("SELECT value FROM _hr_meta WHERE name = ?", (f"schema:{table}",)).get
    return None if text is None else from_text(str(text))


def reset(db: apsw.Connection, table: str) -> bool:
    """Forget everything about `table`: its rows, positions, quarantine and counters. False: there was no such table."""
    known = stored_schema(db, table) is not None
    with db:
        for name in (table, tombstones(table), seen_keys(table)):
            db.execute(f"DROP TABLE IF EXISTS {quote(name)}")
        for system in _PER_TABLE:
            db.execute(f"DELETE FROM {system} WHERE table_name = ?", (table,))
        db.execute("DELETE FROM _hr_meta WHERE name = ?", (f"schema:{table}",))
    return known


_PER_TABLE = (
    "_hr_positions",
    "_hr_quarantine",
    "_hr_idempotency",
    "_hr_watermarks",
    "_hr_counters",
    "_hr_snapshots",
    "_hr_copies",
)


def _check_format(db: apsw.Connection) -> None:
    found = db.execute("SELECT value FROM _hr_meta WHERE name = 'format'").get
    if found is None:
        db.execute("INSERT INTO _hr_meta VALUES ('format', ?)", (FORMAT,))
    elif found != FORMAT:
        raise StoreError(
            f"the store has format {found}, and this version of Headrace writes format {FORMAT}",
            hint="run the version that wrote it, or use another data folder",
        )


def _follow(db: apsw.Connection, schema: Schema) -> None:
    before = stored_schema(db, schema.name)
    if before is not None:
        _refuse(before, schema)
    for statement in create_statements(schema):
        db.execute(statement)
    if is_stored(schema):
        _add_columns(db, schema)
        _follow_indexes(db, schema)
    db.execute("INSERT OR REPLACE INTO _hr_meta VALUES (?, ?)", (f"schema:{schema.name}", to_text(schema)))


def _refuse(before: Schema, after: Schema) -> None:
    if before.kind is not after.kind:
        raise _refusal(after, f"was stored as {before.kind.value} and is now declared as {after.kind.value}")
    if before.key != after.key:
        raise _refusal(after, f"was stored with {_key(before)} and is now declared with {_key(after)}")
    for column in after.columns:
        if before.has(column.name) and before.column(column.name).type is not column.type:
            stored = before.column(column.name).type.value
            raise _refusal(after, f"stored the column {column.name!r} as {stored}, now it is {column.type.value}")


def _key(schema: Schema) -> str:
    return f"the key {', '.join(schema.key)}" if schema.key else "no key"


def _refusal(schema: Schema, what: str) -> MigrationRefused:
    return MigrationRefused(
        f"the table {schema.name!r} {what}",
        hint="use another data folder (--data), or remove the live store with `headrace store reset APP`: sources are"
        " then read again from their beginning, and what was pushed is gone",
    )


def _add_columns(db: apsw.Connection, schema: Schema) -> None:
    present = {str(row[1]): str(row[2]) for row in db.execute(f"PRAGMA table_info({quote(schema.name)})")}
    if schema.adopt and "_extra" not in present:
        db.execute(f"ALTER TABLE {quote(schema.name)} ADD COLUMN _extra TEXT")
    for column in schema.columns:
        if column.name not in present:
            _add_column(db, schema, column, adopted="_extra" in present)
        elif present[column.name] != column.type.storage:
            # Left behind by an older declaration under the same name with another type.
            raise _refusal(schema, f"stored the column {column.name!r} as {present[column.name]} before")


def _add_column(db: apsw.Connection, schema: Schema, column: Column, *, adopted: bool) -> None:
    table, name = quote(schema.name), quote(column.name)
    db.execute(f"ALTER TABLE {table} ADD COLUMN {column_definition(column)}")
    if adopted:
        _fill_from_extra(db, schema, column)
    if column.default is not None:
        db.execute(f"UPDATE {table} SET {name} = ? WHERE {name} IS NULL", (column.default,))
    if not column.nullable and db.execute(f"SELECT 1 FROM {table} WHERE {name} IS NULL LIMIT 1").get is not None:
        raise _refusal(schema, f"has rows without the new required column {column.name!r}; give it a default")


def _fill_from_extra(db: apsw.Connection, schema: Schema, column: Column) -> None:
    table, name = quote(schema.name), quote(column.name)
    path = "$." + '"' + column.name + '"'
    kinds = _JSON_KINDS.get(column.type)
    if kinds is None:
        return  # its stored form is not its JSON form (a timestamp): it stays in _extra until the row comes again
    marks = ", ".join("?" for _ in kinds)
    db.execute(
        f"UPDATE {table} SET {name} = json_extract(_extra, ?) WHERE json_type(_extra, ?) IN ({marks})",
        (path, path, *kinds),
    )
    if schema.adopt:
        rest = "NULLIF(json_remove(_extra, ?), '{}')"
        db.execute(f"UPDATE {table} SET _extra = {rest} WHERE json_type(_extra, ?) IN ({marks})", (path, path, *kinds))


_JSON_KINDS: dict[ColumnType, tuple[str, ...]] = {
    ColumnType.TEXT: ("text",),
    ColumnType.INTEGER: ("integer",),
    ColumnType.REAL: ("real", "integer"),
    ColumnType.BOOLEAN: ("true", "false"),
    ColumnType.JSON: ("object", "array"),
}
"""JSON types whose value is the stored value, by column type."""


def _follow_indexes(db: apsw.Connection, schema: Schema) -> None:
    wanted = indexes(schema)
    ours = (f"{schema.name}__by_", f"{schema.name}__key")
    rows = db.execute("SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name = ?", (schema.name,))
    present = {str(row[0]) for row in rows if str(row[0]).startswith(ours)}
    for name in sorted(present - set(wanted)):
        db.execute(f"DROP INDEX {quote(name)}")
    for name, statement in wanted.items():
        if name not in present:
            db.execute(statement)
