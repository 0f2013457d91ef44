"""The calls of one tenant that wait at one priority: the earliest deadline first."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator

from msgspec import Struct

from headrace.models.call import Call
from headrace.models.codel import Codel

_TICKETS = itertools.count()
"""Calls with equal deadlines leave in the order in which they came."""


class Lane(Struct, eq=False):
    """A queue in order of deadlines, with what it is still owed by the round robin.

    Attributes
    ----------
    tenant
        Whose.
    codel
        Whether it stands.
    credit
        Tokens that it may still send in this round.
    in_round
        Whether the round robin visits it.

    Examples
    --------
    >>> lane = Lane("t", Codel())
    >>> tickets = [lane.push(0.0, Call(name, 1, 1, deadline)) for name, deadline in [("b", 9.0), ("a", 5.0)]]
    >>> lane.head().id, lane.oldest(2.0), len(lane)
    ('a', 2.0, 2)
    """

    tenant: str
    codel: Codel
    credit: float = 0.0
    in_round: bool = False
    _heap: list[tuple[float, int, Call]] = []
    _since: dict[int, tuple[float, Call]] = {}
    """Since when each ticket waits, in the order in which they came; tickets of the heap that are not here are gone."""

    def __len__(self) -> int:
        return len(self._since)

    def push(self, now: float, call: Call) -> int:
        """Wait from now on; the ticket with which it can be taken back."""
        ticket = next(_TICKETS)
        heapq.heappush(self._heap, (call.deadline, ticket, call))
        self._since[ticket] = now, call
        return ticket

    def oldest(self, now: float) -> float:
        """How long the call that waits longest has waited; 0 when none does."""
        return now - next(iter(self._since.values()))[0] if self._since else 0.0

    def head(self) -> Call | None:
        """The call with the earliest deadline; None when there is none."""
        while self._heap and self._heap[0][1] not in self._since:
            heapq.heappop(self._heap)
        return self._heap[0][2] if self._heap else None

    def waited(self, now: float) -> float:
        """How long the head has waited."""
        return now - self._since[self._heap[0][1]][0]

    def pop(self) -> None:
        """Take the head away."""
        del self._since[heapq.heappop(self._heap)[1]]

    def newest(self) -> Iterator[Call]:
        """The calls, beginning with the one that came last."""
        return (call for _, call in reversed(self._since.values()))

    def remove(self, ticket: int) -> None:
        """Take a call away that is somewhere in the queue."""
        del self._since[ticket]
        # Clients that come and go while the head cannot start must not fill the memory with what is gone.
        if len(self._heap) > 64 + 2 * len(self._since):
            self._heap = [one for one in self._heap if one[1] in self._since]
            heapq.heapify(self._heap)

    @property
    def kept(self) -> int:
        """Calls in memory, those that are gone and not yet forgotten included."""
        return len(self._heap)
