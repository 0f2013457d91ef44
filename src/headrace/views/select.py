"""Compiling a SELECT of the subset: FROM and joins, groups, outputs, order, UNION ALL and subqueries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlglot import exp

from headrace.core.names import suggest
from headrace.core.schema import Column, ColumnType
from headrace.views.catalog import Relation, RelationKind
from headrace.views.definitions import quoted
from headrace.views.expressions import Expressions
from headrace.views.query import Block, Compound, Conjunct, Query, Term
from headrace.views.scope import Scope, Source
from headrace.views.statement import Statement
from headrace.views.types import Typed, as_type

_SELECT_PARTS = frozenset(
    {"expressions", "from_", "joins", "where", "group", "having", "order", "limit", "offset", "distinct", "with_"}
)
_UNION_PARTS = frozenset({"this", "expression", "distinct", "order", "limit", "offset", "with_"})


class Selects:
    """Compiles the queries of one statement."""

    def __init__(self, statement: Statement) -> None:
        self.statement = statement
        self.text = statement.text
        self.expressions = Expressions(statement, self._subquery)

    def compile(
        self,
        node: exp.Expr,
        parent: Scope | None = None,
        ctes: dict[str, Query] | None = None,
        *,
        bare: bool = False,
    ) -> Query:
        """One query; `bare` says that outputs need no names (inside IN, EXISTS and scalar subqueries)."""
        ctes = {**(ctes or {}), **self._ctes(node, ctes or {})}
        if isinstance(node, exp.Union):
            return self._union(node, parent, ctes, bare=bare)
        if isinstance(node, exp.Select):
            return self._select(node, parent, ctes, bare=bare)
        raise self.text.refuse(node)

    def _ctes(self, node: exp.Expr, outer: dict[str, Query]) -> dict[str, Query]:
        clause = node.args.get("with_")
        found: dict[str, Query] = {}
        if clause is None:
            return found
        self.text.check_parts(clause, frozenset({"expressions", "recursive"}))
        if clause.args.get("recursive"):
            raise self.text.error(
                clause, "WITH RECURSIVE is not in the SQL subset of views", "join the table to itself"
            )
        for cte in clause.expressions:
            self.text.check_parts(cte, frozenset({"this", "alias"}))
            name = cte.alias
            if cte.args["alias"].columns or name in found or self.statement.catalog.find(name):
                raise self.text.error(cte, f"the name {name!r} of a WITH is taken, or lists columns", "choose another")
            found[name] = self.compile(cte.this, None, {**outer, **found})
        return found

    # -- SELECT

    def _select(self, node: exp.Select, parent: Scope | None, ctes: dict[str, Query], *, bare: bool) -> Block:
        self.text.check_parts(node, _SELECT_PARTS)
        scope, source, conditions = self._from(node, Scope(self.text, parent=parent), ctes)
        where = self._where(node, scope)
        grouped, group = self._group(node, scope)
        outputs = self._outputs(node, grouped, bare=bare)
        if node.args.get("distinct"):
            grouped, group, outputs = self._distinct(node, scope, outputs)
        having = node.args.get("having")
        if having is not None and grouped.groups is None:
            raise self.text.error(having, "HAVING stands without GROUP BY", "use WHERE")
        filtered = "" if having is None else self.expressions.condition(having.this, grouped).sql
        order = self._order(node, grouped, outputs)
        tables = tuple(scope.sources.values())
        return Block(
            grouped, outputs, source, conditions, where, group, filtered, order, self._tail(node, scope), tables
        )

    def _where(self, node: exp.Select, scope: Scope) -> tuple[Conjunct, ...]:
        clause = node.args.get("where")
        if clause is None:
            return ()
        parts = list(clause.this.flatten()) if isinstance(clause.this, exp.And) else [clause.this]
        return tuple(Conjunct(part, self.expressions.condition(part, scope).sql) for part in parts)

    def _group(self, node: exp.Select, scope: Scope) -> tuple[Scope, tuple[Typed, ...] | None]:
        clause = node.args.get("group")
        if clause is None:
            parts = [*node.expressions, *(node.args[k] for k in ("having", "order") if node.args.get(k))]
            return (scope.grouped({}), ()) if any(map(_aggregates, parts)) else (scope, None)
        self.text.check_parts(clause, frozenset({"expressions"}))
        keys = [self.expressions.compile(self._named(part, node, scope), scope) for part in clause.expressions]
        if any(key.parameter or (key.column is None and _constant(key.sql)) for key in keys):
            raise self.text.error(clause, "GROUP BY a constant", "group by a column")
        return scope.grouped({key.sql: key.sql for key in keys}), tuple(keys)

    def _named(self, part: exp.Expr, node: exp.Select, scope: Scope) -> exp.Expr:
        """The output that a term of GROUP BY or ORDER BY means: by its number, or by a name that no relation has."""
        if isinstance(part, exp.Literal) and not part.is_string:
            number = int(str(part.this)) if str(part.this).isdigit() else 0
            if not 1 <= number <= len(node.expressions):
                raise self.text.error(part, f"there is no output {part.this}", f"there are {len(node.expressions)}")
            return node.expressions[number - 1].unalias()
        if isinstance(part, exp.Column) and not part.table:
            known = any(part.name in source.columns for source in scope.sources.values())
            for output in node.expressions:
                if not known and isinstance(output, exp.Alias) and output.alias == part.name:
                    return output.this
        return part

    def _distinct(
        self, node: exp.Select, scope: Scope, outputs: dict[str, Typed]
    ) -> tuple[Scope, tuple[Typed, ...], dict[str, Typed]]:
        clause = node.args["distinct"]
        self.text.check_parts(clause, frozenset())
        if node.args.get("group") or any(map(_aggregates, node.expressions)):
            raise self.text.error(node.expressions[0], "SELECT DISTINCT of groups", "groups are distinct already")
        keys = {value.sql: value.sql for value in outputs.values()}
        return scope.grouped(keys), tuple(outputs.values()), outputs

    def _outputs(self, node: exp.Select, scope: Scope, *, bare: bool) -> dict[str, Typed]:
        outputs: dict[str, Typed] = {}
        for number, part in enumerate(node.expressions):
            for name, value in self._output(part, scope, f"_{number}" if bare else ""):
                if any(name.lower() == known.lower() for known in outputs):
                    raise self.text.error(part, f"two outputs are named {name!r}", "name one of them with AS")
                if not bare and (name.startswith("_") or not name):
                    raise self.text.error(part, f"an output has the reserved name {name!r}", "begin it with a letter")
                outputs[name] = value
        return outputs

    def _output(self, part: exp.Expr, scope: Scope, spare: str) -> list[tuple[str, Typed]]:
        if isinstance(part, exp.Star) or (isinstance(part, exp.Column) and isinstance(part.this, exp.Star)):
            return self._star(part, scope)
        if isinstance(part, exp.Alias):
            self.text.check_parts(part, frozenset({"this", "alias"}))
        inner = part.this if isinstance(part, exp.Alias) else part
        value = self.expressions.compile(inner, scope)
        if isinstance(part, exp.Alias):
            return [(part.alias, value)]
        if isinstance(part, exp.Column):
            return [(part.name, value)]
        if not spare:
            raise self.text.error(part, f"the output {part.sql()} has no name", f"write {part.sql()} AS name")
        return [(spare, value)]

    def _star(self, part: exp.Expr, scope: Scope) -> list[tuple[str, Typed]]:
        star = part.this if isinstance(part, exp.Column) else part
        self.text.check_parts(star, frozenset({"this"}))
        if scope.groups is not None:
            raise self.text.error(part, "* stands where rows are grouped", "name the columns")
        table = part.table if isinstance(part, exp.Column) else ""
        if table and table not in scope.sources:
            raise self.text.error(part, f"no table {table!r} in this FROM", suggest(table, scope.sources))
        found = dict(scope.merged) if not table else {}
        pairs = [(name, value) for name, value in found.items()]
        for source in scope.sources.values():
            if not table or source.alias == table:
                pairs += [(name, source.column(name)) for name in source.columns if name not in found]
        if any(":_now" in value.sql for _, value in pairs):
            self.statement.needs_now = True
        return pairs

    def _order(self, node: exp.Expr, scope: Scope, outputs: dict[str, Typed]) -> tuple[Term, ...]:
        clause = node.args.get("order")
        terms: list[Term] = []
        for part in clause.expressions if clause is not None else ():
            self.text.check_parts(part, frozenset({"this", "desc", "nulls_first"}))
            value = self._order_value(part.this, node, scope, outputs)
            self.expressions.check_ordered(value, part.this)
            terms.append(Term(part.this, value.sql, _suffix(part)))
        return tuple(terms)

    def _order_value(self, part: exp.Expr, node: exp.Expr, scope: Scope, outputs: dict[str, Typed]) -> Typed:
        if isinstance(part, exp.Column) and not part.table and part.name in outputs:
            return outputs[part.name]
        if isinstance(part, exp.Literal) and not part.is_string:
            named = self._named(part, node, scope) if isinstance(node, exp.Select) else part
            number = int(str(part.this)) if str(part.this).isdigit() else 0
            if named is part and not 1 <= number <= len(outputs):
                raise self.text.error(part, f"there is no output {part.this}", f"there are {len(outputs)}")
            return list(outputs.values())[number - 1]
        return self.expressions.compile(part, scope)

    def _tail(self, node: exp.Expr, scope: Scope) -> str:
        tail = ""
        for word in ("limit", "offset"):
            clause = node.args.get(word)
            if clause is None:
                continue
            if isinstance(clause, exp.Fetch):
                raise self.text.refuse(clause)
            self.text.check_parts(clause, frozenset({"expression"}))
            count = clause.expression
            if isinstance(count, exp.Placeholder):
                name = self.expressions.compile(count, scope)
                self.statement.parameters.settle(name.parameter or "", ColumnType.INTEGER)
                # SQLite reads a negative LIMIT as "no limit"
                tail += f" {word.upper()} max({name.sql}, 0)"
            elif isinstance(count, exp.Literal) and not count.is_string and str(count.this).isdigit():
                tail += f" {word.upper()} {count.this}"
            else:
                raise self.text.error(clause, f"{word.upper()} is not a constant", f"write a number or :{word}")
        if tail.startswith(" OFFSET"):
            tail = " LIMIT -1" + tail
        return tail

    # -- FROM

    def _from(self, node: exp.Select, scope: Scope, ctes: dict[str, Query]) -> tuple[Scope, str, tuple[str, ...]]:
        clause = node.args.get("from_")
        if clause is None:
            raise self.text.error(
                node.expressions[0] if node.expressions else None, "a SELECT has no FROM", "name a table"
            )
        first = self._relation(clause.this, ctes)
        scope = replace(scope, sources={first.alias: first})
        sql, conditions = first.sql, [first.exists] if first.exists else []
        for join in node.args.get("joins") or ():
            source = self._joined(join, scope, ctes)
            scope, on = self._join(join, source, scope)
            scope = replace(scope, sources={**scope.sources, source.alias: replace(source, on=on)})
            extra = f" AND {source.exists}" if source.exists else ""
            sql += f" {'LEFT JOIN' if source.nullable else 'JOIN'} {source.sql} ON {on}{extra}"
        if any(source.exists for source in scope.sources.values()):
            self.statement.needs_now = True
        return scope, sql, tuple(conditions)

    def _joined(self, join: exp.Join, scope: Scope, ctes: dict[str, Query]) -> Source:
        self.text.check_parts(join, frozenset({"this", "side", "kind", "on", "using"}))
        side, kind = str(join.args.get("side") or ""), str(join.args.get("kind") or "")
        if side not in ("", "LEFT") or kind not in ("", "INNER", "OUTER"):
            hint = "use JOIN or LEFT JOIN with ON or USING; turn a RIGHT JOIN round"
            raise self.text.error(
                join, f"{' '.join(filter(None, (side, kind)))} JOIN is not in the SQL subset of views", hint
            )
        source = replace(self._relation(join.this, ctes), nullable=side == "LEFT")
        if source.alias in scope.sources:
            raise self.text.error(join, f"two tables are named {source.alias!r}", "name one of them with AS")
        return source

    def _join(self, join: exp.Join, source: Source, scope: Scope) -> tuple[Scope, str]:
        wider = replace(scope, sources={**scope.sources, source.alias: source})
        if using := join.args.get("using"):
            merged = dict(scope.merged)
            parts: list[str] = []
            for name in using:
                column = exp.column(name.name)
                column.this.meta.update(name.meta)
                left = scope.resolve(column)
                if name.name not in source.columns:
                    message = f"{source.alias!r} has no column {name.name!r}"
                    raise self.text.error(name, message, suggest(name.name, source.columns))
                pair = self.expressions.matched(left, source.column(name.name), column)
                self._note(*pair)
                parts.append(f"{pair[0].sql} = {pair[1].sql}")
                merged[name.name] = left
            return replace(wider, merged=merged), " AND ".join(parts)
        on = join.args.get("on")
        if on is None or not _has_equality(on, source.alias):
            raise self.text.error(
                join,
                f"the join of {source.alias!r} has no equality",
                f"write ON {source.alias}.x = other.x, or USING (x)",
            )
        return wider, self.expressions.condition(on, wider).sql

    def _note(self, *values: Typed) -> None:
        for value in values:
            if value.column is not None:
                self.statement.compared.append((*value.column, True))

    def _relation(self, node: exp.Expr, ctes: dict[str, Query]) -> Source:
        alias = node.alias_or_name
        if alias.startswith("_"):
            raise self.text.error(node, f"a table is named {alias!r}", "names that begin with _ are reserved")
        table_alias = node.args.get("alias")
        if isinstance(table_alias, exp.TableAlias) and table_alias.columns:
            raise self.text.error(node, "a table alias lists columns", "name the columns inside with AS")
        if isinstance(node, exp.Subquery):
            self.text.check_parts(node, frozenset({"this", "alias"}))
            if not alias:
                raise self.text.error(node, "a subquery in FROM has no name", "write (SELECT ...) AS name")
            return self._derived(self.compile(node.this, None, ctes), alias, node)
        if not isinstance(node, exp.Table):
            raise self.text.refuse(node)
        self.text.check_parts(node, frozenset({"this", "alias"}))
        if not isinstance(node.this, exp.Identifier):
            raise self.text.refuse(node.this)
        if node.name in ctes:
            return self._derived(ctes[node.name], alias, node)
        return self._named_relation(node, alias)

    def _derived(self, query: Query, alias: str, node: exp.Expr) -> Source:
        columns: dict[str, Column] = {}
        for name, value in query.outputs.items():
            kind = self.output_type(value, node)
            columns[name] = Column(name, kind, value.nullable)
        return Source(alias, columns, f"({query.sql('one')}) AS {quoted(alias)}")

    def output_type(self, value: Typed, node: exp.Expr | None) -> ColumnType:
        """The type of an output; refused when nothing tells it."""
        kind = value.type or (self.statement.parameters.types.get(value.parameter) if value.parameter else None)
        if kind is None:
            raise self.text.error(node, f"the type of the output {value.sql} cannot be told", "write CAST(x AS TEXT)")
        return kind

    def _named_relation(self, node: exp.Table, alias: str) -> Source:
        relation = self.statement.catalog.find(node.name)
        if relation is None:
            hint = suggest(node.name, self.statement.catalog.names)
            raise self.text.error(node, f"there is no table, rollup or view {node.name!r}", hint)
        self.statement.relations[relation.name] = None
        columns = {column.name: column for column in relation.columns}
        if relation.rollup is not None:
            sql = f"{quoted(relation.rollup.keys_table)} AS {quoted(alias)}"
            return Source(alias, columns, sql, exists=relation.rollup.exists(alias), rollup=relation.rollup)
        if relation.view is not None:
            return self._view(relation, alias, node)
        if relation.kind is RelationKind.EVENTS and relation.schema is not None and relation.schema.keep is None:
            hint = 'declare keep="1d" on it, or read a rollup of it'
            raise self.text.error(node, f"the events {relation.name!r} are not kept", hint)
        return Source(alias, columns, f"{quoted(relation.name)} AS {quoted(alias)}", schema=relation.schema)

    def _view(self, relation: Relation, alias: str, node: exp.Table) -> Source:
        view = relation.view
        if view is None:  # the caller has looked
            raise self.text.refuse(node)
        if view.params:
            listed = ", ".join(f":{parameter.name}" for parameter in view.params)
            hint = f"repeat its SQL in a WITH, or take {listed} out of it and filter here"
            raise self.text.error(
                node, f"the view {view.name!r} has parameters ({listed}) and cannot be read by another", hint
            )
        self.statement.needs_now |= view.needs_now
        columns = {column.name: column for column in view.columns}
        return Source(alias, columns, f"{view.relation} AS {quoted(alias)}")

    # -- UNION ALL and subqueries

    def _union(self, node: exp.Union, parent: Scope | None, ctes: dict[str, Query], *, bare: bool) -> Compound:
        self.text.check_parts(node, _UNION_PARTS)
        if node.args.get("distinct"):
            raise self.text.error(
                node, "UNION without ALL compares all rows", "write UNION ALL, or SELECT DISTINCT over it"
            )
        blocks: list[Block] = []
        for side in (node.this, node.expression):
            if side.args.get("order") or side.args.get("limit"):
                raise self.text.error(side, "ORDER BY or LIMIT stands inside a UNION ALL", "put that part in a WITH")
            query = self.compile(side, parent, ctes, bare=bare or bool(blocks))  # the first part names the outputs
            blocks += query.blocks if isinstance(query, Compound) else (query,)
        blocks = self._aligned(blocks, node)
        outputs = blocks[0].outputs
        order = [
            self._position(part, outputs) for part in (node.args["order"].expressions if node.args.get("order") else ())
        ]
        tail = f" ORDER BY {', '.join(order)}" if order else ""
        return Compound(tuple(blocks), outputs, tail + self._tail(node, Scope(self.text)))

    def _aligned(self, blocks: Sequence[Block], node: exp.Union) -> list[Block]:
        first = list(blocks[0].outputs.items())
        if any(len(block.outputs) != len(first) for block in blocks):
            raise self.text.error(node, "the parts of a UNION ALL have different numbers of columns", "make them equal")
        kinds: list[ColumnType | None] = []
        for column in range(len(first)):
            values = [list(block.outputs.values())[column] for block in blocks]
            found = {value.type for value in values} - {None}
            real = found == {ColumnType.INTEGER, ColumnType.REAL}
            kind = ColumnType.REAL if real else next(iter(found), None)
            if len(found) > 1 and not real:
                message = f"the column {first[column][0]!r} of a UNION ALL has several types"
                raise self.text.error(node, message, "CAST them to one")
            kinds.append(kind)
        aligned: list[Block] = []
        for block in blocks:
            values = [as_type(value, kind) for value, kind in zip(block.outputs.values(), kinds, strict=True)]
            typed = [replace(value, type=kind) for value, kind in zip(values, kinds, strict=True)]
            aligned.append(replace(block, outputs=dict(zip((name for name, _ in first), typed, strict=True))))
        return aligned

    def _position(self, part: exp.Ordered, outputs: dict[str, Typed]) -> str:
        names = list(outputs)
        inner = part.this
        if isinstance(inner, exp.Column) and not inner.table and inner.name in names:
            self.expressions.check_ordered(outputs[inner.name], inner)
            return f"{names.index(inner.name) + 1}{_suffix(part)}"
        if isinstance(inner, exp.Literal) and str(inner.this).isdigit() and 1 <= int(str(inner.this)) <= len(names):
            return f"{inner.this}{_suffix(part)}"
        raise self.text.error(
            part, "a UNION ALL is ordered by something else than an output", suggest(inner.sql(), names)
        )

    def _subquery(self, node: exp.Expr, scope: Scope, place: str) -> Typed:
        inner = node
        while isinstance(inner, exp.Subquery):
            self.text.check_parts(inner, frozenset({"this"}))
            inner = inner.this
        query = self.compile(inner, scope, bare=True)
        if place == "exists":
            return Typed(f"({query.sql('none')})", None)
        if len(query.outputs) != 1:
            raise self.text.error(node, "a subquery in an expression has several columns", "select one")
        value = next(iter(query.outputs.values()))
        one = isinstance(query, Block) and query.group == ()
        if place == "scalar" and not one:
            hint = "make it one row: SELECT MAX(x) FROM ... without GROUP BY; or write a join"
            raise self.text.error(node, "a subquery stands for a value but may have several rows", hint)
        return Typed(f"({query.sql('none')})", value.type)


def _aggregates(node: exp.Expr) -> bool:
    parts = node.walk(prune=lambda part: isinstance(part, exp.Subquery | exp.Exists | exp.Query))
    return any(isinstance(part, exp.AggFunc) for part in parts)


def _has_equality(on: exp.Expr, alias: str) -> bool:
    parts = on.flatten() if isinstance(on, exp.And) else [on]
    for part in parts:
        if isinstance(part, exp.Paren) and _has_equality(part.this, alias):
            return True
        if isinstance(part, exp.EQ):
            tables = [{c.table for c in side.find_all(exp.Column)} for side in (part.this, part.expression)]
            if {alias} in tables and any(side and alias not in side for side in tables):
                return True
            if {""} in tables:
                return True
    return False


def _suffix(part: exp.Ordered) -> str:
    descending, first = bool(part.args.get("desc")), bool(part.args.get("nulls_first"))
    nulls = "" if first is not descending else f" NULLS {'FIRST' if first else 'LAST'}"
    return f"{' DESC' if descending else ''}{nulls}"


def _constant(sql: str) -> bool:
    return sql.replace(".", "").isdigit() or sql.startswith("'") or sql == "NULL"
