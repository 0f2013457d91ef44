"""Server-sent events: cut out of a stream byte for byte, and written."""

from __future__ import annotations

import re

_END = re.compile(rb"\r\n\r\n|\n\n|\r\r|\n\r\n|\r\n\n")
_LINE = re.compile(rb"\r\n|\n|\r")
_LARGE = 64 * 1024
"""Bytes of an event from which on it is put together once, at its end: doing it with each piece costs their square."""


class Splitter:
    """Cuts a stream of bytes into events. Each is given as it came, its blank line included.

    Examples
    --------
    >>> splitter = Splitter()
    >>> splitter.feed(b"data: 1\\n\\ndata: 2\\n"), splitter.feed(b"\\n"), splitter.rest
    ([b'data: 1\\n\\n'], [b'data: 2\\n\\n'], b'')
    """

    __slots__ = ("_large", "_rest", "_tail", "pending")

    def __init__(self) -> None:
        self.pending = 0
        """How many bytes came of an event that is not complete."""
        self._rest = b""
        self._large: list[bytes] = []
        self._tail = b""

    @property
    def rest(self) -> bytes:
        """What came of an event that is not complete."""
        return b"".join(self._large) if self._large else self._rest

    def feed(self, piece: bytes) -> list[bytes]:
        """The events that are complete now."""
        if self._large:
            return self._more(piece)
        data = self._rest + piece if self._rest else piece
        if b"\r" not in data:
            if data.endswith(b"\n\n") and data.find(b"\n\n") == len(data) - 2:
                if self._rest:
                    self._keep(b"")
                return [data]
            parts = data.split(b"\n\n")
            self._keep(parts.pop())
            return [part + b"\n\n" for part in parts]
        return self._slow(data)

    def _more(self, piece: bytes) -> list[bytes]:
        """More of a large event: it is looked at again as a whole only when its end has come."""
        window = self._tail + piece
        if _END.search(window) is None:
            self._large.append(piece)
            self.pending += len(piece)
            self._tail = window[-3:]
            return []
        self._rest, self._large = b"".join(self._large), []
        return self.feed(piece)

    def _keep(self, rest: bytes) -> None:
        self.pending = len(rest)
        if self.pending <= _LARGE:
            self._rest = rest
            return
        self._rest, self._large, self._tail = b"", [rest], rest[-3:]

    def _slow(self, data: bytes) -> list[bytes]:
        events: list[bytes] = []
        at = 0
        for found in _END.finditer(data):
            # A carriage return at the end may be half of a line break.
            if found.end() == len(data) and data.endswith(b"\r"):
                break
            events.append(data[at : found.end()])
            at = found.end()
        self._keep(data[at:])
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
