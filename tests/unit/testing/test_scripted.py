"""The scripted source: crashes, pauses and failures as they are written."""

from __future__ import annotations

import pytest

from headrace.core.changes import Batch, Rows
from headrace.core.clock import SimulatedClock
from headrace.core.errors import SourceError
from headrace.core.schema import Column, ColumnType, Schema, TableKind
from headrace.sources import Opening, Partition
from headrace.testing import CRASH, EOF, PAUSE, Fail, Heartbeat, Scripted, SimulatedCrash

SCHEMA = Schema("things", TableKind.TABLE, (Column("id", ColumnType.INTEGER),), ("id",))


async def opened(source: Scripted, clock: SimulatedClock, position: str | None = None) -> Partition:
    (part,) = await source.open(Opening(SCHEMA, {} if position is None else {"script": position}, clock))
    return part


async def test_a_crash_happens_once_and_the_script_goes_on_behind_what_was_committed() -> None:
    source, clock = Scripted([{"id": 1}, CRASH, [{"id": 2}, {"id": 3}], EOF]), SimulatedClock()
    part = await opened(source, clock)
    first = await part.next_batch()
    assert first == Batch([Rows([{"id": 1}])], "1", "script:0", frontier=clock.now())
    with pytest.raises(SimulatedCrash):
        await part.next_batch()
    part = await opened(source, clock, first.position)
    second, end = await part.next_batch(), await part.next_batch()
    assert second is not None
    assert end is not None
    assert (second.payloads, second.position, end.ended) == ([Rows([{"id": 2}, {"id": 3}])], "3", True)
    assert await part.next_batch() is None


async def test_a_crash_before_the_commit_repeats_what_was_lost() -> None:
    source, clock = Scripted([{"id": 1}, CRASH, {"id": 2}]), SimulatedClock()
    part = await opened(source, clock)
    await part.next_batch()
    with pytest.raises(SimulatedCrash):
        await part.next_batch()
    part = await opened(source, clock)
    assert [b.payloads for b in (await part.next_batch(), await part.next_batch()) if b] == [
        [Rows([{"id": 1}])],
        [Rows([{"id": 2}])],
    ]


async def test_a_pause_is_silent_and_a_heartbeat_is_not() -> None:
    clock = SimulatedClock()
    part = await opened(Scripted([PAUSE(2), Heartbeat(), Heartbeat(7)]), clock)
    assert await part.next_batch() is None
    assert part.next_awake() == pytest.approx(2)
    clock.advance(1.5)
    assert await part.next_batch() is None
    clock.advance(0.5)
    assert await part.next_batch() == Batch((), frontier=clock.now())
    assert await part.next_batch() == Batch((), frontier=7)


async def test_a_failure_is_raised_as_often_as_it_says() -> None:
    part = await opened(Scripted([Fail(SourceError("no network"), times=2), {"id": 1}]), SimulatedClock())
    for _ in range(2):
        with pytest.raises(SourceError, match="no network"):
            await part.next_batch()
    assert await part.next_batch() is not None


async def test_batches_of_several_tables_pass_as_they_are() -> None:
    step = [
        Batch([Rows([{"id": 1}])], table="items", more=True),
        Batch([Rows([{"id": 2}])], table="shops"),
    ]
    part = await opened(Scripted(step), SimulatedClock())
    first, second = await part.next_batch(), await part.next_batch()
    assert first is not None
    assert second is not None
    assert (first.table, first.more, first.position) == ("items", True, None)
    assert (second.table, second.more, second.position) == ("shops", False, "2")
