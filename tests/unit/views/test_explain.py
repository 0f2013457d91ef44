"""What `headrace explain` knows: classes, inputs, indexes that are used, and the exact ones that are missing."""

from __future__ import annotations

import pytest

from headrace.core.errors import DeclarationError
from headrace.core.schema import Column, ColumnType, Schema, TableKind
from headrace.views import aggregates as agg
from headrace.views.catalog import Catalog
from headrace.views.explain import Explanation, explain
from headrace.views.plan import plan
from headrace.views.rollup import Rollup

T = ColumnType


def explained(sql: str, *, index: tuple[tuple[str, ...], ...] = ()) -> Explanation:
    catalog = Catalog()
    columns = (Column("id", T.TEXT), Column("shop", T.TEXT), Column("price", T.REAL))
    catalog.add_table(Schema("items", TableKind.TABLE, columns, key=("id",), indexes=index))
    catalog.add_table(Schema("shops", TableKind.TABLE, (Column("shop", T.TEXT), Column("city", T.TEXT)), key=("shop",)))
    sales = Schema("sales", TableKind.EVENTS, (Column("id", T.TEXT), Column("at", T.TIMESTAMP)), event_time="at")
    catalog.add_table(sales)
    catalog.add_rollup(Rollup("popular", sales, by="id", windows=["15m", "24h"], aggregates={"n": agg.count()}))
    catalog.add_view(plan("v", sql, catalog))
    return explain(catalog)[-1]


def test_a_missing_index_is_named_as_it_is_declared() -> None:
    sql = "SELECT id FROM items WHERE shop = :s AND price > 2"
    assert explained(sql).lacks == ('items: index=[("shop", "price")]',)
    assert explained(sql, index=(("shop", "price"),)).uses == ("items by items__by_shop_price",)
    assert explained(sql, index=(("shop", "price"),)).lacks == ()
    assert explained("SELECT id FROM items WHERE shop = :s").lacks == ('items: index=["shop"]',)
    assert explained("SELECT id FROM items").scans == ("items",)


def test_kept_groups_are_judged_by_what_a_change_costs() -> None:
    sql = "SELECT shop, COUNT(*) AS n FROM items GROUP BY shop"
    bare = explained(sql)
    assert (bare.kind, bare.inputs, bare.lacks) == ("affected-group", ("items",), ('items: index=["shop"]',))
    assert explained(sql, index=(("shop",),)).lacks == ()
    joined = "SELECT s.city, COUNT(*) AS n FROM items i JOIN shops s USING (shop) GROUP BY s.city"
    assert 'shops: index=["city"]' in explained(joined, index=(("shop",),)).lacks


def test_a_rollup_is_read_by_key() -> None:
    sql = "SELECT i.id, p.n_15m FROM items i LEFT JOIN popular p USING (id) WHERE i.shop = :s ORDER BY p.n_15m DESC"
    found = explained(sql, index=(("shop",),))
    assert (found.kind, found.uses, found.lacks, found.scans) == ("read-time", ("items by items__by_shop",), (), ())


def test_tables_and_rollups() -> None:
    catalog = Catalog()
    sales = Schema(
        "sales",
        TableKind.EVENTS,
        (Column("id", T.TEXT), Column("at", T.TIMESTAMP)),
        event_time="at",
        keep=86_400_000_000,
    )
    catalog.add_table(sales)
    catalog.add_rollup(Rollup("popular", sales, by="id", windows=["15m", "24h"], aggregates={"n": agg.count()}))
    found = explain(catalog)
    assert [(e.name, e.kind, e.inputs, e.why) for e in found] == [
        ("sales", "events", (), "by at, kept for 1d"),
        ("popular", "tiles", ("sales",), "15m by tiles of 15s, 24h by tiles of 20m"),
    ]
    with pytest.raises(DeclarationError, match="is taken"):
        catalog.add_table(sales)
