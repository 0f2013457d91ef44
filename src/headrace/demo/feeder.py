"""Sends what the city writes to where the app reads it: pushes for most tables, a growing file for promotions.

Every table has its own sender that takes all rows that are waiting, sends them, and takes the next only when those are
on disk. So rows of one table stay in order, and batches grow by themselves when the engine is busy.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from headrace.core.errors import Backpressure, SourceError
from headrace.demo.clock import CityClock
from headrace.demo.happenings import CityRow
from headrace.demo.reading import Tables
from headrace.demo.scoreboard import Scoreboard
from headrace.demo.watching import GIVE_UP, Watcher
from headrace.demo.wire import records
from headrace.demo.world import World

PUSHED = ("items", "orders", "couriers", "sales")
SEND_EVERY = 0.03
"""Seconds between two pushes to one table: what a producer gathers before it sends."""
SIGN_OF_LIFE = 0.2
"""Seconds after which a sender with nothing to say pushes an empty array, so that quiet is not taken for dead."""


class Feeder:
    """The city's producers.

    Parameters
    ----------
    promotions
        The file that promotions are appended to, one JSON object a line.
    """

    def __init__(self, world: World, service: Tables, clock: CityClock, board: Scoreboard, *, promotions: Path) -> None:
        self._world = world
        self._service = service
        self._clock = clock
        self._board = board
        self._promotions = promotions
        self._watcher = Watcher(service, clock, board)

    async def load(self) -> None:
        """Bring the app to what is on the city's books before the run begins; returns once it can be read.

        Raises
        ------
        SourceError
            When the app did not follow within ten seconds.
        """
        last = {table: rows[-1] for table, rows in self._world.outboxes.items() if rows and table != "sales"}
        for table in PUSHED:
            rows = self._world.take(table)
            await self._push(table, rows)
            self._board.loaded += len(rows)
        self._board.loaded += self._append_promotions()
        self._board.loaded += len(self._world.take("restaurants"))  # the app iterates over these itself
        for table, row in last.items():
            if not await self._watcher.readable(table, row):
                raise SourceError(
                    f"the demo's table {table!r} was not read within {GIVE_UP:g} s",
                    hint="the machine may be too busy; try again, or a slower city with --speed 20",
                    source=table,
                )

    async def run(self) -> None:
        """Send until cancelled."""
        async with asyncio.TaskGroup() as senders:
            for table in PUSHED:
                senders.create_task(self._send(table, senders))
            senders.create_task(self._send_promotions())

    async def _send(self, table: str, watchers: asyncio.TaskGroup) -> None:
        last = self._clock.monotonic()
        while True:
            rows = self._world.take(table)
            began = self._clock.monotonic()
            if not rows and began - last < SIGN_OF_LIFE:
                await self._clock.sleep(SEND_EVERY)
                continue
            if rows and self._watcher.is_due(table):
                watchers.create_task(self._watcher.watch(table, rows[-1], self._clock.now()))
            await self._push(table, rows)
            last = began
            self._board.events[table] += len(rows)
            await self._clock.sleep(max(0.0, SEND_EVERY - (self._clock.monotonic() - began)))

    async def _push(self, table: str, rows: list[CityRow]) -> None:
        """Push until it is taken. Rows of this table wait meanwhile, and their age shows."""
        while True:
            try:
                return await self._service.push(table, records(table, rows))
            except Backpressure as full:
                await self._clock.sleep(full.retry_after)

    async def _send_promotions(self) -> None:
        while True:
            self._board.events["promotions"] += self._append_promotions()
            await self._clock.sleep(SEND_EVERY)

    def _append_promotions(self) -> int:
        rows = self._world.take("promotions")
        if rows:
            with self._promotions.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(record) + "\n" for record in records("promotions", rows))
        return len(rows)
