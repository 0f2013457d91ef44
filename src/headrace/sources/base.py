"""The contract of a source: what a user declares, and the partitions that read it.

A *source* is a declaration: values only, safe to build when the app file is loaded. Opening it gives *partitions*, and
each partition is asked in turn: `next_batch`, and when it has nothing, `next_awake` says how long to leave it alone.
Partitions never judge and never write. What they must keep is written at each method, and
`headrace.testing.conformance` checks it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol

from headrace.core.changes import Batch, Position
from headrace.core.clock import Clock
from headrace.core.events import NullRecorder, Recorder
from headrace.core.findings import Finding
from headrace.core.options import own_options
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
        """Everything up to `position` is on disk: the outside world may forget it. May be called late or never, but
        for the end of a full copy, which some sources wait for before they go on."""
        ...

    async def close(self) -> None:
        """Let go of files, connections and threads. Called once, also after an error."""
        ...


@dataclass(frozen=True, slots=True)
class Fed:
    """One table that a stream feeds.

    Attributes
    ----------
    schema
        The table.
    source
        The source that it was declared with.
    known
        Whether something of this stream was committed for it; otherwise it needs a full copy first.
    extra
        Whether fields that its record does not declare are of use (`new_fields` is not "ignore").
    note
        What the source said of a full copy that was broken off (`Batch.note`): rows that it had brought are stored as
        it brought them. None: there was none, or something else has changed the table since.
    """

    schema: Schema
    source: Source
    known: bool
    extra: bool = False
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Opening:
    """What a source is given when it is opened.

    Attributes
    ----------
    schema
        The table that it feeds; the first one declared, where it feeds several.
    resume
        The last committed position of each partition, by partition name; empty on the first start. A stream of
        several tables has one position, which the tables that it has committed anything for share.
    clock
        The only clock that the source may use.
    app
        The app's name.
    tables
        For sources with a `stream`: every table that it feeds, by name.
    folder
        Where temporary files may be put; what is left there is removed when the engine starts. None: nowhere.
    recorder
        Takes `Problem` and `Solved` events with the subject `source:<table>`.
    """

    schema: Schema
    resume: Mapping[str, Position]
    clock: Clock
    app: str = "app"
    tables: Mapping[str, Fed] = field(default_factory=dict[str, Fed])
    folder: Path | None = None
    recorder: Recorder = field(default_factory=NullRecorder)


class Source(ABC):
    """A declared source. Subclasses hold values only and open partitions on demand.

    Attributes
    ----------
    kind
        A short word for people and metrics: "push", "files", "poll", "generator".
    expect
        The source should give a sign of life at least this often (microseconds); None: the table's promise.
    envelope
        Whether `{"op": "delete", ...}` among its records is a change; if not, it is none when replayed, either.
    """

    kind: ClassVar[str]
    expect: int | None = None
    envelope: bool = True

    def __init_subclass__(cls, **how: object) -> None:
        super().__init_subclass__(**how)
        own_options(cls)

    @property
    def stream(self) -> Hashable | None:
        """Sources with an equal stream are read together: the first one declared is opened, once, for the tables of
        all of them (`Opening.tables`), each batch names its `table`, and a position or frontier counts for all.

        None: the source feeds its table alone.
        """
        return None

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

    async def examine(self, opening: Opening) -> Sequence[Finding]:
        """What `headrace doctor` should know about the outside world of this source; nothing is changed.

        A source with a `stream` is asked once, for all tables of `Opening.tables`. What cannot be reached is a finding
        too, not an error.
        """
        return ()

    async def mend(self, opening: Opening, findings: Sequence[Finding]) -> Sequence[str]:
        """Do what is safe among what `examine` found, and say what was done, one sentence or statement each.

        Raises
        ------
        SourceError
            Something could not be done; what was done before it stays.
        """
        return ()
