"""An answer on its way to whoever asked."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Protocol

from msgspec import Struct

from headrace.core.errors import StreamBroken
from headrace.models.call import Usage
from headrace.models.failure import Failure
from headrace.models.provider import Failed, Incoming, Whole

_LOG = logging.getLogger(__name__)


class _Owner(Protocol):
    """The shell of the router, as a delivery sees it."""

    now: Callable[[], float]

    def ended(self, delivery: Delivery) -> None: ...

    def broke(self, delivery: Delivery, failed: Failed) -> None: ...

    def let_go(self, delivery: Delivery) -> None: ...


class Delivery(Struct, eq=False):
    """A `Reply` (see there for what it is and what its attributes mean).

    Reading pulls from the upstream: nothing is read ahead but what the connection buffers, which is bounded.

    Attributes
    ----------
    since
        Since when (the owner's `now`) nothing came, or nobody waited for it.
    waiting
        Whether somebody waits for more: else its silence is that of a slow client.
    complete
        Whether nothing is missing any more.
    received
        Bytes that were passed on of a stream.
    error
        Why no more will come, where it broke off.
    """

    owner: _Owner
    call: str
    attempt: int
    incoming: Incoming
    status: int
    headers: Sequence[tuple[bytes, bytes]]
    upstream: str
    model: str
    attempts: int
    queued: float
    first_byte: float
    since: float
    complete: bool
    usage: Usage | None = None
    cost: Decimal | None = None
    waiting: bool = False
    received: int = 0
    error: StreamBroken | None = None

    def at_once(self) -> bytes | None:
        """The whole body where it is known to be here; None: `read` it."""
        return self.incoming.take() if isinstance(self.incoming, Whole) else None

    async def read(self) -> bytes:
        """The whole body, or what is left of it. Raises `StreamBroken`."""
        if isinstance(self.incoming, Whole):
            return self.incoming.take()
        pieces = [piece async for piece in self]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def __aiter__(self) -> Delivery:
        return self

    async def __anext__(self) -> bytes:
        """The next piece. Raises `StreamBroken` where the answer breaks off."""
        if self.error is not None:
            raise self.error
        self._wait()
        try:
            piece = await self.incoming.next()
        except asyncio.CancelledError:
            await self.aclose()
            raise
        # The boundary to kinds of upstreams, as in `RoutedModel`: a call must not stay open because they raise.
        except Exception as error:
            raise self._breaks(error) from error
        finally:
            self.waiting = False
        self._came(piece)
        if not piece:
            raise StopAsyncIteration
        return piece

    @property
    def flows(self) -> bool:
        """Whether `take` and `when_more` can be used: where the upstream's bytes are there, nobody has to wait."""
        return hasattr(self.incoming, "when_more")

    def take(self) -> bytes:
        """What is there, without waiting; empty: nothing yet, or no more. Raises `StreamBroken`."""
        if self.error is not None:
            raise self.error
        incoming: Any = self.incoming
        try:
            piece: bytes = incoming.take()
        # As in `__anext__`.
        except Exception as error:
            raise self._breaks(error) from error
        self._came(piece)
        return piece

    def when_more(self, told: Callable[[], None] | None) -> None:
        """Call `told` whenever there is more to take or to raise; None: nobody wants to know."""
        if told is None:
            self.waiting = False
        else:
            self._wait()
        incoming: Any = self.incoming
        incoming.when_more(told)

    async def aclose(self) -> None:
        """Let go: of an answer that is not complete, the attempt is cancelled at its upstream."""
        if not self.complete and self.error is None:
            self.owner.let_go(self)

    def end(self, error: StreamBroken) -> None:
        """No more will come."""
        error.received, error.attempts = self.received, self.attempts
        self.error = error

    def _came(self, piece: bytes) -> None:
        """A piece came, or the end."""
        self.received += len(piece)
        if not self.incoming.complete:
            self.since = self.owner.now()
        elif not self.complete:
            self.complete = True
            self.owner.ended(self)

    def _wait(self) -> None:
        self.waiting = True
        self.since = self.owner.now()

    def _breaks(self, error: Exception) -> StreamBroken:
        """It broke off: whoever reads it is told so, and so is the router."""
        if isinstance(error, Failed):
            failed = error
        else:
            _LOG.exception("the answer of %s raised", self.upstream)
            failed = Failed(Failure.SERVER_ERROR, f"it raised {type(error).__name__}")
            self.incoming.stop()
        self.owner.broke(self, failed)
        return self._broken(failed)

    def _broken(self, failed: Failed) -> StreamBroken:
        """What ended it: the router's word (the deadline, say) counts before that of the connection."""
        if self.error is None:
            told = f"the answer of {self.upstream!r} broke off: "
            error = StreamBroken(told + failed.message, failure=failed.failure.value, public=told + failed.why)
            self.end(error)
        return self.error or StreamBroken(failed.message, failure=failed.failure.value, public=failed.why)
