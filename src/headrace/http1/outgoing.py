"""An answer on its way: the head, how the end of the body is marked, and whether it came to that end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from typing import Any, Protocol, cast

from headrace.core.errors import Misuse
from headrace.http1.headers import STATUS_LINES, trailers, write
from headrace.http1.incoming import Flow
from headrace.http1.request import Request
from headrace.http1.response import Response

_BODILESS = frozenset({204, 205, 304})


def bodiless(request: Request, response: Response) -> bool:
    """Whether the answer ends with its head, whatever the handler gave."""
    return request.method == b"HEAD" or response.status in _BODILESS


def whole(request: Request, response: Response, body: bytes, date: bytes, *, close: bool) -> bytes:
    """All bytes of an answer whose body is there."""
    status = response.status
    if request.method == b"HEAD" or status in _BODILESS:
        length = len(body) if response.length is None else response.length
        return _head(response, b"" if status in (204, 304) else b"content-length: %d\r\n" % length, date, close)
    if response.length is not None and response.length != len(body):
        raise Misuse(f"the body has {len(body)} bytes, and its length was given as {response.length}")
    last = b"%bcontent-length: %d\r\n%b%b" % (
        response.lines,
        len(body),
        date,
        b"connection: close\r\n" if close else b"",
    )
    return write(STATUS_LINES[status], response.headers, last, body)


def _head(response: Response, framing: bytes, date: bytes, close: bool) -> bytes:
    last = response.lines + framing + date + (b"connection: close\r\n" if close else b"")
    return write(STATUS_LINES[response.status], response.headers, last)


class Outlet(Protocol):
    """Where an answer is written: the connection.

    Attributes
    ----------
    blocked
        Whether the client takes less than is written.
    """

    blocked: bool

    def write(self, data: bytes) -> None:
        """Write; each call is a system call."""
        ...

    async def drained(self) -> None:
        """Wait until the client has taken what was written."""
        ...


class Stream:
    """Writes one streamed answer, piece by piece.

    Attributes
    ----------
    begun
        Whether the head is written.
    marked
        Whether the end of the body can be told from a broken connection: by length or by the last chunk.
    """

    def __init__(self, request: Request, response: Response) -> None:
        self._request = request
        self._response = response
        self._silent = bodiless(request, response)
        self._outlet: Outlet = cast("Outlet", None)
        self._flow: Flow = cast("Flow", None)
        self._waiting: asyncio.Future[bool] = cast("asyncio.Future[bool]", None)
        self._left = response.length
        self._chunked = response.length is None and request.version == "1.1" and not self._silent
        self.begun = False
        self.marked = self._silent or self._chunked or response.length is not None

    async def run(self, outlet: Outlet, date: bytes, *, close: bool) -> None:
        """Write all of it, as fast as the client takes it. Raises what the stream raises."""
        body = self._response.body
        self._outlet = outlet
        try:
            head = _head(self._response, self._framing(), date, close)
            if hasattr(body, "when_more") and not self._silent:
                self._flow = cast("Flow", body)
                await self._pass_on(head)
                return
            self.begun = True
            outlet.write(head)
            if not self._silent:
                await self._pieces(cast("AsyncIterable[bytes]", body))
        finally:
            await _close(body)

    def _framing(self) -> bytes:
        if self._response.status in (204, 304):
            return b""
        if self._chunked:
            return b"transfer-encoding: chunked\r\n"
        return b"" if self._left is None else b"content-length: %d\r\n" % self._left

    async def _pass_on(self, head: bytes) -> None:
        """Write `head`, and a body that flows: each piece within the call that brings it, without a task that wakes."""
        loop, flow = asyncio.get_running_loop(), self._flow
        self._waiting = loop.create_future()
        self._more(head)
        while not (self._waiting.done() and self._waiting.result()):
            if self._outlet.blocked:
                await self._outlet.drained()
            self._waiting = loop.create_future()
            flow.when_more(self._more)
            try:
                await self._waiting
            finally:
                flow.when_more(None)

    def _more(self, head: bytes = b"") -> None:
        """Write what is there. The task wakes for the end, for what is wrong, and to wait for the client.

        Each write is a system call, so all of it goes into one.
        """
        if self._waiting.done():  # it wakes already, or was cancelled
            return
        try:
            data, piece = head, self._flow.take()
            if piece:
                if self._chunked:
                    data += b"%x\r\n%b\r\n" % (len(piece), piece)
                else:
                    self._count(piece)
                    data += piece
            ended = self._flow.complete
            if ended:
                data += self._end()
            elif not piece:
                self._flow.check()  # before the head is out, it can still become an answer that says so
            if data:
                self.begun = True
                self._outlet.write(data)
            if ended or self._outlet.blocked:
                self._waiting.set_result(ended)
        # The boundary to the body: whatever it raises is raised in the task, and not at whoever brought the bytes.
        except Exception as error:
            self._waiting.set_exception(error)

    async def _pieces(self, body: AsyncIterable[bytes]) -> None:
        chunked, outlet = self._chunked, self._outlet
        async for piece in body:
            if chunked:
                if not piece:  # an empty chunk would end the body
                    continue
                outlet.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            else:
                self._count(piece)
                outlet.write(piece)
            if outlet.blocked:
                await outlet.drained()
        end = self._end()
        if end:
            outlet.write(end)

    def _end(self) -> bytes:
        """What follows the last piece."""
        if self._chunked:
            return trailers(self._response.trailers() if self._response.trailers else ())
        if self._left:
            raise Misuse(f"the stream ended {self._left} bytes before the length that was given")
        return b""

    def _count(self, piece: bytes) -> None:
        if self._left is not None:
            self._left -= len(piece)
            if self._left < 0:
                raise Misuse(f"the stream is {-self._left} bytes longer than the length that was given")


async def _close(body: Any) -> None:
    """Let a generator, or an answer of another server, know that nobody asks for more."""
    close = getattr(body, "aclose", None)
    if close is not None:
        await close()
