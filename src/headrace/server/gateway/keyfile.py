"""Changing the file of keys: read, change, write beside, sync, rename; one process at a time."""

from __future__ import annotations

import errno
import os
import secrets
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import yaml

from headrace.core.errors import DeclarationError, HeadraceError, UnknownName
from headrace.core.names import suggest
from headrace.server.gateway.keys import Snapshot, VirtualKey, digest_of, load

_HEAD = "# Keys of the gateway, written by `headrace key`. It holds digests of the keys, not the keys.\n"
PREFIX = "hr-"
"""What keys begin with, so that scanners for leaked secrets can find them."""

Draw = Callable[[int], bytes]


def create(
    path: Path, key: Callable[[str, str], VirtualKey], *, draw: Draw = secrets.token_bytes
) -> tuple[str, VirtualKey]:
    """Add a key to the file; the secret, which nobody can read again, and the key.

    Parameters
    ----------
    key
        Makes the key from its id and its digest.
    draw
        Gives so many unpredictable bytes.

    Raises
    ------
    DeclarationError
        The file is broken, or has a key of that name that still counts.
    """
    secret = PREFIX + draw(32).hex()
    made = key("k_" + draw(6).hex(), digest_of(secret.encode()))
    with _changing(path) as keys:
        if any(one.name == made.name and one.revoked is None for one in keys):
            raise DeclarationError(
                f"there is a key named {made.name!r}", hint="revoke it first, or choose another name", where=str(path)
            )
        keys.append(made)
    return secret, made


def revoke(path: Path, name: str, at: datetime) -> VirtualKey:
    """Revoke the key of that name or id.

    Raises
    ------
    UnknownName
        There is none that still counts.
    """
    with _changing(path) as keys:
        for index, one in enumerate(keys):
            if name in (one.name, one.id) and one.revoked is None:
                keys[index] = one.model_copy(update={"revoked": at})
                return keys[index]
        named = [one.name for one in keys if one.revoked is None]
        raise UnknownName(f"there is no key {name!r} in {path}", hint=suggest(name, named))


@contextmanager
def _changing(path: Path) -> Generator[list[VirtualKey]]:
    """The keys of the file, to be changed; written when the block ends well."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path):
            keys = list((load(path) if path.exists() else Snapshot()).keys)
            yield keys
            _write(path, keys)
    except OSError as error:
        said = f"the keys in {str(path)!r} cannot be written: {error.strerror or error}"
        raise HeadraceError(said, hint=_advice(error.errno)) from error


def _advice(number: int | None) -> str:
    if number in (errno.ENOSPC, errno.EDQUOT):
        return "make room on that disk, and say it again; the keys that were there are as before"
    if number == errno.EROFS:
        return "that disk is read-only: name a file elsewhere (--keys, or --data)"
    return "check the folder and its permissions"


@contextmanager
def _alone(path: Path) -> Generator[None]:
    """No other process changes the file meanwhile."""
    lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if sys.platform != "win32":
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _write(path: Path, keys: list[VirtualKey]) -> None:
    document = {"keys": [_plain(key) for key in keys]}
    text = _HEAD + yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    beside = path.with_name(path.name + ".new")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def _plain(key: VirtualKey) -> dict[str, object]:
    return key.model_dump(mode="json", exclude_defaults=True)
