"""An answer on its way: the head, how the end of the body is marked, and whether it came to that end."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable
from typing import Any, cast

from headrace.core.errors import Misuse
from headrace.http1 import headers
from headrace.http1.incoming import Incoming
from headrace.http1.request import Request
from headrace.http1.response import Response

_BODILESS = frozenset({204, 205, 304})


def bodiless(request: Request, response: Response) -> bool:
    """Whether the answer ends with its head, whatever the handler gave."""
    return request.method == b"HEAD" or response.status in _BODILESS


def whole(request: Request, response: Response, body: bytes, date: bytes, *, close: bool) -> bytes:
    """All bytes of an answer whose body is there."""
    if request.method == b"HEAD" or response.status in _BODILESS:
        length = len(body) if response.length is None else response.length
        head = _head(
            response, b"" if response.status in (204, 304) else b"content-length: %d\r\n" % length, date, close
        )
        return head
    if response.length is not None and response.length != len(body):
        raise Misuse(f"the body has {len(body)} bytes, and its length was given as {response.length}")
    last = b"content-length: %d\r\n%b%b" % (len(body), date, b"connection: close\r\n" if close else b"")
    return headers.write(headers.status_line(response.status), response.headers, last, body)


def _head(response: Response, framing: bytes, date: bytes, close: bool) -> bytes:
    last = b"%b%bconnection: close\r\n" % (framing, date) if close else framing + date
    return headers.write(headers.status_line(response.status), response.headers, last)


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
        self._left = response.length
        self._chunked = response.length is None and request.version == "1.1" and not self._silent
        self.begun = False
        self.marked = self._silent or self._chunked or response.length is not None

    async def run(
        self, write: Callable[[bytes], None], drained: Callable[[], Awaitable[None] | None], date: bytes, *, close: bool
    ) -> None:
        """Write all of it; `drained` is asked after each piece whether to wait. Raises what the stream raises."""
        body = cast("AsyncIterable[bytes]", self._response.body)
        try:
            head = _head(self._response, self._framing(), date, close)
            if isinstance(body, Incoming) and not self._silent:
                await self._relay(head, body, write, drained)
                return
            self.begun = True
            write(head)
            if not self._silent:
                await self._pieces(body, write, drained)
        finally:
            await _close(body)

    def _framing(self) -> bytes:
        if self._response.status in (204, 304):
            return b""
        if self._chunked:
            return b"transfer-encoding: chunked\r\n"
        return b"" if self._left is None else b"content-length: %d\r\n" % self._left

    async def _pieces(
        self, body: AsyncIterable[bytes], write: Callable[[bytes], None], drained: Callable[[], Awaitable[None] | None]
    ) -> None:
        chunked = self._chunked
        async for piece in body:
            if chunked:
                if not piece:  # an empty chunk would end the body
                    continue
                write(b"%x\r\n%b\r\n" % (len(piece), piece))
            else:
                self._count(piece)
                write(piece)
            waiting = drained()
            if waiting is not None:
                await waiting
        end = self._end()
        if end:
            write(end)

    async def _relay(
        self, head: bytes, body: Incoming, write: Callable[[bytes], None], drained: Callable[[], Awaitable[None] | None]
    ) -> None:
        """Pass on a body that comes in: each write is a system call, so all that is there goes into one."""
        data = head
        while True:
            piece = body.take()
            if piece and self._chunked:
                data += b"%x\r\n%b\r\n" % (len(piece), piece)
            elif piece:
                self._count(piece)
                data += piece
            body.check()
            ended = body.complete
            if ended:
                data += self._end()
            if data:
                self.begun = True
                write(data)
            if ended:
                return
            data = b""
            waiting = drained()
            if waiting is not None:
                await waiting
            await body.wait()

    def _end(self) -> bytes:
        """What follows the last piece."""
        if self._chunked:
            return headers.trailers(self._response.trailers() if self._response.trailers else ())
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
