"""Virtual time: what is to happen, in order."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable


class Agenda:
    """Events on a heap; those of one instant happen in the order in which they were planned.

    Examples
    --------
    >>> agenda, seen = Agenda(), []
    >>> agenda.at(2.0, lambda: seen.append("b"))
    >>> agenda.at(1.0, lambda: seen.append("a"))
    >>> agenda.run(until=5.0)
    >>> seen, agenda.now
    (['a', 'b'], 5.0)
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()

    def at(self, when: float, act: Callable[[], object]) -> None:
        """Do it then (an instant, seconds); at once, if that has passed."""
        heapq.heappush(self._heap, (max(when, self.now), next(self._order), act))

    def run(self, until: float) -> None:
        """Let time pass up to an instant."""
        while self._heap and self._heap[0][0] <= until:
            self.now, _, act = heapq.heappop(self._heap)
            act()
        self.now = max(self.now, until)
