"""When the store's disk is full: the words for it, the same in every process, and whether there is room again."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import apsw

from headrace.core.errors import StoreError, StoreFull
from headrace.core.events import Problem

SUBJECT, KIND = "store", "store_full"

ROOM = 1 << 20
"""Bytes that must be free before writing is tried again: the shared index and the log grow in steps."""


def problem(database: Path) -> Problem:
    """What is shown while the disk under `database` is full."""
    return Problem(
        SUBJECT,
        KIND,
        f"the disk of {database.parent} is full: nothing can be stored",
        "free disk space; ingestion goes on by itself",
    )


def refusal(database: Path) -> StoreFull:
    """What whoever waits for an answer is told."""
    told = problem(database)
    return StoreFull(told.message, hint="nothing of this was applied; send it again when there is room")


@contextmanager
def opening(database: Path) -> Generator[None]:
    """What the disk says while a store is opened (full, read-only, broken), as an error of ours.

    Raises
    ------
    StoreError
        In place of an error of the system or of SQLite.
    """
    try:
        yield
    except (OSError, apsw.Error) as error:
        raise StoreError(
            f"the store {database} cannot be opened: {error}", hint="is there room on the disk, and may it be written?"
        ) from error


def has_room(database: Path) -> bool:
    """Whether it is worth trying. A quota may still say no: the attempt itself finds out."""
    try:
        return shutil.disk_usage(database.parent).free >= ROOM
    except OSError:
        return True
