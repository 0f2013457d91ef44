"""What column a field of a record becomes: the table in `core.schema`, read off a type annotation."""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import ipaddress
import types
import typing
from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import PurePath
from typing import Any, cast
from uuid import UUID

import pydantic
import typing_extensions
from pydantic.fields import FieldInfo

from headrace.core.errors import DeclarationError
from headrace.core.schema import Column, ColumnType, Stored, encode

_EXACT: dict[Any, ColumnType] = {
    pydantic.AwareDatetime: ColumnType.TIMESTAMP,
    pydantic.NaiveDatetime: ColumnType.TIMESTAMP,
    pydantic.PastDatetime: ColumnType.TIMESTAMP,
    pydantic.FutureDatetime: ColumnType.TIMESTAMP,
    pydantic.PastDate: ColumnType.DATE,
    pydantic.FutureDate: ColumnType.DATE,
    pydantic.EmailStr: ColumnType.TEXT,
    Any: ColumnType.JSON,
}
_BY_CLASS: tuple[tuple[type | tuple[type, ...], ColumnType], ...] = (
    (bool, ColumnType.BOOLEAN),
    (int, ColumnType.INTEGER),
    (float, ColumnType.REAL),
    (
        (str, pydantic.AnyUrl, ipaddress.IPv4Address, ipaddress.IPv6Address, ipaddress.IPv4Network, PurePath),
        ColumnType.TEXT,
    ),
    (datetime, ColumnType.TIMESTAMP),
    (date, ColumnType.DATE),
    (time, ColumnType.TIME),
    (timedelta, ColumnType.DURATION),
    (UUID, ColumnType.UUID),
    (Decimal, ColumnType.DECIMAL),
    (bytes, ColumnType.BYTES),
    ((pydantic.BaseModel, list, dict, tuple, set, frozenset), ColumnType.JSON),
)
_CALLABLE: Any = collections.abc.Callable
_CONTAINERS = (collections.abc.Sequence, collections.abc.Mapping, collections.abc.Set, collections.abc.Iterable)


@dataclasses.dataclass(frozen=True, slots=True)
class Shape:
    """A column type and whether None is a value of it."""

    type: ColumnType | None
    nullable: bool = False


def column_of(name: str, field: FieldInfo) -> Column:
    """The column that a Pydantic field becomes.

    Raises
    ------
    DeclarationError
        When the field's type has no column type.
    """
    shape = shape_of(field.annotation)
    if shape.type is None:
        raise DeclarationError(
            f"the field {name!r} has the type {describe(field.annotation)}, which no column can hold",
            hint="use str, int, float, bool, datetime, date, time, timedelta, UUID, Decimal, bytes, an Enum, "
            "or something that is JSON (list, dict, a Pydantic model)",
        )
    return Column(name, shape.type, shape.nullable, field.description or "", _default(name, field, shape.type))


def _default(name: str, field: FieldInfo, kind: ColumnType) -> Stored:
    """The stored form of a field's default; None for one that is made anew for each record, but an empty container."""
    if field.default_factory in (list, dict):
        return encode(kind, field.get_default(call_default_factory=True, validated_data={}))
    if field.is_required() or field.default_factory is not None:
        return None
    try:
        return encode(kind, field.default)
    except (TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise DeclarationError(
            f"the default {field.default!r} of the field {name!r} is no {kind.value}",
            hint="give a default of the field's type",
        ) from error


def describe(annotation: Any) -> str:
    """The name of a type as a user would write it."""
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")


def shape_of(annotation: Any) -> Shape:
    """The column type and nullability of an annotation; `type` is None when there is no column type for it."""
    annotation = unwrap(annotation)
    if annotation is None or annotation is types.NoneType:
        return Shape(None, nullable=True)
    origin = typing.get_origin(annotation)
    if origin is typing.Union or origin is types.UnionType:
        return _union(typing.get_args(annotation))
    if origin is typing.Literal:
        values = typing.get_args(annotation)
        return Shape(_values(v for v in values if v is not None), nullable=None in values)
    return Shape(_plain(annotation, origin), nullable=annotation is Any)


def unwrap(annotation: Any) -> Any:
    """The annotation without `Annotated`, `NewType` and type aliases around it."""
    while True:
        if typing.get_origin(annotation) is typing.Annotated:
            annotation = typing.get_args(annotation)[0]
        elif isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        elif isinstance(annotation, typing_extensions.TypeAliasType):
            annotation = annotation.__value__
        else:
            return annotation


def _union(members: tuple[Any, ...]) -> Shape:
    shapes = [shape_of(member) for member in members]
    nullable = any(shape.nullable for shape in shapes)
    found = {shape.type for member, shape in zip(members, shapes, strict=True) if unwrap(member) is not types.NoneType}
    if len(found) == 1:
        return Shape(found.pop(), nullable)
    if None in found:
        return Shape(None, nullable)
    return Shape(ColumnType.REAL if found == {ColumnType.INTEGER, ColumnType.REAL} else ColumnType.JSON, nullable)


def _values(values: Iterable[Any]) -> ColumnType | None:
    """The type that all `values` of a Literal or an Enum share."""
    found: set[Any] = {type(value.value if isinstance(value, enum.Enum) else value) for value in values}
    if len(found) != 1:
        return None
    return {str: ColumnType.TEXT, int: ColumnType.INTEGER, bool: ColumnType.BOOLEAN}.get(found.pop())


def _plain(annotation: Any, origin: Any) -> ColumnType | None:
    if annotation in _EXACT:
        return _EXACT[annotation]
    kind: Any = origin or annotation
    if not isinstance(kind, type) or kind is type or kind is _CALLABLE:
        return None
    kind = cast("type[Any]", kind)
    if issubclass(kind, enum.Enum):
        return _values(cast("Iterable[Any]", kind))
    if dataclasses.is_dataclass(kind) or typing_extensions.is_typeddict(kind) or kind in _CONTAINERS:
        return ColumnType.JSON
    for classes, found in _BY_CLASS:
        if issubclass(kind, classes):
            return found
    return ColumnType.JSON if issubclass(kind, (collections.abc.Sequence, collections.abc.Mapping)) else None
