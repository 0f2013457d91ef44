"""The audit: a random sample of what is kept, computed in full from the base rows, and every difference reported.

Views kept by groups are computed from their tables, tiles from the raw events where those are kept, in one snapshot.
The sample is drawn from what is kept (is it right?) and from the base rows (is it there?).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import apsw

from headrace.core.schema import Row, Stored
from headrace.views.aggregates import Side
from headrace.views.catalog import Catalog
from headrace.views.definitions import fetch, quoted
from headrace.views.groups import AffectedGroups
from headrace.views.rollup import Level, Rollup


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as a full computation says.

    Attributes
    ----------
    name
        The view or rollup.
    key
        The group, or the rollup's key and the tile's start (microseconds).
    kept, computed
        The rows; None: there is none.
    """

    name: str
    key: Row
    kept: tuple[Any, ...] | None
    computed: tuple[Any, ...] | None

    def __str__(self) -> str:
        return f"{self.name} {self.key}: kept {self.kept}, computed in full {self.computed}"


@dataclass(frozen=True, slots=True)
class Audit:
    """How much was compared, and what differed.

    `unchecked` holds the rollups whose events are not kept, so that nothing can be compared.
    """

    checked: dict[str, int]
    differences: list[Difference]
    unchecked: tuple[str, ...] = ()


def audit(db: apsw.Connection, catalog: Catalog, rng: Random, *, now: int, sample: int = 50) -> Audit:
    """Compare a random sample of every kept view and rollup.

    Parameters
    ----------
    db
        Any connection to the store; the whole audit reads one snapshot.
    now
        Tells which raw events are certainly still kept (microseconds).
    sample
        Groups and tiles to compare, for each view and each level of a rollup; about half are drawn from what is kept
        and half from the base rows.
    """
    checked: dict[str, int] = {}
    differences: list[Difference] = []
    unchecked: list[str] = []
    with db:  # a savepoint: one snapshot
        for relation in catalog.relations:
            if relation.view is not None and relation.view.maintainer is not None:
                found = list(_groups(db, relation.view.maintainer, rng, sample))
            elif relation.rollup is not None and relation.rollup.events.keep is not None:
                found = list(_tiles(db, relation.rollup, rng, now, sample))
            else:
                if relation.rollup is not None:
                    unchecked.append(relation.name)
                continue
            checked[relation.name] = len(found)
            differences += [difference for difference in found if not _equal(difference.kept, difference.computed)]
    return Audit(checked, differences, tuple(unchecked))


def _equal(kept: tuple[Any, ...] | None, computed: tuple[Any, ...] | None) -> bool:
    if kept is None or computed is None:
        return kept is computed
    return all(_same(a, b) for a, b in zip(kept, computed, strict=True))


def _same(kept: Any, computed: Any) -> bool:
    if isinstance(kept, float) and isinstance(computed, float):
        # sums of floats depend on the order of their terms in the last digits
        return math.isclose(kept, computed, rel_tol=1e-9, abs_tol=1e-6) or kept == computed
    return bool(kept == computed) and type(kept) is type(computed)


def _pick(db: apsw.Connection, rng: Random, columns: str, source: str, number: int, bindings: Row = ()) -> set[Row]:
    """Up to `number` random rows of a table, by their place in it."""
    total = _whole(fetch(db, f"SELECT count(*) FROM {source}", bindings)[0][0])
    places = rng.sample(range(total), min(number, total))
    query = f"SELECT {columns} FROM {source} LIMIT 1 OFFSET ?"
    return {row for place in places for row in fetch(db, query, (*bindings, place))}


# -- groups


def _groups(db: apsw.Connection, kept: AffectedGroups, rng: Random, sample: int) -> Iterator[Difference]:
    names = ", ".join(quoted(key.name) for key in kept.keys)
    half = max(sample // 2, 1)
    groups = _pick(db, rng, names, quoted(kept.name), half)
    groups |= _pick(db, rng, ", ".join(f"k{i}" for i in range(len(kept.keys))), f"({kept.keys_of_rows()})", half)
    where = " AND ".join(f"{quoted(key.name)} IS ?" for key in kept.keys)
    for group in sorted(groups, key=repr):
        rows = db.execute(f"SELECT * FROM {quoted(kept.name)} WHERE {where}", group).fetchall()
        computed = db.execute(kept.one(), group).fetchone()
        if len(rows) > 1:
            yield Difference(kept.name, group, tuple(rows), computed)
        else:
            yield Difference(kept.name, group, rows[0] if rows else None, computed)


# -- tiles


def _tiles(db: apsw.Connection, rollup: Rollup, rng: Random, now: int, sample: int) -> Iterator[Difference]:
    # Older raw events may be gone (retention), and older tiles too.
    horizon = now - min(rollup.events.keep or 0, rollup.retention)
    for level in rollup.levels:
        start = max(horizon, now - level.longest)
        for key, tile in sorted(_places(db, rollup, level, rng, start, sample), key=repr):
            events = _events(db, rollup, level, key, tile)
            place = (*key, tile)
            yield Difference(rollup.name, place, _stored_tile(db, rollup, level, place), _fold(rollup, events))
            for side in rollup.sides:
                yield Difference(
                    rollup.name, place, _stored_side(db, rollup, level, side, place), _count(rollup, side, events)
                )


def _places(
    db: apsw.Connection, rollup: Rollup, level: Level, rng: Random, start: int, sample: int
) -> set[tuple[Row, int]]:
    names = ", ".join(map(quoted, rollup.by))
    half, width = max(sample // 2, 1), level.width
    kept = _pick(db, rng, f"{names}, _tile", f"{quoted(rollup.tiles_table(level))} WHERE _tile >= ?", half, (start,))
    time = quoted(rollup.events.event_time or "")
    present = " AND ".join(f"{quoted(column)} IS NOT NULL" for column in rollup.by)
    source = f"{quoted(rollup.events.name)} WHERE {time} >= ? AND {present}"
    raw = _pick(db, rng, f"{names}, {time}", source, half, (start,))
    places = {(row[:-1], _whole(row[-1])) for row in kept}
    return places | {(row[:-1], tile) for row in raw if (tile := _whole(row[-1]) // width * width) >= start}


def _whole(value: Stored) -> int:
    return int(value or 0)


def _events(db: apsw.Connection, rollup: Rollup, level: Level, key: Row, tile: int) -> list[Row]:
    events = rollup.events
    time = quoted(events.event_time or "")
    names = ", ".join(map(quoted, events.names))
    where = " AND ".join(f"{quoted(column)} = ?" for column in rollup.by)
    query = f"SELECT {names} FROM {quoted(events.name)} WHERE {time} >= ? AND {time} < ? AND {where} ORDER BY _seq"
    return [tuple(row) for row in db.execute(query, (tile, tile + level.width, *key))]


def _stored_tile(db: apsw.Connection, rollup: Rollup, level: Level, place: Row) -> tuple[Any, ...] | None:
    names = ", ".join(quoted(partial.name) for partial in rollup.partials)
    where = " AND ".join(f"{quoted(column)} = ?" for column in (*rollup.by, "_tile"))
    row = db.execute(f"SELECT {names} FROM {quoted(rollup.tiles_table(level))} WHERE {where}", place).fetchone()
    return None if row is None else tuple(row)


def _stored_side(db: apsw.Connection, rollup: Rollup, level: Level, side: Side, place: Row) -> tuple[Any, ...]:
    where = " AND ".join(f"{quoted(column)} = ?" for column in (*rollup.by, "_tile"))
    table = quoted(rollup.side_table(level, side))
    rows = db.execute(f"SELECT _value, _n FROM {table} WHERE {where} ORDER BY _value", place).fetchall()
    return (tuple(rows),)


def _fold(rollup: Rollup, events: list[Row]) -> tuple[Any, ...] | None:
    return tuple(partial.fold(events) for partial in rollup.partials) if events else None


def _count(rollup: Rollup, side: Side, events: list[Row]) -> tuple[Any, ...]:
    at = rollup.events.position(side.column)
    counts = Counter(side.bucket(row[at]) for row in events if row[at] is not None)
    return (tuple(sorted(counts.items())),)
