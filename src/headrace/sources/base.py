"""The contract of a source: what a user declares, and the partitions that read it.

A *source* is a declaration: values only, safe to build when the app file is loaded. Opening it gives *partitions*, and
each partition is asked in turn: `next_batch`, and when it has nothing, `next_awake` says how long to leave it alone.
Partitions never judge and never write. What they must keep is written at each method, and
`headrace.testing.conformance` checks it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from headrace.core.changes import Batch, Position
from headrace.core.clock import Clock
from headrace.core.schema import Schema


class Partition(Protocol):
    """One ordered stream of batches."""

    @property
    def name(self) -> str:
        """Stable across restarts and unique within the source; the position is stored under it."""
        ...

    async def next_batch(self) -> Batch | None:
        """The next batch, or None when there is nothing to say right now.

        Must not block the event loop. A batch without payloads says "still here, complete up to `frontier`". Batches
        come in source order, and their positions only move forward. After a crash the partition is opened again at
        the last *committed* position and must continue right after it: no gap, no repeat.

        Raises
        ------
        SourceError
            The source cannot be read now; the caller waits and asks again, unless `permanent`.
        """
        ...

    def next_awake(self) -> float:
        """Seconds to wait before asking again after a None. Small and bounded; 0 means at once."""
        ...

    async def acknowledge(self, position: Position) -> None:
        """Everything up to `position` is on disk: the outside world may forget it. May be called late or never."""
        ...

    async def close(self) -> None:
        """Let go of files, connections and threads. Called once, also after an error."""
        ...


@dataclass(frozen=True, slots=True)
class Opening:
    """What a source is given when it is opened.

    Attributes
    ----------
    schema
        The table that it feeds; the first one declared, where it feeds several.
    resume
        The last committed position of each partition, by partition name; empty on the first start.
    clock
        The only clock that the source may use.
    others
        The further tables that the source feeds, by name, for sources with `many` only.
    """

    schema: Schema
    resume: Mapping[str, Position]
    clock: Clock
    others: Mapping[str, Schema] = field(default_factory=dict[str, Schema])

    @property
    def tables(self) -> Mapping[str, Schema]:
        """Every table that the source feeds, by name."""
        return {self.schema.name: self.schema, **self.others}


class Source(ABC):
    """A declared source. Subclasses hold values only and open partitions on demand.

    Attributes
    ----------
    kind
        A short word for people and metrics: "push", "files", "poll", "generator".
    expect
        The source should give a sign of life at least this often (microseconds); None: the table's promise.
    many
        Whether one object may feed several tables. Such a source is opened once for all tables that were declared
        with it, its positions belong to the source and not to a table, and each batch names its `table`; a frontier
        counts for all of its tables.
    envelope
        Whether `{"op": "delete", ...}` among its records is a change; if not, it is none when replayed, either.
    """

    kind: ClassVar[str]
    many: ClassVar[bool] = False
    expect: int | None = None
    envelope: bool = True

    @abstractmethod
    async def open(self, opening: Opening) -> Sequence[Partition]:
        """The partitions to read from, resumed where they were.

        A source that only takes what others send it (push) has none.

        Raises
        ------
        SourceError
            With `permanent=True` when the declaration cannot work (no such folder, a missing extra).
        """

    @abstractmethod
    def describe(self) -> str:
        """One line for `headrace explain`, without secrets."""
