"""How long a row takes until it can be read: it is asked for again and again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.core.clock import isoformat
from headrace.demo.clock import CityClock
from headrace.demo.happenings import KEYS, CityRow
from headrace.demo.reading import Tables
from headrace.demo.scoreboard import Scoreboard
from headrace.demo.wire import INSTANTS

SAMPLE_EVERY = 0.1
"""Seconds between two rows of one table that are watched until they can be read."""
POLL = 0.001
"""Seconds between two reads of a watched row: the resolution of the freshness figures."""
GIVE_UP = 10.0
UNWATCHED = "sales"
"""The table that has no key to read its rows by."""


class Watcher:
    """Watches sampled rows and notes their freshness on the scoreboard."""

    def __init__(self, service: Tables, clock: CityClock, board: Scoreboard) -> None:
        self._service = service
        self._clock = clock
        self._board = board
        self._sampled: dict[str, float] = {}

    def is_due(self, table: str) -> bool:
        """Whether a row of `table` should be watched now; asking counts as doing it."""
        now = self._clock.monotonic()
        if table == UNWATCHED or now - self._sampled.setdefault(table, now) < SAMPLE_EVERY:
            return False
        self._sampled[table] = now
        return True

    async def watch(self, table: str, row: CityRow, sent: int) -> None:
        """Read the row's key until the row, or a newer one, is there; note how long that took since `sent`."""
        if not await self.readable(table, row):
            self._board.unseen += 1
            return
        now = self._clock.now()
        self._board.freshness.add(self._clock.real_ms(now - sent))
        self._board.change_to_readable.add(self._clock.real_ms(now - row[INSTANTS[table][-1]]))

    async def readable(self, table: str, row: CityRow) -> bool:
        """Wait until `row`, or a newer one of its key, can be read with its age; False when that takes too long.

        The age of a table that is still being copied is unknown, though the rows copied so far are there.
        """
        deadline = self._clock.monotonic() + GIVE_UP
        while self._clock.monotonic() < deadline:
            answer = await self._service.get(table, row[KEYS[table]])
            if answer.rows and answer.age_ms is not None and _as_new(table, answer.rows[0], row):
                return True
            await self._clock.sleep(POLL)
        return False


def _as_new(table: str, found: Mapping[str, Any], row: CityRow) -> bool:
    columns = INSTANTS[table]
    # RFC 3339 in UTC with microseconds: the order of the text is that of time.
    return not columns or found[columns[-1]] >= isoformat(row[columns[-1]])
