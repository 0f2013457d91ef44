"""From what a caller gives (Python values, or text out of a URL) to what a statement binds."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

from headrace.core.clock import SECOND, instant
from headrace.core.durations import parse_duration
from headrace.core.errors import BadParameter, DeclarationError
from headrace.core.names import suggest
from headrace.core.schema import Column, ColumnType, Stored, encode, to_json

_INTEGERS = range(-(2**63), 2**63)


def convert(name: str, kind: ColumnType, value: Any) -> Stored:
    """The stored form of a parameter's value; text is read as the type's usual notation.

    Raises
    ------
    BadParameter
        When the value does not fit the type.

    Examples
    --------
    >>> convert("limit", ColumnType.INTEGER, "10"), convert("open", ColumnType.BOOLEAN, "true")
    (10, 1)
    """
    if value is None:
        return None
    try:
        stored = _CONVERTERS[kind](value)
        if isinstance(stored, str):
            stored.encode()
    except (ValueError, TypeError, OverflowError, InvalidOperation, binascii.Error, DeclarationError):
        raise BadParameter(
            f"the parameter {name!r} takes {_KINDS.get(kind, 'a')} {kind.value}, not {value!r:.100}",
            hint=f"for example {_EXAMPLES[kind]}",
        ) from None
    return stored


def check_names(given: Mapping[str, Any], parameters: Sequence[Column], view: str) -> None:
    """Refuse parameters that the view does not have, and parameters that are missing; a nullable one may be."""
    names = [parameter.name for parameter in parameters]
    extra = [name for name in given if name not in names]
    if extra:
        message = f"the view {view!r} has no parameter {extra[0]!r:.100}"
        raise BadParameter(message, hint=suggest(extra[0], names))
    missing = [parameter.name for parameter in parameters if not parameter.nullable and parameter.name not in given]
    if missing:
        raise BadParameter(
            f"the view {view!r} needs the parameter {missing[0]!r}", hint=f"give all of: {', '.join(names)}"
        )


def _text(value: Any) -> str:
    if isinstance(value, bytes | bool | dict | list):
        raise TypeError
    return str(encode(ColumnType.TEXT, value))


def _integer(value: Any) -> int:
    if isinstance(value, float) and not value.is_integer():
        raise ValueError
    number = int(value)
    if number not in _INTEGERS:
        raise OverflowError
    return number


def _real(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    return number


def _boolean(value: Any) -> int:
    if isinstance(value, str):
        if (word := value.strip().lower()) not in _BOOLEANS:
            raise ValueError
        return _BOOLEANS[word]
    if value not in (0, 1):
        raise ValueError
    return int(value)


def _timestamp(value: Any) -> int:
    if isinstance(value, str):
        moment = datetime.fromisoformat(value.strip().replace(" ", "+") if "T" in value else value.strip())
    elif isinstance(value, datetime):
        moment = value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        return _integer(round(value * SECOND))
    else:
        raise TypeError
    return instant(moment)


def _duration(value: Any) -> int:
    if isinstance(value, str):
        try:
            return _integer(round(float(value) * SECOND))
        except ValueError:
            return parse_duration(value)
    if isinstance(value, timedelta):
        return parse_duration(value)
    return _integer(round(float(value) * SECOND))


def _bytes(value: Any) -> bytes:
    return bytes(value) if isinstance(value, bytes | bytearray) else base64.b64decode(value, validate=True)


def _iso_date(value: Any) -> str:
    return (value if isinstance(value, date) else date.fromisoformat(value)).isoformat()


def _iso_time(value: Any) -> str:
    return (value if isinstance(value, time) else time.fromisoformat(value)).isoformat()


_BOOLEANS = {"true": 1, "false": 0, "1": 1, "0": 0}

_CONVERTERS: dict[ColumnType, Callable[[Any], Stored]] = {
    ColumnType.TEXT: _text,
    ColumnType.INTEGER: _integer,
    ColumnType.REAL: _real,
    ColumnType.BOOLEAN: _boolean,
    ColumnType.TIMESTAMP: _timestamp,
    ColumnType.DATE: _iso_date,
    ColumnType.TIME: _iso_time,
    ColumnType.DURATION: _duration,
    ColumnType.UUID: lambda v: str(UUID(str(v))),
    ColumnType.DECIMAL: lambda v: str(Decimal(str(v))),
    ColumnType.BYTES: _bytes,
    ColumnType.JSON: lambda v: v if isinstance(v, str) else to_json(v),
}

_KINDS = {ColumnType.INTEGER: "an", ColumnType.BYTES: ""}

_EXAMPLES = {
    ColumnType.TEXT: "r7",
    ColumnType.INTEGER: "42",
    ColumnType.REAL: "2.5",
    ColumnType.BOOLEAN: "true",
    ColumnType.TIMESTAMP: "2026-11-21T12:00:00Z",
    ColumnType.DATE: "2026-11-21",
    ColumnType.TIME: "12:30:00",
    ColumnType.DURATION: "90 (seconds) or 1m30s",
    ColumnType.UUID: "6f1c0f0e-6a0e-4a3c-9d57-6f5d0f7b8a11",
    ColumnType.DECIMAL: "19.99",
    ColumnType.BYTES: "aGVsbG8= (base64)",
    ColumnType.JSON: '{"a": 1}',
}
