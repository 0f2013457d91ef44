"""What moves from a source to the store: raw batches before the contract, judged changes after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from headrace.core.clock import ClockOffset
from headrace.core.schema import Row

Position = str
"""Where a source stands, opaque to everyone else: text that the source can resume from."""


@dataclass(frozen=True, slots=True)
class Json:
    """Records as bytes: one JSON object, a JSON array of objects, or one object a line (NDJSON).

    `envelope` says whether `{"op": "delete", "key": ...}` objects are changes rather than records.
    """

    data: bytes
    envelope: bool = True


@dataclass(frozen=True, slots=True)
class Rows:
    """Records as Python mappings; `raw`, when given, holds the bytes that each one came from.

    `text` says that all values arrived as text (CSV), so that "3" may become 3 and "" may become NULL.
    """

    records: Sequence[Mapping[str, Any]]
    raw: Sequence[bytes] | None = None
    text: bool = False


@dataclass(frozen=True, slots=True)
class Tuples:
    """Records as tuples of Python values, all in the order of `names`; the cheapest form for sources with columns."""

    names: tuple[str, ...]
    rows: Sequence[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Partial:
    """Records that leave out columns which did not change: those stay as they are stored.

    A record whose row is not stored (it was refused, or is gone) goes to quarantine, rule `incomplete`.
    `was`, when given, holds for each record the key under which its row is stored, where the change gave it another
    one: what is left out is taken from there, and that key is gone.
    """

    records: Sequence[Mapping[str, Any]]
    was: Sequence[Mapping[str, Any] | None] | None = None


@dataclass(frozen=True, slots=True)
class BadBytes:
    """A piece of input that is not a record at all (bad encoding, half a line, no JSON): it goes to quarantine."""

    data: bytes
    message: str
    rule: str = "bad_bytes"


@dataclass(frozen=True, slots=True)
class Keys:
    """Rows that are gone at the source: mappings that hold at least the key columns."""

    keys: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Kept:
    """Rows of a full copy that are at the source as an earlier one, which was broken off, brought them (`Batch.note`):
    their keys, as tuples in the order of `names`. What is stored of them stays, and does not count as gone."""

    names: tuple[str, ...]
    keys: Sequence[tuple[Any, ...]]


Payload = Json | Rows | Tuples | Partial | BadBytes | Keys | Kept


@dataclass(frozen=True, slots=True)
class Batch:
    """What a partition read: payloads in order, and where the source stands after them.

    Attributes
    ----------
    payloads
        In the order in which they happened.
    position
        Resume from here once the batch is committed; None when the source cannot resume.
    origin
        Where the batch came from, for people: "orders.jsonl:4096", "push:6f1c". A record's source position is
        `origin` and its index in the batch.
    source_ts
        When the source committed the batch, microseconds; None when it does not say.
    version
        The source's order of the batch (an LSN, an offset); guards against older changes. None: order of arrival.
    frontier
        "Everything that the source had committed up to this instant is in the store once this batch is."
    snapshot
        "part": rows of a full copy that is under way; "end": with this batch the copy is complete, and keys of the
        table that it did not bring are gone at the source; "only": both in one batch. None: ordinary changes.
        A record of a copy that is refused was brought all the same: its row stays as it was.
        All batches of one copy carry the same `source_ts`, the instant that the copy shows. A part with another
        `source_ts` begins a new copy: what an unfinished one brought stays, but does not count for the new one.
    ended
        The source has said all that it will ever say.
    table
        The table that the payloads are for, when one partition feeds several (`Source.stream`); None: the only one.
        Position, frontier and clock count for all tables of the stream.
    more
        The transaction at the source goes on in the partition's next batch: what this batch brings becomes visible
        together with that one. `position` is None on such a batch and stands on the last one of the transaction,
        so that a crash between them resumes before the first. A partition begins a transaction only when it has all of
        it at hand (in memory or on disk): the writer waits for the rest and for nothing else.
    clock
        How far the source's clock is from ours, when it was measured.
    note
        What of a full copy that is under way is in with this batch, in the source's own words. When the source is
        opened again before the copy's end it is given the last one that is committed (`Fed.note`), and need not bring
        what it brought: a new copy names the keys of that (`Kept`). None: as before.

    A batch without payloads is a sign of life: it moves the frontier of an idle source and is not committed.
    """

    payloads: Sequence[Payload]
    position: Position | None = None
    origin: str = ""
    source_ts: int | None = None
    version: int | None = None
    frontier: int | None = None
    snapshot: Literal["part", "end", "only"] | None = None
    ended: bool = False
    table: str | None = None
    more: bool = False
    clock: ClockOffset | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Upserts:
    """Judged rows to insert or update, in storage form; `extras` holds adopted fields as JSON text, per row."""

    rows: list[Row]
    extras: list[str | None] | None = None


@dataclass(frozen=True, slots=True)
class Deletes:
    """Keys to delete, in storage form; `versions` holds the guard version of each where the table declares one."""

    keys: list[Row]
    versions: list[int] | None = None


@dataclass(frozen=True, slots=True)
class Patch:
    """A record of which only some columns came. The rest is added where the row is known: in the store's transaction.

    Attributes
    ----------
    at
        How many of the batch's changes come before it.
    key
        The key of its row, in storage form.
    complete
        Judges the record with what is missing taken from the row that is stored then, in storage form, and from its
        adopted fields as JSON text; (None, None) when there is none. Called on the writer's thread.
    was
        The key under which its row is stored until then, when the change gave it another one; None: it is `key`.
    """

    at: int
    key: Row
    complete: Callable[[Row | None, str | None], Judged]
    was: Row | None = None


@dataclass(frozen=True, slots=True)
class Violation:
    """One record that broke its contract, as it goes to quarantine.

    Attributes
    ----------
    raw
        The record's bytes as they arrived (re-encoded JSON where the source has no bytes).
    rule
        What was broken: "type", "missing", "gt", "unique", "too_late", a row rule's name, ...
    column
        The offending column, or "" when the rule is about the whole record.
    value
        The offending value as JSON text, cut to 200 characters.
    message
        One sentence for a person.
    position
        Where the record stood at its source.
    key
        The key (in storage form) of an event that came too late: when it is stored already, it is a repeat of what was
        in time, and not kept again. None for everything else.
    """

    raw: bytes
    rule: str
    column: str
    value: str
    message: str
    position: str = ""
    key: Row | None = None


@dataclass(slots=True)
class Judged:
    """What a contract made of a batch: changes to apply, violations to keep, counts of what was repaired.

    `patches` holds records that are not whole yet, see `Patch`.
    `rejected` holds violations of rules with `on_violation="reject"`; a push with any is refused as a whole.
    `max_event_time` is the latest event time among the accepted rows (microseconds), for the watermark.
    `unknown_fields` counts fields that the record does not declare, by name.
    `held` names the records of a full copy that were refused, as rows of NULLs but for the key: they are there at the
    source, so what is stored of them stays. `nameless` says that a refused record's key could not be read.
    """

    changes: list[Upserts | Deletes] = field(default_factory=list["Upserts | Deletes"])
    violations: list[Violation] = field(default_factory=list[Violation])
    rejected: list[Violation] = field(default_factory=list[Violation])
    nulled: int = 0
    max_event_time: int | None = None
    unknown_fields: dict[str, int] = field(default_factory=dict[str, int])
    held: list[Row] = field(default_factory=list[Row])
    nameless: bool = False
    patches: list[Patch] = field(default_factory=list[Patch])

    @property
    def rows(self) -> int:
        """How many rows and keys are to be applied."""
        whole = sum(len(c.rows) if isinstance(c, Upserts) else len(c.keys) for c in self.changes)
        return whole + len(self.patches)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of one submission, once it is committed.

    Attributes
    ----------
    txn
        The commit stamp (microseconds, strictly increasing).
    accepted
        Rows upserted, keys deleted or events appended, those included that an older version left without effect.
    quarantined
        Records that wait in quarantine.
    duplicates
        Events whose key was already there, also those that would be too late now, and rows that an equal or newer
        version kept out.
    replayed
        True when an idempotency key was seen before: the first answer is repeated and nothing was applied.
    """

    txn: int
    accepted: int = 0
    quarantined: int = 0
    duplicates: int = 0
    replayed: bool = False


def together(receipts: Sequence[Receipt]) -> Receipt:
    """The receipt of several submissions that were committed in one transaction.

    >>> together([Receipt(7, accepted=2), Receipt(7, accepted=1, quarantined=3)])
    Receipt(txn=7, accepted=3, quarantined=3, duplicates=0, replayed=False)
    """
    return Receipt(
        max((receipt.txn for receipt in receipts), default=0),
        sum(receipt.accepted for receipt in receipts),
        sum(receipt.quarantined for receipt in receipts),
        sum(receipt.duplicates for receipt in receipts),
    )
