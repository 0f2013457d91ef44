"""Hundreds of calls at once, cancelled and failing wherever they are: budgets hold, and nothing is left behind."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from headrace.core.clock import SimulatedClock
from headrace.core.errors import ModelRefused, StreamBroken
from headrace.models.billing import Billing
from headrace.models.call import Priority, Usage
from headrace.models.cost import Prices
from headrace.models.failure import Failure
from headrace.models.headers import NOTHING
from headrace.models.provider import Failed, Whole
from headrace.models.request import Dialect, ModelRequest, Terms
from headrace.models.routed import RoutedModel
from headrace.models.router import Router
from headrace.models.settings import Policies, UpstreamSpec
from headrace.models.spending import Spending

PRICES = Prices.parse('models: {m: {input: "1000000", output: "1000000"}}')
LIMIT = Decimal(600)


class Stream:
    """A stream of so many pieces; it may break, or raise what nobody thought of."""

    def __init__(self, clock: SimulatedClock, random: Random, pieces: int) -> None:
        self.status, self.headers, self.limits = 200, [], NOTHING
        self.complete = False
        self.usage: Usage | None = None
        self.written = 0
        self._clock, self._random, self._pieces = clock, random, pieces
        self._end = random.choice(["well", "well", "well", "break", "raise", "hang"])
        self._stopped = asyncio.get_running_loop().create_future()

    async def next(self) -> bytes:
        if self.complete:
            return b""
        pause = asyncio.ensure_future(self._clock.sleep(1e6 if self._hangs else self._random.uniform(0, 0.3)))
        try:
            await asyncio.wait([pause, self._stopped], return_when=asyncio.FIRST_COMPLETED)
        finally:
            pause.cancel()
        if self._stopped.done():
            raise Failed(Failure.CONNECTION, "stopped")
        self.written += 1
        if self.written >= self._pieces:
            if self._end == "break":
                raise Failed(Failure.CONNECTION, "reset")
            if self._end == "raise":
                raise KeyError("what nobody thought of")
            self.complete, self.usage = True, Usage(5, self.written)
        return b"x"

    @property
    def _hangs(self) -> bool:
        return self._end == "hang" and self.written >= self._pieces - 1

    def stop(self) -> None:
        if not self._stopped.done():
            self._stopped.set_result(None)


class Place:
    """An upstream that answers, fails, hangs and raises, as the dice fall."""

    def __init__(self, clock: SimulatedClock, random: Random) -> None:
        self.open = 0
        self._clock, self._random = clock, random

    takes: frozenset[tuple[Dialect, bool]] = frozenset()

    def refuses(self, request: ModelRequest) -> str:
        return ""

    async def begin(self, request: ModelRequest, until: float) -> Any:
        self.open += 1
        try:
            return await self._begin(request)
        finally:
            self.open -= 1

    async def _begin(self, request: ModelRequest) -> Any:
        random, most = self._random, request.max_output_tokens or 1
        await self._clock.sleep(random.choice([0.0, 0.05, 0.5, 0.5, 0.5, 3.0]))
        match random.randrange(8):
            case 0:
                raise Failed(random.choice([Failure.OVERLOADED, Failure.CONNECTION, Failure.RATE_LIMITED]), "no")
            case 1:
                raise ValueError("what nobody thought of")
            case 2:
                await self._clock.sleep(1e6)
            case _:
                pass
        if request.stream:
            return Stream(self._clock, random, random.randint(1, most))
        return Whole(b"{}", usage=Usage(5, random.randint(1, most)))

    async def aclose(self) -> None: ...


class World:
    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.clock = SimulatedClock()
        self.places = {name: Place(self.clock, self.random) for name in "abc"}
        self.spending = Spending({"k": LIMIT}, period=1e9)
        self.most = Decimal(0)
        policies = Policies.model_validate({"timeouts": {"first_token": 2.0, "total": 8.0, "idle": 2.0}})
        self.router = Router(
            [UpstreamSpec(name=name, model="m", tier=int(name == "c")) for name in self.places],
            policies,
            Random(seed),
            billing=Billing(PRICES, self.spending),
        )
        self.model = RoutedModel("llm", self.router, self.places, clock=self.clock, deadline=20.0)

    @property
    def held(self) -> Decimal:
        left = self.spending.left(self.clock.monotonic(), "k")
        assert left is not None
        return LIMIT - left

    async def client(self) -> str:
        random = self.random
        request = ModelRequest(
            Dialect.JSON, b"12345", {}, random.random() < 0.5, 5, random.choice([1, 10, 30]), random.random() < 0.8
        )
        await self.clock.sleep(random.uniform(0, 4.0))
        deadline = self.clock.monotonic() + random.choice([0.0, 0.3, 5.0, 30.0])
        terms = Terms("r", deadline, random.choice("xyz"), "", "k", random.choice(list(Priority)))
        try:
            reply = await self.model.send(request, terms)
            if random.random() < 0.2:
                await reply.aclose()
                return "closed"
            await reply.read()
        except ModelRefused as error:
            return error.reason
        except StreamBroken:
            return "broken"
        return "done"


async def turns(count: int = 8) -> None:
    """Let everything run that can."""
    loop = asyncio.get_running_loop()
    for _ in range(count):
        turn: asyncio.Future[None] = loop.create_future()
        loop.call_soon(turn.set_result, None)
        await turn


@pytest.mark.parametrize("seed", range(12))
async def test_budgets_hold_and_nothing_is_left_behind(seed: int) -> None:
    world = World(seed)
    random = world.random
    tasks = [asyncio.ensure_future(world.client()) for _ in range(500)]
    while not all(task.done() for task in tasks):
        world.clock.advance(0.05)
        await turns(random.randrange(6))
        for _ in range(random.randrange(8)):
            random.choice(tasks).cancel()
        assert world.held <= LIMIT
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert {str(type(one)) for one in found if isinstance(one, BaseException)} <= {
        "<class 'asyncio.exceptions.CancelledError'>"
    }
    await turns()
    router = world.router
    assert (world.model.open, router.in_flight, len(router.admission), router.wake) == (0, 0, 0, None)
    assert [one.in_flight for one in router.selection.upstreams] == [0, 0, 0]
    assert [one.work for one in router.selection.upstreams] == [0.0, 0.0, 0.0]
    assert [place.open for place in world.places.values()] == [0, 0, 0]
    assert world.held == world.spending.spent(world.clock.monotonic(), "k")
    assert {"done", "broken", "closed", "set_aside"} <= {one for one in found if isinstance(one, str)}
    await world.model.aclose()
    await turns()
    assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]


class Slow:
    """An upstream whose streams come a piece at a time, and whose answers are short until they are not."""

    def __init__(self) -> None:
        self.tokens = 2

    takes: frozenset[tuple[Dialect, bool]] = frozenset()

    def refuses(self, request: ModelRequest) -> str:
        return ""

    async def begin(self, request: ModelRequest, until: float) -> Any:
        await turns(1)
        if request.stream:
            stream = Stream(SimulatedClock(), Random(1), 10**6)
            stream.next = stream.piece = self._piece(stream)  # type: ignore[method-assign, attr-defined]
            return stream
        return Whole(b"{}", usage=Usage(5, self.tokens))

    def _piece(self, stream: Stream) -> Any:
        async def piece() -> bytes:
            await turns(1)
            stream.written += 1
            return b"x"

        return piece

    async def aclose(self) -> None: ...


def over(slow: Slow, limit: int, clock: SimulatedClock) -> tuple[RoutedModel, Spending]:
    spending = Spending({"k": Decimal(limit)}, period=1e9)
    billing = Billing(PRICES, spending)
    router = Router([UpstreamSpec(name="a", model="m", local=True)], Policies(), Random(1), billing=billing)
    return RoutedModel("llm", router, {"a": slow}, clock=clock, deadline=20.0), spending


async def test_a_budget_reckons_with_the_longest_answer_and_not_with_the_usual() -> None:
    """Answers were short; then somebody asks for long ones, all at once."""
    slow, clock = Slow(), SimulatedClock()
    model, spending = over(slow, 2500, clock)
    request = ModelRequest(Dialect.JSON, b"12345", {}, False, 5, 1000)
    for _ in range(100):
        await model.send(request, Terms("r", 20.0))
    slow.tokens = 1000
    asked = [asyncio.ensure_future(model.send(request, Terms("r", 20.0, key="k"))) for _ in range(4)]
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert [one.reason for one in found if isinstance(one, ModelRefused)] == ["set_aside"] * 2
    assert 2000 < spending.spent(0.0, "k") <= 2500


async def test_a_client_that_leaves_before_the_end_pays_for_what_it_got() -> None:
    model, spending = over(Slow(), 200, SimulatedClock())
    request = ModelRequest(Dialect.JSON, b"12345", {}, True, 5, 100)
    reply = await model.send(request, Terms("r", 20.0, key="k"))
    for _ in range(90):
        await anext(reply)
    await reply.aclose()
    assert spending.spent(0.0, "k") == 5 + 90
