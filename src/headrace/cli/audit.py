"""`headrace audit`: does what is kept equal what a full computation gives."""

from __future__ import annotations

from pathlib import Path

import click

from headrace.cli.screen import json_option
from headrace.cli.target import app_argument, data_option


@click.command
@app_argument
@data_option
@click.option("--sample", type=click.IntRange(min=1), default=100, show_default=True, help="Keys per rollup and view.")
@click.option("--seed", type=int, default=0, show_default=True, help="Which keys are drawn.")
@json_option
def audit(target: str, data: Path | None, sample: int, seed: int, as_json: bool) -> None:
    """Recompute a sample of what is kept for APP, in full, and report any difference.

    Rollups (tiles) and views that are kept by affected groups are compared with what their definition gives over the
    stored rows, in one snapshot. Ends with 1 if anything differs. Works while the app is served.
    """
