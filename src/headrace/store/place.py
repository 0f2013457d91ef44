"""Whether a folder is a good place for a live store: writable, on a local disk, with room."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from headrace.core.findings import Finding, Grade

LITTLE = 1 << 30
"""Bytes free below which it is told: the store's log alone may take some hundred MB under load."""

TOO_LITTLE = 64 << 20
"""Bytes free below which no engine gets far."""

NETWORK = frozenset(
    re.findall(
        r"[\w.]+",
        "nfs nfs4 cifs smb smbfs smb3 afs afpfs ceph fuse.ceph gfs2 ocfs2 glusterfs fuse.glusterfs lustre beegfs gpfs"
        " fuse.sshfs fuse.s3fs fuse.gcsfuse fuse.rclone webdav davfs fuse.davfs ncpfs",
    )
)
"""Types of file systems whose locks and shared memory do not do what SQLite's log needs."""

SHARED = frozenset({"9p", "virtiofs", "vboxsf", "fuse.osxfs", "fuse.grpcfuse", "prl_fs"})
"""Folders of a host, shown inside a virtual machine or a container: what they keep of locks differs."""

MEMORY = frozenset({"tmpfs", "ramfs"})

MOUNTS = Path("/proc/self/mountinfo")


def examine_folder(folder: Path, *, stored: int = 0) -> list[Finding]:
    """Findings about a data folder that need not be there yet; `stored` is how many bytes the store has now."""
    place = _nearest(folder)
    return [_writable(folder, place), *_free(place, stored), _file_system(place)]


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    return place


def _writable(folder: Path, place: Path) -> Finding:
    subject, what = "data folder", "writable"
    if not place.is_dir():
        return Finding(subject, what, Grade.PROBLEM, str(place), "This is a file. Choose another folder with --data.")
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"headrace")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return Finding(
            subject, what, Grade.PROBLEM, str(place), f"Nothing can be written there: {error.strerror or error}."
            " Correct its owner or mode, or choose another folder with --data.",
        )  # fmt: skip
    made = "" if place == folder.absolute() else ", made at the first start"
    return Finding(subject, what, Grade.OK, f"{folder}{made}")


def _free(place: Path, stored: int) -> Iterator[Finding]:
    try:
        free = shutil.disk_usage(place).free
    except OSError as error:
        yield Finding("data folder", "free space", Grade.UNKNOWN, "", str(error))
        return
    value = f"{free / 1e9:.1f} GB"
    if free < TOO_LITTLE:
        yield Finding(
            "data folder", "free space", Grade.PROBLEM, f"{free / 1e6:.0f} MB",
            "The store stops taking rows when the disk is full. Nothing is lost, and the sources wait. Make room.",
        )  # fmt: skip
    elif free < max(LITTLE, stored):
        yield Finding(
            "data folder", "free space", Grade.WARNING, value,
            "A full copy of the tables and the store's log need room beside what is stored now.",
        )  # fmt: skip
    else:
        yield Finding("data folder", "free space", Grade.OK, value)


def _file_system(place: Path) -> Finding:
    subject, what = "data folder", "file system"
    if not sys.platform.startswith("linux") or not MOUNTS.exists():
        return Finding(subject, what, Grade.UNKNOWN, "", "It must be a local disk: SQLite's log needs its locks.")
    kind = file_system(place.resolve(), MOUNTS.read_text(encoding="utf-8", errors="replace"))
    if kind in NETWORK:
        return Finding(
            subject, what, Grade.PROBLEM, kind,
            "This is a network or shared file system: its locks do not keep SQLite's log whole. Choose a folder on a"
            " local disk with --data.",
        )  # fmt: skip
    if kind in SHARED:
        return Finding(
            subject, what, Grade.WARNING, kind,
            "This is a folder of another machine or of the host. Only one side may use the store, and it is slow there;"
            " a volume of the container or a local disk is better.",
        )  # fmt: skip
    if kind in MEMORY:
        return Finding(subject, what, Grade.WARNING, kind, "This is memory: the store is gone when the machine is.")
    return Finding(subject, what, Grade.OK, kind)


def file_system(place: Path, mounts: str) -> str:
    """The type of the file system that `place` (without symbolic links) is on, by the text of /proc/self/mountinfo.

    >>> text = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\\n40 22 0:9 / /mnt/share rw - nfs4 box:/x rw\\n"
    >>> file_system(Path("/mnt/share/data"), text), file_system(Path("/mnt/shared"), text)
    ('nfs4', 'ext4')
    """
    best, kind = -1, "unknown"
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        point = Path(_unescaped(before.split(" ")[4]))
        # Of mounts on the same point the last one counts: it hides the others.
        if place.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), after.split(" ")[0]
    return kind


def _unescaped(text: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text
