"""Parquet: rows of a file once it is complete, some thousand at a time."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from headrace.core.changes import BadBytes, Payload, Rows
from headrace.core.errors import MissingExtra
from headrace.sources.bookmark import Bookmark
from headrace.sources.lines import MAX_ROWS, Piece

MAGIC = b"PAR1"
"""What a Parquet file begins and ends with; a half-written one lacks its end."""

RowsRead = list[dict[str, Any]]


@dataclass(slots=True)
class _Reading:
    """A file under way: kept open between batches, because reading anew decodes its row group anew."""

    inode: int
    line: int
    file: Any
    batches: Iterator[RowsRead]


class Parquet:
    """Rows of complete Parquet files (extra `parquet`).

    `Bookmark.line` counts the rows that were read. `offset` is the size of the file, less one byte until the last row
    was read: so there is something left to read, and a changed footer is noticed.
    """

    whole = True

    def __init__(self) -> None:
        self._arrow = load()
        self._reading: _Reading | None = None

    def read(self, fd: int, bookmark: Bookmark, *, final: bool) -> Piece | None:
        size = os.fstat(fd).st_size
        if size < 3 * len(MAGIC) or os.pread(fd, len(MAGIC), size - len(MAGIC)) != MAGIC:
            return self._left_out(fd, bookmark, "the end of the file is missing") if final else None
        # What the library raises on damaged bytes are ArrowException and OSError: both end in quarantine.
        try:
            reading = self._resume(fd, bookmark)
            rows = next(reading.batches, None) or []
        except (self._arrow.lib.ArrowException, OSError) as error:
            self.close()
            return self._left_out(fd, bookmark, str(error))
        reading.line += len(rows)
        return self._piece(fd, bookmark, reading, [Rows(rows)] if rows else [])

    def close(self) -> None:
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.file.close(force=True)

    def _resume(self, fd: int, bookmark: Bookmark) -> _Reading:
        reading = self._reading
        if reading is None or (reading.inode, reading.line) != (bookmark.inode, bookmark.line):
            self.close()
            stream = os.fdopen(os.dup(fd), "rb")
            try:
                file = self._arrow.parquet.ParquetFile(stream)
            except BaseException:
                stream.close()
                raise
            reading = self._reading = _Reading(bookmark.inode, bookmark.line, file, _batches(file, bookmark.line))
        return reading

    def _piece(self, fd: int, bookmark: Bookmark, reading: _Reading, payloads: list[Payload]) -> Piece:
        done = reading.line >= reading.file.metadata.num_rows
        size = os.fstat(fd).st_size
        after = Bookmark.at(fd, bookmark.path, bookmark.inode, size if done else size - 1, reading.line)
        if done:
            self.close()
        return Piece(payloads, replace(after, done=done))

    def _left_out(self, fd: int, bookmark: Bookmark, message: str) -> Piece:
        after = Bookmark.at(fd, bookmark.path, bookmark.inode, os.fstat(fd).st_size, bookmark.line)
        bad = BadBytes(os.pread(fd, 4096, 0), f"not a Parquet file that can be read: {message}; it is left out")
        return Piece([bad], replace(after, done=True))


def load() -> Any:
    """`pyarrow`, with its part for Parquet; raises `MissingExtra` where it is not installed."""
    try:
        pyarrow = importlib.import_module("pyarrow")
        importlib.import_module("pyarrow.parquet")
    except ModuleNotFoundError as error:
        raise MissingExtra("reading Parquet files", extra="parquet") from error
    return pyarrow


def _batches(file: Any, start: int) -> Iterator[RowsRead]:
    """Rows from number `start` on, at most `MAX_ROWS` at once; row groups before that are not decoded."""
    for group in range(file.metadata.num_row_groups):
        count = file.metadata.row_group(group).num_rows
        if start >= count:
            start -= count
            continue
        seen = 0
        for batch in file.iter_batches(batch_size=MAX_ROWS, row_groups=[group]):
            if seen + batch.num_rows > start:
                yield batch.slice(max(0, start - seen)).to_pylist()
            seen += batch.num_rows
        start = 0
