"""The door of an endpoint: so many requests run at a time, the others wait in a fair queue, or are turned away.

The queue is that of the models (`models.admission`): tenants share by the tokens that their requests take, the earliest
deadline goes first, what nobody waits for any more is dropped, a queue that stands is shortened, and a share is kept
for critical requests. What a request will take is learnt from the tenant's last ones.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections import OrderedDict

from headrace.core.clock import Clock
from headrace.core.errors import DeadlinePassed, HeadraceError, Overloaded
from headrace.models.admission import Admission, Turned
from headrace.models.call import Call, Priority
from headrace.models.latency import Recent
from headrace.pipeline.ask import Ask
from headrace.pipeline.bounds import Bounds

_WEIGHT = 0.2
_WINDOW = 60.0
"""Seconds after which the time of an answer begins to be forgotten."""
_OLD = 1.0
"""Seconds since the last answer after which one more request is let in whatever answers took, if nothing runs."""
_USUAL_TOKENS = 1000.0
_MOST_TENANTS = 4096


class Gate:
    """Lets requests in, one `leave` for each `enter`.

    Attributes
    ----------
    running
        Requests that are in.
    turned
        How many were turned away, by why.
    """

    def __init__(self, bounds: Bounds, clock: Clock) -> None:
        self._most = bounds.concurrency
        self._clock = clock
        self._queue = Admission(bounds.admission)
        self._waiters: dict[str, asyncio.Future[None]] = {}
        self._seconds = Recent(_WINDOW)
        self._answered = -math.inf
        self._tokens: OrderedDict[str, float] = OrderedDict()
        self._numbers = itertools.count(1)
        self.running = 0
        self.turned: dict[str, int] = {}

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._queue)

    async def enter(self, ask: Ask, deadline: float) -> None:
        """Wait for a place until the request is cancelled.

        Raises
        ------
        Overloaded
            Turned away: the queue is full, or stands.
        DeadlinePassed
            Turned away: what is left of its time is less than such requests take.
        """
        now = self._clock.monotonic()
        tokens = round(self._tokens.get(ask.tenant, _USUAL_TOKENS))
        call = Call(str(next(self._numbers)), tokens, 0, deadline, ask.tenant, ask.priority)
        for other, why in self._queue.offer(now, call):
            if other is call:
                raise self._refusal(why, now)
            self._tell(other, self._refusal(why, now))
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters[call.id] = waiter
        self._pump(now)
        try:
            await _ready(waiter)
        except asyncio.CancelledError:
            if self._waiters.pop(call.id, None) is None and _let_in(waiter):
                self._leave()  # it was let in at the very moment
            else:
                self._queue.withdraw(call)
            raise

    def leave(self, ask: Ask, seconds: float | None, tokens: int | None) -> None:
        """The request is over: its answer took so many seconds, and so many tokens of models where that is known.

        One without an answer (`seconds` is None) says nothing of how long answers take: it mostly ends with its time,
        and a gate that learnt from it would turn everybody away for whom that is not enough.
        """
        if seconds is not None:
            self._answered = self._clock.monotonic()
            self._seconds.add(self._answered, seconds)
        if tokens is not None:
            before = self._tokens.pop(ask.tenant, _USUAL_TOKENS)
            self._tokens[ask.tenant] = before + _WEIGHT * (tokens - before)
            if len(self._tokens) > _MOST_TENANTS:
                self._tokens.popitem(last=False)
        self._leave()

    def _leave(self) -> None:
        self.running -= 1
        self._pump(self._clock.monotonic())

    def _pump(self, now: float) -> None:
        while len(self._queue):
            found = self._queue.take(now, self._usual, self._fits)
            for call, why in found.turned:
                self._tell(call, self._refusal(why, now))
            if found.call is None:
                return
            self.running += 1
            self._tell(found.call, None)

    def _tell(self, call: Call, refusal: HeadraceError | None) -> None:
        waiter = self._waiters.pop(call.id, None)
        if waiter is None or waiter.done():
            if refusal is None:
                self.running -= 1
        elif refusal is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(refusal)

    def _fits(self, call: Call) -> bool:
        if call.priority is Priority.CRITICAL:
            return self.running < self._most
        return self.running < max(1, self._most * (1 - self._queue.reserved(self._clock.monotonic())))

    def _usual(self, call: Call) -> float:
        """Seconds that an answer takes; 0 where nothing runs that would tell whether it still does."""
        now = self._clock.monotonic()
        return self._median(now) if self.running or now - self._answered < _OLD else 0.0

    def _median(self, now: float) -> float:
        return self._seconds.usual(now, 0.5, 1) or 0.0

    def _refusal(self, why: Turned, now: float) -> HeadraceError:
        self.turned[why.value] = self.turned.get(why.value, 0) + 1
        if why is Turned.DEADLINE:
            return DeadlinePassed(
                "the request waited until too little of its time was left",
                stage="queue",
                hint=f"such requests take {self._median(now):.2g} s: give it more time, or raise max_concurrency",
            )
        after = max(1.0, self._queue.oldest(now))
        if why is Turned.FULL:
            return Overloaded("the endpoint's queue is full", retry_after=after, hint="come back after retry_after")
        return Overloaded(
            "the endpoint has more requests than it can answer, and this one can wait",
            retry_after=after,
            status=429,
            hint="come back after retry_after, or say that it matters: x-headrace-priority: critical",
        )


async def _ready(waiter: asyncio.Future[None]) -> None:
    """Without giving up the turn where the door stands open."""
    if waiter.done():
        waiter.result()
        return
    await waiter


def _let_in(waiter: asyncio.Future[None]) -> bool:
    return waiter.done() and not waiter.cancelled() and waiter.exception() is None
