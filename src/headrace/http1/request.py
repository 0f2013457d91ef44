"""A request as a handler sees it: its head at once, its body as it comes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from headrace.core.errors import BodyRefused
from headrace.http1.headers import Fields
from headrace.http1.heads import Known
from headrace.http1.incoming import Incoming


class Request(Incoming):
    """One request; an async iterator over the pieces of its body, as they come.

    Attributes
    ----------
    method
        In upper case: `b"GET"`.
    target
        As it was sent: `b"/v1/models?limit=2"`; of an absolute target the path and query.
    version
        `"1.1"` or `"1.0"`.
    keep_alive
        Whether the client lets the connection live after the answer.
    length
        The body's length if the client told it; None of a chunked body.
    client
        The address of the other side, as the transport gives it.
    answered
        The status of the answer whose head was written; 0 before.
    """

    version = "1.1"
    keep_alive = True
    expects = False
    answered = 0
    held = 0
    """Bytes of the body that count as held, see `http1.bodies`."""
    client: Any = None
    state: Any = None
    """Free for whoever handles the request."""
    _done: tuple[Callable[[Request], None], ...] = ()
    _named: dict[bytes, bytes] | None = None
    _known: Known

    def __init__(
        self,
        method: bytes,
        target: bytes,
        headers: Fields,
        *,
        version: str,
        keep_alive: bool,
        length: int | None,
    ) -> None:
        self.method = method
        self.target = target
        self.version = version
        self.keep_alive = keep_alive
        self.length = length
        self.facts = {}
        self._fields = headers

    @classmethod
    def known(cls, known: Known, size: int, body: bytes) -> Self:
        """A request with a head that came before, and all of its body, or nothing of it yet."""
        self = cls.__new__(cls)
        self.method, self.target = known.first
        self.facts = known.facts
        self._known = known
        self._first = body
        self.length = size
        self.received = self.buffered = len(body)
        self.complete = self.received == size
        return self

    # For handlers

    @property
    def path(self) -> bytes:
        """The target without its query, as it was sent (percent-encoded)."""
        return self.target.partition(b"?")[0]

    @property
    def query(self) -> bytes:
        """What stands after the first `?`."""
        return self.target.partition(b"?")[2]

    @property
    def named(self) -> dict[bytes, bytes]:
        """The headers by name; of one that came several times, the last."""
        if self._named is None:
            self._named = dict(self.headers)
        return self._named

    def when_done(self, callback: Callable[[Request], None]) -> None:
        """Call `callback` once, when the answer is out, or broke off, or its client is gone; see `answered`."""
        self._done += (callback,)

    async def read(self) -> bytes:
        """The whole body (or what is left of it).

        Raises
        ------
        BodyRefused
            It is too large, too slow, or no valid HTTP. Left alone, the client gets the right status.
        """
        if self.complete and self._error is None:
            return self.take()
        pieces = [piece async for piece in self]
        return b"".join(pieces)

    def abandon(self) -> None:
        """Who waited for more was cancelled: the connection sees to the rest of the body when it is answered."""

    # For the connection

    def _read(self) -> Fields:
        return self._known.fields(self.length or 0)

    def fail(self, error: BodyRefused) -> None:
        """The body will not be complete."""
        self._broke(error)

    def done(self) -> None:
        """The exchange is over."""
        callbacks, self._done = self._done, ()
        for callback in callbacks:
            callback(self)
