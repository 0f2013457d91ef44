"""An HTTP/1.1 client: one request, one answer, under clocks, over connections that are kept.

    async with Client() as client:
        origin = Origin.parse("http://127.0.0.1:8000")
        answer = await client.request(b"POST", origin, b"/v1/chat/completions", headers, body, timeout=4.0)
        async for piece in answer: ...

A request is sent once. Only when a kept connection turns out to be closed, with not a byte of the answer received, and
the request may be repeated (its method is idempotent, or the caller says so), is it sent again, on a new connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from collections.abc import AsyncIterable
from types import TracebackType
from typing import Any

from headrace.core.errors import ExchangeError, Interrupted, Misuse
from headrace.http1 import headers as fields
from headrace.http1.answer import Answer
from headrace.http1.batch import Batch
from headrace.http1.headers import Field, Fields
from headrace.http1.limits import ClientLimits
from headrace.http1.link import NEVER, Link, Told
from headrace.http1.origin import Origin
from headrace.http1.outbox import Outbox
from headrace.http1.pool import Pool

IDEMPOTENT = frozenset({b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"QUERY"})
"""Methods whose request may be sent again (RFC 9110, 9.2.2)."""

_METHODS = IDEMPOTENT | {b"POST", b"PATCH"}
_TARGET = re.compile(rb"[/*][\x21-\x22\x24-\x7e]*")
_KNOWN: set[bytes] = set()
_MANY_TARGETS = 1024
_LONG_TARGET = 256
_MANY_BEGINS = 256
_SENDS_BODY = frozenset({b"POST", b"PUT", b"PATCH", b"QUERY"})


class Client:
    """Connections to any number of origins. Belongs to the event loop that first used it.

    Parameters
    ----------
    limits
        Bounds per origin and per answer.
    tls
        For `https` origins; the system's trust store if not given. HTTP/1.1 only: it must not offer other protocols.
    """

    def __init__(self, limits: ClientLimits | None = None, *, tls: ssl.SSLContext | None = None) -> None:
        self.limits = limits or ClientLimits()
        self._tls = tls
        self._pools: dict[Origin, Pool] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._outbox: Outbox | None = None
        self._answered = Batch(Link.deliver)
        self._reaper: asyncio.TimerHandle | None = None
        self._uploads: set[asyncio.Task[None]] = set()
        self._closed = False
        self._begins: dict[tuple[bytes, Origin, tuple[Field, ...]], bytes] = {}

    async def request(
        self,
        method: bytes,
        origin: Origin,
        target: bytes,
        headers: Fields = (),
        body: bytes | AsyncIterable[bytes] = b"",
        *,
        length: int | None = None,
        timeout: float | None = None,
        first_byte: float | None = None,
        idle: float | None = None,
        resend: bool | None = None,
        fresh: bool = False,
    ) -> Answer:
        """Send a request and wait for the head of its answer. Cancelled, it closes the connection.

        Parameters
        ----------
        method, target
            `b"POST"`, `b"/v1/models?limit=2"` (percent-encoded).
        headers
            Names in lower case; `host`, `content-length`, `transfer-encoding` and `connection` are written for you
            (a `host` that is given is kept).
        body, length
            Bytes, or a stream of them: chunked, unless its length is told.
        timeout
            Seconds for everything, from now to the end of the body: one absolute deadline.
        first_byte
            Seconds from the request's last byte to the head of the answer.
        idle
            Seconds between two pieces of the body; time in which the caller does not read does not count.
        resend
            Whether the request may be sent twice; by default, whether its method is idempotent. Streams never are.
        fresh
            Not on a connection that was idle: what is sent again because one of them was closed.

        Raises
        ------
        ExchangeError
            One of its kinds; `sent`, `received` and `reused` say how far it came.
        Misuse
            The request cannot be written as HTTP/1.1.
        """
        now = (self._loop or self._begin()).time()
        deadline = NEVER if timeout is None else now + timeout
        if isinstance(headers, tuple) and isinstance(body, bytes) and method == b"POST":
            data = self._post(origin, target, headers, body)
        else:
            data = _message(method, origin, target, headers, body, length)
        pool = self._pools.get(origin) or self._pool(origin)
        link = await pool.fresh(deadline) if fresh else pool.take(now) or await pool.acquire(deadline)
        gaps = (NEVER if first_byte is None else first_byte, NEVER if idle is None else idle)
        if not isinstance(body, bytes):
            return await self._upload(link, data, body, length, deadline, gaps)
        try:
            return await _exchange(link, data, method, deadline, gaps)
        except Interrupted as error:
            may = resend if resend is not None else method in IDEMPOTENT
            if not (may and unheard(error)):
                raise
        try:
            link = await pool.fresh(deadline)
        except ExchangeError as error:
            error.sent = True  # by the first attempt
            raise
        return await _exchange(link, data, method, deadline, gaps)

    def post(
        self, origin: Origin, target: bytes, headers: tuple[Field, ...], body: bytes, told: Told, timeout: float | None
    ) -> Link | None:
        """The same for a POST, at once and without a task, where a connection is idle; None: there is none.

        `told` hears the head of the answer, or the `ExchangeError`, and never before this returns. `Link.drop` cancels
        it. Nothing is sent twice: where `unheard` says that it may be, that is `request(..., fresh=True)`.
        """
        now = (self._loop or self._begin()).time()
        pool = self._pools.get(origin)
        link = None if pool is None else pool.take(now)
        if link is not None:
            data = self._post(origin, target, headers, body)
            link.ask(data, now, NEVER if timeout is None else now + timeout, told)
        return link

    async def aclose(self) -> None:
        """Close all connections; exchanges that run fail."""
        self._closed = True
        if self._reaper is not None:
            self._reaper.cancel()
        for pool in self._pools.values():
            pool.close()
        for upload in list(self._uploads):
            upload.cancel()
        # A transport tells its protocol in the loop's next turn.
        while any(pool.open for pool in self._pools.values()):
            await asyncio.wait([asyncio.ensure_future(_turn())])

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def connections(self) -> dict[str, tuple[int, int, int]]:
        """By origin: connections open, of them idle, and requests that wait for one."""
        return {str(origin): (pool.open, pool.idle, pool.waiting) for origin, pool in self._pools.items()}

    async def _upload(
        self,
        link: Link,
        head: bytes,
        body: AsyncIterable[bytes],
        length: int | None,
        deadline: float,
        gaps: tuple[float, float],
    ) -> Answer:
        """The body goes out beside the wait for the answer, which may come before its end (413, 401)."""
        asked = link.head(head, False, False, deadline, *gaps)
        upload = asyncio.ensure_future(_pour(link, body, length))
        self._uploads.add(upload)
        upload.add_done_callback(self._uploads.discard)
        try:
            return await asked
        except BaseException:
            link.abort()
            upload.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await upload
            raise

    def _post(self, origin: Origin, target: bytes, headers: tuple[Field, ...], body: bytes) -> bytes:
        """The same message as `_message` writes. Callers of an API have few heads, which differ only in the length."""
        key = (target, origin, headers)
        begin = self._begins.get(key)
        if begin is None:
            head = _message(b"POST", origin, target, headers, b"", None)
            begin = head.removesuffix(b"0\r\n\r\n")
            if len(self._begins) < _MANY_BEGINS:
                self._begins[key] = begin
        return b"%b%d\r\n\r\n%b" % (begin, len(body), body)

    def _pool(self, origin: Origin) -> Pool:
        tls = (self._tls or _default_tls()) if origin.scheme == "https" else None
        loop = asyncio.get_running_loop()
        self._outbox = self._outbox or Outbox(loop)
        pool = self._pools[origin] = Pool(origin, self.limits, loop, tls, self._outbox, self._answered)
        return pool

    def _begin(self) -> asyncio.AbstractEventLoop:
        if self._closed:
            raise Misuse("the client is closed", hint="make a new one")
        self._loop = asyncio.get_running_loop()
        self._reap()
        return self._loop

    def _reap(self) -> None:
        if self._loop is not None:
            for pool in self._pools.values():
                pool.expire(self._loop.time())
            self._reaper = self._loop.call_later(max(self.limits.idle_timeout / 2, 0.05), self._reap)


def unheard(error: ExchangeError) -> bool:
    """Whether a kept connection turned out to be closed, with not a byte of the answer received."""
    return isinstance(error, Interrupted) and error.reused and error.received == 0


async def _exchange(link: Link, data: bytes, method: bytes, deadline: float, gaps: tuple[float, float]) -> Answer:
    asked = link.head(data, method == b"HEAD", True, deadline, *gaps)
    try:
        return await asked
    except asyncio.CancelledError:
        if asked.cancelled():
            link.abort()
        elif asked.exception() is None:  # it came in the same turn, and the connection may be another's by now
            asked.result().abandon()
        raise


async def _turn() -> None:
    """One turn of the event loop."""


def _message(
    method: bytes,
    origin: Origin,
    target: bytes,
    headers: Fields,
    body: bytes | AsyncIterable[bytes],
    length: int | None,
) -> bytes:
    """The request, or its head where the body is a stream."""
    if method not in _METHODS:
        raise Misuse(f"the method {method!r:.40} is not sent", hint=f"one of {b' '.join(sorted(_METHODS)).decode()}")
    if target not in _KNOWN:
        _learn(target)
    if isinstance(body, bytes):
        framing = b"content-length: %d\r\n" % len(body) if body or method in _SENDS_BODY else b""
    else:
        framing = b"transfer-encoding: chunked\r\n" if length is None else b"content-length: %d\r\n" % length
    whole = body if isinstance(body, bytes) else b""
    if fields.find(headers, b"host") is None:
        line = b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (method, target, origin.authority)
    else:
        line = b"%b %b HTTP/1.1\r\n" % (method, target)
    return fields.write(line, headers, framing, whole)


def _learn(target: bytes) -> None:
    """Judge a target; those of an API are few, and come again with each request."""
    if _TARGET.fullmatch(target) is None:
        raise Misuse(f"{target!r:.100} is no target", hint="a path, percent-encoded, without a fragment")
    if len(_KNOWN) < _MANY_TARGETS and len(target) < _LONG_TARGET:
        _KNOWN.add(target)


async def _pour(link: Link, body: AsyncIterable[bytes], length: int | None) -> None:
    """Write a request's body. When its source fails, so does the exchange: nobody must take what came for all of it."""
    left = length
    try:
        async for piece in body:
            if not piece:
                continue
            if left is not None:
                left -= len(piece)
                if left < 0:
                    raise Misuse(f"the request's body is {-left} bytes longer than the length that was given")
            link.write(piece if left is not None else b"%x\r\n%b\r\n" % (len(piece), piece))
            if link.blocked:
                await link.drained()
            if not link.usable:
                return
        if left:
            raise Misuse(f"the request's body ended {left} bytes before the length that was given")
        if left is None:
            link.write(b"0\r\n\r\n")
        link.sent()
    # The boundary to the caller's stream: its error is told as the cause of the exchange's.
    except Exception as error:
        failure: ExchangeError = ExchangeError(f"the request's body could not be sent: {error}")
        failure.__cause__ = error
        link.fail(failure)
    finally:
        close: Any = getattr(body, "aclose", None)
        if close is not None:
            await close()


def _default_tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
