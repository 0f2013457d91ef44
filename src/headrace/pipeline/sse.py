"""Server-sent events, as endpoints write them."""

from __future__ import annotations

import msgspec


def event(data: bytes, name: str = "") -> bytes:
    r"""One event; `data` is JSON in one line.

    >>> event(b'{"a":1}', "headrace")
    b'event: headrace\ndata: {"a":1}\n\n'
    """
    head = b"event: " + name.encode() + b"\n" if name else b""
    return head + b"data: " + data.replace(b"\n", b"\ndata: ") + b"\n\n"


def encode(value: object) -> bytes:
    """JSON of plain data."""
    return msgspec.json.encode(value)
