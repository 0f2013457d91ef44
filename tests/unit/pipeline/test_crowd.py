"""More requests than an endpoint may run."""

from __future__ import annotations

import asyncio

import headrace as hr
from headrace.core.errors import Overloaded
from headrace.models.admission import AdmissionRules
from headrace.models.call import Priority

from .conftest import Dish, Order, World, declare, turns


async def test_no_more_run_than_may_and_tenants_take_turns(world: World) -> None:
    order: list[str] = []

    async def slow(ask: Order, ctx: hr.Context) -> Dish:
        order.append(ctx.tenant)
        await world.clock.sleep(0.3)
        return Dish(name="x")

    runner = world.runner(declare(world, slow, max_concurrency=1))
    tenants = ["big"] * 10 + ["small"]
    await world.live(asyncio.gather(*(runner.run(world.ask(tenant=tenant)) for tenant in tenants)))
    assert order.index("small") <= 4
    assert len(order) == 11


async def test_what_cannot_be_ready_in_time_is_dropped_before_it_begins(world: World) -> None:
    started: list[str] = []

    async def slow(ask: Order, ctx: hr.Context) -> Dish:
        started.append(ctx.request_id)
        await world.clock.sleep(1.0)
        return Dish(name="x")

    runner = world.runner(declare(world, slow, max_concurrency=1))
    for _ in range(20):
        await world.run(runner)
    asked = [runner.run(world.ask(deadline=world.clock.monotonic() + 1.5)) for _ in range(3)]
    found = await world.live(asyncio.gather(*asked, return_exceptions=True))
    assert [type(one).__name__ for one in found] == ["Answer", "DeadlinePassed", "DeadlinePassed"]
    assert len(started) == 21


async def test_a_full_queue_turns_away_with_a_word_when_to_come_back(world: World) -> None:
    runner = world.runner(declare(world, max_concurrency=1, admission=AdmissionRules(most=1)))
    asked = [runner.run(world.ask()) for _ in range(3)]
    found = await world.live(asyncio.gather(*asked, return_exceptions=True))
    (turned,) = [one for one in found if isinstance(one, Overloaded)]
    assert (turned.status, turned.retry_after) == (503, 1.0)
    assert sorted(event.status for event in world.events) == [200, 200, 503]


async def test_a_share_is_kept_for_what_is_critical(world: World) -> None:
    runner = world.runner(declare(world, max_concurrency=5))
    await world.run(runner, priority=Priority.CRITICAL)
    before = world.clock.monotonic()
    asked = [runner.run(world.ask()) for _ in range(5)]
    tasks = [asyncio.ensure_future(one) for one in asked]
    await turns()
    assert (runner.gate.running, runner.gate.waiting) == (4, 1)
    await world.live(runner.run(world.ask(priority=Priority.CRITICAL)))
    assert world.clock.monotonic() - before < 1.1
    await world.live(asyncio.gather(*tasks))
