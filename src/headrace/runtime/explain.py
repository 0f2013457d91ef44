"""What `headrace explain` tells: how each thing is computed, from what, by which indexes, and which it lacks.

The answer is SQLite's own: the app's tables are made in an empty store, and the plan of each view is asked for there.
Missing indexes are found by trying: whichever one-column index the planner would take in place of a scan is told.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw

from headrace.core.clock import Clock
from headrace.core.durations import format_duration
from headrace.core.schema import Schema, TableKind
from headrace.declaration.declaration import Declaration
from headrace.declaration.declared import DeclaredRollup, Table, View
from headrace.runtime.library import all_tables, maintainers
from headrace.store.schema import is_stored, names, quote
from headrace.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from apsw.ext import QueryPlan

_PROBE = "_hr_probe"


@dataclass(frozen=True, slots=True)
class Explanation:
    """One table, stream of events, rollup or view.

    Attributes
    ----------
    kind
        "table", "events", "rollup" or "view".
    computed
        How it comes about: its source, or its class.
    inputs
        What it stands on, by name.
    facts
        Further lines for people, by label.
    plan
        How SQLite reaches the rows of a read, one step a line.
    lacks
        What would make reads cheaper, as sentences that say what to declare.
    where
        `file:line` of the declaration.
    """

    name: str
    kind: str
    computed: str
    inputs: tuple[str, ...]
    facts: Mapping[str, str]
    plan: tuple[str, ...]
    lacks: tuple[str, ...]
    where: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "name": self.name,
            "kind": self.kind,
            "computed": self.computed,
            "inputs": list(self.inputs),
            **self.facts,
            "plan": list(self.plan),
            "lacks": list(self.lacks),
            "where": self.where,
        }


def explain(app: Declaration, *, clock: Clock) -> list[Explanation]:
    """Everything that the app declares, in order of declaration within each kind."""
    with tempfile.TemporaryDirectory(prefix="headrace-explain-") as folder:
        schemas = [table.schema for table in app.tables.values()]
        store = SqliteStore.open(Path(folder) / "live.db", schemas, maintainers(app), clock=clock)
        try:
            return [
                *(_table(table) for table in app.tables.values()),
                *(_rollup(rollup) for rollup in app.rollups.values()),
                *_views(app, store.db),
            ]
        finally:
            store.close()


def _table(table: Table) -> Explanation:
    schema = table.schema
    facts = {"columns": ", ".join(f"{column.name} {column.type.value}" for column in schema.columns)}
    facts |= {"key": ", ".join(schema.key)} if schema.key else {}
    if schema.indexes:
        facts["indexes"] = "; ".join(", ".join(columns) for columns in schema.indexes)
    if schema.kind is TableKind.EVENTS:
        facts["event time"] = schema.event_time or ""
        facts["kept"] = "not at all: it only feeds rollups" if schema.keep is None else format_duration(schema.keep)
    if table.promise.freshness is not None:
        facts["promise"] = format_duration(table.promise.freshness)
    if table.promise.policy is not None:
        facts["policy"] = str(table.promise.policy)
    return Explanation(
        schema.name, schema.kind.value, f"from its source: {table.source.describe()}", (), facts, (), (), table.where
    )


def _rollup(declared: DeclaredRollup) -> Explanation:
    rollup = declared.rollup
    widths = ", ".join(format_duration(level.width) for level in rollup.levels)
    facts = {
        "by": ", ".join(rollup.by),
        "columns": ", ".join(column.name for column in rollup.columns if column.name not in rollup.by),
    }
    return Explanation(
        rollup.name, "rollup", f"tiles of {widths}", (rollup.events.name,), facts, (), (), declared.where
    )


def _views(app: Declaration, db: apsw.Connection) -> Iterator[Explanation]:
    for view in app.views.values():
        statement = view.plan.statement
        tables = [app.tables[name].schema for name in all_tables(app, view.name)]
        yield Explanation(
            view.name,
            "view",
            _computed(view),
            tuple(view.plan.inputs),
            _promises(app, view),
            tuple(_steps(db, statement)),
            tuple(_lacking(db, statement, [schema for schema in tables if is_stored(schema)])),
            view.where,
        )


def _computed(view: View) -> str:
    refresher = view.plan.refresher
    every = "" if refresher is None else f", every {format_duration(refresher.every)}"
    return f"{view.plan.kind.value}{every}"


def _promises(app: Declaration, view: View) -> dict[str, str]:
    facts = {"why": view.plan.why}
    facts["parameters"] = ", ".join(f"{one.name} {one.type.value}" for one in view.plan.params) or "none"
    promises = [app.tables[name].promise.freshness for name in all_tables(app, view.name)]
    known = [promise for promise in promises if promise is not None]
    promise = view.freshness if view.freshness is not None else min(known, default=None)
    if promise is not None:
        facts["promise"] = format_duration(promise)
    return facts if view.policy is None else facts | {"policy": str(view.policy)}


def _steps(db: apsw.Connection, statement: str) -> Iterator[str]:
    """The steps of a plan, indented by their depth, without the root."""
    import apsw.ext

    def walk(step: QueryPlan, depth: int) -> Iterator[str]:
        yield "  " * depth + step.detail
        for below in step.sub or ():
            yield from walk(below, depth + 1)

    root = apsw.ext.query_info(db, statement, explain_query_plan=True).query_plan
    for step in (root.sub or ()) if root is not None else ():
        yield from walk(step, 0)


def _lacking(db: apsw.Connection, statement: str, tables: list[Schema]) -> Iterator[str]:
    """Indexes that the planner would search in, if they were there, where it now scans or builds one for each read."""
    if not any("SCAN" in step or "AUTOMATIC" in step for step in _steps(db, statement)):
        return
    for schema in tables:
        for column in schema.names:
            if _would_use(db, statement, schema.name, column):
                yield f"each read looks through {schema.name}: declare index=[{column!r}] on it"


def _would_use(db: apsw.Connection, statement: str, table: str, column: str) -> bool:
    db.execute(f"CREATE INDEX {quote(_PROBE)} ON {quote(table)} ({names([column])})")
    try:
        return any("SEARCH" in step and f"INDEX {_PROBE} " in step for step in _steps(db, statement))
    finally:
        db.execute(f"DROP INDEX {quote(_PROBE)}")
