"""Keeping the tiles of a rollup in step with its events, inside the store's transaction.

A batch is grouped in Python by key and tile, then written with one upsert per touched tile. Nothing is remembered
between two calls, so that a transaction that is rolled back leaves nothing behind.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import cast

import apsw

from headrace.core.durations import format_duration
from headrace.core.errors import MigrationRefused
from headrace.core.schema import Row, Stored
from headrace.store.base import Delta
from headrace.views.aggregates import Partial, Side
from headrace.views.definitions import drop_tables, fetch, quoted, remember, stored_definition
from headrace.views.rollup import Level, Rollup

Key = tuple[Stored, ...]
Groups = dict[tuple[Key, int], list[Row]]
"""Rows by key and number of the tile."""

_CHUNK = 20_000


class RollupMaintainer:
    """Folds events into tiles; a `store.base.Maintainer`."""

    def __init__(self, rollup: Rollup) -> None:
        self.rollup = rollup
        self._at = rollup.events.position(rollup.events.event_time or "")
        self._key = _key_getter([rollup.events.position(column) for column in rollup.by])
        self._nullable = any(rollup.events.column(column).nullable for column in rollup.by)
        self._keys_upsert = _keys_upsert(rollup)
        self._levels = [_LevelWriter(rollup, level) for level in rollup.levels]
        self._swept: Key | None = None

    @property
    def name(self) -> str:
        """The rollup's name."""
        return self.rollup.name

    @property
    def inputs(self) -> frozenset[str]:
        """Its events."""
        return frozenset({self.rollup.events.name})

    def setup(self, db: apsw.Connection) -> None:
        """Create the tables; when the definition changed, fill them again from the raw events.

        Raises
        ------
        MigrationRefused
            When the definition changed and the raw events are not kept for as long as the longest window.
        """
        stored = stored_definition(db, self.name)
        if stored == self.rollup.definition:
            return
        with db:
            if stored is not None:
                self._check_rebuild()
                drop_tables(db, self.name)
            self._create(db)
            if self.rollup.events.keep is not None:
                self._fill(db)
            remember(db, self.name, self.rollup.definition, self.rollup.tables)

    def before(self, db: apsw.Connection, delta: Delta) -> None:
        """Nothing: events only come."""

    def after(self, db: apsw.Connection, delta: Delta, *, txn: int) -> None:
        """Fold the appended events."""
        if delta.rows and delta.schema.name == self.rollup.events.name:
            self._fold(db, delta.rows, txn)

    def finish(self, db: apsw.Connection, *, txn: int) -> None:
        """Nothing: `after` has written all."""

    def housekeep(self, db: apsw.Connection, *, now: int, limit: int) -> int:
        """Drop tiles that no window can reach any more; each call sweeps the next `limit` keys."""
        names = ", ".join(quoted(column) for column in self.rollup.by)
        after = f"WHERE ({names}) > ({', '.join('?' * len(self.rollup.by))})" if self._swept else ""
        found = fetch(
            db,
            f"SELECT {names}, _source_ts FROM {quoted(self.rollup.keys_table)} {after} ORDER BY {names} LIMIT ?",
            (*(self._swept or ()), limit),
        )
        self._swept = tuple(found[-1][:-1]) if len(found) == limit else None
        keys = [tuple(row[:-1]) for row in found]
        dropped = sum(level.drop(db, keys, now) for level in self._levels)
        edge = now - self.rollup.retention
        silent = [tuple(row[:-1]) for row in found if cast(int, row[-1]) < edge - max(self._widths())]
        where = " AND ".join(f"{quoted(column)} = ?" for column in self.rollup.by)
        db.executemany(f"DELETE FROM {quoted(self.rollup.keys_table)} WHERE {where}", silent)
        return dropped + len(silent)

    def _widths(self) -> list[int]:
        return [level.width for level in self.rollup.levels]

    def _check_rebuild(self) -> None:
        keep, need = self.rollup.events.keep, self.rollup.retention
        if keep is None or keep < need:
            kept = "are not kept" if keep is None else f"are kept for {format_duration(keep)} only"
            raise MigrationRefused(
                f"the rollup {self.name!r} has changed, and the events of {self.rollup.events.name!r} to compute it"
                f" again {kept}",
                hint=f'keep them at least keep="{format_duration(need)}", give the rollup a new name (it then starts'
                " empty), or take the change back",
            )

    def _create(self, db: apsw.Connection) -> None:
        keys = _key_columns(self.rollup)
        names = ", ".join(quoted(column) for column in self.rollup.by)
        db.execute(
            f"CREATE TABLE {quoted(self.rollup.keys_table)}({keys}, _source_ts INTEGER NOT NULL,"
            f" _txn INTEGER NOT NULL, PRIMARY KEY({names})) WITHOUT ROWID"
        )
        for level in self._levels:
            level.create(db)

    def _fill(self, db: apsw.Connection) -> None:
        events = self.rollup.events
        names = ", ".join(quoted(column) for column in events.names)
        read = f"SELECT {names}, _seq, _txn FROM {quoted(events.name)} WHERE _seq > ? ORDER BY _seq LIMIT {_CHUNK}"
        seq = -1
        while found := fetch(db, read, (seq,)):
            self._fold(db, [row[:-2] for row in found], txn=max(cast(int, row[-1]) for row in found))
            seq = cast(int, found[-1][-2])

    def _fold(self, db: apsw.Connection, rows: Sequence[Row], txn: int) -> None:
        groups = self._group(rows, self.rollup.levels[0].width)
        db.executemany(self._keys_upsert, ((*key, at, txn) for key, at in self._latest(groups).items()))
        for level in self._levels:
            level.write(db, groups if level is self._levels[0] else self._group(rows, level.level.width))

    def _group(self, rows: Sequence[Row], width: int) -> Groups:
        # 0.3 microseconds an event; this loop is the cost of a rollup when a batch has many events a tile.
        at, key_of = self._at, self._key
        groups: Groups = {}
        get = groups.get
        for row in rows:
            place: tuple[Key, int] = (key_of(row), row[at] // width)  # pyright: ignore
            group = get(place)
            if group is None:
                groups[place] = [row]
            else:
                group.append(row)
        if self._nullable:
            return {place: group for place, group in groups.items() if None not in place[0]}
        return groups

    def _latest(self, groups: Groups) -> dict[Key, int]:
        at = operator.itemgetter(self._at)
        newest: dict[Key, int] = {}
        for key, number in groups:
            newest[key] = max(newest.get(key, number), number)
        return {key: max(map(at, groups[key, number])) for key, number in newest.items()}


class _LevelWriter:
    """Writes the tiles and side tables of one level."""

    def __init__(self, rollup: Rollup, level: Level) -> None:
        self.rollup = rollup
        self.level = level
        self.tables = [rollup.tiles_table(level), *(rollup.side_table(level, side) for side in rollup.sides)]
        self._tiles_upsert = _tiles_upsert(rollup, level)
        self._folds = [partial.fold for partial in rollup.partials]
        self._sides = [_SideWriter(rollup, level, side) for side in rollup.sides]

    def create(self, db: apsw.Connection) -> None:
        partials = ", ".join(f"{quoted(partial.name)} {partial.storage}" for partial in self.rollup.partials)
        names = ", ".join(quoted(column) for column in self.rollup.by)
        db.execute(
            f"CREATE TABLE {quoted(self.tables[0])}({_key_columns(self.rollup)}, _tile INTEGER NOT NULL, {partials},"
            f" PRIMARY KEY({names}, _tile)) WITHOUT ROWID"
        )
        for side in self._sides:
            side.create(db)

    def write(self, db: apsw.Connection, groups: Groups) -> None:
        width, folds = self.level.width, self._folds
        db.executemany(
            self._tiles_upsert,
            ((*key, number * width, *[fold(rows) for fold in folds]) for (key, number), rows in groups.items()),
        )
        for side in self._sides:
            side.write(db, groups)

    def drop(self, db: apsw.Connection, keys: Iterable[Key], now: int) -> int:
        edge = now - self.level.longest - self.rollup.lateness - self.level.width
        where = " AND ".join(f"{quoted(column)} = ?" for column in self.rollup.by)
        before = db.total_changes()
        for table in self.tables:
            db.executemany(f"DELETE FROM {quoted(table)} WHERE {where} AND _tile < ?", ((*key, edge) for key in keys))
        return db.total_changes() - before


class _SideWriter:
    """Writes one side table: how often each value (or sketch bin) came in each tile."""

    def __init__(self, rollup: Rollup, level: Level, side: Side) -> None:
        self.rollup = rollup
        self.side = side
        self.width = level.width
        self.table = rollup.side_table(level, side)
        self.position = rollup.events.position(side.column)
        marks = ", ".join("?" * (len(rollup.by) + 3))
        self._upsert = (
            f"INSERT INTO {quoted(self.table)} VALUES ({marks}) ON CONFLICT DO UPDATE SET _n = _n + excluded._n"
        )

    def create(self, db: apsw.Connection) -> None:
        names = ", ".join(quoted(column) for column in self.rollup.by)
        db.execute(
            f"CREATE TABLE {quoted(self.table)}({_key_columns(self.rollup)}, _tile INTEGER NOT NULL,"
            f" _value {self.side.storage} NOT NULL, _n INTEGER NOT NULL, PRIMARY KEY({names}, _tile, _value))"
            " WITHOUT ROWID"
        )

    def write(self, db: apsw.Connection, groups: Groups) -> None:
        at, bucket = self.position, self.side.bucket
        counts: dict[tuple[Stored, ...], int] = {}
        for (key, number), rows in groups.items():
            for row in rows:
                if row[at] is not None:
                    place = (*key, number * self.width, bucket(row[at]))
                    counts[place] = counts.get(place, 0) + 1
        db.executemany(self._upsert, ((*place, n) for place, n in counts.items()))


def _key_getter(positions: list[int]) -> Callable[[Row], Key]:
    if len(positions) == 1:
        at = positions[0]
        return lambda row: (row[at],)
    return cast(Callable[[Row], Key], operator.itemgetter(*positions))


def _key_columns(rollup: Rollup) -> str:
    columns = (rollup.events.column(name) for name in rollup.by)
    return ", ".join(f"{quoted(column.name)} {column.type.storage} NOT NULL" for column in columns)


def _keys_upsert(rollup: Rollup) -> str:
    marks = ", ".join("?" * (len(rollup.by) + 2))
    return (
        f"INSERT INTO {quoted(rollup.keys_table)} VALUES ({marks}) ON CONFLICT DO UPDATE SET"
        " _source_ts = max(_source_ts, excluded._source_ts), _txn = excluded._txn"
    )


def _tiles_upsert(rollup: Rollup, level: Level) -> str:
    partials: tuple[Partial, ...] = rollup.partials
    marks = ", ".join("?" * (len(rollup.by) + 1 + len(partials)))
    merge = ", ".join(f"{quoted(partial.name)} = {partial.merge}" for partial in partials)
    return f"INSERT INTO {quoted(rollup.tiles_table(level))} VALUES ({marks}) ON CONFLICT DO UPDATE SET {merge}"
