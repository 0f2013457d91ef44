"""What a value is, as JSON data: two values have the same only where no code could tell one from the other.

The JSON that Pydantic writes of a model is no such form: a `SecretStr` is `"**********"` in it, a field with
`exclude=True` is missing, and a serializer of one's own may write two values as one. So a value is taken apart as
`pickle` takes it apart (`object.__reduce_ex__`): its class, and all that it is made of, private attributes and fields
that were given rather than left to their defaults included. The order of the names of an object does not count.

It holds secrets as they are: it is for hashing, and for nothing else.
"""

from __future__ import annotations

import copyreg
import json
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import BuiltinFunctionType, FunctionType
from typing import Any, cast

from pydantic import BaseModel

_ATOMS: frozenset[Any] = frozenset({str, int, float, bool, type(None)})
_PROTOCOL = 4
"""Of pickle: the first in which an instant says which of two equal hours it is in when clocks are set back."""


def canonical(value: Any) -> Any:
    """The canonical form of a value.

    Everything but text, numbers, booleans, None and an object with names for keys is a list that begins with its kind.

    >>> canonical({"b": (1, "x"), "a": [None]})
    {'b': ['tuple', 1, 'x'], 'a': ['list', None]}

    Raises
    ------
    TypeError
        It holds something that is only itself: a generator, a lock, a function that was made where it stands.
    """
    kind = cast("type[Any]", type(value))
    if kind in _ATOMS:
        return value
    build = _BUILDERS.get(kind)
    if build is not None:
        return build(value)
    if isinstance(value, BaseModel):
        return _model(value)
    if isinstance(value, type | FunctionType | BuiltinFunctionType):
        return ["name", _name(value)]
    return _taken_apart(value)


def _model(value: BaseModel) -> list[Any]:
    """What pickle would say of it, by its own names: a model is what most questions are."""
    name = _plain_model(type(value))
    if name is None:
        return _taken_apart(value)
    extra, private = value.__pydantic_extra__, value.__pydantic_private__
    form = [name, sorted(value.__pydantic_fields_set__), _named(value.__dict__)]
    return [*form, canonical(extra), canonical(private)] if extra or private else form


@lru_cache(maxsize=1024)
def _plain_model(kind: type[BaseModel]) -> str | None:
    """How the form of such a model begins; None where it says itself what pickle is to see."""
    itself = (BaseModel.__getstate__, BaseModel.__reduce__, BaseModel.__reduce_ex__)
    return f"model {_name(kind)}" if (kind.__getstate__, kind.__reduce__, kind.__reduce_ex__) == itself else None


def _named(value: Mapping[str, Any]) -> dict[str, Any]:
    return {key: one if type(one) in _ATOMS else canonical(one) for key, one in value.items()}


def _object(value: dict[Any, Any]) -> Any:
    if all(type(key) is str for key in value):
        return _named(value)
    pairs = [[canonical(key), canonical(one)] for key, one in value.items()]
    return ["dict", *sorted(pairs, key=_text)]


def _set(value: set[Any] | frozenset[Any]) -> list[Any]:
    return [type(value).__name__, *sorted(map(canonical, value), key=_text)]


def _taken_apart(value: Any) -> list[Any]:
    registered = copyreg.dispatch_table.get(cast("type[Any]", type(value)))
    parts = value.__reduce_ex__(_PROTOCOL) if registered is None else registered(value)
    if isinstance(parts, str):
        return ["name", f"{type(value).__module__}.{parts}"]
    make, arguments, state, items, pairs, *_ = (*parts, None, None, None)
    return [
        "object",
        canonical(make),
        canonical(arguments),
        canonical(state),
        [canonical(item) for item in items or ()],
        [canonical(pair) for pair in pairs or ()],
    ]


def _name(value: Any) -> str:
    """The full name of a class or a function. Raises `TypeError` where that of a function is not its own."""
    name = f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, type):
        return name
    found: Any = sys.modules.get(value.__module__)
    for part in value.__qualname__.split("."):
        found = getattr(found, part, None)
    if found is not value:
        raise TypeError(f"the function {name} cannot be told from another of its name")
    return name


def _text(form: Any) -> str:
    return json.dumps(form, sort_keys=True)


_BUILDERS: dict[type, Callable[[Any], Any]] = {
    list: lambda value: ["list", *map(canonical, value)],
    tuple: lambda value: ["tuple", *map(canonical, value)],
    dict: _object,
    set: _set,
    frozenset: _set,
    bytes: lambda value: ["bytes", cast("bytes", value).hex()],
    bytearray: lambda value: ["bytearray", cast("bytearray", value).hex()],
}
