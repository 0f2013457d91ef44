"""Cases in which something could be lost, doubled or brought back: copies, replays, refusals, tombstones, restarts."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from headrace.core.changes import Deletes, Judged, Receipt, Upserts, Violation
from headrace.core.clock import SimulatedClock
from headrace.core.errors import HeadraceError, StoreFull
from headrace.core.schema import Column, ColumnType, Row, Schema, TableKind
from headrace.store import quarantine
from headrace.store.base import Chain, Submission
from headrace.store.sqlite import SqliteStore

TEXT, INTEGER = ColumnType.TEXT, ColumnType.INTEGER
ITEMS = Schema("items", TableKind.TABLE, (Column("id", TEXT), Column("stock", INTEGER)), key=("id",))
SALES = Schema("sales", TableKind.EVENTS, (Column("n", INTEGER), Column("at", INTEGER)), event_time="at", keep=10**15)
BAD = Violation(b'{"n": 1}', "missing", "at", "", "at is missing", "push:0")


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock()


@pytest.fixture
def store(tmp_path: Path, clock: SimulatedClock):
    store = SqliteStore.open(tmp_path / "live.db", [ITEMS, SALES], clock=clock)
    yield store
    store.close()


def items(*rows: Row, **fields: object) -> Submission:
    return Submission("items", Judged([Upserts(list(rows))]), **fields)  # type: ignore[arg-type]


def stored(store: SqliteStore, table: str = "items") -> list[Row]:
    return store.db.execute(f"SELECT * FROM {table}").fetchall()


def ids(store: SqliteStore) -> list[object]:
    return [row[0] for row in stored(store)]


def test_two_copies_in_one_transaction_delete_what_the_second_one_lacks_and_no_more(store: SqliteStore) -> None:
    store.commit([items(("a", 1), ("b", 1), ("c", 1))])
    first = items(("a", 1), ("b", 1), ("e", 1), source_ts=1, snapshot="only")
    second = items(("b", 1), ("d", 1), source_ts=2, snapshot="only")
    store.commit([first, items(("f", 1)), second])
    assert ids(store) == ["b", "d"]


def test_a_copy_and_what_comes_after_it_in_one_transaction(store: SqliteStore) -> None:
    store.commit([items(("a", 1), ("b", 1))])
    store.commit([items(("a", 1), source_ts=1, snapshot="only"), items(("b", 2), source_ts=2)])
    assert [row[:2] for row in stored(store)] == [("a", 1), ("b", 2)]


def test_a_record_is_replayed_once_however_often_it_is_asked(store: SqliteStore) -> None:
    store.commit([Submission("sales", Judged(violations=[BAD]))])
    (number,) = [found.number for found in quarantine.waiting(store.db)]
    again = Submission("sales", Judged([Upserts([(1, 5)])]), replays=(number,))
    first, second = store.commit([again, again])
    (third,) = store.commit([again])
    assert isinstance(first, Receipt)
    assert isinstance(second, HeadraceError)
    assert isinstance(third, HeadraceError)
    assert len(stored(store, "sales")) == 1


def test_tombstones_still_count_when_a_purge_was_rolled_back(store: SqliteStore, clock: SimulatedClock) -> None:
    store.commit([items(("a", 1), version=5)])
    store.commit([Submission("items", Judged([Deletes([("a",)])]), version=6)])
    clock.advance(8 * 86_400)
    real = store.problems.write

    def full(db: apsw.Connection, *, txn: int) -> int:
        raise apsw.FullError("database or disk is full")

    store.problems.write = full  # type: ignore[method-assign]
    with pytest.raises(StoreFull):
        store.housekeep()
    store.problems.write = real  # type: ignore[method-assign]
    store.commit([items(("a", 9), version=4)])
    assert ids(store) == []


def test_nothing_of_a_chain_is_taken_behind_what_was_refused(tmp_path: Path, clock: SimulatedClock) -> None:
    store = SqliteStore.open(tmp_path / "full.db", [ITEMS], clock=clock, quarantine_limit=1)
    store.commit([items(("a", 1), ("b", 1)), Submission("items", Judged(violations=[BAD]))])
    chain = Chain()
    bad = Submission("items", Judged([Upserts([("a", 1)])], violations=[BAD]), snapshot="part", chain=chain)
    outcomes = store.commit([bad, items(("b", 1), snapshot="part", chain=chain)])
    outcomes += store.commit([items(("c", 1), snapshot="end", chain=chain)])
    assert all(isinstance(outcome, HeadraceError) for outcome in outcomes)
    assert ids(store) == ["a", "b"]
    store.close()
