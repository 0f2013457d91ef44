"""The keys of now: a snapshot in memory, read anew by a thread when the file changes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from headrace.core.errors import DeclarationError
from headrace.server.gateway.keys import Snapshot, VirtualKey, load

_LOG = logging.getLogger("headrace.gateway")
EVERY = 1.0
"""Seconds between two looks at the file."""

_Mark = tuple[int, int, int] | None


class Keyring:
    """The keys of a file.

    A file that is broken, or gone, changes nothing: the keys that were read last go on to count, and `problem` says
    what is wrong. Where there was no file at the start there are no keys, until one appears.

    Parameters
    ----------
    path
        The file; None: there are no keys.
    every
        Seconds between two looks.
    named
        Whether somebody asked for this very file: then nobody is let in while it is not there.

    Attributes
    ----------
    snapshot
        The keys. Replaced as a whole: what follows from them holds as long as it is the same object.
    problem
        What is wrong with the file now; empty when nothing is.
    """

    def __init__(self, path: Path | None, *, every: float = EVERY, named: bool = False) -> None:
        self.path = path
        self.snapshot = Snapshot(present=named)
        self.problem = ""
        self._every = every
        self._mark: _Mark = None
        self._follower: Callable[[Snapshot], None] = _nobody
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Read the file, and begin to watch it.

        Raises
        ------
        DeclarationError
            The file is there and broken: at the start nobody is served on keys that nobody has read.
        """
        if self.path is None:
            return
        self._mark = _mark(self.path)
        if self._mark is not None:
            self.snapshot = load(self.path)
        elif self.present:
            self._complain(f"{self.path} is not there, and nobody is let in before it is")
        # A daemon: a disk that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._watch, name="headrace-keys", daemon=True)
        self._thread.start()

    @property
    def present(self) -> bool:
        """Whether a file of keys was ever read, or must be there."""
        return self.snapshot.present

    def follow(self, read: Callable[[Snapshot], None]) -> None:
        """Have `read` called with the keys: now, and whenever others are read. One follows: whoever came last."""
        self._follower = read
        read(self.snapshot)

    def find(self, given: bytes) -> VirtualKey | None:
        """The key that a client gave; None when there is none such."""
        return self.snapshot.find(given)

    def close(self) -> None:
        """Watch no more."""
        self._stop.set()

    def look(self) -> None:
        """Read the file if it has changed."""
        path = self.path
        if path is None:
            return
        mark = _mark(path)
        if mark == self._mark:
            return
        self._mark = mark
        if mark is None:
            self._complain(f"{path} is gone; the keys that it held still count")
            return
        try:
            self.snapshot = load(path)
        except DeclarationError as error:
            self._complain(f"{path}: {error.message}; the keys of before still count")
            return
        self.problem = ""
        self._follower(self.snapshot)
        _LOG.info("%d keys read from %s", len(self.snapshot.keys), path)

    def _complain(self, problem: str) -> None:
        self.problem = problem
        _LOG.error("keys: %s", problem)

    def _watch(self) -> None:
        while not self._stop.wait(self._every):
            try:
                self.look()
            # The boundary of this thread: a key that is revoked must be seen whatever the file went through before.
            except Exception as error:
                self._mark = None
                self._complain(f"{self.path} cannot be read ({type(error).__name__}); the keys of before still count")


def _nobody(_snapshot: Snapshot) -> None:
    """Nobody follows."""


def _mark(path: Path) -> _Mark:
    """What changes when a file does; None when there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
