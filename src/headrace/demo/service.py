"""The app of the demo, running: the engine and its reader in this process, pushes over real HTTP on the loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from headrace.demo.app import food_delivery
from headrace.demo.city import City
from headrace.demo.clock import CityClock
from headrace.demo.reading import Reading, Service
from headrace.demo.wire import PROMOTIONS
from headrace.runtime.live import Live


class RunningApp:
    """The running app as the demo's agents and producers see it."""

    def __init__(self, live: Live) -> None:
        self._live = live

    async def read(self, view: str, /, **params: Any) -> Reading:
        """A view, through the context reader."""
        return await self._live.read(view, **params)

    async def get(self, table: str, key: str) -> Reading:
        """The latest row of one key."""
        return await self._live.get(table, key)

    async def push(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Give rows to a table; returns once they are on disk."""
        await self._live.push(table, rows)


@asynccontextmanager
async def open_service(folder: Path, clock: CityClock, city: City) -> AsyncIterator[Service]:
    """Run the app on `folder`, on the city's clock, until the context ends."""
    promotions = folder / PROMOTIONS
    promotions.touch()
    app = food_delivery(lambda: list(city.tables["restaurants"].values()), promotions)
    async with app.run(data=folder / "live", clock=clock) as live:
        yield RunningApp(live)
