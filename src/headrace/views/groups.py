"""GROUP BY views kept by affected groups: a changed row tells which groups it is in, and those are computed again.

The groups that a row was in are asked before the change, those that it is in now after it; at the end of the
transaction each of them is deleted and computed in full, once. So the result is right by construction,
whatever the aggregate,
and a hot group costs as many rows as it has.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import apsw

from headrace.core.schema import ColumnType, Schema, Stored
from headrace.store import bulk
from headrace.store.base import Delta
from headrace.store.statements import blobs
from headrace.views.definitions import drop_tables, insert_all, quoted, remember, stored_definition
from headrace.views.query import Block

Group = tuple[Stored, ...]


@dataclass(frozen=True, slots=True)
class GroupColumn:
    """A column of the materialised table."""

    name: str
    type: ColumnType
    sql: str
    nullable: bool


@dataclass(frozen=True, slots=True)
class Probe:
    """How a change of one relation of the FROM tells its groups.

    Attributes
    ----------
    table
        The changed table.
    query
        SQL that finds the groups of the rows whose keys are passed (see `store.bulk`).
    direct
        Where the group's columns stand in a row of the table, when they are all there.
    """

    table: str
    query: str
    direct: tuple[int, ...] | None


class AffectedGroups:
    """Keeps a GROUP BY view materialised in the table of its name; a `store.base.Maintainer`.

    Parameters
    ----------
    block
        The compiled SELECT without the conditions that are applied at read.
    keys, columns
        The group's columns, and all columns of the table (the group's among them).
    """

    def __init__(
        self, name: str, definition: str, block: Block, keys: Sequence[GroupColumn], columns: Sequence[GroupColumn]
    ) -> None:
        self._name = name
        self.definition = definition
        self.keys = tuple(keys)
        self.columns = tuple(columns)
        self._nullable = any(key.nullable for key in keys)
        self._block = block
        self.probes = tuple(self._probes(block))
        self._dirty: set[Group] = set()

    @property
    def name(self) -> str:
        """The view's name."""
        return self._name

    @property
    def inputs(self) -> frozenset[str]:
        """The tables that it is made of."""
        return frozenset(probe.table for probe in self.probes)

    def setup(self, db: apsw.Connection) -> None:
        """Create the table, and compute it in full when it is new or its definition changed."""
        kinds = ", ".join(f"k{i} {key.type.storage}" for i, key in enumerate(self.keys))
        db.execute(f"CREATE TEMP TABLE IF NOT EXISTS {self._touched}({kinds})")
        if stored_definition(db, self.name) == self.definition:
            return
        with db:
            drop_tables(db, self.name)
            self._create(db)
            db.execute(self.insert())
            remember(db, self.name, self.definition, (self.name,))

    def before(self, db: apsw.Connection, delta: Delta) -> None:
        """Remember the groups that the changed rows are in so far."""
        for probe in self._of(delta):
            self._dirty.update(_ask(db, probe, delta))

    def after(self, db: apsw.Connection, delta: Delta, *, txn: int) -> None:
        """Remember the groups that the changed rows are in now."""
        for probe in self._of(delta):
            if probe.direct is None:
                self._dirty.update(_ask(db, probe, delta))
            else:
                # a row that an older version kept out names a group in vain: it is computed again, and is the same
                self._dirty.update(tuple(row[i] for i in probe.direct) for row in delta.rows)

    def finish(self, db: apsw.Connection, *, txn: int) -> None:
        """Compute the remembered groups again."""
        if not self._dirty:
            return
        dirty, self._dirty = self._dirty, set()
        self.recompute(db, dirty)

    def discard(self) -> None:
        """The transaction was rolled back: forget its groups. (To compute one in vain would be harmless.)"""
        self._dirty.clear()

    def housekeep(self, db: apsw.Connection, *, now: int, limit: int) -> int:
        """Nothing ages: groups go when their rows go."""
        return 0

    def recompute(self, db: apsw.Connection, groups: Iterable[Group]) -> None:
        """Delete and compute these groups in full."""
        whole = [group for group in groups if not self._nullable or None not in group]
        if whole:
            insert_all(db, f"temp.{self._touched}", whole)
            db.execute(self.delete(self._within([quoted(key.name) for key in self.keys])))
            db.execute(self.insert(self._within([key.sql for key in self.keys])))
            db.execute(f"DELETE FROM temp.{self._touched}")
        if self._nullable:
            partly = [group for group in groups if None in group]
            db.executemany(self.delete(_same([quoted(key.name) for key in self.keys])), partly)
            db.executemany(self.insert(_same([key.sql for key in self.keys])), partly)

    def select(self, restriction: str = "") -> str:
        """SQL that computes the groups from the base tables, in the order of the table's columns."""
        block = self._block
        shown = ", ".join([*(column.sql for column in self.columns), *block.hidden("one").values()])
        conditions = [*block.conditions, *(conjunct.sql for conjunct in block.where)]
        conditions += [restriction] if restriction else []
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        group = ", ".join(key.sql for key in self.keys)
        having = f" HAVING {block.having}" if block.having else ""
        return f"SELECT {shown} FROM {block.source}{where} GROUP BY {group}{having}"

    def insert(self, restriction: str = "") -> str:
        """SQL that adds the computed groups to the table."""
        return f"INSERT INTO {quoted(self.name)} {self.select(restriction)}"

    def delete(self, restriction: str) -> str:
        """SQL that removes groups from the table."""
        return f"DELETE FROM {quoted(self.name)} WHERE {restriction}"

    def one(self) -> str:
        """SQL that computes one group, its columns bound in order."""
        return self.select(_same([key.sql for key in self.keys]))

    def keys_of_rows(self) -> str:
        """SQL of the group, as k0, k1, ..., of each row that goes into the view."""
        shown = ", ".join(f"{key.sql} AS k{i}" for i, key in enumerate(self.keys))
        where = " AND ".join(conjunct.sql for conjunct in self._block.where)
        return f"SELECT {shown} FROM {self._block.source}{f' WHERE {where}' if where else ''}"

    @property
    def _touched(self) -> str:
        return quoted(f"_hr_touched_{self.name}")

    def _within(self, columns: list[str]) -> str:
        left = columns[0] if len(columns) == 1 else f"({', '.join(columns)})"
        return f"{left} IN (SELECT {', '.join(f'k{i}' for i in range(len(columns)))} FROM temp.{self._touched})"

    def _create(self, db: apsw.Connection) -> None:
        columns = ", ".join(f"{quoted(column.name)} {column.type.storage}" for column in self.columns)
        keys = ", ".join(quoted(key.name) for key in self.keys)
        hidden = "_source_ts INTEGER, _txn INTEGER"
        if not self._nullable:
            db.execute(f"CREATE TABLE {quoted(self.name)}({columns}, {hidden}, PRIMARY KEY({keys})) WITHOUT ROWID")
            return
        db.execute(f"CREATE TABLE {quoted(self.name)}({columns}, {hidden})")
        db.execute(f"CREATE INDEX {quoted(f'{self.name}__by_group')} ON {quoted(self.name)}({keys})")

    def _of(self, delta: Delta) -> list[Probe]:
        return [probe for probe in self.probes if probe.table == delta.schema.name]

    def _probes(self, block: Block) -> Iterable[Probe]:
        shown = ", ".join(key.sql for key in self.keys)
        columns = [value.column for value in block.group or ()]
        for source in block.tables:
            schema = source.schema
            if schema is None:  # the plan lets base tables through only
                continue
            at = [f"{quoted(source.alias)}.{quoted(name)} = _given.k{i}" for i, name in enumerate(schema.key)]
            rows = _given(schema)
            direct = None
            if all(column is not None and column[0] == source.alias for column in columns):
                direct = tuple(schema.position(column[1]) for column in columns if column is not None)
                query = f"{rows} SELECT DISTINCT {shown} FROM _given, {source.sql} WHERE {' AND '.join(at)}"
            else:
                # With an outer join a change may move a row that the WHERE takes before and not after (s.x IS NULL), so
                # that neither probe would see it: all rows that the changed one joins are asked.
                outer = any(other.nullable for other in block.tables)
                where = [*([] if outer else [conjunct.sql for conjunct in block.where]), *at]
                query = f"{rows} SELECT DISTINCT {shown} FROM _given, {block.source} WHERE {' AND '.join(where)}"
            yield Probe(schema.name, query, direct)


def _given(schema: Schema) -> str:
    """The keys that are passed, as a table: unpacked once, even where SQLite does not begin with them."""
    columns = ", ".join(f"k{i}" for i in range(len(schema.key)))
    values = ", ".join(bulk.source(len(schema.key), blobs=blobs(schema, schema.key)))
    return f"WITH _given({columns}) AS MATERIALIZED (SELECT {values} {bulk.FROM_ROWS})"


def _ask(db: apsw.Connection, probe: Probe, delta: Delta) -> list[Group]:
    keys = list(dict.fromkeys(delta.keys))
    return bulk.fetch(db, probe.query, bulk.hexed(keys, blobs(delta.schema, delta.schema.key)))


def _same(columns: list[str]) -> str:
    return " AND ".join(f"{column} IS ?" for column in columns)
