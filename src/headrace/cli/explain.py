"""`headrace explain`: how everything that an app declares is computed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from headrace.cli.screen import json_option, print_json
from headrace.cli.target import app_argument, load

if TYPE_CHECKING:
    from headrace.runtime.explain import Explanation


@click.command
@app_argument
@json_option
def explain(target: str, as_json: bool) -> None:
    """Show every table, rollup and view of APP: its class, its inputs, and the indexes that it uses or lacks.

    APP is the file that declares the app (app.py, or app.py:name). Nothing is run and nothing is written.

    \b
    The classes of views:
      read-time       computed at each read, in one snapshot
      affected-group  kept; each change recomputes the groups that it touches
      refreshed       computed as a whole every so often, and as old as that
    """
    from headrace.core.clock import SystemClock
    from headrace.runtime.explain import explain as run

    found = run(load(target), clock=SystemClock())
    if as_json:
        print_json([one.to_dict() for one in found])
        return
    for one in found:
        _print(one)


def _print(one: Explanation) -> None:
    where = click.style(_near(one.where), dim=True)
    click.echo(f"{click.style(one.name, bold=True)}  {one.kind}, {one.computed}  {where}")
    if one.inputs:
        _line("from", ", ".join(one.inputs))
    for label, value in one.facts.items():
        _line(label, value)
    for number, step in enumerate(one.plan):
        _line("plan" if number == 0 else "", step)
    for lack in one.lacks:
        _line(click.style("lacks", fg="yellow"), lack)
    click.echo()


def _near(where: str) -> str:
    """`file:line`, relative to where the user stands if it is below."""
    return where.removeprefix(f"{Path.cwd()}/")


def _line(label: str, value: str) -> None:
    click.echo(f"  {label}{' ' * (12 - len(click.unstyle(label)))}{value}")
