"""How many requests are worked on at once, and who waits."""

from __future__ import annotations

import asyncio
from collections import deque


class Slots:
    """A bounded number of places, first come first served; beyond `queue` waiting requests, refused."""

    def __init__(self, slots: int | None, queue: int | None) -> None:
        self._free = slots
        self._queue = queue
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        """Requests that wait now."""
        return len(self._waiting)

    def take(self) -> bool:
        """Take a free place, if there is one."""
        if self._free is None:
            return True
        if self._free > 0:
            self._free -= 1
            return True
        return False

    @property
    def full(self) -> bool:
        """Whether no further request may wait."""
        return self._queue is not None and len(self._waiting) >= self._queue

    async def wait(self) -> None:
        """Wait for a place, which is then taken."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give()  # it was this one's turn, and nobody is there to take it
            elif turn in self._waiting:
                self._waiting.remove(turn)
            raise

    def give(self) -> None:
        """Give a place back: to whoever waits longest."""
        if self._free is None:
            return
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
