"""Guarded writes: their laws over any order of arrival, and values that must come back as they went in."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.core.changes import Deletes, Judged, Receipt, Upserts
from headrace.core.clock import SimulatedClock
from headrace.core.schema import Column, ColumnType, Row, Schema, TableKind
from headrace.store import bulk
from headrace.store.base import Submission
from headrace.store.migrate import prepare
from headrace.store.rows import Stamp, TableRows
from headrace.store.sqlite import SqliteStore

TEXT, INTEGER = ColumnType.TEXT, ColumnType.INTEGER
VERSIONED = Schema(
    "t",
    TableKind.TABLE,
    (Column("k", TEXT), Column("v", INTEGER), Column("x", TEXT)),
    key=("k",),
    indexes=(("x",),),
    version="v",
)
PLAIN = replace(VERSIONED, version=None)
EVENTS = Schema("e", TableKind.EVENTS, (Column("id", INTEGER), Column("at", INTEGER)), ("id",), event_time="at", keep=9)


def opened(*schemas: Schema) -> apsw.Connection:
    db = apsw.Connection(":memory:")
    prepare(db, schemas)
    return db


def apply(db: apsw.Connection, rows: TableRows, change: Upserts | Deletes, stamp: Stamp) -> None:
    if isinstance(change, Deletes):
        rows.delete(db, change, stamp)
    else:
        rows.upsert(db, change, stamp)


def content(db: apsw.Connection) -> list[Row]:
    return db.execute("SELECT k, v, x FROM t ORDER BY k").fetchall()


keys = st.sampled_from("abc")
# One version names one change of one key, as at any source that numbers its changes.
histories = st.lists(st.tuples(keys, st.booleans()), min_size=1, max_size=12)


@st.composite
def arrivals(draw: st.DrawFn) -> tuple[list[tuple[int, str, bool]], list[tuple[int, str, bool]]]:
    history = [(n + 1, key, gone) for n, (key, gone) in enumerate(draw(histories))]
    repeats = draw(st.lists(st.sampled_from(history), max_size=8))
    return history, draw(st.permutations(history + repeats))


def change_of(version: int, key: str, gone: bool) -> Upserts | Deletes:
    return Deletes([(key,)], [version]) if gone else Upserts([(key, version, f"x{version}")])


@given(arrivals())
@settings(max_examples=150, deadline=None)
def test_any_order_and_any_replay_of_versioned_changes_ends_the_same(case: Any) -> None:
    history, arriving = case
    db, rows = opened(VERSIONED), TableRows(VERSIONED)
    for txn, one in enumerate(arriving):
        apply(db, rows, change_of(*one), Stamp(txn, txn, None))
    last = {key: (version, gone) for version, key, gone in history}
    assert content(db) == [(k, v, f"x{v}") for k, (v, gone) in sorted(last.items()) if not gone]


@given(st.lists(st.lists(st.tuples(keys, st.booleans(), st.integers(0, 9)), max_size=4), max_size=6), st.data())
@settings(max_examples=100, deadline=None)
def test_replaying_any_prefix_of_a_source_changes_nothing(batches: Any, data: st.DataObject) -> None:
    def play(db: apsw.Connection, rows: TableRows, start: int, stop: int, txn: int) -> None:
        for n in range(start, stop):
            for key, gone, value in batches[n]:
                change = Deletes([(key,)]) if gone else Upserts([(key, value, "")])
                apply(db, rows, change, Stamp(txn + n, 0, version=n))

    db, rows = opened(PLAIN), TableRows(PLAIN)
    play(db, rows, 0, len(batches), 1)
    once = content(db)
    play(db, rows, data.draw(st.integers(0, len(batches))), len(batches), 100)
    assert content(db) == once


rows_of_a_batch = st.lists(st.tuples(keys, st.integers(0, 3), st.sampled_from("xyz")), max_size=6)


@given(st.lists(st.tuples(rows_of_a_batch, st.none() | st.integers(1, 3)), max_size=6), st.booleans())
@settings(max_examples=200, deadline=None)
def test_batches_do_what_their_rows_would_do_one_by_one(batches: Any, moving: bool) -> None:
    db, rows = opened(PLAIN), TableRows(PLAIN)
    rows._moving = 3 if moving else 0
    model: dict[str, tuple[int, Row]] = {}
    for txn, (batch, version) in enumerate(batches, 1):
        for row in batch:
            if (version or txn) >= model.get(row[0], (0, ()))[0]:
                model[row[0]] = (version or txn, row)
        rows.upsert(db, Upserts(list(batch)), Stamp(txn, txn, version))
    assert content(db) == [row for _, row in sorted(model.values(), key=lambda held: str(held[1][0]))]
    assert db.execute("PRAGMA integrity_check").get == "ok"


def test_a_delete_without_a_version_follows_what_is_stored_and_keeps_it_dead() -> None:
    db, rows = opened(VERSIONED), TableRows(VERSIONED)
    rows.upsert(db, Upserts([("a", 5, "")]), Stamp(1, 1, None))
    assert rows.delete(db, Deletes([("a",)]), Stamp(2, 2, None)) == 1
    assert rows.upsert(db, Upserts([("a", 5, "again")]), Stamp(3, 3, None)) == 0
    assert rows.upsert(db, Upserts([("a", 6, "new")]), Stamp(4, 4, None)) == 1


def test_an_older_version_is_kept_out_and_an_equal_one_applied() -> None:
    db, rows = opened(VERSIONED), TableRows(VERSIONED)
    assert rows.upsert(db, Upserts([("a", 5, "x"), ("a", 4, "old"), ("a", 5, "y")]), Stamp(1, 1, None)) == 2
    assert content(db) == [("a", 5, "y")]


def test_repeated_events_are_told_apart_from_new_ones_also_within_one_batch() -> None:
    db, rows = opened(EVENTS), TableRows(EVENTS)
    assert rows.append(db, Upserts([(1, 10), (2, 20)]), Stamp(1, 1, None)) == [(1, 10), (2, 20)]
    assert rows.append(db, Upserts([(3, 30), (2, 21), (3, 31), (4, 40)]), Stamp(2, 2, None)) == [(3, 30), (4, 40)]
    assert db.execute("SELECT id, at, _txn FROM e ORDER BY _seq").fetchall() == [
        (1, 10, 1),
        (2, 20, 1),
        (3, 30, 2),
        (4, 40, 2),
    ]


EVERYTHING = Schema(
    "all",
    TableKind.TABLE,
    (
        Column("k", TEXT),
        Column("i", INTEGER, nullable=True),
        Column("r", ColumnType.REAL, nullable=True),
        Column("t", TEXT, nullable=True),
        Column("b", ColumnType.BYTES, nullable=True),
        Column("bk", ColumnType.BYTES),
    ),
    key=("bk", "k"),
)
values = st.tuples(
    st.text(max_size=5),
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
    st.none() | st.text(),
    st.none() | st.binary(),
    st.binary(max_size=5),
)


@given(st.lists(values, max_size=20, unique_by=lambda row: (row[5], row[0])))
@settings(max_examples=60, deadline=None)
def test_every_stored_value_comes_back_exactly(stored: list[Row]) -> None:
    db, rows = opened(EVERYTHING), TableRows(EVERYTHING)
    assert rows.upsert(db, Upserts(list(stored)), Stamp(1, 1, None)) == len(stored)
    found = db.execute('SELECT k, i, r, t, b, bk FROM "all"').fetchall()
    assert sorted(found, key=repr) == sorted(stored, key=repr) or {*map(_bits, found)} == {*map(_bits, stored)}
    rows.delete(db, Deletes([(row[5], row[0]) for row in stored]), Stamp(2, 2, None))
    assert rows.is_empty(db)


def _bits(row: Row) -> Row:
    # SQLite has no negative zero.
    return tuple(0.0 if isinstance(v, float) and v == 0 else v for v in row)


def test_steps_are_bounded_in_rows_and_bytes() -> None:
    wide = [("x" * 100_000,)] * 1_500
    sizes = [len(text) for text in bulk._chunks(wide)]
    assert len(sizes) > 3
    assert max(sizes[1:]) <= bulk.CHUNK_BYTES * 1.1
    assert [len(text) > 2 for text in bulk._chunks([])] == []


def test_a_full_copy_leaves_equal_rows_alone_and_deletes_what_it_did_not_bring(tmp_path: Path) -> None:
    clock = SimulatedClock()
    store = SqliteStore.open(tmp_path / "live.db", [PLAIN], clock=clock)
    store.commit([Submission("t", Judged([Upserts([("a", 1, "x"), ("b", 2, "y"), ("c", 3, "z")])]))])
    first = store.txn
    clock.advance(60)
    store.commit([Submission("t", Judged([Upserts([("a", 1, "x")])]), snapshot="part")])
    store.commit([Submission("t", Judged([Upserts([("d", 4, "pushed meanwhile")])]))])
    assert len(content(store.db)) == 4
    (last,) = store.commit([Submission("t", Judged([Upserts([("b", 2, "new")])]), snapshot="end")])
    assert content(store.db) == [("a", 1, "x"), ("b", 2, "new"), ("d", 4, "pushed meanwhile")]
    assert store.db.execute("SELECT _txn FROM t WHERE k = 'a'").get == first
    assert isinstance(last, Receipt)
    assert store.counters("t")["deleted"] == 1
    (only,) = store.commit([Submission("t", Judged([Upserts([("a", 1, "x")])]), snapshot="only")])
    assert isinstance(only, Receipt)
    assert only.duplicates == 1
    assert content(store.db) == [("a", 1, "x")]
    store.close()


def test_a_copy_that_shows_another_instant_begins_anew(tmp_path: Path) -> None:
    def part(key: str, shows: int, which: Literal["part", "end"]) -> Submission:
        return Submission("t", Judged([Upserts([(key, 1, "")])]), source_ts=shows, snapshot=which)

    store = SqliteStore.open(tmp_path / "live.db", [PLAIN], clock=SimulatedClock())
    store.commit([Submission("t", Judged([Upserts([("a", 1, ""), ("b", 1, "")])]))])
    store.commit([part("a", 100, "part")])  # given up half-way; "a" is deleted at the source before the next copy
    store.commit([part("b", 200, "part")])
    store.commit([part("c", 200, "end")])
    assert content(store.db) == [("b", 1, ""), ("c", 1, "")]
    store.close()


def test_a_copy_that_cannot_resume_begins_again_after_a_crash(tmp_path: Path) -> None:
    clock = SimulatedClock()
    store = SqliteStore.open(tmp_path / "live.db", [PLAIN], clock=clock)
    store.commit([Submission("t", Judged([Upserts([("a", 1, ""), ("b", 1, "")])]))])
    store.commit([Submission("t", Judged([Upserts([("a", 1, "")])]), snapshot="part")])
    store.close()
    store = SqliteStore.open(tmp_path / "live.db", [PLAIN], clock=clock)
    store.commit([Submission("t", Judged([Upserts([("b", 1, "")])]), snapshot="end")])
    assert content(store.db) == [("b", 1, "")]
    store.close()


@pytest.mark.parametrize(
    "bad", [("a", 2**70, ""), (None, 1, ""), ("\ud800", 1, ""), ("a", object(), ""), ("a", 2**63, "")]
)
def test_rows_that_sqlite_cannot_store_wait_in_quarantine_and_the_others_are_stored(tmp_path: Path, bad: Row) -> None:
    store = SqliteStore.open(tmp_path / "live.db", [PLAIN], clock=SimulatedClock())
    good: list[Row] = [(f"k{n}", n, "") for n in range(20)]
    outcomes = store.commit(
        [
            Submission("t", Judged([Upserts([("first", 1, "")])])),
            Submission("t", Judged([Upserts([*good[:13], bad, *good[13:]]), Deletes([("k3",)])])),
            Submission("t", Judged([Upserts([("last", 1, "")])])),
        ]
    )
    assert [outcome.quarantined for outcome in outcomes if isinstance(outcome, Receipt)] == [0, 1, 0]
    assert store.db.execute("SELECT count(*) FROM t").get == 21
    assert store.db.execute("SELECT rule, table_name FROM _hr_quarantine").fetchall() == [("storage", "t")]
    assert not math.isnan(store.txn)
    store.close()
