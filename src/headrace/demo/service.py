"""The app of the demo, running: engine, reader and HTTP edge in this process; producers push over the loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec

from headrace.app import App
from headrace.composition import catalog
from headrace.core.errors import Backpressure, SourceError
from headrace.demo.app import followed, food_delivery, pushed
from headrace.demo.city import City
from headrace.demo.clock import CityClock
from headrace.demo.database import SCHEMA, SLOT
from headrace.demo.reading import Reading, Service
from headrace.demo.wire import PROMOTIONS
from headrace.runtime.live import Live
from headrace.server.http import create_app
from headrace.server.listening import address, bind, serve
from headrace.server.settings import Settings

_TOO_MANY = 429
_PUSH_HEADERS = {"content-type": "application/json"}


class RunningApp:
    """The running app as the demo's agents and producers see it.

    Agents read in process, through the context reader; producers push over real HTTP, as a service of another team
    would.
    """

    def __init__(self, live: Live, http: httpx.AsyncClient) -> None:
        self._live = live
        self._http = http

    async def read(self, view: str, /, **params: Any) -> Reading:
        """A view, through the context reader."""
        return await self._live.read(view, **params)

    async def get(self, table: str, key: str) -> Reading:
        """The latest row of one key."""
        return await self._live.get(table, key)

    async def push(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Give rows to a table; returns once they are on disk.

        Raises
        ------
        Backpressure
            The engine cannot keep up.
        SourceError
            The app did not take them.
        """
        answer = await self._http.post(f"/push/{table}", content=msgspec.json.encode(rows), headers=_PUSH_HEADERS)
        if answer.status_code == _TOO_MANY:
            raise Backpressure(f"{table} is full", retry_after=float(answer.headers.get("retry-after", "1")))
        if answer.is_error:
            raise SourceError(f"a push to {table} was answered {answer.status_code}: {answer.text}", source=table)


@asynccontextmanager
async def open_service(folder: Path, clock: CityClock, city: City) -> AsyncGenerator[Service]:
    """Run the app on `folder`, on the city's clock, and serve it on a free port of the loopback."""
    promotions = folder / PROMOTIONS
    promotions.touch()
    app = food_delivery(pushed(lambda: list(city.tables["restaurants"].values()), promotions))
    async with _running(app, folder, clock) as service:
        yield service


@asynccontextmanager
async def follow_database(dsn: str, folder: Path, clock: CityClock) -> AsyncGenerator[Service]:
    """As `open_service`, with every table followed in the city's database."""
    async with _running(food_delivery(followed(dsn, SCHEMA, SLOT)), folder, clock) as service:
        yield service


@asynccontextmanager
async def _running(app: App, folder: Path, clock: CityClock) -> AsyncGenerator[Service]:
    settings = Settings(port=0, drain_timeout=1.0)
    async with app.run(data=folder / "live", clock=clock) as live, asyncio.TaskGroup() as group:
        listening, stop = bind(settings), asyncio.Event()
        edge = create_app(live.reads, live.engine, catalog(app), settings, clock=clock)
        group.create_task(serve(edge, settings, listening, stop, direct=edge.direct))
        try:
            async with httpx.AsyncClient(base_url=address(listening), timeout=10.0) as http:
                yield RunningApp(live, http)
        finally:
            stop.set()
