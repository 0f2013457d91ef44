"""Changes written as objects: `{"op": "upsert", "record": {...}}` and `{"op": "delete", "key": ...}`.

| object                                                | means                                            |
|-------------------------------------------------------|--------------------------------------------------|
| `{"op": "upsert", "record": {...}}`                   | insert or update this record                     |
| `{"op": "upsert", "item_id": "i1", ...}`              | the same, fields beside "op"                     |
| `{"op": "delete", "key": "i1"}`                       | delete by a key of one column                    |
| `{"op": "delete", "key": ["r1", "i1"]}`               | a composite key, in its declared order           |
| `{"op": "delete", "key": {"restaurant_id": "r1", ...}}` | a key by the names of its columns              |
| `{"op": "delete", "item_id": "i1"}`                   | the same, beside "op"                            |

A delete may carry `"version"`, which a table with a version column compares (the version column's own name works too).
A record that has a field called "op" itself cannot use envelopes: all its objects are records.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import pydantic_core

from headrace.contracts.breach import Breach, value_text
from headrace.contracts.keys import KeyReader

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True, slots=True)
class Upsert:
    """A record taken out of its envelope."""

    record: bytes


@dataclass(frozen=True, slots=True)
class Delete:
    """A key to delete, in storage form, and the guard version that came with it."""

    key: tuple[Any, ...]
    version: int | None


def may_hold_envelopes(data: bytes) -> bool:
    """Whether an object in `data` can have the field "op" (written plainly or with escapes). Cheap."""
    return b'"op"' in data or b"\\u006" in data or b"\\u0070" in data


class EnvelopeReader:
    """Opens the envelopes of one table."""

    def __init__(self, keys: KeyReader) -> None:
        self._keys = keys

    def open(self, piece: bytes) -> Upsert | Delete | Breach | None:
        """What `piece` says; None when it is a plain record (or no JSON object at all)."""
        try:
            fields = _OBJECT.decode(piece)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None
        if "op" not in fields:
            return None
        try:
            return self._opened(fields)
        except (ValueError, RecursionError):
            return None  # broken inside: judging it as a record says where

    def _opened(self, fields: dict[str, msgspec.Raw]) -> Upsert | Delete | Breach:
        op = _value(fields.pop("op"))
        if op == "upsert":
            return self._upsert(fields)
        if op == "delete":
            return self._delete({name: _value(raw) for name, raw in fields.items()})
        return Breach("op", "", value_text(op), f'"op" is {value_text(op)}: neither "upsert" nor "delete"')

    def _upsert(self, fields: dict[str, msgspec.Raw]) -> Upsert:
        if "record" in fields and "record" not in self._keys.inputs:
            return Upsert(bytes(fields["record"]))
        return Upsert(msgspec.json.encode(fields))

    def _delete(self, fields: dict[str, Any]) -> Delete | Breach:
        key = self._keys.read(fields["key"] if self._is_key(fields) else fields)
        if isinstance(key, Breach):
            return key
        version = self._keys.version(fields)
        return version if isinstance(version, Breach) else Delete(key, version)

    def _is_key(self, fields: Mapping[str, Any]) -> bool:
        return "key" in fields and "key" not in self._keys.inputs


def _value(raw: msgspec.Raw) -> Any:
    return pydantic_core.from_json(bytes(raw))
