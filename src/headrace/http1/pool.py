"""The connections to one origin: reused last-in-first-out, bounded, and waited for first-come-first-served."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque

from headrace.core.errors import PoolFull, TimedOut, Unreachable
from headrace.http1.batch import Batch
from headrace.http1.forms import Forms
from headrace.http1.limits import ClientLimits
from headrace.http1.link import Link
from headrace.http1.origin import Origin
from headrace.http1.outbox import Outbox

_UNKNOWN = "for an authority of your own, name its certificate in SSL_CERT_FILE where this program runs"
_OTHER = "call the server by a name, or an address, that its certificate has"
_ADVICE = {18: _UNKNOWN, 19: _UNKNOWN, 20: _UNKNOWN, 21: _UNKNOWN, 62: _OTHER, 64: _OTHER}
"""What to do about a certificate, by the number that OpenSSL has for what is wrong (`X509_V_ERR_...`)."""


class Pool:
    """Gives out one connection per exchange.

    A connection that is handed to a waiting request never passes through the idle ones, so nobody overtakes.
    """

    def __init__(
        self,
        origin: Origin,
        limits: ClientLimits,
        loop: asyncio.AbstractEventLoop,
        tls: ssl.SSLContext | None,
        outbox: Outbox | None = None,
        answered: Batch[Link] | None = None,
    ) -> None:
        self.origin = origin
        self._limits = limits
        self._loop = loop
        self._tls = tls
        self._forms = Forms(limits.max_head)
        self._outbox = outbox
        self._answered = answered
        self._idle: list[Link] = []
        self._waiting: deque[asyncio.Future[Link | None]] = deque()
        self._links: set[Link] = set()
        self._connecting = 0
        self._closed = False

    @property
    def open(self) -> int:
        """Connections that exist or are being made."""
        return len(self._links) + self._connecting

    @property
    def idle(self) -> int:
        """Connections that carry nothing now."""
        return len(self._idle)

    @property
    def waiting(self) -> int:
        """Requests that wait for a connection."""
        return len(self._waiting)

    def take(self, now: float) -> Link | None:
        """An idle connection, if there is one: the one used last, which the other side has most likely not closed."""
        while self._idle:
            link = self._idle.pop()
            if link.usable and now - link.last < self._limits.idle_timeout:
                return link
            link.close()
        return None

    async def acquire(self, deadline: float) -> Link:
        """An idle connection, a new one, or the next that comes free; all before `deadline` (the loop's time).

        Raises
        ------
        Unreachable, PoolFull, TimedOut
            Nothing was sent.
        """
        link = self.take(self._loop.time())
        if link is not None:
            return link
        return await self._more(deadline)

    async def _more(self, deadline: float) -> Link:
        """A new connection, or the next that comes free."""
        if self.open < self._limits.max_connections:
            return await self._connect(deadline)
        given = await self._wait(deadline)
        return given if given is not None else await self._connect(deadline, reserved=True)

    async def fresh(self, deadline: float) -> Link:
        """Another connection, for a request whose reused one turned out to be closed: idle ones are most likely, too.

        It is new, unless all that there may be are busy: then it is the first that comes free, having just carried an
        answer.
        """
        while self._idle:
            self._idle.pop().close()
        return await self._more(deadline)

    def expire(self, now: float) -> None:
        """Close what was idle for too long; called now and then."""
        kept: list[Link] = []
        for link in self._idle:
            if link.usable and now - link.last < self._limits.idle_timeout:
                kept.append(link)
            else:
                link.close()
        self._idle = kept

    def close(self) -> None:
        """Close all connections; exchanges that run fail."""
        self._closed = True
        for link in list(self._links):
            link.abort()
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(Unreachable("the client is closed", sent=False))

    async def _wait(self, deadline: float) -> Link | None:
        """The next connection that comes free; None: one ended, and its place is reserved for the caller."""
        limits = self._limits
        if len(self._waiting) >= limits.max_waiting:
            raise PoolFull(
                f"{limits.max_waiting} requests wait for one of {limits.max_connections} connections to {self.origin}",
                hint="shed load earlier, or raise ClientLimits.max_connections",
                sent=False,
            )
        waiter: asyncio.Future[Link | None] = self._loop.create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout_at(None if deadline == float("inf") else deadline):
                return await waiter
        except (TimeoutError, asyncio.CancelledError) as error:
            self._withdraw(waiter)
            if isinstance(error, asyncio.CancelledError):
                raise
            raise PoolFull(
                f"none of {limits.max_connections} connections to {self.origin} came free before the deadline",
                hint="the other side is slower than it is asked; shed load, or raise ClientLimits.max_connections",
                sent=False,
            ) from None

    def _withdraw(self, waiter: asyncio.Future[Link | None]) -> None:
        """A waiting request gave up; what it was given in the same moment goes to the next."""
        if not waiter.done() or waiter.cancelled():
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            return
        if waiter.exception() is not None:
            return
        link = waiter.result()
        if link is not None:
            self._released(link)
        else:
            self._connecting -= 1
            self._offer_place()

    async def _connect(self, deadline: float, *, reserved: bool = False) -> Link:
        if not reserved:
            self._connecting += 1
        try:
            link = await self._dial(deadline)
        except BaseException:
            self._connecting -= 1
            self._offer_place()
            raise
        self._connecting -= 1
        self._links.add(link)
        if self._closed:
            link.abort()
        return link

    async def _dial(self, deadline: float) -> Link:
        origin = self.origin
        within = min(deadline, self._loop.time() + self._limits.connect_timeout)
        name = origin.host if self._tls is not None else None

        def link() -> Link:
            return Link(
                self._loop,
                self._limits,
                released=self._released,
                lost=self._lost,
                forms=self._forms,
                outbox=self._outbox,
                answered=self._answered,
            )

        try:
            async with asyncio.timeout_at(within):
                _, made = await self._loop.create_connection(
                    link, origin.host, origin.port, ssl=self._tls, server_hostname=name
                )
        except TimeoutError:
            # The kernel's own ETIMEDOUT lands here too: it says the same.
            raise TimedOut(f"no connection to {origin} in time", clock="connect", sent=False) from None
        except ssl.SSLCertVerificationError as error:
            said = f"cannot connect to {origin}: its certificate is not trusted: {error.verify_message}"
            advice = _ADVICE.get(error.verify_code)
            raise Unreachable(f"{said}; {advice}" if advice else said, sent=False) from error
        except OSError as error:  # ssl.SSLError is one too
            hint = "check the address, and that the server runs"
            raise Unreachable(f"cannot connect to {origin}: {error}", hint=hint, sent=False) from error
        return made

    def _released(self, link: Link) -> None:
        if not link.usable:  # it ended while it was handed on: `_lost` offers its place
            return
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(link)
                return
        self._idle.append(link)

    def _lost(self, link: Link) -> None:
        self._links.discard(link)
        if link in self._idle:
            self._idle.remove(link)
        self._offer_place()

    def _offer_place(self) -> None:
        """One connection fewer: the next that waits may make one, and its place is kept for it."""
        while self._waiting and self.open < self._limits.max_connections:
            waiter = self._waiting.popleft()
            if not waiter.done():
                self._connecting += 1
                waiter.set_result(None)
                return
