"""What the processes of a server are made of: an engine or a reader of one app file, and the catalog of its app."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random

from headrace.app import App, load_app
from headrace.core.clock import SystemClock
from headrace.core.errors import DeclarationError
from headrace.core.events import Recorders
from headrace.core.names import OWN
from headrace.models.local.provider import LocalCarrier
from headrace.models.reply import Caller
from headrace.models.running import Models
from headrace.runtime.desk import open_desk, open_models
from headrace.runtime.engine import Engine
from headrace.runtime.library import parameters
from headrace.runtime.reads import LocalReads
from headrace.server.catalog import Catalog, TableInfo, ViewInfo
from headrace.server.composition import Engine as EngineSide
from headrace.server.composition import Handlers
from headrace.server.composition import Reader as ReaderSide
from headrace.server.endpoints import Endpoints
from headrace.server.eventlog import EventLog
from headrace.server.gateway import Gateway, Offer
from headrace.server.gateway.accounts import Accounts
from headrace.server.gateway.tally import Tally
from headrace.server.settings import Settings
from headrace.server.workers import Workers
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
        """A reading side, open; with the gateway where the app has models, and with its endpoints."""
        alone(app, settings)
        async with AsyncExitStack() as stack:
            folder = self.data(app, data)
            reads = LocalReads(app, data=folder, clock=SystemClock())
            stack.callback(reads.close)
            handlers = await stack.enter_async_context(carried(app, reads, folder, settings))
            yield ReaderSide(reads, catalog(app), handlers)


composition = AppComposition()
"""What `headrace serve` and `headrace dev` run."""


def alone(app: App, settings: Settings) -> None:
    """Refuse several workers for an app with models or endpoints.

    Raises
    ------
    DeclarationError
        There are some, and more than one worker.
    """
    declared = [*app.models.values(), *app.endpoints.values()]
    if declared and settings.workers > 1:
        what = f"models (here {next(iter(app.models))!r})" if app.models else f"endpoints ({next(iter(app.endpoints))})"
        raise DeclarationError(
            f"an app with {what} is served by one worker, not by {settings.workers}",
            hint="leave --workers at 1: limits, budgets and what is learnt of upstreams live in one process, and "
            "several would each allow all of it",
            where=declared[0].where,
        )


@asynccontextmanager
async def carried(app: App, reads: LocalReads, folder: Path, settings: Settings) -> AsyncGenerator[list[Handlers]]:
    """What carries requests to models: the gateway and the endpoints of an app, over one set of running models."""
    clock, random = SystemClock(), Random()  # spreads load and numbers requests; no secret hangs on it
    tally = Tally(app.models)
    handlers: list[Handlers] = []
    models: Mapping[str, Caller] = {}
    log = [EventLog()] if EventLog.wanted() else []
    async with AsyncExitStack() as stack:
        if app.models:
            accounts = stack.enter_context(Accounts(folder, None if settings.keys is None else Path(settings.keys)))
            models = await stack.enter_async_context(
                open_models(
                    app,
                    clock=clock,
                    recorder=Recorders(tally, *log) if log else tally,
                    random=random,
                    spending=accounts.budgets,
                )
            )
            gateway = Gateway(
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
                taken=app.endpoints,
                views=[name for name in app.views if name not in OWN],
            )
            handlers.append(gateway)
        if app.endpoints:
            desk = await stack.enter_async_context(open_desk(app, reads, models, clock=clock, recorder=Recorders(*log)))
            handlers.append(Endpoints(desk, clock=clock, random=random))
        pools = [
            (",".join(name for name, model in app.models.items() if provider in model.upstreams), carrier.pool)
            for provider, carrier in (models.carriers.items() if isinstance(models, Models) else ())
            if isinstance(carrier, LocalCarrier)
        ]
        if pools:
            handlers.append(Workers(pools))
        yield handlers


def catalog(app: App) -> Catalog:
    """What an app offers to its clients."""
    return Catalog(
        app=app.name,
        views={
            view.name: ViewInfo(
                view.name, view.description, parameters(view.plan), view.plan.columns, tool=view.name not in OWN
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
        endpoints=tuple(app.endpoints),
        models=tuple(app.models),
    )
