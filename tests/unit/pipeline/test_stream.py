"""Streamed answers: items as they come, the truth at their end, and broken ones that never look complete."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

import headrace as hr
from headrace.context.readset import ReadSet, Validity
from headrace.core.errors import (
    AnswerStale,
    BadReply,
    DeadlinePassed,
    HeadraceError,
    ModelRefused,
    StreamBroken,
    Unavailable,
    UserCodeError,
)
from headrace.pipeline import afar
from headrace.pipeline.answer import Answer
from headrace.pipeline.endpoint import Endpoint
from headrace.pipeline.pieces import Pieces

from .conftest import REFUSED, Order, World, chunks, turns


async def tell(ask: Order, ctx: hr.Context) -> AsyncIterator[str]:
    """Tell of a dish."""
    menu = await ctx.menu(restaurant_id=ask.restaurant_id)
    async for piece in await ctx.llm.chat(f"{menu.rows}", stream=True):
        yield piece


async def passed_on(ask: Order, ctx: hr.Context) -> AsyncIterator[str]:
    """The model's own stream."""
    await ctx.menu(restaurant_id=ask.restaurant_id)
    return await ctx.llm.chat("hello", stream=True)


async def broken(ask: Order, ctx: hr.Context) -> AsyncIterator[str]:
    """Breaks off in the middle."""
    yield "a"
    raise KeyError("secret")


def declare(world: World, function: Any = tell, **how: Any) -> Endpoint:
    return world.app.endpoint("/tell", **{"deadline": "4s", **how})(function)


async def events(answer: Answer) -> list[tuple[str, Any]]:
    """All events of an answer, as name and data."""
    found: list[tuple[str, Any]] = []
    assert answer.events is not None
    try:
        async for event in answer.events:
            *names, data = event.decode().rstrip("\n").split("\n")
            found.append((names[0].removeprefix("event: ") if names else "", json.loads(data.removeprefix("data: "))))
    except HeadraceError as error:
        found.append(("broken", error))
    return found


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_a_models_events_are_read_as_the_standard_says(world: World, ends: str, size: int) -> None:
    stream = b"\xef\xbb\xbf" + b"".join(piece for piece in chunks("so", "up") if isinstance(piece, bytes))
    stream = stream.replace(b'"finish_reason":"stop"', b'"finish_reason":null').replace(b"\n", ends.encode())
    world.llm.script = [[stream[at : at + size] for at in range(0, len(stream), size)]]
    runner = world.runner(declare(world, passed_on))

    async def whole() -> list[tuple[str, Any]]:
        return await events(await runner.run(world.ask()))

    found = await world.live(whole())
    assert [name or data for name, data in found] == ["so", "up", "headrace"]


@pytest.mark.parametrize("function", [tell, passed_on])
async def test_items_come_and_then_what_they_were_built_on(world: World, function: Any) -> None:
    world.llm.script = [chunks("so", "up\n")]
    runner = world.runner(declare(world, function))

    async def whole() -> list[tuple[str, Any]]:
        return await events(await runner.run(world.ask()))

    *items, (name, facts) = await world.live(whole())
    assert items == [("", "so"), ("", "up\n")]
    assert name == "headrace"
    assert (facts["version"], facts["stale"], facts["reads"][0]["name"]) == ("a", "unchanged", "menu")
    assert facts["unchanged_as_of"]
    (event,) = world.events
    assert (event.status, event.models[0].failed, runner.gate.running) == (200, "", 0)


async def test_what_changed_meanwhile_is_told_at_the_end(world: World) -> None:
    world.llm.script, world.llm.pause = [chunks("a", "b", "c")], 0.5
    runner = world.runner(declare(world, on_stale="retry"))

    async def whole() -> list[tuple[str, Any]]:
        return await events(await runner.run(world.ask()))

    found = await world.live(whole(), happen={2.0: lambda: world.shelf.put("r7", "stew")})
    assert [name for name, _ in found] == ["", "", "", "headrace"]
    assert (found[-1][1]["stale"], found[-1][1]["unchanged_as_of"]) == ("changed", None)
    assert found[-1][1]["changed"] == ["menu"]
    assert found[-1][1]["stale_detail"]


async def test_before_the_first_item_it_can_be_tried_again(world: World) -> None:
    world.llm.script = [chunks("a"), chunks("b")]
    runner = world.runner(declare(world, on_stale="retry"))

    async def whole() -> list[tuple[str, Any]]:
        return await events(await runner.run(world.ask()))

    found = await world.live(whole(), happen={0.5: lambda: world.shelf.put("r7", "stew")})
    assert [data for name, data in found if not name] == ["b"]
    assert (found[-1][1]["retries"], found[-1][1]["stale"]) == (1, "unchanged")
    assert world.llm.replies[0].closed


async def test_but_not_when_no_time_is_left_for_it(world: World) -> None:
    world.llm.script, world.llm.seconds = [chunks("a")], 2.5
    runner = world.runner(declare(world, on_stale="retry"))

    async def whole() -> list[tuple[str, Any]]:
        return await events(await runner.run(world.ask()))

    found = await world.live(whole(), happen={0.5: lambda: world.shelf.put("r7", "stew")})
    assert found[0] == ("", "a")
    assert (found[1][1]["retries"], found[1][1]["stale"], len(world.llm.asked)) == (0, "changed", 1)


async def test_a_check_that_fails_before_the_first_item_lets_the_models_stream_go(world: World) -> None:
    def starting(readset: ReadSet) -> Validity:
        raise Unavailable("the engine is starting")

    world.llm.script, world.shelf.validate = [chunks("a", "b")], starting  # type: ignore[method-assign]
    runner = world.runner(declare(world, on_stale="retry"))
    with pytest.raises(Unavailable):
        await world.run(runner)
    assert world.llm.replies[0].closed
    assert (world.events[0].status, runner.gate.running) == (503, 0)


async def test_a_shadow_that_streams_is_told_of_once(world: World) -> None:
    world.llm.script = [chunks("a", "b")]
    endpoint = declare(world)
    endpoint.version("b", shadow=True)(passed_on)
    endpoint.version("c", shadow=True)(broken)
    answer = await world.run(world.runner(endpoint))
    await world.live(events(answer))
    await world.live(world.clock.sleep(1.0))
    told = sorted((event.version, event.shadow, event.status) for event in world.events)
    assert told == [("a", False, 200), ("b", True, 200), ("c", True, 500)]


async def test_a_shadow_that_breaks_off_is_counted_and_not_told_as_an_answer(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.llm.script = [chunks("a", "b"), chunks("a", broken=True)]
    endpoint = declare(world)
    endpoint.version("b", shadow=True)(passed_on)
    runner = world.runner(endpoint)
    found = await world.live(events(await world.run(runner)))
    await world.live(world.clock.sleep(2.0))
    assert [name or data for name, data in found] == ["a", "b", "headrace"]
    assert [(event.version, event.status) for event in world.events if event.shadow] == [("b", 502)]
    assert 'version="b",outcome="failed"} 1' in "\n".join(runner.counters.lines())
    assert not caplog.records


@pytest.mark.parametrize("as_items", [True, False])
async def test_a_fault_of_ours_at_the_end_is_recorded_as_one(world: World, as_items: bool) -> None:
    def broken(readset: ReadSet) -> Validity:
        raise RuntimeError("a table that is not there")

    world.llm.script, world.shelf.validate = [chunks("a")], broken  # type: ignore[method-assign]
    runner = world.runner(declare(world, on_stale="flag"))
    answer = await world.run(runner)
    assert answer.events is not None
    stream = answer.events.items() if as_items else aiter(answer.events)
    await world.live(anext(stream))
    with pytest.raises(RuntimeError, match="not there"):
        await world.live(anext(stream))
    await answer.events.aclose()
    assert [event.status for event in world.events] == [500]
    assert runner.gate.running == 0


@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError(), GeneratorExit()])
async def test_what_would_end_the_server_breaks_the_stream_alone(world: World, error: BaseException) -> None:
    async def leaves(ask: Order, ctx: hr.Context) -> AsyncIterator[str]:
        yield "a"
        raise error

    runner = world.runner(declare(world, leaves))
    found = await world.live(events(await world.run(runner)))
    assert [name for name, _ in found] == ["", "error", "broken"]
    assert ([event.status for event in world.events], runner.gate.running) == ([500], 0)


@pytest.mark.parametrize(("on_stale", "asked"), [("refuse", 1), ("retry 1 else refuse", 2)])
async def test_what_changed_before_the_first_item_is_refused_before_it(world: World, on_stale: str, asked: int) -> None:
    world.llm.script = [chunks("a"), chunks("b")]
    runner = world.runner(declare(world, on_stale=on_stale))
    change = {0.5: lambda: world.shelf.put("r7", "stew"), 1.5: lambda: world.shelf.put("r7", "fish")}
    with pytest.raises(AnswerStale) as caught:
        await world.live(runner.run(world.ask()), happen=change)
    assert caught.value.changed == ["'menu': 1 rows came or changed"]
    assert (len(world.llm.asked), [reply.closed for reply in world.llm.replies]) == (asked, [True] * asked)
    assert ([event.status for event in world.events], runner.gate.running) == ([409], 0)


async def test_a_refusal_at_the_end_breaks_the_stream(world: World) -> None:
    world.llm.script, world.llm.pause = [chunks("a", "b")], 0.5
    runner = world.runner(declare(world, on_stale="refuse"))

    async def whole() -> list[tuple[str, Any]]:
        return await events(await runner.run(world.ask()))

    found = await world.live(whole(), happen={1.8: lambda: world.shelf.put("r7", "stew")})
    assert [name for name, _ in found] == ["", "", "error", "broken"]
    assert found[2][1]["type"].endswith("answer-stale")


@pytest.mark.parametrize(
    ("script", "kind"),
    [(chunks("a", broken=True), StreamBroken), (chunks("a", end=False), StreamBroken)],
    ids=["reset", "truncated"],
)
async def test_a_broken_stream_ends_with_an_error_and_no_clean_end(world: World, script: Any, kind: Any) -> None:
    world.llm.script = [script]
    runner = world.runner(declare(world, fallback=lambda ask: "sorry"))

    async def whole() -> list[tuple[str, Any]]:
        return await events(await runner.run(world.ask()))

    found = await world.live(whole())
    assert [name for name, _ in found] == ["", "error", "broken"]
    assert isinstance(found[-1][1], kind)
    assert world.events[0].status == 502
    assert runner.gate.running == 0


async def test_before_the_first_item_a_fallback_answers(world: World) -> None:
    world.llm.script = [REFUSED]
    runner = world.runner(declare(world, fallback=lambda ask: "sorry"))

    async def whole() -> list[tuple[str, Any]]:
        return await events(await runner.run(world.ask()))

    found = await world.live(whole())
    assert found[0] == ("", "sorry")
    assert found[1][1]["fallback"] == "lambda"
    with pytest.raises(ModelRefused):
        await world.run(world.runner(world.app.endpoint("/other")(tell)))


async def test_the_deadline_holds_to_the_last_item(world: World) -> None:
    world.llm.script, world.llm.pause = [chunks(*"abcdefghij")], 1.0
    runner = world.runner(declare(world))

    async def whole() -> list[tuple[str, Any]]:
        return await events(await runner.run(world.ask()))

    found = await world.live(whole())
    assert isinstance(found[-1][1], DeadlinePassed)
    assert world.clock.monotonic() == pytest.approx(4.0, abs=0.05)
    assert world.llm.replies[0].closed


async def test_time_for_a_fallback_is_kept_of_the_first_item_only(world: World) -> None:
    seen: list[float] = []

    async def two(ask: Order, ctx: hr.Context) -> AsyncIterator[str]:
        seen.append(ctx.deadline)
        async for piece in await ctx.llm.chat("hello", stream=True):
            yield piece
        seen.append(ctx.deadline)
        yield (await ctx.small.chat("and?")).text

    world.llm.script, world.llm.pause = [chunks("a", "b", "c", "d")], 0.5
    runner = world.runner(declare(world, two, fallback="small", deadline="6s"))

    async def whole() -> list[tuple[str, Any]]:
        return await events(await runner.run(world.ask()))

    found = await world.live(whole())
    assert [name or data for name, data in found] == ["a", "b", "c", "d", '{"name": "bread"}', "headrace"]
    assert ([(terms.deadline, terms.last) for _, terms in world.llm.asked], seen) == ([(4.0, 6.0)], [4.0, 6.0])
    assert [terms.deadline for _, terms in world.small.asked] == [6.0]


async def test_a_client_that_leaves_closes_the_models_stream(world: World) -> None:
    world.llm.script, world.llm.pause = [chunks(*"abc")], 0.1
    runner = world.runner(declare(world))
    answer = await world.run(runner)
    assert answer.events is not None
    first = await world.live(anext(answer.events))
    assert first == b'data: "a"\n\n'
    await answer.events.aclose()
    assert world.llm.replies[0].closed
    assert (world.events[0].status, runner.gate.running) == (499, 0)


async def test_one_that_is_cancelled_while_it_waits_does_as_well(world: World) -> None:
    world.llm.script, world.llm.pause = [chunks(*"abc")], 0.1
    runner = world.runner(declare(world))
    answer = await world.run(runner)
    assert answer.events is not None
    await world.live(anext(answer.events))
    task = asyncio.ensure_future(anext(answer.events))
    await turns()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert world.llm.replies[0].closed
    assert runner.gate.running == 0


async def test_an_answer_that_nobody_ever_reads_gives_its_place_back(world: World) -> None:
    world.llm.script = [chunks("a")]
    runner = world.runner(declare(world))
    answer = await world.run(runner)
    assert answer.events is not None
    await answer.events.aclose()
    assert runner.gate.running == 0


async def test_user_code_that_fails_midway_is_told_as_everywhere(world: World) -> None:
    async def wrong(ask: Order, ctx: hr.Context) -> AsyncIterator[str]:
        yield "a"
        raise KeyError("secret")

    runner = world.runner(declare(world, wrong))

    async def whole() -> list[tuple[str, Any]]:
        return await events(await runner.run(world.ask()))

    found = await world.live(whole())
    assert [name for name, _ in found] == ["", "error", "broken"]
    assert isinstance(found[-1][1], UserCodeError)
    assert "secret" not in json.dumps(found[1][1])


async def test_an_item_that_cannot_be_written_as_json_breaks_the_stream(world: World) -> None:
    async def wrong(ask: Order, ctx: hr.Context) -> AsyncIterator[dict[str, Any]]:
        yield {"x": 1}
        yield {"x": object()}

    runner = world.runner(declare(world, wrong))
    found = await world.live(events(await world.run(runner)))
    assert [name for name, _ in found] == ["", "error", "broken"]
    assert isinstance(found[-1][1], UserCodeError)
    answer = await world.run(runner)
    assert answer.events is not None
    items = answer.events.items()
    assert await world.live(anext(items)) == {"x": 1}
    with pytest.raises(UserCodeError):
        await world.live(anext(items))
    assert ([event.status for event in world.events], runner.gate.running) == ([500, 500], 0)


async def test_another_model_may_stream_in_its_place(world: World) -> None:
    world.llm.script, world.small.script = [REFUSED], [chunks("from small")]
    runner = world.runner(declare(world, fallback="small"))

    async def whole() -> list[tuple[str, Any]]:
        return await events(await runner.run(world.ask()))

    found = await world.live(whole())
    assert found[0] == ("", "from small")
    assert found[1][1]["fallback"] == "small"
    assert runner.gate.running == 0


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b'{"dish": "soup"}'),
        (afar.EVENTS, b'data: {"dish": "soup"}\n\nevent: headrace\ndata: {}\n\n'),
    ],
)
async def test_an_answer_that_does_not_fit_what_it_is_to_be_read_as_is_told_with_it(kind: str, body: bytes) -> None:
    async def items() -> AsyncIterator[bytes]:
        yield body

    headers = {"content-type": kind}
    pieces = Pieces(afar.pieces(headers, items()), int)
    with pytest.raises(BadReply, match=r"the answer \{'dish': 'soup'\} does not fit `response`"):
        await anext(pieces)
    if kind != afar.EVENTS:
        with pytest.raises(BadReply, match="does not fit `response`"):
            afar.read(headers, body, int)


@pytest.mark.parametrize("ends", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_an_endpoints_events_are_read_as_the_standard_says(ends: bytes, size: int) -> None:
    stream = b"\xef\xbb\xbf: hello\n\ndata:1\n\n: ping\n\nevent: headrace\ndata: {}\n\nid: 1".replace(b"\n", ends)
    reader = afar.Reader()
    pieces = (stream[at : at + size] for at in range(0, len(stream), size))
    assert [event for piece in pieces for event in reader.feed(piece)] == [("", b"1"), ("headrace", b"{}")]
