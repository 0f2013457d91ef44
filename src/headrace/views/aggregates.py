"""The aggregates of a rollup: what a tile keeps, how events fold into it, how tiles merge at read.

Each aggregate keeps either *partials*, columns of the tiles table, or a *side table* with one row per tile and value.
NULLs are ignored, as in SQL. Everything is plain SQL over rows on disk: no blobs, no state in memory.

| aggregate         | kept per tile                              | exact                    |
|-------------------|--------------------------------------------|--------------------------|
| count, sum, mean  | numbers of events, of non-NULLs; the sum   | yes (floats: to rounding) |
| min, max, last    | the value (last: and when it was)          | yes                      |
| distinct, top_k   | one row a value, with its count            | yes                      |
| quantile          | one row a DDSketch bin, with its count     | within 1 % of the value  |
"""

from __future__ import annotations

import builtins
import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from headrace.core.errors import DeclarationError
from headrace.core.schema import ColumnType, Row, Schema, Stored
from headrace.views.definitions import quoted
from headrace.views.sketch import bin_value, sketch_bin

INTEGER_LIMIT = 2**63
"""Sums of integers at or beyond this magnitude become REAL, since SQLite's integers end here."""

_NUMBERS = frozenset({ColumnType.INTEGER, ColumnType.REAL, ColumnType.DURATION})
_ORDERED = _NUMBERS | {
    ColumnType.TEXT,
    ColumnType.TIMESTAMP,
    ColumnType.DATE,
    ColumnType.TIME,
    ColumnType.BOOLEAN,
    ColumnType.UUID,
}
_COUNTED = _ORDERED
_LISTED = frozenset(
    {ColumnType.TEXT, ColumnType.INTEGER, ColumnType.REAL, ColumnType.UUID, ColumnType.DATE, ColumnType.TIME}
)
_ANY = frozenset(ColumnType)


@dataclass(frozen=True, slots=True)
class Partial:
    """One column of the tiles table.

    Attributes
    ----------
    name, storage
        The column and its SQLite type.
    positions
        The columns that it is made of.
    combine
        The partial of a non-empty group of cells, in order of arrival: values of the one column, tuples of several, or
        anything at all when there is none.
    merge
        SQL that combines the stored partial with the new one (`excluded`).
    """

    name: str
    storage: str
    positions: tuple[int, ...]
    combine: Callable[[Sequence[Any]], Stored]
    merge: str

    def fold(self, rows: Sequence[Row]) -> Stored:
        """The partial of a non-empty group of rows, in order of arrival."""
        return self.combine(cells(rows, self.positions))


def cells(rows: Sequence[Row], positions: tuple[int, ...]) -> Sequence[Any]:
    """What `Partial.combine` takes, of each row."""
    take = cast("Callable[[Row], Any]", operator.itemgetter(*positions)) if positions else None
    return rows if take is None else list(map(take, rows))


@dataclass(frozen=True, slots=True)
class Side:
    """A table beside the tiles with one row per key, tile and value: `(by..., _tile, _value, _n)`.

    `bucket` turns a column's value into what is counted.
    """

    suffix: str
    column: str
    storage: str
    bucket: Callable[[Stored], Stored]


@dataclass(frozen=True, slots=True)
class Reading:
    """Where an aggregate reads: the tiles table, the side tables by suffix, and the condition on alias `_t`."""

    tiles: str
    sides: dict[str, str]
    match: str


class Aggregate(ABC):
    """What a rollup computes per key and window. Use the functions `count`, `sum`, ... to make one."""

    kind: ClassVar[str]
    accepts: ClassVar[frozenset[ColumnType]] = _ANY

    def __init__(self, column: str | None = None) -> None:
        self.column = column

    def __repr__(self) -> str:
        return f"{self.kind}({', '.join(repr(part) for part in self.arguments())})"

    def arguments(self) -> tuple[object, ...]:
        """What it was made of, for its definition."""
        return () if self.column is None else (self.column,)

    def check(self, schema: Schema) -> None:
        """Raise `DeclarationError` when the events cannot feed it."""
        if self.column is None:
            return
        if not schema.has(self.column):
            raise DeclarationError(
                f"{self!r} names a column that {schema.name!r} does not have",
                hint=f"the columns are: {', '.join(schema.names)}",
            )
        kind = schema.column(self.column).type
        if kind not in self.accepts:
            raise DeclarationError(
                f"{self!r} cannot be computed: the column is {kind.value}",
                hint=f"{self.kind} takes {', '.join(sorted(k.value for k in self.accepts))}",
            )

    @abstractmethod
    def type(self, schema: Schema) -> ColumnType:
        """The type of its output."""

    @property
    def nullable(self) -> bool:
        """Whether a window without a value gives NULL (else 0)."""
        return True

    def partials(self, schema: Schema) -> tuple[Partial, ...]:
        """Its columns in the tiles table."""
        return ()

    def sides(self, schema: Schema) -> tuple[Side, ...]:
        """Its side tables."""
        return ()

    @abstractmethod
    def read(self, schema: Schema, reading: Reading) -> str:
        """A scalar SQL expression over the tiles that match."""

    def _source(self, schema: Schema) -> ColumnType:
        return schema.column(self.column or "").type


def _value_partial(schema: Schema, column: str, word: str, combine: Callable[..., Stored], merge: str) -> Partial:
    at = schema.position(column)
    name = f"_{word}_{column}"
    new, old = quoted(name), f"excluded.{quoted(name)}"

    def combine_present(found: Sequence[Any]) -> Stored:
        values = [value for value in found if value is not None]
        return combine(values) if values else None

    source = schema.column(column)
    whole = combine_present if source.nullable else combine
    return Partial(name, source.type.storage, (at,), whole, merge.format(a=new, b=old))


def _number_of_rows() -> Partial:
    return Partial("_n", "INTEGER NOT NULL", (), len, "_n + excluded._n")


def _number_of_values(schema: Schema, column: str) -> Partial:
    if not schema.column(column).nullable:
        return _number_of_rows()
    name = f"_n_{column}"

    def combine(values: Sequence[Any]) -> Stored:
        return len(values) - values.count(None)

    merge = f"{quoted(name)} + excluded.{quoted(name)}"
    return Partial(name, "INTEGER NOT NULL", (schema.position(column),), combine, merge)


def _sum_of_integers(values: Sequence[int]) -> Stored:
    total = builtins.sum(values)
    return total if -INTEGER_LIMIT <= total < INTEGER_LIMIT else float(total)


def _sum_of_reals(values: Sequence[float]) -> Stored:
    try:
        return math.fsum(values)
    except OverflowError:  # fsum refuses what leaves the range of a double; IEEE says infinity, and so does SQLite
        return builtins.sum(values)


def _sum_partial(schema: Schema, column: str) -> Partial:
    combine = _sum_of_reals if schema.column(column).type is ColumnType.REAL else _sum_of_integers
    return _value_partial(schema, column, "sum", combine, "coalesce({a} + {b}, {a}, {b})")


def exact_sum(value: str) -> str:
    """SQL that adds up integers without SQLite's "integer overflow" error: REAL beyond 64 bits.

    The high and the low halves are added apart, and `*` and `+` go over to REAL by themselves. An error here would
    stop the writer for good, since the row that causes it is stored already.

    >>> exact_sum("x")[:40]
    "(sum(CASE typeof(x) WHEN 'integer' THEN "
    """
    high = f"sum(CASE typeof({value}) WHEN 'integer' THEN {value} >> 32 ELSE {value} / 4294967296.0 END)"
    low = f"sum(CASE typeof({value}) WHEN 'integer' THEN {value} & 4294967295 WHEN 'null' THEN NULL ELSE 0 END)"
    return f"({high} * 4294967296 + {low})"


class Count(Aggregate):
    """How many events; of a column: how many that are not NULL."""

    kind = "count"

    def type(self, schema: Schema) -> ColumnType:
        return ColumnType.INTEGER

    @property
    def nullable(self) -> bool:
        return False

    def partials(self, schema: Schema) -> tuple[Partial, ...]:
        return (_number_of_rows() if self.column is None else _number_of_values(schema, self.column),)

    def read(self, schema: Schema, reading: Reading) -> str:
        name = quoted(self.partials(schema)[0].name)
        return f"(SELECT coalesce(sum(_t.{name}), 0) FROM {reading.tiles} _t WHERE {reading.match})"


class Sum(Aggregate):
    """The sum of a column; integers stay integers up to 64 bits and become REAL beyond."""

    kind = "sum"
    accepts = _NUMBERS

    def type(self, schema: Schema) -> ColumnType:
        return self._source(schema)

    def partials(self, schema: Schema) -> tuple[Partial, ...]:
        return (_sum_partial(schema, self.column or ""),)

    def read(self, schema: Schema, reading: Reading) -> str:
        name = f"_t.{quoted(f'_sum_{self.column}')}"
        total = f"sum({name})" if self._source(schema) is ColumnType.REAL else exact_sum(name)
        return f"(SELECT {total} FROM {reading.tiles} _t WHERE {reading.match})"


class Mean(Aggregate):
    """The arithmetic mean of a column, as REAL (a duration stays a duration)."""

    kind = "mean"
    accepts = _NUMBERS

    def type(self, schema: Schema) -> ColumnType:
        source = self._source(schema)
        return source if source is ColumnType.DURATION else ColumnType.REAL

    def partials(self, schema: Schema) -> tuple[Partial, ...]:
        return (_sum_partial(schema, self.column or ""), _number_of_values(schema, self.column or ""))

    def read(self, schema: Schema, reading: Reading) -> str:
        number = quoted(self.partials(schema)[1].name)
        mean = f"total(_t.{quoted(f'_sum_{self.column}')}) / nullif(sum(_t.{number}), 0)"
        if self.type(schema) is ColumnType.DURATION:
            mean = f"CAST({mean} AS INTEGER)"
        return f"(SELECT {mean} FROM {reading.tiles} _t WHERE {reading.match})"


class Extreme(Aggregate):
    """The smallest or the largest value of a column; text by code point."""

    accepts = _ORDERED
    kind = "min"

    def type(self, schema: Schema) -> ColumnType:
        return self._source(schema)

    def partials(self, schema: Schema) -> tuple[Partial, ...]:
        combine = builtins.min if self.kind == "min" else builtins.max
        merge = f"{self.kind}(coalesce({{a}}, {{b}}), coalesce({{b}}, {{a}}))"
        return (_value_partial(schema, self.column or "", self.kind, combine, merge),)

    def read(self, schema: Schema, reading: Reading) -> str:
        name = quoted(f"_{self.kind}_{self.column}")
        return f"(SELECT {self.kind}(_t.{name}) FROM {reading.tiles} _t WHERE {reading.match})"


class Maximum(Extreme):
    """The largest value of a column."""

    kind = "max"


class Last(Aggregate):
    """The value of the latest event by event time that has one; among equals, the one that arrived last."""

    kind = "last"

    def type(self, schema: Schema) -> ColumnType:
        return self._source(schema)

    def partials(self, schema: Schema) -> tuple[Partial, ...]:
        column, time = self.column or "", schema.event_time or ""
        at, when = schema.position(column), schema.position(time)
        value, instant = f"_last_{column}", f"_last_{column}_at"
        newer = f"coalesce(excluded.{quoted(instant)} >= {quoted(instant)}, {quoted(instant)} IS NULL)"

        def partial(name: str, place: int) -> Partial:
            def combine(found: Sequence[tuple[Any, int]]) -> Stored:
                best = _newest(found)
                return None if best is None else best[place]

            merge = f"CASE WHEN {newer} THEN excluded.{quoted(name)} ELSE {quoted(name)} END"
            return Partial(name, schema.columns[(at, when)[place]].type.storage, (at, when), combine, merge)

        return (partial(value, 0), partial(instant, 1))

    def read(self, schema: Schema, reading: Reading) -> str:
        name = quoted(f"_last_{self.column}")
        seen = quoted(f"_last_{self.column}_at")
        found = f"{reading.match} AND _t.{seen} IS NOT NULL"
        return f"(SELECT _t.{name} FROM {reading.tiles} _t WHERE {found} ORDER BY _t._tile DESC LIMIT 1)"


def _newest(found: Sequence[tuple[Any, int]]) -> tuple[Any, int] | None:
    best: tuple[Any, int] | None = None
    for cell in found:
        if cell[0] is not None and (best is None or cell[1] >= best[1]):
            best = cell
    return best


class Distinct(Aggregate):
    """How many different values a column had: exact, one row a tile and value."""

    kind = "distinct"
    accepts = _COUNTED

    def type(self, schema: Schema) -> ColumnType:
        return ColumnType.INTEGER

    @property
    def nullable(self) -> bool:
        return False

    def sides(self, schema: Schema) -> tuple[Side, ...]:
        return (_values(schema, self.column or ""),)

    def read(self, schema: Schema, reading: Reading) -> str:
        table = reading.sides[f"values_{self.column}"]
        return f"(SELECT count(DISTINCT _t._value) FROM {table} _t WHERE {reading.match})"


class TopK(Aggregate):
    """The k most frequent values with their counts, as JSON `[{"value": ..., "count": ...}, ...]`: exact.

    Most frequent first; equals by value. A window without values gives an empty list.
    """

    kind = "top_k"
    accepts = _LISTED

    def __init__(self, column: str, k: int) -> None:
        super().__init__(column)
        if not 1 <= k <= 1000:
            raise DeclarationError(f"top_k({column!r}, {k}): k is not within 1 to 1000", hint="take a k such as 10")
        self.k = k

    def arguments(self) -> tuple[object, ...]:
        return (self.column, self.k)

    def type(self, schema: Schema) -> ColumnType:
        return ColumnType.JSON

    @property
    def nullable(self) -> bool:
        return False

    def sides(self, schema: Schema) -> tuple[Side, ...]:
        return (_values(schema, self.column or ""),)

    def read(self, schema: Schema, reading: Reading) -> str:
        table = reading.sides[f"values_{self.column}"]
        best = (
            f"SELECT _t._value AS v, sum(_t._n) AS c FROM {table} _t WHERE {reading.match}"
            f" GROUP BY _t._value ORDER BY 2 DESC, 1 LIMIT {self.k}"
        )
        return f"(SELECT json_group_array(json_object('value', v, 'count', c) ORDER BY c DESC, v) FROM ({best}))"


class Quantile(Aggregate):
    """The lower q-quantile of a column, within 1 % of the true value, by a DDSketch.

    The sketch is kept as rows (tile, bin, count), so that it is merged by SQL and lives on disk.

    References
    ----------
    C. Masson, J. E. Rim, H. K. Lee: DDSketch: a fast and fully-mergeable quantile sketch with relative-error
    guarantees. PVLDB 12(12), 2019.
    """

    kind = "quantile"
    accepts = _NUMBERS

    def __init__(self, column: str, q: float) -> None:
        super().__init__(column)
        if not 0 <= q <= 1:
            raise DeclarationError(f"quantile({column!r}, {q}): q is not within 0 to 1", hint="0.5 is the median")
        self.q = float(q)

    def arguments(self) -> tuple[object, ...]:
        return (self.column, self.q)

    def type(self, schema: Schema) -> ColumnType:
        source = self._source(schema)
        return source if source is ColumnType.DURATION else ColumnType.REAL

    def sides(self, schema: Schema) -> tuple[Side, ...]:
        return (Side(f"bins_{self.column}", self.column or "", "INTEGER", sketch_bin),)

    def read(self, schema: Schema, reading: Reading) -> str:
        table = reading.sides[f"bins_{self.column}"]
        bins = (
            "SELECT _t._value AS b, sum(sum(_t._n)) OVER (ORDER BY _t._value) AS upto, sum(sum(_t._n)) OVER () AS n"
            f" FROM {table} _t WHERE {reading.match} GROUP BY _t._value"
        )
        value = bin_value("b")
        if self.type(schema) is ColumnType.DURATION:
            value = f"CAST(round({value}) AS INTEGER)"
        return f"(SELECT {value} FROM ({bins}) WHERE upto > {self.q!r} * (n - 1) ORDER BY b LIMIT 1)"


def _same(value: Stored) -> Stored:
    return value


def _values(schema: Schema, column: str) -> Side:
    return Side(f"values_{column}", column, schema.column(column).type.storage, _same)


def count(column: str | None = None) -> Aggregate:
    """How many events came; with a column: how many had a value there."""
    return Count(column)


def sum(column: str) -> Aggregate:
    """The sum of a column; NULL when there was no value."""
    return Sum(column)


def mean(column: str) -> Aggregate:
    """The mean of a column; NULL when there was no value."""
    return Mean(column)


def min(column: str) -> Aggregate:
    """The smallest value of a column; NULL when there was none."""
    return Extreme(column)


def max(column: str) -> Aggregate:
    """The largest value of a column; NULL when there was none."""
    return Maximum(column)


def last(column: str) -> Aggregate:
    """The latest value of a column by event time; NULL when there was none."""
    return Last(column)


def distinct(column: str) -> Aggregate:
    """How many different values a column had (exact)."""
    return Distinct(column)


def top_k(column: str, k: int) -> Aggregate:
    """The `k` most frequent values of a column with their counts (exact), as JSON."""
    return TopK(column, k)


def quantile(column: str, q: float) -> Aggregate:
    """The `q`-quantile of a column (0.5: the median), within 1 % of the true value; NULL when there was none."""
    return Quantile(column, q)
