"""What keys have spent, on disk: written in batches by a thread, so that a slow or stalled disk holds up nobody.

The file is JSON Lines of absolute amounts, the last line of a key counts:

1. `note` puts the amount of a key in the place of the one before it (memory only: no more than one line per key).
2. Twice a second the thread takes what was noted, appends it in one write and syncs it. A crash before loses what was
   spent since: at most a second's, and what calls in flight would have cost. A crash inside the write leaves a last
   line without its end, which the next reader passes over.
3. At the start the file is read and, where it has more lines than keys, written anew beside itself and renamed. A
   crash before the rename leaves the old one.

A write that fails is tried again with the next batch; nothing that was noted is given up.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from pathlib import Path

import msgspec

from headrace.models.periods import Spent

_LOG = logging.getLogger("headrace.gateway")
EVERY = 0.5
"""Seconds between two batches: with the time of a write, less than a second of spending is lost in a crash."""
_LARGE = 8 * 1024 * 1024


class _Line(msgspec.Struct, array_like=True):
    key: str
    day: int
    in_day: str
    month: int
    in_month: str
    in_total: str


def append(path: Path, data: bytes) -> None:
    """Append `data` and wait until it is on disk."""
    with path.open("ab") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


class Ledger:
    """Keeps what was spent.

    Parameters
    ----------
    path
        The file; its folder is there.
    every
        Seconds between two batches.
    write
        Appends durably; tests bring one that blocks.

    Attributes
    ----------
    problem
        Why the last batch could not be written; empty when it was.
    """

    def __init__(self, path: Path, *, every: float = EVERY, write: Callable[[Path, bytes], None] = append) -> None:
        self.path = path
        self.problem = ""
        self._every = every
        self._write = write
        self._noted: dict[str, Spent] = {}
        self._latest: dict[str, Spent] = {}
        self._size = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> list[Spent]:
        """Read what is there, and begin to write; what was spent so far."""
        found = read(self.path)
        self._latest = {one.key: one for one in found}
        self._compact()
        # A daemon: a write that never returns must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="headrace-ledger", daemon=True)
        self._thread.start()
        return list(self._latest.values())

    def note(self, spent: Spent) -> None:
        """A key has spent so much; returns at once."""
        self._noted[spent.key] = spent

    def close(self, timeout: float = 5.0) -> bool:
        """Write what is left, for at most `timeout` seconds; whether all of it is on disk."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout)
            if self._thread.is_alive():
                _LOG.error("what keys spent in the last seconds is not on disk: writing to %s hangs", self.path)
                return False
        return not self.problem

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            self._batch()
        self._batch()

    def _batch(self) -> None:
        # One key after the other: each step is a single one of a dictionary, and so nobody has to wait for a lock.
        taken = {key: self._noted.pop(key) for key in list(self._noted)}
        if not taken:
            return
        data = b"".join(_line(spent) for spent in taken.values())
        if self.problem:
            data = b"\n" + data  # half of a line may be there
        try:
            self._write(self.path, data)
        except OSError as error:
            self._fail(error, taken)
            return
        if self.problem:
            _LOG.info("what keys spend is written again to %s", self.path)
            self.problem = ""
        self._latest |= taken
        self._size += len(data)
        if self._size > _LARGE:
            self._compact()

    def _fail(self, error: OSError, taken: dict[str, Spent]) -> None:
        for key, spent in taken.items():
            self._noted.setdefault(key, spent)  # what was noted since is newer
        if not self.problem:
            _LOG.error("what keys spend cannot be written to %s: %s; tried again", self.path, error)
        self.problem = f"what keys spend cannot be written: {error}"

    def _compact(self) -> None:
        beside = self.path.with_name(self.path.name + ".new")
        data = b"".join(_line(spent) for spent in self._latest.values())
        try:
            beside.unlink(missing_ok=True)
            append(beside, data)
            beside.replace(self.path)
        except OSError as error:
            _LOG.warning("%s cannot be written anew: %s", self.path, error)
        self._size = len(data)


def read(path: Path) -> list[Spent]:
    """What keys had spent, per key the last that was written. A file that is not there is an empty one."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    found: dict[str, Spent] = {}
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            one = msgspec.json.decode(line, type=_Line)
            amounts = [Decimal(text) for text in (one.in_day, one.in_month, one.in_total)]
        except (msgspec.MsgspecError, InvalidOperation):
            if number < len(lines):
                _LOG.warning("%s:%d is no line of spending, and passed over", path, number)
            continue
        found[one.key] = Spent(one.key, one.day, amounts[0], one.month, amounts[1], amounts[2])
    return list(found.values())


def _line(one: Spent) -> bytes:
    line = _Line(one.key, one.day, str(one.in_day), one.month, str(one.in_month), str(one.in_total))
    return msgspec.json.encode(line) + b"\n"
