"""One timer of a clock: rings at the earliest instant that was asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from headrace.core.clock import Clock

_NEVER = float("inf")


class Alarm:
    """Calls `ring` at the earliest instant it was set to, or before.

    Setting it later than it is set does nothing: it rings early then, and whoever is rung looks what is due and sets it
    again. That costs less than a timer for each request, which mostly ends long before its time.

    Parameters
    ----------
    clock
        Whose time it is.
    ring
        Must not raise.

    Attributes
    ----------
    at
        When it rings at the latest; infinite: never.
    """

    def __init__(self, clock: Clock, ring: Callable[[], None]) -> None:
        self._clock = clock
        self._ring = ring
        self.at = _NEVER
        self._task: asyncio.Task[None] | None = None

    def set(self, at: float) -> None:
        """Ring at `at` (seconds of the clock) at the latest."""
        if at < self.at:
            self.cancel()
            self.at = at
            self._task = asyncio.get_running_loop().create_task(self._wait(at))

    def cancel(self) -> None:
        """Do not ring."""
        if self._task is not None:
            self._task.cancel()
        self._task, self.at = None, _NEVER

    async def _wait(self, at: float) -> None:
        # A clock in microseconds may stop a rounding short of the instant.
        while (left := at - self._clock.monotonic()) > 1e-6:
            await self._clock.sleep(left)
        self._task, self.at = None, _NEVER
        self._ring()
