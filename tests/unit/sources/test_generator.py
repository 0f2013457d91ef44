"""Generators: what is yielded comes at once, in order, with honest frontiers."""

from __future__ import annotations

import threading
import traceback
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from headrace.core.changes import Batch, Keys, Rows
from headrace.core.clock import SimulatedClock, SystemClock
from headrace.core.errors import DeclarationError, SourceError
from headrace.core.records import Record
from headrace.core.schema import Column, ColumnType, Schema, TableKind
from headrace.sources import Generator, Opening, Partition
from headrace.sources.generator import BATCH_ROWS
from headrace.sources.pump import LIMIT

SCHEMA = Schema("things", TableKind.TABLE, (Column("id", ColumnType.INTEGER),), ("id",))


class Thing(Record):
    id: int


async def opened(source: Generator, clock: SimulatedClock, position: str | None = None) -> Partition:
    (part,) = await source.open(Opening(SCHEMA, {} if position is None else {"generator": position}, clock))
    return part


async def settle() -> None:
    """Let tasks and threads go on."""
    await SystemClock().sleep(0.001)


async def drained(part: Partition, batches: list[Batch] | None = None) -> list[Batch]:
    """Everything until the end, added to `batches`."""
    batches = [] if batches is None else batches
    for _ in range(20_000):
        batch = await part.next_batch()
        if batch is None:
            await settle()
            continue
        batches.append(batch)
        if batch.ended:
            return batches
    raise AssertionError("it never ended")


def records(batches: list[Batch]) -> list[Any]:
    return [dict(r) for b in batches for p in b.payloads if isinstance(p, Rows) for r in p.records]


async def test_records_mappings_and_payloads_keep_their_order() -> None:
    def things() -> Iterator[Any]:
        yield Thing(id=1)
        yield {"id": 2}
        yield Keys([{"id": 1}])
        yield {"id": 3}

    part = await opened(Generator(things), SimulatedClock())
    payloads = [payload for batch in await drained(part) for payload in batch.payloads]
    flat = [r for p in payloads for r in (p.records if isinstance(p, Rows) else [p])]
    assert flat == [{"id": 1}, {"id": 2}, Keys([{"id": 1}]), {"id": 3}]


async def test_a_function_may_return_any_iterable_or_a_coroutine() -> None:
    async def later() -> list[dict[str, int]]:
        return [{"id": 1}]

    for fn in (lambda: [{"id": 1}], later):
        assert records(await drained(await opened(Generator(fn), SimulatedClock()))) == [{"id": 1}]


async def test_batches_are_bounded_and_the_iterator_waits_for_room() -> None:
    pulled = 0

    def many() -> Iterator[Any]:
        nonlocal pulled
        for i in range(3 * LIMIT):
            pulled = i + 1
            yield {"id": i}

    part = await opened(Generator(many), SimulatedClock())
    first = await part.next_batch()
    while first is None or not first.payloads:
        await settle()
        first = await part.next_batch()
    assert pulled <= 2 * LIMIT
    batches = [first, *await drained(part)]
    assert [r["id"] for r in records(batches)] == list(range(3 * LIMIT))
    assert max(len(records([batch])) for batch in batches) <= BATCH_ROWS


async def test_whole_batches_pass_as_they_are() -> None:
    given = Batch([Rows([{"id": 2}])], position="p", version=7, frontier=5)

    def things() -> Iterator[Any]:
        yield {"id": 1}
        yield given
        yield {"id": 3}

    batches = await drained(await opened(Generator(things), SimulatedClock()))
    assert given in batches
    assert records(batches) == [{"id": 1}, {"id": 2}, {"id": 3}]


async def test_it_resumes_where_the_position_says() -> None:
    def things(position: str | None) -> Iterator[Any]:
        for i in range(int(position or 0), 5):
            yield {"id": i}, str(i + 1)

    part = await opened(Generator(things), SimulatedClock(), "3")
    batches = await drained(part)
    assert records(batches) == [{"id": 3}, {"id": 4}]
    assert [batch.position for batch in batches if batch.payloads][-1] == "5"


async def test_idle_moves_the_frontier_with_the_clock() -> None:
    clock = SimulatedClock()

    async def quiet() -> AsyncIterator[Any]:
        yield {"id": 1}
        await clock.sleep(3600)

    part = await opened(Generator(quiet), clock)
    await part.next_batch()
    await settle()
    batch = await part.next_batch()
    assert batch is not None
    assert (len(batch.payloads), batch.frontier) == (1, clock.now())
    clock.advance(1)
    batch = await part.next_batch()
    assert batch == Batch((), frontier=clock.now())
    assert await part.next_batch() is None
    await part.close()


async def test_where_silence_may_mean_trouble_only_a_none_moves_the_frontier() -> None:
    clock = SimulatedClock()

    async def quiet() -> AsyncIterator[Any]:
        await clock.sleep(5)
        yield None
        await clock.sleep(3600)

    part = await opened(Generator(quiet, idle_is_complete=False), clock)
    assert await part.next_batch() is None
    looked = clock.now()
    await settle()
    clock.advance(5)
    await settle()
    assert await part.next_batch() == Batch((), frontier=looked)
    clock.advance(60)
    assert await part.next_batch() is None
    await part.close()


async def test_an_exception_comes_after_what_was_yielded_and_keeps_its_traceback() -> None:
    def things() -> Iterator[Any]:
        yield {"id": 1}
        raise ZeroDivisionError("by nothing")

    part = await opened(Generator(things), SimulatedClock())
    got: list[Batch] = []
    with pytest.raises(SourceError, match="ZeroDivisionError: by nothing") as caught:
        await drained(part, got)
    assert records(got) == [{"id": 1}]
    assert caught.value.permanent
    assert caught.value.__cause__ is not None
    assert "in things" in "".join(traceback.format_exception(caught.value.__cause__))
    await part.close()


async def test_one_that_resumes_is_called_again_behind_what_it_gave() -> None:
    calls: list[str | None] = []

    async def things(position: str | None) -> AsyncIterator[Any]:
        calls.append(position)
        if position is None:
            yield {"id": 1}, "1"
            raise OSError("no network")
        yield {"id": 2}, "2"

    part = await opened(Generator(things), SimulatedClock())
    batches: list[Batch] = []
    with pytest.raises(SourceError, match="no network") as caught:
        await drained(part, batches)
    assert not caught.value.permanent
    await drained(part, batches)
    assert (records(batches), calls) == ([{"id": 1}, {"id": 2}], [None, "1"])


async def test_what_is_no_record_is_told_after_what_came_before() -> None:
    part = await opened(Generator(lambda: [{"id": 1}, 3]), SimulatedClock())
    got: list[Batch] = []
    with pytest.raises(SourceError, match="yielded 3, which is not a record"):
        await drained(part, got)
    assert records(got) == [{"id": 1}]
    await part.close()


async def test_closing_ends_a_waiting_thread_and_runs_the_iterators_finally() -> None:
    closed = threading.Event()

    def endless() -> Iterator[Any]:
        try:
            while True:
                yield {"id": 1}
        finally:
            closed.set()

    part = await opened(Generator(endless), SimulatedClock())
    await part.next_batch()
    await part.close()
    assert closed.is_set()


def test_an_iterator_instead_of_a_function_is_refused() -> None:
    with pytest.raises(DeclarationError, match="takes a function"):
        Generator(iter([{"id": 1}]))  # type: ignore[arg-type]
