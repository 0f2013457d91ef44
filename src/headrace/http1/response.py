"""What a handler answers: bytes, or a stream of them."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Sequence

import msgspec
from msgspec import Struct

from headrace.core.problems import PREFIX
from headrace.http1.headers import Field, Fields
from headrace.http1.incoming import Flow
from headrace.http1.request import Request


class Response(Struct, eq=False):
    """An answer.

    Attributes
    ----------
    status
        200 to 599.
    headers
        Without those of the framing (`content-length`, `transfer-encoding`, `connection`): they are written for you.
    body
        Bytes, or an async iterable of bytes: each piece is on its way when the next is asked for. Or a `Flow`: each
        piece is written in the call that brings it. It is closed (`aclose`) when the client is gone or the answer has
        ended, if it can be.
    length
        The length of a stream, if it is known: the client gets `content-length`, and a stream that gives more or less
        breaks the connection. Without it a stream is chunked. For HEAD, the length that GET would have.
    trailers
        Called when a chunked stream has ended; its fields follow the body.
    lines
        More of the head, written already: each line with its CRLF. They are trusted; `headers` are judged.
    """

    status: int = 200
    headers: Fields = ()
    body: bytes | AsyncIterable[bytes] | Flow = b""
    length: int | None = None
    trailers: Callable[[], Sequence[Field]] | None = None
    lines: bytes = b""


class Later(Struct, eq=False):
    """An answer that is given by a call, so that no task has to wait for it.

    Attributes
    ----------
    left
        Called when nobody waits for the answer any more, if it was not given by then.
    response
        The answer, once it was given.

    Examples
    --------
    >>> later = Later(lambda: None)
    >>> later.when_given(lambda response: print(response.status))
    >>> later.give(Response(204))
    204
    """

    left: Callable[[], None]
    response: Response | None = None
    _told: Callable[[Response], None] | None = None

    def give(self, response: Response) -> None:
        """This is the answer. Once; before somebody waits for it, or after."""
        self.response = response
        if self._told is not None:
            self._told(response)

    def when_given(self, told: Callable[[Response], None]) -> None:
        """Call `told` with the answer, which is not there yet."""
        self._told = told


class Reset(Exception):
    """Raised by a handler, or by a stream: the connection is reset (TCP RST), whatever of the answer was sent.

    For servers that fail on purpose.
    """


Handler = Callable[[Request], "Response | Later | Awaitable[Response]"]
"""Answers a request: a coroutine function, or a plain function, whose answer is there or given later.

What it returns to be awaited may never be: see `let_go`.
"""

Refuse = Callable[[int, str, Request], Response]
"""Renders what the connection itself answers: a status, what is wrong, and the request as far as it was read.

The target of a request of which nothing was read is empty.
"""


def let_go(answer: Awaitable[Response]) -> None:
    """Close what a handler returned, where its client left before anything of it ran.

    A coroutine then ends without a warning; a handler that holds something by then returns an awaitable with a `close`
    of its own.

    >>> async def handler(request):
    ...     return Response(204)
    >>> let_go(handler(None))
    """
    close = getattr(answer, "close", None)
    if close is not None:
        close()


def problem(status: int, detail: str, _request: Request | None = None) -> Response:
    """A refusal as a problem document (RFC 9457).

    >>> problem(413, "too long").body
    b'{"type":"...","title":"The request is refused","status":413,"detail":"too long"}'
    """
    document = {
        "type": PREFIX + ("internal" if status >= 500 else "bad-request"),
        "title": "The request failed" if status >= 500 else "The request is refused",
        "status": status,
        "detail": detail,
    }
    return Response(status, [(b"content-type", b"application/problem+json")], msgspec.json.encode(document))
