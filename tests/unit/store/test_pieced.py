"""One transaction in pieces: whole or not at all, and what cannot be stored waits in quarantine."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from headrace.core.changes import Deletes, Judged, Receipt, Upserts, Violation
from headrace.core.clock import SimulatedClock, SystemClock
from headrace.core.errors import Backpressure, StoreError
from headrace.core.schema import Column, ColumnType, Schema, TableKind
from headrace.store import quarantine
from headrace.store.base import START, Chain, Submission
from headrace.store.ingest import Ingest
from headrace.store.sqlite import SqliteStore

ITEMS = Schema(
    "items",
    TableKind.TABLE,
    (Column("id", ColumnType.TEXT), Column("stock", ColumnType.INTEGER)),
    key=("id",),
)
SHOPS = Schema("shops", TableKind.TABLE, (Column("shop", ColumnType.TEXT),), key=("shop",))


def open_store(tmp_path: Path, **options: int) -> SqliteStore:
    return SqliteStore.open(tmp_path / "live.db", [ITEMS, SHOPS], clock=SimulatedClock(), **options)


def part(rows: Sequence[tuple[object, ...]], table: str = "items", position: str | None = None) -> Submission:
    judged = Judged([Upserts([*rows])])  # type: ignore[list-item]
    follows = None if position is None else START
    return Submission(table, judged, "p", position, follows=follows, places=("items", "shops"), chain=Chain())


def stock(store: SqliteStore) -> list[tuple[object, ...]]:
    return store.db.execute("SELECT id, stock FROM items ORDER BY id").fetchall()


def test_all_pieces_are_one_transaction_with_one_receipt_and_one_position(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    receipt = store.commit_streamed(
        iter([[part([("i1", 1)])], [part([("s1",)], "shops")], [part([("i1", 2), ("i2", 3)], position="9")]])
    )
    assert (receipt.accepted, receipt.txn) == (4, store.txn)
    assert stock(store) == [("i1", 2), ("i2", 3)]
    assert (store.positions("items"), store.positions("shops")) == ({"p": "9"}, {"p": "9"})
    assert store.board.counters("items")["accepted"] == 3
    assert store.board.last_change("shops") == store.txn


def test_what_breaks_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    store = open_store(tmp_path)

    def pieces() -> Iterator[list[Submission]]:
        yield [part([("i1", 1)])]
        raise StoreError("a transaction of a source was broken off")

    with pytest.raises(StoreError, match="broken off"):
        store.commit_streamed(pieces())
    assert stock(store) == []
    assert store.positions("items") == {}
    assert store.board.counters("items")["accepted"] == 0


def test_a_refusal_of_one_piece_refuses_the_unit_and_is_told(tmp_path: Path) -> None:
    store = open_store(tmp_path, quarantine_limit=10)
    bad = Judged(violations=[Violation(b"x" * 100, "json", "", "", "no JSON")])
    store.commit([Submission("items", bad)])
    with pytest.raises(Backpressure):
        store.commit_streamed([[part([("i1", 1)])], [Submission("items", bad, "p", "9")]])
    assert stock(store) == []
    assert [problem.kind for problem in store.problems.current()] == ["quarantine_full"]


def test_a_row_that_cannot_be_stored_waits_in_quarantine_when_the_unit_comes_again(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    pieces = [[part([("i1", 1)])], [part([("i2", 2), (["no"], 3)])], [part([("i3", 3)], position="9")]]
    with pytest.raises(StoreError, match="cannot be stored"):
        store.commit_streamed(pieces)
    assert stock(store) == []
    receipt = store.commit_streamed(pieces)
    assert (receipt.accepted, receipt.quarantined) == (3, 1)
    assert stock(store) == [("i1", 1), ("i2", 2), ("i3", 3)]
    assert [found.rule for found in quarantine.waiting(store.db)] == ["storage"]


async def test_a_unit_goes_through_the_queue_in_its_turn(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    ingest = Ingest(store, SystemClock())
    ingest.start()
    before = await ingest.enqueue(part([("i1", 1)]), durable=False)
    unit, answer = ingest.open_unit()
    after = await ingest.enqueue(part([("i1", 3)]))
    for n in range(20):
        assert await unit.put([part([("i1", 2), (f"x{n}", n)], position="9" if n == 19 else None)])
    assert not after.done()
    unit.end()
    receipts: list[Receipt] = [await before, await answer, await after]
    await ingest.stop()
    assert [receipt.accepted for receipt in receipts] == [1, 40, 1]
    assert [receipt.txn for receipt in receipts] == sorted(receipt.txn for receipt in receipts)
    assert stock(store)[0] == ("i1", 3)


async def test_a_unit_that_is_broken_off_lets_the_others_go_on(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    ingest = Ingest(store, SystemClock())
    ingest.start()
    unit, answer = ingest.open_unit()
    assert await unit.put([part([("i1", 1)])])
    unit.abort()
    with pytest.raises(StoreError, match="broken off"):
        await answer
    assert (await ingest.submit(part([("i2", 2)]))).accepted == 1
    await ingest.stop()
    assert stock(store) == [("i2", 2)]


async def test_what_nobody_waits_for_is_synced_soon(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    ingest = Ingest(store, SystemClock())
    ingest.start()
    receipt = await ingest.submit(part([("i1", 1)]), durable=False)
    for _ in range(1000):
        if store.board.durable >= receipt.txn:
            break
        await asyncio.to_thread(lambda: None)
        await SystemClock().sleep(0.01)
    assert store.board.durable >= receipt.txn
    await ingest.stop()


def test_deletes_of_a_later_piece_find_the_rows_of_an_earlier_one(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    gone = Submission("items", Judged([Deletes([("i1",)])]), "p", "9")
    store.commit_streamed([[part([("i1", 1), ("i2", 2)])], [gone]])
    assert stock(store) == [("i2", 2)]
