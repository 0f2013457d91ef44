"""When calls are to be looked at: a heap of instants that forgets those of calls that have ended."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Collection, Iterator


class Timers:
    """The instants at which something of a call may be due.

    Parameters
    ----------
    calls
        Those under way; what was set for others is forgotten.

    Examples
    --------
    >>> calls = {"a", "b"}
    >>> timers = Timers(calls)
    >>> timers.set(5.0, "a")
    >>> timers.set(3.0, "b")
    >>> timers.next, list(timers.due(4.0)), timers.next
    (3.0, ['b'], 5.0)
    >>> calls.clear()
    >>> timers.forget()
    >>> timers.next
    inf
    """

    __slots__ = ("_calls", "_heap", "_numbers", "next")

    def __init__(self, calls: Collection[str]) -> None:
        self._calls = calls
        self._heap: list[tuple[float, int, str]] = []
        self._numbers = itertools.count()
        self.next = math.inf
        """The earliest; infinite where there is none."""

    def set(self, at: float, call: str) -> None:
        """Look at a call at an instant."""
        heap = self._heap
        heapq.heappush(heap, (at, next(self._numbers), call))
        # Calls mostly end long before their deadline: without this, the heap would hold all calls of the last minute.
        if len(heap) > 64 + 4 * len(self._calls):
            self._heap = [timer for timer in heap if timer[2] in self._calls]
            heapq.heapify(self._heap)
        self.next = self._heap[0][0] if self._heap else math.inf

    def due(self, now: float) -> Iterator[str]:
        """The calls whose instant has come, each for as often as it was set; what is due may set others."""
        while self.next <= now:
            _, _, call = heapq.heappop(self._heap)
            self.next = self._heap[0][0] if self._heap else math.inf
            if call in self._calls:
                yield call

    def forget(self) -> None:
        """Leave out those at the front whose call has ended."""
        heap, calls = self._heap, self._calls
        while heap and heap[0][2] not in calls:
            heapq.heappop(heap)
        self.next = heap[0][0] if heap else math.inf
