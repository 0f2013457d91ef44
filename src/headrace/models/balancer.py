"""Which upstream gets the next attempt: the one that would give the first token soonest.

Each upstream has a *score*: how long a first token on an empty prompt takes there, with peaks that count at once and
fade slowly (peak EWMA). A choice multiplies it with the work in flight there: not the number of calls, since one with
50,000 tokens of prompt holds an upstream longer than twenty short ones. Up to `scan` upstreams all are compared; beyond
that two drawn at random (the power of two choices), which needs no pass over all and does not let everybody run to the
same best one.

To that comes the share of attempts that fail or are overtaken by a hedge, times the timeout and an `aversion`: a
failure counts as if it had taken so long, however fast it was. Otherwise an upstream that refuses everything in five
milliseconds is the fastest of all, and attracts all traffic. This share has a longer memory than the score: an upstream
that hangs on every tenth call looks well in between.

References
----------
M. Mitzenmacher: The power of two choices in randomized load balancing. IEEE TPDS 12(10), 2001.
Finagle, `com.twitter.finagle.loadbalancer.PeakEwma` (peaks at once, decay with e-folding time 10 s, cost times load).
Where this departs from it: docs/decisions/0013-policies.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import ClassVar, Literal, TypeVar

from pydantic import ConfigDict

from headrace.models.bounds import STRICT, Count, Factor, Seconds, Share

_UNMEASURED = 1e6
"""Stands for the score of an upstream that has attempts in flight and has never answered: after all that have."""
_FADED = 1e-6
"""Weight of all that went wrong below which it is forgotten, a quarter of an hour after one failure: at a penalty of
30 s it adds less than 3 microseconds, and each choice has to reckon with it."""


class PeakEwma:
    """A moving average that follows a rise at once and a fall slowly; seconds.

    Without news it fades to `floor`, which the balancer sets to the best of the others: after a while a bad name
    is forgotten and the upstream is tried like any other. It does not fade to zero, which would send everything
    there at once.

    Parameters
    ----------
    decay
        Seconds in which the distance to a lower value shrinks to 1/e.

    Examples
    --------
    >>> score = PeakEwma(decay=10.0)
    >>> score.observe(now=0.0, seconds=0.3)
    >>> score.observe(now=1.0, seconds=5.0)
    >>> score.at(now=1.0, floor=0.3), round(score.at(now=11.0, floor=0.3), 2), round(score.at(now=61.0, floor=0.3), 2)
    (5.0, 2.03, 0.31)
    """

    __slots__ = ("_at", "decay", "last")

    def __init__(self, decay: float = 10.0) -> None:
        self.decay = decay
        self.last = math.nan
        """The value as of its last observation; NaN: there was none."""
        self._at = 0.0

    def forget(self) -> None:
        """As if never measured."""
        self.last = math.nan

    @property
    def measured(self) -> bool:
        """Whether there was ever an observation."""
        return not math.isnan(self.last)

    def observe(self, now: float, seconds: float) -> None:
        """A first token took so long."""
        last, at = self.last, self._at
        if not seconds < last:  # also when it was never measured
            self.last = seconds
        else:
            weight = math.exp((at - now) / self.decay) if now > at else 1.0
            self.last = last * weight + seconds * (1 - weight)
        self._at = now

    def at(self, now: float, floor: float) -> float:
        """The value now, faded towards `floor` for want of news."""
        last, at = self.last, self._at
        if last <= floor:
            return last
        return floor + (last - floor) * (math.exp((at - now) / self.decay) if now > at else 1.0)


class Trouble:
    """The share of attempts that failed or were overtaken lately; old ones fade, and are forgotten in the end.

    Ten attempts without trouble are taken for granted, so that one failure of one does not make 100 %.

    Parameters
    ----------
    fade
        Seconds in which an attempt's weight falls to 1/e.

    Examples
    --------
    >>> trouble = Trouble()
    >>> for n in range(10):
    ...     trouble.count(0.0, bad=n < 2)
    >>> trouble.share(0.0), round(trouble.share(60.0), 3)
    (0.1, 0.054)
    >>> trouble.share(900.0), trouble.any
    (0.0, False)
    """

    __slots__ = ("_all", "_at", "_bad", "any", "fade")

    def __init__(self, fade: float = 60.0) -> None:
        self.fade = fade
        self._at = 0.0
        self._all = 0.0
        self._bad = 0.0
        self.any = False
        """Whether there was any that is not forgotten."""

    def count(self, now: float, *, bad: bool) -> None:
        """One more attempt has shown how it goes."""
        self._fade(now)
        self._all += 1.0
        if bad:
            self._bad += 1.0
            self.any = True

    def share(self, now: float) -> float:
        """Of all attempts, with ten good ones added."""
        if not self.any:
            return 0.0
        self._fade(now)
        if self._bad < _FADED:
            self._bad, self.any = 0.0, False
        return self._bad / (self._all + 10.0)

    def _fade(self, now: float) -> None:
        at = self._at
        if now > at:
            left = math.exp((at - now) / self.fade)
            self._all *= left
            self._bad *= left
            self._at = now


class Load:
    """What the balancer knows of one upstream: how soon it answers, how often it does not, and the work in flight.

    Attributes
    ----------
    name
        The upstream.
    score
        Seconds to a first token on an empty prompt.
    trouble
        How often an attempt there came to nothing.
    penalty
        What such an attempt counts for (seconds).
    work
        Work in flight, in units of such a first token (`Call.first_work`, `Call.rest_work`).
    started
        Attempts that were ever started there.
    """

    __slots__ = ("name", "penalty", "score", "started", "trouble", "work")

    def __init__(self, name: str, decay: float = 10.0, *, penalty: float = 30.0) -> None:
        self.name = name
        self.score = PeakEwma(decay)
        self.trouble = Trouble()
        self.penalty = penalty
        self.work = 0.0
        self.started = 0

    def forget(self) -> None:
        """What it was before it was ill, and while it was, says nothing."""
        self.score.forget()
        self.trouble = Trouble()

    def expected(self, now: float, floor: float) -> float:
        """Seconds to a first token, with those that it never gives at their penalty."""
        return self.score.at(now, floor) + self.trouble.share(now) * self.penalty


Candidate = TypeVar("Candidate", bound=Load)


@dataclass(frozen=True, slots=True)
class Balancer:
    """Chooses among upstreams that may be used.

    Parameters
    ----------
    explore
        Share of choices that are drawn at random, so that what is known of the others stays true.
    scan
        Up to so many candidates, all are compared; beyond, two at random.
    decay
        Seconds in which a score falls to 1/e of its distance to a lower one.
    weigh
        What is in flight is weighed by work, or by the number of calls.
    failures
        A failure scores as the timeout, or as the time that it took (which makes black holes).
    aversion
        How many timeouts a failure counts for. 1 minimises the mean; more keeps the tail short.
    rule
        By score; or "turns", each in its turn, which knows nothing (to compare with).

    Examples
    --------
    >>> a, b = Load("a"), Load("b")
    >>> a.score.observe(0.0, 0.2)
    >>> b.score.observe(0.0, 0.3)
    >>> balancer, random = Balancer(explore=0.0), Random(1)
    >>> balancer.pick(0.0, [a, b], random).name
    'a'
    >>> a.work = 10.0
    >>> balancer.pick(0.0, [a, b], random).name
    'b'
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    explore: Share = 0.015
    scan: Count = 10
    decay: Seconds = 10.0
    weigh: Literal["work", "calls"] = "work"
    failures: Literal["timeout", "elapsed"] = "timeout"
    aversion: Factor = 3.0
    rule: Literal["score", "turns"] = "score"

    def pick(self, now: float, loads: Sequence[Candidate], random: Random) -> Candidate:
        """The best of `loads` (at least one): the one with the least score times the work there would be.

        One that was never measured is tried at once when it is idle, and left alone until it has answered.
        """
        many = len(loads)
        if many == 1:
            return loads[0]
        if self.rule == "turns":
            # Whoever has started least is next; ties are broken by the order of the names.
            return min(loads, key=lambda load: (load.started, load.name))
        draw = random.random
        if self.explore and draw() < self.explore:
            return loads[random.randrange(many)]
        if many > self.scan:
            first = random.randrange(many)
            second = random.randrange(many - 1)
            loads = [loads[first], loads[second + (second >= first)]]
        floor = best_score(loads)
        best, lowest, drawn = loads[0], math.inf, math.inf
        # Each upstream is looked at for each call, so what is plain is not asked in a call of its own.
        for load in loads:
            # Ties are real: with nothing measured yet, or with nothing in flight at equal upstreams.
            tie, work, last = draw(), 1 + load.work, load.score.last
            if last != last:  # not a number: never measured
                cost = 0.0 if load.work <= 0 else _UNMEASURED * work
            elif load.trouble.any:
                cost = load.expected(now, floor) * work
            elif last > floor:
                if floor * work > lowest:
                    continue  # too much to do, however fast it is
                cost = load.score.at(now, floor) * work
            else:
                cost = last * work
            if cost < lowest or (cost == lowest and tie < drawn):
                best, lowest, drawn = load, cost, tie
        return best


def best_score(loads: Sequence[Load]) -> float:
    """The lowest score that any of them had when last measured; 0 while none was.

    >>> best_score([Load("a")])
    0.0
    """
    lowest = math.inf
    for load in loads:
        last = load.score.last
        if last < lowest:  # never true of one that was not measured
            lowest = last
    return 0.0 if lowest == math.inf else lowest
