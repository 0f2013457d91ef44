"""How far a source is known to be complete, and what that makes of an answer: fresh, stale or unknown.

A *frontier* is an instant T: everything that the source had committed up to T is in the store. The *as-of age* is
now - T. A source that is idle but alive moves its frontier; one that is silent cannot, and nobody knows whether there
was something to say; one that is stalled or failed is known to be behind.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass


class SourceState(enum.IntEnum):
    """What a source is doing. The numbers are stored; do not renumber."""

    NEVER = 0
    """Nothing was ever heard from it."""
    SNAPSHOT = 1
    """A first full copy is under way."""
    RUNNING = 2
    """It delivers, or it is idle and says so."""
    STALLED = 3
    """It is connected and known to be behind."""
    FAILED = 4
    """It cannot be read; the last error is a health problem."""
    ENDED = 5
    """It has said all it will ever say (a finite file or iterator): what it said stays complete for good."""


class Status(enum.StrEnum):
    """What an answer's as-of age means against its promise."""

    FRESH = "fresh"
    STALE = "stale"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Frontier:
    """What is known about one source at one moment.

    Attributes
    ----------
    at
        Complete up to this instant (microseconds); None when it never was.
    heard
        When the source last gave a sign of life (microseconds); None when it never did.
    state
        What it is doing.
    """

    at: int | None
    heard: int | None
    state: SourceState = SourceState.RUNNING

    def as_of(self, now: int) -> int | None:
        """The frontier as a reader at `now` may use it: a source that has ended is complete for good."""
        if self.state is SourceState.ENDED and self.at is not None:
            return now
        return self.at


def judge(frontier: Frontier, now: int, promise: int | None, expect: int | None = None) -> Status:
    """Whether what came from this source is fresh, stale or of unknown age.

    Parameters
    ----------
    promise
        The freshness promise, microseconds; None: no promise, so age alone never makes it stale.
    expect
        The source should give a sign of life at least this often, microseconds; the promise if not given.

    Examples
    --------
    >>> second = 1_000_000
    >>> judge(Frontier(at=9 * second, heard=9 * second), now=10 * second, promise=2 * second)
    <Status.FRESH: 'fresh'>
    >>> judge(Frontier(at=5 * second, heard=5 * second), now=10 * second, promise=2 * second)
    <Status.UNKNOWN: 'unknown'>
    >>> judge(Frontier(at=5 * second, heard=9 * second), now=10 * second, promise=2 * second)
    <Status.STALE: 'stale'>
    """
    if frontier.at is None:
        return Status.STALE if frontier.state in _BEHIND else Status.UNKNOWN
    if frontier.state is SourceState.ENDED:
        return Status.FRESH
    if promise is not None and now - frontier.at <= promise:
        return Status.FRESH
    if frontier.state in _BEHIND:
        return Status.STALE
    silence = expect if expect is not None else promise
    if silence is not None and (frontier.heard is None or now - frontier.heard > silence):
        return Status.UNKNOWN
    return Status.FRESH if promise is None else Status.STALE


def merge(partitions: Sequence[Frontier]) -> Frontier:
    """What is known of a table that several partitions feed: it is complete only as far as all of them are.

    >>> merge([Frontier(5, 9), Frontier(7, 8, SourceState.FAILED)])
    Frontier(at=5, heard=8, state=<SourceState.FAILED: 4>)
    >>> merge([Frontier(5, 9), Frontier(3, 3, SourceState.ENDED)]).at
    5
    """
    open_ones = [f for f in partitions if f.state is not SourceState.ENDED]
    if not open_ones:
        return max(partitions, key=lambda f: f.at or 0, default=Frontier(None, None, SourceState.NEVER))
    ats = [f.at for f in open_ones]
    heards = [f.heard for f in open_ones]
    return Frontier(
        at=None if None in ats else min(at for at in ats if at is not None),
        heard=None if None in heards else min(at for at in heards if at is not None),
        state=max((f.state for f in open_ones), key=_TROUBLE.__getitem__),
    )


def worst(statuses: list[Status]) -> Status:
    """The status of an answer that stands on several inputs: unknown beats stale beats fresh.

    >>> worst([Status.FRESH, Status.UNKNOWN, Status.STALE])
    <Status.UNKNOWN: 'unknown'>
    """
    return max(statuses, key=_RANK.__getitem__, default=Status.FRESH)


_BEHIND = frozenset({SourceState.STALLED, SourceState.FAILED, SourceState.SNAPSHOT})
_TROUBLE = {
    SourceState.RUNNING: 0,
    SourceState.NEVER: 1,
    SourceState.SNAPSHOT: 2,
    SourceState.STALLED: 3,
    SourceState.FAILED: 4,
}
_RANK = {Status.FRESH: 0, Status.STALE: 1, Status.UNKNOWN: 2}
