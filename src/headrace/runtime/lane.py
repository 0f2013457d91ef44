"""What every writer to one table shares: its judge, its watermark, the eye on its source's shape, and its frontiers."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Mapping

from headrace.contracts.evolution import Evolution
from headrace.contracts.judge import Judge
from headrace.core.changes import Batch, Judged
from headrace.core.clock import ClockOffset
from headrace.core.errors import HeadraceError, SourceError
from headrace.core.events import Problem, Recorder, Solved
from headrace.core.frontier import Frontier, SourceState, merge
from headrace.store.board import Board

AT_ONCE = 64 << 10
"""Bytes of a pushed body that are judged at once: a few milliseconds of the event loop at most."""

MOST_VIOLATIONS = 250_000
"""Violations in one push, at most: they are held in memory, and a body may have millions of records of two bytes."""


class Lane:
    """The way into one table, for all partitions of its source and for pushes.

    Parameters
    ----------
    watermark
        The latest event time that the table has seen (microseconds); None before the first event.
    frontiers
        Up to when each partition was complete at its last commit (microseconds).

    Attributes
    ----------
    copying
        Whether a full copy is under way: until its end the table is complete up to no instant.
    turn
        Held while something that was pushed, or waited in quarantine, is judged.
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
        frontiers: Mapping[str, int] | None = None,
    ) -> None:
        self.table = table
        self.judge = judge
        self.watermark = watermark
        self._evolution = evolution
        self._board = board
        self._recorder = recorder
        self._frontiers: dict[str, Frontier] = {}
        self._stored_at = dict(frontiers or {})
        self._failing: set[str] = set()
        self._refusals = False
        self.copying = False
        self.turn = asyncio.Lock()

    def judged(self, batch: Batch, now: int) -> Judged:
        """Judge a batch; report a source that changed its shape."""
        return self._observed(self.judge.judge(batch, now=now, watermark=self.watermark))

    async def judged_in_turn(self, batch: Batch, now: int, *, size: int) -> Judged:
        """Judge what was pushed, one after the other; one of many bytes in a thread, so that nobody waits for it but
        the pushes to this table that come behind it.

        Raises
        ------
        TooLarge
            There is no end to its violations.
        """
        async with self.turn:
            judge = functools.partial(self.judge.judge, batch, now=now, watermark=self.watermark, most=MOST_VIOLATIONS)
            if size <= AT_ONCE:
                return self._observed(judge())
            judging = asyncio.ensure_future(asyncio.to_thread(judge))
            try:
                return self._observed(await asyncio.shield(judging))
            except asyncio.CancelledError:
                await asyncio.wait([judging])  # the next one must not be judged beside it
                raise

    def _observed(self, result: Judged) -> Judged:
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
        self._frontiers.setdefault(partition, Frontier(self._stored_at.get(partition), None, SourceState.NEVER))

    def alive(self, partition: str, at: int | None, heard: int, state: SourceState) -> None:
        """A partition spoke; `at` is None when it says nothing about completeness. Call it after the commit."""
        before = self._frontiers.get(partition)
        known = before.at if before is not None else None
        whole = known if at is None else max(at, known or at)
        # Nothing is complete up to an instant that has not come: a clock was set back, or the source's is ahead.
        self._publish(partition, Frontier(None if whole is None else min(whole, heard), heard, state))

    def measured(self, offset: ClockOffset) -> None:
        """The source's clock was compared with ours."""
        self._board.set_clock(self.table, offset)

    def failed(self, partition: str, error: SourceError) -> None:
        """Report a failure."""
        self._failing.add(partition)
        before = self._frontiers.get(partition) or self._stored()
        self._publish(partition, Frontier(before.at, before.heard, SourceState.FAILED))
        self._recorder.record(Problem(f"source:{self.table}", "source_failed", error.message, error.hint))

    def refused(self, error: HeadraceError) -> None:
        """Report that the store refused what a source brought."""
        self._refusals = True
        self._recorder.record(Problem(f"source:{self.table}", "refused", error.message, error.hint))

    def _stored(self) -> Frontier:
        """What was complete when the engine started: it stays so when the source cannot be opened."""
        return Frontier(min(self._stored_at.values(), default=None), None)

    def taken(self) -> None:
        """The store took a batch; if it had refused some, the problem is over."""
        if self._refusals:
            self._refusals = False
            self._recorder.record(Solved(f"source:{self.table}", "refused"))

    def opened(self) -> None:
        """The source was opened: its partitions are those that speak now."""
        self.recovered("")
        known = {name: frontier.at for name, frontier in self._frontiers.items() if frontier.at is not None}
        self._stored_at.update(known)
        self._frontiers.clear()

    def recovered(self, partition: str) -> None:
        """A partition works; if it had failed, the problem is over."""
        if partition not in self._failing:
            return
        self._failing.discard(partition)
        if not self._failing:
            self._recorder.record(Solved(f"source:{self.table}", "source_failed"))

    def _publish(self, partition: str, frontier: Frontier) -> None:
        self._frontiers[partition] = frontier
        whole = merge(list(self._frontiers.values()))
        self._board.set_frontier(self.table, whole.at, whole.heard, whole.state)
