"""Numbers that JSON cannot hold."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any, cast

import pydantic_core
from pydantic import BaseModel


def unfinite(value: Any) -> str | None:
    """Where a value holds NaN or an infinity, as `/name/0`; None: nowhere. What is no plain data is not looked into.

    Writers of JSON put `null` in their place without a word. So only values of whose JSON `null` is a part have to be
    looked at.

    Examples
    --------
    >>> unfinite({"a": [1.0, float("nan")]}), unfinite(float("inf")), unfinite({"a": [None, 1.0]})
    ('/a/1', '', None)
    """
    if isinstance(value, float):
        return None if math.isfinite(value) else ""
    for name, part in _parts(value):
        found = unfinite(part)
        if found is not None:
            return f"/{name}{found}"
    return None


def with_constants(records: Iterable[Any]) -> bytes:
    """Records as JSON, but with such numbers as Python writes them (`NaN`): for a reader that says what is wrong."""
    # Of a model, Pydantic writes them as the model says, which is null again: of its plain values it does not.
    plain = [one.model_dump() if isinstance(one, BaseModel) else one for one in records]
    return pydantic_core.to_json(plain, inf_nan_mode="constants")


def _parts(value: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        return cast("Mapping[Any, Any]", value).items()
    if isinstance(value, list | tuple | set | frozenset):
        return enumerate(cast("Iterable[Any]", value))
    if isinstance(value, BaseModel):
        return [*vars(value).items(), *(value.model_extra or {}).items()]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(field.name, getattr(value, field.name, None)) for field in dataclasses.fields(value)]
    return ()
