"""Whether a stored file is sound: SQLite's own check, and totals that must agree."""

from __future__ import annotations

from collections.abc import Sequence

import apsw

from headrace.core.schema import Schema, TableKind
from headrace.store.schema import is_stored, quote


def check(db: apsw.Connection, schemas: Sequence[Schema]) -> list[str]:
    """What is wrong, one sentence each; empty when all is well. Reads the whole file: 1 GB takes seconds.

    Pass a reader's connection; the check runs in one snapshot.
    """
    found: list[str] = []
    with db:
        found += [str(row[0]) for row in db.execute("PRAGMA integrity_check(20)") if row[0] != "ok"]
        if not found:
            for schema in schemas:
                found += _check_table(db, schema)
    return found


def _check_table(db: apsw.Connection, schema: Schema) -> list[str]:
    found: list[str] = []
    rows = db.execute("SELECT counter, value FROM _hr_counters WHERE table_name = ?", (schema.name,))
    totals: dict[str, int] = dict(rows)
    waiting = _number(db, "SELECT count(*) FROM _hr_quarantine WHERE table_name = ?", schema.name)
    if waiting > totals.get("quarantined", 0):
        found.append(
            f"{schema.name}: {waiting} records wait in quarantine, {totals.get('quarantined', 0)} were counted"
        )
    if not is_stored(schema):
        return found
    stored = _number(db, f"SELECT count(*) FROM {quote(schema.name)}")
    accepted = totals.get("accepted", 0)
    if stored > accepted:
        found.append(f"{schema.name}: {stored} rows are stored, only {accepted} were accepted")
    last = _number(db, "SELECT value FROM _hr_meta WHERE name = 'txn'")
    newest = _number(db, f"SELECT max(_txn) FROM {quote(schema.name)}")
    if newest > last:
        found.append(f"{schema.name}: a row has the commit stamp {newest}, after the last commit {last}")
    if schema.kind is TableKind.TABLE:
        older = _number(db, f"SELECT count(*) FROM {quote(schema.name)} WHERE _version IS NULL OR _txn IS NULL")
        found += [f"{schema.name}: {older} rows have no version"] if older else []
    return found


def _number(db: apsw.Connection, sql: str, *parameters: str) -> int:
    value = db.execute(sql, parameters).get
    return value if isinstance(value, int) else 0
