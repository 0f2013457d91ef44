"""The law of kept views: whatever changes, in whatever order, the kept groups equal those computed in full."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.core.schema import Column, ColumnType, Schema, TableKind
from headrace.views.catalog import Catalog
from headrace.views.plan import plan
from headrace.views.view import ViewClass, ViewPlan

T = ColumnType
ITEMS = Schema(
    "items",
    TableKind.TABLE,
    (
        Column("id", T.INTEGER),
        Column("shop", T.TEXT, nullable=True),
        Column("kind", T.TEXT),
        Column("price", T.INTEGER, nullable=True),
    ),
    key=("id",),
    indexes=(("shop",),),
)
SHOPS = Schema(
    "shops",
    TableKind.TABLE,
    (Column("shop", T.TEXT), Column("city", T.TEXT, nullable=True), Column("open", T.BOOLEAN)),
    key=("shop",),
)
VIEWS = {
    "one": "SELECT kind, COUNT(*) AS n, SUM(price) AS total, AVG(price) AS mean, MIN(price) AS low"
    " FROM items GROUP BY kind",
    "nulls": "SELECT shop, COUNT(price) AS n, COUNT(DISTINCT kind) AS kinds FROM items GROUP BY shop",
    "two_keys": "SELECT shop, kind, MAX(price) AS high FROM items WHERE price > 2 GROUP BY shop, kind",
    "having": "SELECT kind, COUNT(*) AS n FROM items GROUP BY kind HAVING COUNT(*) > 1 AND MAX(price) < 9",
    "expression": "SELECT UPPER(kind) AS k, SUM(price) AS total FROM items GROUP BY UPPER(kind)",
    "hidden_key": "SELECT COUNT(*) AS n FROM items GROUP BY kind ORDER BY SUM(price) DESC, kind",
    "distinct": "SELECT DISTINCT kind, shop FROM items WHERE price IS NOT NULL",
    "inner": "SELECT s.city, COUNT(*) AS n, SUM(i.price) AS total FROM items i JOIN shops s ON"
    " s.shop = i.shop GROUP BY s.city",
    "left": "SELECT i.kind, COUNT(s.shop) AS n, MIN(s.city) AS c FROM items i LEFT JOIN shops s ON"
    " s.shop = i.shop AND s.open"
    " GROUP BY i.kind",
    "left_anti": "SELECT i.kind, COUNT(*) AS n FROM items i LEFT JOIN shops s USING (shop) WHERE"
    " s.shop IS NULL GROUP BY i.kind",
    "left_where": "SELECT i.kind, COUNT(*) AS n FROM items i LEFT JOIN shops s ON s.shop = i.shop AND s.city = 'p'"
    " WHERE s.open IS NOT TRUE GROUP BY i.kind",
    "left_chain": "SELECT a.kind, COUNT(s.shop) AS n, COUNT(b.id) AS m FROM items a LEFT JOIN shops"
    " s ON s.shop = a.shop"
    " LEFT JOIN items b ON b.shop = s.shop AND b.id > a.id GROUP BY a.kind",
    "inner_left": "SELECT s.city, COUNT(b.id) AS n FROM items a JOIN shops s USING (shop) LEFT JOIN"
    " items b ON b.price = a.id"
    " WHERE b.kind IS DISTINCT FROM 'x' GROUP BY s.city",
    "both": "SELECT i.shop, s.city, SUM(i.price) AS t FROM items i JOIN shops s USING (shop) WHERE"
    " s.open GROUP BY i.shop, s.city",
    "self": "SELECT a.kind, COUNT(*) AS pairs FROM items a JOIN items b ON a.shop = b.shop AND"
    " a.price < b.price GROUP BY a.kind",
    "self_left": "SELECT a.kind, COUNT(b.id) AS n FROM items a LEFT JOIN items b ON a.price = b.id GROUP BY a.kind",
}
PARAMETERISED = {
    "SELECT shop, COUNT(*) AS n FROM items WHERE shop = :shop AND price > 3 GROUP BY shop": {"shop": "b"},
    "SELECT kind AS k, shop, SUM(price) AS t FROM items WHERE kind >= :low GROUP BY kind, shop": {"low": "y"},
    "SELECT COUNT(*) AS n FROM items WHERE kind IN (:a, :b) GROUP BY kind ORDER BY n DESC, kind LIMIT :m": {
        "a": "x",
        "b": "z",
        "m": 1,
    },
}


def catalog() -> Catalog:
    made = Catalog()
    made.add_table(ITEMS)
    made.add_table(SHOPS)
    return made


items = st.tuples(
    st.integers(1, 6),
    st.sampled_from(["a", "b", "c", None]),
    st.sampled_from(["x", "X", "y", "z"]),
    st.one_of(st.none(), st.integers(0, 9)),
)
shops = st.tuples(st.sampled_from(["a", "b", "c"]), st.sampled_from(["p", "q", None]), st.integers(0, 1))
step = st.one_of(
    st.tuples(st.just(ITEMS), st.lists(items, max_size=4), st.lists(st.tuples(st.integers(1, 6)), max_size=2)),
    st.tuples(
        st.just(SHOPS), st.lists(shops, max_size=2), st.lists(st.tuples(st.sampled_from(["a", "b"])), max_size=1)
    ),
)
transactions = st.lists(st.lists(step, min_size=1, max_size=3), max_size=8)


def kept(store: Any, view: ViewPlan) -> list[tuple]:
    return sorted(store.db.execute(f'SELECT * FROM "{view.name}"').fetchall(), key=repr)


def recomputed(store: Any, view: ViewPlan) -> list[tuple]:
    assert view.maintainer is not None
    return sorted(store.db.execute(view.maintainer.select()).fetchall(), key=repr)


@settings(deadline=None, max_examples=150)
@given(transactions, st.booleans())
def test_incremental_equals_recomputed(make_store: Any, history: list[list[Any]], together: bool) -> None:
    views = [plan(name, sql, catalog()) for name, sql in VIEWS.items()]
    assert {view.kind for view in views} == {ViewClass.AFFECTED_GROUP}
    store = make_store(ITEMS, SHOPS)
    store.maintain(*[view.maintainer for view in views])
    for transaction in history:
        store.commit(*transaction, together=together)
        for view in views:
            assert kept(store, view) == recomputed(store, view), view.name


@settings(deadline=None, max_examples=60)
@given(transactions)
def test_parameters_filter_the_kept_groups(make_store: Any, history: list[list[Any]]) -> None:
    views = [(plan(f"v{i}", sql, catalog()), sql, values) for i, (sql, values) in enumerate(PARAMETERISED.items())]
    store = make_store(ITEMS, SHOPS)
    store.maintain(*[view.maintainer for view, _, _ in views])
    for transaction in history:
        store.commit(*transaction)
    for view, sql, values in views:
        assert view.kind is ViewClass.AFFECTED_GROUP
        width = len(view.columns)
        got = [row[:width] for row in store.db.execute(view.statement, values)]
        want = store.db.execute(sql, values).fetchall()  # these texts mean the same in SQLite as they stand
        assert got == want if "ORDER" in sql else sorted(got, key=repr) == sorted(want, key=repr)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT s.city, COUNT(*) AS n FROM items i LEFT JOIN shops s USING (shop) GROUP BY s.city",
        "SELECT COALESCE(s.city, 'none') AS c, COUNT(*) AS n FROM items i LEFT JOIN shops s USING"
        " (shop) GROUP BY COALESCE(s.city, 'none')",
        "SELECT i.kind, COUNT(*) AS n FROM items i LEFT JOIN shops s USING (shop) JOIN shops t ON"
        " t.city = COALESCE(s.city, i.shop)"
        " GROUP BY i.kind",
    ],
)
def test_what_no_changed_row_tells_is_refreshed(sql: str) -> None:
    view = plan("v", sql, catalog())
    assert view.kind is ViewClass.REFRESHED
    assert "whose coming and going no row tells" in view.why


@pytest.mark.parametrize("discarded", [True, False])
def test_rolled_back_transaction_leaves_groups_right(make_store: Any, discarded: bool) -> None:
    view = plan("v", VIEWS["one"], catalog())
    store = make_store(ITEMS, SHOPS)
    store.maintain(view.maintainer)
    store.commit((ITEMS, [(1, "a", "x", 5)], []))
    store.db.execute("BEGIN")
    store.apply([(ITEMS, [(1, "a", "y", 7), (2, "a", "y", 1)], [])], 9)
    store.db.execute("ROLLBACK")
    if discarded:
        view.maintainer.discard()
    store.commit((ITEMS, [(3, "b", "z", 2)], []))
    assert kept(store, view) == recomputed(store, view)


def test_changed_definition_is_rebuilt(make_store: Any) -> None:
    store = make_store(ITEMS, SHOPS)
    store.maintain(plan("v", VIEWS["one"], catalog()).maintainer)
    store.commit((ITEMS, [(1, "a", "x", 5), (2, "b", "y", 6)], []))
    view = plan("v", VIEWS["two_keys"], catalog())
    assert view.maintainer is not None
    view.maintainer.setup(store.db)
    assert kept(store, view) == recomputed(store, view) != []


def test_each_touched_group_is_computed_once_a_transaction(make_store: Any) -> None:
    view = plan("v", VIEWS["one"], catalog())
    store = make_store(ITEMS, SHOPS)
    store.maintain(view.maintainer)
    steps = [(ITEMS, [(1, "a", kind, price)], []) for kind, price in (("x", 5), ("x", 6), ("y", 7))]
    store.commit(*steps, together=False)
    assert [row[:2] for row in kept(store, view)] == [("y", 1)]


def test_sum_beyond_64_bits_never_stops_the_writer(make_store: Any) -> None:
    view = plan("v", VIEWS["one"], catalog())
    store = make_store(ITEMS, SHOPS)
    store.maintain(view.maintainer)
    big = 2**63 - 1
    store.commit((ITEMS, [(1, "a", "x", big), (2, "a", "x", big), (3, "a", "y", big), (4, "a", "y", -5)], []))
    totals = {row[0]: row[2] for row in store.db.execute(view.statement)}
    assert totals == {"x": 2.0**64, "y": big - 5}


@pytest.mark.parametrize("name", ["one", "two_keys", "inner"])
def test_value_age_is_of_the_oldest_row(make_store: Any, name: str) -> None:
    view = plan("v", VIEWS[name], catalog())
    store = make_store(ITEMS, SHOPS)
    store.maintain(view.maintainer)
    store.commit((SHOPS, [("a", "p", 1)], []), source_ts=50)
    store.commit((ITEMS, [(1, "a", "x", 5)], []), source_ts=100)
    store.commit((ITEMS, [(2, "a", "x", 6)], []), source_ts=200)
    rows = store.db.execute(view.statement).fetchall()
    assert [row[-2:] for row in rows] == [(50 if name == "inner" else 100, 3)]


@pytest.mark.parametrize("name", VIEWS)
def test_the_groups_of_changed_rows_are_found_by_key(make_store: Any, name: str) -> None:
    view = plan(name, VIEWS[name], catalog())
    store = make_store(ITEMS, SHOPS)
    assert view.maintainer is not None
    for probe in view.maintainer.probes:
        steps = [row[3] for row in store.db.execute(f"EXPLAIN QUERY PLAN {probe.query}", {"rows": "[]"})]
        assert steps[2] == "SCAN _given"
        assert "USING PRIMARY KEY" in steps[3], steps


BLOBS = Schema(
    "blobs",
    TableKind.TABLE,
    (Column("id", T.BYTES), Column("tag", T.BYTES, nullable=True), Column("size", T.REAL)),
    key=("id",),
)


def test_keys_and_groups_may_be_what_json_cannot_carry(make_store: Any) -> None:
    made = Catalog()
    made.add_table(BLOBS)
    texts = {
        "tags": "SELECT tag, COUNT(*) AS n FROM blobs GROUP BY tag",
        "sizes": "SELECT size * 1e200 AS big, COUNT(*) AS n FROM blobs GROUP BY size * 1e200",
    }
    views = [plan(name, sql, made) for name, sql in texts.items()]
    assert {view.kind for view in views} == {ViewClass.AFFECTED_GROUP}
    store = make_store(BLOBS)
    store.maintain(*[view.maintainer for view in views])
    store.commit((BLOBS, [(b"\x00", b"\xff\x00", 1e200), (b"\x01", b"\xff\x00", -1e200), (b"\x02", None, 1.0)], []))
    store.commit((BLOBS, [(b"\x00", b"", 1e200), (b"\x03", b"\xff\x00", 1e200)], [(b"\x02",)]))
    assert kept(store, views[0]) == recomputed(store, views[0])
    assert kept(store, views[1]) == recomputed(store, views[1])
    assert {row[0] for row in kept(store, views[1])} == {float("inf"), float("-inf")}
