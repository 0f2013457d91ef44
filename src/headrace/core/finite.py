"""Numbers that JSON cannot hold."""

from __future__ import annotations

import dataclasses
import json
import math
from collections import deque
from collections.abc import Iterable, Mapping
from enum import Enum
from functools import lru_cache
from typing import Any, Literal, cast

import pydantic_core
from pydantic import BaseModel, ConfigDict, TypeAdapter

_SAID = ConfigDict(ser_json_inf_nan="constants")


def misread(value: Any, body: bytes, kind: Any = None) -> str | None:
    """Where the JSON of a value has `null`, or no JSON, in place of NaN or an infinity, as `/name/0`; None: nowhere.

    What counts is what is written: fields that are left out do not, and what serializers give does.

    Parameters
    ----------
    body
        The JSON that was written of it.
    kind
        The type as which Pydantic wrote it; None: each value as what it is.

    Examples
    --------
    >>> misread({"a": [1.0, float("nan")]}, b'{"a":[1.0,null]}'), misread({"a": [None]}, b'{"a":[null]}')
    ('/a/1', None)
    """
    if not (b"null" in body or b"NaN" in body or b"Infinity" in body):
        return None
    if all(_sound(_dumped(value, Any if kind is None else kind, mode)) for mode in ("python", "json")):
        return None
    written = json.loads(body)
    found = None if kind is None else _lost(_dumped(value, kind), written)
    return _lost(value, written, numbers=kind is None) if found is None else found


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


def _sound(plain: Any) -> bool:
    """Whether there is no such number at all: one pass in C, ten times as fast as looking for the place."""
    try:
        json.dumps(plain, allow_nan=False, skipkeys=True, default=_unfolded)
    except ValueError:
        return False
    return True


def _unfolded(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    return list(cast("Iterable[Any]", value)) if isinstance(value, set | frozenset | deque) else None


def _lost(value: Any, written: Any, *, numbers: bool = True) -> str | None:
    """The place in `written`; without `numbers` only of those within what writes itself."""
    if isinstance(value, float):
        return None if not numbers or math.isfinite(value) or isinstance(written, str) else ""
    own = cast("Any", type(value))
    if hasattr(own, "__pydantic_serializer__"):
        found = _lost(_dumped(value, own), written)
        if found is not None:
            return found
        numbers = False
    for name, part, its in _paired(value, written):
        found = _lost(part, its, numbers=numbers)
        if found is not None:
            return f"/{name}{found}"
    return None


def _paired(value: Any, written: Any) -> Iterable[tuple[Any, Any, Any]]:
    """The parts of a value, and as what each is written; those that are left out are not among them."""
    parts = list(_parts(value))
    if isinstance(written, list):
        its = cast("list[Any]", written)
        return [(name, part, one) for (name, part), one in zip(parts, its, strict=False)]
    if not isinstance(written, dict):
        return ()
    by_name = cast("dict[str, Any]", written)
    if isinstance(value, Mapping) and len(parts) == len(by_name):  # its keys may be numbers, written as text
        return [(name, part, one) for (name, part), one in zip(parts, by_name.values(), strict=True)]
    return [(name, part, by_name[name]) for name, part in parts if name in by_name]


def _dumped(value: Any, kind: Any, mode: Literal["json", "python"] = "json") -> Any:
    """What is written of it, as plain data, with such numbers as they are."""
    try:
        adapter = _adapter(kind)
    except TypeError:  # a type that has no hash, such as Annotated with a list
        adapter = _make(kind)
    return adapter.dump_python((value,), mode=mode, by_alias=True)[0]


@lru_cache(maxsize=256)
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return _make(kind)


def _make(kind: Any) -> TypeAdapter[Any]:
    # The outer type's setting holds for all that has no type of its own; what has one keeps such numbers anyhow.
    return TypeAdapter(cast("Any", tuple).__class_getitem__(kind), config=_SAID)


def _parts(value: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        return cast("Mapping[Any, Any]", value).items()
    if isinstance(value, list | tuple | set | frozenset):
        return enumerate(cast("Iterable[Any]", value))
    if isinstance(value, BaseModel):
        aliases = {name: field.serialization_alias or name for name, field in type(value).model_fields.items()}
        own = [(aliases.get(name, name), part) for name, part in vars(value).items()]
        return [*own, *(value.model_extra or {}).items()]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(field.name, getattr(value, field.name, None)) for field in dataclasses.fields(value)]
    return ()
