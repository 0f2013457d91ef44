"""`headrace store`: what lies in a data folder, and how to begin anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from headrace.cli.screen import json_option, print_json, print_table
from headrace.cli.target import app_argument, data_option, existing_store

COLUMNS = ("table", "rows")


@click.group
def store() -> None:
    """Look into the live store of an app, or begin anew."""


@store.command
@app_argument
@data_option
@json_option
def info(target: str, data: Path | None, as_json: bool) -> None:
    """Show the size of the live store of APP and how many rows each table has. Works while it is served."""
    facts = describe(existing_store(target, data))
    if as_json:
        print_json(facts)
        return
    print_table(facts["tables"], COLUMNS)
    click.echo(f"{facts['bytes'] / 1e6:.1f} MB in {facts['database']}", err=True)


@store.command
@app_argument
@data_option
@click.option("--yes", is_flag=True, help="Do not ask.")
def reset(target: str, data: Path | None, yes: bool) -> None:
    """Remove the live store of APP: its rows, its quarantine, and the positions of its sources.

    Sources are then read from their beginning. What was pushed is gone. Refused while the app is served.
    """
    from headrace.store.connection import WriterLock

    database = existing_store(target, data)
    if not yes:
        click.confirm(f"remove {database} for good?", abort=True, err=True)
    with WriterLock(database) as lock:
        for path in files(database):
            if path != lock.path:
                path.unlink()
    click.echo(f"removed {database}")


def files(database: Path) -> list[Path]:
    """The database and what lies beside it: its log, its lock, its board."""
    from headrace.runtime.folder import Folder

    board = Folder(database.parent).board
    return [*sorted(database.parent.glob(f"{database.name}*")), *([board] if board.exists() else [])]


def describe(database: Path) -> dict[str, Any]:
    """Sizes and row counts of a store."""
    from headrace.core.names import OWN
    from headrace.store.connection import open_reader

    db = open_reader(database)
    try:
        found = db.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT GLOB '_hr_*' AND name NOT GLOB 'sqlite_*'"
            " ORDER BY name"
        ).fetchall()
        names = [str(name) for (name,) in found if name not in OWN]
        counts = {name: db.execute(f'SELECT count(*) FROM "{name}"').fetchone() for name in names}
    finally:
        db.close()
    return {
        "database": str(database),
        "bytes": sum(path.stat().st_size for path in files(database)),
        "tables": [{"table": name, "rows": count[0] if count else 0} for name, count in counts.items()],
    }
