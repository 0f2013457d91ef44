"""From a declaration to its running endpoints."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from random import Random

from headrace.context.value import ContextValue
from headrace.core.clock import Clock
from headrace.core.errors import DeclarationError
from headrace.core.events import Recorder
from headrace.declaration.declaration import Declaration
from headrace.declaration.endpoints import ROUTING
from headrace.http1 import Client
from headrace.models.periods import Budgets
from headrace.models.reply import Caller
from headrace.models.running import Models
from headrace.pipeline.counters import Counters
from headrace.pipeline.desk import Desk, Rows
from headrace.pipeline.endpoint import Endpoint
from headrace.pipeline.handling import Relax
from headrace.pipeline.ports import Reads
from headrace.pipeline.runner import Runner
from headrace.pipeline.running import Means
from headrace.pipeline.split import TABLE
from headrace.pipeline.tolerance import Shape, Tolerances, shapes
from headrace.pipeline.version import Version, fingerprint
from headrace.runtime.library import build_library


@asynccontextmanager
async def open_models(
    app: Declaration,
    *,
    clock: Clock,
    recorder: Recorder | None = None,
    random: Random | None = None,
    spending: Budgets | None = None,
) -> AsyncGenerator[Mapping[str, Caller]]:
    """The declared models of an app, running. Keys are found in the environment; `spending` has the budgets of keys,
    and gets those of the endpoints.

    Raises
    ------
    DeclarationError
        A model has no price, and an endpoint a budget.
    """
    if not app.models:
        yield {}
        return
    budgets = Budgets() if spending is None else spending
    _limit(app, budgets)
    client = Client()
    chosen = random or Random()  # spreads load; nothing secret hangs on it
    try:
        async with Models(
            app.models,
            client=client,
            clock=clock,
            random=chosen,
            environment=os.environ,
            recorder=recorder,
            spending=budgets,
        ) as models:
            yield models
    finally:
        await client.aclose()


def _limit(app: Declaration, budgets: Budgets) -> None:
    """Set the budgets of the endpoints. A handler may call any model, so each must have a price."""
    for endpoint in app.endpoints.values():
        if not endpoint.budget:
            continue
        for model in app.models.values():
            if not model.priced:
                raise DeclarationError(
                    f"the model {model.name!r} has no price, so the budget of {endpoint.path} cannot be held",
                    hint="give the model prices=, or leave budget= out",
                    where=endpoint.where,
                )
        budgets.limit(endpoint.account, endpoint.budget)


@asynccontextmanager
async def open_desk(
    app: Declaration,
    reads: Reads,
    callers: Mapping[str, Caller],
    *,
    clock: Clock,
    recorder: Recorder | None = None,
) -> AsyncGenerator[Desk]:
    """The endpoints of an app, running."""
    means = Means(reads, callers, frozenset(app.views), frozenset(app.tables), clock)
    counters = Counters()
    readable = shapes(build_library(app), {name: table.schema for name, table in app.tables.items()})
    runners = {
        path: Runner(
            endpoint,
            means,
            labels=labels(app, endpoint),
            recorder=recorder,
            counters=counters,
            relax=_relax(endpoint, readable),
        )
        for path, endpoint in app.endpoints.items()
    }

    async def rows() -> Rows:
        found: ContextValue = await reads.read(ROUTING, {})
        return found.rows

    async with Desk(runners, counters, clock=clock, rows=rows, recorder=recorder) as desk:
        yield desk


def _relax(endpoint: Endpoint, readable: Mapping[str, Shape]) -> Relax | None:
    if not endpoint.tolerances:
        return None
    try:
        return Tolerances(endpoint.tolerances, readable).relax
    except DeclarationError as error:
        error.where = error.where or endpoint.where
        raise


def labels(app: Declaration, endpoint: Endpoint) -> dict[str, str]:
    """What answers say of each version: its name and the hash of its content."""
    return {name: str(version) for name, version in versions(app, endpoint).items()}


def versions(app: Declaration, endpoint: Endpoint) -> dict[str, Version]:
    """The versions of an endpoint as the app is declared now: code, prompts, views, contracts and models."""
    views = [view.plan for name, view in app.views.items() if name != ROUTING]
    rollups = [declared.rollup for declared in app.rollups.values()]
    contracts = [table.contract for name, table in app.tables.items() if name != TABLE]
    return {
        name: fingerprint(
            handler.function,
            name=name,
            prompts=handler.prompts,
            views=[*views, *rollups],
            contracts=contracts,
            models=app.models,
        )
        for name, handler in endpoint.versions.items()
    }
