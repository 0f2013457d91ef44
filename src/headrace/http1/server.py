"""An HTTP/1.1 server on `asyncio.Protocol`: for the paths where the cost of a request matters.

server = Server(handler)
await server.start(port=8080)
...
await server.drain(10)
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from email.utils import format_datetime

from headrace.core.clock import Clock, SystemClock, to_datetime
from headrace.core.errors import HeadraceError
from headrace.http1.batch import Batch
from headrace.http1.bodies import Bodies
from headrace.http1.connection import Connection
from headrace.http1.heads import Heads
from headrace.http1.limits import ServerLimits
from headrace.http1.outbox import Outbox
from headrace.http1.request import Request
from headrace.http1.response import Handler, Refuse, problem

_LOG = logging.getLogger(__name__)
_BACKLOG = 2048
_TICK = 0.25
"""Seconds between two looks at the deadlines. One timer for all connections costs nothing per request."""


def log_failure(error: Exception, request: Request) -> None:
    """What happens with a handler's exception by default: it is logged with its traceback."""
    _LOG.error("%s %s failed", request.method.decode("latin-1"), request.path.decode("latin-1"), exc_info=error)


class Server:
    """Serves one handler on any number of sockets.

    Parameters
    ----------
    handler
        Answers requests; see `Handler`. It is cancelled as soon as its client is gone.
    limits
        What a connection may cost.
    clock
        Dates the answers.
    refuse
        Renders what the server itself answers (bad requests, limits, failures of the handler).
    failed
        Told of each exception that left the handler.
    bodies
        Counts what bodies take together; its own, under `limits.max_bodies`, if not given.

    Attributes
    ----------
    heads
        The heads of requests that its connections know.
    ready
        Connections with a request for the handler.
    date
        The `date` header line of this second.
    served
        Requests that were answered, or whose answer broke off.
    """

    def __init__(
        self,
        handler: Handler,
        limits: ServerLimits | None = None,
        *,
        clock: Clock | None = None,
        refuse: Refuse = problem,
        failed: Callable[[Exception, Request], None] = log_failure,
        bodies: Bodies | None = None,
    ) -> None:
        self.handler = handler
        self.limits = limits or ServerLimits()
        self.bodies = bodies or Bodies(self.limits.max_bodies)
        self.heads = Heads(self.limits.max_body)
        self.ready = Batch(Connection.serve)
        self.refuse = refuse
        self.failed = failed
        self.date = b""
        self.served = 0
        self._outbox: Outbox | None = None
        self._clock = clock or SystemClock()
        self._connections: set[Connection] = set()
        self._servers: list[asyncio.Server] = []
        self._timer: asyncio.TimerHandle | None = None
        self._empty: asyncio.Event | None = None
        self._dated: int = -1

    # Life

    async def start(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        sockets: Sequence[socket.socket] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Listen, on sockets that listen already or on an address; returns when connections are accepted.

        Raises
        ------
        HeadraceError
            The address is in use or cannot be bound.
        """
        loop = asyncio.get_running_loop()

        def connection() -> Connection:
            return Connection(self, loop)

        try:
            if sockets is None:
                server = await loop.create_server(connection, host, port, ssl=tls, backlog=_BACKLOG)
                self._servers.append(server)
            for listening in sockets or ():
                self._servers.append(await loop.create_server(connection, sock=listening, ssl=tls, backlog=_BACKLOG))
        except OSError as error:
            raise HeadraceError(
                f"cannot listen on {host}:{port}: {error.strerror or error}",
                hint="choose another port, or stop what uses this one",
            ) from error
        self._sweep(loop)

    @property
    def port(self) -> int:
        """The port of the first socket that it listens on."""
        return self._servers[0].sockets[0].getsockname()[1]

    @property
    def open(self) -> int:
        """Connections that are open now."""
        return len(self._connections)

    async def drain(self, timeout: float) -> bool:
        """Stop: accept nothing more, close idle connections, finish what runs for at most `timeout` seconds.

        Returns whether all of it was finished; what was not is cancelled and broken off.
        """
        for server in self._servers:
            server.close()
        self._empty = asyncio.Event()
        for connection in list(self._connections):
            connection.drain()
        finished = True
        try:
            if self._connections:
                async with asyncio.timeout(timeout):
                    await self._empty.wait()
        except TimeoutError:
            finished = False
            await self._abort()
        finally:
            if self._timer is not None:
                self._timer.cancel()
        return finished

    async def _abort(self) -> None:
        for connection in list(self._connections):
            connection.abort()
        # A transport tells its protocol in the loop's next turn; handlers may take longer to end.
        if self._connections and self._empty is not None:
            await self._empty.wait()

    # For connections

    def admit(self, connection: Connection) -> bool:
        """A connection is made; whether there is room for it."""
        self._connections.add(connection)
        return len(self._connections) <= self.limits.max_connections

    def outbox(self, loop: asyncio.AbstractEventLoop) -> Outbox:
        """Where its connections put their answers."""
        if self._outbox is None:
            self._outbox = Outbox(loop)
        return self._outbox

    def forget(self, connection: Connection) -> None:
        """A connection is gone."""
        self._connections.discard(connection)
        if self._empty is not None and not self._connections:
            self._empty.set()

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        second = self._clock.now() // 1_000_000
        if second != self._dated:
            self._dated = second
            text = format_datetime(to_datetime(second * 1_000_000), usegmt=True)
            self.date = b"date: %b\r\n" % text.encode()
        limits = self.limits
        shortest = min(limits.head_timeout, limits.idle_timeout, limits.write_timeout, limits.linger_timeout)
        tick = min(_TICK, shortest / 4, limits.body_timeout / 4)
        if self._timer is None or not self._timer.cancelled():
            self._timer = loop.call_later(tick, self._sweep, loop)
        now = loop.time()
        for connection in [one for one in self._connections if one.deadline <= now]:
            connection.expire()
