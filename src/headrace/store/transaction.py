"""One transaction of the store: steps 2 to 8 of the commit protocol (`docs/design/commit-protocol.md`)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import apsw

from headrace.core.changes import Deletes, Position, Receipt, Upserts, Violation
from headrace.core.errors import Backpressure, HeadraceError, StoreError, UnknownName
from headrace.core.schema import Row
from headrace.store import idempotency, quarantine, snapshot
from headrace.store.base import START, Delta, Maintainer, Submission
from headrace.store.completion import completed
from headrace.store.rows import Stamp, TableRows

Outcome = Receipt | HeadraceError
_Call = Callable[[], None]

REFUSALS = (
    apsw.ConstraintError,
    apsw.TooBigError,
    apsw.MismatchError,
    apsw.RangeError,
    apsw.BindingsError,
    TypeError,
    ValueError,
    OverflowError,
)
"""What SQLite or its binding says of a value that cannot be stored; everything else is about the store itself."""


class Unstorable(Exception):
    """A change of one submission cannot be stored; the transaction is rolled back and done again without it.

    `index` is None when several submissions were written together and any of them may be the one. `submission` is that
    of the index, with its partial records completed.
    """

    def __init__(self, index: int | None, submission: Submission, cause: Exception) -> None:
        super().__init__(str(cause))
        self.index = index
        self.submission = submission
        self.cause = cause


@dataclass(slots=True)
class _Work:
    """One submission inside the transaction."""

    index: int
    submission: Submission
    stamp: Stamp
    copy: snapshot.Copy | None = None
    accepted: int = 0
    deleted: int = 0
    duplicates: int = 0
    violations: Sequence[Violation] = ()


@dataclass(slots=True)
class _Group:
    """All submissions of one table, in order, and what maintainers are told of them."""

    rows: TableRows
    works: list[_Work] = field(default_factory=list[_Work])
    maintainers: list[Maintainer] = field(default_factory=list[Maintainer])
    delta: Delta | None = None
    swept: list[Delta] = field(default_factory=list[Delta])


@dataclass(frozen=True, slots=True)
class State:
    """What transactions need of the store, and what they have changed of it once they are committed."""

    tables: Mapping[str, TableRows]
    maintainers: Sequence[Maintainer]
    watermarks: Mapping[str, int]
    quarantine_bytes: Mapping[str, int]
    quarantine_limit: int
    positions: Mapping[tuple[str, str], Position]

    def after(self, work: Transaction) -> State:
        """As the next part of the same transaction finds it."""
        sizes = Counter(self.quarantine_bytes)
        sizes.update(work.quarantine_bytes)
        return replace(
            self,
            watermarks={**self.watermarks, **work.watermarks},
            quarantine_bytes=sizes,
            positions={**self.positions, **work.positions},
        )


class Transaction:
    """Applies submissions; between its steps nothing but the open SQLite transaction has changed.

    Attributes
    ----------
    outcomes
        Per submission, its receipt or why it was refused.
    counters, watermarks, quarantine_bytes, positions
        What to add to, or set in, the store's memory after the commit.
    """

    def __init__(
        self, db: apsw.Connection, state: State, submissions: Sequence[Submission], txn: int, *, merge: bool = True
    ) -> None:
        self.txn = txn
        self.outcomes: list[Outcome | None] = [None] * len(submissions)
        self.counters: dict[str, Counter[str]] = {}
        self.watermarks: dict[str, int] = {}
        self.quarantine_bytes: Counter[str] = Counter()
        self.positions: dict[tuple[str, str], Position] = {}
        self._db = db
        self._merge = merge
        self._state = state
        self.submissions = submissions
        self._groups: dict[str, _Group] = {}
        self._repeats: list[tuple[int, int]] = []
        self._replayed: set[int] = set()

    @property
    def tables(self) -> list[str]:
        """The tables that are changed."""
        return list(self._groups)

    @property
    def rows(self) -> int:
        """Rows, keys and events that were applied."""
        return sum(counts["accepted"] for counts in self.counters.values())

    @property
    def replays(self) -> bool:
        """Whether records left quarantine."""
        return bool(self._replayed)

    def release(self) -> None:
        """All is applied: let go of the rows, keep what is to be published."""
        self._groups = {name: _Group(group.rows) for name, group in self._groups.items()}
        self.submissions = ()

    def admit(self) -> None:
        """Step 2: answer what was asked before, refuse what cannot be taken, and group the rest by table."""
        asked: dict[tuple[str, str], int] = {}
        for unit in _units(self.submissions):
            refusal = next((found for _, one in unit if (found := self._refusal(one)) is not None), None)
            for index, submission in unit:
                key = submission.idempotency
                if key is not None:
                    first = asked.setdefault((submission.table, key.key), index)
                    if first != index:
                        self._repeats.append((index, first))
                        continue
                if refusal is not None and submission.chain is not None:
                    submission.chain.broken = True
                answer = refusal or idempotency.earlier_answer(self._db, submission)
                if answer is not None:
                    self.outcomes[index] = answer
                else:
                    self._take(index, submission)

    def _refusal(self, submission: Submission) -> HeadraceError | None:
        if submission.table not in self._state.tables:
            return UnknownName(
                f"no table {submission.table!r} is stored here", hint="restart with the current app file"
            )
        if self._follows_a_gap(submission):
            return StoreError(
                f"a batch of {submission.table!r} follows one that was not taken",
                hint="open the source again where its last committed batch ended",
            )
        if submission.replays and not self._all_wait(submission.replays):
            return UnknownName(
                "a record to be replayed does not wait in quarantine any more",
                hint="it was replayed or dropped meanwhile: see `headrace quarantine list`",
            )
        if submission.judged.violations or submission.judged.rejected:
            waiting = self._state.quarantine_bytes.get(submission.table, 0)
            if waiting >= self._state.quarantine_limit:
                return Backpressure(
                    f"the quarantine of {submission.table!r} is full ({waiting:,} bytes wait)",
                    retry_after=5.0,
                    hint="replay or drop records with `headrace quarantine`, or raise its limit",
                )
        return None

    def _follows_a_gap(self, submission: Submission) -> bool:
        if submission.chain is not None and submission.chain.broken:
            return True
        return submission.follows is not None and submission.follows != self._position(submission)

    def _all_wait(self, numbers: Sequence[int]) -> bool:
        """Whether all these records wait in quarantine, and no submission before this one takes any of them out."""
        return self._replayed.isdisjoint(numbers) and quarantine.count(self._db, numbers) == len(numbers)

    def _position(self, submission: Submission) -> Position:
        place = (submission.places[0] if submission.places else submission.table, submission.partition)
        found = self.positions.get(place)
        return self._state.positions.get(place, START) if found is None else found

    def _take(self, index: int, submission: Submission) -> None:
        group = self._groups.get(submission.table)
        if group is None:
            rows = self._state.tables[submission.table]
            interested = [m for m in self._state.maintainers if submission.table in m.inputs]
            group = self._groups[submission.table] = _Group(rows, maintainers=interested)
        if submission.judged.patches:
            submission = completed(self._db, group.rows, submission, [work.submission for work in group.works])
        source_ts = self.txn if submission.source_ts is None else submission.source_ts
        group.works.append(_Work(index, submission, Stamp(self.txn, source_ts, submission.version)))
        self._replayed.update(submission.replays)
        if submission.position is not None:
            for table in submission.places or (submission.table,):
                self.positions[table, submission.partition] = submission.position

    def remember(self) -> None:
        """Step 3: maintainers look at the rows that are about to change."""
        for group in self._groups.values():
            if group.maintainers:
                group.delta = _delta(group)
                if group.delta.rows or group.delta.keys:
                    self._call_before(group, group.delta)

    def apply(self) -> None:
        """Step 4: upserts, deletes and events; at the end of a full copy, the keys that it did not bring."""
        for group in self._groups.values():
            appended: list[Row] = []
            run: list[tuple[_Work, Upserts]] = []
            for work in group.works:
                if work.submission.snapshot is not None and not group.rows.events:
                    self._apply_run(group, run, appended)
                    run = []
                    copy = snapshot.begin(self._db, group.rows, work.submission, txn=self.txn)
                    work.copy = snapshot.hold(self._db, group.rows, work.submission.judged, copy)
                for change in work.submission.judged.changes:
                    if run and not (_joins(group, work, change) and work.stamp == run[0][0].stamp):
                        self._apply_run(group, run, appended)
                        run = []
                    if isinstance(change, Upserts) and self._merge and _joins(group, work, change):
                        run.append((work, change))
                    else:
                        self._apply_one(group, work, change, appended)
                self._sweep(group, work)
            self._apply_run(group, run, appended)
            snapshot.keep_notes(self._db, group.rows.schema.name, (work.submission for work in group.works))
            if group.delta is not None and group.rows.events and len(appended) != len(group.delta.rows):
                group.delta = Delta(group.rows.schema, appended, (), group.delta.source_ts)

    def _apply_run(self, group: _Group, run: list[tuple[_Work, Upserts]], appended: list[Row]) -> None:
        """Many small submissions as one large one: a third of the cost, as each page of the table is visited once."""
        if not run:
            return
        last = run[-1][0]
        if len(run) == 1:
            self._apply_one(group, last, run[0][1], appended)
            return
        merged = Upserts([row for _, change in run for row in change.rows], _extras(group, run))
        try:
            self._apply_one(group, last, merged, appended)
        except Unstorable as failure:
            raise Unstorable(None, last.submission, failure.cause) from failure.cause
        last.accepted -= len(merged.rows)
        for work, change in run:
            work.accepted += len(change.rows)

    def _apply_one(self, group: _Group, work: _Work, change: Upserts | Deletes, appended: list[Row]) -> None:
        rows, db = group.rows, self._db
        try:
            if isinstance(change, Deletes):
                work.deleted += rows.delete(db, change, work.stamp)
                work.accepted += len(change.keys)
            elif rows.events:
                new = rows.append(db, change, work.stamp)
                work.accepted += len(new)
                work.duplicates += len(change.rows) - len(new)
                if group.delta is not None:
                    appended.extend(new)
            else:
                effective = self._upsert(rows, change, work)
                work.accepted += len(change.rows)
                work.duplicates += len(change.rows) - effective
        except REFUSALS as cause:
            raise Unstorable(work.index, work.submission, cause) from cause

    def _upsert(self, rows: TableRows, change: Upserts, work: _Work) -> int:
        if work.copy is not None:
            return snapshot.apply_part(self._db, rows, change, work.stamp, work.copy)
        return rows.upsert(self._db, change, work.stamp)

    def _sweep(self, group: _Group, work: _Work) -> None:
        """Delete what a completed copy did not bring, before the next change (there may be another copy behind it); to
        maintainers these are deletes like all others."""
        if work.copy is None or work.submission.snapshot == "part":
            return
        gone: list[Row] = snapshot.end(self._db, group.rows, work.stamp, work.copy)
        if gone:
            delta = Delta(group.rows.schema, (), gone, work.stamp.source_ts)
            self._call_before(group, delta)
            work.deleted += group.rows.delete(self._db, Deletes(gone), work.stamp)
            group.swept.append(delta)

    def derive(self) -> None:
        """Step 5: maintainers bring what they keep in step."""
        for group in self._groups.values():
            for delta in (group.delta, *group.swept):
                if delta is not None and (delta.rows or delta.keys):
                    for maintainer in group.maintainers:
                        _guarded(maintainer, "after", lambda m=maintainer, d=delta: m.after(self._db, d, txn=self.txn))
        for maintainer in self._state.maintainers:
            if not maintainer.inputs.isdisjoint(self._groups):
                _guarded(maintainer, "finish", lambda m=maintainer: m.finish(self._db, txn=self.txn))

    def _call_before(self, group: _Group, delta: Delta) -> None:
        for maintainer in group.maintainers:
            _guarded(maintainer, "before", lambda m=maintainer: m.before(self._db, delta))

    def set_aside(self) -> None:
        """Step 6: violations go to quarantine; records that were replayed leave it."""
        for name, group in self._groups.items():
            for work in group.works:
                submission = work.submission
                self._pass_repeats(group, work)
                if work.violations:
                    took = quarantine.insert(self._db, name, submission.partition, work.violations, txn=self.txn)
                    self.quarantine_bytes[name] += took
                if submission.replays:
                    quarantine.remove(self._db, numbers=submission.replays)

    def _pass_repeats(self, group: _Group, work: _Work) -> None:
        """An event that is too late now but stored already was sent again by someone who got no answer."""
        bad = _violations(work.submission)
        late = [violation.key for violation in bad if violation.key is not None]
        stored = group.rows.stored_events(self._db, late)
        work.violations = [violation for violation in bad if violation.key not in stored] if stored else bad
        work.duplicates += len(bad) - len(work.violations)

    def count(self) -> None:
        """Step 7: counters, watermarks, and the answers that belong to idempotency keys."""
        for name, group in self._groups.items():
            totals: Counter[str] = Counter()
            for work in group.works:
                self._count_one(work, totals)
            self.counters[name] = totals
            changed = [(name, counter, value) for counter, value in totals.items() if value]
            if changed:
                self._db.executemany(_COUNT, changed)
            self._raise_watermark(name, group)
        for index, first in self._repeats:
            self.outcomes[index] = self._repeat(index, first)

    def _count_one(self, work: _Work, totals: Counter[str]) -> None:
        judged = work.submission.judged
        violations = work.violations
        totals["accepted"] += work.accepted
        totals["deleted"] += work.deleted
        totals["duplicates"] += work.duplicates
        totals["quarantined"] += len(violations)
        totals["late"] += sum(1 for violation in violations if violation.rule == "too_late")
        totals["nulled"] += judged.nulled
        receipt = Receipt(self.txn, work.accepted, len(violations), work.duplicates)
        self.outcomes[work.index] = receipt
        idempotency.remember(self._db, work.submission, receipt)

    def _repeat(self, index: int, first: int) -> Outcome | None:
        answer = idempotency.earlier_answer(self._db, self.submissions[index])
        return self.outcomes[first] if answer is None else answer

    def _raise_watermark(self, name: str, group: _Group) -> None:
        times = [t for work in group.works if (t := work.submission.judged.max_event_time) is not None]
        if times and max(times) > self._state.watermarks.get(name, _BEFORE_ALL):
            self.watermarks[name] = max(times)
            self._db.execute("INSERT OR REPLACE INTO _hr_watermarks VALUES (?, ?)", (name, max(times)))

    def keep_positions(self) -> None:
        """Step 8: where each source stands after what it brought, and the commit stamp itself."""
        works = [work for group in self._groups.values() for work in group.works]
        for work in sorted(works, key=lambda work: work.index):  # places may be those of other tables' submissions
            submission = work.submission
            if submission.position is not None or submission.frontier is not None:
                stands = (submission.partition, submission.position, submission.frontier, self.txn)
                places = submission.places or (submission.table,)
                self._db.executemany(_POSITION, [(place, *stands) for place in places])
        self._db.execute("INSERT OR REPLACE INTO _hr_meta VALUES ('txn', ?)", (self.txn,))


def _units(submissions: Sequence[Submission]) -> Iterator[list[tuple[int, Submission]]]:
    """The submissions with their numbers, those of one unit together."""
    unit: list[tuple[int, Submission]] = []
    for index, submission in enumerate(submissions):
        if unit and (submission.unit is None or submission.unit is not unit[-1][1].unit):
            yield unit
            unit = []
        unit.append((index, submission))
    if unit:
        yield unit


def _joins(group: _Group, work: _Work, change: Upserts | Deletes) -> bool:
    """Whether `change` may be written together with those of other submissions: all its rows take effect, so that the
    answer to each submission is known."""
    schema = group.rows.schema
    if isinstance(change, Deletes) or work.copy is not None:
        return False
    if group.rows.events:
        return not schema.key
    return schema.version is None and work.stamp.version is None


def _extras(group: _Group, run: list[tuple[_Work, Upserts]]) -> list[str | None] | None:
    if not group.rows.schema.adopt:
        return None
    return [extra for _, change in run for extra in change.extras or [None] * len(change.rows)]


def _violations(submission: Submission) -> list[Violation]:
    # Whoever could be answered was refused before; from a source, a rejected record waits like any other.
    judged = submission.judged
    return judged.violations + judged.rejected if judged.rejected else judged.violations


def _delta(group: _Group) -> Delta:
    rows: list[Row] = []
    keys: list[Row] = []
    for work in group.works:
        for change in work.submission.judged.changes:
            if isinstance(change, Deletes):
                keys.extend(change.keys)
            else:
                rows.extend(change.rows)
                if not group.rows.events:
                    keys.extend(group.rows.keys(change.rows))
    return Delta(group.rows.schema, rows, keys, min(work.stamp.source_ts for work in group.works))


def _guarded(maintainer: Maintainer, what: str, call: _Call) -> None:
    try:
        call()
    except REFUSALS as error:
        # One of ours, not the rows': without this it would be taken for a row that cannot be stored.
        raise StoreError(f"{maintainer.name!r} could not be kept in step ({what}): {error!r}") from error


def describe_row(columns: Sequence[str], row: Row) -> bytes:
    """A row as JSON bytes, for quarantine, when the record's own bytes are gone."""
    values = dict(zip(columns, row, strict=False))
    return json.dumps(values, default=repr).encode("utf-8", "backslashreplace")


_BEFORE_ALL = -(1 << 63)
_COUNT = """INSERT INTO _hr_counters VALUES (?, ?, ?)
ON CONFLICT DO UPDATE SET value = value + excluded.value"""
_POSITION = """INSERT INTO _hr_positions VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
position = coalesce(excluded.position, position), frontier = coalesce(excluded.frontier, frontier),
updated = excluded.updated"""
