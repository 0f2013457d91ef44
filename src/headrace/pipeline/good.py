"""The last good answers of an endpoint, by input: for the fallback "cached". Bounded, the oldest go first."""

from __future__ import annotations

from collections import OrderedDict

_BYTES = 16 * 1024 * 1024
_OVERHEAD = 200


class GoodAnswers:
    """Keeps bodies by their question.

    >>> good = GoodAnswers(most=1000)
    >>> good.keep("a", b"1"), good.keep("b", b"x" * 700), good.find("a"), good.find("b") == b"x" * 700
    (None, None, None, True)
    """

    def __init__(self, most: int = _BYTES) -> None:
        self._most = most
        self._bodies: OrderedDict[str, bytes] = OrderedDict()
        self._size = 0

    def find(self, key: str) -> bytes | None:
        """The last good answer of this question."""
        return self._bodies.get(key)

    def keep(self, key: str, body: bytes) -> None:
        """This was a good answer."""
        before = self._bodies.pop(key, None)
        if before is not None:
            self._size -= len(before) + _OVERHEAD
        self._bodies[key] = body
        self._size += len(body) + _OVERHEAD
        while self._size > self._most and self._bodies:
            _, gone = self._bodies.popitem(last=False)
            self._size -= len(gone) + _OVERHEAD
