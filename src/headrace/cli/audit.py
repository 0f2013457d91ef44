"""`headrace audit`: does what is kept equal what a full computation gives."""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import click

from headrace.cli.options import Whole
from headrace.cli.screen import json_option, print_json
from headrace.cli.target import app_argument, data_option, existing_store, load

if TYPE_CHECKING:
    from headrace.views.audit import Audit


@click.command
@app_argument
@data_option
@click.option("--sample", type=Whole(min=1), default=50, show_default=True, help="Groups or tiles to compare for each.")
@click.option("--seed", type=int, default=0, show_default=True, help="Which ones are drawn.")
@json_option
def audit(target: str, data: Path | None, sample: int, seed: int, as_json: bool) -> None:
    """Recompute a sample of what is kept for APP, in full, and report any difference.

    Rollups (tiles) and views that are kept by affected groups are compared with what their definition gives over the
    stored rows, in one snapshot. Works while the app is served. Ends with 1 if anything differs.
    """
    from headrace.core.clock import SystemClock
    from headrace.store.connection import open_reader
    from headrace.views.audit import audit as run

    app = load(target)
    db = open_reader(existing_store(target, data))
    try:
        found = run(db, app.catalog, Random(seed), now=SystemClock().now(), sample=sample)
    finally:
        db.close()
    if as_json:
        print_json(describe(found))
    else:
        _print(found)
    sys.exit(1 if found.differences else 0)


def describe(found: Audit) -> dict[str, Any]:
    """An audit as JSON-ready data."""
    return {
        "checked": found.checked,
        "unchecked": list(found.unchecked),
        "differences": [
            {"name": one.name, "key": list(one.key), "kept": one.kept, "computed": one.computed}
            for one in found.differences
        ],
    }


def _print(found: Audit) -> None:
    for name, count in found.checked.items():
        wrong = sum(one.name == name for one in found.differences)
        click.echo(f"{name}: {count} compared, {click.style(f'{wrong} differ', fg='red') if wrong else 'all equal'}")
    for name in found.unchecked:
        click.echo(f"{name}: nothing to compare with, its events are not kept")
    if not found.checked and not found.unchecked:
        click.echo("nothing is kept: every view is computed when it is read")
    for one in found.differences:
        click.echo(f"  {one}")
