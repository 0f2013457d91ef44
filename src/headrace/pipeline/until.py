"""One deadline around a piece of work, on any clock: past it, whatever the work waits for is cancelled.

`asyncio.timeout` does the same on the loop's own clock; this one takes a `Clock`, so that whole requests run on
simulated time. A cancellation from outside (the client is gone) stays a cancellation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType

from headrace.core.clock import Clock
from headrace.core.errors import DeadlinePassed


class Until:
    """`async with Until(clock, deadline): ...` raises `DeadlinePassed` at the instant `deadline` (seconds, monotonic).

    `where` says at that instant in which stage the work is.

    Examples
    --------
    >>> from headrace.core.clock import SystemClock
    >>> async def hang():
    ...     clock = SystemClock()
    ...     async with Until(clock, clock.monotonic() + 0.01):
    ...         await asyncio.Event().wait()
    >>> asyncio.run(hang())
    Traceback (most recent call last):
    headrace.core.errors.DeadlinePassed: the deadline of the request passed
      hint: ...
    """

    __slots__ = ("_before", "_clock", "_deadline", "_stage", "_task", "_timer", "_where", "passed")

    def __init__(self, clock: Clock, deadline: float, where: Callable[[], str] = str) -> None:
        self._clock = clock
        self._deadline = deadline
        self._where = where
        self._stage = ""
        self.passed = False

    async def __aenter__(self) -> Until:
        left = self._deadline - self._clock.monotonic()
        if left <= 0:
            raise passed(self._where())
        task = asyncio.current_task()
        if task is None:  # a coroutine that is driven by hand cannot be cancelled
            raise RuntimeError("a deadline needs a task")
        self._task = task
        self._before = task.cancelling()
        self._timer = asyncio.get_running_loop().create_task(self._ring(left))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if not self.passed:
            return
        mine = self._task.uncancel() <= self._before
        if mine and kind is not None and issubclass(kind, asyncio.CancelledError):
            raise passed(self._stage) from error

    async def _ring(self, left: float) -> None:
        await self._clock.sleep(left)
        self.passed = True
        self._stage = self._where()
        self._task.cancel()


def passed(stage: str = "") -> DeadlinePassed:
    """The error of a deadline that passed."""
    return DeadlinePassed(
        "the deadline of the request passed" + (f" in its stage {stage!r}" if stage else ""),
        stage=stage,
        hint="give the request more time (x-request-timeout-ms, deadline=), or give the endpoint a fallback",
    )
