from __future__ import annotations

from dataclasses import replace

import apsw
import pytest

from headrace.core.errors import MigrationRefused, StoreError
from headrace.core.schema import Column, ColumnType, Schema, TableKind
from headrace.store.migrate import prepare, reset, stored_schema

TEXT, INTEGER = ColumnType.TEXT, ColumnType.INTEGER
ITEMS = Schema(
    "items",
    TableKind.TABLE,
    (Column("id", TEXT), Column("stock", INTEGER)),
    key=("id",),
    indexes=(("stock",),),
    adopt=True,
)
SALES = Schema(
    "sales", TableKind.EVENTS, (Column("n", INTEGER), Column("at", INTEGER)), ("n",), event_time="at", keep=5
)


@pytest.fixture
def db() -> apsw.Connection:
    db = apsw.Connection(":memory:")
    prepare(db, [ITEMS, SALES])
    rows = [("a", 1, '{"colour":"red","size":3}', 1, 1, 1), ("b", 2, None, 1, 1, 1)]
    db.executemany("INSERT INTO items VALUES (?, ?, ?, ?, ?, ?)", rows)
    return db


def with_column(column: Column) -> Schema:
    return replace(ITEMS, columns=(*ITEMS.columns, column))


def test_the_tables_are_those_of_the_declaration(db: apsw.Connection) -> None:
    found = db.execute("SELECT name FROM sqlite_schema WHERE tbl_name IN ('items', 'sales') ORDER BY 1").fetchall()
    names = [name for (name,) in found]
    assert {"items", "items__by_stock", "sales", "sales__by_at", "sales__key"} <= set(names)
    assert stored_schema(db, "items") == ITEMS
    assert stored_schema(db, "nothing") is None
    prepare(db, [ITEMS, SALES])


def test_a_new_column_takes_what_was_adopted_and_then_its_default(db: apsw.Connection) -> None:
    prepare(db, [with_column(Column("colour", TEXT, default="none"))])
    assert db.execute("SELECT id, colour, _extra FROM items").fetchall() == [
        ("a", "red", '{"size":3}'),
        ("b", "none", None),
    ]


def test_a_new_optional_column_is_null(db: apsw.Connection) -> None:
    prepare(db, [with_column(Column("weight", ColumnType.REAL, nullable=True))])
    assert db.execute("SELECT DISTINCT weight FROM items").fetchall() == [(None,)]


def test_a_new_required_column_without_values_is_refused_and_nothing_is_changed(db: apsw.Connection) -> None:
    with pytest.raises(MigrationRefused, match="colour") as refused:
        prepare(db, [with_column(Column("colour", TEXT))])
    assert "headrace store reset APP" in refused.value.hint
    assert stored_schema(db, "items") == ITEMS
    assert len(db.execute("PRAGMA table_info(items)").fetchall()) == 6


def test_a_dropped_column_stays_behind_and_comes_back_if_its_type_is_the_same(db: apsw.Connection) -> None:
    less = replace(ITEMS, columns=ITEMS.columns[:1], indexes=())
    prepare(db, [less])
    prepare(db, [ITEMS])
    assert db.execute("SELECT stock FROM items WHERE id = 'a'").get == 1
    prepare(db, [less])
    with pytest.raises(MigrationRefused, match="stock"):
        prepare(db, [replace(ITEMS, columns=(ITEMS.columns[0], Column("stock", TEXT)))])


def test_indexes_follow(db: apsw.Connection) -> None:
    prepare(db, [replace(ITEMS, indexes=(("stock", "id"),))])
    found = db.execute("SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'items' AND sql IS NOT NULL")
    assert found.fetchall() == [("items__by_stock_id",)]


@pytest.mark.parametrize(
    "changed",
    [
        replace(ITEMS, columns=(ITEMS.columns[0], Column("stock", ColumnType.REAL))),
        replace(ITEMS, key=("id", "stock")),
        replace(ITEMS, kind=TableKind.EVENTS, keep=1),
    ],
)
def test_what_rows_cannot_follow_is_refused(db: apsw.Connection, changed: Schema) -> None:
    with pytest.raises(MigrationRefused):
        prepare(db, [changed])
    assert reset(db, "items")
    prepare(db, [changed])


def test_another_format_is_refused(db: apsw.Connection) -> None:
    db.execute("UPDATE _hr_meta SET value = 99 WHERE name = 'format'")
    with pytest.raises(StoreError, match="format 99"):
        prepare(db, [])
