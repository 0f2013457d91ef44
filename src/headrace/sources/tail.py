"""Tail: reads the files of a pattern to their ends, pass after pass."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from dataclasses import dataclass

from headrace.core.changes import Batch, Position
from headrace.core.clock import Clock
from headrace.core.errors import SourceError
from headrace.sources.bookmark import Bookmark, read_position, write_position
from headrace.sources.folder import Found, Pattern, unreadable
from headrace.sources.formats import Formats
from headrace.sources.handles import Handles
from headrace.sources.lines import Format, Piece
from headrace.sources.pace import Pace
from headrace.sources.shelf import GRACE, Shelf, Track

ENDED_WAIT = 60.0
"""Seconds between two questions to a source that has ended."""

PATIENCE = 60.0
"""Seconds without a change after which a half-written file that is one unit (Parquet) counts as broken."""


@dataclass(slots=True)
class _Pass:
    """One look at all files: when it began, what is left to read, and whether something stayed unread."""

    began: int
    files: deque[Found]
    clean: bool = True


class Tail:
    """The partition of `Files`. All reading happens in worker threads, one call at a time.

    Parameters
    ----------
    pattern
        What to read.
    formats
        The readers of its files; a file without one is left out.
    position
        Where to resume.
    follow
        Whether to go on after the first pass.
    poll
        Microseconds from the beginning of one pass to that of the next.
    """

    name = "files"

    def __init__(
        self,
        pattern: Pattern,
        formats: Formats,
        position: Position | None,
        clock: Clock,
        *,
        follow: bool,
        poll: int,
    ) -> None:
        self._pattern = pattern
        self._formats = formats
        self._clock = clock
        self._follow = follow
        self._pace = Pace(poll, clock)
        self._shelf = Shelf(
            [] if position is None else read_position(position), Handles(), grace=GRACE if follow else 0.0
        )
        self._pass: _Pass | None = None
        self._ended = False
        self._closed = False
        self._lock = threading.Lock()

    async def next_batch(self) -> Batch | None:
        if self._ended or (self._pass is None and self._pace.rest):
            return None
        return await asyncio.to_thread(self._step)

    def next_awake(self) -> float:
        if self._ended:
            return ENDED_WAIT
        return 0.0 if self._pass is not None else self._pace.rest

    async def acknowledge(self, position: Position) -> None:
        """Nothing to forget: the files belong to someone else."""

    async def close(self) -> None:
        self._ended = True
        await asyncio.to_thread(self._release)

    def _release(self) -> None:
        # A read that was cancelled still runs in its thread: the lock waits for it.
        with self._lock:
            self._closed = True
            self._formats.close()
            self._shelf.handles.close()

    def _step(self) -> Batch | None:
        with self._lock:
            if self._closed:
                return None
            current = self._pass or self._begin()
            while current.files:
                file = current.files[0]
                batch = self._read(file, current)
                if batch is not None:
                    return batch
                current.files.popleft()
            return self._finish(current)

    def _begin(self) -> _Pass:
        # The clock is read before the folder is: what was written by then is seen.
        began = self._clock.now()
        self._pace.begin()
        files = self._shelf.look(self._pattern, now=self._clock.monotonic())
        self._pass = _Pass(began, deque(files), clean=not self._shelf.waits)
        return self._pass

    def _finish(self, current: _Pass) -> Batch | None:
        self._pass = None
        if not self._follow:
            self._ended = True
            return Batch((), frontier=current.began, ended=True)
        # A plain path at which there never was a file says nothing: perhaps it is misspelt.
        silent = not self._shelf.was_used and not self._pattern.is_set
        return None if silent or not current.clean else Batch((), frontier=current.began)

    def _read(self, file: Found, current: _Pass) -> Batch | None:
        """The next batch of one file; None when it is read as far as it was written when the pass began."""
        track = self._shelf.tracks.get(file.identity)
        reader = None if track is None else self._formats.of(track.bookmark.path)
        if reader is None or track is None or not self._may_have_more(file, track, reader):
            return None
        try:
            fd = self._shelf.handles.get(file)
            if fd is None:  # another file took its path since the folder was read
                current.clean = False
                return None
            return self._read_open(file, fd, reader)
        except OSError as error:
            raise unreadable(file.path, error) from error

    def _may_have_more(self, file: Found, track: Track, reader: Format) -> bool:
        if file.gone:  # also when all was read: it is let go then
            return True
        if track.seen == file.stamp:
            return reader.whole and not track.bookmark.done and self._out_of_patience(track)
        if reader.whole and track.bookmark.done and track.bookmark.offset != file.size:
            self._shelf.began_anew(file.identity)  # written anew: another file
            return True
        return not track.bookmark.done

    def _out_of_patience(self, track: Track) -> bool:
        return self._clock.monotonic() - track.since > PATIENCE

    def _read_open(self, file: Found, fd: int, reader: Format) -> Batch | None:
        track = self._shelf.tracks[file.identity]
        final = file.gone or not self._follow or (reader.whole and track.seen == file.stamp)
        while track.bookmark.offset < file.size and not track.bookmark.done:
            if not track.bookmark.holds(fd, os.fstat(fd).st_size):
                self._shelf.began_anew(file.identity)
                return self._read_open(file, fd, reader)
            before = track.bookmark
            piece = reader.read(fd, before, final=final)
            if piece is None:
                break
            track.bookmark = piece.bookmark
            if piece.payloads:
                return self._batch(file, before, piece)
        track.seen, track.since = file.stamp, self._clock.monotonic()
        if file.gone:
            self._shelf.gone(file.identity)
        return None

    def _batch(self, file: Found, before: Bookmark, piece: Piece) -> Batch:
        position = write_position(self._shelf.bookmarks)
        return Batch(piece.payloads, position, origin=f"{file.path}:{before.line + 1}")


def started(pattern: Pattern, *, follow: bool) -> None:
    """Check once, when the source is opened, that reading can begin.

    Raises
    ------
    SourceError
        When the folder is not there, or when a file that is not followed is not.
    """
    root, plain = pattern.root, not pattern.is_set
    if not root.is_dir():
        missing = str(root)
    elif plain and not follow and not pattern.exists:
        missing = pattern.path
    else:
        return
    raise SourceError(f"{missing} is not there", hint="create it, or correct the path", source="files", permanent=True)
