"""Whether an upstream is well enough to be used: ejected when it fails, tried again with one probe, for longer each
time.

Ejected after `consecutive` failures in a row, or when the share of failures is above `share` with 97.5 % confidence
(the lower bound of Wilson's interval), so that two failures of three do not count as 67 %. Wrong keys and wrong
requests are nobody's illness (`Failure.blames_upstream`).

    closed --fails--> open (5 s, 10 s, ... 60 s, +-20 %) --time is up--> half open: one probe --well--> closed
                       ^--------------------------------------------------------------fails--|

The longer ejections are for when others can take its calls. When none can and calls wait, a probe may go after `first`.
When all upstreams are ejected, the router takes the least bad one rather than none (panic): ejection is a judgement of
one upstream against others, and where no other is left it only makes an outage longer. A success closes the breaker,
also then.

References
----------
Envoy, "Outlier detection" (5 failures in a row, time grows with each ejection, panic). Where this departs from it:
docs/decisions/0013-policies.md.
"""

from __future__ import annotations

import enum
import math
from collections import deque
from dataclasses import dataclass
from random import Random
from typing import ClassVar

from pydantic import ConfigDict

from headrace.models.bounds import STRICT, Count, Seconds, Share
from headrace.models.failure import Failure
from headrace.stats.interval import wilson

_SLOTS = 10


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """When to eject and for how long; times in seconds.

    Parameters
    ----------
    enabled
        Off: nothing is ever ejected.
    consecutive
        Failures in a row that eject.
    share, least, window
        Eject when the share of failures over `window` is surely above `share`, with at least `least` attempts.
    first, longest
        The first ejection, doubled each time up to the longest.
    jitter
        Each is longer or shorter by up to this share, so that probes of many processes do not come together.
    calm
        After so long without ejection, the next one is a first one again.
    patience
        An attempt that its client gives up counts as failed when it had waited for so long, and no first byte had come
        from the upstream meanwhile, nor in twice the usual time.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    enabled: bool = True
    consecutive: Count = 5
    share: Share = 0.5
    least: Count = 10
    window: Seconds = 30.0
    first: Seconds = 5.0
    longest: Seconds = 60.0
    jitter: Share = 0.2
    calm: Seconds = 60.0
    patience: Seconds = 2.0


class State(enum.StrEnum):
    """Whether attempts may go to an upstream."""

    CLOSED = "closed"
    """It is well."""
    OPEN = "open"
    """It is ejected."""
    HALF_OPEN = "half_open"
    """Its time is up: one probe may go there."""


class Breaker:
    """Judges one upstream.

    Examples
    --------
    >>> breaker = Breaker(BreakerRules(consecutive=2, jitter=0), Random(1))
    >>> for _ in range(2):
    ...     breaker.on_failure(10.0, Failure.TIMEOUT)
    >>> breaker.state(14.9), breaker.until, breaker.state(15.0)
    (<State.OPEN: 'open'>, 15.0, <State.HALF_OPEN: 'half_open'>)
    >>> probe = breaker.begin(15.0)
    >>> breaker.on_failure(16.0, Failure.TIMEOUT, probe=probe)
    >>> breaker.until
    26.0
    >>> breaker.on_success(28.0, started=27.0)
    >>> breaker.state(28.0)
    <State.CLOSED: 'closed'>
    """

    def __init__(self, rules: BreakerRules, random: Random) -> None:
        self.rules = rules
        self._random = random
        self.ejected = False
        """Whether it is open or half open; while not, nothing else needs to be asked."""
        self._width = rules.window / _SLOTS
        self._probing = False
        self.until = -math.inf
        """When the present or last ejection ends (instant)."""
        self._since = -math.inf
        self._streak = 0
        self._ejections = 0
        self._slots: deque[list[float]] = deque(maxlen=_SLOTS)
        """Number, successes and failures of each tenth of the window that had any."""
        self._latest: list[float] = [-math.inf, 0, 0]
        """The last of them."""

    def state(self, now: float) -> State:
        """Closed, open or half open."""
        if not self.ejected:
            return State.CLOSED
        return State.OPEN if now < self.until else State.HALF_OPEN

    def allows(self, now: float) -> bool:
        """Whether an attempt may go there now (when half open: the one probe)."""
        return not self.ejected or (now >= self.until and not self._probing)

    def presses(self, now: float) -> bool:
        """Whether a probe may go there before its time because calls wait that nobody else can take."""
        return self.ejected and not self._probing and now >= self._since + self.rules.first

    def closed(self, now: float, *, pressed: bool) -> float:
        """Seconds until a probe may go there, before its time if it is `pressed`; 0 while one is there, whose end is
        not known."""
        if not self.ejected or self._probing:
            return 0.0
        return max((min(self.until, self._since + self.rules.first) if pressed else self.until) - now, 0.0)

    def begin(self, now: float) -> bool:
        """An attempt goes there; True when it is the probe (hand that back with its end)."""
        if not self.ejected or self._probing or not (self.allows(now) or self.presses(now)):
            return False
        self._probing = True
        return True

    def failure_share(self, now: float) -> float:
        """The share of failures over the window; 0 without attempts."""
        good, bad = self._counts(now)
        return bad / (good + bad) if good + bad else 0.0

    def on_success(self, now: float, started: float) -> None:
        """An attempt that began at `started` went well; one from before the ejection proves nothing."""
        self._streak = 0
        if self.ejected and started >= self._since:
            self.ejected = self._probing = False
            self._slots.clear()
            self._latest = [-math.inf, 0, 0]
            self.until = now
        slot = self._latest
        if slot[0] < now // self._width:
            slot = self._begin_slot(now)
        slot[1] += 1

    def on_failure(self, now: float, failure: Failure, *, probe: bool = False) -> None:
        """An attempt there failed; what does not blame the upstream only ends a probe."""
        if not failure.blames_upstream:
            self.on_given_up(probe=probe)
            return
        self._streak += 1
        slot = self._latest
        if slot[0] < now // self._width:
            slot = self._begin_slot(now)
        slot[2] += 1
        if self.ejected:
            if probe:
                self._eject(now)
            return
        good, bad = self._counts(now)
        surely = good + bad >= self.rules.least and wilson(bad, good + bad).low > self.rules.share
        if self.rules.enabled and (self._streak >= self.rules.consecutive or surely):
            self._eject(now)

    def on_given_up(self, *, probe: bool) -> None:
        """An attempt there was cancelled before anything was known; if it was the probe, another may go."""
        if probe:
            self._probing = False

    def _eject(self, now: float) -> None:
        if now - self.until > self.rules.calm:
            self._ejections = 0
        self._ejections += 1
        base = min(self.rules.first * 2 ** min(self._ejections - 1, 30), self.rules.longest)
        length = base * (1 + self.rules.jitter * (2 * self._random.random() - 1))
        self.ejected, self._probing, self._since = True, False, now
        self.until = max(self.until, now + length)

    def _begin_slot(self, now: float) -> list[float]:
        slot = self._latest = [now // self._width, 0, 0]
        self._slots.append(slot)
        return slot

    def _counts(self, now: float) -> tuple[int, int]:
        oldest = now // self._width - _SLOTS
        recent = [slot for slot in self._slots if slot[0] > oldest]
        return sum(int(slot[1]) for slot in recent), sum(int(slot[2]) for slot in recent)
