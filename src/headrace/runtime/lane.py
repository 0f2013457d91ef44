"""What every writer to one table shares: its judge, its watermark, the eye on its source's shape, and its frontiers."""

from __future__ import annotations

import logging

from headrace.contracts.evolution import Evolution
from headrace.contracts.judge import Judge
from headrace.core.changes import Batch, Judged
from headrace.core.clock import Clock
from headrace.core.errors import Backpressure, HeadraceError, SourceError
from headrace.core.events import Problem, Recorder, Solved
from headrace.core.frontier import Frontier, SourceState, merge
from headrace.runtime.backoff import Backoff
from headrace.store.board import Board

log = logging.getLogger("headrace.source")


class Lane:
    """The way into one table, for all partitions of its source and for pushes.

    Parameters
    ----------
    watermark
        The latest event time that the table has seen (microseconds); None before the first event.
    """

    def __init__(
        self,
        table: str,
        judge: Judge,
        evolution: Evolution,
        *,
        board: Board,
        recorder: Recorder,
        watermark: int | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        self.table = table
        self.judge = judge
        self.watermark = watermark
        self._evolution = evolution
        self._board = board
        self._recorder = recorder
        self._backoff = backoff or Backoff()
        self._frontiers: dict[str, Frontier] = {}
        self._failures: dict[str, int] = {}
        self._refusals = False

    def judged(self, batch: Batch, now: int) -> Judged:
        """Judge a batch; report a source that changed its shape."""
        result = self.judge.judge(batch, now=now, watermark=self.watermark)
        for event in self._evolution.observe(result):
            self._recorder.record(event)
        return result

    def advance(self, judged: Judged) -> None:
        """Move the watermark past what was judged and is taken: what is not must not make others late."""
        latest = judged.max_event_time
        if latest is not None:
            self.watermark = latest if self.watermark is None else max(self.watermark, latest)

    def expect(self, partition: str) -> None:
        """A partition was opened: the table is complete only as far as this one is, too."""
        self._frontiers.setdefault(partition, Frontier(None, None, SourceState.NEVER))

    def alive(self, partition: str, at: int | None, heard: int, state: SourceState) -> None:
        """A partition spoke; `at` is None when it says nothing about completeness. Call it after the commit."""
        before = self._frontiers.get(partition)
        known = before.at if before is not None else None
        self._publish(partition, Frontier(known if at is None else max(at, known or at), heard, state))

    async def failed(self, partition: str, error: SourceError, clock: Clock) -> bool:
        """Report a failure and wait; False when trying again cannot help."""
        count = self._failures[partition] = self._failures.get(partition, 0) + 1
        before = self._frontiers.get(partition, Frontier(None, None))
        self._publish(partition, Frontier(before.at, before.heard, SourceState.FAILED))
        self._recorder.record(Problem(f"source:{self.table}", "source_failed", error.message, error.hint))
        log.warning("the source of %s failed (%d times in a row): %s", self.table, count, error.message)
        if error.permanent:
            return False
        await clock.sleep(self._backoff.wait(count))
        return True

    async def refused(self, error: BaseException, clock: Clock) -> None:
        """The store refused what a source brought: report it, and leave it alone for a while."""
        known = error if isinstance(error, HeadraceError) else HeadraceError(str(error))
        self._refusals = True
        self._recorder.record(Problem(f"source:{self.table}", "refused", known.message, known.hint))
        log.warning("the store refused a batch for %s: %s", self.table, known.message)
        await clock.sleep(known.retry_after if isinstance(known, Backpressure) else 1.0)

    def taken(self) -> None:
        """The store took a batch; if it had refused some, the problem is over."""
        if self._refusals:
            self._refusals = False
            self._recorder.record(Solved(f"source:{self.table}", "refused"))

    def opened(self) -> None:
        """The source was opened: its partitions are those that speak now."""
        self.recovered("")
        self._frontiers.clear()

    def recovered(self, partition: str) -> None:
        """A partition works; if it had failed, the problem is over."""
        if self._failures.pop(partition, 0) and not self._failures:
            self._recorder.record(Solved(f"source:{self.table}", "source_failed"))

    def _publish(self, partition: str, frontier: Frontier) -> None:
        self._frontiers[partition] = frontier
        whole = merge(list(self._frontiers.values()))
        self._board.set_frontier(self.table, whole.at, whole.heard, whole.state)
