"""Typed events that any package may emit, and the protocol of whoever listens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from msgspec import Struct


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
class ReadAge:
    """One context read of a request: which view or table, how old it was (milliseconds), and its status."""

    name: str
    age_ms: float | None
    status: str


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One call of a request to a model; seconds, and what it took where that is known."""

    model: str
    upstream: str
    seconds: float
    attempts: int = 1
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    cost: Decimal | None = None
    failed: str = ""


@dataclass(frozen=True, slots=True)
class Answered:
    """A request to an endpoint came to its end.

    Attributes
    ----------
    status
        As HTTP would say it; 499 where the client went away.
    stages
        Seconds per stage, in the order in which they began.
    fallback
        Which fallback answered; empty: none.
    cache
        "hit", "miss", or empty where there is no cache.
    stale
        What became of the read set: "unchanged", "changed" or "unchecked".
    retries
        How often the handler ran again because what it had read changed.
    shadow
        Whether this ran beside a request, and nobody saw its answer.
    """

    endpoint: str
    version: str
    request: str
    status: int
    seconds: float
    stages: Mapping[str, float]
    reads: tuple[ReadAge, ...] = ()
    models: tuple[ModelCall, ...] = ()
    fallback: str = ""
    cache: str = ""
    stale: str = "unchecked"
    retries: int = 0
    shadow: bool = False


class ModelCalled(Struct, frozen=True):
    """A call to a model ended.

    Attributes
    ----------
    request
        The id that whoever called gave it.
    model, upstream, status
        The declared model; which upstream answered (empty: none did), and its HTTP status (0: none).
    queued, first_byte, seconds
        Seconds from the call to its first attempt, to the first byte of the answer (None: there was none), to its end.
    prompt_tokens, output_tokens, cached_tokens
        As the upstream counts; None where it does not say.
    cost
        Of all attempts; None where a price is not known.
    attempts, hedged
        How many attempts were made, and whether one of them was a hedge.
    outcome
        `done`, or why there was no whole answer: a word of `models.action.Reason`.
    failure
        How the last attempt failed, if one did and there was no answer (`models.failure.Failure`).
    """

    request: str
    model: str
    upstream: str
    status: int
    queued: float
    first_byte: float | None
    seconds: float
    prompt_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    cost: Decimal | None
    attempts: int
    hedged: bool
    outcome: str
    failure: str = ""


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


Event = Committed | Problem | Solved | ModelCalled | Answered | Copying | Copied


class Recorder(Protocol):
    """Whoever wants to know. Called on hot paths: must return at once and must not raise."""

    def record(self, event: Event) -> None:
        """Take note of `event`."""
        ...


class NullRecorder:
    """Takes no notes."""

    def record(self, event: Event) -> None:
        """Do nothing."""


class Recorders:
    """Tells several."""

    def __init__(self, *recorders: Recorder) -> None:
        self._recorders = recorders

    def record(self, event: Event) -> None:
        """Tell each of them."""
        for one in self._recorders:
            one.record(event)
