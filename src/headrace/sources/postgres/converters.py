"""How one column is converted: a function for each pair of a PostgreSQL type and one of our column types.

A converter takes the texts of a whole column (bytes, no NULLs) and gives the values. It raises one of `MISFITS` when
one of them does not fit; then they are taken one by one, and those that do not fit stay the text that they were.

| to        | from                                                      | as                                          |
|-----------|-----------------------------------------------------------|---------------------------------------------|
| text      | everything                                                | PostgreSQL's text; bool as true, false      |
| integer   | integers, oid; numeric and float without a fraction; bool | int                                         |
| real      | floats, integers, numeric, money                          | float (numeric is rounded to the nearest)   |
| decimal   | numeric, floats, integers, money                          | its digits as text, without loss            |
| boolean   | bool, integers                                            | bool, int                                   |
| timestamp | timestamptz, timestamp, date                              | datetime (without a time zone for the last) |
| date      | date, timestamptz, timestamp                              | date, datetime                              |
| time      | time, timetz                                              | time                                        |
| duration  | interval without months                                   | ISO 8601 text                               |
| uuid      | uuid                                                      | text                                        |
| bytes     | bytea                                                     | bytes                                       |
| json      | json, jsonb, arrays, ranges, multiranges, hstore, scalars | what JSON holds: see `json_converter`       |

What fits no column at all (infinity, BC, beyond the year 9999, 24:00, months in an interval, NaN in an integer) stays
text that no contract takes for something else.
"""

from __future__ import annotations

import json
import re
from binascii import unhexlify
from collections.abc import Callable, Sequence
from datetime import date, datetime, time
from math import isfinite
from typing import Any

import pydantic_core

from headrace.core.schema import ColumnType
from headrace.sources.postgres.arrays import (
    Range,
    Tree,
    leaves,
    read_array,
    read_hstore,
    read_multirange,
    read_range,
    rebuilt,
)
from headrace.sources.postgres.intervals import iso_duration
from headrace.sources.postgres.types import PgType, Types

Texts = Sequence[bytes]
Convert = Callable[[Texts], Sequence[Any]]

MISFITS = (ValueError, LookupError, ArithmeticError, RecursionError)
"""What a converter raises when a value does not fit."""

_INTEGERS = frozenset({"int2", "int4", "int8", "oid", "xid", "cid", "xid8"})
_FLOATS = frozenset({"float4", "float8"})
_INSTANTS = frozenset({"timestamptz", "timestamp"})
_TEXTS = frozenset({"text", "varchar", "bpchar", "char", "name", "citext", "xml"})
_INTEGRAL = re.compile(r"(-?\d+)\.0+")
_BOOLS: dict[bytes | None, bool | None] = {b"t": True, b"f": False, None: None}
_BOOL_TEXTS: dict[bytes | None, str | None] = {b"t": "true", b"f": "false", None: None}


def texts(cells: Texts) -> list[str]:
    """The cells as text; no text of PostgreSQL holds a zero byte, so that all are decoded at once."""
    return b"\0".join(cells).decode().split("\0") if cells else []


def convert_cells(convert: Convert, cells: Sequence[Any]) -> Sequence[Any]:
    """The values of cells; NULLs stay None, and what does not fit stays the text that it was."""
    try:
        return convert(cells)
    except (TypeError, AttributeError):
        # There are NULLs among them. They are not looked for beforehand, which would take as long as to convert.
        present = [cell for cell in cells if cell is not None]
        if len(present) < len(cells):
            values = iter(convert_cells(convert, present))
            return [None if cell is None else next(values) for cell in cells]
        return [_convert_one(convert, cell) for cell in cells]
    except MISFITS:
        return [_convert_one(convert, cell) for cell in cells]


def _convert_one(convert: Convert, cell: Any) -> Any:
    if cell is None:
        return None
    try:
        return convert((cell,))[0]
    except (*MISFITS, TypeError, AttributeError):
        try:
            return bytes(cell).decode()
        except UnicodeDecodeError:  # a server in SQL_ASCII does not check what its clients write
            return bytes(cell)


def _integers(cells: Texts) -> list[int]:
    return list(map(int, cells))


def _from_numeric(cells: Texts) -> Sequence[Any]:
    try:
        return list(map(int, cells))
    except ValueError:
        return [int(found[1]) if (found := _INTEGRAL.fullmatch(text)) else text for text in texts(cells)]


def _from_float(cells: Texts) -> Sequence[Any]:
    return [int(value) if value.is_integer() else value for value in map(float, cells)]


def _floats(cells: Texts) -> list[float]:
    return list(map(float, cells))


def _rounded(cells: Texts) -> Sequence[Any]:
    found = list(map(float, cells))
    if all(map(isfinite, found)):
        return found
    # Infinity as the server wrote it is a float; a number that no float can hold stays as it was written.
    return [
        text if not isfinite(value) and text[-1].isdigit() else value
        for value, text in zip(found, texts(cells), strict=True)
    ]


def _money(cells: Texts) -> list[bytes]:
    # With lc_monetary C: -$1,234.50
    found = [cell.replace(b"$", b"").replace(b",", b"") for cell in cells]
    for cell in found:
        float(cell)
    return found


def _bools(cells: Texts) -> list[Any]:
    return list(map(_BOOLS.__getitem__, cells))


def _hexadecimal(cells: Texts) -> list[bytes]:
    if not all(cell.startswith(b"\\x") for cell in cells):
        raise ValueError("not in the form of bytea_output = hex")
    return [unhexlify(cell[2:]) for cell in cells]


def _json(cells: Texts) -> list[Any]:
    try:
        # One text for all: a cell that is no JSON by itself could go unseen, but the server lets none through.
        found = pydantic_core.from_json(b"[" + b",".join(cells) + b"]")
    except ValueError:
        # The type json (not jsonb) takes half of a surrogate pair, which only the standard library reads.
        return [json.loads(text) for text in texts(cells)]
    if len(found) != len(cells):
        raise ValueError("not one value each")
    return found


_DATETIME: Convert = lambda cells: list(map(datetime.fromisoformat, texts(cells)))  # noqa: E731
_DATE: Convert = lambda cells: list(map(date.fromisoformat, texts(cells)))  # noqa: E731
_TIME: Convert = lambda cells: list(map(time.fromisoformat, texts(cells)))  # noqa: E731
_DURATION: Convert = lambda cells: list(map(iso_duration, texts(cells)))  # noqa: E731
_HSTORE: Convert = lambda cells: list(map(read_hstore, cells))  # noqa: E731


def _each(names: frozenset[str], convert: Convert) -> dict[str, Convert]:
    return dict.fromkeys(names, convert)


_PAIRS: dict[ColumnType, dict[str, Convert]] = {
    ColumnType.TEXT: {"bool": lambda cells: list(map(_BOOL_TEXTS.__getitem__, cells))},
    ColumnType.INTEGER: {
        **_each(_INTEGERS, _integers),
        **_each(_FLOATS, _from_float),
        "numeric": _from_numeric,
        "bool": lambda cells: _integers(_bools(cells)),
    },
    ColumnType.REAL: {
        **_each(_INTEGERS | _FLOATS, _floats),
        "numeric": _rounded,
        "money": lambda cells: _floats(_money(cells)),
    },
    ColumnType.DECIMAL: {
        **_each(_INTEGERS | _FLOATS | {"numeric"}, texts),
        "money": lambda cells: texts(_money(cells)),
    },
    ColumnType.BOOLEAN: {"bool": _bools, **_each(_INTEGERS, _integers)},
    ColumnType.TIMESTAMP: _each(_INSTANTS | {"date"}, _DATETIME),
    ColumnType.DATE: {"date": _DATE, **_each(_INSTANTS, _DATETIME)},
    ColumnType.TIME: _each(frozenset({"time", "timetz"}), _TIME),
    ColumnType.DURATION: {"interval": _DURATION},
    ColumnType.UUID: {"uuid": texts},
    ColumnType.BYTES: {"bytea": _hexadecimal},
    ColumnType.JSON: {**_each(frozenset({"json", "jsonb"}), _json), "hstore": _HSTORE},
}

_NATURAL: dict[str, ColumnType] = {
    "bool": ColumnType.BOOLEAN,
    **dict.fromkeys(_INTEGERS, ColumnType.INTEGER),
    **dict.fromkeys(_FLOATS, ColumnType.REAL),
    "numeric": ColumnType.DECIMAL,
    **dict.fromkeys(_INSTANTS, ColumnType.TIMESTAMP),
    "date": ColumnType.DATE,
    "time": ColumnType.TIME,
    "timetz": ColumnType.TIME,
    "interval": ColumnType.DURATION,
    "uuid": ColumnType.UUID,
    "bytea": ColumnType.BYTES,
    "json": ColumnType.JSON,
    "jsonb": ColumnType.JSON,
    "hstore": ColumnType.JSON,
}


def natural(kind: PgType) -> ColumnType:
    """The column type that holds what a type (no domain) means, for columns that the record does not declare."""
    if kind.kind in ("array", "range", "multirange"):
        return ColumnType.JSON
    return _NATURAL.get(kind.name, ColumnType.TEXT) if kind.kind == "base" else ColumnType.TEXT


def converter(types: Types, oid: int, wanted: ColumnType) -> Convert | None:
    """How a type becomes a column; None: there is no way, it is carried as text."""
    kind = types.plain(oid)
    if wanted is ColumnType.JSON:
        return json_converter(types, kind)
    if kind.kind == "base":
        found = _PAIRS[wanted].get(kind.name)
        if found is not None:
            return found
        # Text may be the written form of whatever the column holds; the contract reads it.
        if kind.name in _TEXTS or (wanted is ColumnType.TEXT and _is_known(types, kind)):
            return texts
        return None
    return texts if kind.kind == "enum" or (wanted is ColumnType.TEXT and _is_known(types, kind)) else None


def _is_known(types: Types, kind: PgType) -> bool:
    """Whether the text of a type is known to be a good form of it: not for those of extensions, and composites."""
    if kind.kind == "base":
        return kind.oid < _FIRST_OF_USERS or kind.name in ("citext", "hstore")
    if kind.kind in ("array", "range", "multirange"):
        return _is_known(types, types.plain(kind.element))
    return kind.kind == "enum"


_FIRST_OF_USERS = 16_384
"""Oids below are the server's own."""


def json_converter(types: Types, kind: PgType) -> Convert | None:
    """How a type (no domain) becomes a JSON value.

    json and jsonb become what they say: whole numbers of any size, others as floats. Arrays become lists of what their
    elements become, a range {"lower", "upper", "lower_inc", "upper_inc", "empty"} with null for no bound, a multirange
    a list of those, hstore an object. A number, a truth value and an instant are what they are in a column of their
    own; numeric is text, so that no digit is lost, and an interval ISO 8601 text.
    """
    match kind.kind:
        case "array":
            return _array_converter(types, kind)
        case "range":
            return _range_converter(types, kind)
        case "multirange":
            return _multirange_converter(types, kind)
        case _:
            wanted = natural(kind)
            if wanted is ColumnType.JSON:
                return _PAIRS[wanted][kind.name]
            return converter(types, kind.oid, wanted)


def _array_converter(types: Types, kind: PgType) -> Convert | None:
    element = types.plain(kind.element)
    inner = json_converter(types, element)
    delimiter = types[kind.element].delimiter.encode()
    if inner is None:
        return None

    def convert(cells: Texts) -> Sequence[Any]:
        trees: list[Tree] = [read_array(cell, delimiter) for cell in cells]
        values = iter(convert_cells(inner, [leaf for tree in trees for leaf in leaves(tree)]))
        return [rebuilt(tree, values) for tree in trees]

    return convert


def _range_converter(types: Types, kind: PgType) -> Convert:
    show = _range_shower(types, kind)
    return lambda cells: [show(read_range(cell)) for cell in cells]


def _multirange_converter(types: Types, kind: PgType) -> Convert:
    show = _range_shower(types, types[kind.element])
    return lambda cells: [[show(found) for found in read_multirange(cell)] for cell in cells]


def _range_shower(types: Types, kind: PgType) -> Callable[[Range], dict[str, Any]]:
    inner = json_converter(types, types.plain(kind.element)) or texts

    def show(found: Range) -> dict[str, Any]:
        lower, upper = convert_cells(inner, [found.lower, found.upper])
        return {**found._asdict(), "lower": lower, "upper": upper}

    return show
