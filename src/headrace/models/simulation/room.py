"""What the upstreams that are left can answer, beside what comes: by this, and by nothing more, policies are judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from headrace.models.simulation.faults import Fault
from headrace.models.simulation.settings import Simulation

FULL = 0.9
"""Share of what is possible that is asked for where more comes than can be answered: slots are not busy at every
moment, and limits are learnt by being refused."""
TIGHT = 0.85
"""Share of what upstreams can answer above which not every call can be asked to be answered: calls come in clusters."""
_GONE = frozenset({"refuse", "hang", "down", "dark"})
"""Kinds of faults whose calls get no answer."""


@dataclass(frozen=True, slots=True)
class Room:
    """A phase, what comes in it, and what can be answered.

    Attributes
    ----------
    phase, start, end
        Its name, and its instants (seconds).
    rate
        Calls per second that usually come: without what the scenario adds, and without what clients send again.
    offered
        Calls per second with what the scenario adds.
    left
        Calls per second that the upstreams of all tiers can answer, as slots, prefill, rate limits and faults allow.
    dark
        Whether by the scenario itself no upstream answers anything, so that no more upstreams would help.
    """

    phase: str
    start: float
    end: float
    rate: float
    offered: float
    left: float
    dark: bool = False

    @property
    def possible(self) -> float:
        """Calls per second that can be answered at best."""
        return min(self.offered, self.left)

    @property
    def most(self) -> float:
        """The rate (calls per second) up to which every call can be asked to be answered."""
        return TIGHT * self.left

    @property
    def tight(self) -> bool:
        """Whether the usual calls may be too many, whatever the policies do.

        >>> Room("during", 60, 240, rate=8.9, offered=8.9, left=7.4).tight
        True
        >>> Room("during", 60, 120, rate=8.9, offered=26.7, left=14.8).tight
        False
        """
        return self.rate > self.most and not self.dark


@dataclass(frozen=True, slots=True)
class Shortage:
    """Too little capacity in a phase: which no policy mends.

    Attributes
    ----------
    room
        The phase.
    answered
        Calls per second that were answered in time.
    """

    room: Room
    answered: float

    @property
    def times(self) -> float | None:
        """How many times as much capacity is needed for all calls; None where there is none to multiply.

        >>> Shortage(Room("during", 60, 240, rate=8.5, offered=8.5, left=5.0), answered=4.8).times
        2.0
        """
        return self.room.rate / self.room.most if self.room.left else None

    def as_json(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {
            "phase": self.room.phase,
            "rate": round(self.room.rate, 3),
            "capacity": round(self.room.left, 3),
            "answered": round(self.answered, 3),
            "times": None if self.times is None else round(self.times, 2),
            "most_rate": round(self.room.most, 3),
        }


def room(simulation: Simulation, faults: Sequence[Fault], phase: str, start: float, end: float, factor: float) -> Room:
    """The room of a phase in which the same faults are there all the time; calls come `factor` times as often."""
    there = [fault for fault in faults if fault.start <= start < fault.end]
    return Room(
        phase=phase,
        start=start,
        end=end,
        rate=simulation.rate(),
        offered=factor * simulation.rate(),
        left=left(simulation, there),
        dark=any(not fault.upstreams and _answers(fault) == 0.0 for fault in there),
    )


def left(simulation: Simulation, faults: Sequence[Fault]) -> float:
    """Calls per second that the upstreams of all tiers can answer while these faults are there.

    >>> whole, faults = Simulation(), [Fault("down", ("a",)), Fault("slow", ("b",), factor=2.0)]
    >>> round(left(whole, faults) / left(whole, []), 6)
    0.5
    """
    total = 0.0
    for upstream in simulation.upstreams:
        mine = [fault for fault in faults if not fault.upstreams or upstream.name in fault.upstreams]
        able, share = simulation.answers(upstream, slow=max((fault.factor for fault in mine), default=1.0)), 1.0
        for fault in mine:
            share *= _answers(fault)
        total += share * able
    return total


def _answers(fault: Fault) -> float:
    """The share of calls that get an answer in spite of it."""
    if fault.kind not in _GONE:
        return 1.0
    return 1.0 - fault.share
