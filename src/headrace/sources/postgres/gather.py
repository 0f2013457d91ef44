"""Gathering: the changes of one or of many whole transactions, by table, as the batches that carry them away."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from headrace.core.changes import BadBytes, Batch, Payload
from headrace.core.clock import ClockOffset
from headrace.sources.postgres.lsn import Lsn, format_lsn
from headrace.sources.postgres.messages import Delete, Insert, Message, Relation, Truncate, Update
from headrace.sources.postgres.position import Standing
from headrace.sources.postgres.routes import Route, Routes, appended, filled, payload

MOST_ROWS = 10_000
"""Rows in one batch, about."""


@dataclass(slots=True)
class _Run:
    """Changes of one kind that follow one another in a table."""

    route: Route
    kind: str
    rows: list[Any] = field(default_factory=list[Any])


class Gathering:
    """Takes decoded changes in, gives batches out. Tables are apart: their order among each other is not seen, because
    all of it becomes visible at once.

    Attributes
    ----------
    rows
        How many changes were taken in since the last `batches`.
    """

    def __init__(self, routes: Routes, standing: Standing) -> None:
        self.routes = routes
        self.rows = 0
        self._standing = standing
        self._runs: dict[str, list[_Run]] = {}

    def add(self, message: Message, end: Lsn) -> None:
        """A change of a transaction that ends at `end`."""
        if isinstance(message, Insert):
            for route in self.routes.of(message.relation):
                if end > self._standing.after(route.table.name):
                    self._run(route, "rows").append(message.new)
        elif isinstance(message, Relation):
            self.routes.learn(message)
        elif isinstance(message, Update | Delete):
            changed = filled(message) if isinstance(message, Update) else message
            for route in self.routes.of(message.relation):
                if end > self._standing.after(route.table.name):
                    self._change(route, changed)
        elif isinstance(message, Truncate):
            for oid in message.relations:
                for route in self.routes.of(oid):
                    if end > self._standing.after(route.table.name):
                        self._truncate(route)

    def _change(self, route: Route, change: Update | Delete) -> None:
        if route.table.is_events:
            self._run(route, "bad").append(appended(route, change))
        elif isinstance(change, Delete):
            self._run(route, "keys").append(change.old)
        else:
            moved = change.old if change.old is not None and route.moved(change.old, change.new) else None
            if change.has_unchanged:  # what did not change stands in the row of the key that it had
                self._run(route, "partial").append((change.new, moved))
                return
            if moved is not None:
                self._run(route, "keys").append(moved)
            self._run(route, "rows").append(change.new)

    def _truncate(self, route: Route) -> None:
        if route.table.is_events:
            self._run(route, "bad").append(appended(route, None))
        else:
            # What came before it in this group is gone with it.
            self._runs[route.table.name] = [_Run(route, "truncate")]
            self.rows += 1

    def _run(self, route: Route, kind: str) -> list[Any]:
        self.rows += 1
        runs = self._runs.setdefault(route.table.name, [])
        if not runs or runs[-1].kind != kind or runs[-1].route is not route:
            runs.append(_Run(route, kind))
        return runs[-1].rows

    def batches(self, source_ts: int | None, origin: str) -> list[Batch]:
        """What was taken in, each batch with `more`; `closed` ends the last one. Empties this."""
        runs, self._runs, self.rows = self._runs, {}, 0
        return [
            Batch(
                payloads, table=name, source_ts=source_ts, origin=origin, snapshot="only" if empty else None, more=True
            )
            for name, table in runs.items()
            for payloads, empty in _pieces(table)
        ]


def _pieces(runs: list[_Run]) -> Iterator[tuple[list[Payload], bool]]:
    """The payloads of each batch of one table, and whether it empties the table instead."""
    payloads: list[Payload] = []
    rows = 0
    for run in runs:
        if run.kind == "truncate":
            yield [], True
            continue
        for start in range(0, len(run.rows), MOST_ROWS):
            piece = run.rows[start : start + MOST_ROWS]
            payloads += _bad(piece) if run.kind == "bad" else [payload(run.route, run.kind, piece)]
            rows += len(piece)
            if rows >= MOST_ROWS:
                yield payloads, False
                payloads, rows = [], 0
    if payloads:
        yield payloads, False


def _bad(rows: list[BadBytes]) -> list[Payload]:
    return list(rows)


def closed(batches: list[Batch], standing: Standing, frontier: int | None, clock: ClockOffset | None) -> list[Batch]:
    """The batches of a whole group: the last one has its position, and ends what `more` began."""
    last = batches[-1] if batches else Batch((), origin=format_lsn(standing.lsn))
    return [*batches[:-1], replace(last, more=False, position=standing.text, frontier=frontier, clock=clock)]
