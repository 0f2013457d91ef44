"""The good path: whole bodies decoded at once, straight from JSON to stored rows.

A msgspec Struct is compiled from the record's fields and constraints. It may accept only what Pydantic accepts with an
equal value: whatever the two could read differently (validators, aliases by path, nested models, unusual patterns) has
no fast path, and a value in a form that is not certain (`Unfit`) goes to Pydantic alone. A property test compares them.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import repeat
from typing import Any, cast

import msgspec

from headrace.contracts.contract import Contract
from headrace.contracts.exact import FIRST_INSTANT, LAST_INSTANT
from headrace.contracts.field_types import fast_fields
from headrace.core.clock import instant
from headrace.core.schema import ColumnType, Row, Stored, to_json

REFUSALS = (msgspec.MsgspecError, ValueError, TypeError, AttributeError, RecursionError)
"""What a decoder raises when it does not take its input."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LONG_FRACTION = re.compile(rb":\d\d[.,]\d{7}")
_LONG_FRACTION_TEXT = re.compile(r":\d\d[.,]\d{7}")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
# Up to six digits of fraction: smaller ones are written with an exponent by Decimal.
_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,6})?")
_FLOORDIV = cast("Callable[[Any, Any], Any]", operator.floordiv)  # pyright: ignore[reportUnknownMemberType]
_ASTUPLE = msgspec.structs.astuple

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
        define = partial(msgspec.defstruct, rename=rename, gc=False, kw_only=True)
        plain: Any = define(contract.record.__name__, fields, forbid_unknown_fields=strict)
        self._list = msgspec.json.Decoder(list[plain])
        self._one = msgspec.json.Decoder(plain)
        self._type = plain
        columns = contract.schema.columns
        self._converts = tuple((i, _CONVERTS[c.type]) for i, c in enumerate(columns) if c.type in _CONVERTS)
        self._texts = tuple(i for i, c in enumerate(columns) if c.type is ColumnType.TEXT)
        self._reals = tuple(i for i, c in enumerate(columns) if c.type is ColumnType.REAL)
        self._times = tuple(rename[c.name] for c in columns if c.type is ColumnType.TIMESTAMP)

    @classmethod
    def compile(cls, contract: Contract) -> FastReader | None:
        """The fast reader of a contract, or None when its record has something that only Pydantic can judge."""
        compiled = fast_fields(contract.record, contract.schema)
        return None if compiled is None else cls(contract, compiled.fields, compiled.rename)

    def array(self, data: bytes) -> list[Row]:
        """The rows of a JSON array."""
        self._check_fractions(data)
        return self.rows(self._list.decode(data))

    def lines(self, data: bytes) -> list[Row]:
        """The rows of one object a line."""
        self._check_fractions(data)
        found = self._one.decode_lines(data)
        # The decoder also takes several objects in one line, and one object over several.
        if len(found) != data.count(b"\n") + (not data.endswith(b"\n")):
            raise Unfit("lines and objects do not match")
        return self.rows(found)

    def one(self, data: bytes) -> Row:
        """The row of one object."""
        if not self._converts:
            return _ASTUPLE(self._one.decode(data))
        self._check_fractions(data)
        return self.rows([self._one.decode(data)])[0]

    def mappings(self, records: Sequence[Any]) -> list[Row]:
        """The rows of Python mappings."""
        for name in self._times:
            for record in records:
                value = record.get(name)
                if type(value) is str and _LONG_FRACTION_TEXT.search(value):
                    raise Unfit("more than six digits of a second")
        rows = self.rows(msgspec.convert(records, list[self._type]))
        self._check_python_values(rows)
        return rows

    def rows(self, found: Sequence[Any]) -> list[Row]:
        """Stored rows of decoded objects."""
        rows: list[Row] = list(map(_ASTUPLE, found))
        if not self._converts or not rows:
            return rows
        columns: list[Iterable[Any]] = list(zip(*rows, strict=True))
        for position, convert in self._converts:
            columns[position] = convert(columns[position])  # pyright: ignore[reportArgumentType]
        return list(zip(*columns, strict=True))

    def _check_fractions(self, data: bytes) -> None:
        # msgspec rounds a seventh digit of a second, Pydantic cuts it off.
        if self._times and _LONG_FRACTION.search(data):
            raise Unfit("more than six digits of a second")

    def _check_python_values(self, rows: list[Row]) -> None:
        """Python values may hold what JSON text cannot: numbers that are not finite, halves of surrogate pairs."""
        for i in self._reals:
            if not all(row[i] is None or abs(row[i]) <= _LARGEST for row in rows):  # pyright: ignore
                raise Unfit("a number is not finite")
        for i in self._texts:
            if not all(row[i] is None or type(row[i]) is str for row in rows):
                raise Unfit("a subclass of str")
            "".join(str(row[i]) for row in rows).encode()


_LARGEST = 1.7976931348623157e308


def _booleans(cells: Cells) -> Iterable[Stored]:
    return [None if cell is None else int(cell) for cell in cells]


def _timestamps(cells: Cells) -> Iterable[Stored]:
    try:
        found: list[Any] = list(map(_FLOORDIV, map(operator.sub, cells, repeat(_EPOCH)), repeat(_MICROSECOND)))
    except TypeError:  # some are None or have no time zone
        found = [None if cell is None else instant(cell) for cell in cells]
    present = [at for at in found if at is not None] if None in found else found
    if present and (min(present) < FIRST_INSTANT or max(present) > LAST_INSTANT):
        raise Unfit("outside the years 1 to 9999")
    return found


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
