"""An answer on its way to whoever asked."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Protocol

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


class Delivery:
    """A `Reply` (see there for what it is and what its attributes mean).

    Reading pulls from the upstream: nothing is read ahead but what the connection buffers, which is bounded.

    Attributes
    ----------
    waiting
        Whether somebody waits for more: else its silence is that of a slow client.
    since
        Since when (the owner's `now`) nothing came, or nobody waited for it.
    """

    __slots__ = (
        "_error", "_now", "_owner", "_received", "attempt", "attempts", "call", "cost", "first_byte", "headers",
        "incoming", "model", "queued", "since", "status", "upstream", "usage", "waiting",
    )  # fmt: skip

    def __init__(
        self,
        owner: _Owner,
        call: str,
        attempt: int,
        incoming: Incoming,
        *,
        upstream: str,
        model: str,
        attempts: int,
        queued: float,
        first_byte: float,
    ) -> None:
        self.status = incoming.status
        self.headers = incoming.headers
        self.upstream = upstream
        self.model = model
        self.attempts = attempts
        self.queued = queued
        self.first_byte = first_byte
        self.usage: Usage | None = None
        self.cost: Decimal | None = None
        self.call = call
        self.attempt = attempt
        self.incoming = incoming
        self.waiting = False
        self.since = owner.now()
        self._now = owner.now
        self._owner = owner
        self._received = 0
        self._error: StreamBroken | None = None

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
        if self._error is not None:
            raise self._error
        complete = self.incoming.complete
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
        self._came(piece, complete)
        if not piece:
            raise StopAsyncIteration
        return piece

    @property
    def flows(self) -> bool:
        """Whether `take` and `when_more` can be used: where the upstream's bytes are there, nobody has to wait."""
        return hasattr(self.incoming, "when_more")

    @property
    def complete(self) -> bool:
        """Whether nothing is missing any more."""
        return self.incoming.complete

    def take(self) -> bytes:
        """What is there, without waiting; empty: nothing yet, or no more. Raises `StreamBroken`."""
        if self._error is not None:
            raise self._error
        incoming: Any = self.incoming
        complete = incoming.complete
        try:
            piece: bytes = incoming.take()
        # As in `__anext__`.
        except Exception as error:
            raise self._breaks(error) from error
        self._came(piece, complete)
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
        if not self.incoming.complete and self._error is None:
            self._owner.let_go(self)

    def end(self, error: StreamBroken) -> None:
        """No more will come."""
        error.received = self._received
        self._error = error

    def _came(self, piece: bytes, before: bool) -> None:
        """A piece came, or the end; `before`: whether the answer was complete before."""
        self._received += len(piece)
        if before:
            return
        if self.incoming.complete:
            self._owner.ended(self)
        else:
            self.since = self._now()

    def _wait(self) -> None:
        self.waiting = True
        self.since = self._now()

    def _breaks(self, error: Exception) -> StreamBroken:
        """It broke off: whoever reads it is told so, and so is the router."""
        if isinstance(error, Failed):
            failed = error
        else:
            _LOG.exception("the answer of %s raised", self.upstream)
            failed = Failed(Failure.SERVER_ERROR, f"it raised {type(error).__name__}")
            self.incoming.stop()
        self._owner.broke(self, failed)
        return self._broken(failed)

    def _broken(self, failed: Failed) -> StreamBroken:
        """What ended it: the router's word (the deadline, say) counts before that of the connection."""
        if self._error is None:
            message = f"the answer of {self.upstream!r} broke off: {failed.message}"
            self.end(StreamBroken(message, failure=failed.failure.value))
        return self._error or StreamBroken(failed.message, failure=failed.failure.value)
