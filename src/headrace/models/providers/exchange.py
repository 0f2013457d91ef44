"""One attempt as one HTTP exchange: the request out, the answer judged, never a broken answer as a whole one."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from headrace.core.clock import Clock
from headrace.core.errors import BadAnswer, ExchangeError, PoolFull, TimedOut, Unreachable
from headrace.http1.answer import Answer
from headrace.http1.client import Client
from headrace.http1.headers import Field
from headrace.http1.origin import Origin
from headrace.models.call import Usage
from headrace.models.dialects.errors import error_of, read_error, write_error
from headrace.models.dialects.stream import StreamReader
from headrace.models.failure import Failure, classify
from headrace.models.headers import HEADERS, NOTHING, PLACES, Limits, limits_of
from headrace.models.provider import Failed, Incoming, Whole
from headrace.models.request import Dialect, ModelRequest

_PASSED = frozenset(
    {b"content-type", b"x-request-id", b"request-id", b"openai-version", b"openai-processing-ms", b"openai-model"}
)
"""Headers of an answer that concern whoever asked. Limits and names of accounts are not theirs to see."""
_PASS = -1
_USES = {name.encode(): place for name, place in HEADERS.items()} | dict.fromkeys(_PASSED, _PASS)
"""What headers of an answer are for: the places of limits, or that they are passed on."""
_EARLY = 1024 * 1024
"""Bytes that a stream may send before its first content."""
_PLAIN = frozenset({b"content-type", b"accept", b"anthropic-version", b"openai-organization"})
"""Headers without a secret."""
_SECRET = 8
"""Shorter values are no secrets, and would be found in ordinary words."""
_GRACE = 0.1
"""Seconds after its end in which whoever asked is to end an attempt: only they know whether the call's deadline passed,
or this attempt alone took too long. After them the connection does it."""
_LINGER = 1.0
"""Seconds in which HTTP's end must follow the end mark of a stream."""


@dataclass(frozen=True, slots=True)
class Route:
    """How requests of one dialect are carried to an upstream, and their answers back.

    Attributes
    ----------
    target
        Path and query.
    encode
        The body that is sent.
    whole
        Judges an answer that is no stream: what is passed on, and what it took. Raises `Failed`.
    reader
        Makes the reader of a stream; None: there are no streams.
    refusal
        Says the body of a refusal (its status, its body) in the client's dialect.
    refuses
        Says why a request cannot be sent there; empty: it can.
    """

    target: bytes
    encode: Callable[[ModelRequest], bytes]
    whole: Callable[[bytes], tuple[bytes, Usage | None]]
    reader: Callable[[ModelRequest], StreamReader] | None
    refusal: Callable[[int, bytes], bytes] | None = None
    refuses: Callable[[ModelRequest], str] | None = None


class HttpCarrier:
    """An upstream that is reached by HTTP.

    Parameters
    ----------
    name
        Of the upstream, for messages.
    client, clock
        As in `Opening`.
    origin
        Where it is.
    headers
        Of every request.
    routes
        By dialect of the client; a dialect that is not here is refused.
    """

    def __init__(
        self,
        name: str,
        client: Client,
        clock: Clock,
        origin: Origin,
        headers: Sequence[Field],
        routes: Mapping[Dialect, Route],
    ) -> None:
        self.name = name
        self._client = client
        self._clock = clock
        self._origin = origin
        self._headers = tuple(headers)
        self._routes = dict(routes)
        plain = [(dialect, route) for dialect, route in routes.items() if route.refuses is None]
        self.takes = frozenset(
            [(dialect, False) for dialect, _ in plain]
            + [(dialect, True) for dialect, route in plain if route.reader is not None]
        )
        self._secrets = [
            value.removeprefix(b"Bearer ") for name, value in headers if name not in _PLAIN and len(value) >= _SECRET
        ]

    def refuses(self, request: ModelRequest) -> str:
        """Why it cannot take such a request; empty when it can."""
        route = self._routes.get(request.dialect)
        if route is None:
            return f"{self.name} does not speak {request.dialect.value}"
        if request.stream and route.reader is None:
            return f"{self.name} has no streams of {request.dialect.value}"
        why = route.refuses(request) if route.refuses is not None else ""
        return f"{self.name} cannot be asked for {why}" if why else ""

    async def begin(self, request: ModelRequest, until: float) -> Incoming:
        """Send it, and wait for the whole answer or the first content of a stream."""
        route = self._routes[request.dialect]
        try:
            answer = await self._client.request(
                b"POST",
                self._origin,
                route.target,
                self._headers,
                route.encode(request),
                timeout=None if until == math.inf else until - self._clock.monotonic() + _GRACE,
                resend=request.repeatable,
            )
            passed, limits = self._heads(answer)
            if answer.status >= 300:
                await self._refused(answer, route, limits)
            if not request.stream or route.reader is None:
                body, usage = route.whole(await answer.read())
                return Whole(body, usage=usage, status=answer.status, headers=passed, limits=limits)
            return await self._stream(answer, route.reader(request), passed, limits)
        except ExchangeError as error:
            raise exchange_failure(error) from error
        except Failed as failed:
            self._hide(failed)
            raise

    def _hide(self, failed: Failed) -> None:
        """Some servers repeat the key that they refuse. What failed is told to clients and to the log."""
        for secret in self._secrets:
            if secret in failed.body:
                failed.body = failed.body.replace(secret, b"***")
            text = secret.decode("latin-1")
            if text in failed.message:
                failed.message = failed.message.replace(text, "***")

    async def aclose(self) -> None:
        """The connections are the client's."""

    async def _stream(
        self, answer: Answer, reader: StreamReader, passed: Sequence[Field], limits: Limits
    ) -> IncomingStream:
        kind = answer.header(b"content-type") or b""
        if not kind.startswith(b"text/event-stream"):
            body = await answer.read()
            error = error_of(body)
            failure, message = read_error(error) if error else (Failure.SERVER_ERROR, "")
            raise Failed(failure, f"a stream was asked for, and {kind!r:.60} came: {message:.200}", body=body)
        incoming = IncomingStream(answer, reader, passed, limits)
        await incoming.begin()
        return incoming

    async def _refused(self, answer: Answer, route: Route, limits: Limits) -> NoReturn:
        """Raise what a status that is no success says."""
        body = await answer.read()
        status = answer.status
        error = error_of(body)
        failure, message = read_error(error, status) if error else (classify(status), "")
        if status < 400:  # redirects are not followed: the address in the declaration is wrong
            failure, message = Failure.MISSING, f"it redirects to {answer.header(b'location')!r:.200}"
        said = route.refusal(status, body) if route.refusal is not None else body
        message = f"{self.name} answered {status}" + (f": {message:.500}" if message else "")
        raise Failed(failure or Failure.SERVER_ERROR, message, status=status, body=said, limits=limits)

    def _heads(self, answer: Answer) -> tuple[list[Field], Limits]:
        """The headers that are passed on, and the limits that the others tell."""
        passed: list[Field] = []
        said: list[bytes | None] = []
        for field in answer.headers:
            use = _USES.get(field[0])
            if use is None:
                continue
            if use == _PASS:
                passed.append(field)
                continue
            if not said:
                said = [None] * PLACES
            said[use] = field[1]
        return passed, limits_of(said, self._clock.now()) if said else NOTHING


class IncomingStream:
    """A stream of events that comes in over HTTP."""

    __slots__ = ("_answer", "_early", "_reader", "complete", "headers", "limits", "status")

    def __init__(self, answer: Answer, reader: StreamReader, headers: Sequence[Field], limits: Limits) -> None:
        self.status = answer.status
        self.headers = headers
        self.limits = limits
        self.complete = False
        self._answer = answer
        self._reader = reader
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
            if size > _EARLY:
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
        if self.complete:
            return b""
        reader, answer = self._reader, self._answer
        piece = answer.take() if reader.failed is None else b""
        given = reader.feed(piece) if piece else b""
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
            raise self._reader.failed
        try:
            self._answer.check()
        except ExchangeError as error:
            raise exchange_failure(error) from error

    def _end(self) -> None:
        """All came. The connection is kept if HTTP's own end follows soon; nobody waits for that."""
        self.complete = True
        if not self._answer.complete:
            asyncio.get_running_loop().call_later(_LINGER, self._answer.abandon)


def said_in(dialect: Dialect) -> Callable[[int, bytes], bytes]:
    """Says refusals of another dialect in this one.

    >>> said_in(Dialect.MESSAGES)(429, b'{"error":{"message":"slow"}}')
    b'{"type":"error","error":{"type":"rate_limit_error","message":"slow"}}'
    """

    def say(status: int, body: bytes) -> bytes:
        _, message = read_error(error_of(body), status)
        return write_error(dialect, status, message or f"the upstream answered {status}")

    return say


def exchange_failure(error: ExchangeError) -> Failed:
    """What the end of an exchange says about the upstream.

    >>> exchange_failure(Unreachable("cannot connect")).failure
    <Failure.UNREACHABLE: 'unreachable'>
    """
    failure = Failure.CONNECTION
    if isinstance(error, Unreachable):
        failure = Failure.UNREACHABLE  # nothing was sent, so nothing is paid
    elif isinstance(error, TimedOut):
        failure = Failure.TIMEOUT
    elif isinstance(error, PoolFull):
        failure = Failure.OVERLOADED
    elif isinstance(error, BadAnswer):
        failure = Failure.SERVER_ERROR
    return Failed(failure, error.message)
