"""Views that no change can keep up to date piece by piece: computed in full every so often, with an honest as-of.

The answer is computed in one snapshot (`read`, on any connection), then put in the place of the old one in the writer's
transaction (`write`): a reader sees the old answer or the new one. Its as-of is what the inputs' as-of was when the
snapshot was opened.
"""

from __future__ import annotations

from collections.abc import Sequence

import apsw

from headrace.core.schema import Column, Row
from headrace.views.definitions import (
    drop_tables,
    fetch,
    get_as_of,
    insert_all,
    quoted,
    remember,
    set_as_of,
    stored_definition,
)


class Refresher:
    """Recomputes one view into the table of its name.

    Attributes
    ----------
    every
        The period, microseconds.
    needs_now
        Whether the query binds `:_now`.
    """

    def __init__(
        self, name: str, definition: str, query: str, columns: tuple[Column, ...], *, every: int, needs_now: bool
    ) -> None:
        self.name = name
        self.definition = definition
        self.query = query
        self.columns = columns
        self.every = every
        self.needs_now = needs_now

    def setup(self, db: apsw.Connection) -> None:
        """Create the table; it is empty, with an as-of that nobody knows, until the first refresh."""
        if stored_definition(db, self.name) == self.definition:
            return
        with db:
            drop_tables(db, self.name)
            columns = ", ".join(f"{quoted(column.name)} {column.type.storage}" for column in self.columns)
            db.execute(
                f"CREATE TABLE {quoted(self.name)}(_rank INTEGER PRIMARY KEY, {columns}, _source_ts INTEGER,"
                " _txn INTEGER)"
            )
            remember(db, self.name, self.definition, (self.name,))

    def read(self, db: apsw.Connection, *, now: int) -> list[Row]:
        """The answer as of the snapshot that `db` reads, computed at `now`."""
        return fetch(db, self.query, {"_now": now} if self.needs_now else {})

    def write(self, db: apsw.Connection, rows: Sequence[Row], *, as_of: int | None) -> bool:
        """Put the answer in place, within the writer's transaction; whether it differs from the one before."""
        changed = list(rows) != self.stored(db)
        if changed:
            db.execute(f"DELETE FROM {quoted(self.name)}")
            insert_all(db, quoted(self.name), [(rank, *row) for rank, row in enumerate(rows)])
        set_as_of(db, self.name, as_of)
        return changed

    def run(self, db: apsw.Connection, *, now: int, as_of: int | None) -> bool:
        """Refresh on one connection, within its transaction.

        Parameters
        ----------
        now
            The instant at which windows and CURRENT_TIMESTAMP are read (microseconds).
        as_of
            The minimum of the inputs' as-of when this transaction began to read; None: nobody knows.
        """
        return self.write(db, self.read(db, now=now), as_of=as_of)

    def stored(self, db: apsw.Connection) -> list[Row]:
        """The rows in place, with `_source_ts` and `_txn` at the end."""
        names = ", ".join(quoted(column.name) for column in self.columns)
        return fetch(db, f"SELECT {names}, _source_ts, _txn FROM {quoted(self.name)} ORDER BY _rank")

    def as_of(self, db: apsw.Connection) -> int | None:
        """As of when the stored answer is complete (microseconds)."""
        return get_as_of(db, self.name)
