"""The SQL of a row rule: a checked subset, compiled to SQLite.

Columns, literals, AND/OR/NOT, comparisons, IN (a list), BETWEEN, LIKE, IS NULL, CASE, arithmetic and the functions of
`FUNCTIONS`. `/` is real division. A timestamp is compared with `TIMESTAMP '2026-01-31 12:00:00'` (UTC) or moved by
`INTERVAL '15' MINUTE`; underneath both are integer microseconds.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, cast

from headrace.core.clock import SECOND, instant
from headrace.core.errors import SqlError
from headrace.core.names import suggest
from headrace.core.schema import ColumnType, Schema

FUNCTIONS = ("abs", "coalesce", "instr", "length", "lower", "nullif", "replace", "round", "substr", "trim", "upper")
"""What a rule may call."""

_NODES = frozenset(
    [
        "Column",
        "Identifier",
        "Literal",
        "Boolean",
        "Null",
        "And",
        "Or",
        "Not",
        "Paren",
        "EQ",
        "NEQ",
        "GT",
        "GTE",
        "LT",
        "LTE",
        "Is",
        "In",
        "Between",
        "Like",
        "Neg",
        "Add",
        "Sub",
        "Mul",
        "Div",
        "Mod",
        "DPipe",
        "Case",
        "If",
        "Cast",
        "DataType",
        "Interval",
        "Var",
        "Abs",
        "Coalesce",
        "StrPosition",
        "Length",
        "Lower",
        "Nullif",
        "Replace",
        "Round",
        "Substring",
        "Trim",
        "Upper",
        "NullSafeEQ",
        "NullSafeNEQ",
        "Escape",
        "Distinct",
    ]
)
_SECONDS = {"SECOND": 1, "MINUTE": 60, "HOUR": 3_600, "DAY": 86_400, "WEEK": 604_800}
_TIMES = frozenset({"TIMESTAMP", "DATETIME", "TIMESTAMPTZ", "TIMESTAMPNTZ"})


def compile_expression(sql: str, schema: Schema) -> str:
    """The SQLite form of a rule's expression.

    Raises
    ------
    SqlError
        When it does not parse, is outside the subset, or names a column that is not there.
    """
    import sqlglot  # 50 ms to import, and only who declares SQL rules needs it
    from sqlglot import errors

    try:
        tree: Any = sqlglot.parse_one(sql)
    except errors.SqlglotError as error:
        raise SqlError(
            f"the rule {sql!r} is not SQL: {_first_line(str(error))}", hint="write a condition such as price > 0"
        ) from error
    tree = tree.transform(_lower_times)
    for node in tree.walk():
        _check_node(node, sql, schema)
    return str(tree.transform(_quoted).sql(dialect="sqlite"))


def _quoted(node: Any) -> Any:
    from sqlglot import exp

    if type(node).__name__ != "Identifier":
        return node
    return cast("Any", exp).to_identifier(node.name, quoted=True)


def _first_line(text: str) -> str:
    return re.sub(r"\x1b\[\d+m", "", text).splitlines()[0].rstrip(".")


def _check_node(node: Any, sql: str, schema: Schema) -> None:
    kind = type(node).__name__
    if kind not in _NODES:
        raise SqlError(
            f"the rule {sql!r} uses {_word(node)}, which a rule cannot",
            hint="a rule looks at the columns of one record: comparisons, AND, OR, NOT, IN, BETWEEN, LIKE, CASE, "
            f"arithmetic and {', '.join(FUNCTIONS)}",
        )
    if kind == "Column":
        if node.table:
            raise SqlError(f"the rule {sql!r} names a table ({node.table!r})", hint="name columns alone")
        if not schema.has(node.name):
            raise SqlError(
                f"the rule {sql!r} names the column {node.name!r}, which {schema.name!r} does not have",
                hint=suggest(node.name, schema.names),
            )
    if kind in ("EQ", "NEQ", "GT", "GTE", "LT", "LTE"):
        _check_comparison(node, sql, schema)


def _check_comparison(node: Any, sql: str, schema: Schema) -> None:
    for one, other in ((node.this, node.expression), (node.expression, node.this)):
        is_time = type(one).__name__ == "Column" and schema.has(one.name)
        is_time = is_time and schema.column(one.name).type is ColumnType.TIMESTAMP
        if is_time and type(other).__name__ == "Literal" and other.is_string:
            raise SqlError(
                f"the rule {sql!r} compares the timestamp {one.name!r} with text",
                hint=f"write TIMESTAMP '{other.name}'",
            )


def _word(node: Any) -> str:
    name = str(getattr(node, "name", "")) if type(node).__name__ == "Anonymous" else ""
    return f"the function {name}()" if name else type(node).__name__


def _lower_times(node: Any) -> Any:
    """Timestamps and intervals as integer microseconds."""
    from sqlglot import exp

    kind = type(node).__name__
    if kind == "Cast" and node.to.this.name in _TIMES and type(node.this).__name__ == "Literal":
        try:
            at = datetime.fromisoformat(node.this.name)
        except ValueError as error:
            raise SqlError(
                f"{node.this.name!r} is not a timestamp", hint="write TIMESTAMP '2026-01-31 12:00:00'"
            ) from error
        return exp.Literal.number(instant(at))
    if kind == "Interval":
        return exp.Literal.number(_interval(node))
    return node


def _interval(node: Any) -> int:
    unit = str(node.args.get("unit") or "").upper().removesuffix("S")
    try:
        return round(float(node.this.name) * _SECONDS[unit] * SECOND)
    except (KeyError, ValueError, AttributeError) as error:
        raise SqlError(
            f"{node.sql()!r} is not an interval of fixed length", hint="write INTERVAL '15' MINUTE (second to week)"
        ) from error
