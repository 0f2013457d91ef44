"""Finding the rows of a submission that SQLite cannot store, so that the others can be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import apsw

from headrace.core.changes import Deletes, Upserts, Violation
from headrace.core.schema import Row
from headrace.store.base import Submission
from headrace.store.rows import Stamp, TableRows
from headrace.store.transaction import REFUSALS, describe_row


def without_unstorable(db: apsw.Connection, rows: TableRows, submission: Submission) -> Submission:
    """The submission with the rows that cannot be stored turned into violations of the rule "storage".

    Tries halves in transactions that are rolled back, so n rows with b bad ones cost about n + b log n row writes.
    Keys to delete that cannot be bound name no row, and become violations too.
    """
    stamp = Stamp(txn=1, source_ts=submission.source_ts or 1, version=submission.version)
    good: list[Upserts | Deletes] = []
    bad: list[Violation] = []
    for change in submission.judged.changes:
        if isinstance(change, Deletes):
            kept, failures = _split(len(change.keys), _try_deletes(db, rows, change, stamp))
            good.append(_pick_deletes(change, kept))
            bad += [_violation(rows.schema.key, change.keys[i], error) for i, error in failures]
        else:
            kept, failures = _split(len(change.rows), _try_upserts(db, rows, change, stamp))
            good.append(_pick_upserts(change, kept))
            bad += [_violation(rows.schema.names, change.rows[i], error) for i, error in failures]
    violations, nameless = submission.judged.violations + bad, submission.judged.nameless or bool(bad)
    judged = replace(submission.judged, changes=good, violations=violations, nameless=nameless)
    return replace(submission, judged=judged)


def _split(
    count: int, attempt: Callable[[int, int], Exception | None]
) -> tuple[list[int], list[tuple[int, Exception]]]:
    kept: list[int] = []
    failures: list[tuple[int, Exception]] = []
    pieces = [(0, count)] if count else []
    while pieces:
        start, stop = pieces.pop()
        error = attempt(start, stop)
        if error is None:
            kept.extend(range(start, stop))
        elif stop - start == 1:
            failures.append((start, error))
        else:
            middle = (start + stop) // 2
            pieces += [(start, middle), (middle, stop)]
    return sorted(kept), sorted(failures, key=lambda failure: failure[0])


def _try_upserts(
    db: apsw.Connection, rows: TableRows, change: Upserts, stamp: Stamp
) -> Callable[[int, int], Exception | None]:
    def attempt(start: int, stop: int) -> Exception | None:
        part = _pick_upserts(change, range(start, stop))
        return _attempt(db, lambda: rows.append(db, part, stamp) if rows.events else rows.upsert(db, part, stamp))

    return attempt


def _try_deletes(
    db: apsw.Connection, rows: TableRows, change: Deletes, stamp: Stamp
) -> Callable[[int, int], Exception | None]:
    return lambda start, stop: _attempt(db, lambda: rows.delete(db, _pick_deletes(change, range(start, stop)), stamp))


def _attempt(db: apsw.Connection, write: Callable[[], object]) -> Exception | None:
    # A savepoint, which works inside an open transaction too.
    db.execute("SAVEPOINT trial")
    try:
        write()
    except REFUSALS as error:
        return error
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK TO trial")
            db.execute("RELEASE trial")
    return None


def _pick_upserts(change: Upserts, chosen: Sequence[int]) -> Upserts:
    extras = None if change.extras is None else [change.extras[i] for i in chosen]
    return Upserts([change.rows[i] for i in chosen], extras)


def _pick_deletes(change: Deletes, chosen: Sequence[int]) -> Deletes:
    versions = None if change.versions is None else [change.versions[i] for i in chosen]
    return Deletes([change.keys[i] for i in chosen], versions)


def _violation(columns: Sequence[str], row: Row, error: Exception) -> Violation:
    return Violation(
        raw=describe_row(columns, row),
        rule="storage",
        column="",
        value="",
        message=f"SQLite cannot store this row: {type(error).__name__}: {error}"[:500],
    )
