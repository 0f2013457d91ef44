"""What a view means: its class, its values with pinned meanings, its ages, and what is refused with which words."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.core.errors import SqlError
from headrace.core.schema import Column, ColumnType, Schema, TableKind, show
from headrace.views import aggregates as agg
from headrace.views.catalog import Catalog
from headrace.views.plan import plan
from headrace.views.rollup import Rollup
from headrace.views.tiles import RollupMaintainer
from headrace.views.view import ViewClass, ViewPlan

T = ColumnType
S = 1_000_000
NOW = 1_767_225_600 * S

ITEMS = Schema(
    "items",
    TableKind.TABLE,
    (
        Column("id", T.TEXT),
        Column("shop", T.TEXT),
        Column("name", T.TEXT, nullable=True),
        Column("price", T.REAL, nullable=True),
        Column("stock", T.INTEGER, nullable=True),
        Column("on_sale", T.BOOLEAN, nullable=True),
        Column("seen", T.TIMESTAMP, nullable=True),
        Column("day", T.DATE, nullable=True),
        Column("cost", T.DECIMAL, nullable=True),
        Column("tags", T.JSON, nullable=True),
    ),
    key=("id",),
    indexes=(("shop",),),
)
SHOPS = Schema("shops", TableKind.TABLE, (Column("shop", T.TEXT), Column("city", T.TEXT)), key=("shop",))
SALES = Schema(
    "sales",
    TableKind.EVENTS,
    (Column("id", T.TEXT), Column("units", T.INTEGER), Column("at", T.TIMESTAMP)),
    event_time="at",
    keep=10**12,
)
CLICKS = Schema("clicks", TableKind.EVENTS, (Column("id", T.TEXT), Column("at", T.TIMESTAMP)), event_time="at")
POPULAR = Rollup(
    "popular", SALES, by="id", windows=["1m", "1h"], aggregates={"n": agg.count(), "units": agg.sum("units")}
)


@pytest.fixture
def catalog() -> Catalog:
    made = Catalog()
    for schema in (ITEMS, SHOPS, SALES, CLICKS):
        made.add_table(schema)
    made.add_rollup(POPULAR)
    return made


@pytest.fixture
def store(make_store: Any) -> Any:
    store = make_store(ITEMS, SHOPS, SALES, CLICKS)
    store.maintain(RollupMaintainer(POPULAR))
    store.commit((SHOPS, [("s1", "Rome"), ("s2", "Oslo")], []), source_ts=10)
    rows = [
        ("a", "s1", "Apple", 2.5, 7, 1, NOW, "2026-01-01", "1.50", '["x"]'),
        ("b", "s1", "apple [1]*", None, 2, 0, NOW - 10 * S, None, None, None),
        ("c", "s2", None, 4.0, None, None, None, "2025-12-31", "1.5", None),
        ("d", "s9", "50%_off", 0.0, 0, 1, NOW - 3600 * S, None, None, None),
    ]
    store.commit((ITEMS, rows, []), source_ts=20)
    store.commit((SALES, [("a", 3, NOW - 5 * S), ("a", 4, NOW - 1800 * S), ("b", 5, NOW - 1800 * S)], []), source_ts=30)
    return store


def read(store: Any, view: ViewPlan, **values: Any) -> list[tuple]:
    if view.needs_now:
        values["_now"] = NOW
    return [row[: len(view.columns)] for row in store.db.execute(view.statement, values)]


def value(store: Any, catalog: Catalog, expression: str, where: str = "id = 'a'", **values: Any) -> Any:
    view = plan("v", f"SELECT {expression} AS x FROM items WHERE {where}", catalog)
    rows = read(store, view, **values)
    return show(view.columns[0].type, rows[0][0]) if rows else "no row"


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("stock / 2", 3.5),
        ("1 / 4", 0.25),
        ("stock / 0", None),
        ("stock % 4", 3),
        ("-7 % 4", -3),
        ("stock * 2 + 1 - 3", 12),
        ("price * stock", 17.5),
        ("ABS(0 - stock)", 7),
        ("ROUND(2.5)", 3.0),
        ("ROUND(price / 3, 2)", 0.83),
        ("ROUND(stock, 1)", 7),
        ("CAST(-2.7 AS BIGINT)", -2),
        ("CAST(stock AS TEXT) || '!'", "7!"),
        ("name LIKE 'A%'", True),
        ("name LIKE 'a%'", False),
        ("LOWER(name) LIKE 'a____'", True),
        ("name NOT LIKE '%pp%'", False),
        ("name NOT LIKE 'a%'", True),
        ("name NOT LIKE '%!%%' ESCAPE '!'", True),
        ("NOT (name LIKE 'A%')", False),
        ("NOT name LIKE 'A%'", False),
        ("price IS NOT NULL", True),
        ("on_sale IS NOT TRUE", False),
        ("stock IS NOT DISTINCT FROM 7", True),
        ("stock NOT BETWEEN 1 AND 7", False),
        ("NOT EXISTS (SELECT 1 FROM shops s WHERE s.shop = items.shop)", False),
        ("shop NOT IN (SELECT shop FROM shops WHERE city = 'Oslo')", True),
        ("stock <> 7", False),
        ("name LIKE :p", True),
        ("LENGTH('h\u00e9llo')", 5),
        ("UPPER('h\u00e9llo')", "H\u00e9LLO"),
        ("SUBSTRING(name, 2, 3)", "ppl"),
        ("TRIM('  x ')", "x"),
        ("on_sale", True),
        ("NOT on_sale", False),
        ("on_sale AND NULL", None),
        ("on_sale = TRUE", True),
        ("price IS NULL", False),
        ("price IS DISTINCT FROM NULL", True),
        ("NULLIF(stock, 7)", None),
        ("COALESCE(NULL, stock, 1)", 7),
        ("CASE WHEN stock > 5 THEN 1 ELSE 0.5 END", 1.0),
        ("CASE name WHEN 'Apple' THEN 'yes' END", "yes"),
        ("stock BETWEEN 1 AND 7", True),
        ("stock IN (1, 7)", True),
        ("stock NOT IN (1, 7)", False),
        ("stock IN (1, NULL)", None),
        ("seen", "2026-01-01T00:00:00.000000Z"),
        ("seen - INTERVAL '1' DAY", "2025-12-31T00:00:00.000000Z"),
        ("seen = '2026-01-01T00:00:00Z'", True),
        ("seen = TIMESTAMP '2026-01-01 01:00:00+01:00'", True),
        ("seen >= NOW() - INTERVAL '5 minutes'", True),
        ("CURRENT_TIMESTAMP - seen", 0.0),
        ("day = '2026-01-01'", True),
        ("day < DATE '2026-01-02'", True),
        ("cost = '1.50'", True),
        ("cost = '1.5'", False),
        ("tags", ["x"]),
        ("EXISTS (SELECT 1 FROM shops s WHERE s.shop = items.shop)", True),
        ("shop IN (SELECT shop FROM shops WHERE city = 'Oslo')", False),
        ("(SELECT MAX(s.city) FROM shops s WHERE s.shop = items.shop)", "Rome"),
    ],
)
def test_meaning(store: Any, catalog: Catalog, expression: str, expected: Any) -> None:
    values = {"p": "App_e"} if ":p" in expression else {}
    got = value(store, catalog, expression, **values)
    assert got == expected
    assert type(got) is type(expected)


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("apple [1]*", ["b"]),
        ("%[%", ["b"]),
        ("%*%", ["b"]),
        ("%!%%", ["d"]),
        ("%!_%", ["d"]),
        ("%?%", []),
        ("_pple", ["a"]),
    ],
)
def test_like_literal_and_bound_patterns_agree(store: Any, catalog: Catalog, pattern: str, found: list[str]) -> None:
    view = plan("v", f"SELECT id FROM items WHERE name LIKE '{pattern}' ESCAPE '!' ORDER BY id", catalog)
    assert [row[0] for row in read(store, view)] == found
    if "!" not in pattern:
        bound = plan("w", "SELECT id FROM items WHERE name LIKE :p ORDER BY id", catalog)
        assert [row[0] for row in read(store, bound, p=pattern)] == found


def test_null_is_the_smallest(store: Any, catalog: Catalog) -> None:
    def order(words: str) -> str:
        return "".join(r[0] for r in read(store, plan("v", f"SELECT id FROM items ORDER BY {words}", catalog)))

    assert order("price, id") == "bdac"
    assert order("price DESC, id") == "cadb"
    assert order("price NULLS LAST, id") == "dacb"
    assert order("price DESC NULLS FIRST, id") == "bcad"


def test_left_join_of_a_rollup_gives_null_without_events(store: Any, catalog: Catalog) -> None:
    sql = (
        "SELECT i.id, p.n_1m, p.n_1h, p.units_1m FROM items i LEFT JOIN popular p USING (id) ORDER BY p.n_1h DESC, i.id"
    )
    assert read(store, plan("v", sql, catalog)) == [
        ("a", 1, 2, 3),
        ("b", 0, 1, None),
        ("c", None, None, None),
        ("d", None, None, None),
    ]
    inner = plan("v", "SELECT i.id, p.units_1h AS u FROM items i JOIN popular p ON p.id = i.id AND p.n_1m > 0", catalog)
    assert read(store, inner) == [("a", 7)]
    alone = plan("v", "SELECT t.id, t.n_1h FROM popular t WHERE t.id = :id", catalog)
    assert alone.kind is ViewClass.READ_TIME
    assert read(store, alone, id="b") == [("b", 1)]
    assert read(store, alone, id="c") == []


def test_a_joined_rollup_reads_only_the_keys_and_tiles_it_needs(store: Any, catalog: Catalog) -> None:
    sql = "SELECT i.id, p.n_1m FROM items i LEFT JOIN popular p USING (id) WHERE i.shop = :s ORDER BY p.n_1m DESC"
    view = plan("v", sql, catalog)
    steps = [row[3] for row in store.db.execute(f"EXPLAIN QUERY PLAN {view.statement}", {"s": "s1", "_now": NOW})]
    assert [step for step in steps if "SCAN" in step] == []
    searched = [step for step in steps if "SEARCH _t USING PRIMARY KEY (id=? AND _tile>? AND _tile<?)" in step]
    assert len(searched) == 2  # the named column once, not again for the order; and whether the key has events
    assert "SEARCH p USING PRIMARY KEY (id=?) LEFT-JOIN" in steps


def test_ages_are_the_minimum_over_what_was_joined(store: Any, catalog: Catalog) -> None:
    sql = "SELECT i.id FROM items i LEFT JOIN shops s USING (shop) LEFT JOIN popular p USING (id) ORDER BY i.id"
    view = plan("v", sql, catalog)
    assert view.hidden == ("_source_ts", "_txn_0", "_txn_1", "_txn_2")
    rows = [row[1:] for row in store.db.execute(view.statement, {"_now": NOW})]
    assert rows == [(10, 2, 1, 3), (10, 2, 1, 3), (10, 2, 1, None), (20, 2, None, None)]


def test_with_union_and_derived_tables_carry_ages(store: Any, catalog: Catalog) -> None:
    sql = """
        WITH cheap AS (SELECT id, shop FROM items WHERE price < 3)
        SELECT c.id, s.city FROM cheap c JOIN shops s ON s.shop = c.shop
        UNION ALL
        SELECT d.id, 'none' FROM (SELECT id, shop FROM items WHERE shop = :shop) d
        ORDER BY id"""
    view = plan("v", sql, catalog)
    assert view.kind is ViewClass.READ_TIME
    assert store.db.execute(view.statement, {"shop": "s9"}).fetchall() == [("a", "Rome", 10, 2), ("d", "none", 20, 2)]


def test_view_over_views(store: Any, catalog: Catalog) -> None:
    inner = plan("priced", "SELECT id, shop, price / 2 AS half FROM items WHERE price IS NOT NULL", catalog)
    catalog.add_view(inner)
    kept = plan("per_shop", "SELECT shop, COUNT(*) AS n FROM items GROUP BY shop", catalog)
    catalog.add_view(kept)
    store.maintain(kept.maintainer)
    outer = plan("v", "SELECT p.id, p.half, k.n FROM priced p JOIN per_shop k USING (shop) WHERE p.id = :id", catalog)
    assert (outer.kind, outer.inputs, outer.tables) == (ViewClass.READ_TIME, ("priced", "per_shop"), ("items",))
    assert store.db.execute(outer.statement, {"id": "a"}).fetchall() == [("a", 1.25, 2, 20, 2, 2)]
    catalog.add_view(plan("asked", "SELECT id FROM items WHERE shop = :shop", catalog))
    with pytest.raises(SqlError, match="has parameters"):
        plan("w", "SELECT id FROM asked", catalog)


def test_refreshed_view_is_replaced_as_a_whole(store: Any, catalog: Catalog) -> None:
    view = plan("top", "SELECT id, units_1h AS u FROM popular ORDER BY u DESC LIMIT 2", catalog)
    assert (view.kind, view.refresh, view.needs_now) == (ViewClass.REFRESHED, S, False)
    refresher = view.refresher
    assert refresher is not None
    refresher.setup(store.db)
    assert refresher.as_of(store.db) is None
    assert refresher.run(store.db, now=NOW, as_of=NOW - 7)
    assert store.db.execute(view.statement).fetchall() == [("a", 7, NOW - 5 * S, 3), ("b", 5, NOW - 1800 * S, 3)]
    assert not refresher.run(store.db, now=NOW, as_of=NOW + 5)
    assert refresher.as_of(store.db) == NOW + 5
    catalog.add_view(view)
    over = plan("over", "SELECT u FROM top WHERE id = :id", catalog)
    assert (over.tables, over.refreshed) == ((), ("top",))
    assert read(store, over, id="b") == [(5,)]


@pytest.mark.parametrize(
    ("sql", "kind", "why"),
    [
        ("SELECT id FROM items WHERE shop = :s", "read-time", "no aggregate"),
        ("SELECT shop, COUNT(*) AS n FROM items GROUP BY shop", "affected-group", "(shop)"),
        ("SELECT shop, COUNT(*) AS n FROM items WHERE price > :p GROUP BY shop", "read-time", "a parameter reaches"),
        (
            "SELECT shop, COUNT(*) AS n FROM items GROUP BY shop HAVING COUNT(*) > :m",
            "read-time",
            "a parameter reaches",
        ),
        ("SELECT COUNT(*) AS n FROM items", "refreshed", "all rows are one group"),
        ("SELECT COUNT(*) AS n FROM items WHERE shop = :s", "read-time", "all rows are one group"),
        ("SELECT id, SUM(units) AS u FROM sales GROUP BY id", "refreshed", "events sales"),
        ("SELECT SUM(n_1m) AS n FROM popular", "refreshed", "rollup popular"),
        ("SELECT id FROM items ORDER BY price DESC LIMIT 3", "refreshed", "first rows of all"),
        ("SELECT id FROM items ORDER BY id DESC LIMIT 3", "read-time", "no aggregate"),
        ("SELECT id FROM items WHERE shop = 's1' ORDER BY price LIMIT 3", "read-time", "no aggregate"),
        ("SELECT shop, COUNT(*) AS n FROM items WHERE seen > NOW() GROUP BY shop", "refreshed", "depend on the time"),
        (
            "SELECT shop, COUNT(*) AS n FROM items WHERE EXISTS (SELECT 1 FROM shops s WHERE s.shop"
            " = items.shop) GROUP BY shop",
            "refreshed",
            "subquery",
        ),
        ("WITH g AS (SELECT shop, COUNT(*) AS n FROM items GROUP BY shop) SELECT shop FROM g", "refreshed", "subquery"),
    ],
)
def test_class_and_reason(catalog: Catalog, sql: str, kind: str, why: str) -> None:
    view = plan("v", sql, catalog)
    assert view.kind == kind
    assert why in view.why


def test_parameter_types_come_from_what_they_meet(catalog: Catalog) -> None:
    sql = """SELECT id FROM items WHERE price > :p AND stock = :n AND seen >= :t - INTERVAL '1' HOUR AND day = :d
        AND on_sale = :b AND name LIKE :l AND (:opt IS NULL OR shop = :opt) AND cost = :c LIMIT :m"""
    found = {p.name: (p.type.value, p.nullable) for p in plan("v", sql, catalog).params}
    assert found == {
        "p": ("real", False),
        "n": ("integer", False),
        "t": ("timestamp", False),
        "d": ("date", False),
        "b": ("boolean", False),
        "l": ("text", False),
        "opt": ("text", True),
        "c": ("decimal", False),
        "m": ("integer", False),
    }


def test_negative_limit_is_no_row(store: Any, catalog: Catalog) -> None:
    assert read(store, plan("v", "SELECT id FROM items LIMIT :n", catalog), n=-1) == []


@pytest.mark.parametrize(
    ("sql", "message", "hint"),
    [
        ("SELECT nme FROM items", "line 1:8: there is no column 'nme'", "did you mean 'name'?"),
        ("SELECT i.nme FROM items i", "'i' has no column 'nme'", "did you mean 'name'?"),
        ("SELECT id\nFROM itms", "line 2:6: there is no table, rollup or view 'itms'", "did you mean 'items'?"),
        ("SELECT x.id FROM items i", "no table 'x' in this FROM", "there are: i"),
        ("SELECT shop FROM items i JOIN shops s ON i.shop = s.shop", "ambiguous: 'i' and 's' have it", "write i.shop"),
        ("SELECT id, id FROM items", "two outputs are named 'id'", "AS"),
        ("SELECT price * 2 FROM items", "has no name", "price * 2 AS name"),
        ("SELECT id AS _x FROM items", "reserved name", "letter"),
        ("DELETE FROM items", "a view is a SELECT, not DELETE", "only read"),
        ("SELECT id FROM items; SELECT 1", "2 statements", ""),
        ("SELECT id FROM", "", "valid SQL"),
        ("SELECT 'x FROM items", "not SQL", "quote"),
        ("SELECT SUM(stock) OVER () AS x FROM items", "window function", "rollup"),
        ("WITH RECURSIVE r AS (SELECT id FROM items) SELECT id FROM r", "RECURSIVE", ""),
        ("SELECT i.id FROM items i, shops s", "the join of 's' has no equality", "ON"),
        ("SELECT i.id FROM items i JOIN shops s ON i.id > s.shop", "has no equality", "ON"),
        ("SELECT i.id FROM items i CROSS JOIN shops s", "CROSS JOIN", ""),
        ("SELECT i.id FROM items i RIGHT JOIN shops s USING (shop)", "RIGHT", "turn"),
        ("SELECT id FROM items WHERE on_sale = 1", "mixes boolean and integer", "TRUE"),
        ("SELECT id FROM items WHERE name = 5", "mixes text and integer", ""),
        ("SELECT id FROM items WHERE seen > 'yesterday'", "mixes timestamp and text", "2026-01-31T12:00:00Z"),
        ("SELECT id FROM items WHERE stock", "is integer, not a condition", "<> 0"),
        ("SELECT id FROM items ORDER BY cost", "orders decimal values", ""),
        ("SELECT id FROM items WHERE cost > '1'", "orders decimal values", ""),
        ("SELECT name + 1 AS x FROM items", "computes with text", "CAST"),
        ("SELECT CAST(name AS BIGINT) AS x FROM items", "text cannot be cast to integer", "declare"),
        ("SELECT price % 2 AS x FROM items", "not of integers", ""),
        ("SELECT seen + INTERVAL '1' MONTH AS x FROM items", "no unit of a fixed length", "months"),
        ("SELECT name ILIKE 'a' AS x FROM items", "ignores case", "LOWER"),
        ("SELECT MEDIAN(price) AS x FROM items", "not in the SQL subset", ""),
        ("SELECT RANDOM_THING(price) AS x FROM items", "no function RANDOM_THING", "COALESCE"),
        (
            "SELECT shop, price FROM items GROUP BY shop",
            "price is neither grouped nor inside an aggregate",
            "MIN(price)",
        ),
        ("SELECT id FROM items WHERE COUNT(*) > 1", "where rows are not grouped", "HAVING"),
        ("SELECT SUM(DISTINCT stock) AS x FROM items", "uses DISTINCT", "COUNT"),
        ("SELECT MAX(stock, 1) AS x FROM items", "not in the SQL subset", ""),
        ("SELECT id FROM items UNION SELECT id FROM sales", "UNION without ALL", "UNION ALL"),
        ("SELECT id FROM clicks", "the events 'clicks' are not kept", "keep"),
        ("SELECT :x AS x FROM items", "type", "CAST"),
        ("SELECT id FROM items WHERE stock = :x AND name = :x", "in one place and", "two parameters"),
        ("SELECT id FROM items WHERE stock = ?", "a parameter has no name", ":name"),
        ("SELECT id FROM items LIMIT stock", "LIMIT is not a constant", ""),
        ("SELECT (SELECT city FROM shops) AS x FROM items", "may have several rows", "MAX"),
        ("SELECT id FROM items WHERE (id, shop) IN (SELECT shop, city FROM shops)", "not in the SQL subset", ""),
        ("SELECT NULL AS x FROM items", "cannot be told", "CAST"),
        ("SELECT stock BETWEEN SYMMETRIC 9 AND 1 AS x FROM items", "SYMMETRIC", "sql.md"),
        ("SELECT CAST(name AS VARCHAR(3)) AS x FROM items", "not in the SQL subset", "sql.md"),
        ("SELECT CAST(day AS TEXT FORMAT 'YYYY') AS x FROM items", "not in the SQL subset", "sql.md"),
        ("SELECT LENGTH(name, 'utf8') AS x FROM items", "not in the SQL subset", "sql.md"),
        ("SELECT CURRENT_TIMESTAMP(3) AS x FROM items", "not in the SQL subset", "sql.md"),
        ("SELECT TRIM(BOTH 'x' FROM name) AS x FROM items", "not in the SQL subset", "sql.md"),
        ("SELECT MAX(stock IGNORE NULLS) AS x FROM items", "not in the SQL subset", "sql.md"),
        ("SELECT name LIKE ANY ('a', 'b') AS x FROM items", "not in the SQL subset", "sql.md"),
        ("SELECT id FROM items TABLESAMPLE (10 PERCENT)", "not in the SQL subset", ""),
        ("SELECT id FROM items GROUP BY ROLLUP (id)", "not in the SQL subset", ""),
        ("SELECT DISTINCT ON (shop) id FROM items", "not in the SQL subset", ""),
        ("SELECT id FROM items FOR UPDATE", "locks", ""),
        ("SELECT id FROM items ORDER BY id FETCH FIRST 3 ROWS WITH TIES", "not in the SQL subset", "LIMIT"),
        ("SELECT COUNT(*) FILTER (WHERE stock > 1) AS n FROM items", "FILTER", "CASE"),
    ],
)
def test_refusals_say_where_why_and_what_to_do(catalog: Catalog, sql: str, message: str, hint: str) -> None:
    with pytest.raises(SqlError) as error:
        plan("v", sql, catalog)
    assert message in error.value.message
    assert hint in error.value.hint
    assert error.value.hint


def test_declared_parameter_that_no_one_uses(catalog: Catalog) -> None:
    with pytest.raises(SqlError, match="'y' is declared, but the SQL does not use it"):
        plan("v", "SELECT id FROM items WHERE id = :x", catalog, params={"y": T.TEXT})


def test_refresh_with_parameters_is_refused(catalog: Catalog) -> None:
    with pytest.raises(SqlError, match="refreshed every 5s, but has the parameter :x"):
        plan("v", "SELECT id FROM items WHERE id = :x", catalog, refresh="5s")
