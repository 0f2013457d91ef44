"""Columns, and how their values are stored, compared and shown.

| Python                 | column type | stored as (SQLite)             | shown as (JSON)          |
|------------------------|-------------|--------------------------------|--------------------------|
| str, Literal, str Enum | text        | TEXT                           | string                   |
| int, int Enum          | integer     | INTEGER (64 bit)               | number                   |
| float                  | real        | REAL (finite)                  | number                   |
| bool                   | boolean     | INTEGER 0 or 1                 | true, false              |
| datetime               | timestamp   | INTEGER microseconds, UTC      | RFC 3339 string          |
| date, time             | date, time  | TEXT, ISO 8601                 | string                   |
| timedelta              | duration    | INTEGER microseconds           | number of seconds        |
| UUID                   | uuid        | TEXT, lower case               | string                   |
| Decimal                | decimal     | TEXT, as written               | string                   |
| bytes                  | bytes       | BLOB                           | base64 string            |
| list, dict, model, ... | json        | TEXT, compact JSON             | the JSON value           |
"""

from __future__ import annotations

import base64
import enum
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from headrace.core.clock import SECOND, instant, isoformat

Stored = str | int | float | bytes | None
"""A value as SQLite holds it."""

Row = tuple[Stored, ...]
"""The stored values of one record, in the order of its schema's columns."""

META_COLUMNS = ("_version", "_source_ts", "_txn")
"""Columns that the store adds to each live table: the guard version, when the value changed at its source
(microseconds) and the store's commit stamp that wrote it (microseconds, strictly increasing)."""


class ColumnType(enum.StrEnum):
    """The type of a column; see the table at the top of the module."""

    TEXT = "text"
    INTEGER = "integer"
    REAL = "real"
    BOOLEAN = "boolean"
    TIMESTAMP = "timestamp"
    DATE = "date"
    TIME = "time"
    DURATION = "duration"
    UUID = "uuid"
    DECIMAL = "decimal"
    BYTES = "bytes"
    JSON = "json"

    @property
    def storage(self) -> str:
        """The SQLite type: TEXT, INTEGER, REAL or BLOB."""
        return _STORAGE[self]


_STORAGE = {
    ColumnType.TEXT: "TEXT",
    ColumnType.INTEGER: "INTEGER",
    ColumnType.REAL: "REAL",
    ColumnType.BOOLEAN: "INTEGER",
    ColumnType.TIMESTAMP: "INTEGER",
    ColumnType.DATE: "TEXT",
    ColumnType.TIME: "TEXT",
    ColumnType.DURATION: "INTEGER",
    ColumnType.UUID: "TEXT",
    ColumnType.DECIMAL: "TEXT",
    ColumnType.BYTES: "BLOB",
    ColumnType.JSON: "TEXT",
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name, type and whether it may be NULL.

    `default` is the stored form of the value that a record without it gets; rows that were stored before the column
    was declared get it too. None: no default, or NULL.
    """

    name: str
    type: ColumnType
    nullable: bool = False
    description: str = ""
    default: Stored = None


class TableKind(enum.StrEnum):
    """`table`: the latest row of each key. `events`: append-only, in order of arrival."""

    TABLE = "table"
    EVENTS = "events"


@dataclass(frozen=True, slots=True)
class Schema:
    """What the store must know of one declared table.

    Attributes
    ----------
    name
        The name in SQL and in URLs.
    kind
        A keyed live table or an append-only stream of events.
    columns
        In the order of the record's fields; a stored `Row` has this order.
    key
        Names of the key columns. Empty for events without a key; events with a key drop exact repeats of it.
    indexes
        Secondary indexes, each a tuple of column names.
    event_time
        The column that says when an event happened (events only).
    version
        The column whose value orders the changes of one key: an older one never overwrites a newer one.
    changed_at
        The timestamp column that says when the row changed at its source.
    keep
        How long events are kept, in microseconds of event time; None: raw events are not stored at all.
    adopt
        Whether fields that the record does not declare are kept, as JSON, in the column `_extra`.
    """

    name: str
    kind: TableKind
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    indexes: tuple[tuple[str, ...], ...] = ()
    event_time: str | None = None
    version: str | None = None
    changed_at: str | None = None
    keep: int | None = None
    adopt: bool = False
    _positions: dict[str, int] = field(init=False, repr=False, compare=False, default_factory=dict[str, int])

    def __post_init__(self) -> None:
        self._positions.update({column.name: i for i, column in enumerate(self.columns)})

    @property
    def names(self) -> tuple[str, ...]:
        """The column names, in order."""
        return tuple(column.name for column in self.columns)

    @property
    def key_positions(self) -> tuple[int, ...]:
        """Where the key columns stand in a `Row`."""
        return tuple(self._positions[name] for name in self.key)

    def position(self, name: str) -> int:
        """Where the column `name` stands in a `Row`. Raises KeyError when there is none."""
        return self._positions[name]

    def column(self, name: str) -> Column:
        """The column `name`. Raises KeyError when there is none."""
        return self.columns[self._positions[name]]

    def has(self, name: str) -> bool:
        """Whether there is a column `name`."""
        return name in self._positions


def encode(kind: ColumnType, value: Any) -> Stored:
    """The stored form of a validated Python value.

    >>> encode(ColumnType.BOOLEAN, True), encode(ColumnType.TIMESTAMP, datetime(1970, 1, 1, 0, 0, 1))
    (1, 1000000)
    """
    return None if value is None else ENCODERS[kind](value)


def show(kind: ColumnType, stored: Stored) -> Any:
    """The JSON-ready form of a stored value; what HTTP, MCP and the Python client return.

    >>> show(ColumnType.TIMESTAMP, 1_000_000), show(ColumnType.BOOLEAN, 1)
    ('1970-01-01T00:00:01.000000Z', True)
    """
    if stored is None:
        return None
    shower = SHOWERS.get(kind)
    return stored if shower is None else shower(stored)


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, enum.Enum) else value


def _iso(value: date | time | str) -> str:
    return value if isinstance(value, str) else value.isoformat()


def _micros(value: timedelta) -> int:
    return (value.days * 86_400 + value.seconds) * SECOND + value.microseconds


def _json_default(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, datetime):
        return isoformat(instant(value))
    if isinstance(value, set | frozenset | tuple):
        return list(value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(_plain(value))


def to_json(value: Any) -> str:
    """Compact JSON text of any validated value."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=_json_default)


ENCODERS: dict[ColumnType, Callable[[Any], Stored]] = {
    ColumnType.TEXT: lambda v: str(_plain(v)),
    ColumnType.INTEGER: lambda v: int(_plain(v)),
    ColumnType.REAL: float,
    ColumnType.BOOLEAN: int,
    ColumnType.TIMESTAMP: instant,
    ColumnType.DATE: _iso,
    ColumnType.TIME: _iso,
    ColumnType.DURATION: _micros,
    ColumnType.UUID: lambda v: str(v if isinstance(v, UUID) else UUID(str(v))),
    ColumnType.DECIMAL: lambda v: str(v if isinstance(v, Decimal) else Decimal(str(v))),
    ColumnType.BYTES: bytes,
    ColumnType.JSON: to_json,
}
"""Stored form by column type; values are not None."""

SHOWERS: dict[ColumnType, Callable[[Any], Any]] = {
    ColumnType.BOOLEAN: bool,
    ColumnType.TIMESTAMP: isoformat,
    ColumnType.DURATION: lambda v: v / SECOND,
    ColumnType.BYTES: lambda v: base64.b64encode(v).decode(),
    ColumnType.JSON: json.loads,
}
"""JSON form by column type; a type that is missing here is shown as it is stored."""
