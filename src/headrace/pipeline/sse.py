"""Server-sent events: written for clients, read from models."""

from __future__ import annotations

import msgspec


def event(data: bytes, name: str = "") -> bytes:
    r"""One event; `data` is JSON in one line.

    >>> event(b'{"a":1}', "headrace")
    b'event: headrace\ndata: {"a":1}\n\n'
    """
    head = b"event: " + name.encode() + b"\n" if name else b""
    return head + b"data: " + data.replace(b"\n", b"\ndata: ") + b"\n\n"


class Lines:
    r"""The data of events from the pieces of a stream, however it is cut.

    >>> lines = Lines()
    >>> lines.feed(b'data: {"a"'), lines.feed(b':1}\r\n\r\n: ping\n\ndata: [DONE]\n\n')
    ([], [b'{"a":1}', b'[DONE]'])
    """

    __slots__ = ("_data", "_rest")

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, piece: bytes) -> list[bytes]:
        """The data of the events that are complete with this piece."""
        found: list[bytes] = []
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for raw in lines:
            line = raw.removesuffix(b"\r")
            if not line:
                if self._data:
                    found.append(b"\n".join(self._data))
                    self._data = []
            elif line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
        return found


def encode(value: object) -> bytes:
    """JSON of plain data."""
    return msgspec.json.encode(value)
