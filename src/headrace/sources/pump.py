"""Pumps: they pull a user's iterator at its own pace into a bounded buffer, from which others take without waiting."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import Any

LIMIT = 4_000
"""Items that wait in the buffer at most; then the user's iterator is not asked for more."""

JOIN_SECONDS = 2.0
"""How long a closing thread pump waits for the iterator to return; one that hangs is left behind as a daemon."""


class Pump(ABC):
    """What both pumps share: the buffer, and how the iterator ended.

    The buffer has one producer and one consumer; `deque` makes single appends and pops safe between them.
    """

    def __init__(self) -> None:
        self.buffer: deque[Any] = deque()
        self.finished = False
        self.error: Exception | None = None

    @abstractmethod
    def made_room(self) -> None:
        """The consumer took something: a producer that waits for room may go on."""

    @abstractmethod
    async def stop(self) -> None:
        """End the iteration and let go of the thread or task."""


class TaskPump(Pump):
    """Pulls an async iterator in a task of the running loop; on a simulated clock its steps are repeatable."""

    def __init__(self, items: AsyncIterator[Any]) -> None:
        super().__init__()
        self._items = items
        self._room = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            async for item in self._items:
                self.buffer.append(item)
                if len(self.buffer) >= LIMIT:
                    self._room.clear()
                    await self._room.wait()
        except Exception as error:  # boundary to user code: kept, and raised by the partition
            self.error = error
        finally:
            self.finished = True

    def made_room(self) -> None:
        self._room.set()

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        aclose = getattr(self._items, "aclose", None)
        if aclose is not None:
            with contextlib.suppress(Exception):  # boundary to user code: its `finally` must not stop our closing
                await aclose()


class ThreadPump(Pump):
    """Pulls a plain iterator in a thread of its own, so that one that blocks blocks nobody else."""

    def __init__(self, items: Iterator[Any], name: str) -> None:
        super().__init__()
        self._items = items
        self._room = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for item in self._items:
                self.buffer.append(item)
                if len(self.buffer) >= LIMIT:
                    self._wait_for_room()
                if self._stopping:
                    break
        except Exception as error:  # boundary to user code: kept, and raised by the partition
            self.error = error
        finally:
            self._close_items()
            self.finished = True

    def _wait_for_room(self) -> None:
        self._room.clear()
        # Room may have been made between the check of the length and the clear: look again before waiting.
        while len(self.buffer) >= LIMIT and not self._stopping:
            self._room.wait()
            self._room.clear()

    def _close_items(self) -> None:
        close = getattr(self._items, "close", None)
        if close is not None:
            with contextlib.suppress(Exception):  # boundary to user code: its `finally` must not stop our closing
                close()

    def made_room(self) -> None:
        self._room.set()

    async def stop(self) -> None:
        self._stopping = True
        self._room.set()
        await asyncio.to_thread(self._thread.join, JOIN_SECONDS)
