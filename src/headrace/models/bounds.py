"""Types of parameters that users set: what is out of range, or misspelt, is refused with its name and value."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field

from headrace.core.clock import SECOND
from headrace.core.durations import parse_duration
from headrace.core.errors import DeclarationError

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


Seconds = Annotated[float, BeforeValidator(seconds), Field(ge=0, allow_inf_nan=False)]
"""A duration in seconds; users may write "250ms"."""
Share = Annotated[float, Field(ge=0, le=1)]
"""A share of something: 0 to 1."""
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
"""A number above 0."""
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""A number, 0 or above."""
Count = Annotated[int, Field(ge=1)]
"""At least one."""
Factor = Annotated[float, Field(ge=1, allow_inf_nan=False)]
"""A factor that does not make less."""
