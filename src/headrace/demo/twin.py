"""The batch twin: the same tables and the same SQL over a copy that is reloaded every few minutes.

It is a fair twin. Each reload is a perfect copy of the city's books at that instant, with popularity counted up to it,
and it takes no time at all; a real five-minute load is later than that. Only its age is different.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import apsw

from headrace.core.frontier import Status
from headrace.demo.happenings import CityRow
from headrace.demo.plan import MINUTE

_TABLES = """
    CREATE TABLE restaurants (restaurant_id TEXT PRIMARY KEY, name, zone, x, y);
    CREATE TABLE items (item_id TEXT PRIMARY KEY, restaurant_id, name, price, stock, changed_at);
    CREATE TABLE promotions (item_id TEXT PRIMARY KEY, discount, changed_at);
    CREATE TABLE orders (order_id TEXT PRIMARY KEY, restaurant_id, item_id, state, courier_id, x, y,
                         placed_at, changed_at);
    CREATE TABLE couriers (courier_id TEXT PRIMARY KEY, x, y, seen_at);
    CREATE TABLE sales (sale_id TEXT PRIMARY KEY, item_id, price, sold_at);
    CREATE TABLE popular (item_id TEXT PRIMARY KEY, orders_15m);
    CREATE INDEX restaurants_by_zone ON restaurants (zone);
    CREATE INDEX items_by_restaurant ON items (restaurant_id);
"""
_COUNT_POPULAR = """
    INSERT INTO popular SELECT item_id, COUNT(*) FROM sales WHERE sold_at > :since GROUP BY item_id
"""


@dataclass(frozen=True, slots=True)
class Copied:
    """An answer from the copy. A batch copy makes no promise, so nothing ever tells its reader that it is stale."""

    rows: list[dict[str, Any]]
    age_ms: float | None
    status: Status = Status.FRESH


class Twin:
    """A copy of the city's tables in memory, with the app's own views over it.

    Parameters
    ----------
    views
        SQL of each view, by name: the text that the app declares.
    now
        What time it is in the city (microseconds).
    """

    def __init__(self, views: Mapping[str, str], now: Callable[[], int]) -> None:
        self._views = views
        self._now = now
        self.loaded_at: int | None = None
        self._db = apsw.Connection(":memory:")
        self._db.execute(_TABLES)

    def reload(self, tables: Mapping[str, Mapping[str, CityRow]], at: int) -> None:
        """Replace the copy by what is in the city's books at the instant `at`."""
        with self._db:
            for table, rows in tables.items():
                self._db.execute(f"DELETE FROM {table}")
                self._fill(table, rows)
            self._db.execute("DELETE FROM popular")
            self._db.execute(_COUNT_POPULAR, {"since": at - 15 * MINUTE})
        self.loaded_at = at

    async def read(self, view: str, /, **params: Any) -> Copied:
        """The rows of a view over the copy, and how old the copy is."""
        cursor = self._db.execute(self._views[view], params)
        rows = [dict(zip([column[0] for column in cursor.get_description()], row, strict=True)) for row in cursor]
        return Copied(rows, None if self.loaded_at is None else (self._now() - self.loaded_at) / 1000)

    def _fill(self, table: str, rows: Mapping[str, CityRow]) -> None:
        first = next(iter(rows.values()), None)
        if first is not None:
            columns = ", ".join(f":{column}" for column in first)
            self._db.executemany(f"INSERT INTO {table} VALUES ({columns})", rows.values())
