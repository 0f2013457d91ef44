"""Ours: what one call through the router costs, without sockets. Prints one line of JSON.

router.py <calls> <repeats>

Four healthy upstreams whose rate limits are told with every answer, policies at their defaults, prices and a budget of
the key; 64 calls in flight, so that nothing queues. Processor time, the best of the repeats: other processes on the
machine make a run longer, never shorter.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import deque
from decimal import Decimal
from random import Random

from headrace.models.action import Start
from headrace.models.billing import Billing
from headrace.models.call import Call, Usage
from headrace.models.cost import Prices
from headrace.models.headers import Limits, Window
from headrace.models.provider import Whole
from headrace.models.request import Dialect, ModelRequest, Terms
from headrace.models.routed import RoutedModel
from headrace.models.router import Router
from headrace.models.settings import Policies, UpstreamSpec
from headrace.models.spending import Spending

IN_FLIGHT = 64
FIRST = 24
"""Of the calls in flight, how many have not shown a first token."""
STEP = 0.001
"""Seconds of the router's time between two calls: 1,000 calls/s."""
PRICES = 'models: {m: {input: "2.50", output: "10", cached_input: "1.25"}}'
LIMITS = Limits(Window(1e9, 9e8, 1.0), Window(1e12, 9e11, 1.0))
USAGE = Usage(900, 140, 300)


def router() -> Router:
    """As the gateway makes it."""
    specs = [UpstreamSpec(name=name, model="m", requests_per_minute=1e9, tokens_per_minute=1e12) for name in "abcd"]
    spending = Spending({"k": Decimal(10**9)})
    return Router(specs, Policies(), Random(1), billing=Billing(Prices.parse(PRICES), spending, epoch=1.7e9))


def pure(calls: int) -> float:
    """Microseconds a call for `submit`, `on_first_token`, `on_end`, and the look at `wake` after each."""
    subject = router()
    todo = [Call(str(n), 900, 150, n * STEP + 60.0, key="k", tenant="t") for n in range(calls + 2000)]
    waiting: deque[int] = deque()
    flowing: deque[int] = deque()
    done, began = 0, 0.0
    for number, call in enumerate(todo):
        if number == 2000:
            began, done = time.process_time(), 0
        now = number * STEP
        if len(flowing) == IN_FLIGHT - FIRST:
            done += len(subject.on_end(now, flowing.popleft(), USAGE, LIMITS))
            _ = subject.wake
        if len(waiting) == FIRST:
            flowing.append(waiting.popleft())
            subject.on_first_token(now, flowing[-1])
            _ = subject.wake
        at = subject.wake
        if at is not None and at <= now:
            subject.poll(now)
        (action,) = subject.submit(now, call)
        _ = subject.wake
        if not isinstance(action, Start):
            raise SystemExit(f"a call was not started: {action}")
        waiting.append(action.attempt.id)
    taken = time.process_time() - began
    if done != calls:
        raise SystemExit(f"{done} of {calls} calls ended")
    return taken / calls * 1e6


class Instant:
    """A carrier that has its answers at hand."""

    takes: frozenset[tuple[Dialect, bool]] = frozenset()

    def refuses(self, request: ModelRequest) -> str:
        return ""

    async def begin(self, request: ModelRequest, until: float) -> Whole:
        return Whole(b"{}", usage=USAGE, limits=LIMITS)

    async def aclose(self) -> None:
        pass


class Ticking:
    """A clock that moves on by itself."""

    def __init__(self) -> None:
        self.at = 0.0

    def now(self) -> int:
        return int(self.at * 1e6)

    def monotonic(self) -> float:
        self.at += STEP / 4
        return self.at

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(3600)


async def shell(calls: int) -> float:
    """Microseconds a call for `send` and `read` of whole answers: the router, and the shell around it."""
    clock = Ticking()
    model = RoutedModel("m", router(), {name: Instant() for name in "abcd"}, clock=clock, deadline=60.0)
    body = b'{"messages": [{"role": "user", "content": "' + b"x" * 3000 + b'"}]}'
    request = ModelRequest(Dialect.CHAT, body, {}, stream=False, prompt_tokens=900, max_output_tokens=150)
    began = 0.0
    for number in range(calls + 2000):
        if number == 2000:
            began = time.process_time()
        reply = await model.send(request, Terms(str(number), clock.at + 60.0, tenant="t", key="k"))
        await reply.read()
    taken = time.process_time() - began
    await model.aclose()
    return taken / calls * 1e6


def main(calls: int, repeats: int) -> None:
    figures = {
        "router": [pure(calls) for _ in range(repeats)],
        "send": [asyncio.run(shell(calls)) for _ in range(repeats)],
    }
    print(json.dumps({name: {"best": min(all_), "all": all_} for name, all_ in figures.items()}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
