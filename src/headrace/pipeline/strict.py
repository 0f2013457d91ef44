"""Strict answers: not given before the sources are known to be complete up to the instant of the answer.

Validating a read set says that nothing which has arrived changed it. What was committed at a source a moment ago may
still be under way. A strict answer waits until the frontier of every input has passed the instant at which it was
ready, and is compared after that: then it stood on what was true at that instant, at the sources themselves.

A source that says nothing while it is idle (a push source without its signs of life) never passes it: the wait ends
with the deadline, and says which input lags.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from headrace.context.readset import ReadSet, Validity
from headrace.core.clock import Clock

FIRST, LONGEST = 0.002, 0.02
"""Seconds between two looks at the frontiers: the first, and the most that they grow to."""


class Frontiers(Protocol):
    """What strict answers need of a reader; `ContextReader` is one."""

    def frontiers(self, readset: ReadSet) -> Mapping[str, int | None]:
        """Up to when each input of these reads is complete now (microseconds); None: unknown."""
        ...


@dataclass(frozen=True, slots=True)
class Settled:
    """What came of waiting.

    Attributes
    ----------
    validity
        What changed since the reads, and matters, as known after the wait.
    lagging
        The inputs whose frontier has not passed the instant, and where it stands (microseconds; None: unknown). Empty
        when the wait was over in time.
    waited
        Seconds.
    """

    validity: Validity
    lagging: dict[str, int | None]
    waited: float

    def why(self, at: int) -> str:
        """Which inputs lag behind the instant, as one sentence."""
        named = (f"{name} ({_behind(at, frontier)})" for name, frontier in sorted(self.lagging.items()))
        return f"not complete up to the answer after {self.waited * 1000:.0f} ms: {', '.join(named)}"


async def settle(
    reads: Frontiers,
    readset: ReadSet,
    *,
    compare: Callable[[ReadSet], Validity],
    at: int,
    deadline: float,
    clock: Clock,
) -> Settled:
    """Wait until every input of a read set is complete up to an instant, then compare.

    It does not wait for what cannot help: when something that was read has changed already, it returns at once.

    Parameters
    ----------
    compare
        What changed since these reads, and matters: a change that is tolerated does not end the wait.
    at
        The instant at which the answer was ready (microseconds).
    deadline
        Until when to wait at most (seconds of the monotonic clock).
    """
    began, pause = clock.monotonic(), FIRST
    while True:
        # Frontiers first: what a frontier speaks of is committed, so the comparison after it sees it.
        lagging = {name: up_to for name, up_to in reads.frontiers(readset).items() if up_to is None or up_to < at}
        validity = compare(readset)
        now = clock.monotonic()
        if not lagging or not validity.holds or now >= deadline:
            return Settled(validity, lagging, now - began)
        await clock.sleep(min(pause, max(deadline - now, 0.0)))
        pause = min(pause * 1.5, LONGEST)


def _behind(at: int, frontier: int | None) -> str:
    return "unknown" if frontier is None else f"{max(at - frontier, 0) / 1000:.0f} ms behind"
