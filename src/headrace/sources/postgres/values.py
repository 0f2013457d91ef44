"""From PostgreSQL's text to Python values that fit a record's columns, whole columns at a time.

Which type becomes what stands in `converters`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.core.schema import ColumnType
from headrace.sources.postgres.converters import Convert, convert_cells, converter, natural, texts
from headrace.sources.postgres.messages import UNCHANGED, Cell
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
"""What every session must have set, the replication session too: the plugin writes values with its settings.

Intervals are in the server's own style since the contract refuses a month in it; it would read `P1M` as 30 days.
"""


@dataclass(frozen=True, slots=True)
class Carried:
    """A column whose type has no mapping: it is carried as PostgreSQL's text. `message` says so to people."""

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

    Examples
    --------
    >>> given = [("id", 20), ("price", 1700), ("sold_at", 1184)]
    >>> conversion = Conversion(Types(), given, {"id": ColumnType.INTEGER, "price": ColumnType.REAL})
    >>> conversion.rows([(b"7", b"2.50", None), (b"8", b"NaN", b"infinity")])
    [(7, 2.5, None), (8, nan, 'infinity')]
    """

    def __init__(self, types: Types, given: Sequence[tuple[str, int]], wanted: Mapping[str, ColumnType]) -> None:
        self.names = tuple(name for name, _ in given)
        self._converts: list[Convert] = []
        carried: list[Carried] = []
        for name, oid in given:
            target = wanted.get(name) or natural(types.plain(oid))
            found = converter(types, oid, target)
            if found is None:
                carried.append(_carried(name, types[oid], target))
            self._converts.append(found or texts)
        self.carried = tuple(carried)

    def rows(self, rows: Sequence[tuple[Cell, ...]]) -> list[tuple[Any, ...]]:
        """Rows of cells (none of them `UNCHANGED`) as rows of values. It pays to convert many at once.

        Raises
        ------
        ValueError
            A row has another number of cells than the relation has columns: it was decoded with another `Relation`.
        """
        if not rows:
            return []
        return list(zip(*self.columns(list(zip(*rows, strict=True))), strict=True))

    def columns(self, columns: Sequence[Sequence[Cell]]) -> list[Sequence[Any]]:
        """The same, of columns of cells: `columns[i][j]` is column i of row j.

        Raises
        ------
        ValueError
            There are not as many as the relation has.
        """
        pairs = zip(self._converts, columns, strict=True)
        return [convert_cells(convert, cells) for convert, cells in pairs]

    def record(self, row: tuple[Cell, ...]) -> dict[str, Any]:
        """One row as a mapping, without the columns that are `UNCHANGED`.

        Raises
        ------
        ValueError
            As of `rows`.
        """
        return {
            name: convert_cells(convert, (cell,))[0]
            for name, convert, cell in zip(self.names, self._converts, row, strict=True)
            if cell is not UNCHANGED
        }


def _carried(name: str, kind: PgType, target: ColumnType) -> Carried:
    message = (
        f"the column {name!r} has the type {kind.name}, which has no mapping to {target.value}: it is taken as text"
    )
    return Carried(name, kind, message)
