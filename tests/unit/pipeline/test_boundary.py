"""What the app's own code raises: groups of errors, and the stage in which it did."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator

import pytest

import headrace as hr
from headrace.core.errors import BadInput, DeadlinePassed, ModelRefused, UserCodeError

from .conftest import REFUSED, Dish, Order, World, declare


async def test_a_model_that_fails_in_a_group_of_tasks_leads_to_the_fallback(world: World) -> None:
    async def both(ask: Order, ctx: hr.Context) -> Dish:
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.llm.chat("one?"))
            group.create_task(ctx.small.chat("another?"))
        return Dish(name="both")

    world.llm.script = [REFUSED]
    answer = await world.run(world.runner(declare(world, both, fallback={"name": "sorry"})))
    assert (answer.body, answer.facts.fallback) == (b'{"name":"sorry"}', "constant")
    with pytest.raises(ModelRefused):
        await world.run(world.runner(world.app.endpoint("/other")(both)))


@pytest.mark.parametrize(
    ("errors", "kind"),
    [
        ([REFUSED, BadInput("no such dish")], BadInput),
        ([REFUSED, ExceptionGroup("", [DeadlinePassed("late"), REFUSED])], ModelRefused),
        ([REFUSED, KeyError("x")], UserCodeError),
        ([REFUSED, ExceptionGroup("", [KeyError("x")])], UserCodeError),
    ],
)
@pytest.mark.parametrize("streams", [True, False])
async def test_a_group_of_errors_is_told_as_the_one_that_counts(
    world: World, errors: list[Exception], kind: type[Exception], streams: bool
) -> None:
    async def fails(ask: Order, ctx: hr.Context) -> Dish:
        raise ExceptionGroup("several", errors)

    async def breaks(ask: Order, ctx: hr.Context) -> AsyncIterator[Dish]:
        raise ExceptionGroup("several", errors)
        yield Dish(name="x")

    with pytest.raises(kind):
        await world.run(world.runner(declare(world, breaks if streams else fails)))


@pytest.mark.parametrize("deadline", [True, False])
async def test_what_ends_after_the_last_read_ends_in_the_stage_that_its_time_is_told_under(
    world: World, deadline: bool
) -> None:
    async def late(ask: Order, ctx: hr.Context) -> Dish:
        await ctx.menu(restaurant_id="r7")
        await world.clock.sleep(9.0 if deadline else 1.0)
        raise KeyError("x")

    with pytest.raises(DeadlinePassed if deadline else UserCodeError) as caught:
        await world.run(world.runner(declare(world, late)))
    assert caught.value.stage == "postprocess"
    assert max(world.events[0].stages.items(), key=lambda pair: pair[1])[0] == "postprocess"


def test_what_python_closes_where_no_task_runs_is_no_fault(world: World, caplog: pytest.LogCaptureFixture) -> None:
    class Never:
        def __await__(self) -> Generator[None]:
            yield

    async def waits() -> None:
        await Never()

    runner = world.runner(declare(world))
    run = runner._handling.call(None, waits)  # type: ignore[arg-type]
    run.send(None)
    run.close()
    assert not caplog.records
