"""`headrace contract`: contracts as files of the Open Data Contract Standard."""

from __future__ import annotations

from pathlib import Path

import click

from headrace.cli.target import app_argument, load


@click.group
def contract() -> None:
    """Write an app's contracts as Open Data Contract Standard 3.1 YAML, or read such a file."""


@contract.command("export")
@app_argument
@click.option("--table", help="Only the contract of this table.")
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file.")
def export_(target: str, table: str | None, output: Path | None) -> None:
    """Write the contracts of APP as YAML."""
    load(target)


@contract.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file.")
def import_(file: Path, output: Path | None) -> None:
    """Turn a contract file into Python declarations to start from."""
