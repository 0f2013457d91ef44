"""One request through an endpoint: stages, deadlines, what changed before the answer, fallbacks, versions."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest

import headrace as hr
from headrace.context.readset import ReadSet, Validity
from headrace.core.errors import (
    AnswerStale,
    BadReply,
    DeadlinePassed,
    ModelRefused,
    UnknownName,
    UserCodeError,
)
from headrace.models.request import Dialect

from .conftest import REFUSED, Dish, Order, World, declare, recommend, turns


async def test_a_request_reads_asks_and_answers_with_what_is_known_of_it(world: World) -> None:
    runner = world.runner(declare(world))
    answer = await world.run(runner, user="ann", tenant="t1", session="s1")
    assert json.loads(answer.body) == {"name": "soup"}
    assert answer.facts.stale == "unchanged"
    assert answer.facts.unchanged_as_of == world.clock.now()
    assert [read.name for read in answer.facts.reads] == ["menu"]
    request, terms = world.llm.asked[0]
    assert request.dialect is Dialect.CHAT
    assert request.document["response_format"]["json_schema"]["name"] == "Dish"
    assert (terms.tenant, terms.session, terms.deadline) == ("t1", "s1", 4.0)
    (event,) = world.events
    assert (event.status, event.models[0].prompt_tokens, event.request) == (200, 100, "q1")


async def test_stages_are_timed_by_themselves_and_named_ones_override(world: World) -> None:
    async def slow(ask: Order, ctx: hr.Context) -> Dish:
        await world.clock.sleep(0.1)
        await ctx.menu(restaurant_id="r7")
        with ctx.stage("rank"):
            await world.clock.sleep(0.2)
        dish = await ctx.llm.chat("which?", response=Dish)
        await world.clock.sleep(0.3)
        return dish

    world.shelf.delay = 0.5
    answer = await world.run(world.runner(declare(world, slow)))
    rounded = {name: round(seconds, 1) for name, seconds in answer.facts.stages.items()}
    assert rounded == {"preprocess": 0.1, "context": 0.5, "rank": 0.2, "model": 1.0, "postprocess": 0.3}


# The boundary to user code


@pytest.mark.parametrize("stage", ["preprocess", "context", "rank", "postprocess"])
async def test_what_user_code_raises_is_told_with_its_place_and_keeps_its_traceback(
    world: World, stage: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def wrong(ask: Order, ctx: hr.Context) -> Dish:
        if stage == "preprocess":
            raise KeyError("secret")
        if stage == "context":
            await ctx.menu(no_such_parameter=1)
        await ctx.menu(restaurant_id="r7")
        if stage == "rank":
            with ctx.stage("rank"):
                raise KeyError("secret")
        await ctx.llm.chat("hello")
        raise KeyError("secret")

    if stage == "context":

        async def read(*_: Any, **__: Any) -> Any:
            raise UnknownName("no such parameter")

        world.shelf.read = read  # type: ignore[method-assign]
    with caplog.at_level(logging.ERROR), pytest.raises(UserCodeError) as caught:
        await world.run(world.runner(declare(world, wrong)))
    error = caught.value
    assert (error.endpoint, error.stage, error.version, error.request) == ("/recommend", stage, "a", "q1")
    assert "request q1" in caplog.text
    assert "in wrong" in caplog.text  # the user's own frame
    assert world.events[0].status == 500


async def test_an_answer_of_another_type_is_the_apps_own_fault(world: World) -> None:
    async def wrong(ask: Order, ctx: hr.Context) -> Dish:
        return 7  # type: ignore[return-value]

    with pytest.raises(UserCodeError, match="answers 7"):
        await world.run(world.runner(declare(world, wrong)))


async def test_an_answer_that_cannot_be_written_as_json_is_as_well(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async def wrong(ask: Order, ctx: hr.Context) -> dict[str, Any]:
        return {"x": object()}

    runner = world.runner(declare(world, wrong))
    with pytest.raises(UserCodeError, match="cannot be written as JSON") as caught:
        await world.run(runner)
    assert (caught.value.stage, caught.value.request) == ("preprocess", "q1")
    assert "request q1" in caplog.text
    assert (world.events[0].status, runner.gate.running) == (500, 0)


async def test_a_model_is_told_how_many_answers_are_wanted_and_how_long_they_may_be_together(world: World) -> None:
    async def many(ask: Order, ctx: hr.Context) -> Dish:
        for options in ({"n": 5, "max_tokens": 10}, {"n": 5}, {"max_completion_tokens": 7, "max_tokens": 9}, {}):
            await ctx.llm.chat("which?", **options)
        return Dish(name="x")

    await world.run(world.runner(declare(world, many, deadline="20s")))
    asked = [(request.max_output_tokens, request.answers) for request, _ in world.llm.asked]
    assert asked == [(50, 5), (None, 5), (9, 1), (None, 1)]


async def test_a_name_that_is_not_there_is_told_with_the_nearest(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async def wrong(ask: Order, ctx: hr.Context) -> Dish:
        await ctx.menus(restaurant_id="r7")
        return Dish(name="x")

    with pytest.raises(UserCodeError):
        await world.run(world.runner(declare(world, wrong)))
    assert "did you mean 'menu'?" in caplog.text


# Deadlines


async def test_past_its_deadline_a_request_is_cancelled_down_to_the_model(world: World) -> None:
    world.llm.seconds = 60.0
    with pytest.raises(DeadlinePassed) as caught:
        await world.run(world.runner(declare(world)))
    assert caught.value.stage == "model"
    assert world.llm.cancelled == 1
    assert world.clock.monotonic() == pytest.approx(4.0, abs=0.05)
    assert world.events[0].status == 504


async def test_a_caller_may_give_less_time(world: World) -> None:
    world.llm.seconds = 60.0
    with pytest.raises(DeadlinePassed):
        await world.run(world.runner(declare(world)), deadline=0.5)
    assert world.clock.monotonic() == pytest.approx(0.5, abs=0.05)


async def test_a_read_that_waits_for_freshness_waits_no_longer_than_the_request(world: World) -> None:
    async def patient(ask: Order, ctx: hr.Context) -> Dish:
        await ctx.menu(restaurant_id="r7", _policy="wait 1m else refuse")
        await ctx.menu(restaurant_id="r7")  # the view's own may wait as well
        return Dish(name="x")

    await world.run(world.runner(declare(world, patient)))
    assert [str(policy) for policy in world.shelf.policies] == ["wait 1m else refuse", "None"]
    assert world.shelf.untils == [pytest.approx(4.0, abs=0.05)] * 2
    assert max(world.shelf.untils) < 4.0, "it could not say any more that the wait was in vain"


async def test_whoever_leaves_takes_everything_along(world: World) -> None:
    runner = world.runner(declare(world))
    task = asyncio.ensure_future(runner.run(world.ask()))
    await turns()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert world.llm.cancelled == 1
    assert runner.gate.running == 0
    assert world.events[0].status == 499


# Typed answers of models


async def test_an_answer_that_does_not_fit_is_asked_for_once_more(world: World) -> None:
    world.llm.script = ['{"nam": "soup"}', '```json\n{"name": "stew"}\n```']
    answer = await world.run(world.runner(declare(world)))
    assert json.loads(answer.body) == {"name": "stew"}
    again = world.llm.asked[1][0].document["messages"]
    assert again[1] == {"role": "assistant", "content": '{"nam": "soup"}'}
    assert "/name: Field required" in again[2]["content"]


async def test_one_that_never_fits_is_a_bad_reply(world: World) -> None:
    world.llm.script = ["soup, I think"]
    with pytest.raises(BadReply) as caught:
        await world.run(world.runner(declare(world)))
    assert caught.value.text == "soup, I think"
    assert len(world.llm.asked) == 2


async def test_there_is_no_second_question_without_time_for_it(world: World) -> None:
    world.llm.script, world.llm.seconds = ["soup"], 2.5
    with pytest.raises(BadReply):
        await world.run(world.runner(declare(world)))
    assert len(world.llm.asked) == 1


async def test_embeddings_and_plain_json(world: World) -> None:
    async def other(ask: Order, ctx: hr.Context) -> list[Any]:
        return [await ctx.llm.embed(["a", "b"]), await ctx.small.json({"x": 1})]

    world.llm.script = [[b'{"data":[{"index":1,"embedding":[2]},{"index":0,"embedding":[1]}]}']]
    world.small.script = [[b'{"score":0.5}']]
    answer = await world.run(world.runner(declare(world, other)))
    assert json.loads(answer.body) == [[[1.0], [2.0]], {"score": 0.5}]


# What changed before the answer


async def test_what_changed_is_flagged(world: World) -> None:
    runner = world.runner(declare(world))
    answer = await world.live(runner.run(world.ask()), happen={0.5: lambda: world.shelf.put("r7", "stew")})
    assert answer.facts.stale == "changed"
    assert answer.facts.unchanged_as_of is None
    assert (answer.facts.changed, answer.facts.stale_detail) == (["menu"], ["'menu': 1 rows came or changed"])


async def test_or_not_looked_at(world: World) -> None:
    runner = world.runner(declare(world, on_stale="ignore"))
    answer = await world.live(runner.run(world.ask()), happen={0.5: lambda: world.shelf.put("r7", "stew")})
    assert (answer.facts.stale, answer.facts.unchanged_as_of) == ("unchecked", None)


async def test_or_tried_again_until_it_holds(world: World) -> None:
    runner = world.runner(declare(world, on_stale="retry"))
    answer = await world.live(runner.run(world.ask()), happen={0.5: lambda: world.shelf.put("r7", "stew")})
    assert (answer.facts.stale, answer.facts.retries) == ("unchanged", 1)
    assert sum(answer.facts.stages.values()) <= answer.facts.seconds
    assert "stew" in world.llm.asked[1][0].document["messages"][0]["content"]
    assert len(answer.facts.models) == 2


async def test_but_not_for_ever(world: World) -> None:
    world.llm.seconds = 0.5
    happen = {0.3 + n / 2: (lambda n=n: world.shelf.put("r7", f"dish {n}")) for n in range(8)}
    runner = world.runner(declare(world, on_stale="retry"))
    answer = await world.live(runner.run(world.ask()), happen=happen)
    assert (answer.facts.stale, answer.facts.retries, len(world.llm.asked)) == ("changed", 2, 3)


async def test_nor_when_no_time_is_left_for_it(world: World) -> None:
    world.llm.seconds = 2.5
    runner = world.runner(declare(world, on_stale="retry"))
    answer = await world.live(runner.run(world.ask()), happen={0.5: lambda: world.shelf.put("r7", "stew")})
    assert (answer.facts.stale, answer.facts.retries, len(world.llm.asked)) == ("changed", 0, 1)


async def test_or_refused(world: World) -> None:
    runner = world.runner(declare(world, on_stale="refuse"))
    with pytest.raises(AnswerStale) as caught:
        await world.live(runner.run(world.ask()), happen={0.5: lambda: world.shelf.put("r7", "stew")})
    assert caught.value.changed == ["'menu': 1 rows came or changed"]
    assert world.events[0].status == 409


async def test_or_repaired(world: World) -> None:
    async def fix(answer: Dish, changed: list[Any], ctx: hr.Context) -> Dish:
        menu = await ctx.menu(restaurant_id="r7")
        return Dish(name=f"{menu.rows[0]['name']} instead of {answer.name} ({len(changed)})")

    runner = world.runner(declare(world, on_stale=hr.repair(fix)))
    answer = await world.live(runner.run(world.ask()), happen={0.5: lambda: world.shelf.put("r7", "stew")})
    assert json.loads(answer.body) == {"name": "stew instead of soup (1)"}
    assert (answer.facts.stale, answer.facts.retries, len(world.llm.asked)) == ("unchanged", 1, 1)


async def test_a_repair_that_trusts_what_it_is_told_is_checked_against_that(world: World) -> None:
    """The repair reads nothing by itself: its answer is built on the rows that it is given, which may change again."""

    async def fix(answer: Dish, changed: list[Any], ctx: hr.Context) -> Dish:
        await world.clock.sleep(1.0)
        return Dish(name=changed[0].current[0][0])

    runner = world.runner(declare(world, on_stale=hr.repair(fix), cache=True))
    change = {0.5: lambda: world.shelf.put("r7", "stew"), 1.5: lambda: world.shelf.put("r7", "fish")}
    answer = await world.live(runner.run(world.ask()), happen=change)
    assert json.loads(answer.body) == {"name": "fish"}
    assert (answer.facts.stale, answer.facts.retries) == ("unchanged", 2)
    change = {0.01: lambda: world.shelf.put("r7", "bread")}
    await world.live(world.clock.sleep(0.1), happen=change)
    answer = await world.run(runner)
    assert answer.facts.cache == "miss"


# Fallbacks


@pytest.mark.parametrize(
    ("fallback", "name", "body"),
    [
        (Dish(name="sorry"), "constant", {"name": "sorry"}),
        ({"name": "sorry"}, "constant", {"name": "sorry"}),
        (lambda ask: Dish(name=f"for {ask.people}"), "lambda", {"name": "for 1"}),
        ("small", "small", {"name": "bread"}),
        (["cached", "small"], "small", {"name": "bread"}),
    ],
)
@pytest.mark.parametrize("failure", ["refused", "deadline"])
async def test_a_fallback_answers_where_the_model_does_not(
    world: World, fallback: Any, name: str, body: Any, failure: str
) -> None:
    world.llm.script = [REFUSED]
    world.llm.seconds = 60.0 if failure == "deadline" else 1.0
    answer = await world.run(world.runner(declare(world, fallback=fallback)))
    assert json.loads(answer.body) == body
    assert answer.facts.fallback == name
    assert world.clock.monotonic() < 4.05
    assert (world.events[0].status, world.events[0].fallback) == (200, name)


async def test_the_last_good_answer_of_the_same_input(world: World) -> None:
    runner = world.runner(declare(world, fallback="cached"))
    await world.run(runner)
    world.llm.script = [REFUSED]
    answer = await world.run(runner)
    assert (json.loads(answer.body), answer.facts.fallback) == ({"name": "soup"}, "cached")
    with pytest.raises(ModelRefused):
        await world.run(runner, input=Order(restaurant_id="r7", people=2))


async def test_a_fallback_with_context_reads_it_and_knows_why(world: World) -> None:
    async def rule(ask: Order, ctx: hr.Context) -> Dish:
        menu = await ctx.menu(restaurant_id=ask.restaurant_id)
        return Dish(name=f"{menu.rows[0]['name']}: {type(ctx.error).__name__}")

    world.llm.script = [REFUSED]
    answer = await world.run(world.runner(declare(world, fallback=rule)))
    assert (json.loads(answer.body), answer.facts.fallback) == ({"name": "soup: ModelRefused"}, "rule")


async def test_a_fallback_that_fails_leaves_the_failure_that_was_before(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def rule(ask: Order) -> Dish:
        raise KeyError("x")

    world.llm.script = [REFUSED]
    with pytest.raises(ModelRefused):
        await world.run(world.runner(declare(world, fallback=rule)))
    assert "in rule" in caplog.text


async def test_a_rule_whose_answer_cannot_be_written_leaves_it_to_the_next(world: World) -> None:
    async def ask_model(ask: Order, ctx: hr.Context) -> dict[str, Any]:
        return {"text": (await ctx.llm.chat("?")).text}

    world.llm.script = [REFUSED]
    endpoint = declare(world, ask_model, fallback=[lambda ask: {"x": object()}, {"name": "sorry"}])
    answer = await world.run(world.runner(endpoint))
    assert (json.loads(answer.body), answer.facts.fallback) == ({"name": "sorry"}, "constant")


async def test_a_fallback_whose_answer_is_kept_back_as_stale_leaves_no_word_of_it_to_the_next(world: World) -> None:
    world.llm.script = [REFUSED]
    endpoint = declare(world, on_stale="refuse", fallback=["small", {"name": "sorry"}])
    stew = {1.05: lambda: world.shelf.put("r7", "stew")}  # while the smaller model is asked
    answer = await world.live(world.runner(endpoint).run(world.ask()), happen=stew)
    assert (json.loads(answer.body), answer.facts.fallback) == ({"name": "sorry"}, "constant")
    assert (answer.facts.stale, answer.facts.changed, answer.facts.stale_detail) == ("unchecked", [], [])


async def test_that_something_was_tried_again_is_told_whoever_answers_then(world: World) -> None:
    world.llm.script = ['{"name": "soup"}', REFUSED]
    happen = {0.5: lambda: world.shelf.put("r7", "stew"), 2.05: lambda: world.shelf.put("r7", "fish")}
    endpoint = declare(world, on_stale="retry 1 else refuse", fallback=["small", {"name": "sorry"}], deadline="9s")
    answer = await world.live(world.runner(endpoint).run(world.ask()), happen=happen)
    assert (answer.body, answer.facts.fallback, answer.facts.stale) == (b'{"name":"bread"}', "small", "unchanged")
    assert (answer.facts.retries, len(answer.facts.models)) == (2, 4), "once with each of the two models"


async def test_a_fault_of_the_apps_own_code_is_not_covered_up(world: World) -> None:
    async def wrong(ask: Order, ctx: hr.Context) -> Dish:
        raise KeyError("x")

    with pytest.raises(UserCodeError):
        await world.run(world.runner(declare(world, wrong, fallback={"name": "sorry"})))


async def test_a_fault_of_ours_is_recorded_as_one(world: World, caplog: pytest.LogCaptureFixture) -> None:
    def broken(readset: ReadSet) -> Validity:
        raise RuntimeError("a table that is not there")

    world.shelf.validate = broken  # type: ignore[method-assign]
    endpoint = declare(world, on_stale="flag")
    endpoint.version("b", shadow=True)(recommend)
    runner = world.runner(endpoint)
    with pytest.raises(RuntimeError, match="not there"):
        await world.run(runner)
    await world.live(world.clock.sleep(2.0))
    assert sorted((event.version, event.shadow, event.status) for event in world.events) == [
        ("a", False, 500),
        ("b", True, 500),
    ]
    lines = "\n".join(runner.counters.lines())
    assert 'version="a",status="500"} 1' in lines
    assert 'version="b",outcome="failed"} 1' in lines
    assert "the shadow b broke" in caplog.text


class Odd(BaseException):
    """No exception that anybody expects."""


@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError(), GeneratorExit(), Odd()])
async def test_what_would_end_the_server_or_look_like_a_client_that_is_gone_is_the_apps_fault(
    world: World, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    async def leaves(ask: Order, ctx: hr.Context) -> Dish:
        raise error

    with pytest.raises(UserCodeError, match=type(error).__name__):
        await world.run(world.runner(declare(world, leaves)))
    assert [event.status for event in world.events] == [500]
    assert "in leaves" in caplog.text


@pytest.mark.parametrize("messages", [123, None, {"role": "user", "content": "hi"}, ["hi"], [1], b"hi"])
async def test_what_are_no_messages_is_told_before_any_model_is_asked(
    world: World, messages: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def asks(ask: Order, ctx: hr.Context) -> str:
        return (await ctx.llm.chat(messages)).text

    with pytest.raises(UserCodeError):
        await world.run(world.runner(declare(world, asks)))
    assert "are no messages for a model: give a text, or a list" in caplog.text
    assert not world.llm.asked


async def test_a_stream_that_is_to_be_a_value_is_told_before_any_model_is_asked(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async def asks(ask: Order, ctx: hr.Context) -> Any:
        return await ctx.llm.chat("which?", stream=True, response=Dish)  # type: ignore[call-overload]

    with pytest.raises(UserCodeError):
        await world.run(world.runner(declare(world, asks)))
    assert "response= and stream=True do not go together" in caplog.text
    assert not world.llm.asked


async def test_an_answer_that_is_nearly_one_is_told_with_what_is_missing(world: World) -> None:
    async def whole(ask: Order, ctx: hr.Context) -> Any:
        return await ctx.llm.chat("hi")

    async def sleeps(ask: Order, ctx: hr.Context) -> str:
        return asyncio.get_running_loop().create_future()  # type: ignore[return-value]

    with pytest.raises(UserCodeError, match=r"which cannot be written as JSON; its text is `\.text`"):
        await world.run(world.runner(declare(world, whole)))
    with pytest.raises(UserCodeError, match="which is no str; perhaps an `await` is missing"):
        await world.run(world.runner(world.app.endpoint("/sleeps")(sleeps)))
