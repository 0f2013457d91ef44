"""The first thing that a request meets: the gate, and the short way for `GET /context/{view}`.

`Front` is the ASGI application, complete by itself. A server that can do so asks `Front.direct` first, which answers
without ASGI what is asked most: reads of one view, and the paths of `Handlers`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from msgspec import Struct
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headrace.http1.bodies import Bodies
from headrace.server.answers import RawHeaders
from headrace.server.composition import Handlers
from headrace.server.direct import Direct
from headrace.server.failures import Failures
from headrace.server.gate import Gate
from headrace.server.lookup import PREFIX, Lookup
from headrace.server.problem import MEDIA_TYPE, Problem


class _Served(Struct):
    answered: int = 0


class Front:
    """The ASGI application that the server runs; `rest` answers what is not a read of one view.

    Attributes
    ----------
    direct
        The short way, for a server that speaks `http1`.
    """

    def __init__(
        self,
        rest: ASGIApp,
        gate: Gate,
        lookup: Lookup,
        failures: Failures,
        handlers: Sequence[Handlers] = (),
        bodies: Bodies | None = None,
    ) -> None:
        self.direct = Direct(gate, lookup, failures, handlers, bodies)
        self._rest = rest
        self._gate = gate
        self._lookup = lookup
        self._failures = failures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        if scope["type"] != "http":
            await self._rest(scope, receive, send)
            return
        path: str = scope["path"]
        served = _Served()
        entered, busy = self._gate.enter(path)
        try:
            served.answered = await self._serve(path, busy, scope, receive, send)
        finally:
            self._gate.leave(path, entered, served)

    async def _serve(self, path: str, busy: Problem | None, scope: Scope, receive: Receive, send: Send) -> int:
        headers = dict(cast("list[tuple[bytes, bytes]]", scope["headers"]))
        length = len(scope["raw_path"]) + len(scope["query_string"])
        refusal = busy or self._gate.refuse(path, length, headers)
        if refusal is not None:
            return await _send_problem(send, refusal)
        if not path.startswith(PREFIX):
            return await self._hand_over(scope, receive, send)
        answer = await self._lookup.answer(scope["method"], path, scope["query_string"], headers)
        if isinstance(answer, Problem):
            return await _send_problem(send, answer)
        body, raw = answer
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
