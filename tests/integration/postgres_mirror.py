"""The reference model of change capture: plain dictionaries that honour what batches say.

`Mirror` is to the store what a proof is to a program: it knows transactions (`more`), full copies (`snapshot`), records
of which only some columns came (`Partial`), and nothing else. At quiet points it must equal `SELECT * FROM table`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg

from headrace.core.changes import BadBytes, Batch, Kept, Keys, Partial, Tuples
from headrace.core.clock import SystemClock
from headrace.core.errors import SourceError
from headrace.core.events import Event
from headrace.core.schema import Row, Schema, TableKind, encode
from headrace.sources import Opening, Partition, Postgres
from headrace.sources.base import Fed

CLOCK = SystemClock()


@dataclass
class MirrorTable:
    """One table: rows by key, or events in order."""

    schema: Schema
    rows: dict[Row, dict[str, Any]] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    bad: list[BadBytes] = field(default_factory=list)
    copy: int | None = None
    note: str | None = None
    kept: int = 0
    copied: int = 0
    seen: set[Row] = field(default_factory=set)
    before: set[Row] = field(default_factory=set)

    def key(self, record: Mapping[str, Any]) -> Row:
        return tuple(encode(self.schema.column(name).type, record[name]) for name in self.schema.key)

    def apply(self, batch: Batch) -> None:
        if batch.snapshot is not None and (batch.source_ts != self.copy or batch.snapshot == "only"):
            self.copy, self.seen, self.before = batch.source_ts, set(), set(self.rows)
        for payload in batch.payloads:
            match payload:
                case Tuples(names, rows):
                    for row in rows:
                        self.put(dict(zip(names, row, strict=True)), batch)
                case Partial(records, was):
                    for record, before in zip(records, was or [None] * len(records), strict=True):
                        row = self.rows[self.key(record)] if before is None else self.rows.pop(self.key(before))
                        self.rows[self.key(record)] = {**row, **record}
                case Keys(keys):
                    for key in keys:
                        self.rows.pop(self.key(key), None)
                case Kept(names, kept):
                    for values in kept:
                        key = self.key(dict(zip(names, values, strict=True)))
                        assert key in self.rows, "a row is said to be stored that is not"
                        self.seen.add(key)
                        self.kept += 1
                case BadBytes():
                    self.bad.append(payload)
                case _:
                    raise AssertionError(f"a payload that PostgreSQL does not give: {payload!r}")
        if batch.snapshot is not None:
            self.note = None if batch.snapshot != "part" else batch.note or self.note
        if batch.snapshot in ("end", "only"):
            for key in self.before - self.seen:
                self.rows.pop(key, None)
            self.copy = None

    def put(self, record: dict[str, Any], batch: Batch) -> None:
        if self.schema.kind is TableKind.EVENTS:
            self.events.append(record)
            return
        key = self.key(record)
        if batch.snapshot is not None:
            self.seen.add(key)
            self.copied += 1
        self.rows[key] = record

    def stored(self) -> list[Row]:
        """All rows in storage form, in order."""
        records = self.events if self.schema.kind is TableKind.EVENTS else self.rows.values()
        return sorted((self.row(record) for record in records), key=repr)

    def row(self, record: Mapping[str, Any]) -> Row:
        return tuple(encode(column.type, record[column.name]) for column in self.schema.columns)


class Mirror:
    """All tables of one stream. What a transaction brings becomes visible at its end, as `units` counts."""

    def __init__(self, *schemas: Schema) -> None:
        self.tables = {schema.name: MirrorTable(schema) for schema in schemas}
        self.position: str | None = None
        self.frontier: int | None = None
        self.known: set[str] = set()
        self.units: list[list[Batch]] = []
        self.heard = 0
        self._open: list[Batch] = []

    def apply(self, batch: Batch) -> str | None:
        """Take a batch; the position when it was the last one of its unit."""
        self.heard += 1
        assert not (batch.more and batch.position is not None), "a position within a transaction"
        self._open.append(batch)
        if batch.more:
            return None
        unit, self._open = self._open, []
        for one in unit:
            assert one.table is None or one.table in self.tables
            if one.payloads or one.snapshot is not None:
                assert one.table is not None, "payloads for nobody"
                self.tables[one.table].apply(one)
            if one.snapshot in ("end", "only") or (one.snapshot is None and one.payloads):
                self.known.add(str(one.table))
        if any(one.payloads or one.snapshot for one in unit):
            # Without the rows: a test of millions of them must not hold them twice.
            self.units.append([replace(one, payloads=()) for one in unit])
        self.position = batch.position or self.position
        if batch.frontier is not None:
            assert self.frontier is None or batch.frontier >= self.frontier, "the frontier went back"
            self.frontier = batch.frontier
        return batch.position

    def drop_open(self) -> None:
        """A crash: what was not whole was never there."""
        self._open = []


class Events:
    """A recorder that keeps everything."""

    def __init__(self) -> None:
        self.all: list[Event] = []

    def record(self, event: Event) -> None:
        self.all.append(event)

    def kinds(self, cls: type) -> list[str]:
        return [event.kind for event in self.all if isinstance(event, cls)]


class Follower:
    """Does with a partition what the engine does, over a `Mirror` in place of the store."""

    def __init__(
        self, sources: Mapping[str, Postgres], mirror: Mirror, folder: Path, *, app: str = "t", extra: bool = False
    ) -> None:
        self.sources = sources
        self.mirror = mirror
        self.folder = folder
        self.app = app
        self.extra = extra
        self.events = Events()
        self.errors: list[SourceError] = []
        self.partition: Partition | None = None
        self.acknowledging = True

    async def open(self) -> Partition:
        source = next(iter(self.sources.values()))
        fed = {
            name: Fed(
                self.mirror.tables[name].schema,
                one,
                name in self.mirror.known,
                self.extra,
                self.mirror.tables[name].note,
            )
            for name, one in self.sources.items()
        }
        position = self.mirror.position
        resume = {} if position is None else {"stream": position}
        opening = Opening(
            schema=next(iter(fed.values())).schema, resume=resume, clock=CLOCK,
            app=self.app, tables=fed, folder=self.folder, recorder=self.events,
        )  # fmt: skip
        (self.partition,) = await source.open(opening)
        return self.partition

    async def step(self) -> Batch | None:
        """Ask once, as the engine does."""
        partition = self.partition or await self.open()
        try:
            batch = await partition.next_batch()
        except SourceError as error:
            self.errors.append(error)
            self.mirror.drop_open()
            if error.permanent:
                raise
            await asyncio.sleep(0.05)
            return None
        if batch is None:
            await asyncio.sleep(partition.next_awake())
            return None
        position = self.mirror.apply(batch)
        if position is not None and self.acknowledging:
            await partition.acknowledge(position)
        return batch

    async def until(self, condition: Callable[[], bool], seconds: float = 20.0) -> None:
        """Go on until it is true."""
        end = CLOCK.monotonic() + seconds
        while not condition():
            assert CLOCK.monotonic() < end, f"not within {seconds} s; errors: {[e.message for e in self.errors[-3:]]}"
            await self.step()

    async def caught_up(self, seconds: float = 20.0) -> None:
        """Until everything that is committed now is in, by the stream's own frontier."""
        now = CLOCK.now()
        await self.until(lambda: self.mirror.frontier is not None and self.mirror.frontier >= now, seconds)

    async def close(self) -> None:
        """Close in order; what is stored stays."""
        partition, self.partition = self.partition, None
        if partition is not None:
            await partition.close()
        self.mirror.drop_open()


def at_server(dsn: str, table: str, schema: Schema) -> list[Row]:
    """All rows of a table in storage form, in order."""
    names = ", ".join(f'"{name}"' for name in schema.names)
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(f"SELECT {names} FROM {table}").fetchall()  # pyright: ignore
    return sorted(
        (tuple(encode(c.type, v) for c, v in zip(schema.columns, row, strict=True)) for row in rows), key=repr
    )


def same(follower: Follower, dsn: str) -> None:
    """The mirror is what the server has, now that it is quiet."""
    for name, source in follower.sources.items():
        table = follower.mirror.tables[name]
        assert table.stored() == at_server(dsn, source.table or name, table.schema), name
