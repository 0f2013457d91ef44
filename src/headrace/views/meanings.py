"""The pinned meanings as tables: what casts and adds up, how LIKE is spelled, what a construct is made of."""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from headrace.core.schema import ColumnType

T = ColumnType
NOW = ":_now"
"""The hidden parameter that CURRENT_TIMESTAMP becomes."""

UNITS = {
    "MICROSECOND": 1,
    "MILLISECOND": 1_000,
    "SECOND": 1_000_000,
    "MINUTE": 60_000_000,
    "HOUR": 3_600_000_000,
    "DAY": 86_400_000_000,
    "WEEK": 604_800_000_000,
}
CAST_TYPES = {
    "TEXT": T.TEXT, "VARCHAR": T.TEXT, "CHAR": T.TEXT,
    "INT": T.INTEGER, "BIGINT": T.INTEGER,
    "DOUBLE": T.REAL, "FLOAT": T.REAL,
    "BOOLEAN": T.BOOLEAN, "TIMESTAMP": T.TIMESTAMP, "TIMESTAMPTZ": T.TIMESTAMP, "DATETIME": T.TIMESTAMP,
    "DATE": T.DATE, "TIME": T.TIME, "UUID": T.UUID, "INTERVAL": T.DURATION,
}  # fmt: skip
CASTS: dict[tuple[ColumnType, ColumnType], str] = {
    (T.INTEGER, T.REAL): "CAST({} AS REAL)",
    (T.REAL, T.INTEGER): "CAST({} AS INTEGER)",
    (T.INTEGER, T.TEXT): "CAST({} AS TEXT)",
    (T.BOOLEAN, T.INTEGER): "{}",
    (T.INTEGER, T.BOOLEAN): "({} <> 0)",
    (T.UUID, T.TEXT): "{}",
    (T.DATE, T.TEXT): "{}",
    (T.TIME, T.TEXT): "{}",
    (T.DECIMAL, T.TEXT): "{}",
    (T.DECIMAL, T.REAL): "CAST({} AS REAL)",
}
TIME_SUMS: dict[tuple[type[exp.Expr], ColumnType, ColumnType], ColumnType] = {
    (exp.Add, T.TIMESTAMP, T.DURATION): T.TIMESTAMP,
    (exp.Add, T.DURATION, T.TIMESTAMP): T.TIMESTAMP,
    (exp.Add, T.DURATION, T.DURATION): T.DURATION,
    (exp.Sub, T.TIMESTAMP, T.TIMESTAMP): T.DURATION,
    (exp.Sub, T.TIMESTAMP, T.DURATION): T.TIMESTAMP,
    (exp.Sub, T.DURATION, T.DURATION): T.DURATION,
    (exp.Mul, T.DURATION, T.INTEGER): T.DURATION,
    (exp.Mul, T.INTEGER, T.DURATION): T.DURATION,
}
SYMBOLS: dict[type[exp.Expr], str] = {
    exp.EQ: "=", exp.NEQ: "<>", exp.LT: "<", exp.LTE: "<=", exp.GT: ">", exp.GTE: ">=",
    exp.NullSafeEQ: "IS", exp.NullSafeNEQ: "IS NOT",
    exp.Add: "+", exp.Sub: "-", exp.Mul: "*", exp.Div: "/", exp.Mod: "%", exp.And: "AND", exp.Or: "OR",
}  # fmt: skip
PARTS: dict[type[exp.Expr], frozenset[str]] = {
    exp.Column: frozenset({"this", "table"}),
    exp.Literal: frozenset({"this", "is_string"}),
    exp.Interval: frozenset({"this", "unit"}),
    exp.Between: frozenset({"this", "low", "high"}),
    exp.In: frozenset({"this", "expressions", "query"}),
    exp.Like: frozenset({"this", "expression", "negate"}),
    exp.Is: frozenset({"this", "expression", "negate"}),
    exp.Case: frozenset({"this", "ifs", "default"}),
    exp.Coalesce: frozenset({"this", "expressions"}),
    exp.Nullif: frozenset({"this", "expression"}),
    exp.Cast: frozenset({"this", "to"}),
    exp.Substring: frozenset({"this", "start", "length"}),
    exp.Round: frozenset({"this", "decimals"}),
    exp.Anonymous: frozenset({"this", "expressions"}),
    exp.Count: frozenset({"this", "big_int"}),
    exp.CurrentTimestamp: frozenset(),
    exp.DPipe: frozenset({"this", "expression", "safe"}),
}
"""What each construct is made of, as far as it is compiled. A part that is not listed (SYMMETRIC, FORMAT, a length) is
refused: a parser that learns a new one must not make it vanish from the meaning of a view."""
BINARY_PARTS = frozenset({"this", "expression"})
ONE_PART = frozenset({"this"})
ORDERING = (exp.LT, exp.LTE, exp.GT, exp.GTE)


def glob(pattern: str, escape: str, fail: Callable[[str], Exception]) -> str:
    """The GLOB pattern of a LIKE pattern: GLOB minds case in every collation and setting, SQLite's LIKE does not."""
    out: list[str] = []
    characters = iter(pattern)
    for character in characters:
        if escape and character == escape:
            literal = next(characters, None)
            if literal is None:
                raise fail("the pattern ends with its escape character")
            out.append(f"[{literal}]" if literal in "*?[" else literal)
        else:
            out.append({"%": "*", "_": "?", "*": "[*]", "?": "[?]", "[": "[[]"}.get(character, character))
    return "".join(out)


def glob_of(sql: str) -> str:
    """SQL that makes a GLOB pattern of a LIKE pattern that is known at read only."""
    for old, new in (("[", "[[]"), ("*", "[*]"), ("?", "[?]"), ("%", "*"), ("_", "?")):
        sql = f"replace({sql}, '{old}', '{new}')"
    return sql


def interval(node: exp.Interval) -> int | None:
    """Microseconds of a constant interval; None when it is none, or its unit has no fixed length."""
    unit = str(node.args.get("unit") or "").upper()
    factor = UNITS.get(unit) or UNITS.get(unit.removesuffix("S"))
    if factor is None or not isinstance(node.this, exp.Literal):
        return None
    try:
        return round(float(str(node.this.this)) * factor)
    except ValueError:
        return None
