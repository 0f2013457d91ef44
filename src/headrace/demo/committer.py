"""Writes what happens in the city into its own database, in transactions; the app follows the database's commits."""

from __future__ import annotations

import asyncio

from headrace.core.errors import SourceError
from headrace.demo.clock import CityClock
from headrace.demo.database import Database
from headrace.demo.happenings import KEYS, CityRow
from headrace.demo.scoreboard import Scoreboard
from headrace.demo.watching import GIVE_UP, UNWATCHED, Watcher
from headrace.demo.world import World

COMMIT_EVERY = 0.02
"""Seconds between two transactions."""


class Committer:
    """The city's one producer when it has a database: every transaction spans all tables that changed."""

    def __init__(self, world: World, database: Database, watcher: Watcher, clock: CityClock, board: Scoreboard) -> None:
        self._world = world
        self._database = database
        self._watcher = watcher
        self._clock = clock
        self._board = board

    async def load(self) -> None:
        """Bring the app to what is on the city's books before the run begins; returns once it can be read.

        Raises
        ------
        SourceError
            When the app did not follow within ten seconds.
        """
        rows = self._take()
        await self._database.write(rows)
        self._board.loaded += sum(map(len, rows.values()))
        for table, changed in rows.items():
            if table != UNWATCHED and not await self._watcher.readable(table, changed[-1]):
                raise SourceError(
                    f"the demo's table {table!r} was not read within {GIVE_UP:g} s",
                    hint="the machine may be too busy; try again, or a slower city with --speed 20",
                    source=table,
                )

    async def run(self) -> None:
        """Commit until cancelled."""
        async with asyncio.TaskGroup() as watchers:
            while True:
                began = self._clock.monotonic()
                rows = self._take()
                if rows:
                    await self._database.write(rows)
                committed = self._clock.now()
                for table, changed in rows.items():
                    self._board.events[table] += len(changed)
                    if self._watcher.is_due(table):
                        watchers.create_task(self._watcher.watch(table, changed[-1], committed))
                await self._clock.sleep(max(0.0, COMMIT_EVERY - (self._clock.monotonic() - began)))

    def _take(self) -> dict[str, list[CityRow]]:
        taken = {table: self._world.take(table) for table in KEYS}
        return {table: rows for table, rows in taken.items() if rows}
