"""Server-sent events: cut out of a stream byte for byte, and written."""

from __future__ import annotations

import re

_END = re.compile(rb"\r\n\r\n|\n\n|\r\r|\n\r\n|\r\n\n")
_LINE = re.compile(rb"\r\n|\n|\r")


class Splitter:
    """Cuts a stream of bytes into events. Each is given as it came, its blank line included.

    Examples
    --------
    >>> splitter = Splitter()
    >>> splitter.feed(b"data: 1\\n\\ndata: 2\\n"), splitter.feed(b"\\n"), splitter.rest
    ([b'data: 1\\n\\n'], [b'data: 2\\n\\n'], b'')
    """

    __slots__ = ("rest",)

    def __init__(self) -> None:
        self.rest = b""

    def feed(self, piece: bytes) -> list[bytes]:
        """The events that are complete now."""
        data = self.rest + piece if self.rest else piece
        if b"\r" not in data:
            if data.endswith(b"\n\n") and data.find(b"\n\n") == len(data) - 2:
                self.rest = b""
                return [data]
            parts = data.split(b"\n\n")
            self.rest = parts.pop()
            return [part + b"\n\n" for part in parts]
        return self._slow(data)

    def _slow(self, data: bytes) -> list[bytes]:
        events: list[bytes] = []
        at = 0
        for found in _END.finditer(data):
            # A carriage return at the end may be half of a line break.
            if found.end() == len(data) and data.endswith(b"\r"):
                break
            events.append(data[at : found.end()])
            at = found.end()
        self.rest = data[at:]
        return events


def parse(event: bytes) -> tuple[bytes, bytes]:
    """The name and the data of an event; without data (a comment, a `retry`) both are empty.

    >>> parse(b"data: {}\\n\\n"), parse(b"event: a\\ndata: 1\\ndata:2\\n\\n"), parse(b": hello\\n\\n")
    ((b'', b'{}'), (b'a', b'1\\n2'), (b'', b''))
    """
    if event.startswith(b"data: ") and event.find(b"\n") == len(event) - 2:
        return b"", event[6:-2]
    name = b""
    data: list[bytes] = []
    for line in _LINE.split(event.removeprefix(b"\xef\xbb\xbf")):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value
    return (name, b"\n".join(data)) if data else (b"", b"")


def write(data: bytes, name: bytes = b"") -> bytes:
    """An event; `data` has no line breaks.

    >>> write(b"{}", b"ping")
    b'event: ping\\ndata: {}\\n\\n'
    """
    return b"event: %b\ndata: %b\n\n" % (name, data) if name else b"data: %b\n\n" % data
