"""An answer as a caller sees it: its head at once, its body as it comes, and never a broken body as a complete one."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Literal, Self

from headrace.core.errors import BadAnswer, ExchangeError
from headrace.http1.forms import Form
from headrace.http1.headers import Fields
from headrace.http1.incoming import Incoming

Delimited = Literal["length", "chunked", "none", "close"]
"""How the end of a body is known, see `Answer`."""


def _nothing() -> None:
    """An answer without a connection."""


class Answer(Incoming):
    """The answer to one request; an async iterator over the pieces of its body.

    Iterate it to its end, `read` it, or `aclose` it (`async with` does): an answer that is left open holds a
    connection until its deadline. An answer that is closed before its end closes its connection.

    Attributes
    ----------
    status
        200 to 599.
    delimited
        How the end of the body is known: "length", "chunked", "none" (there is no body), or "close": by the end of the
        connection, which a server that crashed sends just the same.
    reused
        Whether the connection had carried a request before.
    values
        Values of headers that differ between answers that share their `facts`.
    """

    delimited: Delimited = "length"
    values: tuple[bytes, ...] = ()
    _form: Form

    def __init__(
        self,
        status: int,
        headers: Fields,
        *,
        delimited: Delimited,
        reused: bool,
        max_body: int,
        close: Callable[[], None] = _nothing,
    ) -> None:
        self.status = status
        self.delimited = delimited
        self.reused = reused
        self.facts = {}
        self._fields = headers
        self._max_body = max_body
        self._close = close

    @classmethod
    def of(cls, form: Form, values: tuple[bytes, ...], body: bytes, *, reused: bool, max_body: int) -> Self:
        """An answer whose form is known, and all of its body."""
        self = cls.__new__(cls)
        self.status = form.status
        self.reused = reused
        self.facts = form.facts
        self.values = values
        self._form = form
        self._first = body
        self.received = self.buffered = len(body)
        self.complete = True
        self._max_body = max_body
        return self

    # For callers

    @property
    def opens(self) -> tuple[int, ...]:
        """The places of the headers that `values` are of."""
        return self._form.opens if self.values else ()

    @property
    def ready(self) -> bool:
        """Whether `read` would give the body without waiting."""
        return self.complete and self.received <= self._max_body and self._error is None

    async def read(self) -> bytes:
        """The whole body, or what is left of it.

        Raises
        ------
        Truncated
            The connection ended inside the body.
        BadAnswer
            The body is no HTTP, or longer than `ClientLimits.max_body`.
        TimedOut
            The answer paused for longer than `idle`, or the deadline passed.
        """
        if self.complete and self.received <= self._max_body:
            return self.take()
        pieces: list[bytes] = []
        size = 0
        async for piece in self:
            pieces.append(piece)
            size += len(piece)
            if size > self._max_body:
                await self.aclose()
                raise BadAnswer(
                    f"the answer is longer than {self._max_body} bytes",
                    hint="read it as a stream, or raise ClientLimits.max_body",
                    received=self.received,
                    reused=self.reused,
                )
        return b"".join(pieces)

    async def aclose(self) -> None:
        """Let go: of an incomplete answer, the connection is closed at once, which tells the other side to stop."""
        self.abandon()

    def abandon(self) -> None:
        """The same at once, from code that is not async; whoever waits for a piece gets an `ExchangeError`."""
        self.drop()
        if not self.complete and self._error is None:
            self._broke(ExchangeError("the answer was closed before its end", received=self.received))
            self._close()

    async def __aenter__(self) -> Answer:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    # For the connection

    def _read(self) -> Fields:
        return self._form.filled(self.values)

    def fail(self, error: ExchangeError) -> None:
        """The body will not be complete. What came before can still be read; then the error is raised."""
        if not self.complete and self._error is None:
            self._broke(error)
