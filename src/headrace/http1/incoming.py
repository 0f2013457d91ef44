"""A message on its way in, a request or an answer: its head, and the pieces of its body as they come."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Protocol, Self

from headrace.core.errors import HttpError
from headrace.http1.headers import Field, Fields, find


class Flow(Protocol):
    """A body of which what is there can be taken without waiting, and that says when there is more.

    An answer is written from such a body within the call that brought the bytes: no task has to wake for each piece.
    """

    @property
    def complete(self) -> bool:
        """Whether all of it has come, and is taken."""
        ...

    def take(self) -> bytes:
        """All that is there; nothing, perhaps."""
        ...

    def check(self) -> None:
        """Raise what is wrong with the body, once all that came before is taken."""
        ...

    def when_more(self, told: Callable[[], None] | None) -> None:
        """Call `told` from now on whenever there is more to take or to raise, or the body is complete.

        It is called from the loop, or from where bytes come. None: nobody wants to know.
        """
        ...


class Incoming(ABC):
    """One message; an async iterator over what has come of its body and was not read, and a `Flow`.

    Attributes
    ----------
    facts
        For whoever is concerned with such messages: what follows from the head alone, but for the length of the body,
        and for `Answer.values`. Messages whose heads are otherwise the same may share it.
    received
        Bytes that came.
    buffered
        Bytes of them that were not read.
    complete
        Whether all of the body has come.
    trailers
        Fields after a chunked body; complete when the body is.
    told
        Called when there is more, see `when_more`.
    """

    # Defaults of the class, not of slots: one is made per exchange, and most of these are never set in its life.
    received = 0
    buffered = 0
    _first = b""
    # Nearly always a body comes in one piece, or each piece is read before the next comes.
    _rest: list[bytes] | None = None
    complete = False
    _error: HttpError | None = None
    _waiter: asyncio.Future[None] | None = None
    told: Callable[[], None] | None = None
    _reads: Callable[[], None] | None = None
    # Nobody, as long as the connection need not know that the body is read.
    trailers: Sequence[Field] = ()
    facts: dict[Any, Any]
    _fields: Fields | None = None

    # For who reads it

    @property
    def headers(self) -> Fields:
        """All fields in order, names in lower case, duplicates kept."""
        if self._fields is None:
            self._fields = self._read()
        return self._fields

    def header(self, name: bytes) -> bytes | None:
        """The first value of a header (name in lower case)."""
        return find(self.headers, name)

    @property
    def whole(self) -> bool:
        """Whether all of the body has come, and nothing went wrong: `take` gives what is left of it."""
        return self.complete and self._error is None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """All that came since the last piece; raises as `read`."""
        piece = self.take()
        while not piece:
            if self._error is not None:
                raise self._error
            if self.complete:
                raise StopAsyncIteration
            await self.wait()
            piece = self.take()
        return piece

    def take(self) -> bytes:
        """All that came since the last piece, without waiting: nothing, perhaps."""
        piece = self._first
        if piece:
            self._first = b""
            self.buffered = 0
            if self._rest is not None:
                piece += b"".join(self._rest)
                self._rest = None
            if self._reads is not None:
                self._reads()
            if self._error is not None and self.told is not None:
                asyncio.get_running_loop().call_soon(self.tell)  # what is wrong is still to be raised
        return piece

    async def wait(self) -> None:
        """Wait until there is something to take, or the body is complete, or broken: `check` raises that."""
        if self._first or self.complete or self._error is not None:
            return
        self._waiter = asyncio.get_running_loop().create_future()
        if self._reads is not None:
            self._reads()
        try:
            await self._waiter
        except asyncio.CancelledError:
            self.abandon()
            raise
        finally:
            self._waiter = None

    def when_more(self, told: Callable[[], None] | None) -> None:
        """As in `Flow`."""
        self.told = told
        if told is None:
            return
        if self._first or self.complete or self._error is not None:
            asyncio.get_running_loop().call_soon(self.tell)
        elif self._reads is not None:
            self._reads()

    @abstractmethod
    def abandon(self) -> None:
        """Who waited for more was cancelled."""

    def check(self) -> None:
        """Raise what is wrong with the body, once all that came before is taken."""
        if self._error is not None and not self._first:
            raise self._error

    @abstractmethod
    def _read(self) -> Fields:
        """The fields of a head that was recognised, of which most readers need no more than the facts."""

    # For the connection

    @property
    def awaited(self) -> bool:
        """Whether somebody waits for bytes of the body now."""
        return self._waiter is not None or self.told is not None

    def tell(self) -> None:
        """Tell whoever wants to know that there is more: after all bytes of a read, so they are taken at once."""
        if self.told is not None:
            self.told()

    def listen(self, reads: Callable[[], None]) -> None:
        """Call `reads` whenever the body is read or waited for."""
        self._reads = reads

    def push(self, piece: bytes) -> None:
        """Bytes of the body came."""
        size = len(piece)
        self.received += size
        self.buffered += size
        if not self._first:
            self._first = piece
        elif self._rest is None:
            self._rest = [piece]
        else:
            self._rest.append(piece)
        if self._waiter is not None:
            self._wake()

    def finish(self) -> None:
        """The body is complete."""
        self.complete = True
        if self._waiter is not None:
            self._wake()

    def drop(self) -> None:
        """Nobody will read what came or comes."""
        self._first = b""
        self.buffered = 0
        self._rest = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _broke(self, error: HttpError) -> None:
        """No more will come. That is told from the loop: what ends the body may be in the middle of something."""
        self._error = error
        self._wake()
        if self.told is not None:
            asyncio.get_running_loop().call_soon(self.tell)
