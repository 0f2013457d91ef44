"""The shell of the router in simulated time, over upstreams made of futures."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar, copy_context
from random import Random
from typing import Any

import pytest

from headrace.core.clock import SimulatedClock
from headrace.core.errors import DeclarationError, ModelRefused, StreamBroken
from headrace.core.events import Event, ModelCalled
from headrace.models.call import Usage
from headrace.models.failure import Failure
from headrace.models.provider import Failed, Whole
from headrace.models.request import Dialect, ModelRequest, Terms
from headrace.models.routed import RoutedModel
from headrace.models.router import Router
from headrace.models.settings import Policies, UpstreamSpec

DONE = Whole(b"done")


class Stream:
    """An answer that is fed by hand."""

    def __init__(self) -> None:
        self.status = 200
        self.headers: list[tuple[bytes, bytes]] = []
        self.limits: Any = Whole(b"").limits
        self.complete = False
        self.usage: Usage | None = None
        self.stopped = False
        self.written = 0
        self.pieces: asyncio.Queue[bytes | Failed] = asyncio.Queue()

    async def next(self) -> bytes:
        if self.complete:
            return b""
        piece = await self.pieces.get()
        if isinstance(piece, Failed):
            raise piece
        self.complete = piece.endswith(b"!")
        return piece

    def stop(self) -> None:
        self.stopped = True
        self.pieces.put_nowait(Failed(Failure.CONNECTION, "stopped"))


class Place:
    """An upstream whose attempts end by hand."""

    def __init__(self) -> None:
        self.attempts: list[asyncio.Future[Any]] = []
        self.cancelled = 0
        self.until = 0.0

    takes: frozenset[tuple[Dialect, bool]] = frozenset()

    def refuses(self, request: ModelRequest) -> str:
        return ""

    async def begin(self, request: ModelRequest, until: float) -> Any:
        self.until = until
        self.attempts.append(asyncio.get_running_loop().create_future())
        try:
            return await self.attempts[-1]
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def aclose(self) -> None: ...


class World:
    """A model with upstreams a and b; a comes first, and b is the fallback."""

    def __init__(self, **policies: Any) -> None:
        self.clock = SimulatedClock()
        self.a, self.b = Place(), Place()
        self.calls: list[ModelCalled] = []
        specs = [UpstreamSpec(name="a"), UpstreamSpec(name="b", tier=1)]
        self.model = RoutedModel(
            "llm",
            Router(specs, Policies.model_validate(policies), Random(1)),
            {"a": self.a, "b": self.b},
            clock=self.clock,
            deadline=60.0,
            recorder=self,
        )

    def record(self, event: Event) -> None:
        if isinstance(event, ModelCalled):
            self.calls.append(event)

    async def ask(self, *, stream: bool = False, within: float = 30.0) -> asyncio.Task[Any]:
        request = ModelRequest(Dialect.JSON, b"{}", {}, stream, 10)
        terms = Terms("r", self.clock.monotonic() + within)
        task = asyncio.get_running_loop().create_task(self.model.send(request, terms))
        await turns()
        return task

    async def advance(self, seconds: float) -> None:
        """Time passes in small steps, each of which wakes whoever waits."""
        for _ in range(round(seconds * 20)):
            self.clock.advance(0.05)
            await turns()


async def turns() -> None:
    """Let everything run that can."""
    loop = asyncio.get_running_loop()
    for _ in range(8):
        turn: asyncio.Future[None] = loop.create_future()
        loop.call_soon(turn.set_result, None)
        await turn


async def test_a_whole_answer_comes_back_with_its_event() -> None:
    world = World()
    task = await world.ask()
    await world.advance(0.5)
    world.a.attempts[0].set_result(Whole(b"x", usage=Usage(9, 2)))
    reply = await task
    assert (await reply.read(), await reply.read(), reply.usage) == (b"x", b"", Usage(9, 2))
    assert (reply.queued, reply.first_byte, reply.attempts) == (0.0, 0.5, 1)
    assert world.a.until == 30.0, "the upstream was not told when the attempt ends"
    [call] = world.calls
    assert (call.outcome, call.seconds, call.first_byte, call.request) == ("done", 0.5, 0.5, "r")
    assert world.model.open == 0


async def test_a_call_without_a_first_byte_is_tried_elsewhere_and_the_caller_is_not_cancelled() -> None:
    world = World(timeouts={"first_token": 1.0})
    task = await world.ask(stream=True)
    await world.advance(1.1)
    assert (world.a.cancelled, len(world.b.attempts)) == (0, 1)
    stream = Stream()
    world.b.attempts[0].set_result(stream)
    reply = await task
    assert world.a.cancelled == 1
    assert (reply.upstream, task.cancelling(), reply.attempts) == ("b", 0, 2)
    stream.pieces.put_nowait(b"all!")
    assert (await reply.read(), world.calls[0].outcome) == (b"all!", "done")


async def test_a_timeout_of_the_callers_own_still_cancels() -> None:
    world = World(timeouts={"first_token": 1.0})

    async def caller() -> str:
        request = ModelRequest(Dialect.JSON, b"{}", {}, True, 10)
        try:
            async with asyncio.timeout(0.05):
                await world.model.send(request, Terms("r", 30.0))
        except TimeoutError:
            return "timed out"
        return "answered"

    assert await caller() == "timed out"
    await turns()  # attempts are tasks of their own
    assert (world.a.cancelled, world.calls[0].outcome, world.model.open) == (1, "cancelled", 0)


async def test_a_cancellation_that_meets_the_routers_own_stop_is_not_lost() -> None:
    world = World(timeouts={"first_token": 1.0})
    task = await world.ask(stream=True)
    world.clock.advance(1.05)  # the alarm is due, and has not rung
    task.cancel()
    await turns()
    assert (task.cancelled(), world.model.open, world.calls[0].outcome) == (True, 0, "cancelled")
    assert all(attempt.cancelled() for attempt in [*world.a.attempts, *world.b.attempts])


async def test_the_deadline_refuses_and_stops() -> None:
    world = World()
    task = await world.ask(within=2.0)
    await world.advance(2.1)
    with pytest.raises(ModelRefused, match="deadline") as caught:
        await task
    assert (caught.value.reason, world.a.cancelled, world.calls[0].outcome) == ("deadline", 1, "deadline")


async def test_an_upstream_that_raises_anything_is_an_upstream_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    task = await world.ask()
    world.a.attempts[0].set_exception(ZeroDivisionError("bug"))
    await turns()
    world.b.attempts[0].set_result(DONE)
    assert (await task).upstream == "b"
    assert "ZeroDivisionError" in caplog.text


async def test_a_refusal_names_the_upstream_that_said_it_and_counts_the_attempts() -> None:
    world = World()
    task = await world.ask()
    world.a.attempts[0].set_exception(Failed(Failure.UNREACHABLE, "refused"))
    await turns()
    world.b.attempts[0].set_exception(Failed(Failure.BAD_REQUEST, "b answered 400", status=400, body=b"{}"))
    with pytest.raises(ModelRefused) as caught:
        await task
    assert (caught.value.upstream, caught.value.status, caught.value.attempts) == ("b", 400, 2)
    assert (world.calls[0].upstream, world.calls[0].status, world.calls[0].outcome) == ("b", 400, "failed")


async def test_what_nobody_answered_names_no_upstream() -> None:
    world = World()
    task = await world.ask(within=1.0)
    await world.advance(1.1)
    with pytest.raises(ModelRefused) as caught:
        await task
    assert (caught.value.upstream, caught.value.attempts, world.calls[0].upstream) == ("", 2, "")


async def test_a_slow_reader_is_no_stalled_upstream_and_a_silent_upstream_is() -> None:
    world = World(timeouts={"idle": 1.0})
    task = await world.ask(stream=True)
    stream = Stream()
    world.a.attempts[0].set_result(stream)
    reply = await task
    await world.advance(5.0)  # nobody reads
    assert not stream.stopped
    stream.pieces.put_nowait(b"a")
    assert await anext(reply) == b"a"
    reading = asyncio.get_running_loop().create_task(anext(reply))
    await world.advance(2.2)
    assert stream.stopped
    with pytest.raises(StreamBroken) as caught:
        await reading
    assert (caught.value.failure, caught.value.received) == ("timeout", 1)


async def test_closing_a_stream_twice_stops_it_once() -> None:
    world = World()
    task = await world.ask(stream=True)
    stream = Stream()
    world.a.attempts[0].set_result(stream)
    reply = await task
    await reply.aclose()
    await reply.aclose()
    assert (stream.stopped, stream.pieces.qsize(), world.model.open) == (True, 1, 0)
    with pytest.raises(StreamBroken):
        await anext(reply)


async def test_closing_the_model_ends_its_calls() -> None:
    world = World()
    task = await world.ask()
    await world.model.aclose()
    with pytest.raises(ModelRefused) as caught:
        await task
    assert (caught.value.reason, world.a.cancelled) == ("cancelled", 1)


@pytest.mark.parametrize("how", ["cancelled", "closed"])
async def test_a_call_that_ends_in_the_turn_in_which_it_came_reaches_no_upstream(how: str) -> None:
    world = World()
    told: list[Any] = []
    call = world.model.ask(ModelRequest(Dialect.JSON, b"{}", {}, False, 10), Terms("r", 30.0), told.append)
    if how == "closed":
        await world.model.aclose()
    else:
        world.model.cancel(call)
    assert world.model.open == 0
    await turns()
    [refused] = told
    assert (type(refused), refused.reason, world.a.attempts) == (ModelRefused, "cancelled", [])
    assert [(one.outcome, one.attempts) for one in world.calls] == [("cancelled", 0)]
    assert world.model.router.in_flight == 0


async def test_an_attempt_runs_in_the_context_of_who_asked() -> None:
    world, who, seen = World(), ContextVar[str]("who"), list[str]()
    begin = world.a.begin

    async def noted(request: ModelRequest, until: float) -> Any:
        seen.append(who.get())
        return await begin(request, until)

    world.a.begin = noted  # type: ignore[method-assign]
    for name in "abc":
        context = copy_context()
        context.run(who.set, name)
        request, terms = ModelRequest(Dialect.JSON, b"{}", {}, False, 10), Terms(name, 30.0)
        context.run(world.model.ask, request, terms, lambda _: None)
    await turns()
    assert seen == ["a", "b", "c"]
    await world.model.aclose()


async def test_whoever_asks_hears_of_it_when_the_router_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    monkeypatch.setattr(world.model.router, "submit", lambda now, call: 1 // 0)
    with pytest.raises(ModelRefused, match="could not be made"):
        await (await world.ask())
    assert world.model.open == 0


async def test_each_call_has_an_id_of_its_own_whatever_its_terms_say() -> None:
    world = World()
    tasks = [await world.ask(), await world.ask()]
    for attempt in world.a.attempts:
        attempt.set_result(Whole(b"x"))
    assert [await (await task).read() for task in tasks] == [b"x", b"x"]


def test_a_router_needs_an_upstream() -> None:
    with pytest.raises(DeclarationError):
        Router([], Policies(), Random(1))


async def test_the_state_of_upstreams_can_be_seen() -> None:
    world = World()
    task = await world.ask()
    assert [(one.upstream, one.tier, one.in_flight, one.state) for one in world.model.states()] == [
        ("a", 0, 1, "closed"),
        ("b", 1, 0, "closed"),
    ]
    world.a.attempts[0].set_result(Whole(b"x"))
    await task
