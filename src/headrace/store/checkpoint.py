"""Keeping the write-ahead log short without making commits wait.

Copying the log into the database ("checkpoint") runs in a thread of its own, beside the writer. The log can only begin
at its start again when everything in it is copied and no reader looks at it, which under steady writing never happens
by itself. So when the log is long, the writer asks for that between two transactions, when little is left to copy.
"""

from __future__ import annotations

import threading

import apsw

from headrace.core.events import Problem
from headrace.store.connection import open_checkpointer
from headrace.store.sqlite import SqliteStore

COPY_EVERY = 32 << 20
"""Bytes that the log grows before it is copied. Smaller copies the same page more often."""

RESTART_AT = 128 << 20
"""Bytes from which the writer tries to begin the log anew."""

WARN_AT = 1 << 30
"""Bytes from which a person should look which reader holds a snapshot open."""


class Checkpointer:
    """Copies the log of `store` in the background. `between_transactions` is for the writer's thread."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self._wake = threading.Event()
        self._stopping = False
        self._copied_at = 0
        self._restart_at = RESTART_AT
        self.thread = threading.Thread(target=self._run, name="headrace-checkpoint", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self.thread.start()

    def stop(self) -> None:
        """End the thread after what it is doing."""
        self._stopping = True
        self._wake.set()

    def between_transactions(self) -> None:
        """Wake the copying thread when the log has grown, and begin the log anew when it is long."""
        size = self._store.log_size
        if size >= self._restart_at:
            self._restart(size)
        elif size - self._copied_at >= COPY_EVERY:
            self._copied_at = size
            self._wake.set()

    def _restart(self, size: int) -> None:
        if self._store.restart_log():
            self._copied_at = 0
            self._restart_at = RESTART_AT
            self._store.problems.solve("store", "log_large")
            return
        # A reader still looks at it: let it grow a little before asking again.
        self._restart_at = size + COPY_EVERY
        self._wake.set()
        if size >= WARN_AT:
            message = f"the write-ahead log has grown to {size >> 20} MiB: a reader holds an old snapshot open"
            self._store.problems.record(Problem("store", "log_large", message, "end reads that never finish"))

    def _run(self) -> None:
        db = open_checkpointer(self._store.path)
        try:
            while not self._stopping:
                self._wake.wait()
                self._wake.clear()
                if not self._stopping:
                    self._copy(db)
        finally:
            db.close()

    def _copy(self, db: apsw.Connection) -> None:
        try:
            db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except (apsw.BusyError, apsw.FullError, apsw.IOError, apsw.LockedError):
            # Nothing is lost: the log still holds everything, and the next growth tries again.
            return
