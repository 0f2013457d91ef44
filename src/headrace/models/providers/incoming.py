"""A stream of events on its way in over HTTP, and what the end of an exchange says about the upstream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from headrace.core.errors import BadAnswer, ExchangeError, PoolFull, TimedOut
from headrace.http1.answer import Answer
from headrace.http1.headers import Field
from headrace.models.call import Usage
from headrace.models.dialects.stream import StreamReader
from headrace.models.failure import Failure
from headrace.models.headers import Limits
from headrace.models.provider import Failed

_EARLY = 1024 * 1024
"""Bytes that a stream may send before its first content."""
_LINGER = 1.0
"""Seconds in which HTTP's end must follow the end mark of a stream."""


class IncomingStream:
    """A stream of events that comes in over HTTP. `told` makes of a failure what may be told of it."""

    __slots__ = ("_answer", "_early", "_reader", "_told", "complete", "headers", "limits", "status")

    def __init__(
        self,
        answer: Answer,
        reader: StreamReader,
        headers: Sequence[Field],
        limits: Limits,
        told: Callable[[Failed], Failed] = lambda failed: failed,
    ) -> None:
        self.status = answer.status
        self.headers = headers
        self.limits = limits
        self.complete = False
        self._answer = answer
        self._reader = reader
        self._told = told
        self._early = b""

    @property
    def usage(self) -> Usage | None:
        """As far as it was told."""
        return self._reader.usage

    @property
    def written(self) -> int:
        """Tokens that have come so far, about."""
        return self._reader.written

    async def begin(self) -> None:
        """Read to the first content. What comes with it is kept for `next`."""
        early: list[bytes] = []
        size = 0
        while not self._reader.begun:
            piece = await self.next()
            if not piece:
                break
            early.append(piece)
            size += len(piece)
            if size > _EARLY and not self._reader.begun:
                self.stop()
                raise Failed(Failure.SERVER_ERROR, f"the stream has no content in its first {size} bytes")
        self._early = b"".join(early)

    async def next(self) -> bytes:
        """The next piece; empty after the last."""
        piece = self.take()
        while not (piece or self.complete):
            await self._answer.wait()
            piece = self.take()
        return piece

    def take(self) -> bytes:
        """What is there to be passed on, without waiting: nothing, perhaps. Raises `Failed`."""
        if self._early:
            early, self._early = self._early, b""
            return early
        reader, answer = self._reader, self._answer
        given = reader.feed(answer.take())
        if given and not (reader.ended or answer.complete or reader.failed is not None):  # nearly always
            return given
        if answer.whole and not reader.ended and reader.failed is None:
            given += reader.finish(vouched=answer.delimited != "close")
        if reader.ended:
            self._end()
        elif not given:
            self._check()
        elif reader.failed is not None:
            asyncio.get_running_loop().call_soon(answer.tell)
        return given

    def when_more(self, told: Callable[[], None] | None) -> None:
        """Call `told` whenever there is more to take or to raise; None: nobody wants to know."""
        self._answer.when_more(told)
        if told is not None and (self._early or self.complete or self._reader.failed is not None):
            asyncio.get_running_loop().call_soon(self._answer.tell)

    def stop(self) -> None:
        """Close the connection."""
        self._answer.abandon()

    def _check(self) -> None:
        """Raise why no more will come."""
        if self._reader.failed is not None:
            self.stop()
            raise self._told(self._reader.failed)
        try:
            self._answer.check()
        except ExchangeError as error:
            raise exchange_failure(error) from error

    def _end(self) -> None:
        """All came. The connection is kept if HTTP's own end follows soon; nobody waits for that."""
        if not (self.complete or self._answer.complete):
            asyncio.get_running_loop().call_later(_LINGER, self._answer.abandon)
        self.complete = True


def exchange_failure(error: ExchangeError) -> Failed:
    """What the end of an exchange says about the upstream.

    >>> exchange_failure(ExchangeError("cannot connect", sent=False)).failure
    <Failure.UNREACHABLE: 'unreachable'>
    """
    failure = Failure.CONNECTION
    if isinstance(error, PoolFull):
        failure = Failure.OVERLOADED
    elif not error.sent:
        failure = Failure.UNREACHABLE  # nothing was sent, so nothing is paid
    elif isinstance(error, TimedOut):
        failure = Failure.TIMEOUT
    elif isinstance(error, BadAnswer):
        failure = Failure.SERVER_ERROR
    return Failed(failure, error.message)
