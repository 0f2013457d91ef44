"""The app of the demo, running: engine, endpoints and HTTP edge in this process; producers push over the loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from headrace.composition import catalog
from headrace.core.errors import Backpressure, ExchangeError, SourceError
from headrace.demo.app import Sources, followed, food_delivery, pushed
from headrace.demo.asking import Asker
from headrace.demo.batch import CopyReads, open_endpoints
from headrace.demo.city import City
from headrace.demo.clock import CityClock
from headrace.demo.database import SCHEMA, SLOT
from headrace.demo.model import ModelChoice, greet, open_model
from headrace.demo.reading import Reading, Service
from headrace.demo.twin import Twin
from headrace.demo.wire import PROMOTIONS
from headrace.http1 import Client, Origin
from headrace.pipeline.answer import Asked
from headrace.runtime.desk import open_models
from headrace.runtime.live import Live
from headrace.server.http import create_app
from headrace.server.listening import address, bind, serve
from headrace.server.settings import Settings

_TOO_MANY = 429
_PUSH_HEADERS = [(b"content-type", b"application/json")]


class RunningApp:
    """The running app as the demo's customers and producers see it.

    Customers ask its endpoints in process, through `live.ask`; producers push over real HTTP, as a service of another
    team would.

    Attributes
    ----------
    copy
        The same endpoints over the batch twin.
    """

    def __init__(self, live: Live, http: Client, origin: Origin, copy: Asker) -> None:
        self._live = live
        self._http = http
        self._origin = origin
        self.copy = copy

    async def ask(self, path: str, data: Any, /) -> Asked:
        """The answer of an endpoint, from what is live."""
        return await self._live.ask(path, data)

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
        body, path = msgspec.json.encode(rows), f"/push/{table}".encode()
        try:
            answer = await self._http.request(b"POST", self._origin, path, _PUSH_HEADERS, body, timeout=10.0)
            said = await answer.read()
        except ExchangeError as error:
            raise SourceError(f"a push to {table} had no answer: {error.message}", source=table) from error
        if answer.status == _TOO_MANY:
            raise Backpressure(f"{table} is full", retry_after=float(answer.header(b"retry-after") or 1))
        if answer.status >= 400:
            text = said.decode(errors="replace")
            raise SourceError(f"a push to {table} was answered {answer.status}: {text}", source=table)


@asynccontextmanager
async def open_service(
    folder: Path, clock: CityClock, city: City, twin: Twin, model: ModelChoice
) -> AsyncGenerator[Service]:
    """Run the app on `folder`, on the city's clock, and serve it on a free port of the loopback."""
    promotions = folder / PROMOTIONS
    promotions.touch()
    sources = pushed(lambda: list(city.tables["restaurants"].values()), promotions)
    async with _running(sources, folder, clock, twin, model) as service:
        yield service


@asynccontextmanager
async def follow_database(
    dsn: str, folder: Path, clock: CityClock, twin: Twin, model: ModelChoice
) -> AsyncGenerator[Service]:
    """As `open_service`, with every table followed in the city's database."""
    async with _running(followed(dsn, SCHEMA, SLOT), folder, clock, twin, model) as service:
        yield service


@asynccontextmanager
async def _running(
    sources: Sources, folder: Path, clock: CityClock, twin: Twin, model: ModelChoice
) -> AsyncGenerator[Service]:
    settings = Settings(port=0, drain_timeout=1.0)
    async with AsyncExitStack() as stack:
        app = food_delivery(sources, await stack.enter_async_context(open_model(model)))
        # The batch side calls the model by itself: two apps, as it were, that know nothing of each other's load.
        models = await stack.enter_async_context(open_models(app, clock=clock))
        await greet(models["llm"], model, clock)
        copy = await stack.enter_async_context(open_endpoints(app, CopyReads(twin, clock), models, clock))
        live = await stack.enter_async_context(app.run(data=folder / "live", clock=clock))
        group = await stack.enter_async_context(asyncio.TaskGroup())
        listening, stop = bind(settings), asyncio.Event()
        edge = create_app(live.reads, live.engine, catalog(app), settings, clock=clock)
        group.create_task(serve(edge, settings, listening, stop, direct=edge.direct))
        stack.callback(stop.set)
        http = await stack.enter_async_context(Client())
        yield RunningApp(live, http, Origin.parse(address(listening)), copy)
