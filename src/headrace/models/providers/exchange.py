"""One attempt as one HTTP exchange: the request out, the answer judged, never a broken answer as a whole one."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn
from urllib.parse import urljoin

from msgspec import Struct

from headrace.core.clock import Clock
from headrace.core.errors import ExchangeError
from headrace.http1.answer import Answer
from headrace.http1.client import Client, unheard
from headrace.http1.headers import Field
from headrace.http1.link import Link
from headrace.http1.origin import Origin
from headrace.models.call import Usage
from headrace.models.dialects.errors import error_of, read_error, write_error
from headrace.models.dialects.stream import StreamReader
from headrace.models.failure import Failure, classify
from headrace.models.headers import HEADERS, NOTHING, PLACES, Limits, limits_of
from headrace.models.provider import Failed, Incoming, Whole
from headrace.models.providers.body import DROPPED, listed
from headrace.models.providers.incoming import IncomingStream, exchange_failure
from headrace.models.request import Dialect, ModelRequest

_PASSED = frozenset(
    {b"content-type", b"x-request-id", b"request-id", b"openai-version", b"openai-processing-ms", b"openai-model"}
)
"""Headers of an answer that concern whoever asked. Limits and names of accounts are not theirs to see."""
_PASS = -1
_USES = {name.encode(): place for name, place in HEADERS.items()} | dict.fromkeys(_PASSED, _PASS)
"""What headers of an answer are for: the places of limits, or that they are passed on."""
_PLAIN = frozenset({b"content-type", b"accept", b"accept-encoding", b"anthropic-version", b"openai-organization"})
"""Headers without a secret."""
_SECRET = 8
"""Shorter values are no secrets, and would be found in ordinary words."""
_KEY = r"(?<![A-Za-z0-9])(?:sk-|gsk_|xai-|hf_)[A-Za-z0-9_*.-]{6,}"
_KEY_IN_TEXT, _KEY_IN_BODY = re.compile(_KEY), re.compile(_KEY.encode())
"""What looks like a key of a provider, or like a part of one: providers shorten those that they repeat."""
_PLAINLY = "have the server, or the proxy before it, send it as it is"
_SHOWN = 200
"""Bytes of a body that are logged where it is no error of an API."""
_PATHS = ("/chat/completions", "/responses", "/embeddings", "/messages")
"""What follows the declared address of an upstream; nothing where that is the whole address."""
_GRACE = 0.1
"""Seconds after its end in which whoever asked is to end an attempt: only they know whether the call's deadline passed,
or this attempt alone took too long. After them the connection does it."""


@dataclass(frozen=True, slots=True)
class Route:
    """How requests of one dialect are carried to an upstream, and their answers back.

    Attributes
    ----------
    target
        Path and query.
    encode
        The body that is sent.
    check
        Judges an answer that is no stream: what it took. Raises `Failed`.
    reader
        Makes the reader of a stream; None: there are no streams.
    translate
        Says an answer that is no stream in the client's dialect; None: it is passed on as it came.
    refusal
        Says the body of a refusal (its status, its body) in the client's dialect.
    refuses
        Says why a request cannot be sent there; empty: it can.
    lost
        Names the members of a request that a translation leaves out.
    """

    target: bytes
    encode: Callable[[ModelRequest], bytes]
    check: Callable[[bytes], Usage | None]
    reader: Callable[[ModelRequest], StreamReader] | None
    translate: Callable[[bytes], bytes] | None = None
    refusal: Callable[[int, bytes], bytes] | None = None
    refuses: Callable[[ModelRequest], str] | None = None
    lost: Callable[[Mapping[str, Any]], Sequence[str]] | None = None

    def told(self, request: ModelRequest, passed: list[Field]) -> list[Field]:
        """The headers of an answer that are passed on, with what was left out of its request."""
        names = list(self.lost(request.document)) if self.lost is not None else []
        if request.beta and self.translate is not None:
            names.append(request.dialect.beta.decode())
        return [*passed, (DROPPED, listed(names))] if names else passed


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
        self.client = client
        self._clock = clock
        self.origin = origin
        self.headers = tuple(headers)
        self._routes = dict(routes)
        plain = [(dialect, route) for dialect, route in routes.items() if route.refuses is None]
        self.takes = frozenset(
            [(dialect, False) for dialect, _ in plain]
            + [(dialect, True) for dialect, route in plain if route.reader is not None]
        )
        self._tasks: set[asyncio.Task[None]] = set()
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
        return f"{self.name} {why}" if why else ""

    async def begin(self, request: ModelRequest, until: float) -> Incoming:
        """Send it, and wait for the whole answer or the first content of a stream."""
        return await self.ask(request, until)

    def start(
        self, request: ModelRequest, until: float, told: Callable[[Incoming | Exception], None]
    ) -> Callable[[], None]:
        """The same, without a task as long as a connection is idle; see `Starter`."""
        route = self._routes[request.dialect]
        sent = _Sent(self, request, route, until, told)
        body, left = route.encode(request), until - self._clock.monotonic() + _GRACE
        headers = self._fields(request, route) if request.beta else self.headers
        sent.link = self.client.post(self.origin, route.target, headers, body, sent.answered, left)
        if sent.link is None:
            sent.wait(partial(self.ask, request, until, body))
        return sent.stop

    async def ask(
        self, request: ModelRequest, until: float, body: bytes | None = None, *, fresh: bool = False
    ) -> Incoming:
        """As `begin`.

        Parameters
        ----------
        body
            The request as it is sent, if it was encoded.
        fresh
            For the second time, so not on a connection that was idle, and not a third time.
        """
        route = self._routes[request.dialect]
        try:
            answer = await self.client.request(
                b"POST",
                self.origin,
                route.target,
                self._fields(request, route) if request.beta else self.headers,
                route.encode(request) if body is None else body,
                timeout=until - self._clock.monotonic() + _GRACE,
                resend=request.repeatable and not fresh,
                fresh=fresh,
            )
            return await self.receive(request, route, answer)
        except (ExchangeError, Failed) as error:
            raise self.failure(error) from error

    def _fields(self, request: ModelRequest, route: Route) -> tuple[Field, ...]:
        """The headers of a request that wants features in beta: to those declared come its own, in its own dialect."""
        if route.translate is not None:
            return self.headers
        beta = request.dialect.beta
        said = [value for name, value in self.headers if name == beta] + [request.beta]
        features = dict.fromkeys(filter(None, (one.strip() for one in b",".join(said).split(b","))))
        others = (field for field in self.headers if field[0] != beta)
        return (*others, (beta, b",".join(features)))

    async def receive(self, request: ModelRequest, route: Route, answer: Answer) -> Incoming:
        """What an answer is, once its head is there."""
        if answer.status >= 300:
            await self._refused(answer, route)
        if not request.stream or route.reader is None:
            return self.whole(request, route, answer, await answer.read())
        return await self._stream(request, route, answer, route.reader(request))

    def whole(self, request: ModelRequest, route: Route, answer: Answer, body: bytes) -> Whole:
        """An answer of which all is here. Raises `Failed` where it is none."""
        passed, limits = self._heads(answer)
        try:
            usage = route.check(body)
        except Failed as failed:
            raise _compressed(answer) or failed from None
        if route.translate is not None:
            body, passed = translated(route.translate, body), route.told(request, passed)
        return Whole(body, usage, answer.status, passed, limits)

    def failure(self, error: ExchangeError | Failed) -> Failed:
        """How an attempt failed, as the router is told; no secret of ours is in it."""
        if isinstance(error, ExchangeError):
            return exchange_failure(error)
        self._hide(error)
        return error

    def _hide(self, failed: Failed) -> None:
        """Some servers repeat the key that they refuse, or a part. What failed is told to clients and to the log."""
        failed.body = self._masked(failed.body)
        failed.message = self._clean(failed.message)
        failed.said = self._clean(failed.said)

    def _masked(self, body: bytes) -> bytes:
        """What an upstream said of an error, without secrets."""
        for secret in self._secrets:
            body = body.replace(secret, b"***")
        return _KEY_IN_BODY.sub(b"***", body)

    def _clean(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret.decode("latin-1"), "***")
        return _KEY_IN_TEXT.sub("***", text)

    def run(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Run what an attempt waits for in a task; `aclose` waits for those that are left."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def aclose(self) -> None:
        """End what attempts wait for. The connections are the client's."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _stream(
        self, request: ModelRequest, route: Route, answer: Answer, reader: StreamReader
    ) -> IncomingStream:
        kind = (answer.header(b"content-type") or b"").decode("latin-1")
        if not kind.lower().startswith("text/event-stream"):
            body = self._masked(await answer.read())
            if compressed := _compressed(answer):
                raise compressed
            error = error_of(body)
            failure, message = read_error(error) if error else (Failure.SERVER_ERROR, "")
            came = f"{kind!r:.60}" if kind else "an answer without a type"
            told = message or _shown(body)
            said = f": {told:.200}" if told else ""
            raise Failed(failure, f"a stream was asked for, and {came} came{said}", body=body, said=message)
        passed, limits = self._heads(answer)
        incoming = IncomingStream(answer, reader, route.told(request, passed), limits, self.failure)
        try:
            await incoming.begin()
        except Failed as failed:
            raise _compressed(answer) or failed from None
        return incoming

    async def _refused(self, answer: Answer, route: Route) -> NoReturn:
        """Raise what a status that is no success says."""
        body = self._masked(await answer.read())  # before anything of it is cut off
        status = answer.status
        error = error_of(body)
        failure, message = read_error(error, status) if error else (classify(status), "")
        if status < 400:
            failure, message = Failure.MISSING, self._redirected(answer, route)
        compressed = _compressed(answer)
        if compressed is not None and not error:
            body, message = b"", compressed.message
        elif not message:
            message = _shown(body)
            if failure is Failure.MISSING and not error:  # of an API, it would say what is missing
                message = f"{message}; is its url right?"
        message = f"{self.name} answered {status}" + (f": {message:.500}" if message else "")
        if route.refusal is not None:
            body = route.refusal(status, body) if error else b""
        _, limits = self._heads(answer)
        raise Failed(failure or Failure.SERVER_ERROR, message, status=status, body=body, limits=limits)

    def _redirected(self, answer: Answer, route: Route) -> str:
        """What to do about a redirect. None is followed: the address in the declaration is wrong."""
        location = (answer.header(b"location") or b"").decode("latin-1")
        if not location:
            return "a redirect that does not say where to"
        # What stands in a query may be a secret.
        here = f"{self.origin}{route.target.decode()}".partition("?")[0]
        there = urljoin(here, location).partition("?")[0]
        end = next((path for path in _PATHS if here.endswith(path)), "")
        advice = f"set its url to {there.removesuffix(end)!r:.200}" if there.endswith(end) else "is its url right?"
        return f"it redirects to {there!r:.200}, and redirects are not followed: {advice}"

    def _heads(self, answer: Answer) -> tuple[list[Field], Limits]:
        """The headers that are passed on, and the limits that the others tell."""
        sorting: _Sorting | None = answer.facts.get(HttpCarrier)
        if sorting is None:
            sorting = answer.facts[HttpCarrier] = _sorting(answer)
        passed, said = sorting.passed, sorting.said
        values = answer.values
        if sorting.passing:
            passed = passed.copy()
            for place, name, which in sorting.passing:
                passed[place] = (name, values[which])
        if not said:
            return passed, NOTHING
        if sorting.saying:
            said = said.copy()
            for place, which in sorting.saying:
                said[place] = values[which]
        return passed, limits_of(said, self._clock.now())


class _Sorting(Struct, frozen=True):
    """What the headers of answers are for: kept with a head.

    Attributes
    ----------
    passed
        Those that are passed on.
    passing
        Which of them differ in value: the place there, the name, and which of the answer's `values` it is.
    said
        The values that tell limits; empty: none does.
    saying
        Which of them differ: the place there, and which of the answer's `values` it is.
    """

    passed: list[Field]
    passing: list[tuple[int, bytes, int]]
    said: list[bytes | None]
    saying: list[tuple[int, int]]


def _sorting(answer: Answer) -> _Sorting:
    sorting = _Sorting([], [], [], [])
    which = {place: number for number, place in enumerate(answer.opens)}
    for place, (name, value) in enumerate(answer.headers):
        use = _USES.get(name)
        if use == _PASS:
            if place in which:
                sorting.passing.append((len(sorting.passed), name, which[place]))
            sorting.passed.append((name, value))
        elif use is not None:
            if not sorting.said:
                sorting.said.extend([None] * PLACES)
            sorting.saying[:] = [one for one in sorting.saying if one[0] != use]  # of two, the last counts
            if place in which:
                sorting.saying.append((use, which[place]))
            sorting.said[use] = value
    return sorting


class _Sent(Struct, eq=False):
    """One attempt: mostly it is sent at once, and its answer comes whole. Else a task waits for what is missing."""

    carrier: HttpCarrier
    request: ModelRequest
    route: Route
    until: float
    told: Callable[[Incoming | Exception], None]
    link: Link | None = None
    answer: Answer | None = None
    task: asyncio.Task[None] | None = None

    def stop(self) -> None:
        """End it at once."""
        if self.task is not None:
            self.task.cancel()
            if self.answer is not None:
                self.answer.abandon()  # a task that has not begun would not
        elif self.link is not None:
            self.link.drop()

    def answered(self, outcome: Answer | ExchangeError) -> None:
        """Its answer is here, or begins; or there is none."""
        carrier = self.carrier
        if isinstance(outcome, ExchangeError):
            if self.request.repeatable and unheard(outcome):
                self.wait(partial(carrier.ask, self.request, self.until, fresh=True))
            else:
                self.told(exchange_failure(outcome))
        elif outcome.ready and outcome.status < 300 and not self.request.stream:
            try:
                incoming: Incoming | Exception = carrier.whole(self.request, self.route, outcome, outcome.take())
            except Failed as failed:
                incoming = carrier.failure(failed)
            except Exception as error:  # whoever asked says what it means
                incoming = error
            self.told(incoming)
        else:
            self.answer = outcome
            self.wait(partial(carrier.receive, self.request, self.route, outcome))

    def wait(self, answer: Callable[[], Awaitable[Incoming]]) -> None:
        """Let a task wait for its answer."""
        self.task = self.carrier.run(self._pass_on(answer))

    async def _pass_on(self, answer: Callable[[], Awaitable[Incoming]]) -> None:
        try:
            incoming: Incoming | Exception = await answer()
        except (ExchangeError, Failed) as error:
            incoming = self.carrier.failure(error)
        except Exception as error:  # as in `answered`
            incoming = error
        self.told(incoming)


def translated(translate: Callable[[bytes], bytes], body: bytes) -> bytes:
    """An answer in the client's dialect.

    Raises
    ------
    Failed
        It is not of the form of its own dialect.
    """
    try:
        return translate(body)
    except Failed:
        raise
    except Exception as error:  # the boundary to whatever an upstream sends, as in `StreamReader`
        what = f"the answer is not as its dialect says ({type(error).__name__}: {error}): {body[:100]!r}"
        raise Failed(Failure.MALFORMED, what) from None


def _compressed(answer: Answer) -> Failed | None:
    """What to say of an answer that cannot be read because it is compressed; None where that is not why."""
    coding = (answer.header(b"content-encoding") or b"identity").decode("latin-1")
    if coding.lower() == "identity":
        return None
    message = f"the answer is compressed (content-encoding {coding!r:.60}), and was not asked to be: {_PLAINLY}"
    return Failed(Failure.SERVER_ERROR, message)


def _shown(body: bytes) -> str:
    """The begin of a body, for the log."""
    return body[:_SHOWN].decode(errors="replace").strip()


def said_in(dialect: Dialect) -> Callable[[int, bytes], bytes]:
    """Says refusals of another dialect in this one.

    >>> said_in(Dialect.MESSAGES)(429, b'{"error":{"message":"slow"}}')
    b'{"type":"error","error":{"type":"rate_limit_error","message":"slow"}}'
    """

    def say(status: int, body: bytes) -> bytes:
        _, message = read_error(error_of(body), status)
        return write_error(dialect, status, message or f"the upstream answered {status}")

    return say
