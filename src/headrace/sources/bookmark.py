"""Bookmarks: where the reading of one file stands, and whether the file is still the one that was read.

A file is known by its inode and by what it holds: a hash of its first bytes and one of the last bytes before the
place that was reached. So a file that was renamed goes on where it was, and one that was truncated, or that took over
the inode of a deleted one, begins anew. The device number is not part of it: it may change when a machine restarts.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, cast

import msgspec

from headrace.core.changes import Position
from headrace.core.errors import SourceError

HEAD_BYTES = 1024
"""Bytes at the beginning of a file that tell it from others."""

MARK_BYTES = 256
"""Bytes before the place that was reached, which tell that the file still holds what was read."""

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Bookmark:
    """Where the reading of one file stands.

    Attributes
    ----------
    path
        Where the pattern last matched it; its name there tells its format, wherever it was rotated to.
    inode
        Its number in the file system.
    offset
        Bytes that were read.
    line
        Lines that were read; row groups for Parquet.
    head
        Hash of the first `min(offset, HEAD_BYTES)` bytes.
    mark
        Hash of the last `min(offset, MARK_BYTES)` bytes before `offset`.
    crc
        CRC-32 of everything before `offset`: recognises a copy of what was read.
    skipping
        Whether `offset` stands within a line that is too long and is being passed over.
    done
        Whether there is nothing more to read in this file, whatever its size.
    """

    path: str
    inode: int
    offset: int = 0
    line: int = 0
    head: str = ""
    mark: str = ""
    crc: int = 0
    skipping: bool = False
    done: bool = False

    @classmethod
    def at(cls, fd: int, path: str, inode: int, offset: int, line: int, *, skipping: bool = False) -> Bookmark:
        """A bookmark in an open file whose first `offset` bytes count as read; without a checksum of them."""
        head, mark = _digest(fd, 0, min(offset, HEAD_BYTES)), cls._mark(fd, offset)
        return cls(path, inode, offset, line, head, mark, skipping=skipping)

    def holds(self, fd: int, size: int) -> bool:
        """Whether the open file still begins with what was read."""
        if size < self.offset:
            return False
        return _digest(fd, 0, min(self.offset, HEAD_BYTES)) == self.head and self._mark(fd, self.offset) == self.mark

    def copied_to(self, fd: int, size: int) -> bool:
        """Whether the open file begins with a full copy of what was read here; reads all of that."""
        return self.offset <= size and self.holds(fd, size) and checksum(fd, self.offset) == self.crc

    def moved(self, fd: int, data: bytes, *, lines: int, skipping: bool = False, done: bool = False) -> Bookmark:
        """The bookmark after `data`, which stands at `offset`, was read."""
        offset = self.offset + len(data)
        return replace(
            self,
            offset=offset,
            line=self.line + lines,
            head=self.head if self.offset >= HEAD_BYTES else _digest(fd, 0, min(offset, HEAD_BYTES)),
            mark=self._mark(fd, offset),
            crc=zlib.crc32(data, self.crc),
            skipping=skipping,
            done=done,
        )

    @staticmethod
    def _mark(fd: int, offset: int) -> str:
        size = min(offset, MARK_BYTES)
        return _digest(fd, offset - size, size)


def checksum(fd: int, size: int) -> int:
    """CRC-32 of the first `size` bytes of an open file."""
    crc, at = 0, 0
    while at < size:
        data = os.pread(fd, min(_CHUNK, size - at), at)
        if not data:
            break
        crc, at = zlib.crc32(data, crc), at + len(data)
    return crc


def write_position(bookmarks: Iterable[Bookmark]) -> Position:
    """The position of a partition that reads these files."""
    files = [[b.path, b.inode, b.offset, b.line, b.head, b.mark, b.crc, b.skipping, b.done] for b in bookmarks]
    return msgspec.json.encode({"files": files}).decode()


def read_position(position: Position) -> list[Bookmark]:
    """The bookmarks of a position.

    Raises
    ------
    SourceError
        When the position was not written by this source.
    """
    try:
        stored = cast("dict[str, Any]", msgspec.json.decode(position))
        return [Bookmark(*file) for file in stored["files"]]
    except (msgspec.MsgspecError, KeyError, TypeError) as error:
        raise SourceError(
            f"the stored position {position!r:.80} is not one of files",
            hint="the table was fed by another source before: give the table a new name, or remove its store",
            source="files",
            permanent=True,
        ) from error


def _digest(fd: int, offset: int, size: int) -> str:
    return hashlib.blake2b(os.pread(fd, size, offset), digest_size=8).hexdigest() if size else ""
