"""An answer on its way to whoever asked."""

from __future__ import annotations

import asyncio
import logging
from decimal import Decimal
from typing import Protocol

from headrace.core.errors import StreamBroken
from headrace.models.call import Usage
from headrace.models.failure import Failure
from headrace.models.provider import Failed, Incoming, Whole

_LOG = logging.getLogger(__name__)


class _Owner(Protocol):
    """The shell of the router, as a delivery sees it."""

    def came(self, delivery: Delivery) -> None: ...

    def broke(self, delivery: Delivery, failed: Failed) -> None: ...

    def let_go(self, delivery: Delivery) -> None: ...


class Delivery:
    """A `Reply` (see there for what it is and what its attributes mean).

    Reading pulls from the upstream: nothing is read ahead but what the connection buffers, which is bounded.
    """

    __slots__ = (
        "_error", "_owner", "_received", "attempt", "attempts", "call", "cost", "first_byte", "headers", "incoming",
        "model", "queued", "status", "upstream", "usage", "waiting",
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
        self._owner = owner
        self._received = 0
        self._error: StreamBroken | None = None

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
        incoming = self.incoming
        complete = incoming.complete
        self.waiting = True
        try:
            piece = await incoming.next()
        except Failed as failed:
            self._owner.broke(self, failed)
            raise self._broken(failed) from None
        except asyncio.CancelledError:
            await self.aclose()
            raise
        # The boundary to kinds of upstreams, as in `RoutedModel`: a call must not stay open because they raise.
        except Exception as error:
            _LOG.exception("the answer of %s raised", self.upstream)
            failed = Failed(Failure.SERVER_ERROR, f"it raised {type(error).__name__}")
            incoming.stop()
            self._owner.broke(self, failed)
            raise self._broken(failed) from error
        finally:
            self.waiting = False
        if not complete:
            self._owner.came(self)
        if not piece:
            raise StopAsyncIteration
        self._received += len(piece)
        return piece

    async def aclose(self) -> None:
        """Let go: of an answer that is not complete, the attempt is cancelled at its upstream."""
        if not self.incoming.complete and self._error is None:
            self._owner.let_go(self)

    def end(self, error: StreamBroken) -> None:
        """No more will come."""
        error.received = self._received
        self._error = error

    def _broken(self, failed: Failed) -> StreamBroken:
        """What ended it: the router's word (the deadline, say) counts before that of the connection."""
        if self._error is None:
            message = f"the answer of {self.upstream!r} broke off: {failed.message}"
            self.end(StreamBroken(message, failure=failed.failure.value))
        return self._error or StreamBroken(failed.message, failure=failed.failure.value)
