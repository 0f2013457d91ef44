"""Setting fields of a JSON body without touching the rest of it."""

from __future__ import annotations

from typing import Any

import msgspec

_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENCODER = msgspec.json.Encoder()


def set_fields(body: bytes, **values: Any) -> bytes:
    """The document with these fields set; every other value keeps its bytes, numbers and escapes included.

    >>> set_fields(b'{"model": "a", "top_p":1.0,"n": 1e0}', model="b", stream=True)
    b'{"model":"b","top_p":1.0,"n":1e0,"stream":true}'
    """
    fields: dict[str, Any] = _FIELDS.decode(body)
    fields.update(values)
    return _ENCODER.encode(fields)
