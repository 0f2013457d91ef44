"""The endpoints of an app over HTTP: `POST /recommend`, JSON in, JSON or server-sent events out.

In the body there is nothing but the app's own answer; what is to be said about it stands in headers, or in the last
event of a stream.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from random import Random
from typing import Any

from headrace.core.clock import Clock, isoformat
from headrace.core.errors import BadInput, BodyRefused, HeadraceError, UserCodeError
from headrace.core.events import Problem as Trouble
from headrace.http1 import Handler, Request, Response
from headrace.models.deadline import remaining_header
from headrace.pipeline.answer import Answer, Facts
from headrace.pipeline.ask import Ask, parse_priority
from headrace.pipeline.desk import Desk
from headrace.pipeline.input import Reader, broken, too_long
from headrace.pipeline.runner import Runner
from headrace.server.endpoint_schemas import describe
from headrace.server.problem import MEDIA_TYPE, Problem

Headers = list[tuple[bytes, bytes]]

_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_UNSAFE = re.compile(r"[^A-Za-z0-9!#$%&'*+.^_`|~-]+")
_JSON = (b"content-type", b"application/json")
_EVENTS = (b"content-type", b"text/event-stream; charset=utf-8")
_PROBLEM = (b"content-type", MEDIA_TYPE.encode())
_NO_STORE = (b"cache-control", b"no-store")
_LONGEST = 2000
"""Characters of a header that lists things: some proxies take no more than 4 KiB."""


class Endpoints:
    """Serves the endpoints of one app (`server.composition.Handlers`).

    Parameters
    ----------
    desk
        The running endpoints.
    clock
        Of their deadlines.
    random
        Draws request ids.
    """

    def __init__(self, desk: Desk, *, clock: Clock, random: Random) -> None:
        self._desk = desk
        self._paths = {path.encode(): _Endpoint(runner, desk, clock, random) for path, runner in desk.runners.items()}

    @property
    def checks_keys(self) -> bool:
        """The server's own API keys open it."""
        return False

    @property
    def lasts(self) -> bool:
        """What they read grows old, and they are told apart by rows: a server with nothing but them says so."""
        return False

    def find(self, request: Request) -> Handler | None:
        """The endpoint at this path."""
        return self._paths.get(request.path)

    def refused(self, request: Request, problem: Problem) -> Response | None:
        """Problems are its own words."""
        return None

    def openapi(self) -> dict[str, Any]:
        """One path per endpoint."""
        return {path: describe(runner.endpoint) for path, runner in self._desk.runners.items()}

    def metrics(self) -> Iterable[str]:
        """What was answered."""
        return self._desk.metrics()

    def problems(self) -> Iterable[Trouble]:
        """Rows of `headrace_routes` that mean nothing."""
        return self._desk.problems()


class _Endpoint:
    """One endpoint as an `http1` handler."""

    def __init__(self, runner: Runner, desk: Desk, clock: Clock, random: Random) -> None:
        self._runner = runner
        self._desk = desk
        self._clock = clock
        self._random = random
        self._reader = Reader(runner.endpoint.shape, runner.endpoint.bounds)
        self._most = runner.endpoint.bounds.max_body

    def __call__(self, request: Request) -> Awaitable[Response] | Response:
        """Answer one request."""
        if request.method != b"POST":
            return _ONLY_POST
        return self._answer(request)

    async def _answer(self, request: Request) -> Response:
        began = self._clock.monotonic()
        headers = dict(request.headers)
        number = self._number(headers.get(b"x-request-id", b""))
        try:
            try:
                _check_type(headers.get(b"content-type", b""))
                _check_coding(headers.get(b"content-encoding", b""))
                value = self._value(await self._body(request), number)
                ask = self._ask(value, number, headers, began)
            except (BadInput, UserCodeError) as error:
                status = error.status if isinstance(error, BadInput) else 500
                self._desk.counters.refused(self._runner.endpoint.path, status)
                raise
            answer = await self._runner.run(ask)
        except BodyRefused:
            raise  # the connection says what was wrong with the body
        except HeadraceError as error:
            problem = Problem.of(error, request=number)
            headed = [_PROBLEM, (b"x-headrace-request-id", number.encode()), *problem.headers]
            return Response(problem.status, headed, problem.body)
        return _render(answer)

    def _value(self, body: bytes, number: str) -> Any:
        try:
            return self._reader.read(body)
        except HeadraceError:
            raise
        # The boundary to user code: an input's type may have validators of the app's, which may raise anything.
        except Exception as error:
            raise broken(error, self._runner.endpoint.path, number) from error

    async def _body(self, request: Request) -> bytes:
        if request.length is not None and request.length > self._most:
            raise too_long(self._most)
        if request.complete:
            return await request.read()
        body = bytearray()
        async for piece in request:
            body += piece
            if len(body) > self._most:
                raise too_long(self._most)
        return bytes(body)

    def _ask(self, value: Any, number: str, headers: dict[bytes, bytes], began: float) -> Ask:
        text = {name.decode("latin-1"): given.decode("latin-1") for name, given in headers.items()}
        left = _left(text)
        return Ask(
            value,
            number,
            deadline=None if left is None else began + left,
            user=text.get("x-headrace-user", ""),
            session=text.get("x-headrace-session", ""),
            tenant=text.get("x-headrace-tenant", ""),
            priority=parse_priority(text.get("x-headrace-priority", "normal")),
            headers=text,
        )

    def _number(self, given: bytes) -> str:
        """The request's id: the one that it came with, where that is one."""
        return given.decode() if _ID.fullmatch(given) else f"{self._random.getrandbits(96):024x}"


def _left(headers: Mapping[str, str]) -> float | None:
    """Seconds that the caller gives; raises `BadInput` for what is no time."""
    try:
        return remaining_header(headers.get("x-request-timeout-ms"), headers.get("grpc-timeout"))
    except ValueError as error:
        message, _, hint = str(error).partition("; ")
        problems = [{"pointer": "", "kind": "header", "message": message}]
        raise BadInput(message, status=400, problems=problems, hint=hint) from None


def _check_type(given: bytes) -> None:
    """A form or plain text is refused: a foreign web page can send those to this machine without asking first."""
    kind = given.partition(b";")[0].strip().lower()
    if kind == b"application/json" or (kind.startswith(b"application/") and kind.endswith(b"+json")):
        return
    shown = f"the Content-Type is {kind.decode('latin-1')!r:.80}" if kind else "there is no Content-Type"
    raise BadInput(
        shown,
        status=415,
        problems=[{"pointer": "", "kind": "content-type", "message": shown}],
        hint="send Content-Type: application/json (curl: --json)",
    )


def _check_coding(given: bytes) -> None:
    if given and given.strip().lower() != b"identity":
        shown = f"the Content-Encoding {given.decode('latin-1')!r:.80} is not taken"
        problems = [{"pointer": "", "kind": "content-encoding", "message": shown}]
        raise BadInput(shown, status=415, problems=problems, hint="send the body as it is, without that header")


def _render(answer: Answer) -> Response:
    headers = [_NO_STORE, *_said(answer.facts, whole=answer.events is None)]
    if answer.events is not None:
        return Response(200, [_EVENTS, *headers], answer.events)
    return Response(200, [_JSON, *headers], answer.body)


def _said(facts: Facts, *, whole: bool) -> Headers:
    """What is said of an answer; of a stream, what is known before its first event."""
    headers: Headers = [
        (b"x-headrace-version", facts.version.encode()),
        (b"x-headrace-request-id", facts.request.encode()),
    ]
    if facts.fallback:
        headers.append((b"x-headrace-fallback", _token(facts.fallback)))
    if not whole:
        return headers
    stages = {**facts.stages, "total": facts.seconds}
    timing = ", ".join(f"{_word(name)};dur={seconds * 1000:.3f}" for name, seconds in stages.items())
    headers.append((b"server-timing", timing.encode()))
    if facts.reads:
        headers.append((b"x-headrace-context", _context(facts)))
    if facts.stale != "unchecked":
        headers.append((b"x-headrace-stale", facts.stale.encode()))
    if facts.unchanged_as_of is not None:
        headers.append((b"x-headrace-unchanged-as-of", isoformat(facts.unchanged_as_of).encode()))
    if facts.changed:
        headers.append((b"x-headrace-changed", ", ".join(facts.changed).encode()))
        headers.append((b"x-headrace-stale-detail", _listed(facts.stale_detail)))
    if facts.made_at is not None:
        headers.append((b"x-headrace-made-at", isoformat(facts.made_at).encode()))
    if facts.retries:
        headers.append((b"x-headrace-retries", b"%d" % facts.retries))
    if facts.cache:
        headers.append((b"x-headrace-cache", facts.cache.encode()))
    return headers


def _context(facts: Facts) -> bytes:
    """What was read, each with its as-of age in milliseconds and its status."""
    said = [
        f"{read.name}; " + ("" if read.age_ms is None else f"age_ms={read.age_ms:.0f}; ") + f"status={read.status}"
        for read in facts.reads
    ]
    while sum(map(len, said)) > _LONGEST:
        said.pop()
    return ", ".join(said).encode()


def _listed(sentences: Sequence[str]) -> bytes:
    """Sentences as a JSON list in ASCII, so many as a header holds."""
    kept = list(sentences)
    while len(kept) > 1 and sum(map(len, kept)) > _LONGEST:
        kept.pop()
    return json.dumps([sentence[:_LONGEST] for sentence in kept]).encode()


def _word(name: str) -> str:
    return _UNSAFE.sub("_", name) or "_"


def _token(name: str) -> bytes:
    return _word(name).encode()


_ONLY_POST = Response(
    405,
    [_PROBLEM, (b"allow", b"POST")],
    Problem(
        405, "method-not-allowed", "That method is not allowed here", "an endpoint is asked with POST", "send JSON"
    ).body,
)
