"""Counts with their uncertainty: rates with an interval, and quantiles of what was measured."""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass
from typing import Any

Z95 = 1.959963984540054
"""The 97.5 % point of the normal distribution: two-sided 95 % intervals."""


@dataclass(slots=True)
class Rate:
    """How many of how many."""

    count: int = 0
    of: int = 0

    def add(self, hit: bool) -> None:
        """One more case, and whether it was a hit."""
        self.of += 1
        self.count += hit

    @property
    def share(self) -> float | None:
        """The share of hits; None before the first case."""
        return self.count / self.of if self.of else None

    def interval(self) -> tuple[float, float]:
        """The 95 % score interval of the share (Wilson 1927); it stays inside 0..1 and holds for a count of zero.

        >>> [round(end, 4) for end in Rate(0, 100).interval()]
        [0.0, 0.037]
        >>> [round(end, 4) for end in Rate(10, 100).interval()]
        [0.0552, 0.1744]
        """
        if not self.of:
            return 0.0, 1.0
        share, n = self.count / self.of, self.of
        center = (share + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
        half = Z95 * math.sqrt(share * (1 - share) / n + Z95**2 / (4 * n**2)) / (1 + Z95**2 / n)
        low = 0.0 if self.count == 0 else max(0.0, center - half)
        high = 1.0 if self.count == n else min(1.0, center + half)
        return low, high

    def to_dict(self) -> dict[str, Any]:
        """Count, denominator, share and interval."""
        low, high = self.interval()
        return {"count": self.count, "of": self.of, "share": self.share, "low95": low, "high95": high}


class Quantiles:
    """Every value that was measured, in order of size.

    >>> measured = Quantiles()
    >>> for value in (3.0, 1.0, 2.0, 10.0): measured.add(value)
    >>> measured.at(0.5), measured.at(0.99), len(measured)
    (2.0, 10.0, 4)
    """

    def __init__(self) -> None:
        self._sorted: list[float] = []

    def __len__(self) -> int:
        return len(self._sorted)

    def add(self, value: float) -> None:
        """One more measurement."""
        bisect.insort(self._sorted, value)

    def at(self, share: float) -> float | None:
        """The smallest value that at least `share` of all values do not exceed (nearest rank); None without any."""
        if not self._sorted:
            return None
        return self._sorted[max(0, math.ceil(share * len(self._sorted)) - 1)]

    def to_dict(self, *shares: float) -> dict[str, Any]:
        """Each quantile, and the count."""
        return {f"p{share * 100:g}": self.at(share) for share in shares} | {"count": len(self._sorted)}


def times(batch: Rate, live: Rate) -> tuple[float, bool] | None:
    """How many times higher the batch rate is, and whether that is only a lower bound.

    Where live has none at all, its share is put at the upper end of its interval, so the ratio is "at least".

    >>> times(Rate(30, 100), Rate(2, 100)), times(Rate(30, 100), Rate(0, 0))
    ((15.0, False), None)
    """
    if not batch.count or not live.of or batch.share is None:
        return None
    if live.count and live.share is not None:
        return batch.share / live.share, False
    return batch.share / live.interval()[1], True
