"""Completing partial records inside a transaction, from the rows as they are after everything that comes before."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import apsw

from headrace.core.changes import Deletes, Judged, Upserts
from headrace.core.schema import Row
from headrace.store.base import Submission
from headrace.store.rows import TableRows

_Stored = tuple[Row | None, str | None]
_NOTHING: _Stored = (None, None)


class _Latest:
    """The rows of a table as they will be: what is stored, under what waits to be applied."""

    def __init__(self, db: apsw.Connection, rows: TableRows) -> None:
        self._db = db
        self._rows = rows
        self._changed: dict[Row, _Stored] = {}
        self._emptied = False

    def of(self, key: Row) -> _Stored:
        """The row of a key and its adopted fields."""
        found = self._changed.get(key)
        if found is not None:
            return found
        return _NOTHING if self._emptied else self._rows.get(self._db, key) or _NOTHING

    def apply(self, change: Upserts | Deletes) -> None:
        """Take a change into account."""
        if isinstance(change, Deletes):
            self._changed.update(dict.fromkeys(change.keys, _NOTHING))
            return
        extras = change.extras or [None] * len(change.rows)
        rows = zip(self._rows.keys(change.rows), change.rows, extras, strict=True)
        self._changed.update({key: (row, extra) for key, row, extra in rows})

    def copied(self) -> None:
        """A full copy in one piece: only what it brings is there."""
        self._changed.clear()
        self._emptied = True


def completed(db: apsw.Connection, rows: TableRows, submission: Submission, before: Sequence[Submission]) -> Submission:
    """The submission with its patches made whole; `before` waits to be applied ahead of it, to the same table."""
    latest = _Latest(db, rows)
    for earlier in before:
        if earlier.snapshot == "only":
            latest.copied()
        for change in earlier.judged.changes:
            latest.apply(change)
    judged = submission.judged
    whole = replace(judged, changes=[], patches=[], violations=[*judged.violations], rejected=[*judged.rejected])
    waiting = deque(judged.patches)
    for number, change in enumerate([*judged.changes, None]):
        while waiting and waiting[0].at <= number:
            patch = waiting.popleft()
            found = patch.complete(*latest.of(patch.key if patch.was is None else patch.was))
            if patch.was is not None:
                found.changes.insert(0, Deletes([patch.was]))
            _add(whole, latest, found)
        if change is not None:
            latest.apply(change)
            whole.changes.append(change)
    return replace(submission, judged=whole)


def _add(whole: Judged, latest: _Latest, found: Judged) -> None:
    for change in found.changes:
        latest.apply(change)
    whole.changes += found.changes
    whole.violations += found.violations
    whole.rejected += found.rejected
    whole.nulled += found.nulled
