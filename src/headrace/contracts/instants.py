"""Instants from whole columns of RFC 3339 text, all of one shape: `2026-01-31T12:00:00.123456Z` and its like.

A producer writes all its times in one shape. So the digits of a column are taken at once, by strides over the joined
texts, and read as two numbers a text: the minute, which is looked up, and the microseconds after it. That is 0.25
microseconds a text; to decode a `datetime`, to look for a seventh digit of a second and to convert takes 1.0.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from headrace.core.clock import instant

_MINUTE = (0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15)
"""Where the digits of the year up to the minute stand."""
_TENS_OF_SECONDS = 17
_FRACTION = 20
_MARKS = {4: b"-", 7: b"-", 10: b"T", 13: b":", 16: b":"}
_ZONES = ("Z", "+00:00", "")
"""All of them mean UTC."""
_MICROSECONDS = 100_000_000
"""What `_numbers` puts before the microseconds after a minute."""
_REMEMBERED = 10_000
"""Minutes that are remembered, at most: a week."""

_integers = msgspec.json.Decoder(list[int]).decode


class OtherShape(ValueError):
    """The texts do not all have one shape that is read here; they may be good all the same."""


class _Minutes(dict[int, int]):
    """By the digits of a minute, with a 1 before them, what is to be added to the microseconds after it."""

    def __missing__(self, digits: int) -> int:
        rest, minute = divmod(digits - 10**12, 100)
        rest, hour = divmod(rest, 100)
        rest, day = divmod(rest, 100)
        year, month = divmod(rest, 100)
        found = instant(datetime(year, month, day, hour, minute, tzinfo=UTC)) - _MICROSECONDS
        if len(self) >= _REMEMBERED:
            self.clear()
        self[digits] = found
        return found


_minutes = _Minutes()


def read_instants(texts: Sequence[str]) -> list[int]:
    """The instants (microseconds) of texts in UTC, whose seconds have no, three or six decimals.

    >>> read_instants(["1970-01-01T00:00:01.500Z", "1970-01-01T00:01:00.000Z"])
    [1500000, 60000000]

    Raises
    ------
    OtherShape
        The texts have different shapes, or one that is not read here.
    ValueError
        There is no such day or time of day.
    """
    if not texts:
        return []
    width, (decimals, marks) = len(texts[0]), _shape(texts[0])
    data = "".join(texts).encode()
    if set(map(len, texts)) != {width} or len(data) != width * len(texts):
        raise OtherShape("not all are of one length")
    if any(data[i::width] != mark * len(texts) for i, mark in marks.items()):
        raise OtherShape("not all are of one shape")
    if max(data[_TENS_OF_SECONDS::width]) > ord("5"):
        raise ValueError("a minute has 60 seconds")
    after = (_TENS_OF_SECONDS, _TENS_OF_SECONDS + 1, *range(_FRACTION, _FRACTION + decimals))
    minutes = map(_minutes.__getitem__, _numbers(data, width, _MINUTE, 12))
    return list(map(operator.add, minutes, _numbers(data, width, after, 8)))


def _shape(text: str) -> tuple[int, dict[int, bytes]]:
    """How many decimals the seconds have, and whatever stands in a text beside its digits."""
    for zone in _ZONES:
        end = len(text) - len(zone)
        decimals = {19: 0, 23: 3, 26: 6}.get(end)
        if decimals is not None and text.endswith(zone):
            marks = _MARKS | {end + i: mark.encode() for i, mark in enumerate(zone)}
            return decimals, marks | {19: b"."} if decimals else marks
    raise OtherShape("not a shape that is read here")


def _numbers(data: bytes, width: int, positions: Sequence[int], digits: int) -> list[int]:
    """The digits at these positions of each text as a number, filled up with zeros and with a 1 before them, since no
    number begins with a zero in JSON."""
    text = bytearray(b"1" + b"0" * digits + b",") * (len(data) // width)
    for i, position in enumerate(positions):
        column = data[position::width]
        if not column.isdigit():
            raise OtherShape("not all are digits")
        text[1 + i :: digits + 2] = column
    text[-1] = ord("]")
    return _integers(b"[" + text)
