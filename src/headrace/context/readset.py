"""What an answer depended on, and whether that still holds.

A read is kept with the stored rows that it returned, their versions included. It is checked locally: while the tables
it stands on had no commit since, it holds (one comparison of integers). Otherwise it is read again with the same
parameters and the same "now", and compared: a row that changed, went, came (a phantom) or moved in the order counts,
and nothing else does. A row that was only written again, as it was, has not changed.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import msgspec

from headrace.context.policy import FreshnessPolicy
from headrace.core.frontier import Status
from headrace.core.schema import Row, Stored


@dataclass(frozen=True, slots=True)
class Read:
    """One read: a view with its parameters (a predicate) or one key of a table, and the versions that it saw.

    Attributes
    ----------
    name
        The view or table.
    bindings
        What was bound, in storage form; for a table, its key columns.
    inputs
        The tables that the read stands on.
    txn
        Everything up to this commit stamp was visible.
    content
        The rows as stored: the shown columns, then when the row changed, then the versions of the rows it is made of.
    width
        How many of the columns are shown.
    status, policy, max_age
        What the reader was told of its age, and the terms that it was read on where they were not the declared ones
        (microseconds): whether an answer may be given again depends on them. None where nobody kept them.
    """

    name: str
    bindings: Mapping[str, Stored]
    inputs: tuple[str, ...]
    txn: int
    content: tuple[Row, ...]
    width: int
    status: Status | None = None
    policy: FreshnessPolicy | None = None
    max_age: int | None = None

    @property
    def shown(self) -> tuple[Row, ...]:
        """The rows in their order, without what only the store knows of them."""
        return tuple(row[: self.width] for row in self.content)

    @property
    def versions(self) -> list[Row]:
        """Per row, the commit stamps of the stored rows that it was made of."""
        return [row[self.width + 1 :] for row in self.content]

    @property
    def digest(self) -> str:
        """SHA-256 of the rows and their versions, in hexadecimal: the same in every process."""
        return hashlib.sha256(msgspec.msgpack.encode(self.content)).hexdigest()


@dataclass(frozen=True, slots=True)
class Changed:
    """A read that no longer holds: the rows (shown columns only) that came and that went, and why in one sentence.

    `current` holds all rows as they are now (shown columns only), and `again` is the same read as if it had been made
    now; None where only the reason is known.
    """

    read: Read
    reason: str
    came: list[Row] = field(default_factory=list[Row])
    went: list[Row] = field(default_factory=list[Row])
    current: tuple[Row, ...] | None = None
    again: Read | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Validity:
    """Whether a read set holds, and as of when that is known.

    Attributes
    ----------
    changed
        The reads that no longer hold; empty when all do.
    as_of
        The minimum frontier over all inputs (microseconds): "unchanged as of then"; None when it is unknown.
    """

    changed: list[Changed]
    as_of: int | None

    @property
    def holds(self) -> bool:
        """Whether nothing changed that the answer was built on."""
        return not self.changed

    def __bool__(self) -> bool:
        return self.holds


@dataclass(frozen=True, slots=True)
class Present:
    """Whether whoever made the same reads now would be told the same.

    Attributes
    ----------
    changed
        The reads of which that is not so: of `ContextReader.current` the first alone, of `again` all of them.
    as_of
        The minimum frontier over all inputs (microseconds); None when it is unknown.
    readset
        The reads as they are now: what to keep in place of the old ones, when nothing changed.
    ages
        How old each of these reads is now (microseconds), in their order; None where nobody knows.
    """

    changed: list[Changed]
    as_of: int | None
    readset: ReadSet
    ages: tuple[int | None, ...] = ()

    @property
    def same(self) -> bool:
        """Whether nothing changed."""
        return not self.changed

    def __bool__(self) -> bool:
        return self.same


class Validator(Protocol):
    """Whoever can compare a read set with the present: the reader that made it."""

    def validate(self, readset: ReadSet) -> Validity:
        """Compare every read with the present, in one snapshot."""
        ...


@dataclass(frozen=True, slots=True)
class ReadSet:
    """All reads that one answer was built on. Read sets add up: `menu.readset + order.readset`."""

    reads: tuple[Read, ...] = ()
    validator: Validator | None = field(default=None, repr=False, compare=False)

    def __add__(self, other: ReadSet) -> ReadSet:
        return ReadSet(self.reads + other.reads, self.validator or other.validator)

    def validate(self) -> Validity:
        """What changed since these reads, if anything. Local and cheap: no source is asked."""
        if self.validator is None or not self.reads:
            return Validity([], None)
        return self.validator.validate(self)


def compare(read: Read, current: tuple[Row, ...]) -> Changed | None:
    """What changed between a read and the same read made again; None when nothing did.

    Rows that were written again as they were are the same rows: what was read still holds.
    """
    if read.content == current:
        return None
    then, now = read.shown, tuple(row[: read.width] for row in current)
    if then == now:
        return None
    before, after = Counter(then), Counter(now)
    came, went = list((after - before).elements()), list((before - after).elements())
    again = replace(read, content=current)
    if not came and not went:
        return Changed(read, f"the rows of {read.name!r} changed their order", current=now, again=again)
    reason = f"{read.name!r}: {len(came)} rows came or changed, {len(went)} went or changed"
    return Changed(read, reason, came, went, now, again)
