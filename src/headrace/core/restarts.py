"""How long to wait before a child process that ended is started again."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Restarts:
    """Doubles the wait with each end in a row; a child that ran for `calm` seconds starts from `first` again.

    Examples
    --------
    >>> restarts = Restarts(first=0.1, most=1.0, calm=30.0)
    >>> [restarts.delay(lived=0.5) for _ in range(5)]
    [0.1, 0.2, 0.4, 0.8, 1.0]
    >>> restarts.delay(lived=31)
    0.1
    """

    first: float = 0.1
    most: float = 5.0
    calm: float = 30.0
    _next: float = 0.0

    def delay(self, lived: float) -> float:
        """Seconds to wait, given how long the child lived (seconds)."""
        wait = self.first if self._next == 0.0 or lived >= self.calm else self._next
        self._next = min(wait * 2, self.most)
        return wait
