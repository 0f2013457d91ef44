"""What models take and give: JSON. Arrays and scalars of numpy, torch and the like become lists and numbers.

No such library is imported here: what has `tolist`, or `model_dump` as Pydantic's models have, is asked to turn itself
into Python's own values.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, cast

import msgspec

_DEEPEST = 100
"""Levels of lists and objects inside each other; deeper ones are mostly cycles."""


class NotJson(Exception):
    """A value that JSON cannot hold; `path` says where it stands in the whole."""

    def __init__(self, problem: str, path: str) -> None:
        super().__init__(f"{problem} at {path}")
        self.path = path


def to_json(value: Any) -> bytes:
    """The JSON of a value.

    Raises
    ------
    NotJson
        It holds what JSON cannot: NaN, infinity, bytes, a complex number, an object of a class of its own.

    Examples
    --------
    >>> to_json({"score": 0.25, "label": "ok"})
    b'{"score":0.25,"label":"ok"}'
    >>> to_json([0.5, float("nan")])
    Traceback (most recent call last):
        ...
    headrace.models.local.values.NotJson: the number nan, which JSON does not have at $[1]
    """
    clean = plain(value)
    try:
        return msgspec.json.encode(clean)
    except (OverflowError, ValueError, UnicodeError) as error:  # 10**30, half a surrogate pair
        raise NotJson(str(error), "$") from None


def plain(value: Any, path: str = "$", depth: int = 0) -> Any:
    """The value in Python's own types. Raises `NotJson`.

    >>> import array
    >>> plain({"vector": array.array("d", [1.0, 2.0])})
    {'vector': [1.0, 2.0]}
    """
    kind = cast("type[Any]", type(value))
    if value is None or kind in (str, bool, int):
        return value
    if isinstance(value, float):
        return _number(float(value), path)
    if depth > _DEEPEST:
        raise NotJson(f"lists and objects more than {_DEEPEST} deep", f"{path:.80}...")
    if kind in (list, tuple):
        return _list(value, path, depth)
    if isinstance(value, dict):
        return _object(cast("dict[Any, Any]", value), path, depth)
    return _foreign(value, path, depth)


def known(value: Any) -> Any:
    """For `msgspec.json.encode`: what it does not know, in types that it does.

    Raises
    ------
    TypeError
        It is nothing that JSON can hold.

    Examples
    --------
    >>> import array
    >>> msgspec.json.encode([array.array("d", [1.0, 2.0])], enc_hook=known)
    b'[[1.0,2.0]]'
    """
    try:
        return _foreign(value, "$", 0)
    except NotJson as error:
        raise TypeError(f"JSON cannot hold {error}") from None


def items_of(outputs: Any) -> Sequence[Any]:
    """The outputs of a batch, one by one: of a list, a tuple, or an array (its rows).

    Raises
    ------
    TypeError
        It is none of them. A dict or a data frame has a length too, and would be taken apart by its keys.
    """
    if isinstance(outputs, list | tuple):
        return cast("Sequence[Any]", outputs)
    rows = outputs.tolist() if hasattr(outputs, "tolist") else None
    if not isinstance(rows, list):
        name = type(outputs).__name__
        message = f"the model returned a {name} for a batch; it must return a list (or array) with one output per input"
        raise TypeError(message)
    return cast("Sequence[Any]", rows)


def _number(value: float, path: str) -> float:
    if not math.isfinite(value):
        raise NotJson(f"the number {value}, which JSON does not have", path)
    return value


def _list(value: Sequence[Any], path: str, depth: int) -> Sequence[Any]:
    # Vectors are the common large output. NaN and infinity survive a sum, so one pass in C clears them all.
    if set(map(type, value)) == {float} and math.isfinite(sum(cast("Iterable[float]", value))):
        return value
    return [plain(item, f"{path}[{number}]", depth + 1) for number, item in enumerate(value)]


def _object(value: dict[Any, Any], path: str, depth: int) -> dict[str, Any]:
    return {_key(key, path): plain(item, f"{path}.{key}", depth + 1) for key, item in value.items()}


def _key(key: Any, path: str) -> str:
    """The name of a field; class labels are often numbers, also those of numpy."""
    if isinstance(key, str):
        return str(key)
    own = key.item() if hasattr(key, "item") else key
    if isinstance(own, bool) or not isinstance(own, str | int):
        raise NotJson(f"the key {key!r:.40}, which is neither text nor a whole number", path)
    return str(own)


def _foreign(value: Any, path: str, depth: int) -> Any:
    """What is not Python's own: an array or scalar, or what msgspec knows (dates, decimals, dataclasses)."""
    if hasattr(value, "tolist"):
        return plain(value.tolist(), path, depth + 1)
    if hasattr(value, "model_dump"):
        return plain(value.model_dump(mode="json"), path, depth + 1)
    if type(value) not in (bytes, bytearray, memoryview):
        try:
            return plain(msgspec.to_builtins(value), path, depth + 1)
        except TypeError:
            pass
    raise NotJson(f"a value of the type {type(value).__name__}, which JSON does not have", path)
