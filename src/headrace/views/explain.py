"""What `headrace explain` prints: per table, rollup and view its class, its inputs, why, and the indexes of its plan.

SQLite is asked on an empty copy of the declared tables. A full scan of a base table is a *lack* when the view compares
a column of it, and the exact index to declare is named.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import apsw

from headrace.core.durations import format_duration
from headrace.core.schema import Schema, TableKind
from headrace.views.catalog import Catalog, Relation, RelationKind
from headrace.views.definitions import quoted
from headrace.views.tiles import RollupMaintainer
from headrace.views.view import ViewPlan

_SCAN = re.compile(r"SCAN (?P<alias>\S+)(?: USING (?:COVERING )?INDEX (?P<index>\S+))?$")
_SEARCH = re.compile(r"SEARCH (?P<alias>\S+) USING (?:COVERING )?(?P<how>INDEX \S+|PRIMARY KEY|INTEGER PRIMARY KEY)")


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is known of one name.

    Attributes
    ----------
    kind
        "table", "events", "tiles" (a rollup), "read-time", "affected-group" or "refreshed".
    uses
        Indexes that the plan searches: "items by items__by_shop", "items by its key".
    lacks
        Full scans that an index would avoid, each with the index to declare: 'items: index=["shop"]'.
    scans
        Tables that are read in full with no index that would help.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    why: str
    uses: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    scans: tuple[str, ...] = ()


def explain(catalog: Catalog) -> list[Explanation]:
    """One explanation a name, in order of declaration."""
    db = _empty_copy(catalog)
    try:
        return [_explain(relation, db) for relation in catalog.relations]
    finally:
        db.close()


def _explain(relation: Relation, db: apsw.Connection) -> Explanation:
    if relation.view is not None:
        return _explain_view(relation.view, db)
    if relation.rollup is not None:
        widths = ", ".join(
            f"{'/'.join(window.name for window in level.windows)} by tiles of {format_duration(level.width)}"
            for level in relation.rollup.levels
        )
        return Explanation(relation.name, "tiles", (relation.rollup.events.name,), widths)
    schema = relation.schema
    keyed = f"keyed by {', '.join(schema.key)}" if schema is not None and schema.key else "no key"
    if relation.kind is RelationKind.EVENTS and schema is not None:
        kept = f"kept for {format_duration(schema.keep)}" if schema.keep else "not kept: it only feeds rollups"
        return Explanation(relation.name, "events", (), f"by {schema.event_time}, {kept}")
    indexes = tuple(f"{relation.name} by {', '.join(index)}" for index in schema.indexes) if schema is not None else ()
    return Explanation(relation.name, "table", (), keyed, uses=indexes)


def _explain_view(view: ViewPlan, db: apsw.Connection) -> Explanation:
    if view.maintainer is not None:
        view.maintainer.setup(db)
    if view.refresher is not None:
        view.refresher.setup(db)
    uses: dict[str, None] = {}
    lacks: dict[str, None] = {}
    scans: dict[str, None] = {}
    for statement in _statements(view):
        for line in _plan(db, statement):
            _read_line(line, view, uses, lacks, scans)
    return Explanation(
        view.name, view.kind.value, view.inputs, view.why, tuple(uses), tuple(lacks), tuple(s for s in scans if s)
    )


def _statements(view: ViewPlan) -> Iterable[str]:
    if view.maintainer is not None:
        # what a change costs: finding its groups, and computing them again
        yield view.maintainer.one()
        yield from (probe.query for probe in view.maintainer.probes)
    elif view.refresher is not None:
        yield view.refresher.query
    else:
        yield view.statement


def _plan(db: apsw.Connection, statement: str) -> list[str]:
    names = set(re.findall(r":(\w+)", statement))
    marks = statement.count("?")
    bindings = (None,) * marks if marks else dict.fromkeys(names)
    return [str(row[3]) for row in db.execute(f"EXPLAIN QUERY PLAN {statement}", bindings)]


def _read_line(
    line: str, view: ViewPlan, uses: dict[str, None], lacks: dict[str, None], scans: dict[str, None]
) -> None:
    if (found := _SEARCH.match(line)) is not None:
        table = view.aliases.get(found["alias"])
        if table is not None:
            how = found["how"].removeprefix("INDEX ")
            uses[f"{table} by {'its key' if 'PRIMARY KEY' in how else how}"] = None
        return
    found = _SCAN.match(line)
    table = None if found is None else view.aliases.get(found["alias"])
    if found is None or table is None:
        return
    columns = _helpful(view, found["alias"])
    if columns:
        listed = ", ".join(f'"{column}"' for column in columns)
        lacks[f"{table}: index=[{listed if len(columns) == 1 else f'({listed})'}]"] = None
    else:
        scans[table] = None


def _helpful(view: ViewPlan, alias: str) -> list[str]:
    """Columns that an index should lead with: those compared by equality, then one that is compared by range."""
    equal = [column for name, column, same in view.compared if name == alias and same]
    if view.maintainer is not None:
        grouped = [key.sql for key in view.maintainer.keys]
        prefix = f"{quoted(alias)}."
        equal = [
            sql.removeprefix(prefix).strip('"') for sql in grouped if re.fullmatch(f'{re.escape(prefix)}"[^"]+"', sql)
        ]
        equal = equal or [column for name, column, same in view.compared if name == alias and same]
    ranged = [column for name, column, same in view.compared if name == alias and not same and column not in equal]
    return [*dict.fromkeys(equal), *ranged[:1]]


def _empty_copy(catalog: Catalog) -> apsw.Connection:
    db = apsw.Connection(":memory:")
    for relation in catalog.relations:
        if relation.schema is not None:
            _create(db, relation.schema)
        if relation.rollup is not None:
            RollupMaintainer(relation.rollup).setup(db)
    return db


def _create(db: apsw.Connection, schema: Schema) -> None:
    columns = ", ".join(f"{quoted(column.name)} {column.type.storage}" for column in schema.columns)
    hidden = "_source_ts INTEGER NOT NULL, _txn INTEGER NOT NULL"
    indexes = list(schema.indexes)
    if schema.kind is TableKind.EVENTS:
        db.execute(f"CREATE TABLE {quoted(schema.name)}(_seq INTEGER PRIMARY KEY, {columns}, {hidden})")
        indexes += [(schema.event_time,)] if schema.event_time else []
        indexes += [schema.key] if schema.key else []
    else:
        key = ", ".join(map(quoted, schema.key))
        db.execute(
            f"CREATE TABLE {quoted(schema.name)}({columns}, _version INTEGER NOT NULL, {hidden}, PRIMARY KEY({key}))"
            " WITHOUT ROWID"
        )
    for index in dict.fromkeys(indexes):
        name = quoted(f"{schema.name}__by_{'_'.join(index)}")
        db.execute(f"CREATE INDEX {name} ON {quoted(schema.name)}({', '.join(map(quoted, index))})")
