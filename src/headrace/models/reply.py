"""An answer of a model on its way to whoever asked."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Protocol, Self

from headrace.models.call import Usage
from headrace.models.request import ModelRequest, Terms


class Reply(Protocol):
    """The answer of a model: its head at once, its body as it comes, and never a broken body as a complete one.

    An async iterator over the pieces of the body, in the dialect of the request. Iterate it to its end, `read` it, or
    `aclose` it: that cancels the call at its upstream at once.

    Attributes
    ----------
    status, headers
        Of the answer (names in lower case); of the headers only what concerns a client, not those of the connection.
    upstream, model
        Which upstream answers, and with which of its models.
    attempts
        How many attempts it took so far.
    queued, first_byte
        Seconds from the request to the start of the first attempt, and to the first byte of this answer.
    usage, cost
        Known when the body is complete; None where the upstream does not say, or where there is no price.
    """

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    upstream: str
    model: str
    attempts: int
    queued: float
    first_byte: float
    usage: Usage | None
    cost: Decimal | None

    async def read(self) -> bytes:
        """The whole body, or what is left of it. Raises `StreamBroken`."""
        ...

    def __aiter__(self) -> Self: ...

    async def __anext__(self) -> bytes:
        """The next piece. Raises `StreamBroken` where the answer breaks off: what came before is not all of it."""
        ...

    async def aclose(self) -> None:
        """Let go: of an answer that is not complete, the attempt is cancelled at its upstream."""
        ...


class Caller(Protocol):
    """A declared model, running: carries requests to its upstreams as its policies decide."""

    name: str

    async def send(self, request: ModelRequest, terms: Terms) -> Reply:
        """Send a request; returns with the first byte of a stream, or with the whole of another answer.

        Cancelled, it cancels what runs at upstreams at once.

        Raises
        ------
        ModelRefused
            No answer: the deadline, a queue, a budget, or failed attempts; `reason` and `failure` say which.
        """
        ...
