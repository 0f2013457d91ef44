"""Tiles equal a scan of the raw events of the documented interval, whatever comes late."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.core.errors import MigrationRefused
from headrace.core.schema import Column, ColumnType, Schema, TableKind
from headrace.views import aggregates as agg
from headrace.views.rollup import Rollup
from headrace.views.tiles import RollupMaintainer

S = 1_000_000
NOW = 1_767_225_600 * S + 123_456


def sales(keep: int | None = 10**12) -> Schema:
    return Schema(
        "sales",
        TableKind.EVENTS,
        (
            Column("item", ColumnType.TEXT, nullable=True),
            Column("price", ColumnType.REAL, nullable=True),
            Column("units", ColumnType.INTEGER, nullable=True),
            Column("buyer", ColumnType.TEXT, nullable=True),
            Column("at", ColumnType.TIMESTAMP),
        ),
        event_time="at",
        keep=keep,
    )


ALL = {
    "n": agg.count(),
    "n_units": agg.count("units"),
    "spent": agg.sum("price"),
    "units": agg.sum("units"),
    "mean": agg.mean("price"),
    "low": agg.min("price"),
    "high": agg.max("buyer"),
    "latest": agg.last("units"),
    "buyers": agg.distinct("buyer"),
    "top": agg.top_k("buyer", 2),
    "median": agg.quantile("price", 0.5),
}


def rollup(windows: Any = ("1m", "3h"), events: Schema | None = None, **options: Any) -> Rollup:
    return Rollup("r", events or sales(), by="item", windows=list(windows), aggregates=ALL, **options)


def expected(r: Rollup, rows: list[tuple], item: str, now: int) -> dict[str, Any] | None:
    """The raw scan, in Python, over the interval that the module documents."""
    out: dict[str, Any] = {"item": item}
    any_row = False
    for level in r.levels:
        for window in level.windows:
            start = ((now - window.length) // level.width + 1) * level.width
            end = (now // level.width + 1) * level.width
            mine = [x for x in rows if x[0] == item and start <= x[4] < end]
            if window.length == max(w.length for w in r.windows):
                any_row = bool(mine)
            prices = sorted(x[1] for x in mine if x[1] is not None)
            units = [x[2] for x in mine if x[2] is not None]
            buyers = Counter(x[3] for x in mine if x[3] is not None)
            latest = [x for _, x in sorted(enumerate(mine), key=lambda p: (p[1][4], p[0])) if x[2] is not None]
            top = sorted(buyers.items(), key=lambda p: (-p[1], p[0]))[:2]
            out |= {
                f"n_{window.name}": len(mine),
                f"n_units_{window.name}": len(units),
                f"spent_{window.name}": math.fsum(prices) if prices else None,
                f"units_{window.name}": sum(units) if units else None,
                f"mean_{window.name}": math.fsum(prices) / len(prices) if prices else None,
                f"low_{window.name}": prices[0] if prices else None,
                f"high_{window.name}": max(buyers) if buyers else None,
                f"latest_{window.name}": latest[-1][2] if latest else None,
                f"buyers_{window.name}": len(buyers),
                f"top_{window.name}": [{"value": v, "count": c} for v, c in top],
                f"median_{window.name}": prices[math.floor(0.5 * (len(prices) - 1))] if prices else None,
            }
    return out if any_row else None


def read(store: Any, r: Rollup, item: str, now: int) -> dict[str, Any] | None:
    cursor = store.db.execute(r.statement(), {"item": item, "_now": now})
    row = cursor.fetchone()
    if row is None:
        return None
    out = dict(zip([c.name for c in r.columns], row, strict=False))
    for window in r.windows:
        out[f"top_{window.name}"] = json.loads(out[f"top_{window.name}"])
    return out


def same(got: dict[str, Any] | None, want: dict[str, Any] | None) -> None:
    assert (got is None) == (want is None), (got, want)
    if got is None or want is None:
        return
    assert got.keys() == want.keys()
    for name, value in want.items():
        if name.startswith("median") and value is not None:
            assert got[name] == pytest.approx(value, rel=0.0101), name
        elif isinstance(value, float):
            assert got[name] == pytest.approx(value, rel=1e-9, abs=1e-6), name
        else:
            assert got[name] == value, name


events = st.tuples(
    st.sampled_from(["a", "b", None]),
    st.one_of(st.none(), st.floats(-1e6, 1e6).map(lambda x: round(x, 3))),
    st.one_of(st.none(), st.integers(-1000, 1000)),
    st.one_of(st.none(), st.sampled_from(["x", "y", "z"])),
    st.integers(0, 4 * 3600 * S).map(lambda back: NOW - back),
)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(events, max_size=8), max_size=6), st.integers(0, 200 * S))
def test_tiles_equal_raw_scan(make_store: Any, batches: list[list[tuple]], later: int) -> None:
    r = rollup()
    store = make_store(r.events)
    store.maintain(RollupMaintainer(r))
    for batch in batches:
        store.commit((r.events, batch, []))
    rows = [row for batch in batches for row in batch]
    for item in ("a", "b"):
        same(read(store, r, item, NOW + later), expected(r, rows, item, NOW + later))


def test_levels_keep_reads_short() -> None:
    r = rollup(["15m", "24h"])
    assert [(level.width // S, [w.name for w in level.windows]) for level in r.levels] == [
        (15, ["15m"]),
        (1200, ["24h"]),
    ]
    assert [level.width // S for level in rollup(["1m", "1h", "7d"]).levels] == [1, 60, 7200]
    assert [level.width // S for level in rollup(["3607s", "1s"]).levels] == [1, 1]


def test_integer_sum_goes_over_to_real_beyond_64_bits(make_store: Any) -> None:
    r = rollup(["1m"])
    store = make_store(r.events)
    store.maintain(RollupMaintainer(r))
    big = 2**63 - 1
    store.commit((r.events, [("a", 1.0, big, "x", NOW), ("a", 1.0, big, "x", NOW)], []))
    store.commit((r.events, [("b", 1.0, big, "x", NOW)], []))
    assert read(store, r, "a", NOW)["units_1m"] == 2.0**64
    assert read(store, r, "b", NOW)["units_1m"] == big
    store.commit((r.events, [("b", 1.0, big, "x", NOW - 5 * S)], []))
    assert read(store, r, "b", NOW)["units_1m"] == 2.0**64


def test_changed_definition_rebuilds_from_kept_events(make_store: Any) -> None:
    first = rollup(["1m"])
    store = make_store(first.events)
    store.maintain(RollupMaintainer(first))
    rows = [("a", 2.0, i, "x", NOW - i * S) for i in range(100)]
    store.commit((first.events, rows, []))
    second = rollup(["1m", "3h"])
    RollupMaintainer(second).setup(store.db)
    same(read(store, second, "a", NOW), expected(second, rows, "a", NOW))


def test_changed_definition_is_refused_without_events(make_store: Any) -> None:
    RollupMaintainer(rollup(["1m"], sales(keep=None))).setup((store := make_store()).db)
    with pytest.raises(MigrationRefused, match="are not kept") as error:
        RollupMaintainer(rollup(["2m"], sales(keep=None))).setup(store.db)
    assert 'keep="2m"' in error.value.hint


def test_changed_definition_is_refused_when_events_of_the_window_are_gone(make_store: Any) -> None:
    first = rollup(["1m"])
    store = make_store(first.events)
    store.maintain(RollupMaintainer(first))
    store.commit((first.events, [("a", 2.0, i, "x", NOW - i * S) for i in range(50)], []))
    store.db.execute(f'DELETE FROM "sales" WHERE "{first.events.event_time}" < ?', (NOW - 40 * S,))
    with pytest.raises(MigrationRefused, match="are partly gone"):
        RollupMaintainer(rollup(["1m", "2m"])).setup(store.db)


def test_housekeep_drops_only_what_no_window_reaches(make_store: Any) -> None:
    r = rollup(["1m", "3h"], lateness=60 * S)
    store = make_store(r.events)
    maintainer = RollupMaintainer(r)
    store.maintain(maintainer)
    rows = [("a", 1.0, 1, "x", NOW - back * S) for back in (0, 50, 100, 4000, 20_000)]
    rows += [("b", 1.0, 1, "x", NOW - 30_000 * S)]
    store.commit((r.events, rows, []))
    want = read(store, r, "a", NOW)
    assert maintainer.housekeep(store.db, now=NOW, limit=100) > 0
    assert read(store, r, "a", NOW) == want
    assert store.db.execute('SELECT item FROM "r__keys"').fetchall() == [("a",)]
    assert store.db.execute('SELECT count(*) FROM "r__tiles_1s"').fetchone()[0] == 3
    assert maintainer.housekeep(store.db, now=NOW, limit=100) == 0


def test_what_json_cannot_carry_stays_exact(make_store: Any) -> None:
    events = Schema(
        "sales",
        TableKind.EVENTS,
        (
            Column("item", ColumnType.TEXT),
            Column("price", ColumnType.REAL),
            Column("photo", ColumnType.BYTES),
            Column("at", ColumnType.TIMESTAMP),
        ),
        event_time="at",
        keep=10**12,
    )
    aggregates = {"spent": agg.sum("price"), "photo": agg.last("photo"), "prices": agg.distinct("price")}
    r = Rollup("r", events, by="item", windows=["1m"], aggregates=aggregates)
    store = make_store(events)
    maintainer = RollupMaintainer(r)
    store.maintain(maintainer)
    old = NOW - 10_000 * S
    store.commit((events, [("a", 1.5e308, b"\x80", NOW), ("a", 1.5e308, b"", NOW)], []))
    store.commit((events, [("b", -1.5e308, b"\x81", NOW), ("b", -1.5e308, b"\xc3\x28", NOW), ("c", 1.0, b"", old)], []))
    read = "SELECT spent_1m, photo_1m, prices_1m FROM (" + r.statement() + ")"
    assert store.db.execute(read, {"item": "a", "_now": NOW}).fetchall() == [(math.inf, b"", 1)]
    assert store.db.execute(read, {"item": "b", "_now": NOW}).fetchall() == [(-math.inf, b"\xc3\x28", 1)]
    assert maintainer.housekeep(store.db, now=NOW, limit=100) == 3  # the tile, its value and the key
    assert store.db.execute('SELECT count(*) FROM "r__keys"').fetchone()[0] == 2


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_every_real_comes_through_to_the_bit(make_store: Any, values: list[float]) -> None:
    r = Rollup("r", sales(), by="item", windows=["1m"], aggregates={"high": agg.max("price"), "low": agg.min("price")})
    store = make_store(r.events)
    store.maintain(RollupMaintainer(r))
    store.commit((r.events, [("a", value, None, None, NOW) for value in values], []))
    (row,) = store.db.execute(r.statement(), {"item": "a", "_now": NOW}).fetchall()
    assert row[1:3] == (max(values), min(values))


def test_keys_are_dropped_by_their_primary_key(make_store: Any) -> None:
    events = sales()
    r = Rollup(
        "r", events, by=["item", "buyer"], windows=["1m"], aggregates={"n": agg.count(), "d": agg.distinct("units")}
    )
    store = make_store(events)
    store.maintain(RollupMaintainer(r))
    plans: list[str] = []
    store.db.trace_v2(1, lambda event: plans.append(event["sql"]))
    store.commit((events, [("a", 1.0, 1, "x", NOW - 10_000 * S), ("a", 1.0, 1, None, NOW)], []))
    RollupMaintainer(r).housekeep(store.db, now=NOW, limit=10)
    deletes = [sql for sql in plans if sql.startswith("DELETE FROM") and "r__" in sql]
    assert len(deletes) == 3
    for sql in deletes:
        steps = [row[3] for row in store.db.execute(f"EXPLAIN QUERY PLAN {sql}", {"rows": "[]", "edge": 0})]
        assert "USING PRIMARY KEY" in steps[0], steps
    assert store.db.execute('SELECT count(*) FROM "r__keys"').fetchone()[0] == 0
