"""Whether the columns of a table fill the columns of a record."""

from __future__ import annotations

from collections.abc import Iterator

from headrace.core.findings import Finding, Grade
from headrace.core.schema import Column, ColumnType, Schema
from headrace.sources.postgres.checkup.facts import ColumnFacts, TableFacts

STORED = 180000
"""From here on a publication can send stored generated columns."""

_INTEGERS = frozenset({"int2", "int4", "int8", "oid", "xid", "cid", "xid8"})
_FLOATS = frozenset({"float4", "float8"})
_INSTANTS = frozenset({"timestamptz", "timestamp"})
TEXTS = frozenset({"text", "varchar", "bpchar", "char", "name", "citext", "xml"})
"""Types whose values are text to begin with: the record reads it as whatever its field is."""

BECOMES: dict[ColumnType, frozenset[str]] = {
    ColumnType.INTEGER: _INTEGERS | {"bool"},
    ColumnType.REAL: _INTEGERS | _FLOATS | {"numeric", "money"},
    ColumnType.DECIMAL: _INTEGERS | _FLOATS | {"numeric", "money"},
    ColumnType.BOOLEAN: frozenset({"bool"}),
    ColumnType.TIMESTAMP: _INSTANTS | {"date"},
    ColumnType.DATE: frozenset({"date"}),
    ColumnType.TIME: frozenset({"time", "timetz"}),
    ColumnType.DURATION: frozenset({"interval"}),
    ColumnType.UUID: frozenset({"uuid"}),
    ColumnType.BYTES: frozenset({"bytea"}),
}
"""What becomes a value of each column type, always. Text takes everything, and JSON all that the server itself has."""

SOMETIMES: dict[ColumnType, dict[str, str]] = {
    ColumnType.INTEGER: dict.fromkeys([*_FLOATS, "numeric"], "is an integer only without a fraction"),
    ColumnType.BOOLEAN: dict.fromkeys(_INTEGERS, "is a boolean only as 0 or 1"),
    ColumnType.DATE: dict.fromkeys(_INSTANTS, "is a date only at midnight"),
}
"""What becomes one if it is of a certain form; other values go to quarantine."""


def examine_columns(table: TableFacts, schema: Schema, subject: str, version: int) -> Iterator[Finding]:
    """Findings about the columns that the record has, one for each kind of trouble."""
    missing = list(_missing(table, schema, subject))
    if not missing:
        yield Finding(subject, "columns", Grade.OK, f"all {len(schema.columns)} of the record")
    yield from missing
    yield from _generated(table, schema, subject, version)
    yield from _types(table, schema, subject)
    yield from _nulls(table, schema, subject)


def _missing(table: TableFacts, schema: Schema, subject: str) -> Iterator[Finding]:
    gone = [column for column in schema.columns if column.name not in table.columns]
    needed = [column.name for column in gone if _required(column) or column.name in schema.key]
    spare = [column.name for column in gone if column.name not in needed]
    if needed:
        yield Finding(
            subject, "columns", Grade.PROBLEM, f"without {', '.join(needed)}",
            f"The record needs them, and the table has {', '.join(table.columns)}. Correct the record, or give the"
            " fields a default: every row would go to quarantine.",
        )  # fmt: skip
    if spare:
        yield Finding(
            subject, "columns", Grade.WARNING, f"without {', '.join(spare)}",
            "The table has no such columns; the record's defaults stand in their place.",
        )  # fmt: skip


def _generated(table: TableFacts, schema: Schema, subject: str, version: int) -> Iterator[Finding]:
    stored = [name for name in schema.names if _letter(table, name) == "s"]
    unsent = [name for name in schema.names if _letter(table, name) == "v" or (version < STORED and name in stored)]
    if unsent:
        yield Finding(
            subject, "generated columns", Grade.PROBLEM, ", ".join(unsent),
            "The server does not send them: virtual ones never, stored ones from PostgreSQL 18 on. Leave them out of"
            " the record, and compute them in a view of the app.",
        )  # fmt: skip


def _letter(table: TableFacts, name: str) -> str:
    column = table.columns.get(name)
    return "" if column is None else column.generated


def _types(table: TableFacts, schema: Schema, subject: str) -> Iterator[Finding]:
    by_grade: dict[Grade, list[str]] = {}
    for column in schema.columns:
        source = table.columns.get(column.name)
        if source is not None and not source.generated:
            grade, why = fit(source, column.type)
            if why:
                by_grade.setdefault(grade, []).append(f"{column.name}: {source.type} {why}")
    for grade, texts in by_grade.items():
        yield Finding(subject, "types", grade, "; ".join(texts), _TYPE_MESSAGES[grade])


_TYPE_MESSAGES = {
    Grade.OK: "",
    Grade.WARNING: "A value that the record cannot read goes to quarantine.",
    Grade.PROBLEM: "They come as text, and no such text is what the record wants: expect every row in quarantine."
    " Correct the types of the record's fields.",
}


def fit(source: ColumnFacts, wanted: ColumnType) -> tuple[Grade, str]:
    """How values of `source` become values of a column of type `wanted`; "" says that there is nothing to say.

    >>> fit(ColumnFacts("bigint", "int8", "b", "N", True), ColumnType.INTEGER)
    (<Grade.OK: 'ok'>, '')
    >>> fit(ColumnFacts("vector", "vector", "b", "U", True, built_in=False), ColumnType.TEXT)
    (<Grade.OK: 'ok'>, 'is carried as text')
    >>> fit(ColumnFacts("jsonb", "jsonb", "b", "U", True), ColumnType.INTEGER)
    (<Grade.PROBLEM: 'problem'>, 'is not integer')
    """
    plain = source.kind == "b" and source.category != "A"
    is_text = source.kind == "e" or source.base in TEXTS
    known = is_text or source.base == "hstore" or source.built_in or source.category == "A" or source.kind in ("r", "m")
    if wanted is ColumnType.TEXT or wanted is ColumnType.JSON:
        if known:
            return Grade.OK, ""
        return (Grade.OK if wanted is ColumnType.TEXT else Grade.WARNING), "is carried as text"
    if is_text:
        return Grade.WARNING, f"is read as {wanted.value}"
    if plain and source.base in BECOMES[wanted]:
        return Grade.OK, ""
    if plain and source.base in SOMETIMES.get(wanted, ()):
        return Grade.WARNING, SOMETIMES[wanted][source.base]
    return (Grade.PROBLEM, f"is not {wanted.value}") if known else (Grade.WARNING, f"is text, read as {wanted.value}")


def _nulls(table: TableFacts, schema: Schema, subject: str) -> Iterator[Finding]:
    names = [
        column.name
        for column in schema.columns
        if not column.nullable and column.name in table.columns and not table.columns[column.name].not_null
    ]
    if names:
        yield Finding(
            subject, "nulls", Grade.WARNING, ", ".join(names),
            "The table allows NULL there and the record does not: such rows go to quarantine. Declare the fields as"
            " `| None`, or the columns as NOT NULL.",
        )  # fmt: skip


def _required(column: Column) -> bool:
    return not column.nullable and column.default is None
