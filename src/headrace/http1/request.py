"""A request as a handler sees it: its head at once, its body as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from headrace.core.errors import BodyRefused
from headrace.http1.headers import Field, Fields, find


def _nothing() -> None:
    """Before a connection listens, nobody needs to know that a body is read."""


class Request:
    """One request.

    Attributes
    ----------
    method
        In upper case: `b"GET"`.
    target
        As it was sent: `b"/v1/models?limit=2"`; of an absolute target the path and query.
    headers
        All fields in order, names in lower case.
    version
        `"1.1"` or `"1.0"`.
    keep_alive
        Whether the client lets the connection live after the answer.
    length
        The body's length if the client told it; None of a chunked body.
    trailers
        Fields after a chunked body; there once the body has been read to its end.
    client
        The address of the other side, as the transport gives it.
    answered
        The status of the answer whose head was written; 0 before.
    """

    __slots__ = (
        "_complete", "_done", "_error", "_pieces", "_reads", "_size", "_waiter", "answered", "client", "expects",
        "headers", "keep_alive", "length", "method", "received", "state", "target", "trailers", "version",
    )  # fmt: skip

    def __init__(
        self, method: bytes, target: bytes, headers: list[Field], *, version: str, keep_alive: bool, length: int | None
    ) -> None:
        self.method = method
        self.target = target
        self.headers: Fields = headers
        self.version = version
        self.keep_alive = keep_alive
        self.length = length
        self.expects = False
        self.received = 0
        self.trailers: list[Field] = []
        self.client: Any = None
        self.answered = 0
        self.state: Any = None
        """Free for whoever handles the request."""
        self._pieces: list[bytes] = []
        self._size = 0
        self._complete = False
        self._error: BodyRefused | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._reads: Callable[[], None] = _nothing
        self._done: list[Callable[[Request], None]] | None = None

    # For handlers

    @property
    def path(self) -> bytes:
        """The target without its query, as it was sent (percent-encoded)."""
        return self.target.partition(b"?")[0]

    @property
    def query(self) -> bytes:
        """What stands after the first `?`."""
        return self.target.partition(b"?")[2]

    def header(self, name: bytes) -> bytes | None:
        """The first value of a header (name in lower case)."""
        return find(self.headers, name)

    def when_done(self, callback: Callable[[Request], None]) -> None:
        """Call `callback` once, when the answer is out, or broke off, or its client is gone; see `answered`."""
        if self._done is None:
            self._done = []
        self._done.append(callback)

    @property
    def complete(self) -> bool:
        """Whether all of the body has come."""
        return self._complete

    async def read(self) -> bytes:
        """The whole body (or what is left of it).

        Raises
        ------
        BodyRefused
            It is too large, too slow, or no valid HTTP. Left alone, the client gets the right status.
        """
        if self._complete and self._error is None:
            return self._take()
        pieces = [piece async for piece in self]
        return b"".join(pieces)

    def __aiter__(self) -> Request:
        return self

    async def __anext__(self) -> bytes:
        """The next piece of the body, as it came from the network; raises as `read`."""
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self._complete:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            self._reads()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._take()

    def _take(self) -> bytes:
        pieces = self._pieces
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._size = 0
        self._reads()
        return body

    # For the connection

    @property
    def buffered(self) -> int:
        """Bytes that came and were not read."""
        return self._size

    @property
    def awaited(self) -> bool:
        """Whether the handler waits for bytes of the body now."""
        return self._waiter is not None

    def listen(self, reads: Callable[[], None]) -> None:
        """Call `reads` whenever the handler reads or waits for the body."""
        self._reads = reads

    def push(self, piece: bytes) -> None:
        """Bytes of the body came."""
        self.received += len(piece)
        self._size += len(piece)
        self._pieces.append(piece)
        self._wake()

    def finish(self) -> None:
        """The body is complete."""
        self._complete = True
        self._wake()

    def fail(self, error: BodyRefused) -> None:
        """The body will not be complete."""
        self._error = error
        self._wake()

    def drop(self) -> None:
        """Nobody will read what came or comes."""
        self._pieces.clear()
        self._size = 0

    def done(self) -> None:
        """The exchange is over."""
        if self._done is not None:
            callbacks, self._done = self._done, None
            for callback in callbacks:
                callback(self)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
