"""Who comes in: one place for each that leaves, whatever happens to those that wait."""

from __future__ import annotations

import asyncio

import pytest

from headrace.core.clock import SimulatedClock
from headrace.core.errors import DeadlinePassed, Overloaded
from headrace.models.admission import AdmissionRules
from headrace.pipeline.ask import Ask
from headrace.pipeline.bounds import Bounds
from headrace.pipeline.gate import Gate

from .conftest import turns


def gate(concurrency: int = 1, **rules: float) -> tuple[Gate, SimulatedClock]:
    clock = SimulatedClock()
    return Gate(Bounds(concurrency=concurrency, admission=AdmissionRules(**rules)), clock), clock  # type: ignore[arg-type]


async def test_whoever_stops_waiting_takes_no_place() -> None:
    door, _ = gate()
    await door.enter(Ask(None, "1"), 10.0)
    waiting = [asyncio.ensure_future(door.enter(Ask(None, str(n)), 10.0)) for n in (2, 3)]
    await turns()
    waiting[0].cancel()
    await turns()
    door.leave(Ask(None, "1"), 0.1, None)
    await waiting[1]
    assert (door.running, door.waiting) == (1, 0)


async def test_one_that_is_let_in_and_cancelled_at_once_gives_its_place_back() -> None:
    door, _ = gate()
    await door.enter(Ask(None, "1"), 10.0)
    waiting = asyncio.ensure_future(door.enter(Ask(None, "2"), 10.0))
    await turns()
    door.leave(Ask(None, "1"), 0.1, None)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (door.running, door.waiting) == (0, 0)


async def test_a_queue_that_stands_is_shortened() -> None:
    door, clock = gate(target=0.5, interval=1.0)
    await door.enter(Ask(None, "first"), 100.0)
    waiting = [asyncio.ensure_future(door.enter(Ask(None, str(n)), 100.0)) for n in range(20)]
    await turns()
    for _ in range(6):
        clock.advance(1.0)
        door.leave(Ask(None, "x"), 0.01, None)
        await turns()
    found = [one.exception() for one in waiting if one.done()]
    shed = [error for error in found if isinstance(error, Overloaded)]
    assert door.turned["shed"] == len(shed) > 0
    assert {error.status for error in shed} == {429}
    for one in waiting:
        one.cancel()


async def test_the_same_request_id_may_come_twice() -> None:
    door, _ = gate(2)
    await door.enter(Ask(None, "same"), 10.0)
    await door.enter(Ask(None, "same"), 10.0)
    assert door.running == 2


async def request(door: Gate, clock: SimulatedClock, takes: float, *, deadline: float = 1.0, late: float = 0.0) -> str:
    """One that takes so long, or ends without an answer a moment after its deadline, as on a real clock."""
    end = clock.monotonic() + deadline
    try:
        await door.enter(Ask(None, "x"), end)
    except DeadlinePassed as error:
        return error.stage
    answered = takes <= deadline
    seconds = takes if answered else deadline + late
    clock.advance(seconds)
    door.leave(Ask(None, "x"), seconds if answered else None, None)
    return "answered" if answered else "late"


async def test_a_time_in_which_nothing_answered_turns_nobody_away_afterwards() -> None:
    door, clock = gate(8)
    assert {await request(door, clock, 60.0, late=0.01) for _ in range(100)} == {"late"}
    assert {await request(door, clock, 0.01) for _ in range(10)} == {"answered"}


async def test_whoever_has_less_time_than_answers_take_is_turned_away_while_others_are_in() -> None:
    door, clock = gate(8)
    for _ in range(10):
        assert await request(door, clock, 0.9) == "answered"
    await door.enter(Ask(None, "in"), clock.monotonic() + 10.0)
    assert await request(door, clock, 0.1, deadline=0.5) == "queue"
    door.leave(Ask(None, "in"), None, None)
    assert await request(door, clock, 0.1, deadline=0.5) == "queue"
    clock.advance(1.0)
    assert await request(door, clock, 0.1, deadline=0.5) == "answered", "it may be faster by now, and nobody else tells"
