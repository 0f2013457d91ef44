"""`headrace version`: what is installed, for bug reports."""

from __future__ import annotations

import importlib.util
import platform

import click

from headrace.cli.screen import json_option, print_json
from headrace.core.version import VERSION

EXTRAS = {"mcp": "mcp", "sql": "sqlalchemy", "parquet": "pyarrow", "postgres": "psycopg"}
"""The extras, and the package that shows that one is installed."""


@click.command
@json_option
def version(as_json: bool) -> None:
    """Print the version, and those of Python and SQLite: what a bug report needs."""
    import apsw

    facts = {
        "headrace": VERSION,
        "python": platform.python_version(),
        "sqlite": apsw.sqlite_lib_version(),
        "platform": platform.platform(),
        "extras": [extra for extra, package in EXTRAS.items() if importlib.util.find_spec(package)],
    }
    if as_json:
        print_json(facts)
        return
    for name, value in facts.items():
        click.echo(f"{name:9} {(', '.join(value) or 'none') if isinstance(value, list) else value}")
