"""The partition: connects, copies what must be copied, follows the stream, and does it again when something broke.

It is a small state machine over two kinds of work, `CopyWork` and `StreamWork`. What blocks runs in the partition's
thread (`Worker`) or in the works' own threads, never on the event loop.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING

from headrace.core.changes import Batch, Position
from headrace.core.events import Copied, Copying, Event, Problem, Solved
from headrace.sources.base import Opening
from headrace.sources.postgres.copywork import CopyWork
from headrace.sources.postgres.handoff import Ready, Wanted, connect, shoot
from headrace.sources.postgres.position import Standing
from headrace.sources.postgres.session import Server
from headrace.sources.postgres.spool import Spool
from headrace.sources.postgres.streamwork import StreamWork
from headrace.sources.postgres.worker import Worker

if TYPE_CHECKING:
    from headrace.sources.postgres.source import Postgres

log = logging.getLogger("headrace.source")

NAME = "stream"

WAIT = 0.25
"""Seconds that one question waits for an answer, when the one before had none."""

SHOW_EVERY = 0.25
"""Seconds between two accounts of how far a copy is."""

LEAVE_AFTER = 2.0
"""Seconds that closing waits for an answer of the server before it breaks the connections off."""

AGAIN = ("slot_lost", "server_replaced", "server_diverged", "table_replaced", "unpublished")
"""Problems that are over when the copy that they made necessary is complete."""


class PostgresPartition:
    """One slot, one publication, one position, for all tables that are declared with them."""

    name = NAME

    def __init__(self, source: Postgres, wanted: Wanted, opening: Opening) -> None:
        self._source = source
        self._wanted = wanted
        self._clock = opening.clock
        self._recorder = opening.recorder
        self._loop = asyncio.get_running_loop()
        self._server = Server(source.dsn, f"headrace_{opening.app}"[:63])
        self._spool = Spool(opening.folder or Path(gettempdir()), f"postgres-{wanted.slot}")
        self._worker = Worker()
        stored = opening.resume.get(NAME)
        self._standing = None if stored is None else Standing.parse(stored)
        self._work: CopyWork | StreamWork | None = None
        self._beginning: CopyWork | StreamWork | None = None
        self._ready: Ready | None = None
        self._problems: set[tuple[str, str]] = set()
        self._notes = {name: fed.note for name, fed in wanted.fed.items() if fed.note is not None}
        self._shown = 0.0
        self._rested = False
        self._closed = False

    @property
    def progress(self) -> float | None:
        """About how much of the copy that is under way is done, 0 to 1; None when there is none."""
        work = self._work
        return work.progress.share if isinstance(work, CopyWork) and work.progress is not None else None

    async def next_batch(self) -> Batch | None:
        if self._closed:
            return None
        try:
            work = self._work
            if work is None:
                work = self._work = await self._begin()
            elif isinstance(work, CopyWork) and work.is_over:
                work = self._work = await self._follow(work)
            batch = await self._take(work)
        except Exception:  # boundary: whatever broke, the next question begins with a new connection
            await self._abandon()
            raise
        if isinstance(work, CopyWork):
            self._show(work)
        if batch is not None:
            self._remember(batch)
        return batch

    def _remember(self, batch: Batch) -> None:
        """What was given away is committed, or this partition is closed: the next connection goes on from there."""
        if batch.note is not None and batch.table is not None:
            self._notes[batch.table] = batch.note
        if batch.position is not None:
            self._standing = Standing.parse(batch.position)
            self._notes.clear()
            self._solved()

    def _show(self, copy: CopyWork, *, over: bool = False) -> None:
        """Tell how far the copy is."""
        now = self._clock.monotonic()
        over = over or copy.is_given
        if copy.progress is None or (now - self._shown < SHOW_EVERY and not over):
            return
        self._shown = now
        for name, extent in copy.progress.tables.items():
            expected = max(round(extent.expected), extent.rows)
            told = Copying(name, extent.rows, expected, extent.parts, extent.of, copy.progress.since)
            self._recorder.record(Copied(name) if over else told)

    async def _take(self, work: CopyWork | StreamWork) -> Batch | None:
        batch = await work.take()
        if batch is None and self._rested:
            # The first None let the caller settle what it has; from now on it is woken when something comes.
            await work.wait(WAIT)
            batch = await work.take()
        self._rested = batch is None
        return batch

    def next_awake(self) -> float:
        return 0.0 if not self._closed else WAIT

    async def acknowledge(self, position: Position) -> None:
        if self._work is not None:
            self._work.confirm(position)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        # A slot is not made before every older transaction has ended, and a network may be silent.
        cutting = self._loop.call_later(LEAVE_AFTER, self._cut)
        try:
            await self._abandon()
        finally:
            cutting.cancel()
        await self._worker.close()

    def _cut(self) -> None:
        """Whatever the thread waits for at the server, it does not any more."""
        ready = self._ready
        if ready is not None:
            ready.session.cut()
            ready.replication.cut()

    async def _abandon(self) -> None:
        work, self._work = self._work, None
        beginning, self._beginning = self._beginning, None
        self._rested = False
        for one in (work, beginning):
            if isinstance(one, CopyWork):
                self._show(one, over=True)
            if one is not None:
                await asyncio.shield(self._worker.run(one.close))
        await asyncio.shield(self._worker.run(self._disconnect))

    def _disconnect(self) -> None:
        ready, self._ready = self._ready, None
        if ready is not None:
            ready.close()

    async def _begin(self) -> CopyWork | StreamWork:
        ready = await self._worker.run(self._connect)
        self._tell_reasons(ready)
        if not ready.decision.copy and not ready.decision.gaps and ready.standing is not None:
            return await self._stream(ready, ready.standing)
        shot = await self._worker.run(shoot, ready, self._wanted, self._clock)
        workers = self._source.snapshot_workers
        copy = CopyWork(
            ready, self._wanted, shot, self._worker, self._spool, self._clock, workers=workers, notes=self._notes
        )
        self._beginning = copy
        await self._worker.run(copy.start)
        self._beginning = None
        names = ", ".join(table.name for table in shot.tables)
        log.info("copying %s as of %s", names, shot.standing.text)
        return copy

    def _connect(self) -> Ready:
        # Kept where `_abandon` finds it, also when whoever waits for it is cancelled meanwhile.
        self._ready = connect(self._server, self._wanted, self._standing)
        return self._ready

    async def _stream(self, ready: Ready, standing: Standing) -> StreamWork:
        stream = StreamWork(ready, self._wanted, standing, self._worker, self._spool, self._clock, self._tell)
        self._beginning = stream
        await self._worker.run(stream.start)
        self._beginning = None
        return stream

    async def _follow(self, copy: CopyWork) -> StreamWork | CopyWork:
        """The copy is complete: make its slot, then begin anew, which finds everything in place."""
        self._standing = await self._worker.run(copy.finish)
        await self._worker.run(copy.close)
        self._work = None
        return await self._begin()

    def _tell_reasons(self, ready: Ready) -> None:
        for table, reason in ready.decision.reasons.items():
            log.warning("%s is copied anew: %s", table, reason.message)
            self._problems.add((f"source:{table}", reason.kind))
            hint = "its rows are served as they were, and are replaced as a whole when the new copy is complete"
            self._recorder.record(Problem(f"source:{table}", reason.kind, reason.message, hint))

        for table, reason in ready.decision.gaps.items():
            message = f"events of {table} are missing: {reason.message or 'its slot was never made'}"
            log.warning("%s", message)
            hint = "give the events a key: then they are copied again, and repeats are left out"
            self._recorder.record(Problem(f"source:{table}", "events_missing", message, hint))

    def _solved(self) -> None:
        for subject, kind in self._problems:
            self._recorder.record(Solved(subject, kind))
        self._problems.clear()

    def _tell(self, event: Event) -> None:
        """From a thread."""
        try:
            self._loop.call_soon_threadsafe(self._recorder.record, event)
        except RuntimeError:
            log.debug("the loop is gone: %s", event)
