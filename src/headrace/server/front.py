"""The first thing that a request meets: limits, keys, and the short way for `GET /context/{view}`.

Reads of one view are most of the traffic, so they go through plain ASGI here, without a framework's request objects
and middleware. Everything else is handed to Starlette, inside the same limits, keys and measurements.
"""

from __future__ import annotations

from typing import Any, cast

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headrace.core.clock import Clock
from headrace.core.errors import HeadraceError
from headrace.server.answers import RawHeaders, render
from headrace.server.ask import Ask, parse_query
from headrace.server.catalog import Catalog
from headrace.server.failures import Failures
from headrace.server.guard import Guard
from headrace.server.metrics import Meter
from headrace.server.ports import Reads
from headrace.server.problem import MEDIA_TYPE, Problem
from headrace.server.settings import Settings

_CONTEXT = "/context/"


class Front:
    """The ASGI application that the server runs; `rest` answers what is not a read of one view."""

    def __init__(
        self,
        rest: ASGIApp,
        reads: Reads,
        catalog: Catalog,
        settings: Settings,
        *,
        failures: Failures,
        meter: Meter,
        clock: Clock,
    ) -> None:
        self._rest = rest
        self._reads = reads
        self._catalog = catalog
        self._settings = settings
        self._guard = Guard(settings)
        self._meter = meter
        self._clock = clock
        self._failures = failures
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        if scope["type"] != "http":
            await self._rest(scope, receive, send)
            return
        started = self._clock.monotonic()
        path: str = scope["path"]
        self._in_flight += 1
        try:
            status = await self._serve(path, scope, receive, send)
        finally:
            self._in_flight -= 1
        self._meter.count(path, status, self._clock.monotonic() - started)

    async def _serve(self, path: str, scope: Scope, receive: Receive, send: Send) -> int:
        headers = dict(cast("list[tuple[bytes, bytes]]", scope["headers"]))
        refusal = self._refuse(path, scope, headers)
        if refusal is not None:
            return await _send_problem(send, refusal)
        if path.startswith(_CONTEXT):
            return await self._read(path[len(_CONTEXT) :], scope, headers, send)
        return await self._hand_over(scope, receive, send)

    def _refuse(self, path: str, scope: Scope, headers: dict[bytes, bytes]) -> Problem | None:
        if self._in_flight > self._settings.max_concurrency:
            return _BUSY
        if len(scope["raw_path"]) + len(scope["query_string"]) > self._settings.max_url:
            return Problem(414, "url-too-long", "The URL is too long", f"over {self._settings.max_url} bytes")
        return self._guard.refuse(path, headers)

    async def _read(self, view: str, scope: Scope, headers: dict[bytes, bytes], send: Send) -> int:
        if scope["method"] not in ("GET", "HEAD"):
            return await _send_problem(send, _ONLY_GET)
        try:
            self._catalog.view(view)
            params, controls = parse_query(scope["query_string"])
            ask = Ask.of(headers, controls, max_wait=self._settings.max_wait)
            value = await self._reads.read(view, params, policy=ask.policy, max_age=ask.max_age)
            body, raw = render(value, readset=ask.readset)
        except HeadraceError as error:
            return await _send_problem(send, Problem.of(error))
        # The boundary to user code: whatever a view's function raises must not reach the client as a traceback.
        except Exception as error:
            return await _send_problem(send, self._failures.report(error, scope))
        return await _send(send, 200, raw, body)

    async def _hand_over(self, scope: Scope, receive: Receive, send: Send) -> int:
        status = 0

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._rest(scope, receive, watch)
        # Starlette answers and logs through `Failures` and raises again; only what it did not answer is left to do.
        except Exception as error:
            if status == 0:
                return await _send_problem(send, self._failures.report(error, scope))
        return status


async def _send_problem(send: Send, problem: Problem) -> int:
    body = problem.body
    length = (b"content-length", b"%d" % len(body))
    return await _send(send, problem.status, [(b"content-type", MEDIA_TYPE.encode()), length, *problem.headers], body)


async def _send(send: Send, status: int, headers: RawHeaders, body: bytes) -> int:
    start: dict[str, Any] = {"type": "http.response.start", "status": status, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": body})
    return status


_BUSY = Problem(
    503,
    "busy",
    "Too many requests at once",
    "this worker has as many requests in flight as it takes",
    hint="try again after a moment, or start more workers",
    headers=((b"retry-after", b"1"),),
)
_ONLY_GET = Problem(
    405,
    "method-not-allowed",
    "That method is not allowed here",
    "a view is read with GET",
    hint="POST /context takes many reads at once",
    headers=((b"allow", b"GET, HEAD"),),
)
