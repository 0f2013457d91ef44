"""Several runs for one request: a handler again, a fallback. Each has the input as it came."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import BaseModel, Field

import headrace as hr
from headrace.core.errors import ModelRefused

from .conftest import REFUSED, World, declare

_IDS = itertools.count(1)


class Basket(BaseModel):
    dishes: list[str]
    number: int = Field(default_factory=lambda: next(_IDS))


class Locked:
    """What cannot be copied."""

    def __init__(self) -> None:
        self.dishes: list[str] = []

    def __deepcopy__(self, memo: Any) -> Locked:
        raise TypeError("cannot copy a lock")


async def add(ask: Basket, ctx: hr.Context) -> list[Any]:
    """Changes its input."""
    await ctx.menu(restaurant_id="r7")
    ask.dishes.append("soup")
    await ctx.llm.chat("which?")
    return [*ask.dishes, ask.number]


async def stream(ask: Basket, ctx: hr.Context) -> AsyncIterator[Any]:
    """The same, item by item."""
    for one in await add(ask, ctx):
        yield one


@pytest.mark.parametrize("function", [add, stream])
async def test_a_second_run_has_the_input_as_it_came(world: World, function: Any) -> None:
    runner = world.runner(declare(world, function, on_stale="retry"))
    change = {0.5: lambda: world.shelf.put("r7", "stew"), 1.5: lambda: world.shelf.put("r7", "fish")}
    basket = Basket(dishes=["tea"])
    answer = await world.live(runner.run(world.ask(input=basket)), happen=change)
    found = json.loads(answer.body) if answer.events is None else [item async for item in answer.events.items()]
    assert (found, answer.facts.retries) == (["tea", "soup", basket.number], 2)


@pytest.mark.parametrize(
    ("fallback", "found"),
    [
        (lambda ask: [*ask.dishes, ask.number], ["tea"]),
        ("small", ["tea", "soup"]),
        ([lambda ask: ask.dishes.append("x") or 7 / 0, "small"], ["tea", "soup"]),
    ],
)
async def test_a_fallback_has_it_as_well(world: World, fallback: Any, found: list[str]) -> None:
    world.llm.script = [REFUSED]
    basket = Basket(dishes=["tea"])
    answer = await world.run(world.runner(declare(world, add, fallback=fallback)), input=basket)
    assert json.loads(answer.body) == [*found, basket.number]


async def test_an_answer_of_a_second_run_is_kept_under_what_was_asked(world: World) -> None:
    runner = world.runner(declare(world, add, on_stale="retry", cache=True))
    change = {0.5: lambda: world.shelf.put("r7", "stew")}
    await world.live(runner.run(world.ask(input=Basket(dishes=[], number=0))), happen=change)
    answer = await world.run(runner, input=Basket(dishes=[], number=0))
    assert (json.loads(answer.body), answer.facts.cache) == (["soup", 0], "hit")


async def test_an_input_that_cannot_be_copied_is_shared_and_that_is_told_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async def locked(ask: Any, ctx: hr.Context) -> list[str]:
        ask.dishes.append("soup")
        return [(await ctx.llm.chat("which?")).text]

    world.llm.script = [REFUSED]
    runner = world.runner(declare(world, locked, fallback=lambda ask: ask.dishes))
    for _ in range(2):
        assert json.loads((await world.run(runner, input=Locked())).body) == ["soup"]
    said = "inputs of /recommend cannot be copied, so all tries share one: TypeError: cannot copy a lock"
    assert [record.getMessage() for record in caplog.records if "copied" in record.getMessage()] == [said]


@pytest.mark.parametrize("how", [{}, {"on_stale": "refuse"}, {"fallback": "cached"}, {"fallback": [["sorry"]]}])
async def test_where_no_run_can_follow_nothing_is_copied(
    world: World, how: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    async def locked(ask: Any, ctx: hr.Context) -> list[str]:
        return [(await ctx.llm.chat("which?")).text]

    world.llm.script = ["soup", REFUSED]
    runner = world.runner(declare(world, locked, **how))
    assert json.loads((await world.run(runner, input=Locked())).body) == ["soup"]
    if "fallback" not in how:
        with pytest.raises(ModelRefused):
            await world.run(runner, input=Locked())
    assert "copied" not in caplog.text
