"""The fallback "cached": an answer of before says how old it is, and is none where what it was built on has changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import headrace as hr
from headrace.context.readset import Read, ReadSet, Validity
from headrace.core.clock import SECOND, SimulatedClock
from headrace.core.errors import ModelRefused, StaleContext
from headrace.core.frontier import Status
from headrace.pipeline.good import Good, GoodAnswers
from headrace.pipeline.runner import Runner
from headrace.testing import Refuses, ScriptedModel

from .conftest import REFUSED, Dish, Order, World, declare, recommend


async def rule(ask: Order, ctx: hr.Context) -> Dish:
    menu = await ctx.menu(restaurant_id=ask.restaurant_id)
    return Dish(name=f"the usual {menu.rows[0]['name']}")


async def fix(answer: Dish, changed: list[Any], ctx: hr.Context) -> Dish:
    return answer


async def broken(world: World, runner: Runner) -> int:
    """A good answer, and ten seconds later a model that gives none; when the answer was made."""
    await world.run(runner)
    made = world.clock.now()
    world.llm.script = [REFUSED]
    world.clock.advance(10)
    return made


async def test_it_says_how_old_it_is_and_who_made_it(world: World) -> None:
    runner = world.runner(declare(world, fallback="cached"))
    made = await broken(world, runner)
    facts = (await world.run(runner)).facts
    assert (facts.fallback, facts.version, facts.made_at) == ("cached", "a", made)
    assert (facts.stale, facts.changed, facts.unchanged_as_of) == ("unchanged", [], world.clock.now())
    assert [(read.name, read.age_ms, read.status) for read in facts.reads] == [("menu", 1.5, "fresh")]


@pytest.mark.parametrize("on_stale", ["retry", "retry else refuse", "refuse", hr.repair(fix)])
async def test_what_has_changed_since_makes_room_for_the_next(world: World, on_stale: Any) -> None:
    runner = world.runner(declare(world, on_stale=on_stale, fallback=["cached", rule]))
    await broken(world, runner)
    world.shelf.put("r7", "stew")
    answer = await world.run(runner)
    assert (json.loads(answer.body), answer.facts.fallback) == ({"name": "the usual stew"}, "rule")
    assert (answer.facts.made_at, answer.facts.changed) == (None, [])
    world.shelf.put("r7", "soup")
    assert (await world.run(runner)).facts.fallback == "cached"


@pytest.mark.parametrize("on_stale", ["ignore", "flag"])
async def test_or_is_told_with_the_answer_where_the_app_says_so(world: World, on_stale: str) -> None:
    runner = world.runner(declare(world, on_stale=on_stale, fallback=["cached", rule]))
    await broken(world, runner)
    world.shelf.put("r7", "stew")
    facts = (await world.run(runner)).facts
    assert (facts.fallback, facts.stale, facts.unchanged_as_of) == ("cached", "changed", None)
    assert (facts.changed, len(facts.stale_detail)) == (["menu"], 1)
    (read,) = facts.reads
    assert read.age_ms is not None
    assert 11_000 <= read.age_ms < 12_500  # of the rows that it was made of, not of those that are there now


async def test_without_a_next_the_failure_stays(world: World) -> None:
    runner = world.runner(declare(world, on_stale="refuse", fallback="cached"))
    await broken(world, runner)
    world.shelf.put("r7", "stew")
    with pytest.raises(ModelRefused):
        await world.run(runner)


async def test_a_version_gives_its_own_answers_only(world: World) -> None:
    endpoint = declare(world, fallback=["cached", {"name": "sorry"}])
    endpoint.version("terse", weight=0)(recommend)
    runner = world.runner(endpoint)
    await world.run(runner, version="terse")
    world.llm.script = [REFUSED]
    found = [(await world.run(runner, version=version)).facts for version in ("a", "terse")]
    assert [(facts.version, facts.fallback) for facts in found] == [("a", "constant"), ("terse", "cached")]


async def test_a_change_within_the_tolerances_is_none(world: World) -> None:
    def relax(validity: Validity) -> Validity:
        matter = [one for one in validity.changed if one.read.content[0][0] != one.came[0][0]]
        return Validity(matter, validity.as_of)

    endpoint = declare(world, on_stale="refuse", fallback=["cached", rule])
    runner = world.runner(endpoint)
    runner = Runner(endpoint, runner._means, relax=relax)
    await broken(world, runner)
    world.shelf.put("r7", "soup", 6.0)
    assert (await world.run(runner)).facts.fallback == "cached"
    world.shelf.put("r7", "stew", 6.0)
    assert (await world.run(runner)).facts.fallback == "rule"


async def test_an_answer_without_context_says_when_it_was_made(world: World) -> None:
    async def plain(ask: Order, ctx: hr.Context) -> Dish:
        return await ctx.llm.chat("?", response=Dish)

    runner = world.runner(declare(world, plain, fallback="cached"))
    made = await broken(world, runner)
    facts = (await world.run(runner)).facts
    assert (facts.made_at, facts.stale, facts.reads) == (made, "unchecked", [])


def test_the_rows_that_it_is_compared_by_count_against_the_bound() -> None:
    rows = tuple((f"row {number}", 1) for number in range(100))
    read = Read("menu", {}, ("items",), 1, rows, 2, Status.FRESH)
    good = GoodAnswers(most=1250)
    good.keep("v", "a", Good(b"1"))
    good.keep("v", "b", Good(b"1", ReadSet((read,))))
    assert (good.find("v", "a"), good.find("v", "b")) == (None, Good(b"1", ReadSet((read,))))
    good.keep("v", "b", Good(b"2"))
    good.keep("v", "c", Good(b"3", ReadSet((read, read))))
    assert (good.find("v", "b"), good.find("v", "c")) == (None, None)


class Item(hr.Record):
    item_id: str
    stock: int


async def test_reads_are_made_again_as_of_now_and_their_policy_holds(tmp_path: Path) -> None:
    app = hr.App("shop")
    app.table(Item, key="item_id", freshness="10s")
    app.view("old", "SELECT item_id, now() AS at FROM items")
    app.view("stock", "SELECT item_id, stock FROM items")
    clock = SimulatedClock()
    async with app.run(data=tmp_path, clock=clock) as live:
        await live.push("items", {"item_id": "a", "stock": 1})
        stock, old = await live.read("stock"), await live.read("old")
        strict = await live.read("stock", _policy="refuse")
        clock.advance(60)
        found = live.reads.again(stock.readset + old.readset)
        assert [one.read.name for one in found.changed] == ["old"]  # it looks at the clock
        assert [read.status for read in found.readset.reads] == [Status.UNKNOWN, Status.UNKNOWN]
        assert all(age is not None and age >= 60 * SECOND for age in found.ages)
        with pytest.raises(StaleContext, match=r"'stock' is unknown: its as-of age is .*; its policy is to refuse"):
            live.reads.again(strict.readset)
        await live.push("items", {"item_id": "b", "stock": 1})
        changed = live.reads.again(stock.readset).changed
        assert [one.came for one in changed] == [[("b", 1)]]


async def test_asked_in_its_process_it_says_the_same(tmp_path: Path) -> None:
    app = hr.App("shop")
    app.table(Item, key="item_id")
    app.view("stock", "SELECT item_id, stock FROM items WHERE stock > 0")
    app.model("llm", hr.models.OpenAI("http://127.0.0.1:9/v1", model="m"))

    @app.endpoint("/pick", on_stale="refuse", fallback="cached")
    async def pick(ask: Order, ctx: hr.Context) -> Dish:
        await ctx.stock()
        return Dish(name=(await ctx.llm.chat("?")).text)

    llm = ScriptedModel(["a", Refuses(failure="overloaded")])
    async with app.run(data=tmp_path, models={"llm": llm}) as live:
        await live.push("items", {"item_id": "a", "stock": 1})
        assert (await live.ask("/pick", {"restaurant_id": "r7"})).made_at is None
        found = await live.ask("/pick", {"restaurant_id": "r7"})
        assert (found.fallback, found.stale, found.reads[0].name) == ("cached", "unchanged", "stock")
        assert found.made_at is not None
        await live.push("items", {"item_id": "a", "stock": 0})  # sold out
        with pytest.raises(ModelRefused):
            await live.ask("/pick", {"restaurant_id": "r7"})
