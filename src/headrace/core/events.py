"""Typed events that any package may emit, and the protocol of whoever listens."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
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


@dataclass(slots=True)
class ModelCalled:
    """A call to a model ended. Not frozen: one is made for every call, and a frozen one takes three times as long.

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


Event = Committed | Problem | Solved | ModelCalled


class Recorder(Protocol):
    """Whoever wants to know. Called on hot paths: must return at once and must not raise."""

    def record(self, event: Event) -> None:
        """Take note of `event`."""
        ...


class NullRecorder:
    """Takes no notes."""

    def record(self, event: Event) -> None:
        """Do nothing."""
