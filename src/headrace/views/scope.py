"""Names inside one SELECT: the relations of its FROM, their columns, and the SELECT around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from sqlglot import exp

from headrace.core.names import suggest
from headrace.core.schema import Column, Schema
from headrace.views.definitions import quoted
from headrace.views.rollup import Rollup
from headrace.views.subset import SqlText
from headrace.views.types import Typed


@dataclass(frozen=True, slots=True)
class Source:
    """One relation of a FROM.

    Attributes
    ----------
    alias
        Its name within the SELECT.
    columns
        What may be named.
    sql
        What stands in the FROM, with the alias.
    exists
        SQL that must hold for a row of it to count, or "" (rollups: the key has events in the window).
    nullable
        It is on the right side of a LEFT JOIN.
    schema, rollup
        The base table or rollup behind it, if it is one.
    on
        The condition that joins it; "" for the first.
    """

    alias: str
    columns: dict[str, Column]
    sql: str
    exists: str = ""
    nullable: bool = False
    schema: Schema | None = None
    rollup: Rollup | None = None
    on: str = ""

    def column(self, name: str) -> Typed:
        """The column `name` as an expression."""
        column = self.columns[name]
        sql = f"{quoted(self.alias)}.{quoted(name)}"
        if self.rollup is not None and name not in self.rollup.by:
            sql = self.rollup.expression(name, self.alias)
            if self.nullable:
                present = f"{quoted(self.alias)}.{quoted(self.rollup.by[0])} IS NOT NULL"
                sql = f"CASE WHEN {present} THEN {sql} END"
        return Typed(sql, column.type, column.nullable or self.nullable, column=(self.alias, name))

    @property
    def source_ts(self) -> str:
        """When its row last changed at the source."""
        return f"{quoted(self.alias)}._source_ts"

    @property
    def txn(self) -> str:
        """The commit stamp that wrote its row."""
        return f"{quoted(self.alias)}._txn"


@dataclass(frozen=True)
class Scope:
    """What can be named at one place.

    Attributes
    ----------
    sources
        The relations of the FROM so far.
    merged
        Columns that USING made one, by name.
    groups
        None: each row stands for itself. Else the grouped expressions by their SQL, and what to write for them.
    parent
        The SELECT around a subquery.
    """

    text: SqlText
    sources: dict[str, Source] = field(default_factory=dict[str, Source])
    merged: dict[str, Typed] = field(default_factory=dict[str, Typed])
    groups: dict[str, str] | None = None
    parent: Scope | None = None

    def rows(self) -> Scope:
        """The same names where each row stands for itself: inside an aggregate, in WHERE."""
        return replace(self, groups=None)

    def grouped(self, groups: dict[str, str]) -> Scope:
        """The same names where rows are grouped."""
        return replace(self, groups=groups)

    def resolve(self, node: exp.Column) -> Typed:
        """The column that a name stands for; errors name what is near and what there is."""
        scope: Scope | None = self
        while scope is not None:
            found = scope._find(node)
            if found is not None:
                return scope._in_group(node, found)
            scope = scope.parent
        raise self._unknown(node)

    def _find(self, node: exp.Column) -> Typed | None:
        name = node.name
        if node.table:
            source = self.sources.get(node.table)
            if source is None or name not in source.columns:
                if source is not None:
                    raise self._no_column(node, source)
                return None
            return source.column(name)
        if name in self.merged:
            return self.merged[name]
        found = [source for source in self.sources.values() if name in source.columns]
        if len(found) > 1:
            owners = " and ".join(repr(source.alias) for source in found)
            raise self.text.error(
                node, f"the column {name!r} is ambiguous: {owners} have it", f"write {found[0].alias}.{name}"
            )
        return found[0].column(name) if found else None

    def _in_group(self, node: exp.Column, found: Typed) -> Typed:
        if self.groups is None:
            return found
        if found.sql not in self.groups:
            raise self.text.error(
                node,
                f"{node.sql()} is neither grouped nor inside an aggregate",
                f"add it to GROUP BY, or write MIN({node.sql()})",
            )
        return replace(found, sql=self.groups[found.sql])

    def _no_column(self, node: exp.Column, source: Source) -> Exception:
        return self.text.error(
            node, f"{source.alias!r} has no column {node.name!r}", suggest(node.name, source.columns)
        )

    def _unknown(self, node: exp.Column) -> Exception:
        if node.table:
            return self.text.error(node, f"no table {node.table!r} in this FROM", suggest(node.table, self.sources))
        known = [name for source in self.sources.values() for name in source.columns]
        return self.text.error(node, f"there is no column {node.name!r}", suggest(node.name, dict.fromkeys(known)))


Resolver = Callable[[exp.Expr, Scope], Typed]
