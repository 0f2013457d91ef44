"""The HTTP edge as one ASGI application over the ports of reading and writing."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from headrace.core.clock import Clock, SystemClock
from headrace.core.errors import HeadraceError
from headrace.core.names import nearest
from headrace.http1.bodies import Bodies
from headrace.server import mcp, openapi
from headrace.server.answers import to_json
from headrace.server.body import Refused
from headrace.server.catalog import Catalog
from headrace.server.composition import Handlers
from headrace.server.contexts import Contexts
from headrace.server.failures import Failures
from headrace.server.front import Front
from headrace.server.gate import Gate
from headrace.server.lookup import Lookup
from headrace.server.metrics import Meter
from headrace.server.ports import Health, Reads, Writes
from headrace.server.probes import Probes
from headrace.server.problem import Problem
from headrace.server.pushes import Pushes
from headrace.server.quarantines import Quarantines
from headrace.server.rows import Rows
from headrace.server.settings import Settings


def create_app(
    reads: Reads,
    writes: Writes,
    catalog: Catalog,
    settings: Settings | None = None,
    *,
    health: Health | None = None,
    meter: Meter | None = None,
    clock: Clock | None = None,
    handlers: Sequence[Handlers] = (),
) -> Front:
    """The ASGI application of one HTTP worker.

    Parameters
    ----------
    reads, writes, health
        The ports to the rest; `health` is optional.
    catalog
        What is offered.
    settings
        Limits and keys; the defaults serve this machine only.
    meter
        Where requests are counted; memory of this process if not given.
    handlers
        Serve paths of their own beside it; only where the server asks `Front.direct`.

    Raises
    ------
    DeclarationError
        The settings would let anybody on the network in.
    """
    chosen = settings or Settings()
    chosen.check()
    counted = meter or Meter()
    described = _described(catalog, chosen, handlers)
    routes: list[BaseRoute] = [
        Route("/", _fixed(_index(catalog, described)), methods=["GET"]),
        Route("/openapi.json", _fixed(described), methods=["GET"]),
        *Contexts(reads, catalog, chosen).routes(),
        *Rows(reads, catalog, chosen).routes(),
        *Pushes(writes, catalog, chosen).routes(),
        *Quarantines(reads, writes, catalog, chosen).routes(),
        *Probes(reads, health, counted, handlers).routes(),
    ]
    time = clock or SystemClock()
    failures = Failures(time)

    async def unforeseen(request: Request, error: Exception) -> Response:
        return failures.report(error, request.scope).response()

    transport = _mcp(reads, catalog, chosen, failures)
    if chosen.mcp:
        routes.append(Route("/mcp", transport or mcp.Missing()))

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncGenerator[None]:
        async with AsyncExitStack() as stack:
            if transport is not None:
                await stack.enter_async_context(transport.running())
            yield

    told = {HeadraceError: _known, Refused: _refused, HTTPException: _framework([*described["paths"], *_SEE])}
    rest = Starlette(routes=routes, exception_handlers=told | {Exception: unforeseen}, lifespan=lifespan)
    rest.router.redirect_slashes = False
    lookup = Lookup(reads, catalog, chosen, failures)
    bodies = Bodies(chosen.max_bodies, counted.bodies)
    return Front(rest, Gate(chosen, counted, time), lookup, failures, handlers, bodies)


def _mcp(reads: Reads, catalog: Catalog, settings: Settings, failures: Failures) -> mcp.HttpTransport | None:
    if not settings.mcp or not mcp.installed():
        return None
    return mcp.HttpTransport(reads, catalog, failures=failures, max_body=min(settings.max_body, 4 * 1024 * 1024))


def _described(catalog: Catalog, settings: Settings, handlers: Sequence[Handlers]) -> dict[str, Any]:
    document = openapi.build(catalog.shown, settings)
    for one in handlers:
        document["paths"] |= one.openapi()
    return document


def _index(catalog: Catalog, described: dict[str, Any]) -> dict[str, Any]:
    """What there is, by name; and every path with its method, as `/openapi.json` has them."""
    shown = catalog.shown
    return {
        "app": shown.app,
        "endpoints": sorted(shown.endpoints),
        "models": sorted(shown.models),
        "views": sorted(shown.views),
        "tables": sorted(shown.tables),
        "paths": [
            f"{method.upper()} {path}"
            for path, item in described["paths"].items()
            for method in item
            if method in _METHODS
        ],
        "see": _SEE,
    }


def _fixed(data: Any) -> Callable[[Request], Awaitable[Response]]:
    """Answers the same document always."""
    body = to_json(data)

    async def answer(_request: Request) -> Response:
        return Response(body, media_type="application/json")

    return answer


async def _known(_request: Request, error: Exception) -> Response:
    return Problem.of(cast("HeadraceError", error)).response()


async def _refused(_request: Request, error: Exception) -> Response:
    return cast("Refused", error).problem.response()


def _framework(paths: Sequence[str]) -> Callable[[Request, Exception], Awaitable[Response]]:
    """What Starlette says by itself, in our words: no such path (there are `paths`), no such method."""

    async def answer(request: Request, error: Exception) -> Response:
        given, path = cast("HTTPException", error), str(request.scope["path"])
        if given.status_code == 404:
            return _lost(path, paths).response()
        headers = tuple((name.lower().encode(), value.encode()) for name, value in (given.headers or {}).items())
        name, title, hint = _TITLES.get(given.status_code, ("http", given.detail, ""))
        detail = f"{path!r:.100} cannot be asked with {request.method}" if given.status_code == 405 else given.detail
        return Problem(given.status_code, name, title, detail, hint, headers=headers).response()

    return answer


def _lost(path: str, paths: Sequence[str]) -> Problem:
    near = nearest(path, paths)
    hint = "GET / lists what there is"
    return Problem(
        404,
        "no-such-path",
        "There is nothing at this path",
        f"there is nothing at {path!r:.100}",
        hint if near is None else f"did you mean {near!r}? {hint}",
    )


_METHODS = ("get", "post", "put", "patch", "delete")
_SEE = ["/openapi.json", "/freshness", "/quarantine", "/metrics", "/mcp"]
_TITLES = {
    405: ("method-not-allowed", "That method is not allowed here", "the Allow header names those that are"),
}
