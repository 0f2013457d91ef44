"""An answer on its way out: each piece at its time, until the end or until what was to go wrong goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from headrace.core.clock import Clock
from headrace.http1.response import Reset
from headrace.mockllm.api import Event
from headrace.mockllm.faults import Fault
from headrace.mockllm.journal import Entry

MIDDLE = frozenset({"reset-mid-stream", "cut", "truncate", "no-done", "stall", "error-event", "garbage"})
"""Failures that come after a part of the answer."""

NOISE = b'\x00\xff<html>502 Bad Gateway</html> {"choices": [{"delta\n'
"""No JSON, no event, not even text."""

_SETTLE = 0.02
"""Seconds before a connection is reset: a reset throws away what the other side has not read."""


class Broken(Exception):
    """The answer ends here, unfinished, and its connection is closed."""


class Flow:
    """The pieces of one answer, as the body of a response.

    Parameters
    ----------
    events
        What a whole answer has.
    gap
        Seconds per token; 0: all at once.
    fault
        What goes wrong in the middle, if anything.
    error
        The event that says an error.
    finished
        Told once how it ended: `answered`, `failed` or `cancelled`.
    """

    def __init__(
        self,
        events: Iterator[Event],
        clock: Clock,
        entry: Entry,
        *,
        gap: float,
        fault: Fault | None,
        error: bytes,
        finished: Callable[[Entry, str], None],
    ) -> None:
        self._events = events
        self._clock = clock
        self._entry = entry
        self._gap = gap
        self._fault = fault
        self._error = error
        self._finished = finished
        self._start = clock.monotonic()
        self._over = False

    def __aiter__(self) -> Flow:
        return self

    async def __anext__(self) -> bytes:
        entry = self._entry
        if self._over:
            self._finished(entry, "failed" if self._fault is not None else "answered")
            raise StopAsyncIteration
        event = next(self._events, None)
        if event is None:
            self._over = True
            return await self.__anext__()
        fault = self._fault
        if fault is not None and self._breaks(fault, event):
            return await self._break(fault)
        # The first token was waited for before the head of the answer.
        if self._gap and event.tokens and entry.tokens:
            late = self._start + entry.tokens * self._gap - self._clock.monotonic()
            if late > 0:
                await self._clock.sleep(late)
        entry.tokens += event.tokens
        return self._sends(event.data)

    async def aclose(self) -> None:
        """Nobody asks for more: the answer has ended, or its client has left."""
        self._finished(self._entry, "cancelled")

    def _sends(self, data: bytes) -> bytes:
        if self._entry.sent is not None:
            self._entry.sent.append(data)
        return data

    def _breaks(self, fault: Fault, event: Event) -> bool:
        if fault.kind == "no-done":
            return event.ends
        sent = self._entry.tokens
        return sent >= fault.after or (sent > 0 and event.tokens == 0) or event.ends

    async def _break(self, fault: Fault) -> bytes:
        if fault.kind == "stall":
            await asyncio.get_running_loop().create_future()  # until the client leaves
        if fault.kind in ("reset-mid-stream", "cut"):
            await self._clock.sleep(_SETTLE)
            self._finished(self._entry, "failed")
            raise Reset if fault.kind == "reset-mid-stream" else Broken
        self._over = True
        if fault.kind == "error-event":
            return self._sends(self._error)
        if fault.kind == "garbage":
            return self._sends(NOISE)
        return await self.__anext__()  # truncate, no-done


class Half:
    """An answer in one piece of which only half comes."""

    def __init__(
        self, body: bytes, clock: Clock, entry: Entry, kind: str, finished: Callable[[Entry, str], None]
    ) -> None:
        self._body = body
        self._clock = clock
        self._entry = entry
        self._kind = kind
        self._finished = finished
        self._sent = False

    def __aiter__(self) -> Half:
        return self

    async def __anext__(self) -> bytes:
        if not self._sent:
            self._sent = True
            return self._body[: len(self._body) // 2]
        if self._kind == "stall":
            await asyncio.get_running_loop().create_future()
        await self._clock.sleep(_SETTLE)
        self._finished(self._entry, "failed")
        raise Reset if self._kind == "reset-mid-stream" else Broken

    async def aclose(self) -> None:
        """The client has left, or it is over."""
        self._finished(self._entry, "cancelled")
