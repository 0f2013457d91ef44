"""Keeping refreshed views: recompute each one when it is due, and say as of when."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

import apsw
from headrace.store.board import Board
from headrace.store.ingest import Ingest
from headrace.views.refresh import Refresher

from headrace.core.clock import SECOND, Clock
from headrace.core.errors import HeadraceError
from headrace.core.events import Problem, Recorder, Solved

log = logging.getLogger("headrace.refresh")


@dataclass(frozen=True, slots=True)
class RefreshLoop:
    """One refreshed view's loop.

    A view that takes longer than its interval is refreshed back to back, and its age says so; it never piles up.
    """

    refresher: Refresher
    tables: tuple[str, ...]
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
        """One refresh. The as-of is taken before anything is read."""
        name = self.refresher.name
        as_of = self._as_of()
        try:
            await self.ingest.execute(self._work(as_of), changed=[name], durable=False)
        except (HeadraceError, apsw.Error) as error:
            log.warning("the view %s could not be refreshed: %s", name, error)
            self.recorder.record(Problem(f"view:{name}", "refresh_failed", str(error), "see the engine's log"))
            return
        self.board.set_view_as_of(name, as_of)
        self.recorder.record(Solved(f"view:{name}", "refresh_failed"))

    def _as_of(self) -> int | None:
        now = self.clock.now()
        stamps = [self.board.frontier(table).as_of(now) for table in self.tables]
        known = [at for at in stamps if at is not None]
        return min(known) if known and len(known) == len(stamps) else None

    def _work(self, as_of: int | None) -> Callable[[apsw.Connection, int], None]:
        return lambda db, txn: self.refresher.run(db, txn=txn, as_of=as_of)


async def cancel(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait until they are gone."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
