"""Versions beside each other, shadows, and answers that are kept or waited for."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

import headrace as hr
from headrace.context.readset import Validity
from headrace.core.errors import ModelError, ModelRefused, StaleContext
from headrace.models.action import Reason
from headrace.models.admission import AdmissionRules
from headrace.models.call import Priority
from headrace.pipeline.runner import Runner
from headrace.pipeline.running import Means

from .conftest import REFUSED, Dish, Order, World, declare, recommend


async def test_versions_split_by_user_and_shadows_change_nothing(world: World) -> None:
    seen: list[str] = []
    endpoint = declare(world)

    @endpoint.version("b", weight=0, shadow=False)
    async def b(ask: Order, ctx: hr.Context) -> Dish:
        return Dish(name="from b")

    @endpoint.version("c", shadow=True)
    async def c(ask: Order, ctx: hr.Context) -> Dish:
        seen.append(ctx.request_id)
        dish = await ctx.llm.chat("?", response=Dish)
        raise KeyError(dish.name)

    runner = world.runner(endpoint)
    answer = await world.run(runner, user="ann")
    assert (json.loads(answer.body), answer.facts.version) == ({"name": "soup"}, "a")
    await world.live(world.clock.sleep(1.0))
    assert seen == ["q1"]
    assert world.llm.asked[1][1].priority is Priority.SHEDDABLE
    (shadow,) = [event for event in world.events if event.shadow]
    assert (shadow.version, shadow.status) == ("c", 500)
    assert 'outcome="failed"' in "\n".join(runner.counters.lines())
    answer = await world.run(runner, version="b")
    assert json.loads(answer.body) == {"name": "from b"}


async def test_a_shadow_without_budget_sends_nothing(world: World) -> None:
    endpoint = declare(world)
    endpoint.version("b", shadow=True)(recommend)
    world.llm.shadows = 0
    runner = world.runner(endpoint)
    await world.run(runner)
    assert len(world.llm.asked) == 1
    assert 'outcome="skipped"' in "\n".join(runner.counters.lines())


async def test_a_shadow_is_paid_from_an_account_of_its_own_and_skipped_when_that_is_empty(world: World) -> None:
    endpoint = declare(world)

    @endpoint.version("b", shadow=True)
    async def b(ask: Order, ctx: hr.Context) -> Dish:
        return await ctx.small.chat("?", response=Dish)

    world.small.script = [ModelRefused("no money", reason=Reason.OVER_BUDGET)]
    runner = world.runner(endpoint)
    await world.run(runner)
    accounts = [model.asked[0][1].key for model in (world.llm, world.small)]
    assert accounts == ["endpoint:/recommend", "endpoint:/recommend#shadow"]
    assert 'outcome="skipped"' in "\n".join(runner.counters.lines())
    assert [event.shadow for event in world.events] == [False]


async def test_a_reply_that_is_no_chat_is_a_bad_reply(world: World) -> None:
    world.llm.script = [[b'{"hello": 1}']]
    with pytest.raises(ModelError, match="not a chat completion"):
        await world.run(world.runner(declare(world)))


async def test_an_answer_is_given_again_while_it_is_built_on_the_same(world: World) -> None:
    runner = world.runner(declare(world, cache=True))
    first = await world.run(runner, user="ann")
    again = await world.run(runner, user="bob")
    assert (first.facts.cache, again.facts.cache, again.body) == ("miss", "hit", first.body)
    assert [(read.name, read.age_ms) for read in again.facts.reads] == [("menu", 1.5)]
    assert (again.facts.stale, again.facts.unchanged_as_of) == ("unchanged", world.clock.now())
    world.shelf.put("r7", "stew")
    assert (await world.run(runner)).facts.cache == "miss"
    assert len(world.llm.asked) == 2
    assert runner.kept is not None
    assert ("saved_tokens_total", "counter", 120) in list(runner.kept.lines())


@pytest.mark.parametrize(
    ("look", "shared"),
    [
        (lambda ctx: ctx.user, False),
        (lambda ctx: ctx.tenant, True),
        (lambda ctx: ctx.headers.get("accept-language"), True),
        (lambda ctx: ctx.headers.get("x-plan"), False),
        (lambda ctx: dict(ctx.headers), False),
        (lambda ctx: ctx.request_id, False),
    ],
)
@pytest.mark.parametrize("how", ["cache", "fallback"])
async def test_what_depends_on_who_asks_is_given_to_nobody_else(
    world: World, look: Any, shared: bool, how: str
) -> None:
    async def personal(ask: Order, ctx: hr.Context) -> Dish:
        dish = await ctx.llm.chat("?", response=Dish)
        return Dish(name=f"{dish.name} for {look(ctx)}")

    runner = world.runner(declare(world, personal, **({"cache": True} if how == "cache" else {"fallback": "cached"})))
    for user in ("ann", "bob"):
        await world.run(runner, user=user, headers={"x-plan": user})
    world.llm.script = [REFUSED]
    asked = runner.run(world.ask(user="cid", headers={"x-plan": "cid"}))
    if shared:
        assert b"soup" in (await world.live(asked)).body
    else:
        with pytest.raises(ModelRefused):
            await world.live(asked)


async def test_a_strict_answer_waits_until_its_sources_are_complete_up_to_it(world: World) -> None:
    world.shelf.complete = world.clock.now()
    runner = world.runner(declare(world, strict=True))

    def catch_up() -> None:
        world.shelf.complete = None

    answer = await world.live(runner.run(world.ask()), happen={2.0: catch_up})
    assert world.clock.monotonic() == pytest.approx(2.0, abs=0.1)
    assert answer.facts.stale == "unchanged"


async def test_and_is_none_when_they_are_not_in_time(world: World) -> None:
    world.shelf.complete = world.clock.now()
    with pytest.raises(StaleContext, match="items"):
        await world.run(world.runner(declare(world, strict=True)))


async def test_a_change_that_is_tolerated_does_not_end_the_wait(world: World) -> None:
    def tolerate(validity: Validity) -> Validity:
        return Validity([], validity.as_of)

    world.shelf.complete = world.clock.now()
    endpoint = declare(world, strict=True)
    callers: Any = {"llm": world.llm}
    means = Means(world.shelf, callers, frozenset({"menu"}), frozenset({"items"}), world.clock)

    def catch_up() -> None:
        world.shelf.complete = None

    change = {0.5: lambda: world.shelf.put("r7", "soup", 5.01), 2.0: catch_up}
    answer = await world.live(Runner(endpoint, means, relax=tolerate).run(world.ask()), happen=change)
    assert world.clock.monotonic() == pytest.approx(2.0, abs=0.1)
    assert (answer.facts.stale, answer.facts.unchanged_as_of) == ("unchanged", world.clock.now())


async def test_what_a_shadow_does_to_its_input_stays_with_it(world: World) -> None:
    async def slow(ask: Order, ctx: hr.Context) -> Dish:
        await world.clock.sleep(0.5)
        return Dish(name=ask.restaurant_id)

    async def careless(ask: Order, ctx: hr.Context) -> Dish:
        ask.restaurant_id = "changed"
        return Dish(name="x")

    endpoint = declare(world, slow)
    endpoint.version("b", shadow=True)(careless)
    answer = await world.run(world.runner(endpoint))
    assert json.loads(answer.body) == {"name": "r7"}
    assert [event.status for event in world.events if event.shadow] == [200]


async def test_an_apology_claims_nothing_of_what_the_failed_run_had_read(world: World) -> None:
    world.llm.script = [REFUSED]
    answer = await world.run(world.runner(declare(world, fallback={"name": "sorry"})))
    assert (answer.facts.reads, answer.facts.stale, answer.facts.unchanged_as_of) == ([], "unchecked", None)


async def test_an_endpoint_that_has_too_much_to_do_falls_back_as_well(world: World) -> None:
    how: Any = {"max_concurrency": 1, "admission": AdmissionRules(most=1), "fallback": {"name": "busy"}}
    runner = world.runner(declare(world, **how))
    found = await world.live(asyncio.gather(*(runner.run(world.ask()) for _ in range(3))))
    assert sorted(json.loads(one.body)["name"] for one in found) == ["busy", "soup", "soup"]


async def test_an_input_that_cannot_be_copied_fails_its_shadow_alone(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    class Locked(Order):
        def __deepcopy__(self, memo: Any = None) -> Any:
            raise TypeError("cannot copy a lock")

    endpoint = declare(world)
    endpoint.version("b", shadow=True)(recommend)
    runner = world.runner(endpoint)
    answer = await world.run(runner, input=Locked(restaurant_id="r7"))
    assert json.loads(answer.body) == {"name": "soup"}
    assert 'version="b",outcome="failed"} 1' in "\n".join(runner.counters.lines())
    assert "its input cannot be copied for the shadow b (TypeError: cannot copy a lock)" in caplog.text
