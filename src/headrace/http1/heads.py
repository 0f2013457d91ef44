"""Heads of requests that came before: read once, recognised after that.

A client sends the same head with each request of a kind, but for the length of the body. What a head says follows from
its bytes alone, so one that was read and judged need not be read again: it is enough that the bytes are the same. There
are many clients, so a head is looked up; the answers of a server are of few forms, see `forms.py`.

Its body comes with it or, as many clients send it, after it. All else goes to the parser: a head in pieces, what has
more after it, what is chunked, and a head that comes for the first or the second time. (Many never come again: those
with a number of their own.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from headrace.http1.headers import Field, Fields
from headrace.http1.limits import SMALL

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


_NOTHING = (None, 0, b"", None)


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

    def find(self, data: bytes) -> tuple[Shape | None, int, bytes, Known | None]:
        """The shape of a head, the length of its body, the body, and what the head says if it is known.

        The shape is None unless `data` is that head, with all of its body or nothing of it.

        >>> Heads().find(b"POST / HTTP/1.1\\r\\nContent-Length: 2\\r\\nHost: a\\r\\n\\r\\n{}")
        ((b'POST / HTTP/1.1\\r\\nContent-L', b'ength: ', b'Host: a'), 2, b'{}', None)
        """
        if len(data) > self._longest:
            return _NOTHING
        head, end, body = data.partition(b"\r\n\r\n")
        before, length, rest = head.partition(b"ength: ")
        digits, _, after = rest.partition(b"\r\n")
        size = len(body)
        if digits != b"%d" % size if length else body:
            size = 0 if body else _number(digits)  # nothing of it is here yet
            if not 0 < size <= self._longest:
                return _NOTHING
        if not end:
            return _NOTHING
        shape = (before, length, after)
        return shape, size, body, self._known.get(shape)

    def learn(
        self, shape: Shape, size: int, first: tuple[Any, ...], fields: Sequence[Field], facts: dict[Any, Any]
    ) -> None:
        """Know such heads from now on: the parser has read one, with this length, and nothing was wrong with it."""
        before, after = tuple(fields), ()
        sized = shape[1] != b""
        if sized:
            # The digits may also stand elsewhere: in the target, or in another header's value.
            length = (b"content-length", b"%d" % size)
            if not shape[0].lower().endswith(b"\r\ncontent-l") or before.count(length) != 1:
                return
            place = before.index(length)
            before, after = before[:place], before[place + 1 :]
        if sum(map(len, shape)) > _LONGEST:
            return
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[shape] = Known(first, before, after, sized, facts)


def _number(digits: bytes) -> int:
    """A length, if it is plain; else 0."""
    return int(digits) if digits.isdigit() and len(digits) < 10 and digits[:1] != b"0" else 0
