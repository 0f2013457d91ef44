"""Which fields a fast decoder can read exactly as Pydantic would, and as what."""

from __future__ import annotations

import enum
import re
import types
import typing
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

import annotated_types
import msgspec
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from headrace.contracts.columns import unwrap
from headrace.contracts.exact import INT_MAX, INT_MIN
from headrace.core.records import Record
from headrace.core.schema import Column, ColumnType, Schema

_HARMLESS = frozenset({"title", "json_schema_extra", "frozen", "use_attribute_docstrings", "ser_json_inf_nan"})
# A pattern that Python's and Rust's regular expressions read alike: literals, plain ASCII classes, quantifiers.
_SAFE_PATTERN = re.compile(
    r"\^?(?:(?:[A-Za-z0-9_@:,; -]|\\[.\-/+]|\[[A-Za-z0-9_.@:, ]+-?\])(?:[+*?]|\{\d{1,3}(?:,\d{0,3})?\})?)*\$?"
)
_BASES: dict[Any, Any] = {str: str, float: float, bool: bool, datetime: datetime, date: date}
_SCALARS = (str, float, bool)
_CONSTRAINTS = {
    annotated_types.Gt: ("gt", "gt"),
    annotated_types.Ge: ("ge", "ge"),
    annotated_types.Lt: ("lt", "lt"),
    annotated_types.Le: ("le", "le"),
    annotated_types.MinLen: ("min_length", "min_length"),
    annotated_types.MaxLen: ("max_length", "max_length"),
}


class _Unsure(Exception):
    """This field has to be left to Pydantic."""


@dataclass(frozen=True, slots=True)
class FastFields:
    """The fields of a msgspec Struct, in the order of the columns, and their names in the data."""

    fields: list[tuple[Any, ...]]
    rename: dict[str, str]


def fast_fields(record: type[Record], schema: Schema) -> FastFields | None:
    """The Struct fields of a record, or None when it has something that only Pydantic can judge."""
    if not _is_plain(record):
        return None
    try:
        fields = [_field(schema.column(name), field) for name, field in record.model_fields.items()]
        return FastFields(fields, {name: _input_name(name, field) for name, field in record.model_fields.items()})
    except _Unsure:
        return None


def _is_plain(record: type[Record]) -> bool:
    """Whether nothing but the fields decides what the record accepts."""
    found = record.__pydantic_decorators__
    hooks = found.validators, found.field_validators, found.root_validators, found.model_validators
    if any(hooks) or record.__pydantic_custom_init__ or record.__pydantic_post_init__ is not None:
        return False
    if record.__pydantic_root_model__ or "__get_pydantic_core_schema__" in _own_names(record):
        return False
    config = dict(record.model_config)
    return all(config.get(name) == value for name, value in Record.model_config.items() if name not in _HARMLESS) and (
        not set(config) - set(Record.model_config) - _HARMLESS
    )


def _own_names(record: type[Record]) -> set[str]:
    classes = [c for c in record.__mro__ if c not in (Record, *BaseModel.__mro__)]
    return {name for c in classes for name in vars(c)}


def _input_name(name: str, field: FieldInfo) -> str:
    alias = field.validation_alias or field.alias
    if alias is not None and not isinstance(alias, str):
        raise _Unsure
    return name if alias is None else alias


def _field(column: Column, field: FieldInfo) -> tuple[Any, ...]:
    if field.discriminator is not None or field.exclude or field.init is False:
        raise _Unsure
    if field.validate_default or field.default_factory_takes_validated_data:
        raise _Unsure
    kind = _type(column, field.annotation, _constraints(field))
    if field.is_required():
        return column.name, kind
    return column.name, kind, _default(column, field)


def _constraints(field: FieldInfo) -> dict[str, Any]:
    found: dict[str, Any] = {}
    metadata: list[Any] = field.metadata
    for item in metadata:
        known = _CONSTRAINTS.get(cast("Any", type(item)))
        if known is not None:
            if known[0] in found:
                raise _Unsure
            found[known[0]] = getattr(item, known[1])
        elif _is_pattern(item):
            found["pattern"] = _pattern(item.pattern)
        else:
            raise _Unsure
    return found


def _is_pattern(item: Any) -> bool:
    """Whether this is Pydantic's way to keep `pattern=` and nothing else."""
    return getattr(item, "__dict__", {}).keys() == {"pattern"} and isinstance(item.pattern, str)


def _pattern(pattern: str) -> str:
    if not _SAFE_PATTERN.fullmatch(pattern):
        raise _Unsure
    # Python's $ also matches before a last line feed.
    return pattern[:-1] + r"\Z" if pattern.endswith("$") else pattern


def _default(column: Column, field: FieldInfo) -> Any:
    if field.default_factory in (list, dict):
        return msgspec.field(default_factory=cast("Any", field.default_factory))
    default: Any = field.default
    if default is None and field.default_factory is None:
        return None
    wanted = _DEFAULTS.get(column.type)
    value: Any = default.value if isinstance(default, enum.Enum) else default
    if wanted is None or type(value) is not wanted or field.default_factory is not None:
        raise _Unsure
    if column.type is ColumnType.INTEGER and not INT_MIN <= value <= INT_MAX:
        raise _Unsure
    return value


_DEFAULTS: dict[ColumnType, type] = {
    ColumnType.TEXT: str,
    ColumnType.INTEGER: int,
    ColumnType.REAL: float,
    ColumnType.BOOLEAN: bool,
    ColumnType.TIMESTAMP: datetime,
    ColumnType.DATE: date,
}


def _type(column: Column, annotation: Any, constraints: dict[str, Any]) -> Any:
    """The type to decode as; NULL included when the column allows it."""
    inner = _without_none(annotation)
    if column.type is ColumnType.JSON:
        if constraints or annotation is Any:
            raise _Unsure
        kind = _json_type(inner, 0)
    elif column.type in (ColumnType.UUID, ColumnType.DECIMAL):
        if constraints or inner is not _TEXT_FORMS[column.type]:
            raise _Unsure
        kind = str  # checked afterwards to be in the form in which it is stored
    else:
        kind = _scalar(column, inner, constraints)
    return kind | None if column.nullable else kind


_TEXT_FORMS: dict[ColumnType, type] = {ColumnType.UUID: UUID, ColumnType.DECIMAL: Decimal}


def _without_none(annotation: Any) -> Any:
    """The one member of an optional annotation that is not None."""
    if isinstance(annotation, type) or annotation is Any:
        return annotation
    origin = typing.get_origin(annotation)
    if origin is typing.Union or origin is types.UnionType:
        members = [member for member in typing.get_args(annotation) if member is not types.NoneType]
        if len(members) != 1:
            raise _Unsure
        return _without_none(members[0])
    if origin is typing.Annotated or unwrap(annotation) is not annotation:
        raise _Unsure  # constraints inside: rare, and not worth the risk
    return annotation


def _scalar(column: Column, inner: Any, constraints: dict[str, Any]) -> Any:
    values = _choices(inner)
    if values is not None:
        if constraints:
            raise _Unsure
        return typing.Literal[values]
    if inner is int:
        return typing.Annotated[int, _meta(_within_64_bits(constraints))]
    base = _BASES.get(inner)
    if base is None or (constraints and base not in (str, float)):
        raise _Unsure
    if base is float and any(type(v) not in (int, float) for v in constraints.values()):
        raise _Unsure
    return typing.Annotated[base, _meta(constraints)] if constraints else base


def _meta(constraints: dict[str, Any]) -> msgspec.Meta:
    return msgspec.Meta(**constraints)


def _choices(inner: Any) -> tuple[Any, ...] | None:
    """The values of a Literal or an Enum, if they are text or whole numbers."""
    if typing.get_origin(inner) is typing.Literal:
        values = tuple(v for v in typing.get_args(inner) if v is not None)
    elif isinstance(inner, type) and issubclass(inner, enum.Enum):
        values = tuple(member.value for member in inner)
    else:
        return None
    kinds: set[Any] = {type(value) for value in values}
    if kinds not in ({str}, {int}) or (kinds == {int} and not all(INT_MIN <= v <= INT_MAX for v in values)):
        raise _Unsure
    return values


def _within_64_bits(constraints: dict[str, Any]) -> dict[str, int]:
    if set(constraints) - {"gt", "ge", "lt", "le"} or any(type(v) is not int for v in constraints.values()):
        raise _Unsure
    if any(not INT_MIN < v < INT_MAX for v in constraints.values()):
        raise _Unsure
    low = {} if constraints.keys() & {"gt", "ge"} else {"ge": INT_MIN}
    high = {} if constraints.keys() & {"lt", "le"} else {"le": INT_MAX}
    return {**constraints, **low, **high}


def _json_type(inner: Any, depth: int) -> Any:
    """A container of plain JSON values, with the same meaning in both libraries."""
    if inner in (list, dict):
        raise _Unsure  # whatever is inside: numbers beyond 64 bits are read differently
    origin, args = typing.get_origin(inner), typing.get_args(inner)
    if depth > 3 or origin not in (list, dict) or (origin is dict and args[0] is not str):
        raise _Unsure
    element = args[-1]
    if element in _SCALARS:
        kind = element
    elif element is int:
        kind = typing.Annotated[int, msgspec.Meta(ge=INT_MIN, le=INT_MAX)]
    else:
        kind = _json_type(element, depth + 1)
    return list[kind] if origin is list else dict[str, kind]
