"""Keeping the tiles of a rollup in step with its events, inside the store's transaction.

A batch is grouped in Python by key and tile, then all touched tiles are upserted at once. Nothing is remembered
between two calls, so that a transaction that is rolled back leaves nothing behind.
"""

from __future__ import annotations

import math
import operator
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, cast

import apsw

from headrace.core.durations import format_duration
from headrace.core.errors import MigrationRefused
from headrace.core.schema import Row, Stored
from headrace.store import bulk
from headrace.store.base import Delta
from headrace.views.aggregates import Partial, Side, cells
from headrace.views.definitions import drop_tables, fetch, quoted, remember, stored_definition, stored_tables
from headrace.views.rollup import Level, Rollup

Key = tuple[Stored, ...]
Place = tuple[Any, ...]
"""A key and the number of a tile."""

_CHUNK = 20_000


class RollupMaintainer:
    """Folds events into tiles; a `store.base.Maintainer`."""

    def __init__(self, rollup: Rollup) -> None:
        self.rollup = rollup
        self._at = rollup.events.position(rollup.events.event_time or "")
        self._key = [rollup.events.position(column) for column in rollup.by]
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
            When the definition changed and raw events of the longest window are not kept any more.
        """
        stored = stored_definition(db, self.name)
        if stored == self.rollup.definition:
            return
        with db:
            if stored is not None:
                self._check_rebuild(db)
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
        forget = f"DELETE FROM {quoted(self.rollup.keys_table)} WHERE {_given_keys(self.rollup)}"
        bulk.run(db, forget, silent)
        return dropped + len(silent)

    def _widths(self) -> list[int]:
        return [level.width for level in self.rollup.levels]

    def _check_rebuild(self, db: apsw.Connection) -> None:
        events = self.rollup.events
        longest = max(level.longest for level in self.rollup.levels)
        if events.keep is None:
            kept = "are not kept"
        elif events.keep < longest:
            kept = f"are kept for {format_duration(events.keep)} only"
        elif self._events_gone(db):
            kept = "are partly gone"
        else:
            return
        raise MigrationRefused(
            f"the rollup {self.name!r} has changed, and the events of {events.name!r} to compute it again {kept}",
            hint="take the change back, or give the rollup a new name (it then begins with the events that are there);"
            f' with keep="{format_duration(longest)}" or more the events suffice for later changes',
        )

    def _events_gone(self, db: apsw.Connection) -> bool:
        """Whether the stored tiles count more events in the longest window than are kept.

        How long events are kept now says nothing of how long they were kept: so they are counted.
        """
        events = self.rollup.events
        longest = max(level.longest for level in self.rollup.levels)
        for table in stored_tables(db, self.name):
            if "__tiles_" not in table:
                continue
            within = f"FROM {quoted(table)} WHERE _tile >= (SELECT max(_tile) FROM {quoted(table)}) - {longest}"
            ((first, counted),) = fetch(db, f"SELECT min(_tile), total(_n) {within}")
            time = quoted(events.event_time or "")
            ((kept,),) = fetch(db, f"SELECT count(*) FROM {quoted(events.name)} WHERE {time} >= ?", (first,))
            if cast(float, counted) > cast(int, kept):
                return True
        return False

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
        if self._nullable:
            rows = [row for row in rows if not any(row[at] is None for at in self._key)]
        if not rows:
            return
        events = _Events(rows, self._key, self._at)
        bulk.run(db, self._keys_upsert, events.latest(), txn=txn)
        for level in self._levels:
            level.write(db, events)


class _Events:
    """A batch by columns. An event takes 0.4 microseconds here for a count and a sum: it is worth to spare loops.

    Keys are those of the rollup, `at` is the event time.
    """

    def __init__(self, rows: Sequence[Row], key: Sequence[int], at: int) -> None:
        self.rows = rows
        self.keys = [self.column(position) for position in key]
        self.at: list[Any] = self.column(at)

    def column(self, position: int) -> list[Any]:
        return list(map(operator.itemgetter(position), self.rows))

    def latest(self) -> list[Row]:
        """Each key with the latest time of its events."""
        newest: dict[Key, int] = {}
        get = newest.get
        for key, at in zip(zip(*self.keys, strict=True), self.at, strict=True):
            if at > get(key, _BEFORE_ALL):
                newest[key] = at
        return sorted((*key, at) for key, at in newest.items())  # pyright: ignore

    def places(self, width: int) -> Iterator[Place]:
        """The key and the number of the tile of each event."""
        return zip(*self.keys, [at // width for at in self.at], strict=False)

    def grouped(self, width: int, positions: tuple[int, ...]) -> dict[Place, list[Any]]:
        """The cells at `positions` by key and tile, in order of arrival."""
        groups: defaultdict[Place, list[Any]] = defaultdict(list)
        for place, cell in zip(self.places(width), cells(self.rows, positions), strict=True):
            groups[place].append(cell)
        return groups


class _LevelWriter:
    """Writes the tiles and side tables of one level."""

    def __init__(self, rollup: Rollup, level: Level) -> None:
        self.rollup = rollup
        self.level = level
        self.tables = [rollup.tiles_table(level), *(rollup.side_table(level, side) for side in rollup.sides)]
        self._upsert = _tiles_upsert(rollup, level)
        self._sides = [_SideWriter(rollup, level, side) for side in rollup.sides]
        self._drops = [
            f"DELETE FROM {quoted(table)} WHERE {_given_keys(rollup)} AND _tile < :edge" for table in self.tables
        ]
        # Cells that several partials are made of are grouped once; to count, those of any other partial do.
        positions = dict.fromkeys(partial.positions for partial in rollup.partials)
        self._groupings = [p for p in positions if p] or [()]

    def create(self, db: apsw.Connection) -> None:
        partials = ", ".join(f"{quoted(partial.name)} {partial.storage}" for partial in self.rollup.partials)
        names = ", ".join(quoted(column) for column in self.rollup.by)
        db.execute(
            f"CREATE TABLE {quoted(self.tables[0])}({_key_columns(self.rollup)}, _tile INTEGER NOT NULL, {partials},"
            f" PRIMARY KEY({names}, _tile)) WITHOUT ROWID"
        )
        for side in self._sides:
            side.create(db)

    def write(self, db: apsw.Connection, events: _Events) -> None:
        if self.rollup.partials:
            bulk.run(db, self._upsert, self._fold(events), width=self.level.width)
        for side in self._sides:
            side.write(db, events)

    def _fold(self, events: _Events) -> list[Row]:
        """Rows of the tiles table, but for the number of the tile instead of its start, in the table's order."""
        groups = {positions: events.grouped(self.level.width, positions) for positions in self._groupings}
        any_group = groups[self._groupings[0]]
        folded: list[Iterable[Stored]] = []
        for partial in self.rollup.partials:
            found = map(partial.combine, groups.get(partial.positions, any_group).values())
            carry = _CARRIED.get(partial.storage)
            folded.append(found if carry is None else map(carry, found))
        rows = zip(any_group, *folded, strict=True)
        return sorted((*place, *values) for place, *values in rows)  # pyright: ignore

    def drop(self, db: apsw.Connection, keys: Sequence[Key], now: int) -> int:
        edge = now - self.level.longest - self.rollup.lateness - self.level.width
        return sum(bulk.run(db, drop, keys, edge=edge) for drop in self._drops)


class _SideWriter:
    """Writes one side table: how often each value (or sketch bin) came in each tile."""

    def __init__(self, rollup: Rollup, level: Level, side: Side) -> None:
        self.rollup = rollup
        self.side = side
        self.width = level.width
        self.table = rollup.side_table(level, side)
        self.position = rollup.events.position(side.column)
        keys = len(rollup.by)
        values = [*_key_sources(rollup), f"(value->>{keys}) * :width", f"value->>{keys + 1}", f"value->>{keys + 2}"]
        self._upsert = (
            f"INSERT OR FAIL INTO {quoted(self.table)} SELECT {', '.join(values)} {bulk.FROM_ROWS} WHERE true"
            " ON CONFLICT DO UPDATE SET _n = _n + excluded._n"
        )

    def create(self, db: apsw.Connection) -> None:
        names = ", ".join(quoted(column) for column in self.rollup.by)
        db.execute(
            f"CREATE TABLE {quoted(self.table)}({_key_columns(self.rollup)}, _tile INTEGER NOT NULL,"
            f" _value {self.side.storage} NOT NULL, _n INTEGER NOT NULL, PRIMARY KEY({names}, _tile, _value))"
            " WITHOUT ROWID"
        )

    def write(self, db: apsw.Connection, events: _Events) -> None:
        bucket = self.side.bucket
        found = zip(events.places(self.width), events.column(self.position), strict=True)
        counts = Counter((*place, bucket(cell)) for place, cell in found if cell is not None)
        rows = sorted((*place, n) for place, n in counts.items())
        bulk.run(db, self._upsert, rows, width=self.width)


def _real(value: Any) -> Any:
    """JSON has no infinity; SQLite reads this text as one."""
    return value if value is None or math.isfinite(value) else "9e999" if value > 0 else "-9e999"


def _blob(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value


_BEFORE_ALL = -(1 << 63)
_CARRIED: dict[str, Callable[[Any], Any]] = {"REAL": _real, "BLOB": _blob}
"""What JSON cannot carry as it is, by the storage of its column."""


def _key_sources(rollup: Rollup) -> list[str]:
    return bulk.source(len(rollup.by))


def _given_keys(rollup: Rollup) -> str:
    """The condition that a row's key is among those that are passed."""
    names = ", ".join(quoted(column) for column in rollup.by)
    return f"({names}) IN (SELECT {', '.join(_key_sources(rollup))} {bulk.FROM_ROWS})"


def _key_columns(rollup: Rollup) -> str:
    columns = (rollup.events.column(name) for name in rollup.by)
    return ", ".join(f"{quoted(column.name)} {column.type.storage} NOT NULL" for column in columns)


def _keys_upsert(rollup: Rollup) -> str:
    values = [*_key_sources(rollup), f"value->>{len(rollup.by)}", ":txn"]
    return (
        f"INSERT OR FAIL INTO {quoted(rollup.keys_table)} SELECT {', '.join(values)} {bulk.FROM_ROWS} WHERE true"
        " ON CONFLICT DO UPDATE SET _source_ts = max(_source_ts, excluded._source_ts), _txn = excluded._txn"
    )


def _tiles_upsert(rollup: Rollup, level: Level) -> str:
    keys = len(rollup.by)
    values = [*_key_sources(rollup), f"(value->>{keys}) * :width"]
    values += [_partial_source(partial, keys + 1 + i) for i, partial in enumerate(rollup.partials)]
    merge = ", ".join(f"{quoted(partial.name)} = {partial.merge}" for partial in rollup.partials)
    # OR FAIL: the whole transaction is rolled back on a failure, so SQLite need not be able to undo one statement.
    return (
        f"INSERT OR FAIL INTO {quoted(rollup.tiles_table(level))} SELECT {', '.join(values)} {bulk.FROM_ROWS}"
        f" WHERE true ON CONFLICT DO UPDATE SET {merge}"
    )


def _partial_source(partial: Partial, position: int) -> str:
    forms = {"REAL": f"CAST(value->>{position} AS REAL)", "BLOB": f"unhex(value->>{position})"}
    return forms.get(partial.storage, f"value->>{position}")
