"""A small outside world around one source, and a reader that does with it what the runtime does."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from headrace.core.changes import BadBytes, Batch, Json, Kept, Keys, Payload, Position, Tuples
from headrace.core.clock import SimulatedClock, SystemClock
from headrace.core.schema import Column, ColumnType, Schema, TableKind
from headrace.sources.base import Opening, Partition, Source

ASKS = 3_000
"""Questions after which a source that still has not said what it should counts as stuck."""


class LawBroken(AssertionError):
    """A source does not keep a law; the message says which, and what it did."""


class World(ABC):
    """A small outside world with one source in it.

    Attributes
    ----------
    clock
        The clock that the source is given. Laws move it; the world must not.
    replaces
        The source delivers full copies (`Batch.snapshot`) rather than changes.
    partitions
        How many partitions it opens; 0 for one that only takes what others send.
    secrets
        Texts that it is declared with and must never show.
    heartbeats
        Whether an idle source moves its frontier.
    hands_off
        The source begins with a copy, and goes on when the copy's end is acknowledged. That is acknowledged at once, so
        that the laws, which acknowledge when they like, hold for the rest.
    """

    replaces: bool = False
    partitions: int = 1
    secrets: Sequence[str] = ()
    heartbeats: bool = True
    hands_off: bool = False

    def __init__(self) -> None:
        self.clock = SimulatedClock()
        self.count = 0

    @property
    def schema(self) -> Schema:
        """The table that is fed; two columns, `id` and `note`, unless the source needs others."""
        columns = (Column("id", ColumnType.INTEGER), Column("note", ColumnType.TEXT))
        return Schema("things", TableKind.TABLE, columns, ("id",))

    @abstractmethod
    def declare(self) -> Source:
        """Declare the source, as a user would; the same values each time."""

    @abstractmethod
    async def happen(self, ids: Sequence[int]) -> None:
        """Records with these ids happen at the source, in this order."""

    def break_it(self) -> bool:
        """Make the source unreadable; False where that cannot be done."""
        return False

    def mend(self) -> None:
        """Undo `break_it`, where that was done."""
        return

    async def close(self) -> None:
        """Let go of what the world holds."""
        return

    async def more(self, count: int) -> list[int]:
        """`count` new records happen; their ids."""
        ids = list(range(self.count, self.count + count))
        self.count += count
        await self.happen(ids)
        return ids


class Reader:
    """Reads the partitions of a source as the runtime does, and keeps what a store would hold."""

    def __init__(self, world: World, source: Source) -> None:
        self.world = world
        self.source = source
        self.parts: list[Partition] = []
        self.positions: dict[str, Position] = {}
        self.ids: list[int] = []
        self.copy: list[int] = []
        self.batches: list[Batch] = []
        self.frontier: int | None = None
        self.ended = False

    async def open(self) -> None:
        """Open at the last committed positions."""
        opening = Opening(self.world.schema, dict(self.positions), self.world.clock)
        self.parts = list(await self.source.open(opening))

    async def close(self) -> None:
        """Close all partitions."""
        for part in self.parts:
            await part.close()

    async def ask(self) -> list[Batch]:
        """Ask each partition once; commit what it says."""
        said: list[Batch] = []
        for part in self.parts:
            batch = await part.next_batch()
            if batch is None:
                continue
            said.append(batch)
            await self.take(part, batch)
        return said

    async def take(self, part: Partition, batch: Batch) -> None:
        """Commit a batch, and acknowledge the end of a copy where the source goes on from there."""
        self.commit(part.name, batch)
        if self.world.hands_off and batch.snapshot is not None and batch.position is not None:
            await part.acknowledge(batch.position)

    def commit(self, name: str, batch: Batch) -> None:
        """What the store would do with a batch."""
        self.batches.append(batch)
        self.ended = self.ended or batch.ended
        if batch.frontier is not None:
            self.frontier = batch.frontier
        if batch.position is not None:
            self.positions[name] = batch.position
        found = [i for payload in batch.payloads for i in ids_of(payload)]
        if batch.snapshot is None:
            self.ids.extend(found)
            return
        self.copy.extend(found)
        if batch.snapshot != "part":
            self.ids, self.copy = self.copy, []

    async def wait(self) -> None:
        """Leave the partitions alone as long as they ask to be, on the world's clock."""
        waits = [part.next_awake() for part in self.parts]
        self.world.clock.advance(max(min(waits, default=0.0), 0.001))
        # Real threads and tasks feed some sources: let them run.
        await SystemClock().sleep(0.0005)

    async def until(self, holds: Callable[[], bool], what: str) -> None:
        """Ask until `holds`; raises `LawBroken` when it never does."""
        for _ in range(ASKS):
            if holds():
                return
            if not await self.ask():
                await self.wait()
        raise LawBroken(f"{self.source.describe()}: {what}; it delivered {self.ids[:20]} ...")

    async def expect(self, ids: Sequence[int]) -> None:
        """Ask until exactly `ids` were delivered; more or other ones break the law."""
        await self.until(lambda: len(self.ids) >= len(ids) and self.ids[-1:] == list(ids[-1:]), f"expected {ids[:20]}")
        for _ in range(3):
            await self.ask()
            await self.wait()
        ensure(self.ids == list(ids), f"expected the ids {short(ids)}, got {short(self.ids)}")


def ids_of(payload: Payload) -> list[int]:
    """The `id`s of the records in a payload."""
    if isinstance(payload, Json):
        data = payload.data.strip()
        if data.startswith(b"["):
            return [int(record["id"]) for record in json.loads(data)]
        return [int(json.loads(line)["id"]) for line in data.splitlines() if line.strip()]
    if isinstance(payload, BadBytes):
        raise LawBroken(f"good records came as bad bytes: {payload}")
    if isinstance(payload, Tuples):
        at = payload.names.index("id")
        return [int(row[at]) for row in payload.rows]
    if isinstance(payload, Kept):
        at = payload.names.index("id")
        return [int(key[at]) for key in payload.keys]
    records: Sequence[Mapping[str, Any]] = payload.keys if isinstance(payload, Keys) else payload.records
    return [int(record["id"]) for record in records]


def ensure(holds: bool, message: str) -> None:
    """Raise `LawBroken` unless the law holds."""
    if not holds:
        raise LawBroken(message)


def short(ids: Sequence[int]) -> str:
    """Ids for a message."""
    return f"{list(ids[:30])}{' ...' if len(ids) > 30 else ''} ({len(ids)})"
