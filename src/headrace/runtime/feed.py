"""One partition's way into the store: ask it, judge what it gives, submit, and acknowledge what is on disk."""

from __future__ import annotations

import asyncio
from collections import deque

from headrace.core.changes import Batch, Judged, Position, Receipt
from headrace.core.clock import Clock
from headrace.core.errors import SourceError
from headrace.core.frontier import SourceState
from headrace.runtime.lane import Lane
from headrace.sources.base import Partition
from headrace.store.base import START, Chain, Submission
from headrace.store.board import Board
from headrace.store.ingest import Ingest

AHEAD = 24
"""Batches that may be on their way into the store at once: enough to fill a group commit while the next is read."""


class Feed:
    """Runs one partition until it ends, fails for good, is refused by the store, or is cancelled.

    Parameters
    ----------
    position
        Where the partition was opened: its last committed position; None: at its beginning.
    """

    def __init__(
        self,
        lane: Lane,
        partition: Partition,
        *,
        position: Position | None,
        ingest: Ingest,
        board: Board,
        clock: Clock,
    ) -> None:
        self._lane = lane
        self._partition = partition
        self._name = partition.name
        self._last = START if position is None else position
        self._chain = Chain()
        self._ingest = ingest
        self._board = board
        self._clock = clock
        self._on_the_way: deque[tuple[Batch, asyncio.Future[Receipt]]] = deque()
        self._committed: deque[tuple[int, Position]] = deque()
        lane.expect(self._name)

    async def run(self) -> None:
        """Feed until the source ends. Failures of the source are waited out, unless they are permanent.

        Raises
        ------
        HeadraceError
            The store refused a batch: the partition must be opened again where its last committed batch ended.
        """
        try:
            while await self._step():
                await self._acknowledge()
            await self._settle(0)
        finally:
            for _, answer in self._on_the_way:
                answer.cancel()
            await self._partition.close()

    async def _step(self) -> bool:
        """Ask once and take what comes; False when it was the last time."""
        try:
            batch = await self._partition.next_batch()
        except SourceError as error:
            await self._settle(0)
            return await self._lane.failed(self._name, error, self._clock)
        if batch is None:  # between two attempts as well as between two good turns: it does not end a failure
            await self._settle(0)
            await self._clock.sleep(self._partition.next_awake())
            return True
        self._lane.recovered(self._name)
        await self._take(batch)
        if batch.ended:
            await self._settle(0)
            self._lane.alive(self._name, batch.frontier, self._clock.now(), SourceState.ENDED)
        return not batch.ended

    async def _take(self, batch: Batch) -> None:
        if batch.payloads or batch.position is not None or batch.snapshot is not None:
            judged = self._lane.judged(batch, self._clock.now())
            submission = submit(self._lane.table, self._name, batch, judged, follows=self._last, chain=self._chain)
            self._on_the_way.append((batch, await self._ingest.enqueue(submission, durable=False)))
            self._lane.advance(judged)
            self._last = batch.position or self._last
            await self._settle(AHEAD)
        else:
            await self._settle(0)
            self._alive(batch)

    async def _settle(self, leave: int) -> None:
        """Wait for commits until at most `leave` are under way; they come in the order of submission."""
        while self._on_the_way and (len(self._on_the_way) > leave or self._on_the_way[0][1].done()):
            batch, answer = self._on_the_way.popleft()
            receipt = await answer
            self._lane.taken()
            self._alive(batch)
            if batch.position is not None:
                self._committed.append((receipt.txn, batch.position))

    async def _acknowledge(self) -> None:
        """Tell the source what it may forget: what is on disk."""
        durable, last = self._board.durable, None
        while self._committed and self._committed[0][0] <= durable:
            _, last = self._committed.popleft()
        if last is not None:
            await self._partition.acknowledge(last)

    def _alive(self, batch: Batch) -> None:
        state = SourceState.SNAPSHOT if batch.snapshot == "part" else SourceState.RUNNING
        self._lane.alive(self._name, batch.frontier, self._clock.now(), state)


def submit(table: str, partition: str, batch: Batch, judged: Judged, *, follows: Position, chain: Chain) -> Submission:
    """A judged batch as the store takes it; one without a position has nothing to follow."""
    return Submission(
        table=table,
        judged=judged,
        partition=partition,
        position=batch.position,
        source_ts=batch.source_ts,
        version=batch.version,
        frontier=batch.frontier,
        snapshot=batch.snapshot,
        follows=None if batch.position is None else follows,
        chain=chain,
    )
