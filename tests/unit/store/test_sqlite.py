from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from headrace.core.changes import Deletes, Judged, Receipt, Upserts, Violation
from headrace.core.clock import SimulatedClock
from headrace.core.errors import Backpressure, StoreError, StoreFull, UnknownName
from headrace.core.events import Committed, Event, Problem
from headrace.core.frontier import SourceState
from headrace.core.schema import Column, ColumnType, Schema, TableKind
from headrace.store import housekeeping, idempotency, quarantine
from headrace.store.base import Delta, Idempotency, Submission
from headrace.store.connection import open_reader
from headrace.store.problems import stored_problems
from headrace.store.sqlite import SqliteStore

TEXT, INTEGER = ColumnType.TEXT, ColumnType.INTEGER
ITEMS = Schema("items", TableKind.TABLE, (Column("id", TEXT), Column("stock", INTEGER)), key=("id",))
SALES = Schema("sales", TableKind.EVENTS, (Column("n", INTEGER), Column("at", INTEGER)), event_time="at", keep=100)
FLOW = replace(SALES, name="flow", keep=None)
BAD = Violation(b"{broken", "json", "", "", "no JSON", "push:0")


class Notes:
    """Remembers what a maintainer is told."""

    name = "notes"
    inputs = frozenset({"items", "flow"})

    def __init__(self) -> None:
        self.told: list[tuple[str, Delta]] = []
        self.fail: Exception | None = None
        self.discarded = 0

    def setup(self, db: apsw.Connection) -> None: ...

    def before(self, db: apsw.Connection, delta: Delta) -> None:
        self.told.append(("before", delta))

    def after(self, db: apsw.Connection, delta: Delta, *, txn: int) -> None:
        self.told.append(("after", delta))
        if self.fail is not None:
            raise self.fail

    def finish(self, db: apsw.Connection, *, txn: int) -> None: ...

    def discard(self) -> None:
        self.discarded += 1

    def housekeep(self, db: apsw.Connection, *, now: int, limit: int) -> int:
        return 0


class Heard:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def record(self, event: Event) -> None:
        self.events.append(event)


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock()


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def store(tmp_path: Path, clock: SimulatedClock, notes: Notes, heard: Heard):
    store = SqliteStore.open(
        tmp_path / "live.db", [ITEMS, SALES, FLOW], [notes], clock=clock, recorder=heard, quarantine_limit=28
    )
    yield store
    store.close()


def upserts(table: str, *rows: tuple[object, ...], **fields: object) -> Submission:
    return Submission(table, Judged([Upserts(list(rows))]), **fields)  # type: ignore[arg-type]


def test_stamps_only_grow_even_when_the_clock_stands_still(store: SqliteStore) -> None:
    txns = []
    for n in range(3):
        (receipt,) = store.commit([upserts("items", ("a", n))])
        assert isinstance(receipt, Receipt)
        txns.append(receipt.txn)
    assert txns == [txns[0], txns[0] + 1, txns[0] + 2]
    assert store.board.committed == txns[-1] == store.board.last_change("items")
    assert store.flush() == txns[-1] == store.board.durable


def test_rows_carry_where_and_when_they_are_from(store: SqliteStore) -> None:
    store.commit([upserts("items", ("a", 1), source_ts=5, version=7)])
    store.commit([upserts("items", ("b", 1))])
    txn = store.txn
    assert store.db.execute("SELECT id, _version, _source_ts, _txn FROM items").fetchall() == [
        ("a", 7, 5, txn - 1),
        ("b", txn, txn, txn),
    ]


def test_one_transaction_for_many_submissions_and_one_delta_for_each_table(store: SqliteStore, notes: Notes) -> None:
    store.commit(
        [
            upserts("items", ("a", 1), source_ts=9),
            upserts("flow", (1, 10)),
            Submission("items", Judged([Deletes([("a",)]), Upserts([("b", 2)])]), source_ts=8),
        ]
    )
    assert [(what, delta.schema.name) for what, delta in notes.told] == [
        ("before", "items"),
        ("before", "flow"),
        ("after", "items"),
        ("after", "flow"),
    ]
    delta = notes.told[2][1]
    assert (delta.rows, delta.keys, delta.source_ts) == ([("a", 1), ("b", 2)], [("a",), ("a",), ("b",)], 8)
    assert store.counters("items") == {**store.counters("sales"), "accepted": 3, "deleted": 1}
    assert store.board.counters("items") == store.counters("items")


def test_small_submissions_are_written_together_and_answered_apart(store: SqliteStore) -> None:
    outcomes = store.commit(
        [
            *(upserts("items", (f"i{n}", n), ("same", n)) for n in range(5)),
            Submission("items", Judged([Deletes([("same",)]), Upserts([("i0", 9)])])),
            upserts("items", ("same", 7), source_ts=3),
            *(upserts("sales", (n, n)) for n in range(5)),
        ]
    )
    assert [outcome.accepted for outcome in outcomes if isinstance(outcome, Receipt)] == [2, 2, 2, 2, 2, 2, 1, *[1] * 5]
    assert store.db.execute("SELECT id, stock FROM items").fetchall() == [
        ("i0", 9),
        ("i1", 1),
        ("i2", 2),
        ("i3", 3),
        ("i4", 4),
        ("same", 7),
    ]
    assert store.db.execute("SELECT n FROM sales ORDER BY _seq").fetchall() == [(n,) for n in range(5)]


def test_events_that_are_not_kept_only_feed_what_is_derived(store: SqliteStore, notes: Notes) -> None:
    store.commit([upserts("flow", (1, 10), (2, 20))])
    assert notes.told[-1][1].rows == [(1, 10), (2, 20)]
    assert store.db.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'flow'").get == 0
    assert store.counters("flow")["accepted"] == 2


def test_a_failing_maintainer_stops_the_transaction_as_a_whole(store: SqliteStore, notes: Notes) -> None:
    notes.fail = TypeError("oops")
    with pytest.raises(StoreError, match="notes"):
        store.commit([upserts("items", ("a", 1))])
    assert store.db.execute("SELECT count(*) FROM items").get == 0
    assert notes.discarded == 1
    notes.fail = None
    store.commit([upserts("items", ("a", 1))])


def test_refusals_concern_one_submission(store: SqliteStore) -> None:
    outcomes = store.commit([upserts("nothing", (1,)), upserts("items", ("a", 1))])
    assert isinstance(outcomes[0], UnknownName)
    assert isinstance(outcomes[1], Receipt)


def test_an_idempotency_key_is_answered_once_also_within_one_transaction(store: SqliteStore) -> None:
    key = Idempotency("k", b"digest")
    first, again = store.commit(
        [upserts("items", ("a", 1), idempotency=key), upserts("items", ("a", 2), idempotency=key)]
    )
    assert isinstance(first, Receipt)
    assert again == replace(first, replayed=True)
    assert store.commit([upserts("items", ("a", 3), idempotency=key)]) == [again]
    assert store.db.execute("SELECT stock FROM items").get == 1


def test_violations_wait_and_a_replay_takes_them_out_in_the_same_transaction(store: SqliteStore) -> None:
    store.commit([Submission("items", Judged([], [BAD], [replace(BAD, rule="reject")]), partition="p")])
    waiting = quarantine.waiting(store.db)
    assert [(one.rule, one.partition, one.raw) for one in waiting] == [("json", "p", b""), ("reject", "p", b"")]
    assert quarantine.get(store.db, waiting[0].number).raw == b"{broken"
    assert quarantine.counts(store.db) == {"items": {"json": 1, "reject": 1}}
    assert quarantine.waiting(store.db, rule="reject", after=waiting[0].number) == [waiting[1]]
    store.commit([upserts("items", ("a", 1), replays=(waiting[0].number,))])
    assert quarantine.waiting(store.db) == [waiting[1]]
    assert store.remove_quarantined(table="items") == 1
    with pytest.raises(UnknownName):
        quarantine.get(store.db, waiting[1].number)
    store.commit([Submission("items", Judged([], [BAD]))])
    assert quarantine.waiting(store.db)[0].number > waiting[1].number


def test_a_full_quarantine_pushes_back_and_loses_nothing(store: SqliteStore) -> None:
    bad = Submission("items", Judged([Upserts([("a", 1)])], [BAD]))
    for _ in range(2):
        assert isinstance(store.commit([bad])[0], Receipt)
    (refused,) = store.commit([bad])
    assert isinstance(refused, Backpressure)
    assert isinstance(store.commit([upserts("items", ("b", 1))])[0], Receipt)
    assert [problem.kind for problem in store.problems.current()] == ["quarantine_full"]
    store.remove_quarantined()
    assert isinstance(store.commit([bad])[0], Receipt)
    assert store.problems.current() == []


def test_a_full_disk_applies_nothing_and_says_so(store: SqliteStore, heard: Heard) -> None:
    pages = store.db.execute("PRAGMA page_count").get
    store.db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreFull):
        store.commit([upserts("items", *((f"item {n}", n) for n in range(5_000)))])
    assert any(isinstance(event, Problem) and event.kind == "store_full" for event in heard.events)
    assert [problem.kind for problem in store.problems.current()] == ["store_full"]
    assert store.full
    assert store.board.full_since is not None
    store.db.execute("PRAGMA max_page_count = 1000000")
    store.commit([upserts("items", ("a", 1))])
    assert not store.full
    assert (store.problems.current(), store.board.full_since) == ([], None)
    store.commit([upserts("items", ("a", 2))])
    assert stored_problems(store.db) == []  # by the board it is told while it lasts, and nothing remains of it
    assert [event.rows for event in heard.events if isinstance(event, Committed)] == [1, 1]


def test_what_is_known_survives_a_restart(store: SqliteStore, clock: SimulatedClock) -> None:
    store.commit([upserts("items", ("a", 1), partition="p", position="17", frontier=4)])
    store.commit([upserts("items", ("b", 1), partition="q", position="x", frontier=3)])
    store.commit([upserts("items", ("b", 2), partition="q", position="y")])
    store.commit([Submission("sales", Judged([Upserts([(1, 50)])], max_event_time=50))])
    store.close()
    again = SqliteStore.open(store.path, [ITEMS, SALES, FLOW], clock=clock)
    assert again.positions("items") == {"p": "17", "q": "y"}
    assert again.frontiers("items") == {"p": 4, "q": 3}
    frontier = again.board.frontier("items")
    assert (frontier.at, frontier.heard, frontier.state) == (3, None, SourceState.RUNNING)
    assert again.board.frontier("sales").state is SourceState.NEVER
    assert again.watermark("sales") == again.board.watermark("sales") == 50
    assert again.board.counters("items")["accepted"] == 3
    assert again.txn == store.txn == again.board.durable
    again.close()
    assert SqliteStore.reset(store.path, "items")
    again = SqliteStore.open(store.path, [ITEMS], clock=clock)
    assert again.positions("items") == {}
    again.close()


def test_housekeeping_drops_what_is_out_of_retention_only(store: SqliteStore, clock: SimulatedClock) -> None:
    store.commit([Submission("sales", Judged([Upserts([(n, n) for n in range(200)])], max_event_time=199))])
    store.commit([upserts("items", ("a", 1), version=1, idempotency=Idempotency("k", b""))])
    store.commit([Submission("items", Judged([Deletes([("a",)])]), version=2)])
    assert store.housekeep(limit=60) == 60
    assert store.housekeep(limit=60) == 39
    assert store.housekeep(limit=60) == 0
    assert store.db.execute("SELECT min(at), count(*) FROM sales").fetchone() == (99, 101)
    clock.advance(idempotency.KEPT / 1e6 + 1)
    assert store.housekeep() == 1
    assert isinstance(store.commit([upserts("items", ("a", 0), version=1)])[0], Receipt)
    assert store.db.execute("SELECT count(*) FROM items").get == 0
    clock.advance(housekeeping.TOMBSTONES_KEPT / 1e6 + 1)
    assert store.housekeep() == 1


def test_readers_cannot_write(store: SqliteStore, tmp_path: Path) -> None:
    reader = open_reader(store.path)
    with pytest.raises(apsw.ReadOnlyError):
        reader.execute("DELETE FROM items")
    reader.close()
    with pytest.raises(StoreError):
        open_reader(tmp_path / "nothing.db")


def test_what_is_no_database_is_said_to_be_none(tmp_path: Path, clock: SimulatedClock) -> None:
    (tmp_path / "x.db").write_bytes(b"not a database at all" * 500)
    with pytest.raises(StoreError, match="cannot be opened"):
        SqliteStore.open(tmp_path / "x.db", [ITEMS], clock=clock)
    assert math.isfinite(clock.monotonic())
