"""The work of a copy, as the partition sees it: batches of rows, at last the batches that end it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from headrace.core.changes import Batch, Kept, Position, Tuples
from headrace.core.clock import Clock
from headrace.sources.postgres.conveyor import Conveyor
from headrace.sources.postgres.copy import CopyText
from headrace.sources.postgres.copying import Chunk, Copier, Piece, Progress, What, keys_of, plan
from headrace.sources.postgres.handoff import Ready, Shot, Wanted, ask_types, settle
from headrace.sources.postgres.note import Note, Run, shape_of, usable
from headrace.sources.postgres.position import Standing
from headrace.sources.postgres.spool import Spool, SpoolFile
from headrace.sources.postgres.tables import ServerColumn, ServerTable
from headrace.sources.postgres.types import Types
from headrace.sources.postgres.values import Conversion
from headrace.sources.postgres.worker import Worker

log = logging.getLogger("headrace.source")

AHEAD = 8 << 20
"""Bytes of copied rows, as the server sent them, that wait to be taken."""

SETTLE_WAIT = 0.02
"""Seconds between two looks whether the copy is on disk."""


@dataclass(frozen=True, slots=True)
class _Rows:
    """Some rows of a copy."""

    batch: Batch
    rows: int


@dataclass(frozen=True, slots=True)
class _Part:
    """A piece of a table is complete; the batch that notes it, where it is one that was not stored before."""

    table: str
    note: Batch | None


@dataclass(frozen=True, slots=True)
class _Done:
    """Every row was put on the conveyor."""


class CopyReader:
    """Makes batches of one table's chunks; threads may use it at the same time.

    Parameters
    ----------
    columns
        What the chunks hold.
    kept
        Whether that are the keys of rows that are stored already.
    at_once
        Whether all batches are one transaction.
    """

    def __init__(
        self,
        table: ServerTable,
        columns: Sequence[ServerColumn],
        types: Types,
        *,
        source_ts: int,
        kept: bool = False,
        at_once: bool = False,
    ) -> None:
        wanted = {column.name: column.type for column in table.schema.columns}
        self._width = len(columns)
        self._conversion = Conversion(types, [(column.name, column.type) for column in columns], wanted)
        self._table = table.name
        self._source_ts = source_ts
        self._kept = kept
        self._at_once = at_once

    def batch(self, data: bytes, rows: int) -> Batch:
        """Whole lines as a batch."""
        names = self._conversion.names
        if self._width:
            text = CopyText(self._width)
            text.feed(data)
            columns = self._conversion.columns(text.take())
            values = list(zip(*columns, strict=True))
        else:
            values = [()] * rows
        return Batch(
            [Kept(names, values) if self._kept else Tuples(names, values)], table=self._table, snapshot="part",
            source_ts=self._source_ts, origin=f"copy:{self._table}", more=self._at_once,
        )  # fmt: skip


class CopyWork:
    """Copies the tables of a shot.

    Parameters
    ----------
    notes
        What is stored of the tables already, by declared name.

    Attributes
    ----------
    progress
        How far it is.
    tables
        The declared names of what is copied.
    """

    def __init__(
        self,
        ready: Ready,
        wanted: Wanted,
        shot: Shot,
        worker: Worker,
        spool: Spool,
        clock: Clock,
        *,
        workers: int,
        notes: Mapping[str, str],
    ) -> None:
        self.standing = shot.standing
        self.tables = tuple(table.name for table in shot.tables)
        self._ready = ready
        self._wanted = wanted
        self._shot = shot
        self._worker = worker
        self._spool = spool
        self._at_once = ready.decision.at_once
        self._confirmed = False
        self._ends: Iterator[Batch] | None = None
        self._all_given = False
        self._conveyor: Conveyor[_Rows | _Part | _Done] = Conveyor(AHEAD, asyncio.get_running_loop())
        self._files: dict[str, SpoolFile] = {}
        self._lock = threading.Lock()
        self._clock = clock
        self._workers = workers
        self._copier: Copier | None = None
        self._stored = {name: self._usable(name, notes.get(name)) for name in self.tables}
        self._runs = dict.fromkeys(self.tables, shot.run)
        self.progress: Progress | None = None

    def _usable(self, name: str, text: str | None) -> tuple[Run, ...]:
        """What of a note holds here. What is given as one transaction is read as one, too."""
        if text is None or name in self._at_once:
            return ()
        table, facts, run = self._table(name), self._ready.facts, self._shot.run
        runs = usable(
            Note.parse(text), system=facts.system, timeline=facts.timeline, end=facts.end, shape=shape_of(table),
            xmin=run.xmin, files=run.files,
        )  # fmt: skip
        log.info("the copy of %s %s", name, "goes on with what is stored" if runs else "begins anew")
        return runs

    def _table(self, name: str) -> ServerTable:
        return next(table for table in self._shot.tables if table.name == name)

    def start(self) -> None:
        """Plan it and begin. Blocks for some queries.

        Raises
        ------
        SourceError
            A query failed, or there is no place for files.
        """
        types = Types()
        oids = types.missing({column.type for table in self._shot.tables for column in table.copied()})
        if oids:
            types.add(ask_types(self._ready.session, oids))
        taken_at = self._shot.taken_at
        self._readers = {
            table.name: CopyReader(
                table, table.copied(), types, source_ts=taken_at, at_once=table.name in self._at_once
            )
            for table in self._shot.tables
        }
        self._key_readers = {
            table.name: CopyReader(table, keys_of(table), types, source_ts=taken_at, kept=True)
            for table in self._shot.tables
        }
        self._files = {name: self._spool.file(f"copy-{name}") for name in self.tables if name in self._at_once}
        pieces, extents = plan(self._ready.session, self._shot.tables, self._stored)
        self.progress = Progress(extents, self._clock)
        self._copier = Copier(
            self._ready.server, self._shot.snapshot, pieces, workers=self._workers,
            take=self._taken, complete=self._complete, finished=self._finished, failed=self._conveyor.fail,
        )  # fmt: skip
        self._copier.start()

    def _taken(self, chunk: Chunk) -> None:
        name = chunk.table.name
        if name in self._at_once:
            with self._lock:
                self._files[name].add(chunk.data)
            self._count(name, chunk.rows)
            return
        reader = (self._key_readers if chunk.what is What.KEPT else self._readers)[name]
        self._conveyor.put(_Rows(reader.batch(chunk.data, chunk.rows), chunk.rows), len(chunk.data))

    def _complete(self, piece: Piece) -> None:
        """Say what is stored, behind the rows that it is said of."""
        name = piece.table.name
        if name in self._at_once:
            self._count(name, 0, parts=1)
            return
        with self._lock:  # so that notes lie on the conveyor in the order in which they were written
            batch = None
            if piece.what is What.WHOLE:
                run = self._runs[name] = self._runs[name].adding(piece.leaf.oid, (piece.first, piece.last))
                note = self._note_of(piece.table, run).text
                batch = Batch(
                    (), table=name, snapshot="part", source_ts=self._shot.taken_at, origin=f"copy:{name}", note=note
                )
            self._conveyor.put(_Part(name, batch), 0, wait=False)

    def _note_of(self, table: ServerTable, run: Run) -> Note:
        facts = self._ready.facts
        return Note(facts.system, facts.timeline, shape_of(table), (*self._stored[table.name], run))

    def _count(self, table: str, rows: int, *, parts: int = 0) -> None:
        if self.progress is not None:
            self.progress.add(table, rows, parts)

    def _finished(self) -> None:
        # Everything is here: nobody need wait for our locks any longer.
        self._ready.session.run("COMMIT", doing="ending the copy")
        self._conveyor.put(_Done(), 0, wait=False)

    async def take(self) -> Batch | None:
        """The next batch; None when there is none now.

        Raises
        ------
        SourceError
            The copy broke and has to be made anew.
        """
        if self._all_given:
            return None
        while self._ends is None:
            item = self._conveyor.take()
            if item is None:
                return None
            if isinstance(item, _Rows):
                self._count(item.batch.table or "", item.rows)
                return item.batch
            if isinstance(item, _Done):
                self._ends = self._replayed()
            else:
                self._count(item.table, 0, parts=1)
                if item.note is not None:
                    return item.note
        ends = self._ends
        batch = await self._worker.run(lambda: next(ends, None)) if self._at_once else next(ends, None)
        self._all_given = batch is None or not batch.more
        return batch

    async def wait(self, seconds: float) -> None:
        """Wait for something to take."""
        if self._all_given:
            await self._clock.sleep(SETTLE_WAIT)
        elif self._ends is None:
            await self._conveyor.wait(seconds)

    def _replayed(self) -> Iterator[Batch]:
        for name, file in self._files.items():
            reader = self._readers[name]
            for data in file.read():
                yield reader.batch(data, data.count(b"\n"))
            self._spool.drop(file)
        yield from self._ending()

    def _ending(self) -> Iterator[Batch]:
        tables, shot = self._shot.tables, self._shot
        # The other tables of the stream are not complete up to this snapshot.
        frontier = shot.fence.at if self._ready.decision.whole else None
        if not tables:  # only events that cannot be copied again: they go on from here
            yield Batch((), position=shot.standing.text, origin="copy", frontier=frontier, clock=shot.fence.clock)
        for table in tables:
            last = table is tables[-1]
            yield Batch(
                (), table=table.name, snapshot="end", source_ts=shot.taken_at, origin=f"copy:{table.name}",
                more=not last, position=shot.standing.text if last else None,
                frontier=frontier if last else None, clock=shot.fence.clock if last else None,
            )  # fmt: skip

    def confirm(self, position: Position) -> None:
        """Everything up to `position` is on disk."""
        self._confirmed = self._confirmed or position == self._shot.standing.text

    @property
    def is_given(self) -> bool:
        """Whether every batch was given away."""
        return self._all_given

    @property
    def is_over(self) -> bool:
        """Whether the copy is on disk, or nothing depends on that, so that the stream may begin."""
        return self._all_given and (self._confirmed or not self._ready.decision.make_slot)

    def finish(self) -> Standing:
        """Make the slot. Blocks.

        Raises
        ------
        SourceError
            It cannot be made: the copy has to be made again.
        """
        settle(self._ready, self._wanted, self._shot)
        return self._shot.standing

    def close(self) -> None:
        """End it, wherever it is. Blocks shortly."""
        self._conveyor.close()
        if self._copier is not None:
            self._copier.stop()
        self._ready.close()
        self._spool.clear()
