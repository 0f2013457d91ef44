"""What the engine tells every reader process without a transaction: a few numbers in a small file in shared memory.

Order makes it safe to use. The writer commits first and publishes then; a reader looks at the board first and opens
its snapshot then: so the snapshot holds at least what the board claimed. `last_change` alone is published before the
commit: a reader that sees a row of transaction N in any snapshot also sees `last_change >= N`.

Layout: 8-byte integers. A header (magic, hash of the names, retired), the two stamps, since when the disk is full, then
a block per table and per view. Each is written whole by one aligned store; the three numbers of a frontier are guarded
by a counter that is odd while they change (a seqlock).
"""

from __future__ import annotations

import hashlib
import mmap
import os
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

from headrace.core.clock import ClockOffset
from headrace.core.errors import StoreError
from headrace.core.events import Copying
from headrace.core.frontier import Frontier, SourceState

COUNTERS = ("accepted", "deleted", "quarantined", "late", "duplicates", "nulled")
"""Totals per table since the store was made."""

_MAGIC = 0x3130_4452_414F_4248
_NONE = -(1 << 63)
_HEADER = ("magic", "names", "retired", "committed", "durable", "full_since")
_COPYING = ("copy_rows", "copy_expected", "copy_parts", "copy_of", "copy_since")
_TABLE = (
    "guard",
    "at",
    "heard",
    "state",
    "last_change",
    "watermark",
    "waiting",
    *COUNTERS,
    *_COPYING,
    "offset",
    "offset_error",
)
_VIEW = ("as_of", "last_change")
_TRIES = 10_000


class Board:
    """The engine's numbers; written by one process, read by many.

    `Board.create` is for the engine, `Board.open` for readers, `Board.in_memory` for tests and one-process use.
    Both sides must name the same tables and views in the same order.
    """

    def __init__(self, memory: mmap.mmap, tables: Sequence[str], views: Sequence[str], *, writable: bool) -> None:
        self._memory = memory
        self._slots = memoryview(memory).cast("q")
        self._write_lock = threading.Lock()
        self.writable = writable
        self.tables = tuple(tables)
        self.views = tuple(views)
        start = len(_HEADER)
        self._table_at = {name: start + i * len(_TABLE) for i, name in enumerate(self.tables)}
        self._error_at = {name: at + len(_TABLE) - 1 for name, at in self._table_at.items()}
        start += len(self.tables) * len(_TABLE)
        self._view_at = {name: start + i * len(_VIEW) for i, name in enumerate(self.views)}

    @classmethod
    def create(cls, path: Path, *, tables: Sequence[str], views: Sequence[str] = ()) -> Board:
        """The engine's board at `path`, blank. One of the same layout is reused, so that its readers keep reading."""
        size = _size(tables, views)
        fresh = not _fits(path, size, _hash(tables, views))
        if fresh:
            _retire(path)
            temporary = path.with_name(path.name + ".new")
            temporary.write_bytes(bytes(size))
            temporary.replace(path)
        with path.open("r+b") as file:
            board = cls(mmap.mmap(file.fileno(), size), tables, views, writable=True)
        board._reset()
        return board

    @classmethod
    def open(cls, path: Path, *, tables: Sequence[str], views: Sequence[str] = ()) -> Board:
        """A reader's board.

        Raises
        ------
        StoreError
            There is none yet, or it is of an app with other tables or views.
        """
        size = _size(tables, views)
        try:
            if not _fits(path, size, _hash(tables, views)):
                raise StoreError(
                    f"{path} belongs to an app that declares other tables or views",
                    hint="restart the engine and its workers with the same app file",
                )
            with path.open("rb") as file:
                return cls(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ), tables, views, writable=False)
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error}", hint="is the engine running?") from error

    @classmethod
    def in_memory(cls, *, tables: Sequence[str], views: Sequence[str] = ()) -> Board:
        """A board that no other process sees."""
        board = cls(mmap.mmap(-1, _size(tables, views)), tables, views, writable=True)
        board._reset()
        return board

    def close(self) -> None:
        """Let go of the memory."""
        self._slots.release()
        self._memory.close()

    @property
    def retired(self) -> bool:
        """Whether the engine started anew with another layout: this board will never change again; open the new one."""
        return self._slots[2] != 0

    @property
    def committed(self) -> int:
        """The stamp of the last transaction that readers can see; 0 before the first."""
        return self._slots[3]

    @property
    def durable(self) -> int:
        """The stamp of the last transaction that is on disk."""
        return self._slots[4]

    def publish_commit(self, txn: int) -> None:
        """Transaction `txn` is readable."""
        self._slots[3] = txn

    def publish_durable(self, txn: int) -> None:
        """Every transaction up to `txn` is on disk."""
        self._slots[4] = txn

    @property
    def full_since(self) -> int | None:
        """Since when the disk is full (microseconds): what cannot be stored then can still be told here."""
        return self._slots[5] or None

    def set_full_since(self, at: int | None) -> None:
        """The disk is full since `at`, or has room again."""
        self._slots[5] = at or 0

    def changing(self, tables: Iterable[str], txn: int) -> None:
        """Transaction `txn` is about to be committed and changes `tables` (or views)."""
        for name in tables:
            at = self._view_at.get(name)
            self._slots[self._table_at[name] + 4 if at is None else at + 1] = txn

    def last_change(self, name: str) -> int:
        """The stamp of the last transaction that changed a table or refreshed a view, or is just about to."""
        at = self._view_at.get(name)
        return self._slots[self._table_at[name] + 4 if at is None else at + 1]

    def set_frontier(self, table: str, at: int | None, heard: int | None, state: SourceState) -> None:
        """Up to when the table's source is complete, when it last spoke, and what it is doing."""
        start = self._table_at[table]
        slots = self._slots
        with self._write_lock:
            guard = slots[start] + 1
            slots[start] = guard
            slots[start + 1] = _NONE if at is None else at
            slots[start + 2] = _NONE if heard is None else heard
            slots[start + 3] = int(state)
            slots[start] = guard + 1

    def frontier(self, table: str) -> Frontier:
        """What is known about the table's source now."""
        start = self._table_at[table]
        slots = self._slots
        for _ in range(_TRIES):
            guard = slots[start]
            at, heard, state = slots[start + 1], slots[start + 2], slots[start + 3]
            if guard % 2 == 0 and slots[start] == guard:
                return Frontier(None if at == _NONE else at, None if heard == _NONE else heard, SourceState(state))
        # The engine died in the few instructions of a write: nobody will finish it, and nothing it says can be trusted.
        return Frontier(at=None, heard=None, state=SourceState.FAILED)

    def add(self, table: str, counter: str, amount: int) -> None:
        """Count `amount` more; the counter "waiting" holds the records that wait in quarantine now."""
        slot = self._counter(table, counter)
        with self._write_lock:
            self._slots[slot] += amount

    def set_counter(self, table: str, counter: str, value: int) -> None:
        """Set a total (when the engine starts), or how many records wait."""
        self._slots[self._counter(table, counter)] = value

    def counters(self, table: str) -> dict[str, int]:
        """The table's totals."""
        return {name: self._slots[self._counter(table, name)] for name in COUNTERS}

    def waiting(self, table: str) -> int:
        """How many of the table's records wait in quarantine now."""
        return self._slots[self._counter(table, "waiting")]

    def _counter(self, table: str, counter: str) -> int:
        return self._table_at[table] + _TABLE.index(counter)

    def set_watermark(self, table: str, at: int) -> None:
        """The latest event time of a stream."""
        self._slots[self._table_at[table] + 5] = at

    def watermark(self, table: str) -> int | None:
        """The latest event time of a stream (microseconds); None before its first event."""
        at = self._slots[self._table_at[table] + 5]
        return None if at == _NONE else at

    def set_clock(self, table: str, offset: ClockOffset) -> None:
        """How far the clock of the table's source is from ours."""
        start = self._table_at[table] + len(_TABLE)
        self._slots[start - 2], self._slots[start - 1] = offset.offset, offset.error

    def clock(self, table: str) -> ClockOffset | None:
        """How far the clock of the table's source is from ours, if it was measured."""
        start = self._table_at[table] + len(_TABLE)
        offset, error = self._slots[start - 2], self._slots[start - 1]
        return None if error == _NONE else ClockOffset(offset, error)

    def clock_error(self, table: str) -> int | None:
        """How wrong an instant of the table's source may be on our clock (microseconds): the offset, and how far off
        that may be; None where no offset was measured."""
        at = self._error_at[table]
        error = self._slots[at]
        return None if error == _NONE else abs(self._slots[at - 1]) + error

    def set_copying(self, copy: Copying) -> None:
        """How far a full copy of a table is."""
        at, numbers = self._copy_at(copy.table), (copy.rows, copy.expected, copy.parts, copy.of, copy.since)
        for i, number in enumerate(numbers):
            self._slots[at + i] = number

    def set_copied(self, table: str) -> None:
        """No full copy of the table is under way."""
        self._slots[self._copy_at(table) + 4] = _NONE

    def copying(self, table: str) -> Copying | None:
        """How far the full copy of a table is that is under way; None: there is none."""
        at = self._copy_at(table)
        rows, expected, parts, of, since = self._slots[at : at + 5]
        return None if since == _NONE else Copying(table, rows, expected, parts, of, since)

    def _copy_at(self, table: str) -> int:
        return self._table_at[table] + _TABLE.index(_COPYING[0])

    def set_view_as_of(self, view: str, at: int | None) -> None:
        """The refreshed view now stands as of `at`."""
        self._slots[self._view_at[view]] = _NONE if at is None else at

    def view_as_of(self, view: str) -> int | None:
        """As of when the refreshed view was last computed (microseconds); None when it never was."""
        at = self._slots[self._view_at[view]]
        return None if at == _NONE else at

    def _reset(self) -> None:
        slots = self._slots
        slots[0] = 0  # a reader that opens it now finds no board rather than half of one
        slots[2], slots[3], slots[4], slots[5] = 0, 0, 0, 0
        for table, start in self._table_at.items():
            self.set_frontier(table, None, None, SourceState.NEVER)
            slots[start] += slots[start] % 2
            slots[start + 4] = 0
            slots[start + 5] = slots[start + len(_TABLE) - 1] = _NONE
            for counter in ("waiting", *COUNTERS):
                self.set_counter(table, counter, 0)
            self.set_copied(table)
        for start in self._view_at.values():
            slots[start], slots[start + 1] = _NONE, 0
        slots[1] = _hash(self.tables, self.views)
        slots[0] = _MAGIC


def _size(tables: Sequence[str], views: Sequence[str]) -> int:
    return 8 * (len(_HEADER) + len(tables) * len(_TABLE) + len(views) * len(_VIEW))


def _hash(tables: Sequence[str], views: Sequence[str]) -> int:
    text = "\n".join([*_HEADER, *_TABLE, *_VIEW, "", *tables, "", *views])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")


def _fits(path: Path, size: int, names: int) -> bool:
    if not path.exists():
        return False
    with path.open("rb") as file:
        head = memoryview(file.read(16))
        if len(head) < 16 or os.fstat(file.fileno()).st_size != size:
            return False
        return head.cast("q").tolist() == [_MAGIC, names]


def _retire(path: Path) -> None:
    """Tell the readers of an older board that nobody writes to it any more."""
    if path.exists() and path.stat().st_size >= 8 * len(_HEADER):
        with path.open("r+b") as file:
            file.seek(16)
            file.write((1).to_bytes(8, "little"))
