"""What was corrupted behind the maintainers' backs is found; what was not, is not reported."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from headrace.core.schema import Column, ColumnType, Schema, TableKind
from headrace.views import aggregates as agg
from headrace.views.audit import audit
from headrace.views.catalog import Catalog
from headrace.views.plan import plan
from headrace.views.rollup import Rollup
from headrace.views.tiles import RollupMaintainer

S = 1_000_000
NOW = 1_767_225_600 * S
T = ColumnType
ITEMS = Schema(
    "items",
    TableKind.TABLE,
    (Column("id", T.INTEGER), Column("shop", T.TEXT, True), Column("price", T.REAL)),
    key=("id",),
)
SALES = Schema(
    "sales",
    TableKind.EVENTS,
    (Column("id", T.TEXT), Column("price", T.REAL), Column("buyer", T.TEXT), Column("at", T.TIMESTAMP)),
    event_time="at",
    keep=86_400 * S,
)


@pytest.fixture
def city(make_store: Any) -> tuple[Any, Catalog]:
    rng = Random(7)
    store = make_store(ITEMS, SALES)
    catalog = Catalog()
    catalog.add_table(ITEMS)
    catalog.add_table(SALES)
    aggregates = {"n": agg.count(), "spent": agg.sum("price"), "last": agg.last("buyer"), "who": agg.distinct("buyer")}
    rollup = Rollup("popular", SALES, by="id", windows=["1m", "6h"], aggregates=aggregates)
    catalog.add_rollup(rollup)
    view = plan("per_shop", "SELECT shop, COUNT(*) AS n, SUM(price) AS total FROM items GROUP BY shop", catalog)
    catalog.add_view(view)
    store.maintain(RollupMaintainer(rollup), view.maintainer)
    for _ in range(20):
        rows = [(rng.randrange(50), rng.choice(["a", "b", "c", None]), rng.random()) for _ in range(5)]
        events = [
            (f"i{rng.randrange(5)}", rng.random(), rng.choice("xyz"), NOW - rng.randrange(7200) * S) for _ in range(10)
        ]
        store.commit((ITEMS, rows, [(rng.randrange(50),)]), (SALES, events, []))
    return store, catalog


def test_nothing_to_report(city: Any) -> None:
    store, catalog = city
    result = audit(store.db, catalog, Random(1), now=NOW, sample=200)
    assert result.differences == []
    assert set(result.checked) == {"popular", "per_shop"}
    assert min(result.checked.values()) >= 4
    assert not store.db.in_transaction


@pytest.mark.parametrize(
    ("corruption", "name"),
    [
        ("UPDATE per_shop SET n = n + 1 WHERE shop = 'b'", "per_shop"),
        ("UPDATE per_shop SET total = total + 0.01 WHERE shop IS NULL", "per_shop"),
        ("DELETE FROM per_shop WHERE shop = 'a'", "per_shop"),
        ("INSERT INTO per_shop VALUES ('ghost', 1, 1.0, 1, 1)", "per_shop"),
        ("INSERT INTO per_shop SELECT * FROM per_shop WHERE shop = 'c'", "per_shop"),
        ("UPDATE popular__tiles_1s SET _n = _n + 1", "popular"),
        ("UPDATE \"popular__tiles_5m\" SET _sum_price = 0.0 WHERE id = 'i1'", "popular"),
        ("DELETE FROM popular__tiles_5m WHERE id = 'i2'", "popular"),
        ("UPDATE popular__values_buyer_5m SET _n = _n + 1 WHERE id = 'i3'", "popular"),
        ("DELETE FROM popular__values_buyer_5m WHERE _value = 'x'", "popular"),
    ],
)
def test_injected_corruption_is_found(city: Any, corruption: str, name: str) -> None:
    store, catalog = city
    store.db.execute(corruption)
    assert store.db.total_changes()
    result = audit(store.db, catalog, Random(1), now=NOW, sample=1000)
    assert {difference.name for difference in result.differences} == {name}
    assert name in str(result.differences[0])


def test_events_that_are_not_kept_are_said_to_be_unchecked(make_store: Any) -> None:
    clicks = Schema("clicks", TableKind.EVENTS, (Column("id", T.TEXT), Column("at", T.TIMESTAMP)), event_time="at")
    catalog = Catalog()
    catalog.add_table(clicks)
    catalog.add_rollup(Rollup("r", clicks, by="id", windows="1m", aggregates={"n": agg.count()}))
    result = audit(make_store().db, catalog, Random(1), now=NOW)
    assert (result.checked, result.unchecked) == ({}, ("r",))
