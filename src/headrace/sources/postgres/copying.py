"""Copying: several connections read the tables as one snapshot shows them, piece by piece, and each row once.

A table of many pages is cut into ranges of them (`ctid`), so that all workers have something to do until the end. Rows
of a piece come in the order in which they lie there, which stays while the table is locked against rewriting: a
connection that breaks is replaced, and its piece goes on behind the rows that were taken. Of a piece that an earlier
copy has stored, what is newer than that is read, and the keys of the rest (`note.py` says why that is right).
"""

from __future__ import annotations

import logging
import select
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from headrace.core.clock import Clock
from headrace.core.errors import HeadraceError, SourceError
from headrace.sources.postgres.conveyor import Closed
from headrace.sources.postgres.note import Run
from headrace.sources.postgres.session import Server, Session
from headrace.sources.postgres.tables import Leaf, ServerColumn, ServerTable, literal, quoted
from headrace.sources.postgres.trouble import ConnectionLost

log = logging.getLogger("headrace.source")

PIECE_PAGES = 2_048
"""Pages of 8 KiB in one piece: 16 MiB, some ten thousand rows; so much is fetched twice when a copy breaks off."""

CHUNK_ROWS = 10_000
CHUNK_BYTES = 2 << 20
"""What is handed on at once."""

ATTEMPTS = 5
"""How often one piece is begun again before the copy gives up."""

RETRY_SECONDS = 0.2

TELL_EVERY = 5.0
"""Seconds between two lines about the progress."""

_JOIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {}"
_SIZES = """
SELECT c.oid::bigint AS oid, greatest(c.reltuples, -1)::float8 AS rows,
       pg_relation_size(c.oid) / current_setting('block_size')::int AS pages
FROM pg_class c WHERE c.oid = ANY (%s::oid[])
"""


class What(Enum):
    """What is read of a piece."""

    WHOLE = "its rows"
    NEWER = "rows of versions that an earlier snapshot did not show"
    KEPT = "keys of the rows that are as an earlier snapshot showed them"


@dataclass(slots=True)
class Piece:
    """A range of pages of one relation; `last` None: to its end. `done` rows of it were taken.

    `since` is the number of the first transaction that an earlier snapshot may not have shown.
    """

    table: ServerTable
    leaf: Leaf
    first: int
    last: int | None
    what: What = What.WHOLE
    since: int = 0
    done: int = 0
    attempts: int = 0

    @property
    def columns(self) -> tuple[ServerColumn, ...]:
        """The columns that are read."""
        return keys_of(self.table) if self.what is What.KEPT else self.table.copied()

    @property
    def query(self) -> str:
        """The COPY that brings what is left of it."""
        columns = ", ".join(quoted(column.name) for column in self.columns)
        where = [f"ctid >= '({self.first},0)'::tid"] if self.first else []
        where += [f"ctid < '({self.last},0)'::tid"] if self.last is not None else []
        if self.what is not What.WHOLE:
            # Transaction numbers run in a circle: those less than half of it ahead of `since` are not before it.
            ahead = f"((xmin::text::bigint - {self.since & _CIRCLE}) & {_CIRCLE})"
            where.append(f"{ahead} {'<' if self.what is What.NEWER else '>='} {(_CIRCLE + 1) // 2}")
        condition = f" WHERE {' AND '.join(where)}" if where else ""
        # Rows lie in the order of the scan, so those that were taken can be passed over.
        offset = f" OFFSET {self.done}" if self.done else ""
        return f"COPY (SELECT {columns} FROM ONLY {self.leaf.sql}{condition}{offset}) TO STDOUT"


_CIRCLE = (1 << 32) - 1


def keys_of(table: ServerTable) -> tuple[ServerColumn, ...]:
    """The columns of the declared key."""
    return tuple(column for column in table.columns if column.name in table.schema.key)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows of a table as COPY's text, whole lines; of KEPT ones the keys."""

    table: ServerTable
    what: What
    data: bytes
    rows: int


@dataclass(slots=True)
class Extent:
    """How much of one table there is (`expected` rows, an estimate, in `of` parts), and how much of that is done."""

    expected: float = 0.0
    rows: int = 0
    parts: int = 0
    of: int = 0


class Progress:
    """How far a copy is; told in the log every few seconds, and readable at any time.

    Attributes
    ----------
    tables
        By declared name.
    since
        When it began (microseconds).
    """

    def __init__(self, tables: Mapping[str, Extent], clock: Clock) -> None:
        self.tables = dict(tables)
        self.since = clock.now()
        self._clock = clock
        self._lock = threading.Lock()
        self._began = self._told = clock.monotonic()

    @property
    def share(self) -> float:
        """About how much of it is done, 0 to 1; the server only estimates how many rows there are."""
        extents = self.tables.values()
        expected = sum(extent.expected for extent in extents)
        return min(1.0, sum(extent.rows for extent in extents) / expected) if expected > 0 else 0.0

    def add(self, table: str, rows: int, parts: int = 0) -> None:
        """More was given away."""
        with self._lock:
            extent = self.tables[table]
            extent.rows += rows
            extent.parts += parts
            now = self._clock.monotonic()
            tell = now - self._told >= TELL_EVERY
            if tell:
                self._told = now
            pace = sum(one.rows for one in self.tables.values()) / max(now - self._began, 1e-3)
        if tell:
            log.info(
                "copying %s: %d rows of about %.0f (%.0f %% of all), %d of %d parts, %.0f rows/s",
                table, extent.rows, extent.expected, 100 * self.share, extent.parts, extent.of, pace,
            )  # fmt: skip


def plan(
    session: Session, tables: Sequence[ServerTable], stored: Mapping[str, Sequence[Run]]
) -> tuple[list[Piece], dict[str, Extent]]:
    """The pieces of all tables, and about how many rows there are.

    Parameters
    ----------
    stored
        What is stored of a table already, by its declared name.
    """
    oids = [leaf.oid for table in tables for leaf in table.leaves]
    sizes = {row["oid"]: row for row in session.rows(_SIZES, [oids], doing="looking how large the tables are")}
    pieces: list[Piece] = []
    extents = {table.name: Extent() for table in tables}
    for table in tables:
        for leaf in table.leaves:
            pages = int(sizes[leaf.oid]["pages"]) if leaf.oid in sizes else 0
            # A table that was never analysed has no estimate: count on 60 rows a page.
            known = float(sizes[leaf.oid]["rows"]) if leaf.oid in sizes else 0.0
            cut = list(_cut(table, leaf, pages, stored.get(table.name, ())))
            extents[table.name].expected += known if known >= 0 else 60.0 * pages
            extents[table.name].of += len(cut)
            pieces += cut
    return pieces, extents


def _cut(table: ServerTable, leaf: Leaf, pages: int, stored: Sequence[Run]) -> Iterator[Piece]:
    starts = range(0, max(pages, 1), PIECE_PAGES)
    for first in starts:
        # The last piece has no end: the table may have grown since it was measured.
        last = None if first == starts[-1] else first + PIECE_PAGES
        run = next((run for run in reversed(stored) if run.covers(leaf.oid, (first, last))), None)
        if run is None:
            yield Piece(table, leaf, first, last)
        else:
            yield Piece(table, leaf, first, last, What.NEWER, run.xmin)
            yield Piece(table, leaf, first, last, What.KEPT, run.xmin)


def join(session: Session, snapshot: str) -> None:
    """Let a session see what the exported snapshot shows."""
    session.run(_JOIN.format(literal(snapshot)), doing="joining the snapshot")


class Copier:
    """Runs a copy in `workers` threads.

    Parameters
    ----------
    take
        Takes each chunk, from the workers' threads; may wait, and raises `Closed` when nobody wants more.
    complete
        Called when all of a piece was taken, from the thread that did, after its last chunk.
    finished
        Called once, from the last worker's thread, when every piece has been taken.
    failed
        Called with the error that ended the copy, perhaps more than once.
    """

    def __init__(
        self,
        server: Server,
        snapshot: str,
        pieces: Sequence[Piece],
        *,
        workers: int,
        take: Callable[[Chunk], None],
        complete: Callable[[Piece], None],
        finished: Callable[[], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._server = server
        self._snapshot = snapshot
        self._pieces = deque(pieces)
        self._locked = ", ".join(dict.fromkeys(f"ONLY {piece.leaf.sql}" for piece in pieces))
        self._take = take
        self._complete = complete
        self._finished = finished
        self._failed = failed
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._unfinished = len(pieces)
        count = max(1, min(workers, len(pieces)))
        self._threads = [
            threading.Thread(target=self._work, name=f"headrace-postgres-copy-{i}", daemon=True) for i in range(count)
        ]

    def start(self) -> None:
        """Begin."""
        if not self._unfinished:
            self._finished()
            return
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End, and wait for it. The conveyor that `take` fills must have been closed."""
        self._stopping.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def _work(self) -> None:
        session: Session | None = None
        try:
            while (piece := self._next()) is not None:
                try:
                    if session is None:
                        session = self._server.session()
                        join(session, self._snapshot)
                        self._hold(session)
                    self._copy(session, piece)
                except ConnectionLost as error:
                    session = _left(session)
                    self._again(piece, error)
                    continue
                self._complete(piece)
                self._one_less()
        except Closed:
            pass
        except HeadraceError as error:
            self._failed(error)
        except Exception as error:  # boundary of the thread: the partition raises it where it is seen
            self._failed(error)
        finally:
            _left(session)

    def _hold(self, session: Session) -> None:
        """Lock all tables in this session too, at once or not at all.

        A TRUNCATE that waits for the locks that the copy holds already lets nobody pass: COPY would wait for it, it for
        us, and everybody else who uses the table for both. When one waits, the copy lets go and is made anew behind it.
        """
        session.run(f"LOCK TABLE {self._locked} IN ACCESS SHARE MODE NOWAIT", doing="locking the tables for a copy")

    def _next(self) -> Piece | None:
        with self._lock:
            return None if self._stopping.is_set() or not self._pieces else self._pieces.popleft()

    def _again(self, piece: Piece, error: SourceError) -> None:
        piece.attempts += 1
        if piece.attempts >= ATTEMPTS or self._stopping.is_set():
            raise error
        log.warning("a connection that copied %s broke after %d rows of a piece: going on with a new one: %s",
                    piece.table.name, piece.done, error.message)  # fmt: skip
        self._stopping.wait(RETRY_SECONDS * piece.attempts)
        with self._lock:
            self._pieces.appendleft(piece)

    def _one_less(self) -> None:
        with self._lock:
            self._unfinished -= 1
            done = self._unfinished == 0
        if done:
            self._finished()

    def _copy(self, session: Session, piece: Piece) -> None:
        with session.lock, session.errors(f"copying {piece.table.sql}"):
            _begin(session, piece)
            for data, rows in _chunks(session, self._stopping.is_set):
                self._take(Chunk(piece.table, piece.what, data, rows))
                piece.done += rows


def _left(session: Session | None) -> None:
    if session is not None:
        session.close()


def _begin(session: Session, piece: Piece) -> None:
    from psycopg import pq

    result = session.pgconn.exec_(piece.query.encode())
    if result.status != pq.ExecStatus.COPY_OUT:
        raise session.refusal(result, f"copying {piece.table.sql}")


def _chunks(session: Session, stopping: Callable[[], bool]) -> Iterator[tuple[bytes, int]]:
    """What COPY sends, in chunks of whole rows."""
    pgconn = session.pgconn
    get = pgconn.get_copy_data
    poll = select.poll()
    poll.register(pgconn.socket, select.POLLIN)
    rows: list[memoryview] = []
    size = 0
    while True:
        got, row = get(1)
        if got > 0:
            rows.append(row)
            size += got
            if len(rows) >= CHUNK_ROWS or size >= CHUNK_BYTES:
                yield b"".join(rows), len(rows)
                rows, size = [], 0
        elif got == 0:
            if stopping():
                raise Closed
            if poll.poll(200):
                pgconn.consume_input()
        else:
            break
    _end(session, got)
    if rows:
        yield b"".join(rows), len(rows)


def _end(session: Session, got: int) -> None:
    from psycopg import pq

    if got == -2:
        raise session.lost("copying")
    while (result := session.pgconn.get_result()) is not None:
        if result.status != pq.ExecStatus.COMMAND_OK:
            raise session.refusal(result, "copying")
