"""What is to be written within one turn of the event loop, written together at its end.

Each write is a system call that runs through all of the kernel down to the other side. With the work for a request
between two of them, each finds its code gone from the processor's caches; and another side on the same machine has gone
to sleep since the last one, and must be woken again. One after the other they cost half. A turn in which there is one
request loses nothing: its end comes next.
"""

from __future__ import annotations

import asyncio

AT_ONCE = 64 * 1024
"""Longest message (bytes) that is written together with others; what is longer holds them up."""
_MANY = 16
"""Writes after which the end of the turn is not waited for: with much to do it may be milliseconds away."""


class Outbox:
    """Writes for transports of one loop. Whoever writes to one of them directly, or closes it, does `flush` first."""

    __slots__ = ("_loop", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: list[tuple[asyncio.Transport, bytes]] = []

    def put(self, transport: asyncio.Transport, data: bytes) -> None:
        """Write `data` in this turn of the loop, long data at once; what is for one transport goes out in its order."""
        if len(data) > AT_ONCE:
            self.flush()
            transport.write(data)
            return
        waiting = self._waiting
        if not waiting:
            self._loop.call_soon(self.flush)
        waiting.append((transport, data))
        if len(waiting) >= _MANY:
            self.flush()

    def flush(self) -> None:
        """Write all of it now."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        for transport, data in waiting:
            if not transport.is_closing():
                transport.write(data)
