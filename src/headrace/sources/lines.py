"""Lines: whole lines of a growing file, in blocks; the last line is kept back until its newline has come."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Protocol

from headrace.core.changes import BadBytes, Json, Payload
from headrace.sources.bookmark import Bookmark

BLOCK = 1 << 20
"""Bytes in one block, and so in one batch."""

MAX_ROWS = 10_000
"""Lines in one batch at most."""

KEPT = 64 * 1024
"""Bytes that are kept of a line that is too long."""

BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Piece:
    """What was read of a file at once, and where that leaves the reading."""

    payloads: list[Payload]
    bookmark: Bookmark


class Format(Protocol):
    """How the bytes of a file become payloads. Called in a worker thread.

    Attributes
    ----------
    whole
        Whether a file is one unit, written once: a longer one is another file, not one that was appended to.
    """

    @property
    def whole(self) -> bool: ...

    def read(self, fd: int, bookmark: Bookmark, *, final: bool) -> Piece | None:
        """What comes next, or None when there is nothing whole.

        `final` says that nothing will be appended any more, so that a last line needs no newline.
        """
        ...

    def close(self) -> None:
        """Let go of what is held between two reads."""
        ...


class Lines:
    """Cuts a file into blocks of whole lines, none of them longer than `max_line` bytes."""

    def __init__(self, max_line: int) -> None:
        self.max_line = max_line

    def block(self, fd: int, bookmark: Bookmark, *, final: bool, size: int | None = None) -> bytes | Piece | None:
        """Whole lines that come next, or a piece that passes over a line that is too long."""
        size = min(BLOCK, self.max_line) if size is None else size
        data = os.pread(fd, size, bookmark.offset)
        if bookmark.skipping:
            return self._skip(fd, bookmark, data)
        end = data.rfind(b"\n") + 1
        if not end and len(data) == size and self.max_line > len(data):
            data = os.pread(fd, self.max_line, bookmark.offset)
            end = data.rfind(b"\n") + 1
        if end:
            return data[:end]
        if len(data) >= self.max_line:
            return self.too_long(fd, bookmark, data)
        return data if final and data else None

    def too_long(self, fd: int, bookmark: Bookmark, data: bytes) -> Piece:
        """The first part of a line, for quarantine; the rest of the line is passed over."""
        message = f"line {bookmark.line + 1} is longer than {self.max_line} bytes; this is how it begins"
        moved = bookmark.moved(fd, data, lines=0, skipping=True)
        return Piece([BadBytes(data[:KEPT], message)], moved)

    def _skip(self, fd: int, bookmark: Bookmark, data: bytes) -> Piece | None:
        if not data:
            return None
        end = data.find(b"\n") + 1
        passed = data[:end] if end else data
        return Piece([], bookmark.moved(fd, passed, lines=1 if end else 0, skipping=not end))


class JsonLines:
    """One JSON object a line. Good blocks are passed on as they are: nobody splits lines in Python."""

    whole = False

    def __init__(self, *, max_line: int, encoding: str, envelope: bool) -> None:
        self._lines = Lines(max_line)
        self._encoding = encoding
        self._envelope = envelope

    def close(self) -> None:
        """Nothing is held."""

    def read(self, fd: int, bookmark: Bookmark, *, final: bool) -> Piece | None:
        block = self._lines.block(fd, bookmark, final=final)
        if not isinstance(block, bytes):
            return block
        data = first_lines(block, MAX_ROWS)
        body = data.removeprefix(BOM) if bookmark.offset == 0 else data
        moved = bookmark.moved(fd, data, lines=data.count(b"\n") + (not data.endswith(b"\n")))
        return Piece(self._payloads(body) if body.strip() else [], moved)

    def _payloads(self, data: bytes) -> list[Payload]:
        if data.isascii() and b"\0" not in data:
            return [Json(data, self._envelope)]
        text = self._decode(data)
        return self._sorted_out(data) if text is None else [Json(text, self._envelope)]

    def _decode(self, data: bytes) -> bytes | None:
        """The bytes as UTF-8, or None when they are not what they should be."""
        if b"\0" in data:  # a hole: a machine that crashed leaves zeros at the end of a log
            return None
        try:
            text = data.decode(self._encoding)
        except UnicodeDecodeError:
            return None
        return data if self._encoding == "utf-8" else text.encode()

    def _sorted_out(self, data: bytes) -> list[Payload]:
        """Line by line: runs of good lines, and each bad one by itself."""
        payloads: list[Payload] = []
        good: list[bytes] = []
        for line in split_lines(data):
            text = self._decode(line)
            if text is not None:
                good.append(text)
                continue
            if good:
                payloads.append(Json(b"".join(good), self._envelope))
                good = []
            payloads.append(BadBytes(line.rstrip(b"\r\n"), f"the line is not {self._encoding} text"))
        if good:
            payloads.append(Json(b"".join(good), self._envelope))
        return [p for p in payloads if not isinstance(p, Json) or p.data.strip()]


def first_lines(data: bytes, limit: int) -> bytes:
    """At most `limit` lines of whole lines.

    >>> first_lines(b"a\\nb\\nc\\n", 2)
    b'a\\nb\\n'
    """
    if data.count(b"\n") <= limit:
        return data
    rest = data.split(b"\n", limit)[-1]
    return data[: len(data) - len(rest)]


def split_lines(data: bytes) -> list[bytes]:
    """Lines with their newlines; a lone carriage return ends no line."""
    parts = data.split(b"\n")
    last = parts.pop()
    lines = [part + b"\n" for part in parts]
    return [*lines, last] if last else lines
