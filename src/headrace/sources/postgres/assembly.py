"""Assembly: raw messages of the stream in, whole transactions out. Nothing leaves here before its commit was read.

A small transaction is decoded when it commits and joins the group of those that arrived together. A large one, and each
one that the server streams while it is still under way, lies in a pile (memory first, then a file) and leaves as a
`Large` that is decoded by whoever takes it, batch by batch.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from headrace.core.changes import Batch
from headrace.core.clock import SECOND, ClockOffset
from headrace.core.errors import SourceError
from headrace.sources.postgres.fence import Fence, Fences
from headrace.sources.postgres.gather import MOST_ROWS, Gathering, closed
from headrace.sources.postgres.lsn import Lsn, format_lsn
from headrace.sources.postgres.messages import Commit, Relation, StreamAbort, StreamCommit, StreamStart
from headrace.sources.postgres.pgoutput import Decoder
from headrace.sources.postgres.position import Standing
from headrace.sources.postgres.routes import Routes
from headrace.sources.postgres.spool import Spool, SpoolFile
from headrace.sources.postgres.wire import BODY

PILE_BYTES = 4 << 20
"""What one transaction may hold in memory before it goes to a file."""

GROUP_ROWS = 4_000
GROUP_BYTES = 1 << 20
GROUP_SPAN = SECOND // 10
"""What one group of small transactions may hold, and how far apart their commits may be (microseconds)."""

_XID = struct.Struct(">I").unpack_from
_BEGIN, _COMMIT, _RELATION = b"BCR"
_START, _STOP, _STREAM_COMMIT, _ABORT = b"SEcA"
_CHANGES = frozenset(b"IUDTRYM")


class Pile:
    """The raw messages of one transaction."""

    def __init__(self, spool: Spool, label: str) -> None:
        self._spool = spool
        self._label = label
        self._messages: list[bytes] = []
        self._file: SpoolFile | None = None
        self.size = 0
        self.aborted: set[int] = set()
        self.relations: list[bytes] = []

    @property
    def is_large(self) -> bool:
        """Whether it outgrew memory."""
        return self._file is not None

    def add(self, message: bytes) -> None:
        """Put a message on it. Raises SourceError when there is no room on disk."""
        self.size += len(message)
        if message[0] == _RELATION:
            self.relations.append(message)
        if self._file is not None:
            self._file.add(message)
            return
        self._messages.append(message)
        if self.size > PILE_BYTES:
            self._file = self._spool.file(self._label)
            for held in self._messages:
                self._file.add(held)
            self._messages.clear()

    def read(self) -> Iterator[bytes]:
        """All messages in their order."""
        return iter(self._messages) if self._file is None else self._file.read()

    def drop(self) -> None:
        """Done with it."""
        self._messages.clear()
        if self._file is not None:
            self._spool.drop(self._file)


@dataclass(slots=True)
class Large:
    """A whole transaction that is decoded as it is taken."""

    pile: Pile
    gathering: Gathering
    standing: Standing
    committed_at: int
    streamed: bool
    frontier: int | None = None
    clock: ClockOffset | None = None

    def batches(self) -> Iterator[Batch]:
        """Its batches, `more` on all but the last.

        Raises
        ------
        SourceError
            It cannot be read back.
        """
        decoder = Decoder(in_block=self.streamed)
        origin, end, ahead = format_lsn(self.standing.lsn), self.standing.lsn, list[Batch]()
        try:
            for data in self.pile.read():
                if self.streamed and self.pile.aborted and _XID(data, 1)[0] in self.pile.aborted:
                    continue
                self.gathering.add(decoder.decode(data), end)
                if self.gathering.rows >= MOST_ROWS:
                    yield from ahead
                    ahead = self.gathering.batches(self.committed_at, origin)
            ahead += self.gathering.batches(self.committed_at, origin)
            yield from closed(ahead, self.standing, self.frontier, self.clock)
        finally:
            self.pile.drop()


Item = Large | list[Batch]
"""What leaves: a large transaction, or the batches of a whole group."""


class Assembler:
    """Makes items of messages. No input and output of its own, but for the spool.

    Attributes
    ----------
    ready
        Items that are complete, each with its weight in bytes; whoever takes them empties the list.
    received
        Everything that committed up to this place has been taken in.
    """

    def __init__(self, routes: Routes, standing: Standing, spool: Spool) -> None:
        self.ready: list[tuple[Item, int]] = []
        self.received: Lsn = standing.lsn
        self._routes = routes
        self._standing = standing
        self._spool = spool
        self._decoder = Decoder()
        self._gathering = Gathering(routes, standing)
        self._open: Pile | None = None
        self._base: Routes | None = None
        self._block: Pile | None = None
        self._streamed: dict[int, Pile] = {}
        self._first = 0
        self._latest = 0
        self._end: Lsn = standing.lsn
        self._placed: Lsn = standing.lsn
        self._size = 0
        self.fences = Fences()

    @property
    def is_gathering(self) -> bool:
        """Whether changes wait to be flushed."""
        return self._gathering.rows > 0

    @property
    def unplaced(self) -> int:
        """Bytes of log that were received, and that no position says yet."""
        return self.received - self._placed

    def feed(self, data: bytes) -> None:
        """One CopyData with a message of pgoutput.

        Raises
        ------
        SourceError
            It cannot be decoded, or the disk is full.
        """
        kind = data[BODY]
        if kind in _CHANGES:
            self._keep(kind, data)
        elif kind == _BEGIN:
            self._open = Pile(self._spool, "transaction")
        elif kind == _COMMIT:
            self._commit(data)
        elif kind == _START:
            message = self._decoder.decode(data, BODY)
            if isinstance(message, StreamStart):
                self._block = self._streamed.setdefault(message.xid, Pile(self._spool, f"xid-{message.xid}"))
        elif kind == _STOP:
            self._decoder.decode(data, BODY)
            self._block = None
        elif kind == _STREAM_COMMIT:
            self._stream_commit(data)
        elif kind == _ABORT:
            self._abort(data)

    def heard(self, end: Lsn) -> None:
        """A keepalive: what committed up to `end` was sent."""
        self.received = max(self.received, end)

    def _keep(self, kind: int, data: bytes) -> None:
        pile = self._block if self._block is not None else self._open
        if pile is None:
            return  # a message that no transaction has
        was_large = pile.is_large
        pile.add(data[BODY:])
        if pile is not self._open or not pile.is_large:
            return
        if not was_large:  # from now on it is read beside the stream, with relations of its own
            self._base = self._routes.copy()
            self._learn(pile.relations)
        elif kind == _RELATION:
            self._learn(pile.relations[-1:])

    def _learn(self, relations: list[bytes], *, streamed: bool = False) -> None:
        decoder = Decoder(in_block=streamed)
        for data in relations:
            message = decoder.decode(data)
            if isinstance(message, Relation):
                self._routes.learn(message)

    def _commit(self, data: bytes) -> None:
        commit = self._decoder.decode(data, BODY)
        pile, self._open = self._open, None
        base, self._base = self._base, None
        if not isinstance(commit, Commit) or pile is None:
            raise SourceError("a transaction ends that did not begin", hint="the stream is begun anew")
        is_new = commit.end_lsn > self._standing.lsn
        if base is not None:
            if is_new:
                self._large(pile, base, commit.end_lsn, commit.committed_at, streamed=False)
            else:
                pile.drop()
        else:
            self._small(pile, commit, is_new=is_new)
        self._reached(commit.end_lsn)

    def _small(self, pile: Pile, commit: Commit, *, is_new: bool) -> None:
        decode, add, before = self._decoder.decode, self._gathering.add, self._gathering.rows
        if not is_new:
            self._learn(pile.relations)
            return
        if before and commit.committed_at - self._first > GROUP_SPAN:
            self.flush()
            before = 0
        for message in pile.read():
            add(decode(message), commit.end_lsn)
        if self._gathering.rows > before:
            self._first = commit.committed_at if before == 0 else min(self._first, commit.committed_at)
            self._size += pile.size
        self._end = commit.end_lsn
        if self._gathering.rows >= GROUP_ROWS or self._size >= GROUP_BYTES:
            self.flush()

    def _stream_commit(self, data: bytes) -> None:
        commit = self._decoder.decode(data, BODY)
        if not isinstance(commit, StreamCommit):
            return
        pile = self._streamed.pop(commit.xid, None)
        if pile is None:
            raise SourceError("a streamed transaction ends that did not begin", hint="the stream is begun anew")
        base = self._routes.copy()
        self._learn([r for r in pile.relations if _XID(r, 1)[0] not in pile.aborted], streamed=True)
        if commit.end_lsn > self._standing.lsn:
            self._large(pile, base, commit.end_lsn, commit.committed_at, streamed=True)
        else:
            pile.drop()
        self._reached(commit.end_lsn)

    def _abort(self, data: bytes) -> None:
        abort = self._decoder.decode(data, BODY)
        if not isinstance(abort, StreamAbort):
            return
        if abort.xid != abort.subxid:
            pile = self._streamed.get(abort.xid)
            if pile is not None:
                pile.aborted.add(abort.subxid)
            return
        pile = self._streamed.pop(abort.xid, None)
        if pile is not None:
            pile.drop()

    def _large(self, pile: Pile, base: Routes, end: Lsn, committed_at: int, *, streamed: bool) -> None:
        self.flush()
        standing = self._standing.at(end)
        self._end = self._placed = end
        large = Large(pile, Gathering(base, self._standing), standing, committed_at, streamed)
        self.ready.append((large, min(pile.size, PILE_BYTES)))

    def _reached(self, end: Lsn) -> None:
        self.received = max(self.received, end)

    def flush(self, *, frontier: Fence | None = None, place: bool = False) -> None:
        """Let go of what was gathered; with nothing gathered, of a frontier, or of the place that was reached."""
        if self._gathering.rows:
            batches = self._gathering.batches(self._first, format_lsn(self._end))
            end, size = self._end, self._size
        elif place or frontier is not None:
            batches, end, size = [], self.received, 0
        else:
            return
        self._size = 0
        at, clock = (None, None) if frontier is None else (frontier.at, frontier.clock)
        if batches or place:
            self._placed = end
            self.ready.append((closed(batches, self._standing.at(end), at, clock), size + 1))
        else:
            self.ready.append(([Batch((), frontier=at, clock=clock)], 1))

    def passed(self) -> Fence | None:
        """The latest fence that has been reached since it was last asked."""
        return self.fences.pass_(self.received)

    def clear(self) -> None:
        """Drop everything that is unfinished."""
        for pile in (self._open, *self._streamed.values()):
            if pile is not None:
                pile.drop()
        self._streamed.clear()
        self._open = self._block = None
