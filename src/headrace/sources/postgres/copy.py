"""The text format of COPY: bytes with borders anywhere in, columns of cells out.

The format is that of "File Formats, Text Format" on the manual's page of COPY: one row a line, tabs between the cells,
backslash escapes in them and `\\N` for NULL. So a line feed always ends a row and a tab always ends a cell, and whole
columns are cut without a look at single bytes.
"""

from __future__ import annotations

import re

from headrace.core.errors import SourceError
from headrace.sources.postgres.messages import Cell

_NULL = b"\\N"
_ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|x([0-9A-Fa-f]{1,2})|(.))", re.DOTALL)
_LETTERS = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}
_HINT = "the copy has to be made again; is the server a PostgreSQL, with no proxy in between?"


class CopyText:
    r"""Reads what `COPY ... TO STDOUT` sends.

    Parameters
    ----------
    width
        How many columns are copied, at least one.

    Examples
    --------
    >>> copy = CopyText(2)
    >>> copy.feed(b"1\ta\\tb\n2\t\\N\n3\t")
    >>> copy.take()
    [[b'1', b'2'], [b'a\tb', None]]
    >>> copy.feed(b"c\n")
    >>> copy.take()
    [[b'3'], [b'c']]
    >>> copy.close()
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self._parts: list[bytes | memoryview] = []

    def feed(self, data: bytes | memoryview) -> None:
        """Take in bytes; cheap, nothing is read yet."""
        self._parts.append(data)

    def take(self) -> list[list[Cell]]:
        """The columns of all rows that are complete, `width` lists of equal length; what is left waits for more bytes.

        It pays to take some thousand rows at once.

        Raises
        ------
        SourceError
            A row has another number of columns.
        """
        data = b"".join(self._parts)
        end = data.rfind(b"\n")
        self._parts = [data[end + 1 :]] if end + 1 < len(data) else []
        if end < 0:
            return [[] for _ in range(self.width)]
        return self._columns(data[:end])

    def _columns(self, data: bytes) -> list[list[Cell]]:
        if 0 in data:
            raise SourceError("the copy holds a zero byte, which no text of PostgreSQL does", hint=_HINT)
        # One cut for all cells; the first cell of each row but the first is marked by the line feed before it. A third
        # faster than row by row, and there are no lists of rows for the garbage collector to look through.
        cells = data.replace(b"\n", b"\t\n").split(b"\t")
        count = data.count(b"\n") + 1
        firsts = b"".join(cells[:: self.width])
        if len(cells) != count * self.width or firsts.count(b"\n") != count - 1:
            raise self._wrong_width(data)
        columns: list[list[Cell]] = [firsts.split(b"\n"), *(cells[i :: self.width] for i in range(1, self.width))]  # pyright: ignore
        return [_unescaped(column) for column in columns] if b"\\" in data else columns

    def _wrong_width(self, data: bytes) -> SourceError:
        row = next(line for line in data.split(b"\n") if line.count(b"\t") + 1 != self.width)
        found = row.count(b"\t") + 1
        return SourceError(f"a row of the copy has {found} columns and not {self.width}: {row[:80]!r}", hint=_HINT)

    def close(self) -> None:
        """All bytes were fed and taken.

        Raises
        ------
        SourceError
            Half a row is left.
        """
        left = b"".join(self._parts)
        if left:
            raise SourceError(f"the copy ends in the middle of a row: {left[:80]!r}", hint=_HINT)


def _unescaped(cells: list[Cell]) -> list[Cell]:
    """The cells of a column, with None for NULL and without escapes."""
    joined = b"\0".join(cells)  # pyright: ignore[reportArgumentType, reportCallIssue]
    marks = joined.count(b"\\")
    if not marks:
        return cells
    if marks == cells.count(_NULL):
        return [None if cell == _NULL else cell for cell in cells]
    plain = _ESCAPE.sub(_meant, joined).split(b"\0")
    return [None if cell == _NULL else text for cell, text in zip(cells, plain, strict=True)]


def _meant(found: re.Match[bytes]) -> bytes:
    """What an escape stands for. The server writes letters and the backslash; numbers are read for completeness."""
    octal, hexadecimal, other = found.groups()
    if other is not None:
        return _LETTERS.get(other, other)
    number = (int(octal, 8) if octal else int(hexadecimal, 16)) & 0xFF
    # A zero byte would be taken for the end of a cell; no text of PostgreSQL holds one.
    return bytes((number,)) if number else found[0]
