"""What is wrong with values that people wrote, out of the words in which the parser of settings says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

_BEGINS = ("Value error, ", "Input should be ", "Input should ", "Assertion failed, ")
_KNOWN = {
    "missing": "it is missing",
    "tuple_type": "a list is wanted, as in [a, b]",
    "list_type": "a list is wanted, as in [a, b]",
    "dict_type": "names with values are wanted",
    "model_type": "names with values are wanted",
    "dataclass_type": "names with values are wanted",
    "model_attributes_type": "names with values are wanted",
    "timezone_aware": "a time zone is wanted, as in 2027-01-01T00:00:00Z",
    "too_short": "at least {min_length} are wanted",
    "too_long": "at most {max_length} are wanted",
    "int_parsing": "a whole number is wanted",
    "int_type": "a whole number is wanted",
    "int_from_float": "a whole number is wanted",
    "float_parsing": "a number is wanted",
    "float_type": "a number is wanted",
    "decimal_parsing": "a number is wanted",
    "decimal_type": "a number is wanted",
    "finite_number": "a finite number is wanted",
    "bool_parsing": "true or false is wanted",
    "bool_type": "true or false is wanted",
    "string_type": "text is wanted",
}
UNKNOWN = frozenset({"extra_forbidden", "unexpected_keyword_argument"})
"""Types of errors of a name that is not known."""


def why(detail: Mapping[str, Any]) -> str:
    """What is wrong with one value, without the value.

    >>> from pydantic import TypeAdapter
    >>> try:
    ...     TypeAdapter(int).validate_python("x")
    ... except ValidationError as error:
    ...     why(error.errors()[0])
    'a whole number is wanted'
    """
    known = _KNOWN.get(detail["type"])
    if known is not None:
        return known.format(**detail.get("ctx", {}))
    told: str = detail["msg"]
    for begin in _BEGINS:
        if told.startswith(begin):
            rest = told.removeprefix(begin)
            return (
                rest
                if begin.endswith(", ")
                else f"it should be {rest}"
                if begin.endswith("be ")
                else f"it should {rest}"
            )
    return told[0].lower() + told[1:]


def mistakes(error: ValidationError, whole: str) -> list[str]:
    """Everything that is wrong, each with its place and value. `whole`: what it is called, where all of it is wrong."""
    found: list[str] = []
    details = error.errors(include_url=False)
    places = [one["loc"] for one in details]
    for one in details:
        at = one["loc"]
        if any(len(other) > len(at) and other[: len(at)] == at for other in places):
            continue  # it follows from what is wrong inside
        place = ".".join(map(str, at)) or whole
        if one["type"] in UNKNOWN:
            found.append(f"{place}: there is no such setting")
        elif one["type"] == "missing" or repr(one["input"]) in one["msg"]:
            found.append(f"{place}: {why(one)}")
        else:
            found.append(f"{place}: {why(one)}, not {one['input']!r:.60}")
    return found
