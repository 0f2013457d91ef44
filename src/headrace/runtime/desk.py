"""From a declaration to its running endpoints."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from random import Random

from headrace.context.value import ContextValue
from headrace.core.clock import Clock
from headrace.core.errors import DeclarationError
from headrace.core.events import Recorder
from headrace.core.names import OWN, ROUTING, unknown
from headrace.declaration.declaration import Declaration
from headrace.http1 import Client
from headrace.models.declared import DeclaredModel
from headrace.models.periods import Budgets
from headrace.models.provider import Provider
from headrace.models.reply import Caller
from headrace.models.running import Models
from headrace.pipeline.counters import Counters
from headrace.pipeline.desk import Desk, Rows
from headrace.pipeline.endpoint import Endpoint
from headrace.pipeline.handling import Relax
from headrace.pipeline.ports import Reads
from headrace.pipeline.runner import Runner
from headrace.pipeline.running import Means
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
    instead: Mapping[str, Caller | Provider] | None = None,
) -> AsyncGenerator[Mapping[str, Caller]]:
    """The declared models of an app, running. Keys are found in the environment; `spending` has the budgets of keys,
    and gets those of the endpoints.

    `instead` has what stands in for declared models: a caller for all of one, or an upstream for all of its upstreams.

    Raises
    ------
    DeclarationError
        A model has no price, and an endpoint a budget.
    UnknownName
        One stands in for a model that is not declared.
    """
    declared, callers = _replaced(app, instead or {})
    if not declared:
        yield callers
        return
    check_budgets(app)
    budgets = Budgets() if spending is None else spending
    for endpoint in app.endpoints.values():
        if endpoint.budget:
            for account in (endpoint.account, endpoint.shadow_account):
                budgets.limit(account, endpoint.budget)
    client = Client()
    chosen = random or Random()  # spreads load; nothing secret hangs on it
    try:
        async with Models(
            declared,
            client=client,
            clock=clock,
            random=chosen,
            environment=os.environ,
            recorder=recorder,
            spending=budgets,
        ) as models:
            yield {**models, **callers} if callers else models
    finally:
        await client.aclose()


def check_budgets(app: Declaration) -> None:
    """Check that the budgets of endpoints can be held. A handler may call any model, so each must have a price.

    Raises
    ------
    DeclarationError
        A model has no price, and an endpoint a budget; with the line of the endpoint.
    """
    limited = next((endpoint for endpoint in app.endpoints.values() if endpoint.budget), None)
    unpriced = next((model for model in app.models.values() if not model.priced), None)
    if limited is not None and unpriced is not None:
        raise DeclarationError(
            f"the model {unpriced.name!r} has no price, so the budget of {limited.path} cannot be held",
            hint="give the model prices=, or leave budget= out",
            where=limited.where,
        )


def _replaced(
    app: Declaration, instead: Mapping[str, Caller | Provider]
) -> tuple[dict[str, DeclaredModel], dict[str, Caller]]:
    """The models that are to be opened, and those that need not be."""
    declared, callers = dict(app.models), dict[str, Caller]()
    for name, given in instead.items():
        if name not in declared:
            raise unknown("model", name, app.models)
        if isinstance(given, Provider):
            declared[name] = replace(declared[name], upstreams=(given,), fallback=None)
        else:
            del declared[name]
            callers[name] = given
    return declared, callers


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
    relax = check(app)
    means = Means(reads, callers, frozenset(app.views), frozenset(app.tables), clock)
    counters = Counters()
    runners = {
        path: Runner(
            endpoint,
            means,
            labels=labels(app, endpoint),
            recorder=recorder,
            counters=counters,
            relax=relax[path],
        )
        for path, endpoint in app.endpoints.items()
    }

    async def rows() -> Rows:
        found: ContextValue = await reads.read(ROUTING, {})
        return found.rows

    async with Desk(runners, counters, clock=clock, rows=rows, recorder=recorder) as desk:
        yield desk


def check(app: Declaration) -> dict[str, Relax | None]:
    """Check what endpoints name, now that all is declared; what their tolerances take away, by path.

    Raises
    ------
    DeclarationError
        A fallback or a tolerance names what is not there; with the line of the endpoint.
    """
    if not app.endpoints:
        return {}
    readable = shapes(build_library(app), {name: table.schema for name, table in app.tables.items()})
    for endpoint in app.endpoints.values():
        endpoint.settle(app.models)
    return {path: _relax(endpoint, readable) for path, endpoint in app.endpoints.items()}


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
    views = [view.plan for name, view in app.views.items() if name not in OWN]
    rollups = [declared.rollup for declared in app.rollups.values()]
    contracts = [table.contract for name, table in app.tables.items() if name not in OWN]
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
