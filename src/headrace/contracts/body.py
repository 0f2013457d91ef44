"""The records in a piece of JSON text: one object, an array, or one object a line."""

from __future__ import annotations

import enum
import json
from typing import Any, cast

import msgspec
import pydantic_core

_WHITE = b" \t\r\n"
_BOM = b"\xef\xbb\xbf"


class Form(enum.Enum):
    """How records stand in a body."""

    ARRAY = "array"
    LINES = "lines"


_FIRST = 65_536
"""Where the first record ends at the latest, for `Body.first`."""

_PYTHON = json.JSONDecoder()
_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
_ANY = msgspec.json.Decoder(msgspec.Raw)


class Body:
    """JSON text and the way its records stand in it; they are told apart when first asked for."""

    def __init__(self, data: bytes) -> None:
        self.data = data.removeprefix(_BOM)
        self.form = Form.ARRAY if self.data.lstrip(_WHITE)[:1] == b"[" else Form.LINES
        self._pieces: list[bytes] | None = None

    @property
    def pieces(self) -> list[bytes]:
        """The exact bytes of each record. What is not JSON at all is one piece, or one piece a line."""
        if self._pieces is None:
            self._pieces = self._array() if self.form is Form.ARRAY else self._lines()
        return self._pieces

    def first(self) -> dict[str, Any]:
        """The fields of the first record, without telling all records apart; empty when that is not easy."""
        text = self.data[:_FIRST].decode(errors="ignore").lstrip("[ \t\r\n")
        try:
            value: Any = _PYTHON.raw_decode(text)[0]
        except (ValueError, RecursionError):
            return {}
        return fields_of(value)

    def _array(self) -> list[bytes]:
        try:
            return [bytes(raw) for raw in _ARRAY.decode(self.data)]
        except (msgspec.MsgspecError, ValueError, RecursionError):
            value = _python_json(self.data)
            if isinstance(value, list):  # only the records with such a number are bad, not the whole array
                return [pydantic_core.to_json(item, inf_nan_mode="constants") for item in value]  # pyright: ignore
            lines = self._split()
            # Lines of JSON of which the first is an array, or an array that is broken?
            return lines if len(lines) > 1 and is_json(lines[0]) else [self.data]

    def _lines(self) -> list[bytes]:
        lines = self._split()
        if len(lines) > 1 and not is_json(lines[0]) and is_json(self.data):
            return [self.data.strip(_WHITE)]  # one object, written over several lines
        return lines

    def _split(self) -> list[bytes]:
        return [line for line in (part.strip(_WHITE) for part in self.data.split(b"\n")) if line]


def fields_of(value: Any) -> dict[str, Any]:
    """The value if it is a JSON object; empty when it is something else."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def is_json(data: bytes) -> bool:
    """Whether `data` is one JSON value (NaN and Infinity included, as Python writes them)."""
    try:
        _ANY.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return _python_json(data) is not None
    return True


def _python_json(data: bytes) -> Any:
    """The value of JSON text with the NaN and Infinity that Python writes; None when it has none or is no JSON."""
    if b"NaN" not in data and b"Infinity" not in data:
        return None
    try:
        return pydantic_core.from_json(data)
    except (ValueError, RecursionError):
        return None
