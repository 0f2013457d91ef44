"""The subset of SQL that views are written in: parsing, and the errors that say where and why.

What is not listed in `docs/reference/sql.md` is refused: the compiler has a handler for each construct of the subset
and none for anything else. This module knows the reasons for what people try most.
"""

from __future__ import annotations

from typing import Any, cast

import sqlglot
from sqlglot import exp
from sqlglot.errors import ParseError, TokenError

from headrace.core.errors import SqlError

_REFERENCE = "docs/reference/sql.md lists what there is"


class SqlText:
    """The SQL of one view, for messages that point into it."""

    def __init__(self, name: str, sql: str) -> None:
        self.name = name
        self.sql = sql

    def error(self, node: exp.Expr | None, message: str, hint: str) -> SqlError:
        """An error at the place of `node`."""
        start = None if node is None else _start(node)
        return self.error_at(start, message, hint)

    def error_at(self, start: int | None, message: str, hint: str) -> SqlError:
        """An error at a character of the SQL; None: nowhere in particular."""
        place = "" if start is None else f", line {self._line(start)}:{self._column(start)}"
        return SqlError(f"view {self.name!r}{place}: {message}", hint=hint)

    def refuse(self, node: exp.Expr) -> SqlError:
        """The error for a construct outside the subset."""
        reason, hint = _REFUSALS.get(type(node), ("is not in the SQL subset of views", _REFERENCE))
        return self.error(node, f"{_cut(node.sql())} {reason}", hint)

    def check_parts(self, node: exp.Expr, known: frozenset[str]) -> None:
        """Refuse a construct that has a part which the compiler does not compile."""
        for name, value in node.args.items():
            if value not in (None, False, [], "") and name not in known:
                part: object = cast("list[object]", value)[0] if isinstance(value, list) else value
                if isinstance(part, exp.Expr):
                    raise self.refuse(part)
                raise self.error(node, f"{name.strip('_').upper()} is not in the SQL subset of views", _REFERENCE)

    def _line(self, start: int) -> int:
        return self.sql.count("\n", 0, start) + 1

    def _column(self, start: int) -> int:
        return start - (self.sql.rfind("\n", 0, start) + 1) + 1


def parse(text: SqlText) -> exp.Query:
    """The one query of a view.

    Raises
    ------
    SqlError
        When it is not SQL, or not one SELECT.
    """
    try:
        statements = [part for part in sqlglot.parse(text.sql) if part is not None]
    except ParseError as error:
        raise _syntax(text, error) from None
    except (TokenError, RecursionError) as error:
        raise text.error_at(None, f"this is not SQL: {error}", "a quote or a bracket may be open") from None
    if len(statements) != 1:
        hint = "declare a view for each" if statements else "write for example SELECT item_id FROM items"
        raise text.error_at(None, f"a view is one SELECT; here are {len(statements)} statements", hint)
    query = statements[0]
    if isinstance(query, exp.Subquery):
        raise text.error(query, "the whole SELECT is in brackets", "leave the outer brackets out")
    if not isinstance(query, exp.Select | exp.Union):
        raise text.error(query, f"a view is a SELECT, not {query.key.upper()}", "views only read")
    return query


def _syntax(text: SqlText, error: ParseError) -> SqlError:
    first: dict[str, Any] = error.errors[0] if error.errors else {}
    line, column = first.get("line"), first.get("col")
    near = str(first.get("highlight") or "")
    described = str(first.get("description") or error).split(" for <class")[0].rstrip(".")
    place = f", line {line}:{column}" if line else ""
    return SqlError(f"view {text.name!r}{place}: {described}, near {near!r}", hint="this is not valid SQL")


def _start(node: exp.Expr) -> int | None:
    starts = [part.meta["start"] for part in node.walk() if "start" in part.meta]
    if not starts and node.parent is not None:
        return _start(node.parent)
    return min(starts, default=None)


def _cut(sql: str) -> str:
    return sql if len(sql) <= 60 else sql[:57] + "..."


_REFUSALS: dict[type[exp.Expr], tuple[str, str]] = {
    exp.Window: ("is a window function", "use a rollup, or GROUP BY; window functions differ between engines"),
    exp.Filter: ("uses FILTER", "write the condition inside: SUM(CASE WHEN ... THEN x END)"),
    exp.IntDiv: ("is an integer division, which engines round differently", "use / (real) and ROUND"),
    exp.Pow: ("is not in the SQL subset of views", "multiply"),
    exp.ILike: ("ignores case", "write LOWER(x) LIKE 'a%'"),
    exp.RegexpLike: ("is a regular expression, which engines spell differently", "use LIKE"),
    exp.SimilarTo: ("is a regular expression, which engines spell differently", "use LIKE"),
    exp.Glob: ("is SQLite's own", "use LIKE"),
    exp.Except: ("is not in the SQL subset of views", "use NOT EXISTS"),
    exp.Intersect: ("is not in the SQL subset of views", "use EXISTS"),
    exp.Lateral: ("is a lateral join", "use a join or a scalar subquery"),
    exp.Unnest: ("makes rows of a list", "declare a table with one row an element"),
    exp.JSONExtract: ("looks into JSON", "declare the field as a column of the record"),
    exp.JSONExtractScalar: ("looks into JSON", "declare the field as a column of the record"),
    exp.Collate: ("names a collation", "text compares by code point; use LOWER to ignore case"),
    exp.If: ("is not standard SQL", "use CASE WHEN ... THEN ... ELSE ... END"),
    exp.TryCast: ("is not standard SQL", "use CAST"),
    exp.Rand: ("is random", "a view must give the same for the same data"),
    exp.CurrentDate: ("depends on a time zone", "compare timestamps with CURRENT_TIMESTAMP - INTERVAL '1 day'"),
    exp.CurrentTime: ("depends on a time zone", "use CURRENT_TIMESTAMP"),
    exp.Values: ("is a list of rows", "push the rows to a table"),
    exp.Fetch: ("is not in the SQL subset of views", "use LIMIT"),
    exp.Lock: ("locks", "views only read"),
    exp.GroupConcat: ("joins text in an order that engines choose differently", "return the rows and join in Python"),
    exp.ArrayAgg: ("makes lists", "return the rows"),
    exp.Qualify: ("is QUALIFY, on a window function", "use GROUP BY with MAX, or a rollup"),
    exp.Bracket: ("looks into a list or a map", "declare the field as a column of the record"),
}
