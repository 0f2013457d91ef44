"""What was read from one payload, in order: runs of rows and runs of keys, each item with its number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from headrace.core.changes import Deletes, Upserts
from headrace.core.records import Record
from headrace.core.schema import Row


@dataclass(slots=True)
class UpsertRun:
    """Good rows that follow each other.

    Attributes
    ----------
    rows
        In storage form.
    items
        The number of each row's record in its payload.
    extras
        Adopted fields of each row as JSON text.
    records
        The Pydantic objects where there are any: rules in Python want them.
    """

    rows: list[Row] = field(default_factory=list[Row])
    items: Sequence[int] = field(default_factory=list[int])
    extras: list[str | None] | None = None
    records: list[Record | None] | None = None

    def keep(self, positions: Sequence[int]) -> None:
        """Keep only the rows at these positions."""
        self.rows = [self.rows[i] for i in positions]
        self.items = [self.items[i] for i in positions]
        if self.extras is not None:
            self.extras = [self.extras[i] for i in positions]
        if self.records is not None:
            self.records = [self.records[i] for i in positions]

    def change(self) -> Upserts:
        """As it goes to the store."""
        return Upserts(self.rows, self.extras if self.extras and any(self.extras) else None)


@dataclass(slots=True)
class DeleteRun:
    """Keys to delete that follow each other; either all of them have a version or none has."""

    keys: list[Row]
    items: list[int]
    versions: list[int] | None

    def change(self) -> Deletes:
        """As it goes to the store."""
        return Deletes(self.keys, self.versions)


class Runs:
    """Collects judged items into runs, in order."""

    def __init__(self) -> None:
        self.found: list[UpsertRun | DeleteRun] = []
        # The lists of the run of rows that is being filled.
        self._rows: list[Row] = []
        self._items: list[int] = []
        self._extras: list[str | None] = []
        self._records: list[Record | None] = []

    def upsert(self, item: int, row: Row, extra: str | None, record: Record | None) -> None:
        """The record number `item` is this row."""
        if not self.found or not isinstance(self.found[-1], UpsertRun):
            self._rows, self._items, self._extras, self._records = [], [], [], []
            self.found.append(UpsertRun(self._rows, self._items, self._extras, self._records))
        self._rows.append(row)
        self._items.append(item)
        self._extras.append(extra)
        self._records.append(record)

    def delete(self, item: int, key: Row, version: int | None) -> None:
        """The change number `item` deletes this key."""
        last = self.found[-1] if self.found else None
        if not isinstance(last, DeleteRun) or (last.versions is None) != (version is None):
            last = DeleteRun([], [], None if version is None else [])
            self.found.append(last)
        last.keys.append(key)
        last.items.append(item)
        if version is not None and last.versions is not None:
            last.versions.append(version)
