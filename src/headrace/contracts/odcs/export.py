"""From contracts to a document of the standard.

| contract                     | document                                                                        |
|------------------------------|---------------------------------------------------------------------------------|
| table or events              | a schema object; physicalType "table" or "topic"                                |
| column                       | a property: logicalType, physicalType (as stored), required (not NULL)          |
| key                          | primaryKey, primaryKeyPosition; unique for a key of one column                  |
| constraints                  | logicalTypeOptions (minimum, maxLength, pattern, ...)                           |
| Literal, Enum                | a quality check: metric invalidValues with the valid ones                       |
| alias                        | physicalName                                                                    |
| SQL rule                     | a quality check of type sql that counts the rows that break it, mustBe 0        |
| rule or validator in Python  | a quality check of type text: it is told, it cannot be carried over             |
| freshness promise, retention | slaProperties latency and retention                                             |
| everything else              | customProperties in camel case, durations as text ("250ms")                     |
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Iterable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, cast

from pydantic.fields import FieldInfo

from headrace.contracts.columns import unwrap
from headrace.contracts.contract import AHEAD, Contract
from headrace.contracts.rules import Rule
from headrace.core.clock import SECOND, instant, isoformat
from headrace.core.errors import ContractError
from headrace.core.schema import Column, ColumnType, TableKind

API_VERSION = "v3.1.0"
"""The version of the standard that is written."""

LOGICAL = {
    ColumnType.TEXT: "string",
    ColumnType.INTEGER: "integer",
    ColumnType.REAL: "number",
    ColumnType.BOOLEAN: "boolean",
    ColumnType.TIMESTAMP: "timestamp",
    ColumnType.DATE: "date",
    ColumnType.TIME: "time",
    ColumnType.DURATION: "number",
    ColumnType.UUID: "string",
    ColumnType.DECIMAL: "number",
    ColumnType.BYTES: "string",
    ColumnType.JSON: "object",
}
"""The standard's logical type of each column type."""

BOUNDS = {
    "gt": "exclusiveMinimum",
    "ge": "minimum",
    "lt": "exclusiveMaximum",
    "le": "maximum",
    "multiple_of": "multipleOf",
}
"""Pydantic's words for bounds of a value, and the standard's."""

_LENGTHS = {"string": ("minLength", "maxLength"), "array": ("minItems", "maxItems")}
_UNITS = (("d", 86_400 * SECOND), ("h", 3_600 * SECOND), ("m", 60 * SECOND), ("s", SECOND), ("ms", 1_000), ("us", 1))


def export_odcs(contracts: Sequence[Contract], *, name: str = "headrace", version: str = "1.0.0") -> str:
    """The contracts of an app as one ODCS v3.1.0 document.

    Parameters
    ----------
    name
        The app's name; it becomes the document's name and id.
    version
        The version of the contract itself.

    Returns
    -------
    str
        YAML.

    Raises
    ------
    ContractError
        When a default or a bound cannot be written as YAML.
    """
    import yaml

    document = {
        "apiVersion": API_VERSION,
        "kind": "DataContract",
        "id": name,
        "name": name,
        "version": version,
        "status": "active",
        "schema": [_object(contract) for contract in contracts],
    }
    sla = [entry for contract in contracts for entry in _sla(contract)]
    if sla:
        document["slaProperties"] = sla
    try:
        return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110)
    except yaml.YAMLError as error:
        raise ContractError(
            f"the contract cannot be written as YAML: {error}", hint="use plain values as defaults and constraints"
        ) from error


def exact_duration(micros: int) -> str:
    """The duration in the largest unit that loses nothing.

    >>> exact_duration(5_400_000_000), exact_duration(250_000)
    ('90m', '250ms')
    """
    unit, size = next((unit, size) for unit, size in _UNITS if micros % size == 0)
    return f"{micros // size}{unit}"


def _object(contract: Contract) -> dict[str, Any]:
    schema = contract.schema
    found: dict[str, Any] = {
        "name": schema.name,
        "logicalType": "object",
        "physicalType": "table" if schema.kind is TableKind.TABLE else "topic",
    }
    if contract.description:
        found["description"] = contract.description
    found["properties"] = [_property(contract, column) for column in schema.columns]
    quality = [_rule(rule) for rule in contract.rules] + _validators(contract)
    if quality:
        found["quality"] = quality
    found["customProperties"] = custom(_facts(contract))
    return found


def _facts(contract: Contract) -> dict[str, Any]:
    """What the standard has no word for."""
    schema = contract.schema
    facts: dict[str, Any] = {"kind": schema.kind.value, "recordName": contract.record.__name__}
    if contract.owner:
        facts["owner"] = contract.owner
    if schema.indexes:
        facts["indexes"] = [list(index) for index in schema.indexes]
    for word, value in (
        ("eventTime", schema.event_time),
        ("version", schema.version),
        ("changedAt", schema.changed_at),
    ):
        if value is not None:
            facts[word] = value
    for word, micros in (("keep", schema.keep), ("lateness", contract.lateness), ("freshness", contract.freshness)):
        if micros is not None:
            facts[word] = exact_duration(micros)
    if contract.ahead != AHEAD:
        facts["ahead"] = None if contract.ahead is None else exact_duration(contract.ahead)
    facts["newFields"] = contract.new_fields
    facts["onViolation"] = contract.on_violation
    return facts


def custom(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Facts as the standard's customProperties."""
    return [{"property": name, "value": value} for name, value in facts.items()]


def _property(contract: Contract, column: Column) -> dict[str, Any]:
    field = contract.record.model_fields[column.name]
    logical = _logical(column, field)
    found: dict[str, Any] = {"name": column.name}
    alias = field.validation_alias or field.alias
    if isinstance(alias, str):
        found["physicalName"] = alias
    found |= {"logicalType": logical, "physicalType": column.type.storage, "required": not column.nullable}
    if column.name in contract.schema.key:
        found |= {"primaryKey": True, "primaryKeyPosition": contract.schema.key.index(column.name) + 1}
        if len(contract.schema.key) == 1:
            found["unique"] = True
    if column.description:
        found["description"] = column.description
    constraints = _constraints(field)
    options = _options(column, logical, constraints)
    if options:
        found["logicalTypeOptions"] = options
    values = _choices(field.annotation)
    if values:
        found["quality"] = [_valid(values)]
    facts = _column_facts(contract, column, field)
    if facts:
        found["customProperties"] = custom(facts)
    return found


def _column_facts(contract: Contract, column: Column, field: FieldInfo) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    if column.type in (ColumnType.DURATION, ColumnType.DECIMAL, ColumnType.BYTES):
        facts["columnType"] = column.type.value
    if column.type is ColumnType.JSON:
        facts["pythonType"] = json_type(field.annotation)
    if contract.policy(column.name) != contract.on_violation:
        facts["onViolation"] = contract.policy(column.name)
    if field.default_factory in (list, dict):
        facts["default"] = typing.cast("Any", field.default_factory)()
    elif field.default_factory is None and not field.is_required() and field.default is not None:
        facts["default"] = plain(field.default)
    elif field.is_required() and column.nullable:
        facts["mustBePresent"] = True
    return facts


def json_type(annotation: Any) -> str:
    """The Python type of a JSON column as text, in built-in types only (a nested model is a dict).

    >>> json_type(dict[str, list[int]] | None), json_type(set[str])
    ('dict[str, list[int]]', 'set[str]')
    """
    annotation = unwrap(annotation)
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Union or origin is types.UnionType:
        members = [json_type(member) for member in args if member is not types.NoneType]
        return " | ".join(dict.fromkeys(members))
    if annotation in (str, int, float, bool, list, dict, set, frozenset, tuple):
        return str(annotation.__name__)
    if origin in (list, dict, set, frozenset):
        return f"{origin.__name__}[{', '.join(json_type(arg) for arg in args)}]"
    if isinstance(annotation, type) and hasattr(annotation, "__annotations__") and annotation is not Any:
        return "dict[str, Any]"
    return "Any"


def _logical(column: Column, field: FieldInfo) -> str:
    if column.type is ColumnType.JSON and json_type(field.annotation).startswith(("list", "set", "frozenset", "tuple")):
        return "array"
    return LOGICAL[column.type]


def _constraints(field: FieldInfo) -> dict[str, Any]:
    """Bounds, lengths and the pattern of a field, wherever in its annotation they stand."""
    found: dict[str, Any] = {}
    for item in [*_inner_metadata(field.annotation), *field.metadata]:
        if isinstance(item, FieldInfo):
            found |= _constraints(item)
            continue
        for word in (*BOUNDS, "min_length", "max_length", "pattern"):
            value = getattr(item, word, None)
            if value is not None:
                found[word] = getattr(value, "pattern", value)
    return found


def _inner_metadata(annotation: Any) -> Iterable[Any]:
    if typing.get_origin(annotation) is typing.Annotated:
        yield from typing.get_args(annotation)[1:]
    elif typing.get_origin(annotation) in (typing.Union, types.UnionType):
        for member in typing.get_args(annotation):
            yield from _inner_metadata(member)


def _options(column: Column, logical: str, constraints: dict[str, Any]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if column.type is ColumnType.UUID:
        options["format"] = "uuid"
    elif column.type is ColumnType.BYTES:
        options["format"] = "binary"
    elif column.type is ColumnType.TIMESTAMP:
        options |= {"timezone": True, "defaultTimezone": "Etc/UTC"}
    elif column.type in (ColumnType.INTEGER, ColumnType.REAL):
        options["format"] = "i64" if column.type is ColumnType.INTEGER else "f64"
    for word, ours in BOUNDS.items():
        value = plain(constraints.get(word), number=column.type is ColumnType.DECIMAL)
        if value is not None and not (isinstance(value, float) and not math.isfinite(value)):
            options[ours] = value
    shortest, longest = _LENGTHS.get(logical, ("minProperties", "maxProperties"))
    for word, ours in (("min_length", shortest), ("max_length", longest), ("pattern", "pattern")):
        if word in constraints:
            options[ours] = constraints[word]
    return options


def plain(value: Any, *, number: bool = False) -> Any:
    """A default or bound as YAML holds it: text for what has no plain form, seconds for a duration."""
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, datetime):
        return isoformat(instant(value))
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        return (int(value) if value == int(value) else float(value)) if number else str(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, set | frozenset | tuple):
        return list(typing.cast("Iterable[Any]", value))
    if value is None or isinstance(value, str | int | float | list | dict):
        return cast("Any", value)
    return str(value)


def _choices(annotation: Any) -> list[Any]:
    """The valid values of a Literal or an Enum."""
    annotation = unwrap(annotation)
    if typing.get_origin(annotation) is typing.Literal:
        return [value for value in map(plain, typing.get_args(annotation)) if value is not None]
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return [member.value for member in annotation]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [value for member in typing.get_args(annotation) for value in _choices(member)]
    return []


def _valid(values: list[Any]) -> dict[str, Any]:
    return {"type": "library", "metric": "invalidValues", "arguments": {"validValues": values}, "mustBe": 0}


def _rule(rule: Rule) -> dict[str, Any]:
    if rule.sql is None:
        return {
            "type": "text",
            "name": rule.name,
            "description": rule.message or f"Judged by the Python function {rule.name}.",
        }
    found: dict[str, Any] = {"type": "sql", "name": rule.name}
    if rule.message:
        found["description"] = rule.message
    found |= {
        "dimension": "conformity",
        "unit": "rows",
        "query": f"SELECT COUNT(*) FROM ${{table}} WHERE NOT ({rule.sql})",
        "mustBe": 0,
    }
    facts: dict[str, Any] = {"expression": rule.sql, "onViolation": rule.on_violation}
    if rule.columns:
        facts["columns"] = list(rule.columns)
    return found | {"customProperties": custom(facts)}


def _validators(contract: Contract) -> list[dict[str, Any]]:
    hooks = contract.record.__pydantic_decorators__
    names = [*hooks.field_validators, *hooks.model_validators]
    return [{"type": "text", "name": n, "description": f"Judged by the Python validator {n}."} for n in names]


def _sla(contract: Contract) -> list[dict[str, Any]]:
    name, keep = contract.schema.name, contract.schema.keep
    found: list[dict[str, Any]] = []
    if contract.freshness is not None:
        found.append({"property": "latency", "value": seconds(contract.freshness), "unit": "s", "element": name})
    if keep is not None:
        days, rest = divmod(keep, 86_400 * SECOND)
        value, unit = (seconds(keep), "s") if rest else (days, "d")
        found.append({"property": "retention", "value": value, "unit": unit, "element": name})
    return found


def seconds(micros: int) -> int | float:
    """Seconds, as a whole number where they are one."""
    return micros / SECOND if micros % SECOND else micros // SECOND
