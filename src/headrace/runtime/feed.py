"""One partition's way into the store: ask it, judge what it gives, submit, and acknowledge what is on disk."""

from __future__ import annotations

import asyncio
from collections import deque

from headrace.core.changes import Batch
from headrace.core.clock import Clock
from headrace.core.errors import SourceError
from headrace.core.frontier import SourceState
from headrace.runtime.lane import Lane
from headrace.sources.base import Partition
from headrace.store.base import Submission
from headrace.store.ingest import Ingest, Pending

AHEAD = 16
"""Batches that may be on their way into the store at once: enough to fill a group commit while the next is read."""


class Feed:
    """Runs one partition until it ends, fails for good or is cancelled."""

    def __init__(self, lane: Lane, partition: Partition, *, ingest: Ingest, clock: Clock) -> None:
        self._lane = lane
        self._partition = partition
        self._name = partition.name
        self._ingest = ingest
        self._clock = clock
        self._pending: deque[tuple[Batch, Pending]] = deque()
        lane.expect(self._name)

    async def run(self) -> None:
        """Feed until the source ends. Failures are waited out, unless they are permanent."""
        try:
            while await self._step():
                pass
        finally:
            await self._partition.close()

    async def _step(self) -> bool:
        """Ask once and take what comes; False when it was the last time."""
        try:
            batch = await self._partition.next_batch()
        except SourceError as error:
            await self._settle(0)
            return await self._lane.failed(self._name, error, self._clock)
        self._lane.recovered(self._name)
        if batch is None:
            await self._settle(0)
            await self._clock.sleep(self._partition.next_awake())
            return True
        if batch.payloads or batch.position is not None:
            await self._submit(batch)
        else:
            await self._settle(0)
            self._alive(batch)
        if batch.ended:
            await self._settle(0)
            self._lane.alive(self._name, batch.frontier, self._clock.now(), SourceState.ENDED)
        return not batch.ended

    async def _submit(self, batch: Batch) -> None:
        judged = self._lane.judged(batch, self._clock.now())
        pending = await self._ingest.enqueue(
            Submission(
                table=self._lane.table,
                judged=judged,
                partition=self._name,
                position=batch.position,
                source_ts=batch.source_ts,
                version=batch.version,
                frontier=batch.frontier,
                snapshot=batch.snapshot,
            )
        )
        self._pending.append((batch, pending))
        await self._settle(AHEAD)

    async def _settle(self, leave: int) -> None:
        """Wait for commits until at most `leave` are under way; commits come in the order of submission."""
        while self._pending and (len(self._pending) > leave or self._pending[0][1].committed.done()):
            batch, pending = self._pending.popleft()
            await pending.committed
            self._alive(batch)
            if batch.position is not None:
                self._acknowledge(batch.position, pending)

    def _acknowledge(self, position: str, pending: Pending) -> None:
        def tell(durable: asyncio.Future[object]) -> None:
            if not durable.cancelled() and durable.exception() is None:
                asyncio.ensure_future(self._partition.acknowledge(position))  # noqa: RUF006 (may be late or never)

        pending.durable.add_done_callback(tell)

    def _alive(self, batch: Batch) -> None:
        state = SourceState.SNAPSHOT if batch.snapshot == "part" else SourceState.RUNNING
        self._lane.alive(self._name, batch.frontier, self._clock.now(), state)
