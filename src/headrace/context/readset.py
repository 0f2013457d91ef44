"""What an answer depended on, as versions that can be compared later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Read:
    """One read: a view with its parameters (a predicate) or one key of a table, and the versions it saw.

    Attributes
    ----------
    name
        The view or table.
    params
        The view's parameters, or the key columns of a table read.
    inputs
        The tables that the read stands on; while none of them changed, the read holds.
    txn
        The commit stamp of the snapshot that was read.
    rows
        Per row that was returned, the versions (commit stamps) of the stored rows it was made of.
    digest
        A digest of the returned rows and their versions, so that a row that appears, goes, changes or moves counts.
    """

    name: str
    params: Mapping[str, Any]
    inputs: tuple[str, ...]
    txn: int
    rows: tuple[tuple[int | None, ...], ...]
    digest: bytes


@dataclass(frozen=True, slots=True)
class Changed:
    """A read that no longer holds, and why, in one sentence."""

    read: Read
    reason: str


@dataclass(frozen=True, slots=True)
class ReadSet:
    """All reads that one answer was built on. Read sets add up: `menu.readset + order.readset`."""

    reads: tuple[Read, ...] = field(default=())

    def __add__(self, other: ReadSet) -> ReadSet:
        return ReadSet(self.reads + other.reads)
