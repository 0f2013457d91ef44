"""The shelf: which of the files that are there now are files that were read before, and how far.

Each look takes these steps, so that every line is read once:

1. A known file (same device and inode) goes on where it was, unless it no longer holds what was read (truncated): then
   it begins anew, and its old bookmark is put aside.
2. A known file that the pattern no longer matches was rotated: it is looked for beside its old path, then among the
   open files, and read to its end. A file that was rotated from the same path after it, before anybody looked, is
   known by its name (app.log.1) and its later modification, and read too.
3. An unknown file with the inode of a bookmark that was put aside, and with the same content, is that file (a restart,
   or a folder that was away for a while).
4. An unknown file that begins with all that was read of a truncated file is the copy that `copytruncate` made: it goes
   on where the original was. One that equals a file that is still whole may become such a copy in a moment: it is held
   back for `GRACE` seconds.
5. Anything else is new.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from headrace.sources.bookmark import HEAD_BYTES, Bookmark, checksum
from headrace.sources.folder import Found, Identity, Pattern, beside, reading_order, rotations
from headrace.sources.handles import Handles

GRACE = 2.0
"""Seconds that a copy of a whole file is held back: `copytruncate` truncates right after it copied."""

COPIED_WITHIN = 60.0
"""Seconds after a truncation was seen within which the copy of the file must have been seen."""

ASIDE = 256
"""Bookmarks of files that are gone that are kept at most; the oldest is dropped first."""

_CHUNK = 1 << 20


@dataclass(slots=True)
class Track:
    """A file that is being followed; `seen` is its stamp when it was last read as far as it went, at `since`."""

    bookmark: Bookmark
    path: str
    seen: tuple[int, int] | None = None
    since: float = 0.0


@dataclass(slots=True)
class _Held:
    """A file that may be a copy in the making: of which one, and since when (seconds, monotonic)."""

    original: Identity
    since: float


@dataclass(slots=True)
class _Truncated:
    """How far a file was read before it was truncated, and when that was seen (seconds, monotonic)."""

    original: Identity
    bookmark: Bookmark
    since: float


class Shelf:
    """The bookmarks of all files, matched with what is in the folder."""

    def __init__(self, bookmarks: Iterable[Bookmark], handles: Handles, *, grace: float = GRACE) -> None:
        self.tracks: dict[Identity, Track] = {}
        self.handles = handles
        self._grace = grace
        self._now = 0.0
        self._aside: list[Bookmark] = list(bookmarks)
        self._restored = frozenset(self._aside)
        self._truncated: list[_Truncated] = []
        self._held: dict[Identity, _Held] = {}
        self._copies: set[Identity] = set()

    @property
    def bookmarks(self) -> list[Bookmark]:
        """All bookmarks: what a restart needs."""
        tracked = (track.bookmark for track in self.tracks.values())
        return [*self._aside, *(bookmark for bookmark in tracked if bookmark.offset)]

    @property
    def waits(self) -> bool:
        """Whether a file is held back."""
        return bool(self._held)

    @property
    def was_used(self) -> bool:
        """Whether any file was ever seen."""
        return bool(self.tracks or self._aside)

    def look(self, pattern: Pattern, *, now: float) -> list[Found]:
        """The files that may have something to read, rotated ones first. `now`: seconds, monotonic."""
        self._now = now
        listed = {file.identity: file for file in pattern.files()}
        rotated = self._rotated(listed)
        for file in [*rotated, *listed.values()]:
            self._check(file, listed=file.identity in listed)
        unknown = [file for file in listed.values() if file.identity not in self.tracks]
        for file in unknown:
            self._recognise(file)
        for file in [file for file in unknown if file.identity not in self.tracks]:
            self._judge_new(file)
        self._forget()
        self._held = {identity: held for identity, held in self._held.items() if identity in listed}
        return [*rotated, *(file for file in listed.values() if file.identity in self.tracks)]

    def gone(self, identity: Identity) -> None:
        """The file was read to its end and no folder holds it."""
        self.handles.release(identity)
        self._put_aside(self.tracks.pop(identity).bookmark)

    def began_anew(self, identity: Identity) -> None:
        """The file does not hold what was read of it any more: it was truncated."""
        track = self.tracks[identity]
        self._truncated.append(_Truncated(identity, track.bookmark, self._now))
        self._put_aside(track.bookmark)
        self._start(identity, track.bookmark.path)

    def _rotated(self, listed: dict[Identity, Found]) -> list[Found]:
        """Known files that the pattern does not match any more."""
        missing = {identity: track.path for identity, track in self.tracks.items() if identity not in listed}
        inodes = {inode for _, inode in missing} | {b.inode for b in self._aside}
        folders = {path.rpartition("/")[0]: path for path in [*missing.values(), *(b.path for b in self._aside)]}
        files = {file.identity: file for path in folders.values() for file in beside(path, inodes)}
        files = {identity: file for identity, file in files.items() if identity not in listed}
        for identity, path in missing.items():
            if identity not in files:
                held = self.handles.held(identity, path)
                if held is None:
                    self._put_aside(self.tracks.pop(identity).bookmark)
                else:
                    files[identity] = held
        for file in [file for file in files.values() if file.identity not in self.tracks]:
            if not self._recognise(file, by_path=False):
                del files[file.identity]
        paths = {self.tracks[identity].bookmark.path for identity in files}
        missed = [file for path in paths for file in self._missed(path, files, listed)]
        # By time: after a crash between two of them, the later one is still later than all that are known.
        missed.sort(key=lambda file: file.modified)
        return [*sorted(files.values(), key=lambda file: reading_order(file.path)), *missed]

    def _missed(self, path: str, rotated: Mapping[Identity, Found], listed: Mapping[Identity, Found]) -> list[Found]:
        """Files that were rotated from `path` after the last known one, all while nobody looked."""
        known = [file for file in rotated.values() if self.tracks[file.identity].bookmark.path == path]
        newest = max(file.modified for file in known)
        missed: list[Found] = []
        for file in rotations(path):
            seen = file.identity in listed or file.identity in self.tracks or file.identity in self._copies
            if seen or file.modified <= newest:
                continue
            if self._is_copy(file, known):
                self._copies.add(file.identity)
            else:
                self._start(file.identity, path)
                missed.append(file)
        return missed

    def _is_copy(self, file: Found, known: Iterable[Found]) -> bool:
        """Whether it is a copy that somebody made of a file that was read."""
        fd = self.handles.get(file)
        marks = [self.tracks[other.identity].bookmark for other in known]
        return fd is None or any(m.offset and m.copied_to(fd, os.fstat(fd).st_size) for m in marks)

    def _check(self, file: Found, *, listed: bool) -> None:
        """Step 1: a known file that changed must still hold what was read."""
        track = self.tracks.get(file.identity)
        if track is None:
            return
        track.path = file.path
        if listed and track.bookmark.path != file.path:
            track.bookmark = replace(track.bookmark, path=file.path)
        if file.stamp == track.seen or track.bookmark.offset == 0:
            return
        fd = self.handles.get(file)
        if fd is not None and not track.bookmark.holds(fd, os.fstat(fd).st_size):
            self.began_anew(file.identity)

    def _recognise(self, file: Found, *, by_path: bool = True) -> bool:
        """Step 3: a file that was put aside, by its inode and content; after a restart by its path and content."""
        candidates = [b for b in reversed(self._aside) if b.inode == file.inode]
        fd = self.handles.get(file) if candidates or by_path else None
        if fd is None:
            return False
        size = os.fstat(fd).st_size
        for bookmark in candidates:
            if bookmark.holds(fd, size):
                return self._adopt(file, bookmark)
        if by_path:
            for bookmark in candidates:  # the inode is the same and the content is not: truncated while we were away
                if bookmark in self._restored:
                    self._truncated.append(_Truncated(file.identity, bookmark, self._now))
            for bookmark in self._aside:
                # Under HEAD_BYTES, two files may hold the same by chance (one line of a log, say).
                same = bookmark.path == file.path and bookmark.offset >= HEAD_BYTES
                if same and bookmark in self._restored and bookmark.copied_to(fd, size):
                    return self._adopt(file, bookmark)
        return False

    def _judge_new(self, file: Found) -> None:
        """Steps 4 and 5."""
        fd = self.handles.get(file)
        if fd is None:
            return
        size = os.fstat(fd).st_size
        held = self._held.get(file.identity)
        if self._adopt_copy(file, fd, size, held):
            return
        if held is not None and self._now - held.since >= self._grace:
            self._start(file.identity, file.path)
            return
        original = self._twin(file, fd, size) if self._grace else None
        if original is None:
            self._start(file.identity, file.path)
        elif held is None:
            self._held[file.identity] = _Held(original, self._now)

    def _adopt_copy(self, file: Found, fd: int, size: int, held: _Held | None) -> bool:
        """Whether it is a copy of a file that was truncated: what was read of that one is not read again here."""
        for truncated in self._truncated:
            bookmark = truncated.bookmark
            # Shorter than what was read: the original grew on after the copy was made. Its content is gone, but the
            # two were compared while it was there.
            shorter = held is not None and held.original == truncated.original and size <= bookmark.offset
            if shorter or bookmark.copied_to(fd, size):
                offset = min(size, bookmark.offset)
                lines = bookmark.line if offset == bookmark.offset else 0
                copy = Bookmark.at(fd, file.path, file.inode, offset, lines, skipping=bookmark.skipping)
                copy = replace(copy, crc=checksum(fd, offset))
                self._held.pop(file.identity, None)
                self.tracks[file.identity] = Track(copy, file.path)
                return True
        return False

    def _twin(self, file: Found, fd: int, size: int) -> Identity | None:
        """A followed file in the same folder with the same content, as far as both go."""
        folder = file.path.rpartition("/")[0]
        # Only open ones, of which there are few: a file that is being rotated was written to a moment ago.
        for identity in self.handles.identities if size else ():
            track = self.tracks.get(identity)
            if track is None or track.path.rpartition("/")[0] != folder:
                continue
            original = self.handles.held(identity, track.path)
            other = None if original is None else self.handles.get(original)
            if original is not None and other is not None and _equal(fd, other, min(size, original.size)):
                return identity
        return None

    def _adopt(self, file: Found, bookmark: Bookmark) -> bool:
        self._aside.remove(bookmark)
        self.tracks[file.identity] = Track(replace(bookmark, inode=file.inode), file.path)
        return True

    def _start(self, identity: Identity, path: str) -> None:
        self._held.pop(identity, None)
        self.tracks[identity] = Track(Bookmark(path, identity[1]), path)

    def _put_aside(self, bookmark: Bookmark) -> None:
        if bookmark.offset:
            self._aside.append(bookmark)

    def _forget(self) -> None:
        del self._aside[:-ASIDE]
        self._truncated = [t for t in self._truncated if self._now - t.since < COPIED_WITHIN]


def _equal(one: int, other: int, size: int) -> bool:
    """Whether two open files hold the same first `size` bytes (at least one)."""
    at, step = 0, 4096
    while at < size:
        step = min(step, size - at)
        if os.pread(one, step, at) != os.pread(other, step, at):
            return False
        at, step = at + step, _CHUNK
    return size > 0
