"""What the store takes, what it promises, and where views hook into its transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import apsw

from headrace.core.changes import Judged, Position
from headrace.core.schema import Row, Schema


@dataclass(frozen=True, slots=True)
class Idempotency:
    """The key that a producer sent along and the SHA-256 of the body that came with it."""

    key: str
    digest: bytes


START: Position = ""
"""Where a partition stands that has committed nothing yet."""


@dataclass(slots=True)
class Chain:
    """The submissions of one opened partition, in their order: when one is refused, so is every one after it.

    Positions alone do not say so: parts of a full copy, and batches of a source that cannot resume, have none.
    """

    broken: bool = False


@dataclass(frozen=True, slots=True)
class Submission:
    """One judged batch on its way into a transaction; the fields are those of `core.changes.Batch`.

    `partition` is "" for what was pushed. `replays` holds the numbers of quarantined records that were judged again to
    make this submission: they leave quarantine in the transaction that applies it.

    `follows` is the position that the partition must stand at (`START`: none yet). A submission whose predecessor was
    refused is refused as well, so that no position can pass over rows that were not taken. None: not checked.
    `chain` says the same of submissions without a position.

    `places` names the tables whose source stands at `position` and is complete up to `frontier` after this submission,
    when that is not `table` alone; `follows` is compared with the first one's.
    `unit` marks neighbours that are taken together or not at all: they have the same object here.
    """

    table: str
    judged: Judged
    partition: str = ""
    position: Position | None = None
    source_ts: int | None = None
    version: int | None = None
    frontier: int | None = None
    snapshot: Literal["part", "end", "only"] | None = None
    idempotency: Idempotency | None = None
    size: int = 0
    follows: Position | None = None
    replays: Sequence[int] = ()
    chain: Chain | None = None
    places: Sequence[str] = ()
    unit: object | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Delta:
    """What one transaction does to one table, as a maintainer sees it.

    Attributes
    ----------
    schema
        The table.
    rows
        Upserted rows or appended events, in order, in storage form. A key may come more than once, and a row may be
        one that a newer version keeps out. Events whose key is there already are left out after they were applied.
    keys
        Keys (in storage form) of all rows that were upserted or deleted; empty for events.
    source_ts
        When these changes happened at their source (microseconds).
    """

    schema: Schema
    rows: Sequence[Row]
    keys: Sequence[Row]
    source_ts: int


class Maintainer(Protocol):
    """Keeps something derived from tables in step with them, inside the store's transaction.

    Called on the writer thread only, with the writer's connection.
    """

    @property
    def name(self) -> str:
        """The derived table's name."""
        ...

    @property
    def inputs(self) -> frozenset[str]:
        """The tables whose changes it wants."""
        ...

    def setup(self, db: apsw.Connection) -> None:
        """Create or migrate its tables, and fill them from the inputs when its definition changed."""
        ...

    def before(self, db: apsw.Connection, delta: Delta) -> None:
        """The changes of `delta` are about to be applied: remember what only the old rows tell."""
        ...

    def after(self, db: apsw.Connection, delta: Delta, *, txn: int) -> None:
        """The changes of `delta` were applied in this transaction."""
        ...

    def finish(self, db: apsw.Connection, *, txn: int) -> None:
        """All changes of this transaction were applied; the commit comes next."""
        ...

    def housekeep(self, db: apsw.Connection, *, now: int, limit: int) -> int:
        """Drop what is out of retention, at most about `limit` rows; how many were dropped. Called when idle."""
        ...


@runtime_checkable
class Forgetful(Protocol):
    """A maintainer that keeps notes in memory between `before` and `finish`, and must drop them on a rollback."""

    def discard(self) -> None:
        """The transaction is rolled back (disk full, a row that cannot be stored) and may be tried again: forget it."""
        ...
