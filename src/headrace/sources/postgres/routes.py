"""Routes: from a relation of the stream to the declared tables that it feeds, and from its rows to payloads."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from headrace.core.changes import BadBytes, Keys, Partial, Payload, Tuples
from headrace.core.events import Event, Problem
from headrace.core.schema import to_json
from headrace.sources.postgres.messages import UNCHANGED, Cell, Cells, Delete, Relation, Update
from headrace.sources.postgres.tables import ServerTable, quoted
from headrace.sources.postgres.types import Types
from headrace.sources.postgres.values import Conversion

log = logging.getLogger("headrace.source")

Project = Callable[[Cells], Cells]
AskTypes = Callable[[list[int]], Sequence[Sequence[Any]]]


@dataclass(frozen=True, slots=True)
class Part:
    """Some columns of a relation: how they are taken out of a row, and converted."""

    project: Project
    conversion: Conversion

    def rows(self, rows: Sequence[Cells]) -> list[tuple[Any, ...]]:
        """The values of these columns."""
        return self.conversion.rows([self.project(row) for row in rows])

    def records(self, rows: Sequence[Cells]) -> list[dict[str, Any]]:
        """The same as mappings."""
        names = self.conversion.names
        return [dict(zip(names, row, strict=True)) for row in self.rows(rows)]


class Route:
    """One relation, as it is now, and one table that it feeds."""

    def __init__(self, relation: Relation, table: ServerTable, types: Types) -> None:
        self.relation = relation
        self.table = table
        columns = relation.columns
        wanted = {column.name: column.type for column in table.schema.columns}
        here = {column.name: i for i, column in enumerate(columns)}

        def part(chosen: list[int]) -> Part:
            given = [(columns[i].name, columns[i].type) for i in chosen]
            return Part(_project(chosen, len(columns)), Conversion(types, given, wanted))

        self.row = part([i for i, c in enumerate(columns) if table.extra or c.name in wanted])
        # A key column that was dropped is missing from the keys, and the contract says so.
        self._key = [here[name] for name in table.schema.key if name in here]
        self.key = part(self._key)

    def moved(self, old: Cells, new: Cells) -> bool:
        """Whether an update changed the key."""
        return any(old[i] != new[i] for i in self._key)


def _project(chosen: list[int], width: int) -> Project:
    if chosen == list(range(width)):
        return lambda row: row
    if len(chosen) > 1:
        return itemgetter(*chosen)
    return lambda row: tuple(row[i] for i in chosen)


class Routes:
    """The routes of all relations that were heard of. A copy of it is what one transaction starts from."""

    def __init__(
        self,
        tables: Sequence[ServerTable],
        ask: AskTypes,
        *,
        types: Types | None = None,
        tell: Callable[[Event], None] | None = None,
    ) -> None:
        self._tables = tables
        self._ask = ask
        self._tell = tell
        self.types = types or Types()
        self._made: dict[Relation, tuple[Route, ...]] = {}
        self._by_oid: dict[int, tuple[Route, ...]] = {}

    def copy(self) -> Routes:
        """The same routes; what one of both learns, the other does not."""
        made = Routes(self._tables, self._ask, types=self.types, tell=self._tell)
        made._made = self._made
        made._by_oid = dict(self._by_oid)
        return made

    def learn(self, relation: Relation) -> None:
        """A relation is as it says from here on."""
        same = relation._replace(xid=0)
        found = self._made.get(same)
        if found is None:
            tables = [table for table in self._tables if table.oid == relation.oid]
            missing = self.types.missing([column.type for column in relation.columns]) if tables else []
            if missing:
                self.types.add(self._ask(missing))
            found = self._made[same] = tuple(Route(same, table, self.types) for table in tables)
            self._notice(found)
        self._by_oid[relation.oid] = found

    def _notice(self, routes: Sequence[Route]) -> None:
        """Tell people what is new about a relation."""
        for route in routes:
            for carried in route.row.conversion.carried:
                log.warning("%s: %s", route.table.name, carried.message)
            now, then = route.relation, route.table
            if (now.namespace, now.name) != (then.namespace, then.relation) and self._tell is not None:
                message = f"{then.sql} is now called {quoted(now.namespace)}.{quoted(now.name)}; it is still followed"
                hint = f'declare it with table="{now.namespace}.{now.name}" before the next start'
                self._tell(Problem(f"source:{then.name}", "table_renamed", message, hint))

    def of(self, oid: int) -> tuple[Route, ...]:
        """The routes of a relation; none when nobody declared it."""
        return self._by_oid.get(oid, ())


def filled(update: Update) -> Update:
    """An update whose unchanged values are taken from the old row, as far as that has them."""
    if not update.has_unchanged or update.old is None:
        return update
    # Of a key ("K") only the identity's cells were sent; there a NULL says nothing. Of a whole row it does.
    whole = update.old_kind == "O"
    cells = tuple(
        old if new is UNCHANGED and (whole or old is not None) else new
        for old, new in zip(update.old, update.new, strict=True)
    )
    return update._replace(new=cells, has_unchanged=any(cell is UNCHANGED for cell in cells))


def appended(route: Route, change: Update | Delete | None) -> BadBytes:
    """What an append-only table is given instead of a change that cannot be appended; None is TRUNCATE."""
    found: Mapping[str, Any]
    if change is None:
        found = {"op": "truncate"}
    elif isinstance(change, Update):
        found = {"op": "update", "record": route.row.conversion.record(route.row.project(change.new))}
    else:
        known: Cells = tuple(_known(cell, column.is_identity or change.old_kind == "O")
                             for cell, column in zip(change.old, route.relation.columns, strict=True))  # fmt: skip
        found = {"op": "delete", "record": route.row.conversion.record(route.row.project(known))}
    return BadBytes(
        to_json(found).encode(),
        f"{route.table.name} is append-only, and its rows at the server were changed: {found['op']}",
        rule="append_only",
    )


def _known(cell: Cell, sent: bool) -> Cell:
    return cell if sent else UNCHANGED


def payload(route: Route, kind: str, rows: list[Any]) -> Payload:
    """Rows of one kind as a payload; of the partial ones, each with the old row whose key it had."""
    if kind == "rows":
        return Tuples(route.row.conversion.names, route.row.rows(rows))
    if kind == "partial":
        record, project = route.row.conversion.record, route.row.project
        was = [None if old is None else route.key.records([old])[0] for _, old in rows]
        return Partial([record(project(new)) for new, _ in rows], was if any(was) else None)
    return Keys(route.key.records(rows))
