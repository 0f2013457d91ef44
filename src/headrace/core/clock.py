"""The one place where time is read. Everything else takes `now` or a `Clock` as an argument.

All instants are integers: microseconds since 1970-01-01T00:00:00Z. All waits are seconds.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol

SECOND = 1_000_000
"""Microseconds in a second."""


@dataclass(frozen=True, slots=True)
class ClockOffset:
    """How far another clock is from ours: it shows `offset` microseconds more, give or take `error` microseconds."""

    offset: int
    error: int


class Clock(Protocol):
    """What time it is, and how to wait."""

    def now(self) -> int:
        """The current instant, in microseconds since the epoch (UTC)."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for `seconds` of this clock's time."""
        ...


class SystemClock:
    """The machine's clock.

    Examples
    --------
    >>> SystemClock().now() > 1_700_000_000 * SECOND
    True
    """

    # The function itself: a request reads it a dozen times.
    monotonic = staticmethod(time.monotonic)

    def now(self) -> int:
        return time.time_ns() // 1000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class ScaledClock:
    """A clock that starts at `start` and runs `speed` times as fast as the machine's.

    Processes that are given the same `start`, `origin` and `speed` agree on the time.

    Parameters
    ----------
    start
        The instant that this clock shows at the real instant `origin` (microseconds).
    speed
        Seconds of this clock per real second, > 0.
    origin
        Real instant (microseconds) at which the clock shows `start`; now if not given.
    """

    def __init__(self, start: int, speed: float, *, origin: int | None = None) -> None:
        self._real = SystemClock()
        self.start = start
        self.speed = speed
        self.origin = self._real.now() if origin is None else origin

    def now(self) -> int:
        return self.start + int((self._real.now() - self.origin) * self.speed)

    def monotonic(self) -> float:
        return self._real.monotonic() * self.speed

    async def sleep(self, seconds: float) -> None:
        await self._real.sleep(seconds / self.speed)


class SimulatedClock:
    """A clock that stands still until it is moved by hand; waiting tasks wake in order of their instant.

    Examples
    --------
    >>> clock = SimulatedClock(start=0)
    >>> clock.advance(1.5)
    >>> clock.now()
    1500000
    """

    def __init__(self, start: int = 1_767_225_600 * SECOND) -> None:
        self._now = start
        self._start = start
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._ticket = itertools.count()

    def now(self) -> int:
        return self._now

    def monotonic(self) -> float:
        return (self._now - self._start) / SECOND

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (self._now + int(seconds * SECOND), next(self._ticket), future))
        await future

    def advance(self, seconds: float) -> None:
        """Move the clock forward by `seconds` and wake whoever waited for an instant on the way."""
        target = self._now + round(seconds * SECOND)
        while self._waiting and self._waiting[0][0] <= target:
            at, _, future = heapq.heappop(self._waiting)
            self._now = max(self._now, at)
            if not future.done():
                future.set_result(None)
        self._now = target


def instant(value: datetime) -> int:
    """Microseconds since the epoch of an aware `datetime`; a naive one is read as UTC.

    >>> instant(datetime(1970, 1, 1, 0, 0, 1))
    1000000
    """
    aware = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    delta = aware - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * SECOND + delta.microseconds


def to_datetime(at: int) -> datetime:
    """The aware UTC `datetime` of an instant.

    >>> to_datetime(1_000_000).isoformat()
    '1970-01-01T00:00:01+00:00'
    """
    return datetime.fromtimestamp(at // SECOND, UTC).replace(microsecond=at % SECOND)


def isoformat(at: int) -> str:
    """RFC 3339 text of an instant, in UTC with microseconds.

    >>> isoformat(1_500_000)
    '1970-01-01T00:00:01.500000Z'
    """
    seconds, micros = divmod(at, SECOND)
    return f"{_second(seconds)}.{micros:06d}Z"


@lru_cache(maxsize=1024)
def _second(seconds: int) -> str:
    """The instants of one answer mostly lie in a few seconds, and looking a date up is cheaper than writing it."""
    # Not strftime: it writes the year 999 with three digits.
    return to_datetime(seconds * SECOND).replace(tzinfo=None).isoformat(timespec="seconds")


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
