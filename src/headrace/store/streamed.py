"""A unit that is too large for memory, on its way from an event loop to the writer's open transaction."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Iterator, Sequence

from headrace.core.errors import StoreError
from headrace.store.base import Submission

AHEAD = 3
"""Pieces that may wait for the writer."""

PATIENCE = 60.0
"""Seconds that the writer, whose transaction is open, waits for the next piece."""


class StreamedUnit:
    """Takes pieces on the event loop and gives them to the writer. See `Ingest.open_unit`.

    Examples
    --------
        unit, answer = ingest.open_unit()
        try:
            for submissions in pieces:
                await unit.put(submissions)
            unit.end()
            receipt = await answer
        finally:
            unit.abort()    # does nothing after `end`
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._changed = threading.Condition()
        self._pieces: deque[Sequence[Submission]] = deque()
        self._room = asyncio.Event()
        self._ended = False
        self._broken = False
        self._answered = False

    async def put(self, submissions: Sequence[Submission]) -> bool:
        """Give the next piece, when there is room for it; False when the unit was answered already: it was refused."""
        while len(self._pieces) >= AHEAD and not self._answered:
            self._room.clear()
            if len(self._pieces) >= AHEAD:
                await self._room.wait()
        with self._changed:
            self._pieces.append(submissions)
            self._changed.notify()
        return not self._answered

    def end(self) -> None:
        """That was the last piece: commit."""
        with self._changed:
            self._ended = True
            self._changed.notify()

    def abort(self) -> None:
        """There is no next piece: roll back."""
        with self._changed:
            self._broken = not self._ended
            self._changed.notify()

    def answered(self) -> None:
        """On the event loop: the writer has committed it, or takes no more of it."""
        self._answered = True
        self._room.set()

    def pieces(self) -> Iterator[Sequence[Submission]]:
        """On the writer's thread: the pieces as they come.

        Raises
        ------
        StoreError
            The unit was broken off, or nothing comes any more.
        """
        while True:
            with self._changed:
                ready = self._changed.wait_for(self._ready, PATIENCE)
                if self._broken or not ready:
                    why = "was broken off" if self._broken else f"gave nothing for {PATIENCE:g} s"
                    raise StoreError(f"a transaction of a source {why}", hint="it is read again")
                if not self._pieces:
                    return
                piece = self._pieces.popleft()
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits for room
                self._loop.call_soon_threadsafe(self._room.set)
            yield piece

    def _ready(self) -> bool:
        return bool(self._pieces) or self._ended or self._broken
