"""What is wrong with values that people wrote, out of the words in which the parser of settings says it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from headrace.core.names import suggest

_BEGINS = {
    "Value error, ": "",
    "Assertion failed, ": "",
    "Input should be ": "it should be ",
    "Input should ": "it should ",
}
"""How the parser begins, and how it is said here."""
TIME = "a time is wanted, as in 2027-01-01T00:00:00Z"
_KNOWN = {
    "missing": "it is missing",
    "tuple_type": "a list is wanted, as in [a, b]",
    "list_type": "a list is wanted, as in [a, b]",
    "dict_type": "names with values are wanted",
    "model_type": "names with values are wanted",
    "dataclass_type": "names with values are wanted",
    "model_attributes_type": "names with values are wanted",
    "timezone_aware": "a time zone is wanted, as in 2027-01-01T00:00:00Z",
    "datetime_type": TIME,
    "datetime_parsing": TIME,
    "datetime_from_date_parsing": TIME,
    "datetime_object_invalid": TIME,
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
    "invalid_key": "a name is text: put quotes around it",
    "string_too_short": "at least {min_length} characters are wanted",
    "string_too_long": "at most {max_length} characters are wanted",
    "decimal_max_places": "at most {decimal_places} digits after the point are wanted",
}
_OURS = ("[key]", "tuple[", "list[", "dict[", "lax-or-strict[")
"""What the parser adds to a place: that a name itself is wrong, or as which of several types it was read."""
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
    known, more = _KNOWN.get(detail["type"]), detail.get("ctx", {})
    if detail["type"] == "string_too_short" and more["min_length"] == 1:
        return "it is empty"
    if known is not None:
        return known.format(**more)
    told: str = detail["msg"]
    for theirs, ours in _BEGINS.items():
        if told.startswith(theirs):
            return ours + told.removeprefix(theirs)
    return told[0].lower() + told[1:]


def number(value: Any) -> Any:
    """Refuse true and false where a number is wanted: YAML reads `yes` as one, and it would count as 1."""
    if isinstance(value, bool):
        raise ValueError("a number is wanted")
    return value


def mistakes(error: ValidationError, whole: str, model: type[Any]) -> list[str]:
    """Everything that is wrong, each with its place and value.

    Parameters
    ----------
    whole
        What it is called, where all of it is wrong.
    model
        As what it was read.
    """
    found: list[str] = []
    details = error.errors(include_url=False)
    places = [one["loc"] for one in details]
    for one in details:
        at = one["loc"]
        if any(len(other) > len(at) and other[: len(at)] == at for other in places):
            continue  # it follows from what is wrong inside
        if one["type"] == "path_type" and any(other != at and other[: len(at) - 1] == at[:-1] for other in places):
            continue  # a list or the path of a file: it is meant as a list
        at = tuple(part for part in at if not (isinstance(part, str) and part.startswith(_OURS)))
        place = ".".join(map(str, at)) or whole
        if one["type"] in UNKNOWN:
            found.append(f"{place}: there is no such setting{_instead(model, at)}")
        elif one["type"] == "missing" or _seen(one):
            found.append(f"{place}: {why(one)}")
        else:
            found.append(f"{place}: {why(one)}, not {one['input']!r:.60}")
    return found


def _seen(detail: Mapping[str, Any]) -> bool:
    """Whether the value need not be told: it stands in the message, or is all that the message tells a part of."""
    value, own = detail["input"], detail["type"] == "value_error"
    return (isinstance(value, str) and repr(value) in detail["msg"]) or (own and isinstance(value, dict | list))


def _instead(model: type[Any], place: tuple[int | str, ...]) -> str:
    """What there is in place of a name that there is not."""
    kind: Any = model
    for part in place[:-1]:
        kind = _settings(kind).get(str(part)) if _settings(kind) else _inner(kind)
    known = _settings(kind)
    return f"; {suggest(str(place[-1]), known)}" if known else ""


def _settings(kind: Any) -> Mapping[str, Any]:
    """The settings of a model, by name, each with its type; none where it is no model."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {field.alias or name: field.annotation for name, field in kind.model_fields.items()}
    if isinstance(kind, type) and is_dataclass(kind):
        return {field.name: field.type for field in fields(kind) if field.init}
    nothing: Mapping[str, Any] = {}
    return next((found for one in _parts(kind) if (found := _settings(one))), nothing)


def _inner(kind: Any) -> Any:
    """The type of what is in a list, or of the values of a mapping."""
    if get_origin(kind) in (tuple, list, dict):
        return next((one for one in reversed(get_args(kind)) if one is not Ellipsis), None)
    return next((found for one in _parts(kind) if (found := _inner(one)) is not None), None)


def _parts(kind: Any) -> Iterable[Any]:
    """The types of which a type is one or the other; none of a list or a mapping."""
    return () if get_origin(kind) in (tuple, list, dict) else get_args(kind)
