"""The spool: what is too large for memory, in files of the engine's own, until it can be given away as a whole.

A file holds records of bytes, each behind its length. It is written once from the beginning to the end, then read once.
Nothing in it outlives a restart: what was not committed is sent by the server again.
"""

from __future__ import annotations

import contextlib
import itertools
import struct
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import BinaryIO

from headrace.core.errors import SourceError

_LENGTH = struct.Struct(">I")
_BUFFER = 1 << 18


class SpoolFile:
    """One file of the spool.

    Attributes
    ----------
    size
        Bytes that were added, lengths not counted.
    count
        Records that were added.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self.count = 0
        self._file: BinaryIO | None = None
        with _disk(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("w+b", buffering=_BUFFER)

    def add(self, data: bytes) -> None:
        """Append a record.

        Raises
        ------
        SourceError
            The disk is full, or the file cannot be written for another reason.
        """
        with _disk(self.path):
            file = self._open()
            file.write(_LENGTH.pack(len(data)))
            file.write(data)
        self.size += len(data)
        self.count += 1

    def read(self) -> Iterator[bytes]:
        """The records, from the first one on.

        Raises
        ------
        SourceError
            The file cannot be read, or ends within a record.
        """
        with _disk(self.path):
            self._open().seek(0)
        for _ in range(self.count):
            with _disk(self.path):
                file = self._open()
                head = file.read(_LENGTH.size)
                data = file.read(_LENGTH.unpack(head)[0]) if len(head) == _LENGTH.size else b""
            if len(head) < _LENGTH.size or len(data) < _LENGTH.unpack(head)[0]:
                raise SourceError(f"the temporary file {self.path} was cut off", hint="it is fetched again")
            yield data

    def drop(self) -> None:
        """Delete the file. What cannot be deleted is removed when the engine starts."""
        file, self._file = self._file, None
        with contextlib.suppress(OSError):
            if file is not None:
                file.close()
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _open(self) -> BinaryIO:
        if self._file is None:
            raise SourceError(f"the temporary file {self.path} is closed", hint="it is fetched again")
        return self._file


class Spool:
    """The files of one stream, in one folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self._name = name
        self._numbers = itertools.count()
        self._files: set[SpoolFile] = set()

    def file(self, label: str) -> SpoolFile:
        """A new file; `label` is for people who look into the folder.

        Raises
        ------
        SourceError
            It cannot be made.
        """
        made = SpoolFile(self.folder / f"{self._name}-{next(self._numbers)}-{label}.spool")
        self._files.add(made)
        return made

    def drop(self, file: SpoolFile) -> None:
        """Done with `file`."""
        self._files.discard(file)
        file.drop()

    def clear(self) -> None:
        """Drop all files."""
        while self._files:
            self._files.pop().drop()


@contextlib.contextmanager
def _disk(path: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise SourceError(
            f"cannot keep a large transaction in {path}: {error.strerror or error}",
            hint="make room there (or give the app another folder); the server sends the transaction again",
        ) from error
