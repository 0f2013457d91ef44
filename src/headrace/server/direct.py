"""The short way: requests that are answered as `http1` requests, behind the same gate as those that go through ASGI."""

from __future__ import annotations

from collections.abc import Awaitable, Generator, Sequence
from functools import partial
from typing import Any
from urllib.parse import unquote

from msgspec import Struct

from headrace.core.errors import BodyRefused, HeadraceError
from headrace.http1 import Handler, Later, Request, Response
from headrace.http1.bodies import Bodies
from headrace.http1.response import let_go
from headrace.server.composition import Handlers
from headrace.server.failures import Failures
from headrace.server.gate import Gate
from headrace.server.lookup import PREFIX, Lookup
from headrace.server.problem import MEDIA_TYPE, Problem

_PREFIX = PREFIX.encode()
_TYPE = (b"content-type", MEDIA_TYPE.encode())


class _Way(Struct, frozen=True):
    """Where requests with one head go. `handler`: None for reads of a view; `refused`: why the gate lets none pass."""

    path: str
    handler: Handler | None
    refused: Problem | None


class Direct:
    """Answers reads of one view, and what one of `handlers` takes. `bodies` counts those of the whole server."""

    def __init__(
        self, gate: Gate, lookup: Lookup, failures: Failures, handlers: Sequence[Handlers], bodies: Bodies | None = None
    ) -> None:
        self.bodies = bodies
        self._gate = gate
        self._lookup = lookup
        self._failures = failures
        self._handlers = tuple(handlers)

    def __call__(self, request: Request) -> Response | Later | Awaitable[Response] | None:
        """The answer; None: it goes through ASGI."""
        way: _Way | None = request.facts.get(_Way) or self._find(request)
        if way is None:
            return None
        gate, path = self._gate, way.path
        entered, busy = gate.enter(path)
        request.when_done(partial(gate.leave, path, entered))
        problem = busy or way.refused
        if problem is not None:
            return self._render(problem, request)
        if way.handler is None:
            return self._read(request)
        try:
            answer = way.handler(request)
        except Exception as error:  # the boundary to the handler, as in _Waiting
            return self.failed(request, error)
        return answer if isinstance(answer, (Later, Response)) else _Waiting(self, request, answer)

    def refuse(self, status: int, detail: str, request: Request) -> Response:
        """What the connection itself answers: no HTTP, over a limit, too slow, or a handler that failed."""
        return self._render(refusal_of(status, detail), request)

    def _find(self, request: Request) -> _Way | None:
        """Where a request goes; None: through ASGI. Kept with its head, unless that is refused."""
        handler: Handler | None = None
        keys = True
        if not request.target.startswith(_PREFIX):
            for one in self._handlers:
                handler = one.find(request)
                if handler is not None:
                    keys = not one.checks_keys
                    break
            else:
                return None
        path = path_of(request)
        refused = self._gate.refuse(path, len(request.target), request.named, keys=keys)
        way = _Way(path, handler, refused)
        if refused is None:
            request.facts[_Way] = way
        return way

    def failed(self, request: Request, error: Exception) -> Response:
        """What to say where a handler raised; raises what the connection answers itself."""
        if isinstance(error, BodyRefused):
            raise error  # the connection says what was wrong with the body
        if isinstance(error, HeadraceError):
            return self._render(Problem.of(error), request)
        scope = {"method": request.method.decode("latin-1"), "path": path_of(request)}
        return self._render(self._failures.report(error, scope), request)

    def _render(self, problem: Problem, request: Request) -> Response:
        """In the words of whose path it is."""
        for one in self._handlers:
            answer = one.refused(request, problem)
            if answer is not None:
                return answer
        return render_problem(problem)

    async def _read(self, request: Request) -> Response:
        method = request.method.decode("latin-1")
        answer = await self._lookup.answer(method, path_of(request), request.query, request.named)
        if isinstance(answer, Problem):
            return render_problem(answer)
        body, fields = answer
        return Response(200, [field for field in fields if field[0] != b"content-length"], body)


class _Waiting(Struct, eq=False):
    """The answer of a handler that has to be waited for."""

    direct: Direct
    request: Request
    answer: Awaitable[Response]

    def __await__(self) -> Generator[Any, None, Response]:
        return self._wait().__await__()

    def close(self) -> None:
        """Nobody waits for it, see `let_go`."""
        let_go(self.answer)

    async def _wait(self) -> Response:
        try:
            return await self.answer
        # The boundary to the handler: what it raises is told as everywhere else, and logged under a number.
        except Exception as error:
            return self.direct.failed(self.request, error)


def path_of(request: Request) -> str:
    """The path with its percent-encoding undone, as ASGI has it."""
    path = request.path.decode("latin-1")
    return unquote(path) if "%" in path else path


def render_problem(problem: Problem) -> Response:
    """A problem as an answer."""
    return Response(problem.status, [_TYPE, *problem.headers], problem.body)


def refuse(status: int, detail: str, _request: Request) -> Response:
    """What the connection itself answers where there is no `Direct`."""
    return render_problem(refusal_of(status, detail))


def refusal_of(status: int, detail: str) -> Problem:
    """What the connection itself refuses, as a problem."""
    name, title, hint = _REFUSALS.get(status, ("internal" if status >= 500 else "bad-request", "", ""))
    fallback = "The request failed" if status >= 500 else "The request is refused"
    headers = ((b"retry-after", b"1"),) if status == 503 else ()
    return Problem(status, name, title or fallback, detail, hint, headers=headers)


_REFUSALS = {
    413: ("too-large", "The body is too large", "send it in smaller parts"),
    414: ("url-too-long", "The URL is too long", ""),
    503: ("busy", "The server is busy", "try again after a moment"),
}
