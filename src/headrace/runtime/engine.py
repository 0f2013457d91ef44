"""The writing half of a running app: sources, contracts, the store's writer, refreshed views and quarantine decisions.

There is one engine per data folder; readers (`runtime.reads`) may be many and in other processes.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

import apsw

from headrace.contracts.evolution import Evolution
from headrace.contracts.judge import Judge, unreadable
from headrace.core.changes import Batch, Json, Receipt, Violation
from headrace.core.clock import SECOND, Clock
from headrace.core.errors import HeadraceError, MissingExtra, PushError, Rejected, SourceError
from headrace.core.events import Copied, Copying, Event, Problem, Solved
from headrace.core.frontier import SourceState
from headrace.core.names import unknown
from headrace.declaration.declaration import Declaration
from headrace.declaration.declared import Table
from headrace.runtime.feed import Feed
from headrace.runtime.folder import Folder
from headrace.runtime.lane import Lane
from headrace.runtime.library import all_tables, maintainers, refreshed_views, streams_of
from headrace.runtime.refresh import RefreshLoop
from headrace.runtime.replay import Replay
from headrace.runtime.stream import Stream
from headrace.sources.base import Fed, Opening, Partition, Source
from headrace.sources.push import Push
from headrace.store import disk, snapshot
from headrace.store.base import Idempotency, Submission
from headrace.store.board import Board
from headrace.store.connection import open_reader
from headrace.store.ingest import Ingest
from headrace.store.problems import Problems
from headrace.store.quarantine import remove
from headrace.store.sqlite import SqliteStore
from headrace.views.refresh import Refresher

log = logging.getLogger("headrace.engine")


class ProblemRecorder:
    """Turns problem events into the store's list of problems, and shows on the board how far copies are."""

    def __init__(self, problems: Problems, board: Board) -> None:
        self._problems = problems
        self._board = board

    def record(self, event: Event) -> None:
        """Take note of a problem that began or ended, or of a copy that is under way."""
        if isinstance(event, Problem):
            self._problems.record(event)
        elif isinstance(event, Solved):
            self._problems.solve(event.subject, event.kind)
        elif isinstance(event, Copying):
            self._board.set_copying(event)
        elif isinstance(event, Copied):
            self._board.set_copied(event.table)


class Engine:
    """Feeds the store of one app.

    Parameters
    ----------
    app
        The declaration.
    data
        The folder of the store.
    clock
        What time it is.
    """

    def __init__(self, app: Declaration, *, data: Path, clock: Clock) -> None:
        self.app = app
        self.folder = Folder(data)
        self.clock = clock
        self._tasks: list[asyncio.Task[None]] = []
        self._lanes: dict[str, Lane] = {}
        self._connections: list[apsw.Connection] = []
        self._starting: set[str] = set()
        self._deciding = asyncio.Lock()

    async def start(self) -> None:
        """Open the store, begin to write, begin to open every source.

        Raises
        ------
        StoreLocked, MigrationRefused, StoreError
            The store cannot be written by this process and this declaration.
        """
        self.folder.create()
        with disk.opening(self.folder.database):
            self.store = SqliteStore.open(
                self.folder.database,
                [table.schema for table in self.app.tables.values()],
                maintainers(self.app),
                clock=self.clock,
                board=self._create_board,
                quarantine_limit=self.app.quarantine_limit,
            )
        self.recorder = ProblemRecorder(self.store.problems, self.store.board)
        self.ingest = Ingest(self.store, self.clock)
        for table in self.app.tables.values():
            self._lanes[table.name] = Lane(
                table.name,
                Judge(table.contract),
                Evolution(table.contract),
                board=self.store.board,
                recorder=self.recorder,
                watermark=self.store.board.watermark(table.name),
                frontiers=self.store.frontiers(table.name),
            )
        streams = streams_of(self.app)
        for tables in streams:
            self.store.align_positions([table.name for table in tables])
        self.ingest.start()
        self._starting = {table.name for tables in streams for table in tables}
        for tables in streams:
            self._spawn(self._feed(tables), f"feed:{tables[0].name}")
        await self._start_refreshes()

    async def stop(self, timeout: float = 10.0) -> None:
        """Stop the sources, write and sync what was taken, close the store."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.ingest.stop(timeout)
        for db in self._connections:
            db.close()
        self.store.close()

    async def push(
        self, table: str, body: bytes, *, idempotency_key: str | None = None, origin: str = "push"
    ) -> Receipt:
        """Judge and commit a pushed body; returns once it is on disk. An empty array is a sign of life.

        Raises
        ------
        UnknownName
            No such table.
        PushError
            The table's source is not `Push`, or the body is no JSON at all (`TooLarge`: or has no end of violations).
        Rejected
            A rule with `on_violation="reject"` was violated: nothing was applied.
        Backpressure, StoreFull, IdempotencyConflict
        """
        lane = self._pushable(table)
        now = self.clock.now()
        judged = await lane.judged_in_turn(Batch(payloads=(Json(body),), origin=origin), now, size=len(body))
        if judged.rejected:
            raise _rejected(table, judged.rejected)
        bad = unreadable(judged)
        if bad is not None:
            raise PushError(
                f"the body for {table!r} is no JSON: {bad.message}",
                hint="send one JSON object, an array of objects, or one object a line",
            )
        key = None if idempotency_key is None else Idempotency(idempotency_key, hashlib.sha256(body).digest())
        submission = Submission(
            table=table, judged=judged, source_ts=now, frontier=now, idempotency=key, size=len(body)
        )
        # A sign of life goes this way too: it may not overtake what was pushed before it.
        receipt = await self.ingest.try_submit(submission)
        lane.advance(judged)
        lane.alive("", now, self.clock.now(), SourceState.RUNNING)
        return receipt

    async def replay(self, *, numbers: Sequence[int] | None = None, table: str | None = None) -> dict[str, int]:
        """Judge quarantined records again and apply those that pass now; the others keep waiting.

        Returns `{"replayed": n, "still_quarantined": m}`. Without `numbers` and `table`, all are tried.
        """
        async with self._deciding:
            plain = frozenset(t.name for t in self.app.tables.values() if not t.source.envelope)
            return await Replay(self._lanes, self.ingest, self.clock, plain=plain).run(numbers=numbers, table=table)

    async def drop(self, *, numbers: Sequence[int] | None = None, table: str | None = None) -> dict[str, int]:
        """Drop quarantined records for good. Returns `{"dropped": n}`.

        Raises
        ------
        PushError
            Neither `numbers` nor `table` was given: dropping everything must be said table by table.
        """
        if numbers is None and table is None:
            raise PushError("nothing says what to drop", hint="give the numbers of the records, or a table")
        async with self._deciding:
            return {"dropped": await self.ingest.execute(lambda db, _: self._drop(db, numbers, table))}

    def _drop(self, db: apsw.Connection, numbers: Sequence[int] | None, table: str | None) -> int:
        count = remove(db, numbers=numbers, table=table)
        self.store.weigh_quarantine()
        return count

    async def health(self) -> dict[str, Any]:
        """Whether the engine is ready, why not, and numbers for `/metrics`."""
        failure = self.ingest.failure
        reasons = [] if failure is None else [f"nothing is stored any more: {failure}"]
        reasons += [disk.problem(self.folder.database).message] if self.store.full else []
        reasons += [f"the source of {name!r} has not started" for name in sorted(self._starting)]
        return {"ready": not reasons, "reasons": reasons, "gauges": self._gauges()}

    def _gauges(self) -> dict[str, float]:
        rows, size = self.ingest.waiting
        lag = self.store.durable_lag(self.clock.now())
        return {"queue_rows": rows, "queue_bytes": size, "durable_lag_seconds": lag / SECOND}

    def _create_board(self) -> Board:
        return Board.create(self.folder.board, tables=list(self.app.tables), views=refreshed_views(self.app))

    def _pushable(self, table: str) -> Lane:
        declared = self.app.tables.get(table)
        if declared is None:
            raise unknown("table", table, self.app.tables)
        if not isinstance(declared.source, Push):
            raise PushError(
                f"{table!r} is fed by its source ({declared.source.kind}), not by pushes",
                hint="declare it with source=sources.Push() to push to it",
            )
        return self._lanes[table]

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is None:
            return
        error = task.exception()
        log.error("%s ended with an error that it should have handled", task.get_name(), exc_info=error)
        self.recorder.record(
            Problem(task.get_name(), "stopped", f"{type(error).__name__}: {error}", "restart; and please report this")
        )

    async def _feed(self, tables: Sequence[Table]) -> None:
        """Run the source of these tables; open it again where it was committed whenever the store refused a batch."""
        stream = Stream({table.name: self._lanes[table.name] for table in tables})
        while True:
            opening = self._opening(tables)
            partitions = await self._open(tables[0].source, stream, opening)
            feeds = [self._feed_of(stream, partition, opening) for partition in partitions]
            try:
                async with asyncio.TaskGroup() as group:
                    for feed in feeds:
                        group.create_task(feed.run())
                return
            except* HeadraceError as refusals:
                refused = refusals.exceptions[0]
            if self.ingest.failure is not None:
                return
            if not isinstance(refused, SourceError):  # that one was told already
                await stream.refused(refused, self.clock)
            for lane in stream.lanes.values():
                lane.watermark = self.store.board.watermark(lane.table)

    def _opening(self, tables: Sequence[Table]) -> Opening:
        first = tables[0]
        positions = {table.name: self.store.positions(table.name) for table in tables}
        shared = first.source.stream is not None
        return Opening(
            schema=first.schema,
            resume={name: at for found in positions.values() for name, at in found.items()},
            clock=self.clock,
            app=self.app.name,
            tables={t.name: self._fed(t, known=bool(positions[t.name])) for t in tables} if shared else {},
            folder=self.folder.spool,
            recorder=self.recorder,
        )

    def _fed(self, table: Table, *, known: bool) -> Fed:
        extra = table.contract.new_fields != "ignore"
        return Fed(table.schema, table.source, known, extra=extra, note=snapshot.note(self.folder.database, table.name))

    async def _open(self, source: Source, stream: Stream, opening: Opening) -> Sequence[Partition]:
        """Open a source, again and again until it opens; no partitions when it never can."""
        try:
            while True:
                try:
                    partitions = await source.open(opening)
                except (SourceError, MissingExtra) as error:
                    if not await stream.failed("", _as_source_error(error), self.clock):
                        return ()
                else:
                    stream.opened(fresh_tables(opening))
                    return partitions
        finally:
            self._starting.difference_update(stream.tables)

    def _feed_of(self, stream: Stream, partition: Partition, opening: Opening) -> Feed:
        return Feed(
            stream,
            partition,
            position=opening.resume.get(partition.name),
            fresh=fresh_tables(opening),
            ingest=self.ingest,
            board=self.store.board,
            clock=self.clock,
        )

    async def _start_refreshes(self) -> None:
        for view in self.app.views.values():
            refresher = view.plan.refresher
            if refresher is None:
                continue
            stored = await self.ingest.execute(lambda db, _, r=refresher: _set_up(r, db))
            self.store.board.set_view_as_of(view.name, stored)
            loop = RefreshLoop(
                refresher,
                tables=all_tables(self.app, view.name),
                below=tuple(name for name in view.plan.refreshed if name != view.name),
                db=self._reader(),
                ingest=self.ingest,
                board=self.store.board,
                clock=self.clock,
                recorder=self.recorder,
            )
            self._spawn(loop.run(), f"refresh:{view.name}")

    def _reader(self) -> apsw.Connection:
        db = open_reader(self.folder.database)
        self._connections.append(db)
        return db


def fresh_tables(opening: Opening) -> frozenset[str]:
    """The tables of a stream that need a full copy first."""
    return frozenset(name for name, fed in opening.tables.items() if not fed.known)


def _as_source_error(error: SourceError | MissingExtra) -> SourceError:
    """A missing extra is a failure of the source that needs it; it takes an install and a restart."""
    return error if isinstance(error, SourceError) else SourceError(error.message, hint=error.hint, permanent=True)


def _set_up(refresher: Refresher, db: apsw.Connection) -> int | None:
    """Make a refreshed view's table where needed; as of when it stands."""
    refresher.setup(db)
    return refresher.as_of(db)


def _rejected(table: str, violations: Sequence[Violation]) -> Rejected:
    shown = [
        {"position": v.position, "rule": v.rule, "column": v.column, "value": v.value, "message": v.message}
        for v in violations[:100]
    ]
    return Rejected(
        f"{len(violations)} records for {table!r} break a rule that rejects; nothing of the request was applied",
        violations=shown,
        hint=violations[0].message,
    )
