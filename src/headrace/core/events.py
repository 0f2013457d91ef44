"""Typed events that any package may emit, and the protocol of whoever listens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Committed:
    """One transaction of the store became readable."""

    txn: int
    tables: tuple[str, ...]
    rows: int
    quarantined: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Problem:
    """Something is wrong that a person should see: the subject ("source:items"), what, and what to do.

    `kind` is a short stable word ("source_failed", "column_dropped", "column_retyped", "store_full", ...); a problem
    is identified by (subject, kind) and lasts until it is `Solved`.
    """

    subject: str
    kind: str
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Solved:
    """A problem that is over."""

    subject: str
    kind: str


@dataclass(frozen=True, slots=True)
class Copying:
    """How far a full copy of a table is.

    Attributes
    ----------
    rows
        Rows that were fetched, those that an earlier copy had brought included.
    expected
        About how many there are; an estimate.
    parts, of
        How many of its parts are complete.
    since
        When it began (microseconds).
    """

    table: str
    rows: int
    expected: int
    parts: int
    of: int
    since: int

    @property
    def share(self) -> float:
        """About how much is done, 0 to 1; all of it only when every part is complete.

        >>> Copying("items", 50, 200, 1, 4, 0).share, Copying("items", 210, 200, 3, 4, 0).share
        (0.25, 0.99)
        """
        return 1.0 if self.parts >= self.of else round(min(0.99, self.rows / max(self.expected, 1)), 4)


@dataclass(frozen=True, slots=True)
class Copied:
    """No full copy of the table is under way any more: it is complete, or was broken off."""

    table: str


Event = Committed | Problem | Solved | Copying | Copied


class Recorder(Protocol):
    """Whoever wants to know. Called on hot paths: must return at once and must not raise."""

    def record(self, event: Event) -> None:
        """Take note of `event`."""
        ...


class NullRecorder:
    """Takes no notes."""

    def record(self, event: Event) -> None:
        """Do nothing."""
