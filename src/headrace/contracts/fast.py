"""The good path: whole bodies decoded at once, straight from JSON to stored rows.

A msgspec Struct is compiled from the record's fields and constraints. It may accept only what Pydantic accepts with an
equal value: whatever the two could read differently (validators, aliases by path, nested models, unusual patterns) has
no fast path, and a value in a form that is not certain (`Unfit`) goes to Pydantic alone. A property test compares them.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import repeat
from math import isfinite
from typing import Any, cast

import msgspec

from headrace.contracts.contract import Contract
from headrace.contracts.exact import FIRST_INSTANT, LAST_INSTANT
from headrace.contracts.field_types import fast_fields
from headrace.contracts.instants import OtherShape, read_instants
from headrace.contracts.orders import Orders
from headrace.core.clock import instant
from headrace.core.schema import ColumnType, Row, Stored, to_json

REFUSALS = (msgspec.MsgspecError, ValueError, TypeError, AttributeError, RecursionError)
"""What a decoder raises when it does not take its input."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LONG_FRACTION = re.compile(r":\d\d[.,]\d{7}")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
# Up to six digits of fraction: smaller ones are written with an exponent by Decimal.
_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,6})?")
_FLOORDIV = cast("Callable[[Any, Any], Any]", operator.floordiv)  # pyright: ignore[reportUnknownMemberType]
_ASTUPLE = msgspec.structs.astuple

_SIX_DECIMALS = len("2026-01-31T12:00:00.123456")
_FEW = 16
"""Under so many texts, to look at their shape costs more than it saves."""

Cells = Sequence[Any]
Convert = Callable[[Cells], Iterable[Stored]]


class Unfit(ValueError):
    """A decoded value is not certain to be what Pydantic would make of it."""


class FastReader:
    """Decodes JSON into rows. Build it with `FastReader.compile`.

    All methods raise one of `REFUSALS` when anything in the input is not certain to be good.
    """

    def __init__(self, contract: Contract, fields: list[tuple[Any, ...]], rename: dict[str, str]) -> None:
        strict = contract.new_fields != "ignore"
        define = partial(msgspec.defstruct, gc=False, kw_only=True, forbid_unknown_fields=strict)
        name, columns = contract.record.__name__, contract.schema.columns
        # In JSON times are text, which is read by the column.
        times = {column.name for column in columns if column.type is ColumnType.TIMESTAMP}
        texts = [(f[0], _as_text(f[1]), *f[2:]) if f[0] in times else f for f in fields]
        json: Any = define(name, texts, rename=rename)
        self._orders = Orders(name, {rename[f[0]]: f for f in fields}, allow_unknown=not strict)
        self._list = msgspec.json.Decoder(list[json])
        self._one = msgspec.json.Decoder(json)
        self._type: Any = define(name, fields, rename=rename)
        self._converts = tuple((i, _CONVERTS[c.type]) for i, c in enumerate(columns) if c.type in _CONVERTS)
        self._texts = tuple(i for i, c in enumerate(columns) if c.type is ColumnType.TEXT)
        self._reals = tuple(i for i, c in enumerate(columns) if c.type is ColumnType.REAL)
        self._times = tuple(rename[name] for name in times)

    @classmethod
    def compile(cls, contract: Contract) -> FastReader | None:
        """The fast reader of a contract, or None when its record has something that only Pydantic can judge."""
        compiled = fast_fields(contract.record, contract.schema)
        return None if compiled is None else cls(contract, compiled.fields, compiled.rename)

    def array(self, data: bytes) -> list[Row]:
        """The rows of a JSON array."""
        return self.rows(self._list.decode(data))

    def lines(self, data: bytes) -> list[Row]:
        """The rows of one object a line."""
        rows: list[Row] = []
        for piece in _pieces(data):
            found = self._one.decode_lines(piece)
            # The decoder also takes several objects in one line, and one object over several.
            if len(found) != piece.count(b"\n") + (not piece.endswith(b"\n")):
                raise Unfit("lines and objects do not match")
            rows += self._rows(found)
        return rows

    def one(self, data: bytes) -> Row:
        """The row of one object."""
        if not self._converts:
            return _ASTUPLE(self._one.decode(data))
        return self.rows([self._one.decode(data)])[0]

    def mappings(self, records: Sequence[Any]) -> list[Row]:
        """The rows of Python mappings."""
        for name in self._times:
            for record in records:
                value = record.get(name)
                if type(value) is str and _LONG_FRACTION.search(value):
                    raise Unfit("more than six digits of a second")
        rows = self.rows(msgspec.convert(records, list[self._type]))
        self._check_python_values(rows)
        return rows

    def takes(self, names: tuple[str, ...]) -> bool:
        """Whether `tuples` may take values of these names: not where one that is required is missing."""
        return self._orders[names] is not None

    def tuples(self, names: tuple[str, ...], given: Sequence[tuple[Any, ...]]) -> list[Row]:
        """The rows of tuples, whose values have these names."""
        order = self._orders[names]
        if order is None:
            raise Unfit("these names are not those of a good record")
        for name in self._times:
            if name in names:
                at = names.index(name)
                texts = [row[at] for row in given if type(row[at]) is str]
                if any(map(_LONG_FRACTION.search, texts)):
                    raise Unfit("more than six digits of a second")
        rows: list[Row] = []
        for start in range(0, len(given), _AT_ONCE):
            some = self._rows(msgspec.convert(given[start : start + _AT_ONCE], order.type), order.permutation)
            self._check_python_values(some)
            rows += some
        return rows

    def rows(self, found: Sequence[Any]) -> list[Row]:
        """Stored rows of decoded objects."""
        rows: list[Row] = []
        for start in range(0, len(found), _AT_ONCE):
            rows += self._rows(found[start : start + _AT_ONCE])
        return rows

    def _rows(self, found: Sequence[Any], permutation: Sequence[int] | None = None) -> list[Row]:
        rows: list[Row] = list(map(_ASTUPLE, found))
        if not rows or not (self._converts or permutation):
            return rows
        columns: list[Iterable[Any]] = list(zip(*rows, strict=True))
        if permutation is not None:
            columns = [columns[i] for i in permutation]
        for position, convert in self._converts:
            columns[position] = convert(columns[position])  # pyright: ignore[reportArgumentType]
        return list(zip(*columns, strict=True))

    def _check_python_values(self, rows: list[Row]) -> None:
        """Python values may hold what JSON text cannot: numbers that are not finite, halves of surrogate pairs."""
        for i in self._reals:
            if not all(map(isfinite, _present([row[i] for row in rows]))):
                raise Unfit("a number is not finite")
        for i in self._texts:
            texts = _present([row[i] for row in rows])
            if set(map(type, texts)) - {str}:
                raise Unfit("a subclass of str")
            "".join(texts).encode()


def _present(cells: list[Any]) -> list[Any]:
    return [cell for cell in cells if cell is not None] if None in cells else cells


def _pieces(data: bytes) -> Iterator[bytes]:
    """The text cut into whole lines, so that what is made of a piece is still in the processor's cache when the next
    step takes it: half of the cost of a body of 20,000 records, measured."""
    start = 0
    while start < len(data):
        end = data.find(b"\n", start + _PIECE) + 1 or len(data)
        yield data[start:end]
        start = end


_AT_ONCE = 1_000
"""Records that are converted together."""
_PIECE = 1 << 17
"""Bytes that are decoded together."""


def _booleans(cells: Cells) -> Iterable[Stored]:
    return [None if cell is None else int(cell) for cell in cells]


def _as_text(kind: Any) -> Any:
    return str | None if kind == datetime | None else str


def _timestamps(cells: Cells) -> Iterable[Stored]:
    if len(cells) < _FEW:
        return _any_timestamps(cells)
    try:
        return read_instants(cells)
    except (OtherShape, TypeError):
        return _any_timestamps(cells)


def _any_timestamps(cells: Cells) -> Iterable[Stored]:
    """The instants of texts in any form, of datetimes, and NULLs."""
    if None in cells:
        present = iter(_timestamps([cell for cell in cells if cell is not None]))
        return [None if cell is None else next(present) for cell in cells]
    if str in set(map(type, cells)):
        cells = [_datetime(cell) if type(cell) is str else cell for cell in cells]
    try:
        found: list[Any] = list(map(_FLOORDIV, map(operator.sub, cells, repeat(_EPOCH)), repeat(_MICROSECOND)))
    except TypeError:  # some have no time zone
        found = list(map(instant, cells))
    if found and (min(found) < FIRST_INSTANT or max(found) > LAST_INSTANT):
        raise Unfit("outside the years 1 to 9999")
    return found


def _datetime(text: str) -> datetime:
    # msgspec rounds a seventh digit of a second, Pydantic cuts it off.
    if len(text) > _SIX_DECIMALS and _LONG_FRACTION.search(text):
        raise Unfit("more than six digits of a second")
    return msgspec.convert(text, datetime)


def _dates(cells: Cells) -> Iterable[Stored]:
    for cell in cells:
        if cell is not None and type(cell) is not date:
            raise Unfit("not a plain date")
    return [None if cell is None else cell.isoformat() for cell in cells]


def _matching(pattern: re.Pattern[str]) -> Convert:
    fullmatch = pattern.fullmatch

    def check(cells: Cells) -> Iterable[Stored]:
        for cell in cells:
            if cell is not None and fullmatch(cell) is None:
                raise Unfit("not in the usual form")
        return cells

    return check


def _jsons(cells: Cells) -> Iterable[Stored]:
    found = [None if cell is None else to_json(cell) for cell in cells]
    for text in found:
        if text is not None and ("NaN" in text or "Infinity" in text):
            raise Unfit("perhaps a number that is not finite")
    "".join(text or "" for text in found).encode()
    return found


_CONVERTS: dict[ColumnType, Convert] = {
    ColumnType.BOOLEAN: _booleans,
    ColumnType.TIMESTAMP: _timestamps,
    ColumnType.DATE: _dates,
    ColumnType.UUID: _matching(_UUID),
    ColumnType.DECIMAL: _matching(_DECIMAL),
    ColumnType.JSON: _jsons,
}
