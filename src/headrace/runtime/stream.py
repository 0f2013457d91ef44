"""The tables that are fed together: mostly one, or all those that a source reads from one database."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping

from headrace.core.changes import Batch, Judged
from headrace.core.clock import Clock
from headrace.core.errors import Backpressure, HeadraceError, SourceError
from headrace.core.frontier import SourceState
from headrace.runtime.backoff import Backoff
from headrace.runtime.lane import Lane

log = logging.getLogger("headrace.source")


class Stream:
    """The lanes of one opened source, and what holds for all of them.

    Parameters
    ----------
    lanes
        By table, in order of declaration.
    """

    def __init__(self, lanes: Mapping[str, Lane], *, backoff: Backoff | None = None) -> None:
        self.lanes = dict(lanes)
        self.tables = tuple(self.lanes)
        self._first = next(iter(self.lanes.values()))
        self._backoff = backoff or Backoff()
        self._failures: Counter[str] = Counter()

    @property
    def shared(self) -> bool:
        """Whether there is more than one table."""
        return len(self.lanes) > 1

    def lane(self, batch: Batch) -> Lane:
        """The lane that the batch's payloads are for."""
        return self._first if batch.table is None else self.lanes[batch.table]

    def judged(self, batch: Batch, now: int) -> Judged:
        """Judge a batch by the contract of its table."""
        return self.lane(batch).judged(batch, now)

    def expect(self, partition: str) -> None:
        """A partition was opened."""
        for lane in self.lanes.values():
            lane.expect(partition)

    def opened(self, fresh: frozenset[str] = frozenset()) -> None:
        """The source was opened; `fresh` tables need a full copy, which nothing was committed of."""
        self._failures.pop("", None)
        for name, lane in self.lanes.items():
            lane.opened()
            lane.copying = self.shared and name in fresh

    def alive(self, partition: str, batch: Batch, now: int) -> None:
        """The batch is committed, or a sign of life: what it says counts for all tables, but for one that is copied."""
        if batch.snapshot is not None:
            self.lane(batch).copying = batch.snapshot == "part"
        for lane in self.lanes.values():
            at = None if lane.copying and self.shared else batch.frontier
            lane.alive(partition, at, now, SourceState.SNAPSHOT if lane.copying else SourceState.RUNNING)
            if batch.clock is not None:
                lane.measured(batch.clock)

    def ended(self, partition: str, batch: Batch, now: int) -> None:
        """The source has said all that it will ever say."""
        for lane in self.lanes.values():
            lane.alive(partition, batch.frontier, now, SourceState.ENDED)

    def taken(self) -> None:
        """The store took a batch."""
        for lane in self.lanes.values():
            lane.taken()

    def recovered(self, partition: str) -> None:
        """A partition works."""
        self._failures.pop(partition, None)
        for lane in self.lanes.values():
            lane.recovered(partition)

    async def failed(self, partition: str, error: SourceError, clock: Clock) -> bool:
        """Report a failure and wait; False when trying again cannot help."""
        self._failures[partition] += 1
        count = self._failures[partition]
        for lane in self.lanes.values():
            lane.failed(partition, error)
        told = f"{error.message}; {error.hint}" if error.hint and count == 1 else error.message
        log.warning("the source of %s failed (%d times in a row): %s", self._names, count, told)
        if error.permanent:
            return False
        await clock.sleep(self._backoff.wait(count))
        return True

    async def refused(self, error: BaseException, clock: Clock) -> None:
        """The store refused what the source brought: report it, and leave it alone for a while."""
        known = error if isinstance(error, HeadraceError) else HeadraceError(str(error))
        for lane in self.lanes.values():
            lane.refused(known)
        log.warning("the store refused a batch for %s: %s", self._names, known.message)
        await clock.sleep(known.retry_after if isinstance(known, Backpressure) else 1.0)

    @property
    def _names(self) -> str:
        return ", ".join(self.tables)
