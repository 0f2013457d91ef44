"""How much of what was read may change before an answer no longer stands: relaxed per source, column by column.

A price that moves every second would make every answer stale for ever. A tolerance says what does not matter:

    hr.tolerance("items", price="1%", stock=hr.ignore, rank=5)

What is read now is compared with what was read *for this answer*, never with the last check, so many small steps do not
add up unseen. Rows are paired by the key columns that they show; where they show no whole key, by all columns that have
no tolerance. A row that came or went matters always, and so does the order of rows unless it is left out (`ordered`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Final, final

from headrace.context.reader import Library
from headrace.context.readset import Changed, Validity
from headrace.core.durations import parse_duration
from headrace.core.errors import DeclarationError
from headrace.core.names import suggest
from headrace.core.options import options
from headrace.core.schema import Column, ColumnType, Row, Schema, Stored


@final
class Ignore:
    """The type of `ignore`."""

    def __repr__(self) -> str:
        return "ignore"


ignore: Final = Ignore()
"""A tolerance without a bound: whatever the column becomes, it does not matter."""

Bound = Ignore | int | float | Decimal | str
"""`ignore`, a number (at most so far from what was read), "1%" (of what was read), or a duration like "5s"."""

_NUMBERS = frozenset({ColumnType.INTEGER, ColumnType.REAL, ColumnType.DECIMAL})
_TIMES = frozenset({ColumnType.TIMESTAMP, ColumnType.DURATION})


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What may change in what was read of one table or view; made by `tolerance`."""

    source: str
    columns: Mapping[str, Bound]
    ordered: bool = True


@options
def tolerance(source: str, /, *, ordered: bool = True, **columns: Bound) -> Tolerance:
    """Relax when an answer counts as stale.

    Parameters
    ----------
    source
        A view: its columns. A table: its columns wherever a view shows them under the same name, unless another table
        of that view has a column of that name.
    ordered
        Whether rows that merely change places matter.
    **columns
        Per column `hr.ignore`, a number (the most that it may be off), a share like "1%" (of the value that was read;
        of 0 there is none), or, for timestamps and durations, a duration like "5s". The bound itself is within it.

    Raises
    ------
    DeclarationError
        A bound is none.

    Examples
    --------
    >>> tolerance("items", price="1%", stock=ignore, rank=5)
    Tolerance(source='items', columns={'price': '1%', 'stock': ignore, 'rank': 5}, ordered=True)
    """
    for name, bound in columns.items():
        _Limit.of(f"{source}.{name}", bound)
    return Tolerance(source, dict(columns), ordered)


@dataclass(frozen=True, slots=True)
class Shape:
    """What is known of the rows of a read.

    Attributes
    ----------
    columns
        Those that are shown, in order.
    tables
        The tables below it: their column names and their keys.
    """

    columns: tuple[Column, ...]
    tables: Mapping[str, Schema]

    @property
    def key(self) -> tuple[int, ...]:
        """Where the key columns of its tables stand, of each table whose whole key is shown; empty for none."""
        names = [column.name for column in self.columns]
        keys = [schema.key for schema in self.tables.values() if schema.key and set(schema.key) <= set(names)]
        return tuple(dict.fromkeys(names.index(name) for key in keys for name in key))


def shapes(library: Library, schemas: Mapping[str, Schema]) -> dict[str, Shape]:
    """The shape of everything that can be read; `schemas` by table."""
    readables = {**library.tables, **library.views}
    return {
        name: Shape(readable.columns, {table: schemas[table] for table in readable.tables})
        for name, readable in readables.items()
    }


@dataclass(frozen=True, slots=True)
class _Limit:
    """A bound, ready to compare."""

    share: Fraction | None = None
    distance: Fraction | None = None
    time: bool = False

    @classmethod
    def of(cls, what: str, bound: Bound) -> _Limit:
        if isinstance(bound, Ignore):
            return cls()
        text = str(bound).strip()
        try:
            if isinstance(bound, bool):
                raise ValueError
            if not isinstance(bound, str):
                limit = cls(distance=Fraction(text))
            elif text.endswith("%"):
                limit = cls(share=Fraction(text[:-1].strip()) / 100)
            else:
                limit = cls(distance=Fraction(parse_duration(text)), time=True)
        except (ValueError, ZeroDivisionError, DeclarationError):
            limit = None
        if limit is None or (limit.share or limit.distance or 0) < 0:
            raise DeclarationError(
                f"the tolerance {bound!r} of {what} is none",
                hint='give hr.ignore, a number of 0 or more, a share like "1%", or a duration like "5s"',
            )
        return limit

    def fits(self, kind: ColumnType) -> bool:
        """Whether a column of this type can be off by so much."""
        if self.share is None and self.distance is None:
            return True
        return kind in _TIMES if self.time else kind in _NUMBERS or (self.share is not None and kind is _DURATION)

    def holds(self, was: Stored, now: Stored) -> bool:
        """Whether `now` is near enough to what was read."""
        if was == now or (self.share is None and self.distance is None):
            return True
        before, after = _exact(was), _exact(now)
        if before is None or after is None:
            return False
        most = self.distance if self.share is None else self.share * abs(before)
        return most is not None and abs(after - before) <= most


_DURATION = ColumnType.DURATION


def _exact(value: Stored) -> Fraction | None:
    """The number as it is written: 0.1 is a tenth, so that a bound of 1% means what people read."""
    try:
        return None if value is None or isinstance(value, bytes) else Fraction(str(value))
    except (ValueError, ZeroDivisionError):
        return None  # NaN, infinity, or no number


@dataclass(frozen=True, slots=True)
class Judged:
    """Whether a change matters, and why in one sentence."""

    matters: bool
    why: str


@dataclass(frozen=True, slots=True)
class _Rules:
    """What holds for the rows of one read."""

    limits: Mapping[int, _Limit]
    key: tuple[int, ...]
    names: tuple[str, ...]
    ordered: bool


def check_columns(one: Tolerance, columns: Iterable[Column]) -> None:
    """Whether what a tolerance names is among the columns of its source, and can be off by so much.

    Raises
    ------
    DeclarationError
        It is not, or cannot.
    """
    types = {column.name: column.type for column in columns}
    for name, bound in one.columns.items():
        if name not in types:
            raise DeclarationError(
                f"a tolerance names the column {name!r} of {one.source!r}, which is not there",
                hint=suggest(name, types),
            )
        if not _Limit.of(f"{one.source}.{name}", bound).fits(types[name]):
            raise DeclarationError(
                f"{one.source}.{name} is a {types[name].value}, and cannot be off by {bound!r}",
                hint="numbers take a number or a share, timestamps and durations a duration, all take hr.ignore",
            )


@dataclass(frozen=True)
class Tolerances:
    """All tolerances of an endpoint, checked against what can be read.

    Parameters
    ----------
    tolerances
        As declared. Of two for one column, the one that names the view counts.
    shapes
        By the name of the view or table that is read.

    Raises
    ------
    DeclarationError
        One names a source or a column that is not there, or a bound does not fit the type of its column.
    """

    tolerances: Sequence[Tolerance]
    shapes: Mapping[str, Shape]
    _rules: dict[str, _Rules | None] = field(init=False, repr=False, default_factory=dict[str, "_Rules | None"])

    def __post_init__(self) -> None:
        for one in self.tolerances:
            self._check(one)
        for name, shape in self.shapes.items():
            self._rules[name] = self._for(name, shape)

    def relax(self, validity: Validity) -> Validity:
        """The same without the changes that do not matter."""
        if not validity.changed or not self.tolerances:
            return validity
        return Validity([changed for changed in validity.changed if self.judge(changed).matters], validity.as_of)

    def judge(self, changed: Changed) -> Judged:
        """Whether a change matters for the answer that was built on the read."""
        rules = self._rules.get(changed.read.name)
        if rules is None or changed.current is None:
            return Judged(True, changed.reason)
        return _compare(changed.read.name, changed.read.shown, changed.current, rules)

    def _check(self, one: Tolerance) -> None:
        tables = {name: schema for shape in self.shapes.values() for name, schema in shape.tables.items()}
        columns = tables[one.source].columns if one.source in tables else ()
        if one.source in self.shapes:
            columns = self.shapes[one.source].columns
        elif one.source not in tables:
            raise DeclarationError(
                f"a tolerance names {one.source!r}, which is no table or view",
                hint=suggest(one.source, sorted({*self.shapes, *tables})),
            )
        check_columns(one, columns)

    def _for(self, name: str, shape: Shape) -> _Rules | None:
        """The rules of one read; None when no tolerance is about it."""
        mine = [one for one in self.tolerances if one.source == name or one.source in shape.tables]
        if not mine:
            return None
        limits: dict[int, _Limit] = {}
        for one in sorted(mine, key=lambda one: one.source == name):  # the view's own last: it counts
            for at, column in enumerate(shape.columns):
                if column.name in one.columns and (one.source == name or _is_of(column.name, one.source, shape)):
                    limit = _Limit.of(f"{one.source}.{column.name}", one.columns[column.name])
                    if limit.fits(column.type):  # a view may show something else under the name
                        limits[at] = limit
        names = tuple(column.name for column in shape.columns)
        return _Rules(limits, shape.key, names, all(one.ordered for one in mine))


def _is_of(column: str, table: str, shape: Shape) -> bool:
    """Whether a column that is shown can only be this table's."""
    return [name for name, schema in shape.tables.items() if schema.has(column)] == [table]


def _compare(name: str, before: Sequence[Row], after: Sequence[Row], rules: _Rules) -> Judged:
    key = rules.key
    if not key or _repeats(before, key) or _repeats(after, key):
        # No key tells the rows apart: those are the same that are equal in every column without a tolerance.
        key = tuple(at for at in range(len(rules.names)) if at not in rules.limits)
        if _repeats(before, key) or _repeats(after, key):
            same = Counter(before) == Counter(after) and (not rules.ordered or tuple(before) == tuple(after))
            return Judged(not same, f"{name!r}: the rows changed, and nothing tells which became which")
    was, now = {_at(row, key): row for row in before}, {_at(row, key): row for row in after}
    gone, new = was.keys() - now.keys(), now.keys() - was.keys()
    if gone or new:
        return Judged(True, f"{name!r}: {len(new)} rows came, {len(gone)} went")
    for identity, row in was.items():
        for at, (old, value) in enumerate(zip(row, now[identity], strict=True)):
            limit = rules.limits.get(at)
            if old != value and (limit is None or not limit.holds(old, value)):
                return Judged(True, f"{name!r}: {rules.names[at]} was {old!r:.40} and is {value!r:.40}")
    if rules.ordered and list(was) != list(now):
        return Judged(True, f"the rows of {name!r} changed their order")
    return Judged(False, f"{name!r} changed within its tolerances")


def _at(row: Row, key: Iterable[int]) -> Row:
    return tuple(row[at] for at in key)


def _repeats(rows: Sequence[Row], key: Sequence[int]) -> bool:
    return len({_at(row, key) for row in rows}) != len(rows)
