"""Uvicorn as this server runs it: its limits, its way to stop, and nothing in its output that is not asked for."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Generator
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp

from headrace.core.errors import HeadraceError
from headrace.server.settings import Settings

BACKLOG = 2048


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
        raise HeadraceError(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}",
            hint="choose another --port, or stop what uses this one",
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


class _Server(uvicorn.Server):
    """Stops when it is told, not by signals of its own; says when it serves."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.should_exit:
            self._ready()


async def serve(
    app: ASGIApp,
    settings: Settings,
    listening: socket.socket,
    stop: asyncio.Event,
    *,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve `app` on a listening socket until `stop` is set, then finish what was begun.

    New connections are refused at once; requests in flight have `settings.drain_timeout` seconds.
    """
    server = _Server(_config(app, settings), ready)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    stopping.cancel()
    await serving


def _config(app: ASGIApp, settings: Settings) -> uvicorn.Config:
    try:
        from headrace.server.protocol import bounded_protocol

        http: Any = bounded_protocol(settings)
    except ImportError:
        # httptools has no wheels for every platform; h11 bounds its headers itself.
        http = "h11"
    return uvicorn.Config(
        cast("Any", app),
        http=http,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=int(settings.keep_alive),
        timeout_graceful_shutdown=max(1, int(settings.drain_timeout)),
        h11_max_incomplete_event_size=settings.max_headers,
    )
