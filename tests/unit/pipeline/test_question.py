"""Which requests ask the same: an answer is given again only where all that it could depend on is the same."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

import headrace as hr
from headrace.core.errors import ModelRefused
from headrace.models.call import Priority
from headrace.pipeline.runner import Runner

from .conftest import REFUSED, Dish, Order, World, declare


class Login(BaseModel):
    pin: SecretStr


async def account(ask: Login, ctx: hr.Context) -> Dish:
    """What only one user may see."""
    await ctx.llm.chat("hello")
    return Dish(name=f"account of {ask.pin.get_secret_value()}")


async def told(world: World, runner: Runner, **how: Any) -> tuple[str, str]:
    """The name that is answered, and whether it was kept."""
    answer = await world.run(runner, **how)
    return json.loads(answer.body)["name"], answer.facts.cache


async def test_a_secret_is_part_of_the_question(world: World) -> None:
    runner = world.runner(declare(world, account, cache=True))
    one, other = Login(pin=SecretStr("1111")), Login(pin=SecretStr("2222"))
    assert await told(world, runner, input=one) == ("account of 1111", "miss")
    assert await told(world, runner, input=other) == ("account of 2222", "miss")
    assert await told(world, runner, input=one.model_copy()) == ("account of 1111", "hit")


async def test_the_last_good_answer_is_that_of_the_same_secret(world: World) -> None:
    runner = world.runner(declare(world, account, fallback="cached"))
    await world.run(runner, input=Login(pin=SecretStr("1111")))
    world.llm.script = [REFUSED]
    with pytest.raises(ModelRefused):
        await world.run(runner, input=Login(pin=SecretStr("2222")))
    answer = await world.run(runner, input=Login(pin=SecretStr("1111")))
    assert (json.loads(answer.body)["name"], answer.facts.fallback) == ("account of 1111", "cached")


async def test_what_a_handler_makes_of_its_input_is_not_what_was_asked(world: World) -> None:
    async def more(ask: Order, ctx: hr.Context) -> Dish:
        was, ask.people = ask.people, 2
        return Dish(name=f"for {was}")

    runner = world.runner(declare(world, more, cache=True))
    assert await told(world, runner, input=Order(restaurant_id="r7", people=1)) == ("for 1", "miss")
    assert await told(world, runner, input=Order(restaurant_id="r7", people=2)) == ("for 2", "miss")
    assert await told(world, runner, input=Order(restaurant_id="r7", people=1)) == ("for 1", "hit")


async def test_a_header_that_is_not_there_is_none_that_is_empty(world: World) -> None:
    async def language(ask: Order, ctx: hr.Context) -> Dish:
        return Dish(name="given" if "accept-language" in ctx.headers else "none")

    runner = world.runner(declare(world, language, cache=True))
    assert await told(world, runner) == ("none", "miss")
    assert await told(world, runner, headers={"accept-language": ""}) == ("given", "miss")
    assert await told(world, runner) == ("none", "hit")


async def test_the_priority_is_part_of_the_question_of_a_handler_that_looks_at_it(world: World) -> None:
    async def hurry(ask: Order, ctx: hr.Context) -> Dish:
        return Dish(name=ctx.priority.name)

    runner = world.runner(declare(world, hurry, cache=True))
    for priority in Priority:
        assert await told(world, runner, priority=priority) == (priority.name, "miss")
    assert await told(world, runner, priority=Priority.CRITICAL) == ("CRITICAL", "hit")


@pytest.mark.parametrize("name", ["remaining", "deadline"])
async def test_an_answer_for_the_time_that_is_left_is_for_one_request_alone(world: World, name: str) -> None:
    async def hurry(ask: Order, ctx: hr.Context) -> Dish:
        left = getattr(ctx, name) - (0 if name == "remaining" else world.clock.monotonic())
        return Dish(name="in a hurry" if left < 1 else "with care")

    runner = world.runner(declare(world, hurry, cache=True))
    for left, answer in ((0.5, "in a hurry"), (3, "with care"), (3, "with care")):
        assert await told(world, runner, deadline=world.clock.monotonic() + left) == (answer, "miss")
    assert runner.kept is not None
    assert ("unkept_total", "counter", 3) in list(runner.kept.lines())


class Lazy(BaseModel):
    numbers: Iterable[int]


async def test_an_input_that_cannot_be_compared_is_answered_and_not_kept(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async def add(ask: Lazy, ctx: hr.Context) -> Dish:
        await ctx.llm.chat("hello")
        return Dish(name=str(sum(ask.numbers)))

    runner = world.runner(declare(world, add, cache=True, fallback="cached"))
    with caplog.at_level(logging.WARNING):
        for numbers in ([1], [1, 1], [1]):
            asked = await told(world, runner, input=Lazy.model_validate({"numbers": numbers}))
            assert asked == (str(sum(numbers)), "miss")
    (line,) = caplog.messages  # once, not with every request
    assert line.startswith("inputs of /recommend cannot be compared, so answers to them are not kept: TypeError: ")
    world.llm.script = [REFUSED]
    with pytest.raises(ModelRefused):
        await world.run(runner, input=Lazy.model_validate({"numbers": [1]}))
