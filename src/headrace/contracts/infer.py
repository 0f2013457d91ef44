"""From a record to a table: the schema that a Pydantic model and a few words about it declare."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pydantic

from headrace.contracts.columns import column_of
from headrace.core.errors import DeclarationError
from headrace.core.names import suggest
from headrace.core.records import Record
from headrace.core.schema import Column, ColumnType, Schema, TableKind

_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")
_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z0-9]+|[A-Z]+")
_NOT_KEYS = (ColumnType.REAL, ColumnType.JSON)

Columns = str | Sequence[str]
"""One column's name, or several."""


def schema_of(
    record: type[Record],
    *,
    name: str | None = None,
    kind: TableKind,
    key: Columns = (),
    indexes: Sequence[Columns] = (),
    event_time: str | None = None,
    version: str | None = None,
    changed_at: str | None = None,
    keep: int | None = None,
    adopt: bool = False,
) -> Schema:
    """The schema of a table or a stream of events; see `core.schema.Schema` for the words.

    Parameters
    ----------
    name
        The name in SQL and URLs; `default_name` of the record when not given.
    keep
        Microseconds of event time.

    Raises
    ------
    DeclarationError
        When a named column is not there or cannot play its part; the hint lists what could.

    Examples
    --------
    >>> class Item(Record):
    ...     item_id: str
    ...     price: float | None = None
    >>> schema = schema_of(Item, kind=TableKind.TABLE, key="item_id")
    >>> schema.name, [(c.name, c.type.value, c.nullable) for c in schema.columns]
    ('items', [('item_id', 'text', False), ('price', 'real', True)])
    """
    _check_record(record)
    schema = Schema(
        name=_table_name(default_name(record) if name is None else name),
        kind=kind,
        columns=_columns(record),
        key=_names(key),
        indexes=tuple(_names(index) for index in indexes),
        event_time=event_time,
        version=version,
        changed_at=changed_at,
        keep=keep,
        adopt=adopt,
    )
    _check_kind(schema)
    _check_keys(schema)
    _check_times(schema)
    return schema


def default_name(record: type[Record]) -> str:
    """The table name of a record class: its words in lower case, in the plural.

    >>> [default_name(type(n, (Record,), {})) for n in ("Item", "Dish", "City", "OrderLine", "GPSPing")]
    ['items', 'dishes', 'cities', 'order_lines', 'gps_pings']
    """
    _check_record(record)
    words = [word.lower() for word in _WORD.findall(record.__name__)] or ["record"]
    return "_".join([*words[:-1], _plural(words[-1])])


def _check_record(record: type[Record]) -> None:
    if not (isinstance(record, type) and issubclass(record, pydantic.BaseModel)):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DeclarationError(
            f"{record!r:.80} is not a record", hint="give a class: class Item(headrace.Record): item_id: str"
        )


def _plural(word: str) -> str:
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return word[:-1] + "ies"
    if word.endswith(("ss", "us", "x", "z", "ch", "sh")):
        return word + "es"
    return word if word.endswith("s") else word + "s"


def _names(names: Columns) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _table_name(name: str) -> str:
    if not _IDENTIFIER.match(name) or name.lower().startswith("sqlite_"):
        raise DeclarationError(
            f"{name!r} cannot be the name of a table",
            hint="use letters, digits and underscores, a letter first (and not 'sqlite_')",
        )
    return name


def _columns(record: type[Record]) -> tuple[Column, ...]:
    if not record.__pydantic_complete__:
        _complete(record)
    columns: dict[str, Column] = {}
    for name, field in record.model_fields.items():
        _check_name(name, columns)
        column = column_of(name, field)
        if not column.nullable and not field.is_required() and field.default is None and not field.default_factory:
            raise DeclarationError(
                f"the field {name!r} of {record.__name__} has the default None, but its type does not allow None",
                hint="write `| None` after its type",
            )
        columns[name.lower()] = column
    if not columns:
        raise DeclarationError(f"the record {record.__name__} has no fields", hint="give it at least one")
    return tuple(columns.values())


def _complete(record: type[Record]) -> None:
    try:
        record.model_rebuild()
    except (pydantic.errors.PydanticUndefinedAnnotation, NameError) as error:
        raise DeclarationError(
            f"the record {record.__name__} is not complete: {error}",
            hint="define or import every type that its fields name before it is declared as a table",
        ) from error


def _check_name(name: str, taken: dict[str, Column]) -> None:
    if not _IDENTIFIER.match(name):
        raise DeclarationError(
            f"{name!r} cannot be the name of a column",
            hint="use letters, digits and underscores, a letter first; names that begin with _ are Headrace's own",
        )
    if name.lower() in taken:
        raise DeclarationError(
            f"the columns {taken[name.lower()].name!r} and {name!r} differ in case only, which SQL does not see",
            hint="rename one of them (a Pydantic alias keeps the name in the data)",
        )


def _check_kind(schema: Schema) -> None:
    if schema.kind is TableKind.TABLE:
        if not schema.key:
            raise DeclarationError(
                f"the table {schema.name!r} has no key",
                hint=f'name the column that tells rows apart: key="..."; {suggest("", schema.names)}',
            )
        if schema.event_time is not None or schema.keep is not None:
            raise DeclarationError(
                f"the table {schema.name!r} has an event time or a retention, which only events have",
                hint="declare it with app.events(...) if it is append-only",
            )
    elif schema.version is not None:
        raise DeclarationError(
            f"the events {schema.name!r} have a version, but events are never overwritten",
            hint="declare a table, or leave `version` away",
        )


def _check_keys(schema: Schema) -> None:
    _check_columns(schema, schema.key, "key")
    for index in schema.indexes:
        if not index:
            raise DeclarationError(f"an index of {schema.name!r} has no columns", hint="name at least one column")
        _check_columns(schema, index, "index")
    for name in schema.key:
        column = schema.column(name)
        if column.nullable:
            raise DeclarationError(
                f"the key column {name!r} of {schema.name!r} may be None",
                hint="a key always has a value: drop `| None`",
            )
        if column.type in _NOT_KEYS:
            raise DeclarationError(
                f"the key column {name!r} of {schema.name!r} is {column.type}, which cannot be compared reliably",
                hint="use text, an integer, a timestamp or a UUID as the key",
            )


def _check_columns(schema: Schema, names: tuple[str, ...], role: str) -> None:
    for name in names:
        if not schema.has(name):
            raise DeclarationError(
                f"the {role} of {schema.name!r} names the column {name!r}, which its record does not have",
                hint=suggest(name, schema.names),
            )
    if len(set(names)) != len(names):
        raise DeclarationError(f"the {role} of {schema.name!r} names a column twice", hint="name each column once")


def _check_times(schema: Schema) -> None:
    for role, name, allowed in (
        ("event_time", schema.event_time, (ColumnType.TIMESTAMP,)),
        ("changed_at", schema.changed_at, (ColumnType.TIMESTAMP,)),
        ("version", schema.version, (ColumnType.INTEGER, ColumnType.TIMESTAMP)),
    ):
        if name is None:
            continue
        _check_columns(schema, (name,), role)
        column = schema.column(name)
        fit = [c.name for c in schema.columns if c.type in allowed and not c.nullable]
        if column.type not in allowed:
            wanted = "a datetime" if len(allowed) == 1 else "an int or a datetime"
            raise DeclarationError(
                f"the {role} column {name!r} of {schema.name!r} is {column.type}, not {wanted}",
                hint=f"columns that could be it: {', '.join(fit) or 'none'}",
            )
        if column.nullable:
            raise DeclarationError(
                f"the {role} column {name!r} of {schema.name!r} may be None", hint="drop `| None` from its type"
            )
