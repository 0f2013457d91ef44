"""Folders: which files a path, a glob or a folder means right now, in the order in which they are to be read."""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from headrace.core.errors import SourceError

_NOT_READ = (".gz", ".bz2", ".xz", ".zst", ".zip", ".tmp", ".part", ".swp", "~")
_ROTATED = re.compile(r"(.+?)[.-](\d+)")
_MAGIC = re.compile(r"[*?\[]")

Identity = tuple[int, int]
"""Device and inode: which file it is while this process runs."""


@dataclass(frozen=True, slots=True)
class Found:
    """A file as it was seen at one moment.

    `modified` is in nanoseconds; `gone` says that no folder holds the file any more, so nothing will be appended.
    """

    path: str
    identity: Identity
    size: int
    modified: int
    gone: bool = False

    @property
    def inode(self) -> int:
        return self.identity[1]

    @property
    def stamp(self) -> tuple[int, int]:
        """What changes when the file is written to."""
        return self.size, self.modified


def found(path: str, status: os.stat_result) -> Found:
    """What a `stat` tells of the file at `path`."""
    identity = (status.st_dev, status.st_ino)
    return Found(path, identity, status.st_size, status.st_mtime_ns, gone=status.st_nlink == 0)


class Pattern:
    """A path, a glob or a folder, as declared.

    Parameters
    ----------
    path
        What to read.
    suffixes
        Names within a folder end in one of these; a path or a glob names its files itself.

    Attributes
    ----------
    is_set
        Whether any number of files is meant, also none: a glob or a folder.
    """

    def __init__(self, path: str, suffixes: Collection[str]) -> None:
        self.path = path
        self._suffixes = tuple(suffixes)
        self.is_glob = bool(_MAGIC.search(path)) and not Path(path).exists()
        # Asked once: a folder that is away for a while must not be taken for a file.
        self._is_folder = Path(path).is_dir()
        self.is_set = self.is_glob or self._is_folder

    @property
    def exists(self) -> bool:
        """Whether there is something at a plain path."""
        return Path(self.path).exists()

    @property
    def root(self) -> Path:
        """The folder that must be there."""
        plain = Path(self.path)
        if self.is_glob:
            fixed = list(_until_magic(plain.parts))
            return Path(*fixed) if fixed else Path()
        return plain if self._is_folder else plain.parent

    def files(self) -> list[Found]:
        """The files that are there now, in the order in which they are to be read.

        Raises
        ------
        SourceError
            When the folder cannot be listed.
        """
        try:
            if not self.root.is_dir():
                raise FileNotFoundError(2, "no such folder", str(self.root))
            files = [*self._stats()]
        except OSError as error:
            raise unreadable(str(self.root), error) from error
        return sorted(files, key=lambda file: reading_order(file.path))

    def _stats(self) -> Iterator[Found]:
        for path, look in self._paths():
            try:
                status = look()
            except FileNotFoundError:
                continue  # renamed or removed since it was listed: the next pass sees what became of it
            if stat.S_ISREG(status.st_mode):
                yield found(path, status)

    def _paths(self) -> Iterator[tuple[str, Callable[[], os.stat_result]]]:
        """Paths, each with how to ask for its status. Plain text and not `Path`: this runs for each file every pass."""
        if self.is_glob:
            for path in glob.glob(self.path, recursive=True):  # noqa: PTH207
                if _is_readable(path.rpartition("/")[2]):
                    yield path, partial(os.stat, path)
        elif self._is_folder:
            with os.scandir(self.path) as entries:
                for entry in entries:
                    if _is_readable(entry.name) and has_suffix(entry.name, self._suffixes):
                        yield entry.path, entry.stat
        else:
            yield self.path, partial(os.stat, self.path)


def _is_readable(name: str) -> bool:
    return not name.endswith(_NOT_READ) and not name.startswith(".")


def beside(path: str, inodes: Collection[int]) -> list[Found]:
    """The files with one of `inodes` in the folder of `path`: where a rotated file went."""
    files: list[Found] = []
    try:
        with os.scandir(Path(path).parent) as entries:
            for entry in entries:
                if entry.inode() in inodes and entry.is_file(follow_symlinks=False):
                    files.append(found(entry.path, Path(entry.path).stat()))
    except OSError:
        return files  # moved on while we looked; the next pass looks again
    return files


def rotations(path: str) -> list[Found]:
    """The files beside `path` whose names say that they were rotated from it: app.log.1, app.log-20260101."""
    folder, _, base = path.rpartition("/")
    files: list[Found] = []
    try:
        with os.scandir(folder or ("/" if path.startswith("/") else ".")) as entries:
            for entry in entries:
                rotated = _ROTATED.fullmatch(entry.name)
                if rotated is not None and rotated[1] == base and entry.is_file(follow_symlinks=False):
                    files.append(found(entry.path, entry.stat()))
    except OSError:
        return files  # moved on while we looked; the next pass looks again
    return files


def has_suffix(name: str, suffixes: Collection[str]) -> bool:
    """Whether a name, or that of a rotated file without its number, ends in one of `suffixes`.

    >>> has_suffix("orders.jsonl.1", (".jsonl",)), has_suffix("orders.csv", (".jsonl",))
    (True, False)
    """
    ends = tuple(suffixes)
    if name.lower().endswith(ends):
        return True
    rotated = _ROTATED.fullmatch(name)
    return rotated is not None and rotated[1].lower().endswith(ends)


@lru_cache(maxsize=10_000)
def reading_order(path: str) -> tuple[str, int, int]:
    """By name; what was rotated away comes before the file that it was rotated from, oldest first.

    >>> sorted(["a.log", "a.log.1", "a.log.2", "b.log-20260102", "b.log-20260101", "b.log"], key=reading_order)
    ['a.log.2', 'a.log.1', 'a.log', 'b.log-20260101', 'b.log-20260102', 'b.log']
    """
    rotated = _ROTATED.fullmatch(path)
    if rotated is None or 3 < len(rotated[2]) < 8:
        return path, 1, 0
    number = int(rotated[2])
    return rotated[1], 0, -number if len(rotated[2]) <= 3 else number


def unreadable(what: str, error: OSError) -> SourceError:
    """The error for a file or folder that cannot be read."""
    return SourceError(
        f"{what} cannot be read: {error.strerror or error}",
        hint="check that it is there and that this user may read it",
        source="files",
    )


def _until_magic(parts: Iterable[str]) -> Iterator[str]:
    for part in parts:
        if _MAGIC.search(part):
            return
        yield part
