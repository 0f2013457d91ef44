"""The city in step with a clock: what it wrote and asked since the last look, and the twin reloaded on time."""

from __future__ import annotations

from collections import deque

from headrace.core.clock import Clock
from headrace.demo.city import City
from headrace.demo.happenings import KEYS, CityRow, Question, Write
from headrace.demo.twin import Twin


class World:
    """Walks the city to the clock's instant, and sorts what happened.

    Attributes
    ----------
    outboxes
        Per table, rows that were written and not sent yet, in order.
    questions
        What customers asked and nobody answered yet, in order.
    """

    def __init__(self, city: City, twin: Twin, clock: Clock, *, window: int) -> None:
        self.city = city
        self.outboxes: dict[str, list[CityRow]] = {table: [] for table in KEYS}
        self.questions: deque[Question] = deque()
        self._twin = twin
        self._clock = clock
        self._window = window
        self._reload_at = city.now
        for table, rows in city.tables.items():
            self.outboxes[table].extend(rows.values())  # what is on the books when the observers arrive

    def catch_up(self) -> None:
        """Let everything happen that is due by now. The twin is reloaded at its exact instants on the way."""
        now = max(self._clock.now(), self.city.now)
        while self._reload_at <= now:
            self._walk(self._reload_at)
            self._twin.reload(self.city.tables, self._reload_at)
            self._reload_at += self._window
        self._walk(now)

    def take(self, table: str) -> list[CityRow]:
        """Rows of `table` to send now."""
        rows, self.outboxes[table] = self.outboxes[table], []
        return rows

    def _walk(self, until: int) -> None:
        for happening in self.city.advance(until):
            if isinstance(happening, Write):
                self.outboxes[happening.table].append(happening.row)
            else:
                self.questions.append(happening)
