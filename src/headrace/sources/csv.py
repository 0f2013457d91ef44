"""CSV: rows under a header, quoted line breaks included (RFC 4180)."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator

from headrace.core.changes import BadBytes, Payload, Rows
from headrace.sources.bookmark import Bookmark
from headrace.sources.lines import BLOCK, BOM, KEPT, MAX_ROWS, Lines, Piece, split_lines

HEADER_BYTES = 64 * 1024
"""A header that spans lines must end within this many bytes."""


class Csv:
    """Rows of text under the header that each file begins with.

    A row with another number of columns than the header, or that is not CSV at all, goes to quarantine as it stands in
    the file. A line that repeats the header (files that were put together) is passed over.
    """

    whole = False

    def __init__(self, *, max_line: int, encoding: str, delimiter: str) -> None:
        self._lines = Lines(max_line)
        self._max_line = max_line
        self._encoding = encoding
        self._delimiter = delimiter

    def read(self, fd: int, bookmark: Bookmark, *, final: bool) -> Piece | None:
        if bookmark.offset == 0:
            return self._read_header(fd, bookmark, final=final)
        for size in (min(BLOCK, self._max_line), self._max_line):
            block = self._lines.block(fd, bookmark, final=final, size=size)
            if not isinstance(block, bytes):
                return block
            rows = self._rows(fd, bookmark, block, final=final)
            if rows.consumed:
                return Piece(rows.payloads, bookmark.moved(fd, block[: rows.consumed], lines=rows.taken))
        return None

    def close(self) -> None:
        """Nothing is held."""

    def _rows(self, fd: int, bookmark: Bookmark, block: bytes, *, final: bool) -> _Rows:
        rows = _Rows(block, self._encoding, self._delimiter, self._header(fd))
        size = os.fstat(fd).st_size - bookmark.offset
        # A record that is not closed is kept back, unless nothing more will come.
        keep_back = not (final and len(block) == size)
        rows.read(keep_back=keep_back)
        if not rows.consumed and size >= self._max_line and len(block) > self._max_line // 2:
            rows.give_up(f"a quote is not closed within {self._max_line} bytes")
            rows.read(keep_back=keep_back)
        return rows

    def _read_header(self, fd: int, bookmark: Bookmark, *, final: bool) -> Piece | None:
        block = self._lines.block(fd, bookmark, final=final)
        if block is None:
            return None
        if isinstance(block, Piece):
            return _left_out(fd, bookmark, f"no header in the first {self._max_line} bytes")
        found = self._parse_header(block)
        if found is None:
            unclosed = final or len(block) >= HEADER_BYTES
            return _left_out(fd, bookmark, "the header is not CSV") if unclosed else None
        names, lines, size = found
        if len(set(names)) < len(names):
            return _left_out(fd, bookmark, f"the header names a column twice: {', '.join(names)}")
        return Piece([], bookmark.moved(fd, block[:size], lines=lines))

    def _header(self, fd: int) -> list[str]:
        data = os.pread(fd, HEADER_BYTES, 0)
        found = self._parse_header(data if b"\n" in data else os.pread(fd, self._max_line, 0))
        return [] if found is None else found[0]

    def _parse_header(self, data: bytes) -> tuple[list[str], int, int] | None:
        """Column names, lines and bytes of the header: the first record that is not blank."""
        start = data[:HEADER_BYTES]
        feed = _Feed(split_lines(start if b"\n" in start else data), self._encoding)
        try:
            for names in csv.reader(feed, delimiter=self._delimiter, strict=True):
                if names:
                    return [name.strip() for name in names], feed.taken, feed.size
        except csv.Error:
            return None
        return None


class _Feed:
    """Hands lines to the CSV reader and knows how many it took."""

    def __init__(self, lines: list[bytes], encoding: str) -> None:
        self.lines = lines
        self.taken = 0
        self.exhausted = False
        self._encoding = encoding

    @property
    def size(self) -> int:
        return sum(map(len, self.lines[: self.taken]))

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self.taken == len(self.lines):
            self.exhausted = True
            raise StopIteration
        line = self.lines[self.taken]
        if self.taken == 0:
            line = line.removeprefix(BOM)
        self.taken += 1
        return line.decode(self._encoding, "replace")


class _Rows:
    """The rows of one block."""

    def __init__(self, block: bytes, encoding: str, delimiter: str, header: list[str]) -> None:
        self.payloads: list[Payload] = []
        self.taken = 0
        self._lines = split_lines(block)
        self._encoding = encoding
        self._delimiter = delimiter
        self._header = header
        self._records: list[dict[str, str]] = []

    @property
    def consumed(self) -> int:
        """Bytes of the records that were read."""
        return sum(map(len, self._lines[: self.taken]))

    def read(self, *, keep_back: bool) -> None:
        """Read records, at most `MAX_ROWS`; one that is not closed is kept back, or its first line is bad."""
        while self.taken < len(self._lines) and self._count() < MAX_ROWS:
            feed = _Feed(self._lines[self.taken :], self._encoding)
            try:
                self._read(feed)
            except csv.Error as error:
                if feed.exhausted and keep_back:
                    break
                self.give_up(f"not CSV: {error}")
        self._flush()

    def give_up(self, message: str) -> None:
        """The next line is bad, whatever stands in it."""
        self._bad(self._lines[self.taken][:KEPT], message)
        self.taken += 1

    def _read(self, feed: _Feed) -> None:
        start, base = 0, self.taken
        for values in csv.reader(feed, delimiter=self._delimiter, strict=True):
            lines = self._lines[base + start : base + feed.taken]
            start = feed.taken
            self.taken = base + start
            self._judge(values, lines)
            if self._count() >= MAX_ROWS:
                return

    def _judge(self, values: list[str], lines: list[bytes]) -> None:
        if not values or values == self._header:
            return
        if len(values) != len(self._header):
            message = f"the row has {len(values)} columns, the header has {len(self._header)}"
            self._bad(b"".join(lines), message)
        elif not self._is_text(lines):
            self._bad(b"".join(lines), f"the row is not {self._encoding} text")
        else:
            self._records.append(dict(zip(self._header, values, strict=True)))

    def _is_text(self, lines: list[bytes]) -> bool:
        for line in lines:
            if b"\0" in line:
                return False
            if not line.isascii():
                try:
                    line.decode(self._encoding)
                except UnicodeDecodeError:
                    return False
        return True

    def _count(self) -> int:
        return len(self.payloads) + len(self._records)

    def _bad(self, data: bytes, message: str) -> None:
        self._flush()
        self.payloads.append(BadBytes(data.rstrip(b"\r\n"), message))

    def _flush(self) -> None:
        if self._records:
            # No raw bytes: a row without its header could not be judged again when it is replayed from quarantine.
            self.payloads.append(Rows(self._records, text=True))
            self._records = []


def _left_out(fd: int, bookmark: Bookmark, message: str) -> Piece:
    """The whole file is left out; what it begins with goes to quarantine."""
    data = os.pread(fd, 4096, bookmark.offset)
    return Piece([BadBytes(data, f"{message}; the file is left out")], bookmark.moved(fd, data, lines=0, done=True))
