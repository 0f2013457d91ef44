"""The ingest threads on a real file: order, grouping, durability, backpressure, a full disk, a thread that dies."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from pathlib import Path

import apsw
import pytest

from headrace.core.changes import Judged, Receipt, Upserts
from headrace.core.clock import SystemClock
from headrace.core.errors import Backpressure, IdempotencyConflict, StoreError, StoreFull
from headrace.core.events import Problem
from headrace.core.schema import Column, ColumnType, Schema, TableKind
from headrace.store.base import Idempotency, Submission
from headrace.store.ingest import Ingest, Limits
from headrace.store.problems import stored_problems
from headrace.store.sqlite import SqliteStore

ITEMS = Schema(
    "items",
    TableKind.TABLE,
    (Column("id", ColumnType.TEXT), Column("stock", ColumnType.INTEGER)),
    key=("id",),
)


def items(*rows: tuple[str, int], **fields: object) -> Submission:
    return Submission("items", Judged([Upserts(list(rows))]), **fields)  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path):
    store = SqliteStore.open(tmp_path / "live.db", [ITEMS], clock=SystemClock())
    yield store
    store.close()


async def test_submissions_are_durable_when_answered_and_in_order(store: SqliteStore) -> None:
    ingest = Ingest(store, SystemClock())
    ingest.start()
    receipts = await asyncio.gather(*(ingest.submit(items((f"i{n % 7}", n))) for n in range(200)))
    assert store.board.durable >= max(receipt.txn for receipt in receipts)
    assert [receipt.txn for receipt in receipts] == sorted(receipt.txn for receipt in receipts)
    assert len({receipt.txn for receipt in receipts}) < 50
    await ingest.stop()
    assert store.db.execute("SELECT id, stock FROM items").fetchall() == [
        (f"i{k}", max(n for n in range(200) if n % 7 == k)) for k in range(7)
    ]


async def test_an_error_of_one_submission_is_its_own(store: SqliteStore) -> None:
    ingest = Ingest(store, SystemClock())
    ingest.start()
    first = await ingest.submit(items(("a", 1), idempotency=Idempotency("k", b"1")))
    results = await asyncio.gather(
        ingest.submit(items(("a", 2), idempotency=Idempotency("k", b"2"))),
        ingest.submit(items(("b", 3))),
        ingest.submit(items(("a", 9), idempotency=Idempotency("k", b"1"))),
        return_exceptions=True,
    )
    assert isinstance(results[0], IdempotencyConflict)
    assert results[1].accepted == 1  # type: ignore[union-attr]
    assert results[2].replayed  # type: ignore[union-attr]
    assert results[2].txn == first.txn  # type: ignore[union-attr]
    await ingest.stop()
    assert store.db.execute("SELECT * FROM items WHERE id = 'a'").fetchone()[1] == 1  # type: ignore[index]


async def test_a_full_queue_pushes_back_and_then_has_room(store: SqliteStore) -> None:
    ingest = Ingest(store, SystemClock(), Limits(rows=10))
    first = ingest.try_submit(items(*((f"i{n}", n) for n in range(8))))
    with pytest.raises(Backpressure) as refused:
        ingest.try_submit(items(*((f"j{n}", n) for n in range(8))))
    assert refused.value.retry_after > 0
    waiting = asyncio.ensure_future(ingest.submit(items(*((f"j{n}", n) for n in range(8)))))
    ingest.start()
    assert (await first).accepted == 8
    assert (await waiting).accepted == 8
    await ingest.stop()


def many(name: str, rows: int) -> Submission:
    return items(*((f"{name}{n}", n) for n in range(rows)))


class Gate:
    """Stands at the beginning of each transaction, and is closed at first."""

    def __init__(self, store: SqliteStore) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()
        store.crash_point = self.stop

    def stop(self, step: str) -> None:
        if step == "begin":
            self.reached.set()
            self.opened.wait(10)


async def test_under_load_a_group_waits_until_it_is_large(store: SqliteStore) -> None:
    gate = Gate(store)
    ingest = Ingest(store, SystemClock(), Limits(small=500, linger=3.0, group=5_000, patience=30.0))
    ingest.start()
    first = await ingest.enqueue(many("a", 500))
    await asyncio.to_thread(gate.reached.wait, 10)
    others = [await ingest.enqueue(many("b", 500))]  # while the first is committed
    gate.opened.set()
    await first
    others += [await ingest.enqueue(many(f"c{n}", 500)) for n in range(9)]
    receipts = await asyncio.wait_for(asyncio.gather(*others), 2.5)
    assert len({receipt.txn for receipt in receipts}) == 1
    await ingest.stop()


async def test_a_full_queue_does_not_wait_for_more(store: SqliteStore) -> None:
    gate = Gate(store)
    ingest = Ingest(store, SystemClock(), Limits(rows=1_000, small=500, linger=30.0, group=5_000, patience=30.0))
    ingest.start()
    futures = [await ingest.enqueue(many("a", 500))]
    await asyncio.to_thread(gate.reached.wait, 10)
    futures += [await ingest.enqueue(many(name, 500)) for name in "bc"]
    waiting = asyncio.ensure_future(ingest.submit(many("d", 500)))
    gate.opened.set()
    await asyncio.wait_for(asyncio.gather(*futures), 10)
    await ingest.stop()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_groups_of_a_bulk_load_grow_until_someone_else_writes(store: SqliteStore) -> None:
    gate = Gate(store)
    limits = Limits(rows=10_000, small=1, linger=0.0, group=500, most=2_000, patience=0.0)
    ingest = Ingest(store, SystemClock(), limits)
    ingest.start()
    loading = [await ingest.enqueue(many("a", 500), durable=False)]
    await asyncio.to_thread(gate.reached.wait, 10)
    loading += [await ingest.enqueue(many(name, 500), durable=False) for name in "bcdefghi"]
    # The first group has the writer to itself, but for what stands behind it.
    gate.opened.set()
    receipts = await asyncio.wait_for(asyncio.gather(*loading), 10)
    assert max(Counter(receipt.txn for receipt in receipts).values()) == 4
    gate.opened.clear()
    gate.reached.clear()
    loading = [await ingest.enqueue(many("a", 500), durable=False)]
    await asyncio.to_thread(gate.reached.wait, 10)
    loading += [await ingest.enqueue(many(name, 500), durable=False) for name in "bcde"]
    someone = ingest.try_submit(many("x", 1))
    gate.opened.set()
    receipts = await asyncio.wait_for(asyncio.gather(*loading, someone), 10)
    assert max(Counter(receipt.txn for receipt in receipts[1:]).values()) <= 2
    await ingest.stop()


async def test_one_submission_larger_than_the_queue_still_fits(store: SqliteStore) -> None:
    ingest = Ingest(store, SystemClock(), Limits(rows=10))
    ingest.start()
    receipt = await asyncio.wait_for(ingest.submit(items(*((f"i{n}", n) for n in range(5_000)))), 10)
    assert receipt.accepted == 5_000
    await ingest.stop()


async def test_execute_runs_in_a_transaction_of_its_own_and_hands_back_its_error(store: SqliteStore) -> None:
    ingest = Ingest(store, SystemClock())
    ingest.start()
    await ingest.submit(items(("a", 1)))

    def take(db: apsw.Connection, txn: int) -> int:
        db.execute("UPDATE items SET stock = stock - 1, _txn = ?", (txn,))
        return db.changes()

    def fail(db: apsw.Connection, txn: int) -> None:
        db.execute("DELETE FROM items")
        raise ZeroDivisionError

    assert await ingest.execute(take, changed=["items"]) == 1
    with pytest.raises(ZeroDivisionError):
        await ingest.execute(fail)
    assert (await ingest.submit(items(("b", 1)))).accepted == 1
    await ingest.stop()
    assert store.db.execute("SELECT id, stock FROM items").fetchall() == [("a", 0), ("b", 1)]


async def filled(store: SqliteStore, ingest: Ingest) -> asyncio.Future[Receipt]:
    """What a source brings, waiting for a disk that has no room for it."""
    store.db.execute(f"PRAGMA max_page_count = {store.db.execute('PRAGMA page_count').get}")
    ingest.start()
    brought = await ingest.enqueue(items(*((f"item-{n}", n) for n in range(20_000))), durable=False)
    while not store.full:
        await SystemClock().sleep(0.005)
    return brought


async def test_what_a_source_brings_waits_for_a_full_disk_and_goes_on(store: SqliteStore) -> None:
    ingest = Ingest(store, SystemClock(), Limits(retry=0.02))
    brought = await filled(store, ingest)
    assert [problem.kind for problem in store.problems.current()] == ["store_full"]
    with pytest.raises(StoreFull):
        ingest.try_submit(items(("z", 1)))
    with pytest.raises(StoreFull):
        await ingest.submit(items(("z", 1)))
    with pytest.raises(StoreFull):
        await ingest.execute(lambda db, txn: None)
    assert not brought.done()
    store.db.execute(f"PRAGMA max_page_count = {1 << 30}")
    assert (await asyncio.wait_for(brought, 10)).accepted == 20_000
    assert store.problems.current() == []
    assert (await ingest.submit(items(("z", 1)))).accepted == 1
    await ingest.stop()


async def test_whoever_waits_for_an_answer_is_told_that_the_disk_is_full_and_nothing_is_applied_later(
    store: SqliteStore,
) -> None:
    gate = Gate(store)
    ingest = Ingest(store, SystemClock(), Limits(retry=0.02, group=100, most=100, small=1, linger=0.0))
    store.db.execute(f"PRAGMA max_page_count = {store.db.execute('PRAGMA page_count').get}")
    ingest.start()
    asked = [ingest.try_submit(many("x", 20_000))]
    await asyncio.to_thread(gate.reached.wait, 10)
    brought = await ingest.enqueue(many("y", 100), durable=False)
    asked.append(ingest.try_submit(many("z", 1)))  # it stands behind, and would have had room
    gate.opened.set()
    for told in await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 5):
        assert isinstance(told, StoreFull)
    store.db.execute(f"PRAGMA max_page_count = {1 << 30}")
    assert (await asyncio.wait_for(brought, 10)).accepted == 100
    await ingest.stop()
    assert store.db.execute("SELECT count(*) FROM items").get == 100


async def test_that_there_is_room_again_is_found_out_while_nobody_writes(store: SqliteStore) -> None:
    ingest = Ingest(store, SystemClock(), Limits(retry=0.02))
    store.db.execute(f"PRAGMA max_page_count = {store.db.execute('PRAGMA page_count').get}")
    ingest.start()
    with pytest.raises(StoreFull):
        await asyncio.wait_for(ingest.submit(items(*((f"item-{n}", n) for n in range(20_000)))), 5)
    store.db.execute(f"PRAGMA max_page_count = {1 << 30}")
    async with asyncio.timeout(5):
        while store.full or store.problems.current():
            await SystemClock().sleep(0.005)
    await ingest.stop()


async def test_stopping_does_not_wait_for_a_full_disk(store: SqliteStore) -> None:
    ingest = Ingest(store, SystemClock(), Limits(retry=0.02))
    brought = await filled(store, ingest)
    await asyncio.wait_for(ingest.stop(), 5)
    with pytest.raises(StoreFull):
        await brought
    assert store.db.execute("SELECT count(*) FROM items").get == 0


async def test_a_problem_is_stored_at_once_while_nobody_writes(store: SqliteStore) -> None:
    ingest = Ingest(store, SystemClock(), Limits(housekeep=60.0))
    ingest.start()
    await ingest.submit(items(("a", 1)))
    store.problems.record(Problem("source:items", "source_failed", "gone"))
    async with asyncio.timeout(2):
        while store.problems.waiting:
            await SystemClock().sleep(0.005)
    await ingest.stop()
    assert [problem.kind for problem, _ in stored_problems(store.db)] == ["source_failed"]


async def test_a_thread_that_dies_is_heard(store: SqliteStore) -> None:
    ingest = Ingest(store, SystemClock())

    def die(step: str) -> None:
        if step == "sync":
            raise OSError("input/output error")

    store.crash_point = die
    ingest.start()
    with pytest.raises(StoreError, match="ingestion has stopped"):
        await asyncio.wait_for(ingest.submit(items(("a", 1))), 5)
    with pytest.raises(StoreError, match="ingestion has stopped"):
        await ingest.submit(items(("a", 1)))
    assert isinstance(ingest.failure, OSError)
    store.crash_point = lambda step: None
    await ingest.stop()


async def test_stopping_commits_what_waits_and_takes_nothing_more(store: SqliteStore) -> None:
    ingest = Ingest(store, SystemClock())
    waiting = [ingest.try_submit(items((f"i{n}", n))) for n in range(50)]
    ingest.start()
    await ingest.stop()
    assert all(future.done() for future in waiting) or [await future for future in waiting]
    with pytest.raises(StoreError, match="stopping"):
        ingest.try_submit(items(("late", 1)))
    assert store.db.execute("SELECT count(*) FROM items").get == 50


async def test_the_log_stays_short_under_steady_writing_and_reading(store: SqliteStore, tmp_path: Path) -> None:
    from headrace.store import checkpoint
    from headrace.store.connection import open_reader

    ingest = Ingest(store, SystemClock())
    ingest._checkpointer._restart_at = checkpoint.COPY_EVERY
    ingest.start()
    reader = open_reader(store.path)
    longest = 0
    for n in range(60):
        await ingest.submit(items(*((f"item-{i}", n) for i in range(20_000))), durable=False)
        assert reader.execute("SELECT count(*) FROM items WHERE stock >= ?", (n,)).get == 20_000
        longest = max(longest, store.log_size)
    await ingest.stop()
    reader.close()
    assert longest < 160 << 20
