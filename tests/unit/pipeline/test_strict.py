"""Waiting until the sources are known to be complete up to the answer."""

from __future__ import annotations

import asyncio
from pathlib import Path

import headrace as hr
from headrace.context.readset import Changed, Read, ReadSet, Validity
from headrace.core.clock import SECOND, SimulatedClock
from headrace.core.frontier import SourceState
from headrace.pipeline.strict import settle

READS = ReadSet((Read("menu", {}, ("items", "sales"), 1, (), 1),))


class Board:
    """Frontiers that are moved by hand."""

    def __init__(self) -> None:
        self.at: dict[str, int | None] = {"items": None, "sales": None}
        self.changed: list[Changed] = []
        self.looks = 0

    def frontiers(self, readset: ReadSet) -> dict[str, int | None]:
        self.looks += 1
        return dict(self.at)

    def validate(self, readset: ReadSet) -> Validity:
        return Validity(list(self.changed), 7)


async def turn() -> None:
    """Let the other tasks of the loop run."""
    await asyncio.get_running_loop().run_in_executor(None, lambda: None)


async def turns(clock: SimulatedClock, seconds: float, step: float = 0.001) -> None:
    """Let time pass while others run."""
    for _ in range(round(seconds / step)):
        await turn()
        clock.advance(step)
    await turn()


async def test_it_waits_until_the_last_input_has_passed() -> None:
    clock, board = SimulatedClock(), Board()
    at = clock.now()
    board.at = {"items": at, "sales": at - 1}
    waiting = asyncio.create_task(settle(board, READS, compare=board.validate, at=at, deadline=5.0, clock=clock))
    await turns(clock, 0.1)
    assert not waiting.done()
    board.at["sales"] = at
    await turns(clock, 0.03)
    settled = await waiting
    assert (settled.lagging, settled.validity.changed) == ({}, [])
    assert 0.1 <= settled.waited <= 0.13
    assert board.looks < 20


async def test_what_is_complete_already_does_not_wait() -> None:
    clock, board = SimulatedClock(), Board()
    board.at = {"items": clock.now() + 1}
    settled = await settle(board, READS, compare=board.validate, at=clock.now(), deadline=0.0, clock=clock)
    assert (settled.lagging, settled.waited, board.looks) == ({}, 0.0, 1)


async def test_the_deadline_ends_it_and_says_which_input_lags() -> None:
    clock, board = SimulatedClock(), Board()
    at = clock.now() + SECOND
    board.at = {"items": at, "sales": at - 250_000, "total": None}
    waiting = asyncio.create_task(settle(board, READS, compare=board.validate, at=at, deadline=0.5, clock=clock))
    await turns(clock, 0.51)
    settled = await waiting
    assert settled.lagging == {"sales": at - 250_000, "total": None}
    assert settled.why(at) == "not complete up to the answer after 500 ms: sales (250 ms behind), total (unknown)"


async def test_a_change_ends_the_wait() -> None:
    clock, board = SimulatedClock(), Board()
    settling = settle(board, READS, compare=board.validate, at=clock.now(), deadline=5.0, clock=clock)
    waiting = asyncio.create_task(settling)
    await turns(clock, 0.05)
    board.changed = [Changed(READS.reads[0], "it changed")]
    await turns(clock, 0.03)
    settled = await waiting
    assert settled.validity.changed[0].reason == "it changed"


class Item(hr.Record):
    item_id: str
    stock: int


async def test_a_change_that_was_under_way_is_found(tmp_path: Path) -> None:
    app = hr.App("shop")
    app.table(Item, key="item_id")
    app.view("stock", "SELECT item_id, stock FROM items")
    app.view("total", "SELECT SUM(stock) AS total FROM items", refresh="1s")
    clock = SimulatedClock()
    async with app.run(data=tmp_path, clock=clock) as live:
        await live.push("items", {"item_id": "a", "stock": 1})
        read = (await live.read("stock")).readset
        clock.advance(1)
        at = clock.now()
        deadline, compare = clock.monotonic() + 5, live.reads.validate
        waiting = asyncio.create_task(settle(live.reads, read, compare=compare, at=at, deadline=deadline, clock=clock))
        await turns(clock, 0.01)
        assert not waiting.done()
        pushing = asyncio.create_task(live.push("items", {"item_id": "a", "stock": 0}))
        while not pushing.done() or not waiting.done():
            await turn()
            clock.advance(0.001)
        settled = await waiting
        assert not settled.validity.holds
        read = (await live.read("stock")).readset
        live.engine.store.board.set_frontier("items", clock.now(), clock.now(), SourceState.RUNNING)
        settled = await settle(live.reads, read, compare=compare, at=clock.now(), deadline=deadline, clock=clock)
        assert (settled.lagging, settled.validity.changed) == ({}, [])
        assert set(live.reads.frontiers((await live.read("total")).readset)) == {"items", "total"}
