"""Heads that came before: read once, recognised after that.

A client sends the same head with each request of a kind, but for the length of the body, and a server answers with few.
What a head says follows from its bytes alone, so one that was read and judged need not be read again: it is enough that
the bytes are the same. All else goes to the parser: what comes in pieces or with more after it, what is chunked, and a
head that comes for the first or the second time. (Many never come again: those with a number of their own.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from headrace.http1.bodies import SMALL
from headrace.http1.headers import Field

_LENGTH = b"ength: "
_LINE = b"\r\ncontent-length: "
_END = b"\r\n\r\n"
_LONGEST = 4096
"""Bytes of a head that is kept."""
_MOST = 1024
"""Heads that are kept; beyond it all are forgotten, and learnt again."""

Shape = tuple[bytes, bytes]
"""A head without the digits of its length: what is before them, and what is after."""


class Known(Struct, frozen=True):
    """What one head says.

    Attributes
    ----------
    first
        What its first line says.
    before, after
        Its fields, before and after the length.
    facts
        For whoever serves such messages: what follows from the head.
    """

    first: tuple[Any, ...]
    before: tuple[Field, ...]
    after: tuple[Field, ...]
    facts: dict[Any, Any]

    def fields(self, digits: bytes) -> tuple[Field, ...]:
        """Its fields, with a length."""
        return (*self.before, (b"content-length", digits), *self.after) if digits else self.before


class Heads:
    """The heads that one side of connections knows.

    Parameters
    ----------
    max_body
        Longest body (bytes) of messages that are read this way.
    """

    def __init__(self, max_body: int = SMALL) -> None:
        self._longest = min(max_body, SMALL) + _LONGEST
        self._known: dict[Shape, Known] = {}

    def split(self, data: bytes) -> tuple[Shape, bytes, int] | None:
        """The shape of a head, the digits of its length (empty: it tells none), and where it ends; None unless `data`
        is that head and all of its body.

        >>> Heads().split(b"POST / HTTP/1.1\\r\\nContent-Length: 2\\r\\nHost: a\\r\\n\\r\\n{}")
        ((b'POST / HTTP/1.1\\r\\nContent-Length: ', b'\\r\\nHost: a'), b'2', 47)
        """
        end = data.find(_END, 0, _LONGEST)
        if end < 0 or len(data) > self._longest:
            return None
        at = data.find(_LENGTH, 0, end)
        if at < 0:
            return ((data, b""), b"", end + 4) if end + 4 == len(data) else None
        at += 7
        stop = data.find(b"\r\n", at)
        digits = data[at:stop]
        if not digits.isdigit() or len(data) - end - 4 != int(digits):
            return None
        return (data[:at], data[stop:end]), digits, end + 4

    def find(self, shape: Shape) -> Known | None:
        """What a head of this shape says, if it is known."""
        return self._known.get(shape)

    def learn(
        self, shape: Shape, digits: bytes, first: tuple[Any, ...], fields: Sequence[Field], facts: dict[Any, Any]
    ) -> None:
        """Know such heads from now on: the parser has read one, and nothing was wrong with it."""
        before, after = tuple(fields), ()
        if digits:
            # They may also stand elsewhere: in the target, or in another header's value.
            length = (b"content-length", digits)
            if not shape[0].lower().endswith(_LINE) or before.count(length) != 1:
                return
            place = before.index(length)
            before, after = before[:place], before[place + 1 :]
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[shape] = Known(first, before, after, facts)
