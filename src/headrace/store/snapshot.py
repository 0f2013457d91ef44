"""Full copies: while one is under way rows change in place, and at its end the keys that it did not bring are deleted.

A record that its contract refused is there at the source all the same: its row stays as it was. When not even its key
can be read, nobody knows which row it is, and the copy deletes nothing.

A key is not brought when its row was last written before the copy began and the copy did not name it. The keys that a
copy names are noted in a table beside the live one, except on a first load into an empty table, where none can be
missing. Rows that ordinary changes write during the copy are newer than its beginning and stay.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import apsw

from headrace.core.changes import Judged, Upserts
from headrace.core.schema import Row
from headrace.store.base import Submission
from headrace.store.connection import open_reader
from headrace.store.rows import Stamp, TableRows


@dataclass(frozen=True, slots=True)
class Copy:
    """A full copy under way: the commit stamp of its first part, and whether the keys that it brings are noted."""

    started: int
    compare: bool


def begin(db: apsw.Connection, rows: TableRows, submission: Submission, *, txn: int) -> Copy:
    """The copy that `submission` is a part of, begun now if there is none or if it shows another instant."""
    name = rows.schema.name
    found = db.execute("SELECT started, compare, shows FROM _hr_snapshots WHERE table_name = ?", (name,)).fetchone()
    if found is not None and submission.snapshot != "only" and found[2] == submission.source_ts:
        return Copy(int(found[0]), bool(found[1]))
    rows.forget_seen(db)
    # A copy in one piece ends before the next change: what this very transaction wrote was written before it, too.
    started = txn + 1 if submission.snapshot == "only" else txn
    copy = Copy(started, not rows.is_empty(db))
    db.execute(
        "INSERT OR REPLACE INTO _hr_snapshots VALUES (?, ?, ?, ?, ?)",
        (name, started, submission.source_ts, copy.compare, submission.position is not None),
    )
    return copy


def hold(db: apsw.Connection, rows: TableRows, judged: Judged, copy: Copy) -> Copy:
    """The copy with its refused records taken into account, so that their rows are not deleted at its end."""
    if judged.held and copy.compare:
        rows.note_seen(db, judged.held)
    if not judged.nameless:
        return copy
    db.execute("UPDATE _hr_snapshots SET started = 0 WHERE table_name = ?", (rows.schema.name,))
    return Copy(0, copy.compare)


def apply_part(db: apsw.Connection, rows: TableRows, change: Upserts, stamp: Stamp, copy: Copy) -> int:
    """Upsert rows of a copy; rows that are equal to what is stored keep their age. Returns how many took effect."""
    if copy.compare:
        rows.note_seen(db, change.rows)
    ordered_by_batch = stamp.version is not None and rows.schema.version is None
    return rows.upsert(db, change, stamp, unchanged_stay=copy.compare and not ordered_by_batch)


def keep_notes(db: apsw.Connection, table: str, submissions: Iterable[Submission]) -> None:
    """What the source says of its copy, in the transaction of the rows that it says it of. Whatever else changes the
    table makes it void: then rows are not all as the copy brought them."""
    void, said = False, None
    for submission in submissions:
        if submission.snapshot is None:
            if submission.judged.changes:
                void, said = True, None
        elif submission.snapshot != "part":
            said = None
        elif submission.note is not None:
            void, said = False, submission.note
    if void:
        db.execute("DELETE FROM _hr_copies WHERE table_name = ?", (table,))
    if said is not None:
        db.execute("INSERT OR REPLACE INTO _hr_copies VALUES (?, ?)", (table, said))


def note(path: Path, table: str) -> str | None:
    """What was last said of an unfinished copy of `table` (`Batch.note`) in the store at `path`; None: nothing holds.
    From any thread."""
    db = open_reader(path, cache_kib=64)
    try:
        found = db.execute("SELECT note FROM _hr_copies WHERE table_name = ?", (table,)).get
    finally:
        db.close()
    return None if found is None else str(found)


def end(db: apsw.Connection, rows: TableRows, stamp: Stamp, copy: Copy) -> list[Row]:
    """The copy is complete: the keys that it did not bring. The caller deletes them in the same transaction."""
    missing = rows.missing(db, copy.started, stamp.version) if copy.compare else []
    rows.forget_seen(db)
    db.execute("DELETE FROM _hr_snapshots WHERE table_name = ?", (rows.schema.name,))
    db.execute("DELETE FROM _hr_copies WHERE table_name = ?", (rows.schema.name,))
    return missing


def abandon(db: apsw.Connection, tables: dict[str, TableRows]) -> None:
    """At the start: copies whose source cannot go on in the middle begin again."""
    for (found,) in db.execute("SELECT table_name FROM _hr_snapshots WHERE NOT resumable").fetchall():
        name = str(found)
        if name in tables:
            tables[name].forget_seen(db)
        db.execute("DELETE FROM _hr_snapshots WHERE table_name = ?", (name,))
