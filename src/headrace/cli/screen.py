"""What commands print: a table or a document for a person, JSON for a program."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def json_option(command: F) -> F:
    """The option --json."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(command)


def print_json(data: Any) -> None:
    """Indented on a terminal, one line where a program reads."""
    indent = 2 if sys.stdout.isatty() else None
    click.echo(json.dumps(data, indent=indent, ensure_ascii=False))


def print_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, title: str = "") -> None:
    """A table that fits the terminal; tab-separated values where the output is not one."""
    if not sys.stdout.isatty():
        click.echo("\t".join(columns))
        for row in rows:
            click.echo("\t".join(show(row.get(column)) for column in columns))
        return
    from rich.console import Console  # rich takes 50 ms to import, which `--help` need not pay
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, title=title or None, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*(Text(show(row.get(column)), style=STYLES.get(show(row.get(column)), "")) for column in columns))
    Console().print(table)


def show(value: Any) -> str:
    """A value in a cell.

    >>> show(None), show(True), show({"a": 1}), show(1.25)
    ('-', 'yes', '{"a":1}', '1.25')
    """
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict | list):
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return str(value)


def show_age(milliseconds: float | None) -> str:
    """An age as people say it.

    >>> show_age(None), show_age(12.4), show_age(2500), show_age(5400_000)
    ('unknown', '12.4ms', '2.5s', '1h30m')
    """
    from headrace.core.durations import format_duration

    return "unknown" if milliseconds is None else format_duration(round(milliseconds * 1000))


STYLES = {"fresh": "green", "stale": "yellow", "unknown": "magenta", "failed": "red"}
"""Colours of words that stand alone in a cell."""
