"""`headrace explain`: how everything that an app declares is computed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headrace.cli.screen import json_option, print_json
from headrace.cli.target import app_argument, load
from headrace.core.durations import format_duration

if TYPE_CHECKING:
    from headrace.app import App
    from headrace.views.explain import Explanation

LABELS = {"lacks": "yellow", "reads all": "yellow"}
"""Labels that ask for attention."""


@click.command
@app_argument
@json_option
def explain(target: str, as_json: bool) -> None:
    """Show every table, rollup and view of APP: its class, its inputs, and the indexes that it uses or lacks.

    APP is the file that declares the app (app.py, or app.py:name). Nothing is run and nothing is written.

    \b
    The classes:
      table, events   kept from a source
      tiles           a rollup: partial aggregates, merged at each read
      read-time       a view computed at each read, in one snapshot
      affected-group  a view that is kept: each change recomputes the groups that it touches
      refreshed       a view computed as a whole every so often, and as old as that
    """
    from headrace.views.explain import explain as explain_all

    app = load(target)
    found = [(one, place(app, one.name), dict(facts(app, one))) for one in explain_all(app.catalog)]
    if as_json:
        print_json([{"name": one.name, "class": one.kind, "where": where} | known for one, where, known in found])
        return
    for one, where, known in found:
        _print(one, where, known)


def place(app: App, name: str) -> str:
    """`file:line` of the declaration, relative to where the user stands if it is below."""
    declared = app.tables.get(name) or app.rollups.get(name) or app.views[name]
    return declared.where.removeprefix(f"{Path.cwd()}/")


def facts(app: App, one: Explanation) -> Iterator[tuple[str, Any]]:
    """What is worth saying, by label; lists stand on one line each."""
    if table := app.tables.get(one.name):
        yield "from", [table.source.describe()]
        yield "columns", [", ".join(f"{column.name} {column.type.value}" for column in table.schema.columns)]
    else:
        yield "from", [", ".join(one.inputs)]
    yield "why" if one.name in app.views else "kept", [one.why]
    if view := app.views.get(one.name):
        parameters = ", ".join(f"{parameter.name} {parameter.type.value}" for parameter in view.plan.params)
        yield "parameters", [parameters or "none"]
    yield from _promises(app, one.name)
    for label, lines in (("indexes", one.uses), ("lacks", one.lacks), ("reads all", one.scans)):
        if lines:
            yield label, list(lines)


def _promises(app: App, name: str) -> Iterator[tuple[str, list[str]]]:
    table, view = app.tables.get(name), app.views.get(name)
    promise = table.promise.freshness if table else view.freshness if view else None
    policy = table.promise.policy if table else view.policy if view else None
    if promise is not None:
        yield "promise", [format_duration(promise)]
    if policy is not None:
        yield "policy", [str(policy)]


def _print(one: Explanation, where: str, known: dict[str, list[str]]) -> None:
    click.echo(f"{click.style(one.name, bold=True)}  {one.kind}  {click.style(where, dim=True)}")
    for label, lines in known.items():
        shown = click.style(label.ljust(12), fg=LABELS.get(label))
        for number, line in enumerate(lines):
            click.echo(f"  {shown if number == 0 else ' ' * 12}{line}")
    click.echo()
