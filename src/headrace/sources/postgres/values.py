"""From PostgreSQL's text to Python values that fit a record's columns, whole columns at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.core.schema import ColumnType
from headrace.sources.postgres.messages import Cell
from headrace.sources.postgres.types import PgType, Types

SETTINGS: Mapping[str, str] = {
    "client_encoding": "UTF8",
    "datestyle": "ISO",
    "timezone": "UTC",
    "intervalstyle": "postgres",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "lc_monetary": "C",
}
"""What every session must have set (a replication session too: the plugin writes with its settings)."""


@dataclass(frozen=True, slots=True)
class Carried:
    """A column whose type has no mapping: it is carried as PostgreSQL's text."""

    column: str
    type: PgType
    message: str


class Conversion:
    """Converts the rows of one relation for one table.

    Parameters
    ----------
    types
        Knows the types of all columns (`Types.missing` says which it does not).
    given
        Name and type oid of each column, in the order of the cells.
    wanted
        The column type of each name that the record declares (`{c.name: c.type for c in schema.columns}`). A column
        that it does not declare becomes what is natural for its PostgreSQL type.

    Attributes
    ----------
    names
        The names of the columns, in order: those of `Tuples.names`.
    carried
        Columns that are carried as text for want of a mapping; the source says so to people.

    Nothing raises and nothing is lost: a value that does not fit stays the text that it was, for the contract to judge.
    """

    names: tuple[str, ...]
    carried: tuple[Carried, ...]

    def __init__(self, types: Types, given: Sequence[tuple[str, int]], wanted: Mapping[str, ColumnType]) -> None:
        raise NotImplementedError

    def rows(self, rows: Sequence[tuple[Cell, ...]]) -> list[tuple[Any, ...]]:
        """Rows of cells (none of them `UNCHANGED`) as rows of values."""
        raise NotImplementedError

    def columns(self, columns: Sequence[Sequence[Cell]]) -> list[Sequence[Any]]:
        """The same, of columns of cells: `columns[i][j]` is column i of row j."""
        raise NotImplementedError

    def record(self, row: tuple[Cell, ...]) -> dict[str, Any]:
        """One row as a mapping, without the columns that are `UNCHANGED`."""
        raise NotImplementedError
