"""What the processes of a server are made of: an engine or a reader of one app file, and the catalog of its app."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random

from headrace.app import App, load_app
from headrace.core.clock import SystemClock
from headrace.core.errors import DeclarationError
from headrace.http1.client import Client
from headrace.models.running import Models
from headrace.runtime.engine import Engine
from headrace.runtime.library import parameters
from headrace.runtime.reads import LocalReads
from headrace.server.catalog import Catalog, TableInfo, ViewInfo
from headrace.server.composition import Engine as EngineSide
from headrace.server.composition import Handlers
from headrace.server.composition import Reader as ReaderSide
from headrace.server.gateway import Gateway, Offer
from headrace.server.gateway.accounts import Accounts
from headrace.server.gateway.tally import Tally
from headrace.server.settings import Settings
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
    async def reader(self, app: App, data: str | None, settings: Settings) -> AsyncGenerator[ReaderSide]:
        """A reading side, open; with the gateway, where the app has models."""
        alone(app, settings)
        async with AsyncExitStack() as stack:
            reads = LocalReads(app, data=self.data(app, data), clock=SystemClock())
            stack.callback(reads.close)
            handlers: list[Handlers] = []
            if app.models:
                handlers.append(await stack.enter_async_context(gateway(app, reads, self.data(app, data), settings)))
            yield ReaderSide(reads, catalog(app), handlers)


composition = AppComposition()
"""What `headrace serve` and `headrace dev` run."""


def alone(app: App, settings: Settings) -> None:
    """Refuse several workers for an app with models.

    Raises
    ------
    DeclarationError
        There are models, and more than one worker.
    """
    if app.models and settings.workers > 1:
        name = next(iter(app.models))
        raise DeclarationError(
            f"an app with models (here {name!r}) is served by one worker, not by {settings.workers}",
            hint="leave --workers at 1: limits, budgets and what is learnt of upstreams live in one process, and "
            "several would each allow all of it",
            where=app.models[name].where,
        )


@asynccontextmanager
async def gateway(app: App, reads: LocalReads, folder: Path, settings: Settings) -> AsyncGenerator[Gateway]:
    """The models of an app, running, and the gateway before them."""
    clock, random = SystemClock(), Random()
    tally = Tally(app.models)
    with Accounts(folder, None if settings.keys is None else Path(settings.keys)) as accounts:
        client = Client()
        try:
            async with Models(
                app.models,
                client=client,
                clock=clock,
                random=random,
                environment=os.environ,
                recorder=tally,
                spending=accounts.budgets,
            ) as models:
                yield Gateway(
                    [Offer.of(declared, models[name]) for name, declared in app.models.items()],
                    reads,
                    keyring=accounts.keyring,
                    budgets=accounts.budgets,
                    ledger=accounts.ledger,
                    api_keys=settings.api_keys,
                    clock=clock,
                    random=random,
                    tally=tally,
                    max_reads=settings.max_reads,
                    max_wait=settings.max_wait,
                )
        finally:
            await client.aclose()


def catalog(app: App) -> Catalog:
    """What an app offers to its clients."""
    return Catalog(
        app=app.name,
        views={
            view.name: ViewInfo(view.name, view.description, parameters(view.plan), view.plan.columns)
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
