"""What exactly is wrong with a record, in stable words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pydantic_core

from headrace.core.records import OnViolation
from headrace.core.schema import to_json

_WORDS = {
    "missing": "missing",
    "greater_than": "gt",
    "greater_than_equal": "ge",
    "less_than": "lt",
    "less_than_equal": "le",
    "multiple_of": "multiple_of",
    "string_too_short": "min_length",
    "bytes_too_short": "min_length",
    "too_short": "min_length",
    "string_too_long": "max_length",
    "bytes_too_long": "max_length",
    "too_long": "max_length",
    "string_pattern_mismatch": "pattern",
    "literal_error": "enum",
    "enum": "enum",
    "finite_number": "finite",
    "int_parsing_size": "range",
    "extra_forbidden": "unknown_field",
    "value_error": "validator",
    "assertion_error": "validator",
    "json_invalid": "json",
    "recursion_loop": "json",
}
VALUE_LIMIT = 200
"""An offending value is shown up to this many characters."""


@dataclass(frozen=True, slots=True)
class Breach:
    """One broken rule of one record; `rule`, `column`, `value` and `message` are those of `core.changes.Violation`."""

    rule: str
    column: str
    value: str
    message: str
    policy: OnViolation = "quarantine"


def value_text(value: Any) -> str:
    """The value as JSON text, cut; what is not JSON is shown as Python shows it."""
    try:
        text = to_json(value)
    except (ValueError, TypeError, RecursionError):
        text = repr(value)
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= VALUE_LIMIT else text[: VALUE_LIMIT - 1] + "…"


def breaches_of(
    error: pydantic_core.ValidationError, columns: Mapping[str, str], policies: Mapping[str, OnViolation]
) -> list[Breach]:
    """What Pydantic found, in the order of the fields.

    Parameters
    ----------
    columns
        The column of each name that a field has in the data.
    policies
        The policy of each column, and under "" that of the whole record.
    """
    return [_breach(detail, columns, policies) for detail in error.errors(include_url=False, include_context=False)]


def _breach(detail: Any, columns: Mapping[str, str], policies: Mapping[str, OnViolation]) -> Breach:
    path: Sequence[Any] = detail["loc"]
    column = columns.get(str(path[0]), str(path[0])) if path else ""
    kind = detail["type"]
    rule = _WORDS.get(kind, "type")
    if kind == "missing" and len(path) > 1:
        rule = "type"  # the column is there; something inside it is not
    policy = policies.get(column, policies[""])
    if kind == "missing":
        return Breach(rule, column, "", f"{_where(column, path)} is missing", policy)
    if kind == "json_invalid":
        return Breach(rule, column, "", f"this is not JSON: {_reason(detail['msg'])}", policy)
    given = detail["input"]
    if isinstance(given, float) and not math.isfinite(given):  # whatever else it breaks: NaN > 0 is not the point
        rule = "finite"
    value = value_text(given)
    if not path:
        return Breach(rule, column, value, _lower(detail["msg"]), policy)
    return Breach(rule, column, value, f"{_where(column, path)}: {_lower(detail['msg'])}; it is {value}", policy)


def _where(column: str, path: Sequence[Any]) -> str:
    return ".".join([column, *map(str, path[1:])])


def _reason(message: str) -> str:
    return message.removeprefix("Invalid JSON: ")


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:]


def gravest(breaches: Sequence[Breach]) -> Breach:
    """The breach that decides: the first one to reject, else the first one to quarantine; its message lists all."""
    for policy in ("reject", "quarantine", "null"):
        first = next((breach for breach in breaches if breach.policy == policy), None)
        if first is not None:
            others = [breach.message for breach in breaches if breach is not first]
            message = "; ".join([first.message, *others])
            return Breach(first.rule, first.column, first.value, message, first.policy)
    raise ValueError("no breaches")
