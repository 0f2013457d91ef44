"""Quantiles from a few hundred counters, with a known relative error.

References
----------
C. Masson, J. E. Rim, H. K. Lee: DDSketch: a fast and fully-mergeable quantile sketch with relative-error guarantees.
PVLDB 12(12), 2019.
"""

from __future__ import annotations

import math
import sys

ACCURACY = 0.01
"""Relative accuracy of quantiles."""
GAMMA = (1 + ACCURACY) / (1 - ACCURACY)
_LOG_GAMMA = math.log(GAMMA)
_LEAST = 1e-300
"""What is nearer to zero counts as zero."""
SHIFT = 40_000
"""Bins of positive values are numbered from about 4,500 to 75,500 (doubles span 1e-308..1e308), so that bin 0 is zero,
negative values have negative numbers, and the order of the bins is the order of the values."""


def bin_of(value: float) -> int:
    """The bin of a number.

    >>> bin_of(1.0), bin_of(0.0), bin_of(-1.0)
    (40000, 0, -40000)
    """
    if value >= _LEAST:
        return math.ceil(math.log(value) / _LOG_GAMMA) + SHIFT
    if abs(value) < _LEAST:
        return 0
    return -math.ceil(math.log(-value) / _LOG_GAMMA) - SHIFT


def value_of(index: int) -> float:
    """The number that a bin stands for; no value in the bin is further from it than `ACCURACY` of it.

    >>> abs(value_of(bin_of(123.0)) / 123.0 - 1) <= ACCURACY
    True
    """
    if index == 0:
        return 0.0
    # One power less than in the paper's 2 * gamma**n / (gamma + 1), which would overflow in the last bins.
    size = GAMMA ** (abs(index) - SHIFT - 1) * (2 * GAMMA / (GAMMA + 1))
    return math.copysign(min(size, sys.float_info.max), index)


class Sketch:
    """Counts per bin; adding costs one logarithm, a quantile one pass over the bins in use.

    Examples
    --------
    >>> sketch = Sketch()
    >>> for n in range(1, 1001):
    ...     sketch.add(n / 1000)
    >>> sketch.count, round(sketch.quantile(0.95), 2)
    (1000, 0.95)
    """

    __slots__ = ("bins",)

    def __init__(self) -> None:
        self.bins: dict[int, int] = {}
        """How many values are in each bin (`bin_of`)."""

    @property
    def count(self) -> int:
        """How many values there are."""
        return sum(self.bins.values())

    def add(self, value: float) -> None:
        """Count one value."""
        index = bin_of(value)
        self.bins[index] = self.bins.get(index, 0) + 1

    def merged(self, other: Sketch) -> Sketch:
        """The sketch of both: exactly what one sketch would be that had seen all values."""
        both = Sketch()
        both.bins = dict(self.bins)
        for index, count in other.bins.items():
            both.bins[index] = both.bins.get(index, 0) + count
        return both

    def quantile(self, q: float) -> float:
        """The value at or below which a share `q` of all values lies, within `ACCURACY`; NaN while there is none."""
        rank = q * (self.count - 1)
        seen = 0
        for index in sorted(self.bins):
            seen += self.bins[index]
            if seen > rank:
                return value_of(index)
        return math.nan
