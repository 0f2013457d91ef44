"""From a declaration to what can be read."""

from __future__ import annotations

from headrace.views.plan import ViewClass

from headrace.context.assess import Promise, strictest
from headrace.context.policy import FLAG, FreshnessPolicy
from headrace.context.reader import Library, Readable, table_readable
from headrace.core.schema import TableKind
from headrace.declaration.declaration import Declaration
from headrace.declaration.declared import View
from headrace.store.base import Maintainer


def build_library(app: Declaration) -> Library:
    """All views and keyed tables of an app, with their promises and policies."""
    views: dict[str, Readable] = {}
    for view in app.views.values():
        views[view.name] = _view_readable(app, view, views)
    return Library(
        views=views,
        tables={
            table.name: table_readable(table.schema, table.promise)
            for table in app.tables.values()
            if table.schema.kind is TableKind.TABLE
        },
        promises={table.name: table.promise for table in app.tables.values()},
    )


def base_tables(app: Declaration, name: str) -> tuple[str, ...]:
    """The tables that `name` (a table, rollup or view) stands on, in order of first mention."""
    if name in app.tables:
        return (name,)
    if name in app.rollups:
        return (app.rollups[name].rollup.events.name,)
    found = (table for inner in app.views[name].plan.inputs for table in base_tables(app, inner))
    return tuple(dict.fromkeys(found))


def _view_readable(app: Declaration, view: View, earlier: dict[str, Readable]) -> Readable:
    plan = view.plan
    tables = base_tables(app, view.name)
    below = [name for inner in plan.inputs if inner in earlier for name in earlier[inner].refreshed]
    own = [view.name] if plan.kind is ViewClass.REFRESHED else []
    return Readable(
        name=view.name,
        statement=plan.statement,
        columns=plan.columns,
        parameters=plan.parameters,
        tables=tables,
        refreshed=tuple(dict.fromkeys([*below, *own])),
        needs_now=plan.needs_now,
        promise=view.freshness,
        policy=view.policy or strictest([_policy(app.tables[t].promise) for t in tables]),
        plan=plan,
    )


def _policy(promise: Promise) -> FreshnessPolicy:
    return promise.policy or FLAG


def refreshed_views(app: Declaration) -> list[str]:
    """The names of the refreshed views, in order of declaration."""
    return [view.name for view in app.views.values() if view.plan.kind is ViewClass.REFRESHED]


def maintainers(app: Declaration) -> list[Maintainer]:
    """Everything that is kept in step inside the store's transaction: rollups, then views by affected groups."""
    rollups = [declared.rollup.maintainer() for declared in app.rollups.values()]
    groups = [view.plan.maintainer for view in app.views.values() if view.plan.maintainer is not None]
    return [*rollups, *groups]
