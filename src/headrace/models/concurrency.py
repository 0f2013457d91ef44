"""How much may be in flight at one upstream, learnt from what comes back.

Latency of a whole call is no signal here: it depends on how long the answer happens to be. So there are two ways:

- `Aimd` for hosted APIs, which say when it is too much (429, 503, 529, a timeout): down by a factor at each such
  signal, at most once per round trip; up by one for each limit's worth of answers that begin.
- `Gradient` for servers of one's own, which rarely refuse and queue instead: the time to the first token, divided by
  the work that it takes, rises when calls begin to wait inside.

Both start slowly, which is fast: up by one for each answer that begins, so that the limit doubles with each round,
until the upstream first shows that it is too much. A hosted API shows that at once, so that there it also doubles when
nothing was refused for a while: whole answers take long to begin. Until then the limit is not *found*: it is a guess
of ours, and nobody is turned away for it alone (`Admission`).

Neither grows while less than half of the limit is in use: a limit that nobody reaches proves nothing.

References
----------
D.-M. Chiu, R. Jain: Analysis of the increase and decrease algorithms for congestion avoidance. Computer Networks 17,
1989. Netflix concurrency-limits: `AIMDLimit` (factor 0.9), `Gradient2Limit` (gradient between 0.5 and 1, smoothing 0.2,
queue 4, long window 600 samples; later versions allow a tolerance of 1.5). V. Jacobson: Congestion avoidance and
control. SIGCOMM 1988 (slow start, up to a threshold).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol

_NEAR = 0.75
"""Up to this share of the limit that was in use before an outage it comes back quickly."""
_TIMED = 1e-6
"""Seconds per unit of work below which times are not told apart: a coarse clock says 0, and nothing is slower than 0 by
a factor."""


_FACTOR = 0.9
"""What is left of the limit of a server of one's own after an explicit signal."""


class Limit(Protocol):
    """How many attempts may be in flight at one upstream."""

    @property
    def current(self) -> int:
        """The limit now. Read for every upstream and call: an attribute in those below."""
        ...

    @property
    def found(self) -> bool:
        """Whether it is known that more would be too much, or not allowed; otherwise the limit is a guess."""
        ...

    def on_first_token(self, in_flight: int, seconds: float, work: float) -> None:
        """The answer to one of `in_flight` attempts began after `seconds`, where `work` units were to be done."""
        ...

    def on_taken(self) -> None:
        """The limit is reached, is not found, and of what is in flight nothing was refused for a while."""
        ...

    def on_too_much(self, now: float, started: float, in_flight: float = math.inf) -> None:
        """An attempt that was started at `started` came back with a signal of overload; where that was a refusal, so
        many others are in flight, none of which is known to be too much."""
        ...


@dataclass(slots=True)
class Fixed:
    """A limit that stays as it is."""

    current: int = 64
    found: bool = True

    def on_first_token(self, in_flight: int, seconds: float, work: float) -> None:
        """Nothing is learnt."""

    def on_taken(self) -> None:
        """Nothing is learnt."""

    def on_too_much(self, now: float, started: float, in_flight: float = math.inf) -> None:
        """Nothing is learnt."""


@dataclass(slots=True)
class Aimd:
    """Additive increase, multiplicative decrease on explicit signals.

    Before the first signal the limit doubles per round trip, or sooner. After an outage it is at its lowest, and one
    more per round trip would take minutes back to where it was: it doubles then too, up to three quarters of the limit
    that was in use before the trouble began.

    Parameters
    ----------
    initial, least, most
        Where it starts and between what it stays (attempts).
    factor
        What is left after a signal.

    Examples
    --------
    >>> limit = Aimd(initial=10)
    >>> limit.on_too_much(now=1.0, started=0.5)
    >>> limit.current
    9

    One signal counts for all that was sent before it was heard:

    >>> limit.on_too_much(now=1.1, started=0.6)
    >>> limit.current
    9
    """

    initial: int = 32
    least: int = 1
    most: int = 512
    factor: float = 0.9
    current: int = field(init=False)
    """The limit now."""
    _limit: float = field(init=False)
    _lowered: float = field(default=-math.inf, init=False)
    _proven: float = field(default=math.inf, init=False)
    """The limit that was in use before the trouble began; infinite: there was none yet."""
    _well: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        self._set(float(self.initial))

    @property
    def found(self) -> bool:
        """Whether there was a signal, or it may not rise."""
        return self._proven < math.inf or self.current >= self.most

    def on_first_token(self, in_flight: int, seconds: float, work: float) -> None:
        """It was not too much; a limit's worth of these raises the limit by one, early on each does so by itself."""
        self._well = True
        if 2 * in_flight < self.current:
            return
        step = 1.0 if self._limit < _NEAR * self._proven else 1.0 / self._limit
        self._set(min(self._limit + step, float(self.most)))

    def on_taken(self) -> None:
        """It doubles: an API that will not take a call says so at once, however long its answers take."""
        self._set(min(2 * self._limit, float(self.most)))

    def on_too_much(self, now: float, started: float, in_flight: float = math.inf) -> None:
        """Lower the limit (`_less`); what was in use when the trouble began is remembered."""
        burst, guess = started < self._lowered, not self.found
        limit = _less(self._limit, self.factor, in_flight, burst=burst, guess=guess)
        if limit is None:
            return
        if self._well:
            self._proven, self._well = min(self._limit, in_flight) if guess else self._limit, False
        if not burst:
            self._lowered = now
        self._set(max(limit, float(self.least)))

    def _set(self, limit: float) -> None:
        self._limit = limit
        self.current = int(limit)


@dataclass(slots=True)
class Gradient:
    """Follows the time to the first token per unit of work, and the explicit signals as well.

    Parameters
    ----------
    initial, least, most
        Where it starts and between what it stays (attempts).
    tolerance
        How much slower than in the long run is still well.
    smoothing
        Weight of a new limit against the one before.
    queue
        How many calls may wait inside the upstream; also what the limit grows by.
    samples
        First tokens over which the long run goes.

    Examples
    --------
    >>> limit = Gradient(initial=20)
    >>> for _ in range(50):
    ...     limit.on_first_token(in_flight=20, seconds=0.3, work=1.0)
    >>> grown = limit.current
    >>> for _ in range(20):
    ...     limit.on_first_token(in_flight=grown, seconds=3.0, work=1.0)
    >>> grown > 20, limit.current < grown
    (True, True)
    """

    initial: int = 32
    least: int = 1
    most: int = 512
    tolerance: float = 1.5
    smoothing: float = 0.2
    queue: int = 4
    samples: int = 600
    current: int = field(init=False)
    """The limit now."""
    found: bool = field(default=False, init=False)
    """Whether first tokens came late or there was a signal, or it may not rise."""
    _limit: float = field(init=False)
    _long: float = field(default=math.nan, init=False)
    _short: float = field(default=math.nan, init=False)
    _seen: int = field(default=0, init=False)
    _lowered: float = field(default=-math.inf, init=False)

    def __post_init__(self) -> None:
        self._set(float(self.initial))

    def on_first_token(self, in_flight: int, seconds: float, work: float) -> None:
        """One more sample; moves the limit unless less than half of it is in use."""
        self._measure(max(seconds / work, _TIMED))
        self.found = self.found or self._short > self.tolerance * self._long
        if 2 * in_flight < self.current:
            return
        if not self.found:
            self._set(min(self._limit + 1.0, float(self.most)))
            return
        slope = max(0.5, min(1.0, self.tolerance * self._long / self._short))
        aim = self._limit * slope + self.queue
        # One sample of many in flight moves it little, so that a limit takes about a round trip to follow.
        weight = self.smoothing * min(4.0 / max(self._limit, 4.0), 1.0)
        self._set(min(max(self._limit + weight * (aim - self._limit), float(self.least)), float(self.most)))

    def on_taken(self) -> None:
        """Says nothing: a server of one's own takes everything, and lets it wait."""

    def on_too_much(self, now: float, started: float, in_flight: float = math.inf) -> None:
        """An explicit signal counts here too."""
        burst = started < self._lowered
        limit = _less(self._limit, _FACTOR, in_flight, burst=burst, guess=not self.found)
        if limit is None:
            return
        self.found = True
        if not burst:
            self._lowered = now
        self._set(max(limit, float(self.least)))

    def _set(self, limit: float) -> None:
        self._limit = limit
        self.current = int(limit)
        self.found = self.found or self.current >= self.most

    def _measure(self, sample: float) -> None:
        self._seen += 1
        self._short = sample if self._seen == 1 else self._short + 0.2 * (sample - self._short)
        weight = 1.0 / min(self._seen, self.samples)
        if self._short > self.tolerance * self._long:
            weight /= 10  # else a minute of overload becomes what is usual, and the limit rises with it
        self._long = sample if self._seen == 1 else self._long + weight * (sample - self._long)
        if self._long > 2 * self._short:
            self._long *= 0.95


def _less(limit: float, factor: float, in_flight: float, *, burst: bool, guess: bool) -> float | None:
    """A limit after a sign of too much; None: it stays.

    A guess comes down to what is in flight, which was taken, and so does what the first sign of the same burst has made
    of it. Later the factor is taken off, once per burst. Where little is in flight, a sign shows no guess wrong.
    """
    tried = 2 * in_flight >= limit
    if guess and not tried:
        return None
    less = limit if burst else limit * factor
    return min(less, in_flight) if tried and (burst or guess) else less
