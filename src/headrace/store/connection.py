"""How the database is opened: one writer for the whole machine, readers beside it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import TracebackType

import apsw

from headrace.core.errors import StoreError, StoreLocked

PAGE_SIZE = 4096
"""Bytes. 8192 is as fast for large transactions (within 5 %), and logs twice as much for small ones."""

WRITER_CACHE_KIB = 131_072
READER_CACHE_KIB = 8_192
BUSY_MS = 5_000
"""Milliseconds that a connection waits for a lock."""


def open_writer(path: Path) -> apsw.Connection:
    """The writer's connection, in WAL mode, without automatic checkpoints (`checkpoint.Checkpointer` does them).

    Raises
    ------
    StoreError
        The file is not a database, or this SQLite cannot read it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        db = apsw.Connection(str(path), statementcachesize=300)
        db.set_busy_timeout(BUSY_MS)
        db.execute(f"PRAGMA page_size = {PAGE_SIZE}")
        mode = db.execute("PRAGMA journal_mode = WAL").get
        if mode != "wal":
            raise StoreError(
                f"{path} cannot be opened in WAL mode (it says {mode!r})",
                hint="put the data folder on a local disk: network file systems cannot share a WAL database",
            )
        # NORMAL syncs the log before a checkpoint touches the database; commits are synced in groups by the flusher.
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA wal_autocheckpoint = 0")
        db.execute(f"PRAGMA journal_size_limit = {128 << 20}")
        db.execute(f"PRAGMA cache_size = -{WRITER_CACHE_KIB}")
        db.execute("PRAGMA temp_store = MEMORY")
    except (apsw.Error, OSError) as error:
        raise StoreError(f"{path} cannot be opened: {error}", hint="is it a Headrace store, and writable?") from error
    return db


def open_checkpointer(path: Path) -> apsw.Connection:
    """A second connection of the writing process that only copies the log into the database."""
    db = apsw.Connection(str(path))
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("PRAGMA wal_autocheckpoint = 0")
    db.execute("PRAGMA cache_size = -256")
    return db


def open_reader(path: Path, *, cache_kib: int = READER_CACHE_KIB) -> apsw.Connection:
    """A connection that can only read; `BEGIN` on it opens one snapshot.

    Raises
    ------
    StoreError
        There is no such store.
    """
    try:
        # Not SQLITE_OPEN_READONLY: a reader of a WAL database must be able to write the shared index beside it.
        db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE, statementcachesize=300)
        db.set_busy_timeout(BUSY_MS)
        db.execute("PRAGMA query_only = 1")
        db.execute(f"PRAGMA cache_size = -{cache_kib}")
        db.execute("PRAGMA temp_store = MEMORY")
        # A checkpoint on close by the last reader is the writer's business.
        db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    except apsw.Error as error:
        raise StoreError(
            f"{path} cannot be read: {error}", hint="was the engine started once in this folder?"
        ) from error
    return db


class WriterLock:
    """Says that this process, and no other, writes to the store: a lock on `<db>.lock`, gone when the process is.

    Raises
    ------
    StoreLocked
        Another process (its id is in the message) holds it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(path.name + ".lock")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        if not _lock(self._fd):
            holder = os.read(self._fd, 32).decode(errors="replace").strip() or "unknown"
            os.close(self._fd)
            raise StoreLocked(
                f"process {holder} already writes to {path}",
                hint="stop it first, or give this one another data folder (--data)",
            )
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let another process write. The file stays: removing it would race with whoever opens it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> WriterLock:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.release()


if sys.platform == "win32":
    import msvcrt

    def _lock(fd: int) -> bool:
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _lock(fd: int) -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def open_log(path: Path) -> int:
    """A descriptor of the write-ahead log, to sync it by."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the log's name, too, must survive a power cut
    finally:
        os.close(folder)
    return os.open(path, os.O_RDWR)


def sync_file(fd: int) -> None:
    """Return when everything written to `fd` is on the disk, not only in its cache."""
    if sys.platform == "darwin":
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
    elif sys.platform == "win32":
        os.fsync(fd)
    else:
        os.fdatasync(fd)
