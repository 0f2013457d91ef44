"""One partition's way into the store: ask it, judge what it gives, submit, and acknowledge what is on disk."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field, replace

from headrace.core.changes import Batch, Judged, Position, Receipt
from headrace.core.clock import Clock
from headrace.core.errors import SourceError
from headrace.runtime.stream import Stream
from headrace.sources.base import Partition
from headrace.store.base import START, Chain, Submission
from headrace.store.board import Board
from headrace.store.ingest import Ingest
from headrace.store.streamed import StreamedUnit

AHEAD = 24
"""Units that may be on their way into the store at once: enough to fill a group commit while the next is read."""

LARGE = 40_000
"""Rows from which a unit is not gathered in memory but given to the writer piece by piece."""


@dataclass(slots=True)
class _Unit:
    """Batches that are committed together: one, or those of a transaction at the source."""

    batches: list[Batch] = field(default_factory=list[Batch])
    submissions: list[Submission] = field(default_factory=list[Submission])
    judged: list[Judged] = field(default_factory=list[Judged])
    rows: int = 0

    @property
    def position(self) -> Position | None:
        """Where the source stands after it."""
        return self.batches[-1].position


class Feed:
    """Runs one partition until it ends, fails for good, is refused by the store, or is cancelled.

    Parameters
    ----------
    position
        Where the partition was opened: its last committed position; None: at its beginning.
    fresh
        Tables that need a full copy first: until its end, the position does not count for them.
    """

    def __init__(
        self,
        stream: Stream,
        partition: Partition,
        *,
        position: Position | None,
        fresh: frozenset[str] = frozenset(),
        ingest: Ingest,
        board: Board,
        clock: Clock,
    ) -> None:
        self._stream = stream
        self._partition = partition
        self._name = partition.name
        self._last = START if position is None else position
        # Known tables first: the first one's stored position is what the next submission must follow.
        self._tables = sorted(stream.tables, key=lambda table: table in fresh)
        self._copying = set(fresh)
        self._chain = Chain()
        self._unit = _Unit()
        self._ingest = ingest
        self._board = board
        self._clock = clock
        self._on_the_way: deque[tuple[_Unit, asyncio.Future[Receipt]]] = deque()
        self._committed: deque[tuple[int, Position]] = deque()
        stream.expect(self._name)

    async def run(self) -> None:
        """Feed until the source ends. Failures of the source are waited out, unless they are permanent.

        Raises
        ------
        HeadraceError
            The store refused a batch, or the source failed in the middle of a transaction: the partition must be opened
            again where its last committed batch ended.
        """
        try:
            while await self._step():
                await self._acknowledge()
            await self._settle(0)
        finally:
            for _, answer in self._on_the_way:
                _forget(answer)
            await self._partition.close()

    async def _step(self) -> bool:
        """Ask once and take what comes; False when it was the last time."""
        try:
            batch = await self._partition.next_batch()
        except SourceError as error:
            await self._settle(0)
            again = await self._stream.failed(self._name, error, self._clock)
            if again and self._unit.batches:
                raise
            return again
        if batch is None:  # between two attempts as well as between two good turns: it does not end a failure
            await self._settle(0)
            await self._clock.sleep(self._partition.next_awake())
            return True
        self._stream.recovered(self._name)
        await self._take(batch)
        if batch.ended:
            await self._settle(0)
            self._stream.ended(self._name, batch, self._clock.now())
        return not batch.ended

    async def _take(self, batch: Batch) -> None:
        if not self._unit.batches and _is_sign_of_life(batch):
            await self._settle(0)
            self._stream.alive(self._name, batch, self._clock.now())
            return
        self._gather(batch)
        if not batch.more:
            await self._submit()
        elif self._unit.rows >= LARGE:
            await self._submit_large()

    def _gather(self, batch: Batch) -> None:
        """Judge a batch and add it to the unit that is being gathered."""
        judged = self._stream.judged(batch, self._clock.now())
        self._note_copy(batch)
        submission = submit(
            self._stream.lane(batch).table, self._name, batch, judged, follows=self._last, chain=self._chain
        )
        if self._stream.shared:
            stand = [table for table in self._tables if table not in self._copying]
            submission = replace(submission, places=stand or (submission.table,))
        unit = self._unit
        unit.batches.append(batch)
        unit.submissions.append(submission)
        unit.judged.append(judged)
        unit.rows += judged.rows
        self._last = batch.position or self._last

    def _note_copy(self, batch: Batch) -> None:
        table = self._stream.lane(batch).table
        if batch.snapshot == "part":
            self._copying.add(table)
        elif batch.snapshot is not None:
            self._copying.discard(table)

    async def _submit(self) -> None:
        unit, self._unit = self._unit, _Unit()
        if len(unit.submissions) > 1:
            mark = object()
            unit.submissions = [replace(submission, unit=mark) for submission in unit.submissions]
        self._on_the_way.append((unit, await self._ingest.enqueue_unit(unit.submissions, durable=False)))
        for batch, judged in zip(unit.batches, unit.judged, strict=True):
            self._stream.lane(batch).advance(judged)
        unit.judged = []
        await self._settle(AHEAD)

    async def _submit_large(self) -> None:
        """Give a unit to the writer while its transaction is open. The source has all of it at hand."""
        await self._settle(0)
        said: list[Batch] = []
        entry, answer = self._ingest.open_unit()
        try:
            while await self._put(entry, said):
                self._unit = _Unit()
                self._gather(await self._next_of_unit())
            entry.end()
            receipt = await answer
        except SourceError as error:
            entry.abort()  # before the wait: nothing else is written while its transaction is open
            await self._stream.failed(self._name, error, self._clock)
            raise
        finally:
            entry.abort()
            _forget(answer)  # the writer answers what was broken off, too, and nobody may be left to hear it
        self._unit = _Unit()
        self._done(_Unit(said), receipt)

    async def _put(self, entry: StreamedUnit, said: list[Batch]) -> bool:
        """Hand over what is gathered; False when it was the last of the unit."""
        unit = self._unit
        for batch, judged in zip(unit.batches, unit.judged, strict=True):
            self._stream.lane(batch).advance(judged)
            said.append(replace(batch, payloads=()))
        open_still = await entry.put(unit.submissions)
        return open_still and unit.batches[-1].more

    async def _next_of_unit(self) -> Batch:
        while True:
            batch = await self._partition.next_batch()
            if batch is not None:
                return batch
            await self._clock.sleep(self._partition.next_awake())

    async def _settle(self, leave: int) -> None:
        """Wait for commits until at most `leave` are under way; they come in the order of submission."""
        while self._on_the_way and (len(self._on_the_way) > leave or self._on_the_way[0][1].done()):
            unit, answer = self._on_the_way.popleft()
            self._done(unit, await answer)

    def _done(self, unit: _Unit, receipt: Receipt) -> None:
        self._stream.taken()
        for batch in unit.batches:
            self._stream.alive(self._name, batch, self._clock.now())
        if unit.position is not None:
            self._committed.append((receipt.txn, unit.position))

    async def _acknowledge(self) -> None:
        """Tell the source what it may forget: what is on disk."""
        durable, last = self._board.durable, None
        while self._committed and self._committed[0][0] <= durable:
            _, last = self._committed.popleft()
        if last is not None:
            await self._partition.acknowledge(last)


def _forget(answer: asyncio.Future[Receipt]) -> None:
    """Nobody waits for this answer any more: an error in it was told already, or is that it was broken off."""
    if not answer.cancel() and not answer.cancelled():
        answer.exception()


def _is_sign_of_life(batch: Batch) -> bool:
    return not batch.payloads and batch.position is None and batch.snapshot is None and not batch.more


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
        note=batch.note,
    )
