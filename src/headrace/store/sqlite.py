"""The live store: one SQLite file that one process writes and many read.

The commit protocol is described, step by step with what a crash after each leaves behind, in
`docs/design/commit-protocol.md`; the numbers in the comments below are those steps.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar, cast

import apsw

from headrace.core.changes import Position, Receipt
from headrace.core.clock import Clock
from headrace.core.collector import CollectorPause
from headrace.core.errors import Backpressure, StoreError, StoreFull
from headrace.core.events import Committed, NullRecorder, Problem, Recorder
from headrace.core.frontier import SourceState
from headrace.core.schema import Schema
from headrace.store import disk, housekeeping, positions, quarantine, snapshot
from headrace.store.base import Forgetful, Maintainer, Submission
from headrace.store.board import COUNTERS, Board
from headrace.store.connection import BUSY_MS, PAGE_SIZE, WriterLock, open_log, open_writer, sync_file
from headrace.store.isolate import without_unstorable
from headrace.store.migrate import prepare, reset
from headrace.store.pieced import Pieced
from headrace.store.problems import Problems
from headrace.store.rows import TableRows
from headrace.store.steps import no_crash
from headrace.store.transaction import Outcome, State, Transaction, Unstorable

T = TypeVar("T")

log = logging.getLogger("headrace.store")


class SqliteStore:
    """The writer's side of the store. Make one with `SqliteStore.open`; `ingest.Ingest` drives it from threads.

    `commit`, `execute` and `housekeep` must not run at the same time as each other; `flush` may run beside them.

    Attributes
    ----------
    path
        The database file. Beside it: `-wal` and `-shm` (SQLite's), `.lock` (the writer's) and `.board`.
    board
        Where readers of all processes learn what is committed, durable and complete.
    problems
        What is wrong now.
    crash_point
        Called with each step's name after it; simulations put a crash there.
    """

    def __init__(
        self,
        path: Path,
        db: apsw.Connection,
        lock: WriterLock,
        schemas: Sequence[Schema],
        maintainers: Sequence[Maintainer],
        *,
        clock: Clock,
        recorder: Recorder,
        board: Board,
        quarantine_limit: int,
    ) -> None:
        self.path = path
        self._wal = path.with_name(path.name + "-wal")
        self.board = board
        self.problems = Problems(recorder)
        self.schemas = {schema.name: schema for schema in schemas}
        self.maintainers = tuple(maintainers)
        self.crash_point: Callable[[str], None] = no_crash
        self._db = db
        self._lock = lock
        self._clock = clock
        self._recorder = recorder
        self._tables = {schema.name: TableRows(schema) for schema in schemas}
        self._watermarks: dict[str, int] = {}
        self._positions: dict[tuple[str, str], Position] = {}
        self._quarantine = quarantine.Load(board, quarantine_limit)
        self._txn = 0
        self._unsynced = 0
        self._wal_fd = -1
        self._flush_lock = threading.Lock()
        self._log_pages = 0
        self._careful = False
        db.set_wal_hook(self._note_log)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        schemas: Sequence[Schema],
        maintainers: Sequence[Maintainer] = (),
        *,
        clock: Clock,
        recorder: Recorder | None = None,
        board: Callable[[], Board] | None = None,
        quarantine_limit: int = quarantine.DEFAULT_LIMIT,
    ) -> SqliteStore:
        """Open for writing, creating or migrating what is there.

        Parameters
        ----------
        board
            Makes one that names every table of `schemas`, called when the lock is held; without it, one in memory.
        quarantine_limit
            Bytes of waiting records per table, see `store.quarantine`.

        Raises
        ------
        StoreLocked
            Another process writes to it.
        MigrationRefused
            The declaration changed in a way that the stored rows cannot follow.
        StoreError
            It cannot be opened.
        """
        file = Path(path)
        lock = WriterLock(file)
        try:
            db = open_writer(file)
            prepare(db, schemas)
            for maintainer in maintainers:
                with db:
                    maintainer.setup(db)
            store = cls(
                file,
                db,
                lock,
                schemas,
                maintainers,
                clock=clock,
                recorder=recorder or NullRecorder(),
                board=board() if board else Board.in_memory(tables=[schema.name for schema in schemas]),
                quarantine_limit=quarantine_limit,
            )
            store._load()
            store.flush()
        except BaseException:
            lock.release()
            raise
        return store

    def close(self) -> None:
        """Sync, close and let another process write."""
        if self._lock.path and self._wal_fd != -2:
            self.flush()
            if self._wal_fd >= 0:
                os.close(self._wal_fd)
            self._wal_fd = -2
            self._db.close()
            self._lock.release()

    @staticmethod
    def reset(path: str | os.PathLike[str], table: str) -> bool:
        """Forget everything about `table`, so that its source is read from the start; False: nothing was stored.

        Raises
        ------
        StoreLocked
            An engine runs on it.
        """
        with WriterLock(Path(path)):
            db = open_writer(Path(path))
            try:
                prepare(db, [])
                return reset(db, table)
            finally:
                db.close()

    @property
    def db(self) -> apsw.Connection:
        """The writer's connection, for whoever runs on the writer's thread."""
        return self._db

    @property
    def txn(self) -> int:
        """The last commit stamp."""
        return self._txn

    @property
    def full(self) -> bool:
        """Whether the last attempt to write met a full disk."""
        return self.board.full_since is not None

    def durable_lag(self, now: int) -> int:
        """For how long the oldest commit that is not on disk yet has waited, microseconds; 0 when all are."""
        return 0 if self.board.durable >= self._txn else max(now - self._unsynced, 0)

    def commit(self, submissions: Sequence[Submission]) -> list[Outcome]:
        """Apply `submissions` in one transaction: steps 1 to 10. Readers see them; they are durable after `flush`.

        Returns, per submission, its receipt or the error for which it alone was refused.

        Raises
        ------
        StoreFull
            The disk is full; nothing was applied, and the same call may work later.
        StoreError
            The store or a maintainer failed; nothing was applied.
        """
        todo = list(submissions)
        merge = True
        while True:
            try:
                return self._attempt(todo, merge)
            except Unstorable as failure:
                if failure.index is None:
                    merge = False
                    continue
                submission = failure.submission
                cleaned = without_unstorable(self._db, self._tables[submission.table], submission)
                if len(cleaned.judged.violations) == len(submission.judged.violations):
                    raise StoreError(f"a change of {submission.table!r} failed: {failure.cause!r}") from failure.cause
                todo[failure.index] = cleaned

    def _attempt(self, submissions: Sequence[Submission], merge: bool) -> list[Outcome]:
        started = self._clock.monotonic()
        txn = self._next_txn()
        work = Transaction(self._db, self._state(), submissions, txn, merge=merge)
        with CollectorPause():
            self._in_transaction(lambda: self._steps(work), txn)
        self._tell_refusals(submissions, work.outcomes)
        self._tell_commit(txn, [work], started)
        return cast("list[Outcome]", work.outcomes)

    def commit_streamed(self, pieces: Iterable[Sequence[Submission]]) -> Receipt:
        """Apply one unit that is too large for memory, piece by piece as `pieces` gives them, in one transaction.

        Raises
        ------
        HeadraceError
            It was refused as `commit` refuses one submission, or a row of it cannot be stored: nothing was applied. In
            the latter case the same unit may be given again, and is then taken more carefully.
        StoreFull, StoreError
            As `commit`.
        """
        started = self._clock.monotonic()
        txn = self._next_txn()
        pieced = Pieced(self._db, self._tables, self._steps, self._discard, careful=self._careful)
        try:
            self._in_transaction(lambda: pieced.apply(pieces, self._state(), txn), txn)
        except Unstorable as failure:
            self._careful = True
            raise StoreError(
                f"a change of {failure.submission.table!r} cannot be stored: {failure.cause!r}",
                hint="its transaction is read again, and what cannot be stored will wait in quarantine",
            ) from failure.cause
        except Backpressure as refusal:
            self._tell_refusal(pieced.refused, refusal)
            raise
        self._tell_commit(txn, pieced.works, started)
        return pieced.receipt

    def _state(self) -> State:
        return State(
            self._tables,
            self.maintainers,
            self._watermarks,
            self._quarantine.sizes,
            self._quarantine.limit,
            self._positions,
        )

    def _tell_commit(self, txn: int, works: Sequence[Transaction], started: float) -> None:
        tables = dict.fromkeys(table for work in works for table in work.tables)
        quarantined = sum(counts["quarantined"] for work in works for counts in work.counters.values())
        seconds = self._clock.monotonic() - started
        self._recorder.record(Committed(txn, tuple(tables), sum(work.rows for work in works), quarantined, seconds))

    def _tell_refusals(self, submissions: Sequence[Submission], outcomes: Sequence[Outcome | None]) -> None:
        for submission, outcome in zip(submissions, outcomes, strict=True):
            if isinstance(outcome, Backpressure):
                self._tell_refusal(submission.table, outcome)

    def _tell_refusal(self, table: str, refusal: Backpressure) -> None:
        self.problems.record(Problem(f"table:{table}", "quarantine_full", refusal.message, refusal.hint))

    def _steps(self, work: Transaction) -> Callable[[], None]:
        crash_point = self.crash_point
        crash_point("begin")  # 1
        for step in (work.admit, work.remember, work.apply, work.derive, work.set_aside, work.count):  # 2 to 7
            step()
            crash_point(step.__name__)
        self.board.changing(work.tables, work.txn)
        work.keep_positions()  # 8
        crash_point("keep_positions")
        return lambda: self._publish(work)

    def _in_transaction(self, steps: Callable[[], Callable[[], None]], txn: int) -> None:
        try:
            self._db.execute("BEGIN IMMEDIATE")  # 1
            publish = steps()
            written = self.problems.write(self._db, txn=txn)
            self._db.execute("COMMIT")  # 9
        except BaseException as error:
            self._roll_back()
            if isinstance(error, apsw.FullError | apsw.IOError):
                raise self._full(error) from error
            if isinstance(error, apsw.Error):
                raise StoreError(f"{self.path} cannot be written: {error}") from error
            raise
        self.crash_point("commit")
        self.problems.written(written)
        publish()
        if self.full:
            self.board.set_full_since(None)
            self.problems.solve(disk.SUBJECT, disk.KIND)
        self.board.publish_commit(txn)  # 10
        if self.board.durable >= self._txn:
            self._unsynced = txn
        self._txn = txn  # from here on the flusher may sync it
        self.crash_point("publish")

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
        self._discard()

    def _discard(self) -> None:
        for maintainer in self.maintainers:
            if isinstance(maintainer, Forgetful):
                maintainer.discard()

    def _full(self, error: Exception) -> StoreFull:
        log.warning("%s cannot grow: %s", self.path, error)
        if not self.full:
            self.board.set_full_since(self._clock.now())
        self.problems.record(disk.problem(self.path))
        return disk.refusal(self.path)

    def _publish(self, work: Transaction) -> None:
        for table, counts in work.counters.items():
            for counter, value in counts.items():
                if value:
                    self.board.add(table, counter, value)
        for table, at in work.watermarks.items():
            self._watermarks[table] = at
            self.board.set_watermark(table, at)
        self._positions.update(work.positions)
        for table, size in work.quarantine_bytes.items():
            self._quarantine.add(table, work.counters[table]["quarantined"], size)
        if work.replays:
            self.weigh_quarantine()

    def execute(self, function: Callable[[apsw.Connection, int], T], *, changed: Sequence[str] = ()) -> T:
        """Run `function(connection, txn)` in a transaction of its own.

        `changed` names the tables and refreshed views that it writes, for whoever validates read sets.

        Raises
        ------
        StoreFull
            The disk is full; nothing was applied.
        """
        txn = self._next_txn()
        results: list[T] = []

        def steps() -> Callable[[], None]:
            results.append(function(self._db, txn))
            self.board.changing(changed, txn)
            self._db.execute("INSERT OR REPLACE INTO _hr_meta VALUES ('txn', ?)", (txn,))
            return lambda: None

        self._in_transaction(steps, txn)
        return results[0]

    def remove_quarantined(self, *, numbers: Sequence[int] | None = None, table: str | None = None) -> int:
        """Drop waiting records for good; returns how many."""
        count = self.execute(lambda db, txn: quarantine.remove(db, numbers=numbers, table=table))
        self.weigh_quarantine()
        return count

    def flush(self) -> int:
        """Sync the log: steps 11 and 12. Returns the commit stamp up to which everything is on disk.

        Raises
        ------
        StoreError
            The sync failed. What was written since the last one may be lost although it is readable now, and asking
            again would say yes wrongly: the engine must stop.
        """
        with self._flush_lock:
            txn = self._txn
            if txn == self.board.durable:
                return txn
            try:
                if self._wal_fd < 0:
                    self._wal_fd = open_log(self._wal)
                sync_file(self._wal_fd)  # 11
            except OSError as error:
                raise StoreError(
                    f"the log of {self.path} cannot be synced: {error}", hint="check the disk, then start again"
                ) from error
            self.crash_point("sync")
            self.board.publish_durable(txn)  # 12
            self.crash_point("publish_durable")
            return txn

    @property
    def log_size(self) -> int:
        """Bytes of the write-ahead log that are in use."""
        return self._log_pages * PAGE_SIZE

    def _note_log(self, db: apsw.Connection, name: str, pages: int) -> int:
        self._log_pages = pages
        return apsw.SQLITE_OK

    def restart_log(self) -> bool:
        """Copy the log into the database and begin it anew; False while a reader still looks at it."""
        self._db.set_busy_timeout(0)
        try:
            self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_RESTART)
        except (apsw.BusyError, apsw.LockedError, apsw.FullError, apsw.IOError):
            return False  # nothing is lost: the log still holds everything
        finally:
            self._db.set_busy_timeout(BUSY_MS)
        return True

    def housekeep(self, *, limit: int = 5_000) -> int:
        """Drop what is out of retention, at most about `limit` rows of each kind; how many were dropped."""
        now = self._clock.now()
        dropped = self.execute(
            lambda db, txn: housekeeping.purge(
                db, self._tables, self.maintainers, watermarks=self._watermarks, now=now, limit=limit
            )
        )
        # After the commit: a purge that is rolled back has left every tombstone in its place.
        for rows in self._tables.values():
            if dropped and rows.has_tombstones:
                rows.look_for_tombstones(self._db)
        return dropped

    def positions(self, table: str) -> Mapping[str, Position]:
        """Where to resume each partition of the table's source: what is committed. Safe from any thread."""
        known = list(self._positions.items())
        return {partition: position for (name, partition), position in known if name == table}

    def frontiers(self, table: str) -> Mapping[str, int]:
        """Up to when each partition of the table's source was complete at its last commit (microseconds)."""
        rows = self._db.execute("SELECT partition, frontier FROM _hr_positions WHERE table_name = ?", (table,))
        return {partition: frontier for partition, frontier in rows if frontier is not None}

    def align_positions(self, tables: Sequence[str]) -> None:
        """Forget where the sources of these tables stood unless they stand together, see `store.positions`. Before
        anything is written."""
        positions.align(self._db, self._positions, tables)

    def watermark(self, table: str) -> int | None:
        """The latest event time that was accepted (microseconds); None before the first. Safe from any thread."""
        return self._watermarks.get(table)

    def counters(self, table: str) -> dict[str, int]:
        """The table's totals since the store was made."""
        rows = self._db.execute("SELECT counter, value FROM _hr_counters WHERE table_name = ?", (table,))
        return {**dict.fromkeys(COUNTERS, 0), **dict(rows)}

    def _next_txn(self) -> int:
        return max(self._clock.now(), self._txn + 1)

    def _load(self) -> None:
        found = self._db.execute("SELECT value FROM _hr_meta WHERE name = 'txn'").get
        self._txn = 0 if found is None else cast("int", found)
        self._watermarks.update(dict(self._db.execute("SELECT table_name, at FROM _hr_watermarks")))
        self._positions = positions.load(self._db)
        with self._db:
            self._db.execute("DELETE FROM _hr_problems")
            snapshot.abandon(self._db, self._tables)
        for rows in self._tables.values():
            rows.look_for_tombstones(self._db)
        self.weigh_quarantine()
        self._fill_board()

    def _fill_board(self) -> None:
        """What the last engine knew for certain; whether its sources are alive is for this one to find out."""
        for table in self._tables:
            for counter, value in self.counters(table).items():
                self.board.set_counter(table, counter, value)
            frontiers = self.frontiers(table).values()
            state = SourceState.RUNNING if frontiers else SourceState.NEVER
            self.board.set_frontier(table, min(frontiers, default=None), None, state)
            if table in self._watermarks:
                self.board.set_watermark(table, self._watermarks[table])
        self.board.changing(self._tables, self._txn)
        self.board.publish_commit(self._txn)

    def weigh_quarantine(self) -> None:
        """Measure anew how much waits in quarantine; on the writer's thread, after records were taken out."""
        for table in self._quarantine.weigh(self._db, self._tables):
            self.problems.solve(f"table:{table}", "quarantine_full")
