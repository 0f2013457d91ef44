"""All endpoints of an app: rows that move their traffic, and the metrics."""

from __future__ import annotations

from typing import Any

import pytest

import headrace as hr
from headrace.core.errors import Unavailable, UnknownName
from headrace.core.events import Event, Problem, Solved
from headrace.pipeline.counters import Counters
from headrace.pipeline.desk import EVERY, Desk

from .conftest import Dish, Order, World


class Notes:
    def __init__(self) -> None:
        self.heard: list[Event] = []

    def record(self, event: Event) -> None:
        self.heard.append(event)


class Rows:
    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.looks = 0
        self.away = False
        self.broken = False

    async def read(self) -> list[dict[str, Any]]:
        self.looks += 1
        if self.away:
            raise Unavailable("the engine is restarting")
        if self.broken:
            raise OSError("disk I/O error")
        return self.rows

    def set(self, **weights: float) -> None:
        self.rows = [
            {"endpoint": "/a", "version": version, "weight": weight, "shadow": False}
            for version, weight in weights.items()
        ]


def desk(world: World, rows: Rows, notes: Notes) -> Desk:
    async def named(ask: Order, ctx: hr.Context) -> Dish:
        return Dish(name=ctx.version)

    endpoint = world.app.endpoint("/a")(named)
    endpoint.version("b")(named)
    runner = world.runner(endpoint)
    return Desk({"/a": runner}, Counters(), clock=world.clock, rows=rows.read, recorder=notes)


async def test_rows_move_traffic_a_moment_later_and_nobody_waits_for_them(world: World) -> None:
    rows, notes = Rows(), Notes()
    async with desk(world, rows, notes) as running:
        assert (await world.live(running.ask("/a", world.ask()))).version == "a"
        rows.set(a=0, b=1)
        await world.live(world.clock.sleep(EVERY * 2))
        assert (await world.live(running.ask("/a", world.ask()))).version == "b"
        looks = rows.looks
        for _ in range(50):
            await world.live(running.ask("/a", world.ask()))
        assert rows.looks == looks


async def test_what_is_known_holds_while_the_rows_cannot_be_read(world: World) -> None:
    rows, notes = Rows(), Notes()
    rows.set(a=0, b=1)
    async with desk(world, rows, notes) as running:
        rows.away = True
        await world.live(world.clock.sleep(EVERY * 3))
        assert (await world.live(running.ask("/a", world.ask()))).version == "b"


async def test_whatever_they_cannot_be_read_for_they_are_looked_at_further(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    rows, notes = Rows(), Notes()
    async with desk(world, rows, notes) as running:
        rows.broken = True
        await world.live(world.clock.sleep(EVERY * 8))
        assert [(record.levelname, bool(record.exc_info)) for record in caplog.records] == [("ERROR", True)]
        assert "disk I/O error" in caplog.messages[0]
        assert (await world.live(running.ask("/a", world.ask()))).version == "a"
        rows.broken = False
        rows.set(a=0, b=1)
        await world.live(world.clock.sleep(EVERY * 2))
        assert (await world.live(running.ask("/a", world.ask()))).version == "b"


async def test_rows_that_make_no_sense_are_told_and_then_solved(world: World) -> None:
    rows, notes = Rows(), Notes()
    rows.set(nope=1)
    async with desk(world, rows, notes) as running:
        assert (await world.live(running.ask("/a", world.ask()))).version == "a"
        rows.set(b=1)
        await world.live(world.clock.sleep(EVERY * 2))
    assert [type(event) for event in notes.heard] == [Problem, Solved]


async def test_plain_data_is_checked_and_types_are_given(world: World) -> None:
    async with desk(world, Rows(), Notes()) as running:
        found = await world.live(
            running.ask("/a", world.ask(input={"restaurant_id": "r7"}), response=Dish),
        )
        assert found.value == Dish(name="a")
        with pytest.raises(hr.BadInput):
            await running.ask("/a", world.ask(input={"restaurant": "r7"}))
        with pytest.raises(UnknownName, match="'/b'"):
            await running.ask("/b", world.ask())
        lines = "\n".join(running.metrics())
    assert 'headrace_endpoint_running{endpoint="/a"} 0' in lines
