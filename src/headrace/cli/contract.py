"""`headrace contract`: contracts as files of the Open Data Contract Standard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from headrace.cli.options import OutFile
from headrace.cli.target import app_argument, load
from headrace.core.errors import UnknownName
from headrace.core.files import write_text
from headrace.core.names import OWN, suggest


@click.group
def contract() -> None:
    """Write an app's contracts as Open Data Contract Standard 3.1 YAML, or turn such a file into Python."""


F = TypeVar("F", bound=Callable[..., Any])


def output_option(command: F) -> F:
    """The option --output."""
    return click.option("--output", "-o", type=OutFile(), help="Write to this file, not to the screen.")(command)


@contract.command("export")
@app_argument
@click.option("--table", "tables", multiple=True, help="Only the contract of this table; may be given again.")
@click.option("--contract-version", default="1.0.0", show_default=True, help="The version of the contract itself.")
@output_option
def export_(target: str, tables: tuple[str, ...], contract_version: str, output: Path | None) -> None:
    """Write the contracts of APP as YAML that follows the standard."""
    from headrace.contracts.odcs import export_odcs

    app = load(target)
    for name in tables:
        if name not in app.tables:
            raise UnknownName(f"there is no table {name!r}", hint=suggest(name, app.tables))
    chosen = [table.contract for name, table in app.tables.items() if (name in tables if tables else name not in OWN)]
    _write(export_odcs(chosen, name=app.name, version=contract_version), output)


@contract.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@output_option
def import_(file: Path, output: Path | None) -> None:
    """Turn a contract FILE (ODCS 3 YAML) into Python declarations to start from.

    \b
    Example:
      headrace contract import orders.yaml -o app.py
    """
    from headrace.contracts.odcs import import_odcs

    _write(import_odcs(file.read_text(encoding="utf-8"), filename=str(file)), output)


def _write(text: str, output: Path | None) -> None:
    if output is None:
        click.echo(text, nl=False)
    else:
        write_text(output, text)
        click.echo(f"wrote {output}", err=True)
