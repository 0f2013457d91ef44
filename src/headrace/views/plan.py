"""From the SQL of a view to what is run: its class, its SQLite statement, and what keeps it up to date.

| class          | when                                                                     | as-of              |
|----------------|--------------------------------------------------------------------------|--------------------|
| read-time      | no aggregate, or an aggregate that parameters reach into                 | of the inputs      |
| affected-group | GROUP BY over tables alone, so that a changed row tells its groups       | of the inputs      |
| refreshed      | all else: global aggregates, top-N over all, groups of events or rollups | of the last refresh |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sqlglot import exp

from headrace.core.durations import Duration, parse_duration
from headrace.core.errors import SqlError
from headrace.core.schema import Column, ColumnType, TableKind
from headrace.views.catalog import Catalog, Relation
from headrace.views.definitions import digest, quoted
from headrace.views.groups import AffectedGroups, GroupColumn
from headrace.views.query import Block, Compound, Query
from headrace.views.refresh import Refresher
from headrace.views.select import Selects
from headrace.views.statement import Statement
from headrace.views.subset import SqlText, parse
from headrace.views.types import Parameters
from headrace.views.view import ViewClass, ViewPlan

DEFAULT_REFRESH = "1s"


def plan(
    name: str,
    sql: str,
    catalog: Catalog,
    *,
    refresh: Duration | None = None,
    params: Mapping[str, ColumnType] | None = None,
) -> ViewPlan:
    """Compile and classify a view.

    Parameters
    ----------
    refresh
        Compute it in full every so often, whatever its class would be; it must not have parameters then.
    params
        Types of parameters that are not to be inferred.

    Raises
    ------
    SqlError
        When the SQL is outside the subset or names what is not there.
    """
    text = SqlText(name, sql)
    node = parse(text)
    statement = Statement(text, catalog, Parameters(dict(params or {})))
    selects = Selects(statement)
    query = selects.compile(node)
    query = selects.compile(node)  # once more: now the types of all parameters are known
    _check_parameters(statement, params or {})
    return _Planner(name, text, catalog, statement, selects, node, query).plan(refresh)


def _check_parameters(statement: Statement, declared: Mapping[str, ColumnType]) -> None:
    parameters, text = statement.parameters, statement.text
    unused = [name for name in declared if name not in parameters.types]
    if unused:
        hint = f"write :{unused[0]} in the SQL, or do not declare it"
        raise text.error_at(None, f"the parameter {unused[0]!r} is declared, but the SQL does not use it", hint)
    unknown = parameters.unknown()
    if unknown:
        at = text.sql.find(f":{unknown[0]}")
        hint = f"compare it with a column, or write CAST(:{unknown[0]} AS TEXT)"
        raise text.error_at(at, f"nothing tells the type of the parameter :{unknown[0]}", hint)


class _Planner:
    """Decides the class of one compiled query and builds what it needs."""

    def __init__(
        self,
        name: str,
        text: SqlText,
        catalog: Catalog,
        statement: Statement,
        selects: Selects,
        node: exp.Query,
        query: Query,
    ) -> None:
        self.name = name
        self.text = text
        self.catalog = catalog
        self.statement = statement
        self.selects = selects
        self.node = node
        self.query = query
        self.params = statement.parameters.listed()
        self.columns = tuple(
            Column(output, selects.output_type(value, node), value.nullable) for output, value in query.outputs.items()
        )
        self.relations = [r for n in statement.relations if (r := catalog.find(n)) is not None]

    def plan(self, refresh: Duration | None) -> ViewPlan:
        if refresh is not None:
            if self.params:
                hint = "leave refresh out, or take the parameters out of the SQL"
                message = f"it is refreshed every {refresh}, but has the parameter :{self.params[0].name}"
                raise self.text.error_at(None, message, hint)
            return self._refreshed(parse_duration(refresh), "refresh was declared")
        top = self._top_n()
        if not self._aggregates():
            return self._refreshed(None, top) if top else self._read_time("no aggregate: computed when it is read")
        obstacle = self._obstacle()
        if not obstacle:
            split = self._split()
            if split is not None:
                return self._affected(*split)
            return self._read_time("a parameter reaches into the groups: computed when it is read")
        if self.params:
            return self._read_time(f"{obstacle}, and it has parameters: computed when it is read")
        return self._refreshed(None, obstacle)

    # -- deciding

    def _blocks(self) -> tuple[Block, ...]:
        return self.query.blocks if isinstance(self.query, Compound) else (self.query,)

    def _aggregates(self) -> bool:
        if any(block.group is not None for block in self._blocks()):
            return True
        queries = [cte.this for cte in self.node.find_all(exp.CTE)]
        queries += [s.this for s in self.node.find_all(exp.Subquery) if isinstance(s.parent, exp.From | exp.Join)]
        return any(
            isinstance(part, exp.AggFunc | exp.Group | exp.Distinct) for query in queries for part in query.walk()
        )

    def _obstacle(self) -> str:
        """Why the groups cannot be kept piece by piece; "" when they can."""
        block = self.query
        if isinstance(block, Compound):
            return "a UNION ALL of groups is not kept piece by piece"
        if block.group is None or any(source.schema is None for source in block.tables):
            other = next((r for r in self.relations if r.schema is None), None)
            return f"it groups rows of the {other.kind} {other.name}" if other else "it groups rows of a subquery"
        if not block.group:
            return "all rows are one group"
        events = [s.schema.name for s in block.tables if s.schema is not None and s.schema.kind is TableKind.EVENTS]
        if events:
            return (
                f"it groups the events {events[0]}, which leave by age and not by a change (a rollup is kept by tiles)"
            )
        if any(True for _ in self.node.find_all(exp.Subquery, exp.Exists)):
            return "a change inside its subquery does not tell which groups it moves"
        return "its groups depend on the time" if self.statement.needs_now else _outer_obstacle(block)

    def _split(self) -> tuple[Block, list[str], list[GroupColumn]] | None:
        """What is materialised, and the conditions that are applied to it at read; None: parameters reach deeper."""
        block = self.query
        if not isinstance(block, Block) or block.group is None:
            return None
        inside = [c for c in block.where if not c.parametric]
        keys = self._keys(block)
        scope = block.scope.grouped({key.sql: quoted(key.name) for key in keys})
        filters: list[str] = []
        for conjunct in block.where:
            if conjunct.parametric:
                try:
                    filters.append(self.selects.expressions.condition(conjunct.node, scope).sql)
                except SqlError:  # it names a column that is not grouped: the parameter decides what is in a group
                    return None
        at_read = sum(len(list(c.node.find_all(exp.Placeholder))) for c in block.where)
        at_read += sum(
            isinstance(part.expression, exp.Placeholder) for part in self.node.find_all(exp.Limit, exp.Offset)
        )
        if at_read != len(list(self.node.find_all(exp.Placeholder))):
            return None
        return replace(block, where=tuple(inside)), filters, keys

    def _keys(self, block: Block) -> list[GroupColumn]:
        names = {value.sql: name for name, value in block.outputs.items()}
        return [
            GroupColumn(
                names.get(value.sql, f"_g{i}"), self.selects.output_type(value, self.node), value.sql, value.nullable
            )
            for i, value in enumerate(block.group or ())
        ]

    def _top_n(self) -> str:
        """Why a top-N is refreshed: reading it would look at every row; "" when it is not one."""
        block = self.query
        if self.params or not isinstance(block, Block) or not block.order or "LIMIT" not in block.tail or block.group:
            return ""
        if any(isinstance(c.node, exp.EQ) and c.node.find(exp.Literal) is not None for c in block.where):
            return ""
        reason = "the first rows of all: reading them would look at every row"
        if any(source.rollup is not None for source in block.tables) or len(block.tables) != 1:
            return reason
        schema = block.tables[0].schema
        first = block.order[0].node
        if schema is None or not isinstance(first, exp.Column):
            return reason
        return "" if first.name in {index[0] for index in (schema.key, *schema.indexes) if index} else reason

    # -- building

    def _base(self, kind: ViewClass, why: str, statement: str, hidden: tuple[str, ...], relation: str) -> ViewPlan:
        tables, refreshed = _foundations(self.relations)
        aliases = {s.alias: s.schema.name for b in self._blocks() for s in b.tables if s.schema is not None}
        return ViewPlan(
            name=self.name,
            kind=kind,
            why=why,
            sql=self.text.sql,
            statement=statement,
            params=self.params,
            inputs=tuple(self.statement.relations),
            tables=tables,
            refreshed=refreshed,
            columns=self.columns,
            hidden=hidden,
            needs_now=self.statement.needs_now,
            relation=relation,
            compared=tuple(dict.fromkeys(self.statement.compared)),
            aliases=aliases,
        )

    def _read_time(self, why: str) -> ViewPlan:
        hidden = tuple(self.query.hidden("each"))
        relation = f"({self.query.sql('one')})"
        return self._base(ViewClass.READ_TIME, why, self.query.sql("each"), hidden, relation)

    def _refreshed(self, every: int | None, why: str) -> ViewPlan:
        period = parse_duration(DEFAULT_REFRESH) if every is None else every
        query = self.query.sql("one")
        definition = digest("refreshed", query, *(c.type for c in self.columns), *self._definitions())
        refresher = Refresher(
            self.name, definition, query, self.columns, every=period, needs_now=self.statement.needs_now
        )
        names = ", ".join(quoted(column.name) for column in self.columns)
        read = f"SELECT {names}, _source_ts, _txn FROM {quoted(self.name)} ORDER BY _rank"
        base = self._base(ViewClass.REFRESHED, why, read, ("_source_ts", "_txn"), quoted(self.name))
        return replace(base, refresh=period, refresher=refresher, needs_now=False)

    def _affected(self, block: Block, filters: list[str], keys: list[GroupColumn]) -> ViewPlan:
        outputs = [
            GroupColumn(column.name, column.type, value.sql, column.nullable)
            for column, value in zip(self.columns, block.outputs.values(), strict=True)
        ]
        known = {column.sql: column.name for column in (*outputs, *keys)}
        extra = [key for key in keys if key.name not in block.outputs]
        terms: list[str] = []
        for i, term in enumerate(block.order):
            if term.sql not in known:
                value = self.selects.expressions.compile(term.node, block.scope)
                extra.append(GroupColumn(f"_o{i}", value.type or ColumnType.TEXT, term.sql, True))
                known[term.sql] = f"_o{i}"
            terms.append(quoted(known[term.sql]) + term.suffix)
        columns = [*outputs, *extra]
        maintainer = AffectedGroups(self.name, "", block, keys, columns)
        maintainer.definition = digest("groups", maintainer.insert(), *(c.type for c in columns), *self._definitions())
        names = ", ".join(quoted(column.name) for column in self.columns)
        read = f"SELECT {names}, _source_ts, _txn FROM {quoted(self.name)}"
        read += f" WHERE {' AND '.join(filters)}" if filters else ""
        read += f" ORDER BY {', '.join(terms)}" if terms else ""
        read += block.tail
        relation = f"({read})" if block.tail or filters else quoted(self.name)
        keyed = ", ".join(key.name for key in keys)
        why = f"GROUP BY over tables: a changed row tells its group ({keyed})"
        base = self._base(ViewClass.AFFECTED_GROUP, why, read, ("_source_ts", "_txn"), relation)
        return replace(base, maintainer=maintainer)

    def _definitions(self) -> list[str]:
        """What else decides the content: a changed column type of an input changes the answer."""
        return [f"{r.name}.{column.name} {column.type}" for r in self.relations for column in r.columns]


def _outer_obstacle(block: Block) -> str:
    """Why an outer join hides which groups a change moves; "" when it does not.

    A row on the right of a LEFT JOIN that comes or goes also changes what stands there without it, the row filled up
    with NULLs. No changed row names that one, so nothing that decides the group may come from there.
    """
    for source in block.tables:
        if not source.nullable:
            continue
        mark = f"{quoted(source.alias)}."
        if any(mark in key.sql for key in block.group or ()):
            return f"it groups by {source.alias}, the right side of a LEFT JOIN, whose coming and going no row tells"
        if any(mark in other.on for other in block.tables if not other.nullable):
            return (
                f"a JOIN stands on {source.alias}, the right side of a LEFT JOIN, whose coming and going no row tells"
            )
    return ""


def _foundations(relations: list[Relation]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    tables: dict[str, None] = {}
    refreshed: dict[str, None] = {}
    for relation in relations:
        if relation.rollup is not None:
            tables[relation.rollup.events.name] = None
        elif relation.view is None:
            tables[relation.name] = None
        elif relation.view.kind is ViewClass.REFRESHED:
            refreshed[relation.name] = None
        else:
            tables |= dict.fromkeys(relation.view.tables)
            refreshed |= dict.fromkeys(relation.view.refreshed)
    return tuple(tables), tuple(refreshed)
