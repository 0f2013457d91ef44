"""Handles: a bounded number of open files, so that one that is renamed or deleted can still be read to its end."""

from __future__ import annotations

import os
from collections import OrderedDict

from headrace.sources.folder import Found, Identity, found

LIMIT = 64
"""Open files at most; the one that was used longest ago is closed first."""


class Handles:
    """Open file descriptors by identity."""

    def __init__(self) -> None:
        self._open: OrderedDict[Identity, int] = OrderedDict()

    def get(self, file: Found) -> int | None:
        """A descriptor of exactly this file, or None when another one has taken its path.

        Raises
        ------
        OSError
            When it cannot be opened for another reason.
        """
        fd = self._open.get(file.identity)
        if fd is not None:
            self._open.move_to_end(file.identity)
            return fd
        try:
            fd = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        if found(file.path, os.fstat(fd)).identity != file.identity:
            os.close(fd)
            return None
        self._open[file.identity] = fd
        if len(self._open) > LIMIT:
            os.close(self._open.popitem(last=False)[1])
        return fd

    @property
    def identities(self) -> tuple[Identity, ...]:
        """The files that are open."""
        return tuple(self._open)

    def held(self, identity: Identity, path: str) -> Found | None:
        """What became of a file that is still open."""
        fd = self._open.get(identity)
        return None if fd is None else found(path, os.fstat(fd))

    def release(self, identity: Identity) -> None:
        """Close one file, if it is open."""
        fd = self._open.pop(identity, None)
        if fd is not None:
            os.close(fd)

    def close(self) -> None:
        """Close all."""
        while self._open:
            os.close(self._open.popitem()[1])
