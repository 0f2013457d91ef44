"""What is due in the city, in order of time; things due at one instant happen in the order they were planned."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any


class Agenda:
    """A queue of things to do at instants, and the instant of the last one done.

    Examples
    --------
    >>> done = []
    >>> agenda = Agenda(0)
    >>> agenda.plan(5, done.append, "b")
    >>> agenda.plan(3, done.append, "a")
    >>> agenda.run(10)
    >>> done, agenda.now
    (['a', 'b'], 10)
    """

    def __init__(self, now: int) -> None:
        self.now = now
        self._due: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._ticket = 0

    def plan(self, at: int, action: Callable[..., None], *args: Any) -> None:
        """Do `action(*args)` at the instant `at`."""
        self._ticket += 1
        heapq.heappush(self._due, (at, self._ticket, action, args))

    def run(self, until: int) -> None:
        """Do everything that is due up to and including `until`."""
        due = self._due
        while due and due[0][0] <= until:
            self.now, _, action, args = heapq.heappop(due)
            action(*args)
        self.now = max(self.now, until)
