"""An estimate with the range that it may lie in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Z95 = 1.959963984540054
"""The two-sided 95 % point of the normal distribution."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate from `n` samples and its confidence interval; a bound that `n` samples cannot give is infinite."""

    value: float
    low: float
    high: float
    n: int


def wilson(count: int, n: int, z: float = Z95) -> Interval:
    """The share `count / n` with Wilson's score interval, which holds for small `n` and for shares near 0 and 1.

    References
    ----------
    E. B. Wilson: Probable inference, the law of succession, and statistical inference. JASA 22, 1927.

    Examples
    --------
    >>> found = wilson(9, 10)
    >>> round(found.low, 3), round(found.high, 3)
    (0.596, 0.982)
    >>> wilson(0, 0)
    Interval(value=0.0, low=0.0, high=1.0, n=0)
    """
    if n == 0:
        return Interval(0.0, 0.0, 1.0, 0)
    share = count / n
    spread = z * z / n
    centre = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    return Interval(share, max(centre - half, 0.0), min(centre + half, 1.0), n)


def quantile(ordered: Sequence[float], q: float, z: float = Z95) -> Interval:
    """A quantile of values in ascending order, with an interval between two of them, free of any distribution.

    The ranks of the bounds are those of the normal approximation of the binomial distribution. Where the sample is too
    small for a bound, it is infinite: a 99th percentile of 100 values has no upper one.

    References
    ----------
    W. J. Conover: Practical Nonparametric Statistics, 3rd edition, 1999, section 3.2.

    Examples
    --------
    >>> quantile([float(n) for n in range(1, 1001)], 0.5)
    Interval(value=500.0, low=469.0, high=532.0, n=1000)
    >>> quantile([1.0, 2.0, 3.0], 0.99)
    Interval(value=3.0, low=2.0, high=inf, n=3)
    >>> quantile([], 0.5)
    Interval(value=nan, low=-inf, high=inf, n=0)
    """
    n = len(ordered)
    if n == 0:
        return Interval(math.nan, -math.inf, math.inf, 0)
    middle = n * q
    half = z * math.sqrt(n * q * (1 - q))
    below, above = math.floor(middle - half), math.ceil(middle + half)
    return Interval(
        ordered[max(math.ceil(middle) - 1, 0)],
        ordered[below - 1] if below >= 1 else -math.inf,
        ordered[above] if above < n else math.inf,
        n,
    )
