"""What was played of a scenario, and the measures that several scenarios are judged by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain

from headrace.models.simulation.driver import Log, Record
from headrace.models.simulation.result import Finding, Verdict, goodput, recovery, scaled
from headrace.models.simulation.room import FULL, Room, Shortage
from headrace.models.simulation.settings import Simulation
from headrace.stats.interval import Interval, wilson

SOON = 30.0
"""Seconds after the end of a fault in which all must be as before."""


@dataclass(frozen=True, slots=True)
class Played:
    """What there is to judge.

    Attributes
    ----------
    simulation
        The settings that ran.
    rooms
        What came and what could be answered, by phase.
    runs
        The runs, each with calls of its own.
    beside
        The runs to compare with, of the same calls; the same ones where there are none.
    allowed
        The share of calls that may go without an answer in time.
    """

    simulation: Simulation
    rooms: Mapping[str, Room]
    runs: tuple[Log, ...]
    beside: tuple[Log, ...]
    allowed: float

    def counted(self, start: float, end: float) -> Iterator[Record]:
        """The calls that came in a span, in all runs: each once, without those that take too long wherever they go."""
        records = chain.from_iterable(log.records for log in self.runs)
        return (one for one in records if start <= one.began < end and one.counts)

    @property
    def too_long(self) -> float:
        """The share of calls that would take longer than the deadline at any upstream, with nothing else to do."""
        marks = [one.too_long for log in self.runs for one in log.records if one.again == 0]
        return sum(marks) / max(len(marks), 1)

    def lost(self, start: float, end: float) -> Interval:
        """The share of calls of a span without an answer in time."""
        good = [one.good for one in self.counted(start, end)]
        return wilson(len(good) - sum(good), len(good))

    def short(self, there: Room) -> bool:
        """Whether too little capacity is why more calls of a phase were lost than is allowed: more come than can be
        answered, or little is to spare and nearly all that can be was answered."""
        settled = _settled(there)
        if not there.tight or self.lost(settled.start, settled.end).value <= self.allowed:
            return False
        return there.rate > there.left or self.share(settled, "", FULL).verdict is not Verdict.FAIL

    def shortages(self) -> list[Shortage]:
        """The phases that had too little capacity."""
        short = [there for there in self.rooms.values() if self.short(there)]
        return [Shortage(there, goodput(self.runs, there.start, there.end).value) for there in short]

    # Findings ------------------------------------------------------------------------------------------------------

    def share(self, there: Room, name: str, limit: float) -> Finding:
        """What was answered in time in a phase, over what was possible in it."""
        possible = there.possible * (1.0 - self.too_long)
        return Finding(name, scaled(goodput(self.runs, there.start, there.end), possible), limit, at_most=False)

    def answered(self, phase: str) -> list[Finding]:
        """The calls of a phase that got no answer in time. Where the upstreams cannot answer all that come: how much of
        what they can was answered. Where none is left, there is nothing to judge."""
        there = self.rooms[phase]
        if not self.short(there):
            return [Finding("calls without an answer in time", self.lost(there.start, there.end), self.allowed)]
        if not there.left:
            return []
        return [self.share(there, "goodput, over what the upstreams can then answer", FULL)]

    def recovers(self) -> list[Finding]:
        """How soon it is as before. Where too many calls come for that: what is answered of what can be, once so much
        time has passed."""
        there = self.rooms["after"]
        if self.short(there):
            name = f"goodput from {SOON:.0f} s after the end, over what the upstreams can then answer"
            return [self.share(_settled(there), name, FULL)]
        name = "seconds until 95 % of calls are answered in time again, median of the runs"
        return [Finding(name, recovery(self.runs, there.start, there.end), SOON)]


def _settled(there: Room) -> Room:
    """The part of a phase that shows how it is: a while after the end of what went wrong."""
    return replace(there, start=there.start + SOON) if there.phase == "after" else there
