"""A stream on its way from a model to a client: piece by piece, as fast as the client takes it, and never whole when it
is not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Self

from headrace.core.errors import StreamBroken
from headrace.models.reply import Reply
from headrace.models.request import Dialect
from headrace.server.gateway.refusal import broken


class Relay:
    """The body of a streamed answer.

    1. Each piece of the reply is passed on as it came; the next is asked for when the client took it (backpressure).
    2. Where the reply breaks off, an `error` event in the client's dialect follows, and then the same exception: the
       connection is closed without the last chunk. Libraries that know the event raise; all others see a broken body.
    3. When the client is gone the connection closes the relay, and that cancels the call at its upstream.

    `ended` is called once: with the error where it broke off, and with whether the client got all of it. Where it is
    neither, the client left before the end.
    """

    __slots__ = ("_dialect", "_ended", "_error", "_reply")

    def __init__(self, reply: Reply, dialect: Dialect, ended: Callable[[StreamBroken | None, bool], None]) -> None:
        self._reply = reply
        self._dialect = dialect
        self._ended: Callable[[StreamBroken | None, bool], None] | None = ended
        self._error: StreamBroken | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """The next piece; raises `StreamBroken` after the event that says so."""
        if self._error is not None:
            raise self._error
        try:
            return await self._reply.__anext__()
        except StopAsyncIteration:
            self._end(None, True)
            raise
        except StreamBroken as error:
            return self._break(error)

    async def aclose(self) -> None:
        """Nobody asks for more."""
        self._end(None, False)
        await self._reply.aclose()

    def _break(self, error: StreamBroken) -> bytes:
        """The event that says so; the exception follows."""
        self._error = error
        self._end(error, False)
        return broken(error).event(self._dialect)

    def _end(self, error: StreamBroken | None, whole: bool) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            ended(error, whole)


class FlowingRelay(Relay):
    """The same for a reply that flows: a `Flow`, of which each piece is passed on in the call that brings it."""

    complete = False
    """Whether all of it is taken."""
    _reply: Any
    _told: Callable[[], None] | None = None

    def take(self) -> bytes:
        """What is there; nothing, perhaps."""
        if self._error is not None:
            return b""
        try:
            piece: bytes = self._reply.take()
        except StreamBroken as error:
            event = self._break(error)
            self._tell()
            return event
        if self._reply.complete:
            self.complete = True
            self._end(None, True)
        return piece

    def check(self) -> None:
        """Raises `StreamBroken` after the event that says so."""
        if self._error is not None:
            raise self._error

    def when_more(self, told: Callable[[], None] | None) -> None:
        """Call `told` whenever there is more to take or to raise; None: nobody wants to know."""
        self._reply.when_more(told)
        self._told = told
        if self._error is not None:
            self._tell()

    def _tell(self) -> None:
        """The exception that follows the event is more, too."""
        if self._told is not None:
            asyncio.get_running_loop().call_soon(self._told)


def relay(reply: Reply, dialect: Dialect, ended: Callable[[StreamBroken | None, bool], None]) -> Relay:
    """The body of a streamed answer."""
    kind = FlowingRelay if getattr(reply, "flows", False) else Relay
    return kind(reply, dialect, ended)
