"""Types of parameters that users set: what is out of range, or misspelt, is refused with its name and value."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

from headrace.core.clock import SECOND
from headrace.core.durations import parse_duration
from headrace.core.errors import DeclarationError
from headrace.core.mistakes import number

STRICT = ConfigDict(extra="forbid")
"""A parameter that does not exist is an error, not silence."""


def seconds(value: Any) -> Any:
    """Seconds of a duration: a number, or text such as "250ms".

    >>> seconds("250ms"), seconds(2)
    (0.25, 2)
    """
    if not isinstance(value, str):
        return value
    try:
        return parse_duration(value) / SECOND
    except DeclarationError as error:
        raise ValueError(error.message) from error


_LEAST, _MOST = 1e-9, 1e15
"""Numbers beyond are written by mistake, and what is reckoned with them has no meaning, or no end."""


def _sensible(value: float) -> float:
    if not _LEAST <= value <= _MOST:
        raise ValueError(f"a number from {_LEAST:g} to {_MOST:g} is wanted")
    return value


_Plain = BeforeValidator(number)
Seconds = Annotated[float, _Plain, BeforeValidator(seconds), Field(ge=0, le=_MOST, allow_inf_nan=False)]
"""A duration in seconds; users may write "250ms"."""
Share = Annotated[float, _Plain, Field(ge=0, le=1, allow_inf_nan=False)]
"""A share of something: 0 to 1."""
Positive = Annotated[float, _Plain, Field(gt=0, allow_inf_nan=False), AfterValidator(_sensible)]
"""A number above 0."""
NotNegative = Annotated[float, _Plain, Field(ge=0, le=_MOST, allow_inf_nan=False)]
"""A number, 0 or above."""
Spread = Annotated[NotNegative, Field(le=10)]
"""The standard deviation of a logarithm: with 10, one value in a hundred is ten thousand million times the median."""
Number = Annotated[int, _Plain, Field(ge=0)]
"""None, or some."""
Count = Annotated[int, _Plain, Field(ge=1)]
"""At least one."""
Factor = Annotated[float, _Plain, Field(ge=1, le=_MOST, allow_inf_nan=False)]
"""A factor that does not make less."""
