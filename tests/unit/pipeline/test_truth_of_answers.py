"""Whatever happens while an answer is made: one that says "unchanged as of T" is built on what was so at T."""

from __future__ import annotations

import asyncio
import json
from random import Random
from typing import Any

import pytest

import headrace as hr
from headrace.core.errors import AnswerStale, HeadraceError, ModelRefused, StaleContext

from .conftest import REFUSED, Dish, Order, World, declare, turns

KEYS = ("r7", "r8")


class History:
    """What stood on the shelf, and since when."""

    def __init__(self, world: World) -> None:
        self.world = world
        world.shelf.rows = dict.fromkeys(KEYS, ("0", 5.0))
        self.changes: list[tuple[int, dict[str, str]]] = []
        self.note()

    def note(self) -> None:
        rows = {key: row[0] for key, row in self.world.shelf.rows.items()}
        self.changes.append((self.world.clock.now(), rows))

    def put(self, key: str, name: str) -> None:
        self.world.shelf.put(key, name)
        self.note()

    def at(self, instant: int) -> set[str]:
        """All that was so at an instant: when something changed within it, both count."""
        before = [rows for at, rows in self.changes if at < instant][-1:]
        within = [rows for at, rows in self.changes if at == instant]
        return {"|".join(rows[key] for key in KEYS) for rows in before + within}


async def handler(ask: Order, ctx: hr.Context) -> Dish:
    first = await ctx.menu(restaurant_id="r7")
    await ctx.llm.chat("first?")
    second = await ctx.menu(restaurant_id="r8")
    await ctx.llm.chat("second?")
    return Dish(name=f"{first.rows[0]['name']}|{second.rows[0]['name']}")


def trusting(world: World) -> Any:
    """A repair that takes what it is told, and thinks about it for a while."""

    async def fix(answer: Dish, changed: list[Any], ctx: hr.Context) -> Dish:
        parts = dict(zip(KEYS, answer.name.split("|"), strict=True))
        for one in changed:
            parts[one.read.bindings["restaurant_id"]] = one.current[0][0]
        await world.clock.sleep(0.3)
        return Dish(name="|".join(parts[key] for key in KEYS))

    return hr.repair(fix)


def reading(world: World) -> Any:
    """A repair that reads all again."""

    async def fix(answer: Dish, changed: list[Any], ctx: hr.Context) -> Dish:
        parts: list[str] = []
        for key in KEYS:
            parts.append((await ctx.menu(restaurant_id=key)).rows[0]["name"])
            await world.clock.sleep(0.2)
        return Dish(name="|".join(parts))

    return hr.repair(fix)


MODES: dict[str, Any] = {
    "flag": lambda world: "flag",
    "retry": lambda world: "retry",
    "retry else refuse": lambda world: "retry 3 else refuse",
    "refuse": lambda world: "refuse",
    "ignore": lambda world: "ignore",
    "repair, trusting": trusting,
    "repair, reading": reading,
}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("mode", MODES)
async def test_an_answer_that_says_unchanged_holds_at_the_instant_that_it_says(
    world: World, mode: str, strict: bool, seed: int
) -> None:
    random, history = Random(seed), History(world)
    world.llm.script, world.llm.seconds = [lambda request: REFUSED if random.random() < 0.1 else "x"], 0.1
    strict = strict and mode != "ignore"  # these two exclude each other, and so do a cache and strictness
    how = {"on_stale": MODES[mode](world), "cache": not strict, "strict": strict, "fallback": "cached"}
    endpoint = declare(world, handler, **how)
    runner = world.runner(endpoint)
    tasks = [asyncio.ensure_future(_ask(world, runner, random.uniform(0, 12.0))) for _ in range(40)]
    number = 0
    while not all(task.done() for task in tasks):
        world.clock.advance(0.01)
        await turns(3)
        if random.random() < 0.03:
            number += 1
            # Now and then what was before comes back.
            history.put(random.choice(KEYS), str(random.choice([number, number % 3])))
    kept = unchanged = 0
    for task in tasks:
        answer = task.result()
        if answer is None:
            continue
        name = json.loads(answer.body)["name"]
        kept += answer.facts.cache == "hit"
        if mode == "ignore" and answer.facts.cache != "hit" and not answer.facts.fallback:
            assert (answer.facts.stale, answer.facts.unchanged_as_of) == ("unchecked", None)
        elif answer.facts.stale == "unchanged":
            unchanged += 1
            assert name in history.at(answer.facts.unchanged_as_of)
        else:
            assert answer.facts.unchanged_as_of is None
            assert mode not in ("refuse", "retry else refuse")
            assert answer.facts.fallback != "cached" or mode in ("flag", "ignore")
    assert (kept > 0) is not strict
    assert unchanged > 5


async def _ask(world: World, runner: Any, after: float) -> Any:
    await world.clock.sleep(after)
    try:
        return await runner.run(world.ask())
    except (AnswerStale, StaleContext, ModelRefused):
        return None
    except HeadraceError as error:
        raise AssertionError(f"{error}") from error
