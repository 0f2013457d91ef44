"""Whether the columns of a table fill the columns of a record."""

from __future__ import annotations

from collections.abc import Iterator

from headrace.core.findings import Finding, Grade
from headrace.core.schema import Column, ColumnType, Schema
from headrace.sources.postgres.checkup.facts import ColumnFacts, TableFacts

GENERATED = 180000
"""From here on a publication can be told to send generated columns."""

_NUMBERS = frozenset({ColumnType.INTEGER, ColumnType.REAL, ColumnType.DECIMAL})
_INSTANTS = frozenset({ColumnType.TIMESTAMP})

FITS: dict[str, frozenset[ColumnType]] = {
    "int2": _NUMBERS,
    "int4": _NUMBERS,
    "int8": _NUMBERS,
    "oid": _NUMBERS,
    "float4": frozenset({ColumnType.REAL, ColumnType.DECIMAL}),
    "float8": frozenset({ColumnType.REAL, ColumnType.DECIMAL}),
    "numeric": frozenset({ColumnType.DECIMAL, ColumnType.REAL, ColumnType.INTEGER}),
    "bool": frozenset({ColumnType.BOOLEAN}),
    "timestamptz": _INSTANTS,
    "timestamp": _INSTANTS,
    "date": frozenset({ColumnType.DATE, ColumnType.TIMESTAMP}),
    "time": frozenset({ColumnType.TIME}),
    "timetz": frozenset({ColumnType.TIME}),
    "interval": frozenset({ColumnType.DURATION}),
    "uuid": frozenset({ColumnType.UUID, ColumnType.TEXT}),
    "json": frozenset({ColumnType.JSON}),
    "jsonb": frozenset({ColumnType.JSON}),
    "bytea": frozenset({ColumnType.BYTES}),
}
"""The record's column types that take each type without a word; text of any kind is judged by `fit`."""

TEXTS = frozenset({"text", "varchar", "bpchar", "name", "char", "citext", "xml"})
"""Types whose values are text to begin with."""


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
    names = [name for name in schema.names if name in table.columns and table.columns[name].generated]
    if not names:
        return
    needed = any(_required(schema.column(name)) or name in schema.key for name in names)
    newer = (
        " PostgreSQL 18 sends stored ones if the publication says publish_generated_columns = stored."
        if version >= GENERATED
        else ""
    )
    yield Finding(
        subject, "generated columns", Grade.PROBLEM if needed else Grade.WARNING, ", ".join(names),
        f"The server does not send generated columns.{newer} Compute them in a view of the app.",
    )  # fmt: skip


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
    Grade.WARNING: "Each value is read as the record wants it; one that cannot be goes to quarantine.",
    Grade.PROBLEM: "Every row would go to quarantine. Correct the types of the record's fields.",
}


def fit(source: ColumnFacts, wanted: ColumnType) -> tuple[Grade, str]:
    """How values of `source` become values of a column of type `wanted`; "" says that there is nothing to say.

    >>> fit(ColumnFacts("bigint", "int8", "b", "N", True), ColumnType.INTEGER)
    (<Grade.OK: 'ok'>, '')
    >>> fit(ColumnFacts("inet", "inet", "b", "I", True), ColumnType.TEXT)
    (<Grade.OK: 'ok'>, 'is carried as text')
    >>> fit(ColumnFacts("jsonb", "jsonb", "b", "U", True), ColumnType.INTEGER)
    (<Grade.PROBLEM: 'problem'>, 'is not integer')
    """
    if source.category == "A":
        return (Grade.OK, "") if wanted is ColumnType.JSON else (Grade.PROBLEM, f"is an array, not {wanted.value}")
    if source.base in FITS:
        return _known(source, wanted)
    if source.base in TEXTS or source.kind == "e":
        return (Grade.OK, "") if wanted is ColumnType.TEXT else (Grade.WARNING, f"is read as {wanted.value}")
    if wanted is ColumnType.TEXT:
        return Grade.OK, "is carried as text"
    return Grade.WARNING, f"is carried as text and read as {wanted.value}"


def _known(source: ColumnFacts, wanted: ColumnType) -> tuple[Grade, str]:
    if wanted in FITS[source.base]:
        if source.base == "numeric" and wanted is ColumnType.INTEGER:
            return Grade.WARNING, "may be no integer exactly"
        return Grade.OK, ""
    if wanted is ColumnType.BOOLEAN and source.base in ("int2", "int4", "int8"):
        return Grade.WARNING, "is a boolean only as 0 or 1"
    if wanted is ColumnType.INTEGER and source.base in ("float4", "float8"):
        return Grade.WARNING, "may be no integer exactly"
    return Grade.PROBLEM, f"is not {wanted.value}"


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
