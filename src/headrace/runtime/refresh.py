"""Keeping refreshed views: recompute each one when it is due, and say as of when."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

import apsw

from headrace.core.clock import SECOND, Clock
from headrace.core.errors import HeadraceError
from headrace.core.events import Problem, Recorder, Solved
from headrace.core.schema import Row
from headrace.store.board import Board
from headrace.store.ingest import Ingest
from headrace.views.refresh import Refresher

_NUDGE = 0.05
"""Seconds between two attempts to interrupt a query."""

log = logging.getLogger("headrace.refresh")


@dataclass(frozen=True, slots=True)
class RefreshLoop:
    """One refreshed view's loop.

    The query runs on a reader's connection in a thread, so that neither writes nor reads wait for it. A view that takes
    longer than its interval is refreshed back to back, and its age says so; it never piles up.
    """

    refresher: Refresher
    tables: tuple[str, ...]
    below: tuple[str, ...]
    db: apsw.Connection
    ingest: Ingest
    board: Board
    clock: Clock
    recorder: Recorder

    async def run(self) -> None:
        """Refresh until cancelled."""
        while True:
            began = self.clock.monotonic()
            await self.once()
            rest = self.refresher.every / SECOND - (self.clock.monotonic() - began)
            await self.clock.sleep(max(rest, 0.001))

    async def once(self) -> None:
        """One refresh. The as-of is taken before the snapshot is opened."""
        name, now = self.refresher.name, self.clock.now()
        as_of = self._as_of(now)
        try:
            rows = await self._read(now)
            await self.ingest.execute(
                lambda db, _: self.refresher.write(db, rows, as_of=as_of), changed=[name], durable=False
            )
        except (HeadraceError, apsw.Error) as error:
            log.warning("the view %s could not be refreshed: %s", name, error)
            self.recorder.record(Problem(f"view:{name}", "refresh_failed", str(error), "see the engine's log"))
            return
        self.board.set_view_as_of(name, as_of)
        self.recorder.record(Solved(f"view:{name}", "refresh_failed"))

    async def _read(self, now: int) -> list[Row]:
        reading = asyncio.ensure_future(asyncio.to_thread(self.refresher.read, self.db, now=now))
        try:
            return await asyncio.shield(reading)
        except asyncio.CancelledError:
            # The connection is closed next, and a thread that reads on cannot be cancelled: it is interrupted, again
            # if it had not begun yet.
            while not reading.done():
                self.db.interrupt()
                await asyncio.wait([reading], timeout=_NUDGE)
            reading.exception()
            raise

    def _as_of(self, now: int) -> int | None:
        stamps = [self.board.frontier(table).as_of(now) for table in self.tables]
        stamps += [self.board.view_as_of(view) for view in self.below]
        known = [at for at in stamps if at is not None]
        return min(known) if known and len(known) == len(stamps) else None
