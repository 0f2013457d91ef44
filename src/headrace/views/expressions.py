"""Compiling expressions of the subset to SQLite: names, types and pinned meanings in one pass.

There is one handler for each construct of the subset, and none for anything else. What SQLite means otherwise is
written out, so that the same text means the same in every engine: `/` is real, LIKE minds case, a bad comparison is
refused rather than answered by affinity.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from sqlglot import exp

from headrace.core.schema import ColumnType
from headrace.core.schema import ColumnType as T  # short: it stands in most lines here
from headrace.views.aggregates import exact_sum
from headrace.views.meanings import (
    BINARY_PARTS,
    CAST_TYPES,
    CASTS,
    NOW,
    ONE_PART,
    ORDERING,
    PARTS,
    SYMBOLS,
    TIME_SUMS,
    glob,
    glob_of,
    interval,
)
from headrace.views.scope import Scope
from headrace.views.statement import Statement
from headrace.views.types import NUMBERS, UNORDERED, Typed, as_type, literal_as, text_literal

SubqueryCompiler = Callable[[exp.Expr, Scope, str], Typed]
"""Compiles a query inside an expression; the word says where: "in", "exists" or "scalar"."""


class Expressions:
    """Compiles expressions within scopes of one statement."""

    def __init__(self, statement: Statement, subquery: SubqueryCompiler) -> None:
        self.statement = statement
        self.text = statement.text
        self.parameters = statement.parameters
        self._subquery = subquery
        self._handlers: dict[type[exp.Expr], Callable[..., Typed]] = {
            exp.Column: self._column, exp.Literal: self._literal, exp.Null: self._null, exp.Boolean: self._boolean,
            exp.Placeholder: self._placeholder, exp.Paren: self._paren, exp.Interval: self._interval,
            exp.And: self._connect, exp.Or: self._connect, exp.Not: self._not, exp.Is: self._is,
            exp.EQ: self._compare, exp.NEQ: self._compare, exp.LT: self._compare, exp.LTE: self._compare,
            exp.GT: self._compare, exp.GTE: self._compare,
            exp.NullSafeEQ: self._compare, exp.NullSafeNEQ: self._compare,
            exp.Between: self._between, exp.In: self._in, exp.Exists: self._exists, exp.Subquery: self._scalar,
            exp.Like: self._like, exp.Escape: self._escape,
            exp.Add: self._arithmetic, exp.Sub: self._arithmetic, exp.Mul: self._arithmetic,
            exp.Div: self._divide, exp.Mod: self._modulo, exp.Neg: self._negate, exp.DPipe: self._concatenate,
            exp.Case: self._case, exp.Coalesce: self._coalesce, exp.Nullif: self._nullif, exp.Cast: self._cast,
            exp.Lower: self._text_function, exp.Upper: self._text_function, exp.Length: self._length,
            exp.Trim: self._trim, exp.Substring: self._substring, exp.Abs: self._abs, exp.Round: self._round,
            exp.CurrentTimestamp: self._now, exp.Anonymous: self._anonymous,
            exp.Count: self._count, exp.Sum: self._sum, exp.Avg: self._avg, exp.Min: self._extreme,
            exp.Max: self._extreme,
        }  # fmt: skip

    def compile(self, node: exp.Expr, scope: Scope) -> Typed:
        """One expression.

        Raises
        ------
        SqlError
            When it is outside the subset, names what is not there, or compares what cannot be compared.
        """
        handler = self._handlers.get(type(node))
        if handler is None:
            raise self.text.refuse(node)
        default = BINARY_PARTS if isinstance(node, exp.Binary) else ONE_PART
        self.text.check_parts(node, PARTS.get(type(node), default))
        if scope.groups and not isinstance(node, exp.Column | exp.Paren) and node.find(exp.AggFunc) is None:
            plain = handler(node, scope.rows())
            if plain.sql in scope.groups:
                return replace(plain, sql=scope.groups[plain.sql])
        return handler(node, scope)

    def condition(self, node: exp.Expr, scope: Scope) -> Typed:
        """An expression that must be true or false."""
        return self._truth(self.compile(node, scope), node)

    # -- leaves

    def _column(self, node: exp.Column, scope: Scope) -> Typed:
        if isinstance(node.this, exp.Star):
            raise self.text.error(node, "* stands inside an expression", "name the column")
        found = scope.resolve(node)
        if NOW in found.sql:
            self.statement.needs_now = True
        return found

    def _literal(self, node: exp.Literal, scope: Scope) -> Typed:
        value = str(node.this)
        if node.is_string:
            if "\x00" in value:
                raise self.text.error(node, "a text holds a zero byte", "bind it as a parameter")
            return Typed(text_literal(value), T.TEXT, nullable=False, text=value)
        whole = value.isdigit() and int(value) < 2**63
        sql = value if whole or not value.isdigit() else value + ".0"
        return Typed(sql, T.INTEGER if whole else T.REAL, nullable=False)

    def _null(self, node: exp.Null, scope: Scope) -> Typed:
        return Typed("NULL", None)

    def _boolean(self, node: exp.Boolean, scope: Scope) -> Typed:
        return Typed("1" if node.this else "0", T.BOOLEAN, nullable=False)

    def _placeholder(self, node: exp.Placeholder, scope: Scope) -> Typed:
        name = node.name
        if name in ("", "?"):
            raise self.text.error(node, "a parameter has no name", "write :name instead of ?")
        if name.startswith("_") or not name.isidentifier():
            raise self.text.error(node, f"{name!r} is no name for a parameter", "begin it with a letter")
        return Typed(f":{name}", self.parameters.see(name), nullable=False, parameter=name)

    def _paren(self, node: exp.Paren, scope: Scope) -> Typed:
        return self.compile(node.this, scope)

    def _interval(self, node: exp.Interval, scope: Scope) -> Typed:
        micros = interval(node)
        if micros is None:
            hint = "write INTERVAL '5' MINUTE: SECOND, MINUTE, HOUR, DAY or WEEK; months have no fixed length"
            raise self.text.error(node, f"{node.sql()} has no unit of a fixed length, or is not a constant", hint)
        return Typed(str(micros), T.DURATION, nullable=False)

    def _now(self, node: exp.Expr, scope: Scope) -> Typed:
        self.statement.needs_now = True
        return Typed(NOW, T.TIMESTAMP, nullable=False)

    def _anonymous(self, node: exp.Anonymous, scope: Scope) -> Typed:
        if node.name.upper() == "NOW" and not node.expressions:
            return self._now(node, scope)
        hint = "the functions are: COALESCE, NULLIF, CAST, LOWER, UPPER, LENGTH, SUBSTRING, TRIM, ABS, ROUND, NOW"
        raise self.text.error(node, f"there is no function {node.name.upper()} in the SQL subset of views", hint)

    # -- conditions

    def _truth(self, value: Typed, node: exp.Expr) -> Typed:
        value = self._settled(value, T.BOOLEAN, node)
        if value.type not in (T.BOOLEAN, None):
            raise self.text.error(node, f"{node.sql()} is {value.type}, not a condition", "compare it, as in x <> 0")
        return value

    def _connect(self, node: exp.And | exp.Or, scope: Scope) -> Typed:
        left, right = self.condition(node.this, scope), self.condition(node.expression, scope)
        return Typed(f"({left.sql} {SYMBOLS[type(node)]} {right.sql})", T.BOOLEAN, left.nullable or right.nullable)

    def _not(self, node: exp.Not, scope: Scope) -> Typed:
        inner = self.condition(node.this, scope)
        return replace(inner, sql=f"(NOT {inner.sql})", type=T.BOOLEAN, parameter=None, column=None)

    def _is(self, node: exp.Is, scope: Scope) -> Typed:
        value = self.compile(node.this, scope)
        word = "IS NOT" if node.args.get("negate") else "IS"
        if isinstance(node.expression, exp.Null):
            if value.parameter:
                self.parameters.allow_null(value.parameter)
            return Typed(f"({value.sql} {word} NULL)", T.BOOLEAN, nullable=False)
        if isinstance(node.expression, exp.Boolean):
            value = self._truth(value, node.this)
            return Typed(f"({value.sql} {word} {int(bool(node.expression.this))})", T.BOOLEAN, nullable=False)
        raise self.text.error(
            node, f"{node.sql()} is not in the SQL subset of views", "use IS NULL, or IS NOT DISTINCT FROM"
        )

    def _compare(self, node: exp.Binary, scope: Scope) -> Typed:
        left, right = self._operands(node, scope)
        ordering = isinstance(node, ORDERING)
        left, right = self.matched(left, right, node)
        if ordering:
            self.check_ordered(left, node)
        self._note(left, not ordering)
        self._note(right, not ordering)
        safe = isinstance(node, exp.NullSafeEQ | exp.NullSafeNEQ)
        sql = f"({left.sql} {SYMBOLS[type(node)]} {right.sql})"
        return Typed(sql, T.BOOLEAN, not safe and (left.nullable or right.nullable))

    def _note(self, value: Typed, equal: bool) -> None:
        if value.column is not None:
            self.statement.compared.append((*value.column, equal))

    def check_ordered(self, value: Typed, node: exp.Expr) -> None:
        """Refuse an order over a type whose stored form has another order than its value."""
        if value.type is not None and value.type in UNORDERED:
            kind = value.type.value
            raise self.text.error(
                node, f"{node.sql()} orders {kind} values, which can only be equal or not", "use a number"
            )

    def matched(self, left: Typed, right: Typed, node: exp.Expr) -> tuple[Typed, Typed]:
        """Both sides in a type that they have in common."""
        left = self._settled(left, right.type, node)
        right = self._settled(right, left.type, node)
        if left.type is right.type or left.type is None or right.type is None or {left.type, right.type} <= NUMBERS:
            return left, right
        for value, other in ((left, right), (right, left)):
            if value.text is not None and other.type is not None and literal_as(other.type, value.text) is not None:
                read = as_type(value, other.type)
                return (read, other) if value is left else (other, read)
        raise self.text.error(
            node,
            f"{node.sql()} mixes {left.type.value} and {right.type.value}",
            "CAST one of them, or write a literal of the other's type (TRUE, '2026-01-31', '2026-01-31T12:00:00Z')",
        )

    def _settled(self, value: Typed, kind: ColumnType | None, node: exp.Expr) -> Typed:
        if value.parameter is None or kind is None:
            return value
        if not self.parameters.settle(value.parameter, kind):
            known = self.parameters.types[value.parameter]
            raise self.text.error(
                node,
                f"the parameter :{value.parameter} is {known} in one place and {kind} here",
                "use two parameters, or CAST",
            )
        return replace(value, type=self.parameters.types[value.parameter])

    def _between(self, node: exp.Between, scope: Scope) -> Typed:
        value = self.compile(node.this, scope)
        low, high = self.compile(node.args["low"], scope), self.compile(node.args["high"], scope)
        value, low = self.matched(value, low, node)
        value, high = self.matched(value, high, node)
        self.check_ordered(value, node)
        self._note(value, False)
        return Typed(f"({value.sql} BETWEEN {low.sql} AND {high.sql})", T.BOOLEAN)

    def _in(self, node: exp.In, scope: Scope) -> Typed:
        value = self.compile(node.this, scope)
        self._note(value, True)
        if (query := node.args.get("query")) is not None:
            inner = self._subquery(query, scope, "in")
            value, inner = self.matched(value, inner, node)
            return Typed(f"({value.sql} IN {inner.sql})", T.BOOLEAN)
        items: list[str] = []
        for part in node.expressions:
            value, item = self.matched(value, self.compile(part, scope), node)
            items.append(item.sql)
        return Typed(f"({value.sql} IN ({', '.join(items)}))", T.BOOLEAN)

    def _exists(self, node: exp.Exists, scope: Scope) -> Typed:
        inner = self._subquery(node.this, scope, "exists")
        return Typed(f"(EXISTS {inner.sql})", T.BOOLEAN, nullable=False)

    def _scalar(self, node: exp.Subquery, scope: Scope) -> Typed:
        return self._subquery(node, scope, "scalar")

    def _like(self, node: exp.Like, scope: Scope, escape: str = "") -> Typed:
        value = self._text(node.this, scope)
        pattern = self._text(node.expression, scope)
        if pattern.text is not None:
            like = text_literal(glob(pattern.text, escape, lambda m: self.text.error(node, m, "escape % or _")))
        elif escape:
            raise self.text.error(node, "ESCAPE stands with a pattern that is not a literal", "write the pattern out")
        else:
            like = glob_of(pattern.sql)
        word = "NOT GLOB" if node.args.get("negate") else "GLOB"
        return Typed(f"({value.sql} {word} {like})", T.BOOLEAN, value.nullable or pattern.nullable)

    def _escape(self, node: exp.Escape, scope: Scope) -> Typed:
        mark = node.expression
        if isinstance(node.this, exp.Like):
            self.text.check_parts(node.this, PARTS[exp.Like])
        if not isinstance(node.this, exp.Like) or not isinstance(mark, exp.Literal) or len(str(mark.this)) != 1:
            raise self.text.error(node, "ESCAPE takes one character", "write LIKE '10!%' ESCAPE '!'")
        return self._like(node.this, scope, str(mark.this))

    # -- numbers and times

    def _operands(self, node: exp.Binary, scope: Scope) -> tuple[Typed, Typed]:
        return self.compile(node.this, scope), self.compile(node.expression, scope)

    def _arithmetic(self, node: exp.Binary, scope: Scope) -> Typed:
        left, right = self._operands(node, scope)
        if T.TIMESTAMP in (left.type, right.type) or T.DURATION in (left.type, right.type):
            return self._time_arithmetic(node, left, right)
        left, right = self._settled(left, right.type, node), self._settled(right, left.type, node)
        self._number(left, node)
        self._number(right, node)
        kind = T.REAL if T.REAL in (left.type, right.type) else T.INTEGER
        return Typed(f"({left.sql} {SYMBOLS[type(node)]} {right.sql})", kind, left.nullable or right.nullable)

    def _time_arithmetic(self, node: exp.Binary, left: Typed, right: Typed) -> Typed:
        scale = T.INTEGER if isinstance(node, exp.Mul) else T.DURATION
        # beside an interval a parameter is an instant, beside an instant it is an interval
        first = T.TIMESTAMP if right.type is T.DURATION and scale is T.DURATION else scale
        left, right = self._unknown_as(left, first, node), self._unknown_as(right, scale, node)
        kinds = (left.type or scale, right.type or scale)
        kind = TIME_SUMS.get((type(node), *kinds))
        if kind is None:
            hint = "a timestamp plus or minus an interval, or a timestamp minus a timestamp"
            raise self.text.error(node, f"{node.sql()} computes with {kinds[0].value} and {kinds[1].value}", hint)
        return Typed(f"({left.sql} {SYMBOLS[type(node)]} {right.sql})", kind, left.nullable or right.nullable)

    def _unknown_as(self, value: Typed, kind: ColumnType, node: exp.Expr) -> Typed:
        return self._settled(value, kind, node) if value.type is None else value

    def _number(self, value: Typed, node: exp.Expr) -> None:
        if value.type is None and value.parameter is None:
            return
        if value.type is None:
            hint = f"write CAST(:{value.parameter} AS BIGINT) or AS DOUBLE"
            raise self.text.error(node, f"the type of :{value.parameter} cannot be told", hint)
        if value.type not in NUMBERS:
            hint = "CAST it, or declare the column as a number"
            raise self.text.error(node, f"{node.sql()} computes with {value.type.value}", hint)

    def _divide(self, node: exp.Div, scope: Scope) -> Typed:
        left, right = self._operands(node, scope)
        if left.type is T.DURATION and right.type is T.DURATION:
            return Typed(f"(CAST({left.sql} AS REAL) / {right.sql})", T.REAL)
        left, right = self._settled(left, right.type, node), self._settled(right, left.type, node)
        self._number(left, node)
        self._number(right, node)
        return Typed(f"(CAST({left.sql} AS REAL) / {right.sql})", T.REAL)

    def _modulo(self, node: exp.Mod, scope: Scope) -> Typed:
        left, right = self._operands(node, scope)
        left, right = self._settled(left, right.type, node), self._settled(right, left.type, node)
        if {left.type, right.type} != {T.INTEGER}:
            raise self.text.error(node, f"{node.sql()} is not of integers", "% is defined for integers only")
        return Typed(f"({left.sql} % {right.sql})", T.INTEGER)

    def _negate(self, node: exp.Neg, scope: Scope) -> Typed:
        value = self.compile(node.this, scope)
        if value.type is not T.DURATION:
            self._number(value, node)
        return Typed(f"(-{value.sql})", value.type, value.nullable)

    def _abs(self, node: exp.Abs, scope: Scope) -> Typed:
        value = self.compile(node.this, scope)
        if value.type is not T.DURATION:
            self._number(value, node)
        # SQLite's abs() raises an error for the smallest integer; a minus goes over to REAL.
        return Typed(f"(CASE WHEN {value.sql} < 0 THEN -{value.sql} ELSE {value.sql} END)", value.type, value.nullable)

    def _round(self, node: exp.Round, scope: Scope) -> Typed:
        value = self.compile(node.this, scope)
        self._number(value, node)
        digits = node.args.get("decimals")
        places = 0 if digits is None else self._constant(digits, "ROUND")
        if value.type is T.INTEGER:
            return replace(value, column=None)
        return Typed(f"round({value.sql}, {places})", T.REAL, value.nullable)

    def _constant(self, node: exp.Expr, function: str, least: int = 0) -> int:
        value = str(node.this) if isinstance(node, exp.Literal) and not node.is_string else ""
        if not value.isdigit() or int(value) < least:
            message = f"{function} takes constant positions from {least} up"
            raise self.text.error(node, message, "write the number out")
        return int(value)

    # -- text

    def _text(self, node: exp.Expr, scope: Scope) -> Typed:
        value = self._settled(self.compile(node, scope), T.TEXT, node)
        if value.type not in (T.TEXT, None):
            raise self.text.error(node, f"{node.sql()} is {value.type.value}, not text", "write CAST(x AS TEXT)")
        return value

    def _concatenate(self, node: exp.DPipe, scope: Scope) -> Typed:
        left, right = self._text(node.this, scope), self._text(node.expression, scope)
        return Typed(f"({left.sql} || {right.sql})", T.TEXT, left.nullable or right.nullable)

    def _text_function(self, node: exp.Expr, scope: Scope) -> Typed:
        value = self._text(node.this, scope)
        return Typed(f"{'lower' if isinstance(node, exp.Lower) else 'upper'}({value.sql})", T.TEXT, value.nullable)

    def _length(self, node: exp.Length, scope: Scope) -> Typed:
        value = self._text(node.this, scope)
        return Typed(f"length({value.sql})", T.INTEGER, value.nullable)

    def _trim(self, node: exp.Trim, scope: Scope) -> Typed:
        value = self._text(node.this, scope)
        return Typed(f"trim({value.sql})", T.TEXT, value.nullable)

    def _substring(self, node: exp.Substring, scope: Scope) -> Typed:
        value = self._text(node.this, scope)
        start = self._constant(node.args["start"], "SUBSTRING", 1)
        length = node.args.get("length")
        upto = "" if length is None else f", {self._constant(length, 'SUBSTRING')}"
        return Typed(f"substr({value.sql}, {start}{upto})", T.TEXT, value.nullable)

    # -- choices

    def _common(self, values: list[Typed], node: exp.Expr) -> tuple[list[Typed], ColumnType | None]:
        kinds = [value.type for value in values if value.type is not None and value.text is None]
        kinds += [value.type for value in values if value.type is not None]
        kind = T.REAL if kinds and frozenset(kinds) == NUMBERS else kinds[0] if kinds else None
        settled = [self._settled(value, kind, node) for value in values]
        read = [as_type(value, kind) for value in settled]
        wrong = [value.type for value in read if value.type not in (kind, None)]
        if wrong and kind is not None:
            raise self.text.error(node, f"{node.sql()} mixes {kind.value} and {wrong[0]}", "CAST to one type")
        return read, kind

    def _case(self, node: exp.Case, scope: Scope) -> Typed:
        subject = None if node.this is None else self.compile(node.this, scope)
        tests: list[str] = []
        for branch in node.args["ifs"]:
            self.text.check_parts(branch, frozenset({"this", "true"}))
            if subject is None:
                tests.append(self.condition(branch.this, scope).sql)
            else:
                left, right = self.matched(subject, self.compile(branch.this, scope), branch.this)
                tests.append(f"{left.sql} = {right.sql}")
        default = node.args.get("default")
        results = [branch.args["true"] for branch in node.args["ifs"]] + ([default] if default is not None else [])
        values, kind = self._common([self.compile(result, scope) for result in results], node)
        arms = " ".join(f"WHEN {test} THEN {value.sql}" for test, value in zip(tests, values, strict=False))
        ending = f" ELSE {values[-1].sql}" if default is not None else ""
        nullable = default is None or any(value.nullable for value in values)
        return Typed(f"CASE {arms}{ending} END", kind, nullable)

    def _coalesce(self, node: exp.Coalesce, scope: Scope) -> Typed:
        values = [self.compile(part, scope) for part in (node.this, *node.expressions)]
        for value in values[:-1]:
            if value.parameter:
                self.parameters.allow_null(value.parameter)
        values, kind = self._common(values, node)
        if len(values) == 1:
            return values[0]
        nullable = all(value.nullable for value in values)
        return Typed(f"coalesce({', '.join(value.sql for value in values)})", kind, nullable)

    def _nullif(self, node: exp.Nullif, scope: Scope) -> Typed:
        left, right = self.matched(self.compile(node.this, scope), self.compile(node.expression, scope), node)
        return Typed(f"nullif({left.sql}, {right.sql})", left.type)

    def _cast(self, node: exp.Cast, scope: Scope) -> Typed:
        kind = CAST_TYPES.get(node.to.this.value)
        value = self.compile(node.this, scope)
        self.text.check_parts(node.to, frozenset({"this", "nested"}))
        if kind is None:
            names = "TEXT, BIGINT, DOUBLE, BOOLEAN, TIMESTAMP, DATE, TIME, UUID, INTERVAL"
            raise self.text.error(node, f"{node.to.sql()} is no type to cast to", f"the types are: {names}")
        if value.parameter is not None and value.type is None:
            return self._settled(value, kind, node)
        if value.type in (kind, None):
            return replace(value, type=kind, column=None)
        if value.text is not None and (sql := literal_as(kind, value.text)) is not None:
            return Typed(sql, kind, nullable=False)
        form = CASTS.get((value.type, kind))
        if form is None:
            hint = "declare the column with the type that you need: engines read and write texts differently"
            raise self.text.error(node, f"{value.type.value} cannot be cast to {kind.value}", hint)
        return Typed(form.format(value.sql), kind, value.nullable)

    # -- aggregates

    def _argument(self, node: exp.AggFunc, scope: Scope, *, distinct: bool = False) -> tuple[Typed, str]:
        if scope.groups is None:
            raise self.text.error(node, f"the aggregate {node.sql()} stands where rows are not grouped", "use HAVING")
        inner, word = node.this, ""
        if isinstance(inner, exp.Distinct):
            self.text.check_parts(inner, frozenset({"expressions"}))
            if not distinct or len(inner.expressions) != 1:
                raise self.text.error(node, f"{node.sql()} uses DISTINCT", "DISTINCT is for COUNT of one column")
            inner, word = inner.expressions[0], "DISTINCT "
        return self.compile(inner, scope.rows()), word

    def _count(self, node: exp.Count, scope: Scope) -> Typed:
        if isinstance(node.this, exp.Star):
            if scope.groups is None:
                raise self.text.error(node, "the aggregate COUNT(*) stands where rows are not grouped", "use HAVING")
            return Typed("count(*)", T.INTEGER, nullable=False)
        value, word = self._argument(node, scope, distinct=True)
        return Typed(f"count({word}{value.sql})", T.INTEGER, nullable=False)

    def _sum(self, node: exp.Sum, scope: Scope) -> Typed:
        value, _ = self._argument(node, scope)
        if value.type is not T.DURATION:
            self._number(value, node)
        return Typed(f"sum({value.sql})" if value.type is T.REAL else exact_sum(value.sql), value.type)

    def _avg(self, node: exp.Avg, scope: Scope) -> Typed:
        value, _ = self._argument(node, scope)
        if value.type is T.DURATION:
            return Typed(f"CAST(avg({value.sql}) AS INTEGER)", T.DURATION)
        self._number(value, node)
        return Typed(f"avg({value.sql})", T.REAL)

    def _extreme(self, node: exp.Min | exp.Max, scope: Scope) -> Typed:
        value, _ = self._argument(node, scope)
        self.check_ordered(value, node)
        return Typed(f"{node.key}({value.sql})", value.type)
