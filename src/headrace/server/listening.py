"""The one HTTP server of a worker: its socket, its limits, its way to stop, and which way a request takes."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp

from headrace.core.errors import HeadraceError
from headrace.http1 import Later, Request, Response, Server, ServerLimits
from headrace.http1.server import log_failure
from headrace.server.bridge import Bridge, lifespan
from headrace.server.direct import Direct, refuse
from headrace.server.settings import Settings

BACKLOG = 2048
log = logging.getLogger("headrace.server")


def bind(settings: Settings) -> socket.socket:
    """A listening TCP socket for the settings' host and port.

    Raises
    ------
    HeadraceError
        The address is in use or cannot be bound.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((settings.host.strip("[]"), settings.port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        foreign = isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL
        raise HeadraceError(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}",
            hint="give an address of this machine to --host: 127.0.0.1, or 0.0.0.0 for all that it has"
            if foreign
            else "choose another --port, or stop what uses this one",
        ) from error
    listening.setblocking(False)
    return listening


def address(listening: socket.socket) -> str:
    """The URL of a listening socket.

    >>> with bind(Settings(port=0)) as listening:
    ...     address(listening).startswith("http://127.0.0.1:")
    True
    """
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def limits(settings: Settings) -> ServerLimits:
    """What one connection may cost under these settings."""
    return ServerLimits(
        max_head=settings.max_headers + settings.max_url,
        max_target=settings.max_url,
        max_body=settings.max_body,
        max_bodies=settings.max_bodies,
        head_timeout=settings.header_timeout,
        body_timeout=settings.body_timeout,
        idle_timeout=settings.keep_alive,
    )


def failed(error: Exception, request: Request) -> None:
    """What left a handler, or broke its answer off. Errors of ours say in a line what happened."""
    if isinstance(error, HeadraceError):
        if error.logged:
            return
        log.warning("%s broke off: %s", request.path.decode("latin-1"), error.message)
    else:
        log_failure(error, request)


async def serve(
    app: ASGIApp,
    settings: Settings,
    listening: socket.socket,
    stop: asyncio.Event,
    *,
    direct: Direct | None = None,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve on a listening socket until `stop` is set, then finish what was begun.

    New connections are refused at once; requests in flight have `settings.drain_timeout` seconds. `direct` is asked
    first for each request; `app` gets what it leaves.
    """
    host, port = listening.getsockname()[:2]
    bridge = Bridge(app, (host, port))

    def handle(request: Request) -> Response | Later | Awaitable[Response]:
        answer = None if direct is None else direct(request)
        return bridge(request) if answer is None else answer

    async with lifespan(app):
        refused = refuse if direct is None else direct.refuse
        bodies = None if direct is None else direct.bodies
        server = Server(handle, limits(settings), refuse=refused, failed=failed, bodies=bodies)
        await server.start(sockets=[listening])
        patience = 0.0  # for requests in flight, where this is cancelled
        try:
            ready()
            await stop.wait()
            patience = settings.drain_timeout
        finally:
            await _drain(server, bridge, patience)


async def _drain(server: Server, bridge: Bridge, patience: float) -> None:
    loop = asyncio.get_running_loop()
    until = loop.time() + patience
    answered = await server.drain(patience)
    ended = await bridge.finish(max(0.0, until - loop.time()))
    if not (answered and ended):
        log.warning("requests that were not answered within %g s of the signal to stop were broken off", patience)
