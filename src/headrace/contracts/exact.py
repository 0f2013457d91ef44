"""One record at a time, by Pydantic: exact, and precise about what is wrong."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import pydantic_core
from pydantic import ValidationError

from headrace.contracts.body import fields_of
from headrace.contracts.breach import Breach, breaches_of, gravest, value_text
from headrace.contracts.contract import Contract
from headrace.core.clock import SECOND, instant
from headrace.core.records import OnViolation, Record
from headrace.core.schema import ENCODERS, Column, ColumnType, Row, Stored

INT_MIN, INT_MAX = -(2**63), 2**63 - 1
"""What SQLite's integers hold."""
FIRST_INSTANT = -62_135_596_800 * SECOND
LAST_INSTANT = 253_402_300_800 * SECOND - 1
"""Years 1 to 9999: what can be shown again."""


@dataclass(slots=True)
class Accepted:
    """A good record: its stored row, its adopted fields as JSON text, and how many columns were set to NULL."""

    row: Row
    record: Record
    extra: str | None = None
    nulled: int = 0


class Unstorable(ValueError):
    """A valid value that the store cannot hold."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message)
        self.rule = rule
        self.message = message


class ExactReader:
    """Judges single records of one contract, as JSON text or as Python mappings."""

    def __init__(self, contract: Contract) -> None:
        self._record = contract.record
        self._new_fields = contract.new_fields
        self._nullable = {column.name: column.nullable for column in contract.schema.columns}
        self._columns = contract.schema.columns
        self._encoders = tuple((c.name, encoder_of(c)) for c in contract.schema.columns)
        self._policies: dict[str, OnViolation] = {**contract.policies, "": contract.on_violation}
        self.inputs = input_names(contract.record)
        """The column of each name that a field has in the data."""

    def from_json(self, raw: bytes) -> Accepted | Breach:
        """Judge one JSON object."""
        return self._judge(self._record.__pydantic_validator__.validate_json, raw, lambda: parse_object(raw))

    def from_mapping(self, values: Mapping[str, Any]) -> Accepted | Breach:
        """Judge one mapping of Python values."""
        return self._judge(self._record.__pydantic_validator__.validate_python, values, lambda: values)

    def unknown(self, values: Any) -> dict[str, Any]:
        """The fields that the record does not declare; none in what is no mapping (whatever a source took for one)."""
        if not isinstance(values, Mapping):
            return {}
        fields = cast("Mapping[str, Any]", values)
        return {name: value for name, value in fields.items() if name not in self.inputs}

    def _judge(
        self, validate: Callable[[Any], Any], given: Any, values: Callable[[], Mapping[str, Any]]
    ) -> Accepted | Breach:
        nulled = 0
        found = self._validated(validate, given)
        if isinstance(found, list):
            repaired = self._without(found, values())
            if repaired is None:
                return gravest(found)
            nulled = len(repaired[1])
            found = self._validated(repaired[0], repaired[2])
            if isinstance(found, list):
                return gravest(found)
        accepted = self._stored(found)
        if isinstance(accepted, Breach):
            return accepted
        accepted.nulled += nulled
        return accepted if self._new_fields == "ignore" else self._with_new_fields(accepted, values())

    def _validated(self, validate: Callable[[Any], Any], given: Any) -> Record | list[Breach]:
        try:
            return validate(given)
        except ValidationError as error:
            return breaches_of(error, self.inputs, self._policies)
        except RecursionError:
            return [Breach("json", "", "", "the record is nested too deeply", self._policies[""])]
        # The boundary to user code: a validator that raises anything but ValueError. One record must not stop the
        # stream, so whatever it is becomes a violation that names it.
        except Exception as error:
            message = f"a validator raised {type(error).__name__}: {error}"
            return [Breach("validator", "", "", message, self._policies[""])]

    def _without(
        self, breaches: list[Breach], values: Mapping[str, Any]
    ) -> tuple[Callable[[Any], Any], set[str], Any] | None:
        """How to judge again with all offending columns set to NULL; None unless all of them allow it."""
        if any(breach.policy != "null" for breach in breaches):
            return None
        gone = {breach.column for breach in breaches}
        names = {name for name, column in self.inputs.items() if column in gone}
        given = {name: value for name, value in values.items() if name not in names}
        given.update({self._input_of(column): None for column in gone})
        validator = self._record.__pydantic_validator__
        try:
            # As JSON, so that the same conversions apply as to a record that arrived as JSON.
            return validator.validate_json, gone, pydantic_core.to_json(given, inf_nan_mode="constants")
        except (pydantic_core.PydanticSerializationError, ValueError):
            return validator.validate_python, gone, given

    def _input_of(self, column: str) -> str:
        return next((name for name, owner in self.inputs.items() if owner == column), column)

    def _stored(self, record: Record) -> Accepted | Breach:
        values = record.__dict__
        try:
            return Accepted(tuple([encode(values[name]) for name, encode in self._encoders]), record)
        except (Unstorable, ValueError, TypeError, OverflowError, RecursionError, KeyError):
            return self._stored_carefully(record)

    def _stored_carefully(self, record: Record) -> Accepted | Breach:
        cells: list[Stored] = []
        breaches: list[Breach] = []
        nulled = 0
        for name, encode in self._encoders:
            value = record.__dict__.get(name)
            try:
                cells.append(encode(value))
            except (ValueError, TypeError, OverflowError, RecursionError) as error:
                breach = self._unstorable(name, value, error)
                cells.append(None)
                nulled += 1
                if breach.policy != "null":
                    breaches.append(breach)
        return gravest(breaches) if breaches else Accepted(tuple(cells), record, nulled=nulled)

    def _unstorable(self, name: str, value: Any, error: Exception) -> Breach:
        shown = value_text(value)
        rule = error.rule if isinstance(error, Unstorable) else "type"
        return Breach(rule, name, shown, f"{name}: {error}; it is {shown}", self._policies[name])

    def _with_new_fields(self, accepted: Accepted, values: Mapping[str, Any]) -> Accepted | Breach:
        unknown = self.unknown(values)
        if not unknown:
            return accepted
        if self._new_fields == "quarantine":
            name = next(iter(unknown))
            listed = ", ".join(map(repr, unknown))
            return Breach("unknown_field", name, value_text(unknown[name]), f"the record does not declare {listed}")
        try:
            accepted.extra = _json(unknown)
        except (ValueError, TypeError, RecursionError) as error:
            return Breach("unknown_field", next(iter(unknown)), value_text(unknown), f"cannot be kept as JSON: {error}")
        return accepted


def parse_object(raw: bytes) -> dict[str, Any]:
    """The JSON object in `raw`; empty when it is none."""
    try:
        value = pydantic_core.from_json(raw)
    except (ValueError, RecursionError):
        return {}
    return fields_of(value)


def input_names(record: type[Record]) -> dict[str, str]:
    """The column of each name that a field may have in the data: its name, or its aliases."""
    names: dict[str, str] = {}
    config = record.model_config
    by_name = bool(config.get("populate_by_name") or config.get("validate_by_name"))
    for name, field in record.model_fields.items():
        alias = field.validation_alias or field.alias
        if alias is None or by_name or config.get("validate_by_alias") is False:
            names[name] = name
        if isinstance(alias, str):
            names[alias] = name
        elif alias is not None:
            choices: Any = getattr(alias, "choices", [alias])
            names.update({str(c if isinstance(c, str) else c.path[0]): name for c in choices})
    return names


def encoder_of(column: Column) -> Callable[[Any], Stored]:
    """A function from a validated value to its stored form; it raises when the store cannot hold it."""
    encode = _CHECKED[column.type]
    if column.nullable:
        return lambda value: None if value is None else encode(value)
    return encode


def _text(value: Any) -> str:
    text = value if type(value) is str else str(ENCODERS[ColumnType.TEXT](value))
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise Unstorable("type", "half of a surrogate pair is not text") from error
    return text


def _integer(value: Any) -> int:
    number: Any = value if type(value) is int else ENCODERS[ColumnType.INTEGER](value)
    if not INT_MIN <= number <= INT_MAX:
        raise Unstorable("range", "is outside the 64 bits that an integer has")
    return number


def _real(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise Unstorable("finite", "is not a finite number")
    return number


def _timestamp(value: Any) -> int:
    at = instant(value)
    if not FIRST_INSTANT <= at <= LAST_INSTANT:
        raise Unstorable("range", "is outside the years 1 to 9999 in UTC")
    return at


def _duration(value: Any) -> Stored:
    return _integer(ENCODERS[ColumnType.DURATION](value))


def _json(value: Any) -> str:
    text = str(ENCODERS[ColumnType.JSON](value))
    if "NaN" in text or "Infinity" in text:
        _refuse_constants(text)
    return _text(text)


def _refuse_constants(text: str) -> None:
    """Raise when the JSON text holds NaN or Infinity outside of strings."""
    try:
        pydantic_core.from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise Unstorable("finite", "holds a number that is not finite") from error


def _other(kind: ColumnType) -> Callable[[Any], Stored]:
    plain = ENCODERS[kind]

    def encode(value: Any) -> Stored:
        if value is None:
            raise Unstorable("type", "is null")
        return plain(value)

    return encode


_CHECKED: dict[ColumnType, Callable[[Any], Stored]] = {
    ColumnType.TEXT: _text,
    ColumnType.INTEGER: _integer,
    ColumnType.REAL: _real,
    ColumnType.TIMESTAMP: _timestamp,
    ColumnType.DURATION: _duration,
    ColumnType.JSON: _json,
    **{
        kind: _other(kind)
        for kind in (ColumnType.BOOLEAN, ColumnType.DATE, ColumnType.TIME, ColumnType.UUID, ColumnType.DECIMAL)
    },
    ColumnType.BYTES: _other(ColumnType.BYTES),
}


def raw_of(values: Mapping[str, Any]) -> bytes:
    """JSON bytes of a mapping that did not arrive as bytes, from which it can be judged again.

    Bytes that are not UTF-8 and numbers that are not finite survive as well as JSON lets them.
    """
    try:
        return _json_text(values).encode("utf-8", "backslashreplace")
    except (ValueError, TypeError, RecursionError):
        return repr(values).encode("utf-8", "backslashreplace")


def _json_text(values: Any) -> str:
    if isinstance(values, Mapping):
        fields = cast("Mapping[Any, Any]", values)
        values = {str(name): _jsonable(value) for name, value in fields.items()}
    return str(ENCODERS[ColumnType.JSON](values))


def _jsonable(value: Any) -> Any:
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()  # as Pydantic reads bytes back from JSON
    except UnicodeDecodeError:
        return base64.b64encode(value).decode()
