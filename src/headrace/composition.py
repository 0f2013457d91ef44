"""What the processes of a server are made of: an engine or a reader of one app file, and the catalog of its app."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random

from headrace.app import App, load_app
from headrace.core.clock import SystemClock
from headrace.declaration.endpoints import ROUTING
from headrace.runtime.desk import open_desk, open_models
from headrace.runtime.engine import Engine
from headrace.runtime.library import parameters
from headrace.runtime.reads import LocalReads
from headrace.server.catalog import Catalog, TableInfo, ViewInfo
from headrace.server.composition import Engine as EngineSide
from headrace.server.composition import Handlers
from headrace.server.composition import Reader as ReaderSide
from headrace.server.endpoints import Endpoints
from headrace.sources.push import Push


class AppComposition:
    """Builds the sides of an app from its file. Each process loads the file itself: nothing is ever pickled."""

    def load(self, app_file: str) -> App:
        """The declared app of a file."""
        return load_app(app_file)

    def data(self, app: App, data: str | None) -> Path:
        """The data folder: the given one, or `.headrace` where the process was started."""
        return Path(data) if data else Path(".headrace")

    @asynccontextmanager
    async def engine(self, app: App, data: str | None) -> AsyncGenerator[EngineSide]:
        """The writing side, running."""
        engine = Engine(app, data=self.data(app, data), clock=SystemClock())
        await engine.start()
        try:
            yield EngineSide(engine, engine)
        finally:
            await engine.stop()

    @asynccontextmanager
    async def reader(self, app: App, data: str | None) -> AsyncGenerator[ReaderSide]:
        """A reading side, open."""
        clock = SystemClock()
        reads = LocalReads(app, data=self.data(app, data), clock=clock)
        try:
            async with AsyncExitStack() as stack:
                handlers: list[Handlers] = []
                if app.endpoints:
                    models = await stack.enter_async_context(open_models(app, clock=clock))
                    desk = await stack.enter_async_context(open_desk(app, reads, models, clock=clock))
                    handlers.append(Endpoints(desk, clock=clock, random=Random()))  # ids, not secrets
                yield ReaderSide(reads, catalog(app), handlers)
        finally:
            reads.close()


composition = AppComposition()
"""What `headrace serve` and `headrace dev` run."""


def catalog(app: App) -> Catalog:
    """What an app offers to its clients."""
    return Catalog(
        app=app.name,
        views={
            view.name: ViewInfo(
                view.name, view.description, parameters(view.plan), view.plan.columns, tool=view.name != ROUTING
            )
            for view in app.views.values()
        },
        tables={
            table.name: TableInfo(
                name=table.name,
                kind=table.schema.kind,
                columns=table.schema.columns,
                key=table.schema.key,
                record=table.contract.record.model_json_schema(),
                push=isinstance(table.source, Push),
                description=table.contract.description,
            )
            for table in app.tables.values()
        },
    )
