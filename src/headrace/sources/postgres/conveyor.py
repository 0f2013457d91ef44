"""The conveyor: what threads made, handed to the event loop in order, and no more of it than fits."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Closed(Exception):
    """The other end has left: a thread that puts things on the conveyor is to stop."""


class Conveyor(Generic[Item]):
    """A bounded queue from threads to one task of an event loop.

    Parameters
    ----------
    limit
        The weight of what may lie on it at once; an item that is heavier than that lies there alone.
    """

    def __init__(self, limit: int, loop: asyncio.AbstractEventLoop) -> None:
        self._limit = limit
        self._loop = loop
        self._items: deque[tuple[Item, int]] = deque()
        self._weight = 0
        self._changed = threading.Condition()
        self._arrived = asyncio.Event()
        self._error: BaseException | None = None
        self._closed = False

    @property
    def has_room(self) -> bool:
        """Whether more may be put on it without waiting."""
        return self._weight < self._limit

    @property
    def count(self) -> int:
        """How many items lie on it."""
        return len(self._items)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to take."""
        return not self._items

    def put(self, item: Item, weight: int, *, wait: bool = True) -> None:
        """Put an item on it; `wait` until there is room.

        Raises
        ------
        Closed
            Nobody will take it any more.
        """
        with self._changed:
            while wait and self._weight >= self._limit and not self._closed:
                self._changed.wait()
            if self._closed:
                raise Closed
            self._items.append((item, weight))
            self._weight += weight
        self._wake()

    def fail(self, error: BaseException) -> None:
        """Nothing more comes: raise `error` from `take` once everything before it was taken. The first one counts."""
        with self._changed:
            if self._error is None:
                self._error = error
            self._changed.notify_all()
        self._wake()

    def close(self) -> None:
        """Nobody will take anything any more; whoever waits for room gets `Closed`."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._weight = 0
            self._changed.notify_all()

    def take(self) -> Item | None:
        """The next item; None when there is none now.

        Raises
        ------
        BaseException
            What `fail` was called with, behind the last item.
        """
        self._arrived.clear()
        with self._changed:
            if self._items:
                item, weight = self._items.popleft()
                self._weight -= weight
                self._changed.notify_all()
                return item
            error = self._error
        if error is not None:
            raise error
        return None

    async def wait(self, seconds: float) -> None:
        """Wait until there is something to take, at most so long."""
        if self._items or self._error is not None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._arrived.wait()

    def _wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is gone: nobody waits
            self._loop.call_soon_threadsafe(self._arrived.set)
