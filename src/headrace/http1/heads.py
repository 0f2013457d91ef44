"""Heads of requests that came before: read once, recognised after that.

A client sends the same head with each request of a kind, but for the length of the body. What a head says follows from
its bytes alone, so one that was read and judged need not be read again: it is enough that the bytes are the same. There
are many clients, so a head is looked up; the answers of a server are of few forms, see `forms.py`.

All else goes to the parser: what comes in pieces or with more after it, what is chunked, and a head that comes for the
first or the second time. (Many never come again: those with a number of their own.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from headrace.http1.bodies import SMALL
from headrace.http1.headers import Field, Fields

_LONGEST = 4096
"""Bytes of a head that is kept."""
_MOST = 1024
"""Heads that are kept; beyond it all are forgotten, and learnt again."""

Shape = tuple[bytes, bytes, bytes]
"""A head without the digits of its length: what is before them, the end of that field's name (empty: it tells no
length), and what is after them."""


class Known(Struct, frozen=True):
    """What one head says.

    Attributes
    ----------
    first
        What its first line says.
    before, after
        Its fields, before and after the length.
    sized
        Whether it tells a length.
    facts
        For whoever serves such messages: what follows from the head.
    """

    first: tuple[Any, ...]
    before: tuple[Field, ...]
    after: tuple[Field, ...]
    sized: bool
    facts: dict[Any, Any]

    def fields(self, length: int) -> Fields:
        """Its fields, with a length."""
        return (*self.before, (b"content-length", b"%d" % length), *self.after) if self.sized else self.before


class Heads:
    """The heads that one server knows.

    Parameters
    ----------
    max_body
        Longest body (bytes) that is accepted. Messages that are longer altogether are not read this way.
    """

    def __init__(self, max_body: int = SMALL) -> None:
        self._longest = min(max_body, SMALL)
        self._known: dict[Shape, Known] = {}

    def find(self, data: bytes) -> tuple[Shape | None, bytes, Known | None]:
        """The shape of a head, the body that follows, and what the head says if it is known; nothing of these unless
        `data` is that head and all of its body.

        >>> Heads().find(b"POST / HTTP/1.1\\r\\nContent-Length: 2\\r\\nHost: a\\r\\n\\r\\n{}")
        ((b'POST / HTTP/1.1\\r\\nContent-L', b'ength: ', b'Host: a'), b'{}', None)
        """
        if len(data) > self._longest:
            return None, b"", None
        head, end, body = data.partition(b"\r\n\r\n")
        before, length, rest = head.partition(b"ength: ")
        digits, _, after = rest.partition(b"\r\n")
        if not end or (digits != b"%d" % len(body) if length else body):
            return None, b"", None
        shape = (before, length, after)
        return shape, body, self._known.get(shape)

    def learn(
        self, shape: Shape, body: bytes, first: tuple[Any, ...], fields: Sequence[Field], facts: dict[Any, Any]
    ) -> None:
        """Know such heads from now on: the parser has read one, with this body, and nothing was wrong with it."""
        before, after = tuple(fields), ()
        sized = shape[1] != b""
        if sized:
            # The digits may also stand elsewhere: in the target, or in another header's value.
            length = (b"content-length", b"%d" % len(body))
            if not shape[0].lower().endswith(b"\r\ncontent-l") or before.count(length) != 1:
                return
            place = before.index(length)
            before, after = before[:place], before[place + 1 :]
        if sum(map(len, shape)) > _LONGEST:
            return
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[shape] = Known(first, before, after, sized, facts)
