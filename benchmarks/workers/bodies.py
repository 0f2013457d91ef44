"""A source over bodies that are in memory already, so that an ingest figure holds no reading of disks or sockets.

It is an ordinary source of the documented seam: what comes from it is judged, committed, published and dated by the
running app exactly as from files or a broker.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from headrace.core.changes import Batch, Json, Position
from headrace.sources import Opening, Partition, Source


class Bodies(Source):
    """Gives each body as one batch, then ends.

    `began` is when the first one was asked for (perf_counter), `cpu` the
    process time of that moment."""

    kind: ClassVar[str] = "bodies"

    def __init__(self, bodies: Sequence[bytes]) -> None:
        self.bodies = bodies
        self.began = 0.0
        self.cpu = 0.0

    async def open(self, opening: Opening) -> Sequence[Partition]:
        return [_Partition(self, opening)]

    def describe(self) -> str:
        return f"{len(self.bodies)} bodies in memory"


class _Partition:
    name = "memory"

    def __init__(self, source: Bodies, opening: Opening) -> None:
        self._source = source
        self._clock = opening.clock
        self._next = int(opening.resume.get(self.name, "0"))

    async def next_batch(self) -> Batch | None:
        if self._next == 0:
            self._source.began, self._source.cpu = time.perf_counter(), time.process_time()
        if self._next >= len(self._source.bodies):
            return Batch(payloads=(), ended=True, frontier=self._clock.now())
        body = self._source.bodies[self._next]
        self._next += 1
        return Batch(
            payloads=(Json(body, envelope=False),),
            position=str(self._next),
            origin=f"memory:{self._next}",
            frontier=self._clock.now(),
        )

    def next_awake(self) -> float:
        return 0.001

    async def acknowledge(self, position: Position) -> None:
        """Nothing to forget."""

    async def close(self) -> None:
        """Nothing is open."""


async def settled(live: Any, table: str, rows: int, *, watch: Callable[[int], None] | None = None) -> float:
    """Wait until `rows` of a table are committed, readable and on disk; the instant (perf_counter) of that.

    `watch` is called with the count at every look (each 10 ms).
    """
    while (count := live.engine.store.board.counters(table)["accepted"]) < rows:
        if watch is not None:
            watch(count)
        await asyncio.sleep(0.01)
    await live.engine.ingest.execute(lambda db, txn: None)  # answered after the sync that covers it
    return time.perf_counter()
