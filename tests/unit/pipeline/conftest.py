"""Whole flows of an endpoint on a simulated clock: context that changes by hand, models that answer from a script."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, TypeVar

import msgspec
import pytest
from pydantic import BaseModel

import headrace as hr
from headrace.context.policy import FreshnessPolicy
from headrace.context.readset import Changed, Present, Read, ReadSet, Validity
from headrace.context.value import ContextValue, InputAge
from headrace.core.clock import SimulatedClock
from headrace.core.errors import ModelRefused, StreamBroken
from headrace.core.events import Answered, Event
from headrace.core.frontier import Status
from headrace.models.call import Usage
from headrace.models.request import ModelRequest, Terms
from headrace.pipeline.answer import Answer
from headrace.pipeline.ask import Ask
from headrace.pipeline.endpoint import Endpoint
from headrace.pipeline.runner import Runner
from headrace.pipeline.running import Means

T = TypeVar("T")


class Order(BaseModel):
    restaurant_id: str
    people: int = 1


class Dish(BaseModel):
    name: str


class Shelf:
    """Context: one table of rows by key, with a version that grows whenever a row is put."""

    def __init__(self, clock: SimulatedClock) -> None:
        self.clock = clock
        self.rows: dict[str, tuple[str, float]] = {"r7": ("soup", 5.0)}
        self.delay = 0.0
        self.complete: int | None = None
        self.policies: list[FreshnessPolicy | None] = []
        self.untils: list[float] = []

    def put(self, key: str, name: str, price: float = 5.0) -> None:
        """A row changes."""
        self.rows[key] = (name, price)

    async def read(
        self,
        view: str,
        params: Mapping[str, Any],
        *,
        policy: FreshnessPolicy | None = None,
        max_age: int | None = None,
        until: float = math.inf,
    ) -> ContextValue:
        """The menu of a restaurant."""
        self.untils.append(until)
        self.policies.append(policy)
        if self.delay:
            await self.clock.sleep(self.delay)
        key = params["restaurant_id"]
        return self._value(view, {"restaurant_id": key}, key)

    async def get(
        self,
        table: str,
        key: Any,
        *,
        policy: FreshnessPolicy | None = None,
        max_age: int | None = None,
        until: float = math.inf,
    ) -> ContextValue:
        """One row."""
        return self._value(table, {"restaurant_id": key}, key)

    async def get_many(self, table: str, keys: Sequence[Any], **how: Any) -> ContextValue:
        """Not used here."""
        return await self.get(table, keys[0], **how)

    async def read_many(self, reads: Sequence[tuple[str, Mapping[str, Any]]], **how: Any) -> list[ContextValue]:
        """Several."""
        return [await self.read(view, params, **how) for view, params in reads]

    def validate(self, readset: ReadSet) -> Validity:
        """What is no longer what it was."""
        changed = [
            Changed(
                read,
                f"{read.name!r}: 1 rows came or changed",
                [now],
                [read.content[0]],
                (now,),
                replace(read, content=(now,)),
            )
            for read in readset.reads
            if (now := self._row(str(read.bindings["restaurant_id"]))) != read.content[0]
        ]
        return Validity(changed, self.clock.now())

    def current(self, readset: ReadSet) -> Present:
        """Whether the same reads now would show the same."""
        return Present(self.validate(readset).changed, self.clock.now(), readset, tuple(1500 for _ in readset.reads))

    def again(self, readset: ReadSet) -> Present:
        """The same reads now."""
        return self.current(readset)

    def frontiers(self, readset: ReadSet) -> dict[str, int | None]:
        """Up to when the table is complete."""
        return {"items": self.clock.now() if self.complete is None else self.complete}

    def _row(self, key: str) -> tuple[str, float]:
        return self.rows[key]

    def _value(self, name: str, bindings: Mapping[str, Any], key: str) -> ContextValue:
        now, row = self.clock.now(), self._row(key)
        read = Read(name, dict(bindings), ("items",), 1, (row,), 2, Status.FRESH)
        inputs = {"items": InputAge(now, Status.FRESH, "running")}
        rows = [{"name": row[0], "price": row[1]}]
        return ContextValue(name, rows, now, now, Status.FRESH, [now], inputs, ReadSet((read,)))


class Spoken:
    """A reply, as `models.reply.Reply` says."""

    def __init__(self, pieces: Sequence[bytes | Exception], clock: SimulatedClock, pause: float = 0.0) -> None:
        self.status = 200
        self.headers: Sequence[tuple[bytes, bytes]] = ()
        self.upstream, self.model = "one", "m-1"
        self.attempts, self.queued, self.first_byte = 1, 0.0, 0.0
        self.usage: Usage | None = Usage(100, 20)
        self.cost: Decimal | None = Decimal("0.001")
        self.closed = False
        self._pieces = list(pieces)
        self._clock = clock
        self._pause = pause

    async def read(self) -> bytes:
        return b"".join([piece async for piece in self])

    def __aiter__(self) -> Spoken:
        return self

    async def __anext__(self) -> bytes:
        if not self._pieces:
            raise StopAsyncIteration
        if self._pause:
            await self._clock.sleep(self._pause)
        piece = self._pieces.pop(0)
        if isinstance(piece, Exception):
            raise piece
        return piece

    async def aclose(self) -> None:
        self.closed = True


@dataclass
class Model:
    """A model that answers from a script: a text, an exception, or a function of the request; the last one stays."""

    name: str
    clock: SimulatedClock
    script: list[Any] = field(default_factory=list)
    seconds: float = 1.0
    pause: float = 0.0
    asked: list[tuple[ModelRequest, Terms]] = field(default_factory=list)
    replies: list[Spoken] = field(default_factory=list)
    cancelled: int = 0
    shadows: int = 1000

    async def send(self, request: ModelRequest, terms: Terms) -> Spoken:
        self.asked.append((request, terms))
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        try:
            await self.clock.sleep(self.seconds)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if callable(step):
            step = step(request)
        if isinstance(step, Exception):
            raise step
        reply = Spoken(step if isinstance(step, list) else [chat(step)], self.clock, self.pause)
        self.replies.append(reply)
        return reply

    def may_shadow(self) -> bool:
        self.shadows -= 1
        return self.shadows >= 0


def chat(text: str) -> bytes:
    """A chat completion."""
    message = {"role": "assistant", "content": text}
    return msgspec.json.encode({"choices": [{"message": message, "finish_reason": "stop"}]})


def chunks(*texts: str, end: bool = True, broken: bool = False) -> list[bytes | Exception]:
    """A streamed chat completion."""
    found: list[bytes | Exception] = [
        b"data: " + msgspec.json.encode({"choices": [{"delta": {"content": text}}]}) + b"\n\n" for text in texts
    ]
    if broken:
        found.append(StreamBroken("the upstream reset", failure="connection"))
    elif end:
        found.append(b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n')
    return found


REFUSED = ModelRefused("no upstream answers", reason="failed", failure="overloaded")


async def turns(count: int = 20) -> None:
    """Let everybody run who can, without any time passing."""
    for _ in range(count):
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(turn.set_result, None)
        await turn


class World:
    """One endpoint and all that it stands on."""

    def __init__(self) -> None:
        self.clock = SimulatedClock()
        self.shelf = Shelf(self.clock)
        self.llm = Model("llm", self.clock, ['{"name": "soup"}'])
        self.small = Model("small", self.clock, ['{"name": "bread"}'], seconds=0.1)
        self.events: list[Answered] = []
        self.app = hr.App("shop")
        self.app.models = {"llm": object(), "small": object()}  # type: ignore[attr-defined]
        self._number = 0

    def record(self, event: Event) -> None:
        """As a recorder."""
        assert isinstance(event, Answered)
        self.events.append(event)

    def runner(self, endpoint: Endpoint) -> Runner:
        """The endpoint, running."""
        callers: Any = {"llm": self.llm, "small": self.small}
        means = Means(self.shelf, callers, frozenset({"menu"}), frozenset({"items"}), self.clock)
        return Runner(endpoint, means, recorder=self)

    def ask(self, **how: Any) -> Ask:
        """What a request asks."""
        self._number += 1
        return Ask(how.pop("input", Order(restaurant_id="r7")), f"q{self._number}", **how)

    async def run(self, runner: Runner, **how: Any) -> Answer:
        """One request to its end, in simulated time."""
        return await self.live(runner.run(self.ask(**how)))

    async def live(self, work: Awaitable[T], *, happen: Mapping[float, Callable[[], object]] | None = None) -> T:
        """Let time pass until the work is done; `happen`: what happens when (seconds from now)."""
        task: asyncio.Future[T] = asyncio.ensure_future(work)
        start = self.clock.monotonic()
        due = sorted((happen or {}).items())
        for _ in range(20_000):
            await turns(12)
            if task.done():
                return task.result()
            self.clock.advance(0.01)
            while due and due[0][0] <= self.clock.monotonic() - start:
                due.pop(0)[1]()
        raise AssertionError("the work does not end")


async def recommend(ask: Order, ctx: hr.Context) -> Dish:
    """Recommend a dish."""
    menu = await ctx.menu(restaurant_id=ask.restaurant_id)
    return await ctx.llm.chat(f"one of {menu.rows}", response=Dish)


def declare(world: World, function: Any = recommend, **how: Any) -> Endpoint:
    return world.app.endpoint("/recommend", **{"deadline": "4s", **how})(function)


@pytest.fixture
def world() -> World:
    """A fresh world."""
    return World()
