"""Distributions of times and rates, as one writes them on a command line.

300ms                          always the same
uniform(100ms, 1s)
exponential(200ms)             by its mean
lognormal(300ms, p99=2s)       by its median and one further quantile
lognormal(70, p1=30)           the same for a rate: one in a hundred is slower than 30
"""

from __future__ import annotations

import math
import random
import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Protocol

from headrace.core.durations import parse_duration
from headrace.core.errors import DeclarationError

_HINT = 'write "300ms", "uniform(100ms, 1s)", "exponential(200ms)" or "lognormal(300ms, p99=2s)"'
_CALL = re.compile(r"(\w+)\(([^()]*)\)")
_QUANTILE = re.compile(r"p(\d{1,2}(?:\.\d+)?)=(.+)")
_PLAIN = re.compile(r"\d+(?:\.\d+)?")


class Distribution(Protocol):
    """Something that values are drawn from; never negative."""

    def draw(self, generator: random.Random) -> float:
        """One value."""
        ...


@dataclass(frozen=True, slots=True)
class Always:
    """One value."""

    value: float

    def draw(self, generator: random.Random) -> float:
        return self.value


@dataclass(frozen=True, slots=True)
class Uniform:
    """All values between two are equally likely."""

    low: float
    high: float

    def draw(self, generator: random.Random) -> float:
        return generator.uniform(self.low, self.high)


@dataclass(frozen=True, slots=True)
class Exponential:
    """Given by its mean."""

    mean: float

    def draw(self, generator: random.Random) -> float:
        return generator.expovariate(1 / self.mean)


@dataclass(frozen=True, slots=True)
class Lognormal:
    """Given by its median and the standard deviation of its logarithm."""

    median: float
    sigma: float

    def draw(self, generator: random.Random) -> float:
        return self.median * math.exp(generator.gauss(0.0, self.sigma))


@dataclass(frozen=True, slots=True)
class Empirical:
    """What was seen: a draw is a quantile of it, interpolated, so no value lies outside of what was seen."""

    values: tuple[float, ...]
    """In ascending order, at least one."""

    @classmethod
    def of(cls, values: Sequence[float], *, keep: int = 1001) -> Empirical:
        """The distribution of some values; of many, `keep` quantiles are kept."""
        ordered = sorted(values)
        if len(ordered) > keep:
            last = len(ordered) - 1
            ordered = [ordered[round(last * i / (keep - 1))] for i in range(keep)]
        return cls(tuple(ordered))

    def draw(self, generator: random.Random) -> float:
        place = generator.random() * (len(self.values) - 1)
        below = int(place)
        above = min(below + 1, len(self.values) - 1)
        return self.values[below] + (place - below) * (self.values[above] - self.values[below])

    def share_below(self, value: float) -> float:
        """Which share of what was seen is smaller."""
        return bisect_left(self.values, value) / len(self.values)


def parse_distribution(text: str) -> Distribution:
    """The distribution that a text names. Durations are seconds; numbers without a unit are taken as they are.

    Raises
    ------
    DeclarationError
        It names none, or one that does not exist (a quantile on the wrong side of the median, a negative value).

    Examples
    --------
    >>> parse_distribution("300ms"), parse_distribution("uniform(100ms, 1s)")
    (Always(value=0.3), Uniform(low=0.1, high=1.0))
    >>> round(parse_distribution("lognormal(300ms, p99=2s)").sigma, 3)
    0.815
    """
    compact = text.strip().replace(" ", "")
    call = _CALL.fullmatch(compact)
    if call is None:
        return Always(_value(compact, text))
    name, words = call[1], call[2].split(",")
    if name == "uniform" and len(words) == 2:
        low, high = _value(words[0], text), _value(words[1], text)
        if low <= high:
            return Uniform(low, high)
    if name == "exponential" and len(words) == 1 and (mean := _value(words[0], text)) > 0:
        return Exponential(mean)
    if name == "lognormal" and len(words) == 2:
        return _lognormal(_value(words[0], text), words[1], text)
    raise DeclarationError(f"{text!r:.80} is no distribution", hint=_HINT)


def _lognormal(median: float, quantile: str, text: str) -> Lognormal:
    match = _QUANTILE.fullmatch(quantile)
    if match is not None:
        share, value = float(match[1]) / 100, _value(match[2], text)
        if 0 < share < 1 and share != 0.5 and median > 0 and value > 0:
            sigma = math.log(value / median) / NormalDist().inv_cdf(share)
            if sigma >= 0:
                return Lognormal(median, sigma)
    raise DeclarationError(
        f"{text!r:.80} is no lognormal distribution", hint='give its median and a quantile: "lognormal(300ms, p99=2s)"'
    )


def _value(word: str, text: str) -> float:
    if _PLAIN.fullmatch(word) and math.isfinite(float(word)):
        return float(word)
    try:
        return parse_duration(word) / 1_000_000
    except DeclarationError:
        raise DeclarationError(f"{text!r:.80} is no distribution", hint=_HINT) from None
