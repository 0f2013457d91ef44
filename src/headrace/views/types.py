"""Types of expressions and parameters, and which of them may meet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from uuid import UUID

from headrace.core.clock import instant
from headrace.core.schema import ColumnType

NUMBERS = frozenset({ColumnType.INTEGER, ColumnType.REAL})
UNORDERED = frozenset({ColumnType.DECIMAL, ColumnType.JSON, ColumnType.BYTES})
"""Types whose stored form has another order than their value: selected and compared for equality only."""


@dataclass(frozen=True, slots=True)
class Typed:
    """A compiled expression.

    Attributes
    ----------
    sql
        Its SQLite form.
    type
        None: a bare NULL, or a parameter whose type is not known yet.
    nullable
        Whether it may be NULL.
    parameter
        Its name, when it is nothing but a parameter.
    text
        Its content, when it is a text literal, so that '2026-01-01' can become a timestamp.
    column
        Alias and column, when it is nothing but a column.
    """

    sql: str
    type: ColumnType | None
    nullable: bool = True
    parameter: str | None = None
    text: str | None = None
    column: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Parameter:
    """A named parameter of a view.

    `nullable`: it is compared with IS NULL or goes through COALESCE, so that NULL (left out) means something.
    """

    name: str
    type: ColumnType
    nullable: bool = False


class Parameters:
    """What is learned of the parameters while a view is compiled."""

    def __init__(self, declared: dict[str, ColumnType] | None = None) -> None:
        self.declared = dict(declared or {})
        self.types: dict[str, ColumnType | None] = {}
        self._nullable: set[str] = set()

    def see(self, name: str) -> ColumnType | None:
        """Note a use; the type as far as it is known."""
        return self.types.setdefault(name, self.declared.get(name))

    def settle(self, name: str, kind: ColumnType) -> bool:
        """Learn a type from where the parameter stands; False when it contradicts another place."""
        known = self.see(name)
        if known is None or (known in NUMBERS and kind in NUMBERS):
            wide = kind if known in (None, kind) else ColumnType.REAL
            self.types[name] = self.declared.get(name, wide)
            return True
        return known is kind

    def allow_null(self, name: str) -> None:
        """Learn that NULL means something."""
        self._nullable.add(name)

    def listed(self) -> tuple[Parameter, ...]:
        """All with a known type, in order of first use."""
        return tuple(Parameter(name, kind, name in self._nullable) for name, kind in self.types.items() if kind)

    def unknown(self) -> list[str]:
        """Names whose type no place tells."""
        return [name for name, kind in self.types.items() if kind is None]


def literal_as(kind: ColumnType, text: str) -> str | None:
    """The SQL of a text literal read as another type; None when there is no such reading.

    >>> literal_as(ColumnType.TIMESTAMP, "1970-01-01T00:00:01Z"), literal_as(ColumnType.INTEGER, "1")
    ('1000000', None)
    """
    reader = _LITERALS.get(kind)
    if reader is None:
        return None
    try:
        return reader(text)
    except ValueError:
        return None


def text_literal(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


_LITERALS: dict[ColumnType, Callable[[str], str]] = {
    ColumnType.TEXT: text_literal,
    ColumnType.TIMESTAMP: lambda text: str(instant(datetime.fromisoformat(text))),
    ColumnType.DATE: lambda text: text_literal(date.fromisoformat(text).isoformat()),
    ColumnType.TIME: lambda text: text_literal(time.fromisoformat(text).isoformat()),
    ColumnType.UUID: lambda text: text_literal(str(UUID(text))),
    ColumnType.DECIMAL: text_literal,
}


def as_type(value: Typed, kind: ColumnType | None) -> Typed:
    """`value` where the other branches are of `kind`: integers become real, text literals what they stand for."""
    if value.type is ColumnType.INTEGER and kind is ColumnType.REAL:
        return replace(value, sql=f"CAST({value.sql} AS REAL)", type=kind, column=None)
    if value.text is not None and kind is not None and (sql := literal_as(kind, value.text)) is not None:
        return replace(value, sql=sql, type=kind)
    return value
