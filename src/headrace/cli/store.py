"""`headrace store`: what lies in a data folder, and how to begin anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from headrace.cli.screen import json_option, print_json, print_table
from headrace.cli.target import app_argument, data_folder, data_option
from headrace.core.errors import HeadraceError

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
    folder = _existing(target, data)
    facts = describe(folder)
    if as_json:
        print_json(facts)
        return
    print_table(facts["tables"], COLUMNS)
    click.echo(f"{facts['bytes'] / 1e6:.1f} MB in {facts['folder']}", err=True)


@store.command
@app_argument
@data_option
@click.option("--yes", is_flag=True, help="Do not ask.")
def reset(target: str, data: Path | None, yes: bool) -> None:
    """Remove the live store of APP: its rows, its quarantine, and the positions of its sources.

    Sources are then read from their beginning. What was pushed is gone. Refused while the app is served.
    """
    from headrace.runtime.folder import Folder
    from headrace.store.connection import WriterLock

    folder = _existing(target, data)
    if not yes:
        click.confirm(f"remove everything in {folder} for good?", abort=True, err=True)
    database = Folder(folder).database
    with WriterLock(database) as lock:
        for path in sorted(folder.glob(f"{database.name}*")):
            if path != lock.path:
                path.unlink()
    click.echo(f"removed the store in {folder}")


def describe(folder: Path) -> dict[str, Any]:
    """Sizes and row counts of the store in `folder`."""
    from headrace.runtime.folder import Folder
    from headrace.store.connection import open_reader

    database = Folder(folder).database
    db = open_reader(database)
    try:
        found = db.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT GLOB '_hr_*' AND name NOT GLOB 'sqlite_*'"
            " ORDER BY name"
        ).fetchall()
        names = [str(name) for (name,) in found]
        counts = {name: db.execute(f'SELECT count(*) FROM "{name}"').fetchone() for name in names}
    finally:
        db.close()
    return {
        "folder": str(folder),
        "bytes": sum(path.stat().st_size for path in folder.glob(f"{database.name}*")),
        "tables": [{"table": name, "rows": count[0] if count else 0} for name, count in counts.items()],
    }


def _existing(target: str, data: Path | None) -> Path:
    from headrace.runtime.folder import Folder

    folder = data_folder(target, data)
    if not Folder(folder).database.exists():
        raise HeadraceError(
            f"there is no live store in {folder}", hint="it is made when the app first runs; or say --data"
        )
    return folder
