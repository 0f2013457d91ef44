"""From a declaration to what can be read."""

from __future__ import annotations

from collections.abc import Hashable

from headrace.context.assess import Promise, strictest
from headrace.context.policy import FLAG, FreshnessPolicy
from headrace.context.reader import Library, Readable, table_readable
from headrace.core.schema import Column, TableKind
from headrace.declaration.declaration import Declaration
from headrace.declaration.declared import Table, View
from headrace.sources.push import Push
from headrace.store.base import Maintainer
from headrace.views.tiles import RollupMaintainer
from headrace.views.view import ViewClass, ViewPlan


def build_library(app: Declaration) -> Library:
    """All views and keyed tables of an app, with their promises and policies."""
    return Library(
        views={view.name: _view_readable(app, view) for view in app.views.values()},
        tables={
            table.name: table_readable(table.schema, table.promise)
            for table in app.tables.values()
            if table.schema.kind is TableKind.TABLE
        },
        promises={table.name: table.promise for table in app.tables.values()},
    )


def _view_readable(app: Declaration, view: View) -> Readable:
    plan = view.plan
    own = [view.name] if plan.kind is ViewClass.REFRESHED else []
    tables = all_tables(app, view.name)
    return Readable(
        name=view.name,
        statement=plan.statement,
        columns=plan.columns,
        parameters=parameters(plan),
        tables=tables,
        refreshed=tuple(dict.fromkeys([*plan.refreshed, *own])),
        needs_now=plan.needs_now,
        promise=view.freshness,
        policy=view.policy or strictest([_policy(app.tables[t].promise) for t in tables]),
        plan=plan,
    )


def parameters(plan: ViewPlan) -> tuple[Column, ...]:
    """The parameters of a view as columns; a nullable one may be left out."""
    return tuple(Column(p.name, p.type, p.nullable) for p in plan.params)


def all_tables(app: Declaration, name: str) -> tuple[str, ...]:
    """The tables and streams that `name` (a table, rollup or view) stands on, those under refreshed views included."""
    if name in app.tables:
        return (name,)
    if name in app.rollups:
        return (app.rollups[name].rollup.events.name,)
    found = (table for inner in app.views[name].plan.inputs for table in all_tables(app, inner))
    return tuple(dict.fromkeys(found))


def _policy(promise: Promise) -> FreshnessPolicy:
    return promise.policy or FLAG


def streams_of(app: Declaration) -> list[list[Table]]:
    """The tables that a source feeds, those of one stream together, in order of declaration; pushed ones left out."""
    streams: dict[Hashable, list[Table]] = {}
    for table in app.tables.values():
        if not isinstance(table.source, Push):
            stream = table.source.stream
            streams.setdefault((table.name,) if stream is None else (table.source.kind, stream), []).append(table)
    return list(streams.values())


def refreshed_views(app: Declaration) -> list[str]:
    """The names of the refreshed views, in order of declaration."""
    return [view.name for view in app.views.values() if view.plan.kind is ViewClass.REFRESHED]


def maintainers(app: Declaration) -> list[Maintainer]:
    """Everything that is kept in step inside the store's transaction: rollups, then views by affected groups."""
    rollups = [RollupMaintainer(declared.rollup) for declared in app.rollups.values()]
    groups = [view.plan.maintainer for view in app.views.values() if view.plan.maintainer is not None]
    return [*rollups, *groups]
