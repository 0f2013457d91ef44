"""How long one upstream took lately, per size of prompt: what is usual, and from when on it is not."""

from __future__ import annotations

import math
from collections import defaultdict

from headrace.models.call import Call
from headrace.stats.ddsketch import Sketch, bin_of

_NEVER = (-math.inf, 0, math.nan)


class Recent:
    """Quantiles of the last one to two windows: two sketches that take turns.

    Examples
    --------
    >>> recent = Recent(window=60)
    >>> for n in range(100):
    ...     recent.add(now=0, value=float(n))
    >>> round(recent.quantile(now=59, q=0.5)), recent.count(now=119), recent.count(now=120)
    (49, 100, 0)
    """

    __slots__ = ("_began", "_count", "_known", "_new", "_old", "window")

    def __init__(self, window: float) -> None:
        self.window = window
        self._began = -math.inf
        self._old = Sketch()
        self._new = Sketch()
        self._count = 0
        self._known: dict[float, tuple[float, int, float]] = {}

    def add(self, now: float, value: float) -> None:
        """One more value."""
        self.put(now, bin_of(value))

    def put(self, now: float, index: int) -> None:
        """One more value, whose bin is known."""
        if now - self._began >= self.window:
            self._turn(now)
        bins = self._new.bins
        bins[index] = bins.get(index, 0) + 1
        self._count += 1

    def count(self, now: float) -> int:
        """How many values are remembered."""
        if now - self._began >= self.window:
            self._turn(now)
        return self._count

    def quantile(self, now: float, q: float) -> float:
        """The value at or below which a share `q` of them lies; NaN while there is none."""
        found = self.usual(now, q, 0)
        return math.nan if found is None else found

    def usual(self, now: float, q: float, least: int) -> float | None:
        """A quantile of at least so many values; None while there are fewer."""
        if now - self._began >= self.window:
            self._turn(now)
        count = self._count
        if count < least:
            return None
        at, then, value = self._known.get(q, _NEVER)
        # A merge costs tens of microseconds, and every call asks; a fiftieth of a window changes little.
        if now - at > self.window / 50 or count > 1.1 * then or count < then:
            value = (self._old.merged(self._new) if self._old.bins else self._new).quantile(q)
            self._known[q] = (now, count, value)
        return value

    def _turn(self, now: float) -> None:
        passed = now - self._began
        self._old = self._new if passed < 2 * self.window else Sketch()
        self._new = Sketch()
        self._count = self._old.count
        self._began = now if math.isinf(self._began) or passed >= 2 * self.window else self._began + self.window


class Latencies:
    """Times to the first byte and to the end at one upstream, by size of prompt and by whether they are streams.

    An attempt that was given up counts with the time that it had run: its true time is longer, and leaving it out would
    make the upstream look fast because its slow answers were never waited for.

    Parameters
    ----------
    window
        Seconds after which a time begins to be forgotten; after twice that it is gone.
    least
        With fewer times than this, nothing is said.
    """

    def __init__(self, *, window: float = 60.0, least: int = 30) -> None:
        self.window = window
        self.least = least
        self._first = defaultdict[int, Recent](lambda: Recent(window))
        self._total = defaultdict[int, Recent](lambda: Recent(window))

    def first(self, now: float, call: Call, seconds: float) -> None:
        """The first byte came, or was given up on, after so many seconds."""
        self._first[call.kind].add(now, seconds)

    def total(self, now: float, call: Call, seconds: float) -> None:
        """The whole answer took so many seconds."""
        self._total[call.kind].add(now, seconds)

    def whole(self, now: float, call: Call, seconds: float) -> None:
        """The whole answer came at once, after so many seconds."""
        kind, index = call.kind, bin_of(seconds)
        self._first[kind].put(now, index)
        self._total[kind].put(now, index)

    def first_quantile(self, now: float, call: Call, q: float) -> float | None:
        """A quantile of the time to the first byte of such calls; None while too little is known."""
        recent = self._first.get(call.kind)
        return None if recent is None else recent.usual(now, q, self.least)

    def usual(self, now: float, call: Call) -> float:
        """Seconds that such a call usually takes (the median); 0 while too little is known."""
        recent = self._total.get(call.kind)
        return 0.0 if recent is None else recent.usual(now, 0.5, self.least) or 0.0
