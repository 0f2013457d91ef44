"""Where each partition of each table's source stands, as far as it is committed."""

from __future__ import annotations

from collections.abc import Sequence

import apsw

from headrace.core.changes import Position

Positions = dict[tuple[str, str], Position]
"""By table and partition."""


def load(db: apsw.Connection) -> Positions:
    """All stored positions."""
    found = db.execute("SELECT table_name, partition, position FROM _hr_positions WHERE position IS NOT NULL")
    return {(table, partition): position for table, partition, position in found}


def align(db: apsw.Connection, positions: Positions, tables: Sequence[str]) -> None:
    """Forget the positions of `tables` that are not those of the last written one.

    The tables of one stream share its position. One that was not declared for a while has stayed behind, and needs a
    full copy like one that is new.
    """
    for partition in {place for table, place in positions if table in tables}:
        members = [table for table in tables if (table, partition) in positions]
        written = {table: db.execute(_UPDATED, (table, partition)).get or 0 for table in members}
        latest = positions[max(members, key=written.__getitem__), partition]
        for table in members:
            if positions[table, partition] != latest:
                db.execute("DELETE FROM _hr_positions WHERE table_name = ? AND partition = ?", (table, partition))
                del positions[table, partition]


_UPDATED = "SELECT updated FROM _hr_positions WHERE table_name = ? AND partition = ?"
