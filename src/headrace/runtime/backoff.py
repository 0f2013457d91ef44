"""How long to leave something alone after it failed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Doubles from `first` to `most` seconds.

    >>> [Backoff().wait(n) for n in (1, 2, 3, 20)]
    [0.1, 0.2, 0.4, 30.0]
    """

    first: float = 0.1
    most: float = 30.0

    def wait(self, failures: int) -> float:
        """Seconds to wait after `failures` failures in a row (at least one)."""
        return min(self.first * 2 ** min(failures - 1, 30), self.most)
