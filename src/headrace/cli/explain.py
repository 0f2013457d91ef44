"""`headrace explain`: how everything that an app declares is computed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headrace.cli.screen import json_option, print_json
from headrace.cli.target import app_argument, load
from headrace.core.durations import format_duration
from headrace.core.names import OWN

if TYPE_CHECKING:
    from headrace.app import App
    from headrace.views.explain import Explanation

LABELS = {"lacks": "yellow", "reads all": "yellow", "no price": "yellow"}
"""Labels that ask for attention."""
RELATION_LABELS = ("from", "columns", "why", "kept", "parameters", "promise", "policy", "indexes", "lacks", "reads all")
"""What may be said of a table, rollup or view."""


@click.command
@app_argument
@json_option
def explain(target: str, as_json: bool) -> None:
    """Show all that APP declares: tables, rollups and views, with their inputs and the indexes that they use or lack;
    models, with their upstreams and the policies that differ from the defaults; endpoints, with their versions.

    APP is the file that declares the app (app.py, or app.py:name). Nothing is run and nothing is written.

    \b
    The classes:
      table, events   kept from a source
      tiles           a rollup: partial aggregates, merged at each read
      read-time       a view computed at each read, in one snapshot
      affected-group  a view that is kept: each change recomputes the groups that it touches
      refreshed       a view computed as a whole every so often, and as old as that
      model           called by endpoints, and by clients of the gateway
      endpoint        POST, JSON in, JSON or a stream of events out
    """
    from headrace.cli.explain_models import endpoint_facts, model_facts
    from headrace.runtime.desk import check, check_budgets
    from headrace.views.explain import explain as explain_all

    app = load(target)
    check(app)
    check_budgets(app)
    declared = [one for one in explain_all(app.catalog) if one.name not in OWN]
    found = [(one.name, one.kind, place(app, one.name), dict(facts(app, one))) for one in declared]
    found += [(name, "model", near(one.where), dict(model_facts(one))) for name, one in app.models.items()]
    found += [
        (path, "endpoint", near(one.where), dict(endpoint_facts(app, one))) for path, one in app.endpoints.items()
    ]
    if as_json:
        print_json([document(name, kind, where, known) for name, kind, where, known in found])
        return
    for name, kind, where, known in found:
        _print(name, kind, where, known)


def document(name: str, kind: str, where: str, known: dict[str, list[str]]) -> dict[str, Any]:
    """One thing for programs: of each class the same fields, empty where there is nothing to say.

    >>> document("llm", "model", "app.py:3", {"deadline": ["30s"]})["fallback"]
    []
    """
    from headrace.cli.explain_models import ENDPOINT_LABELS, MODEL_LABELS

    labels = {"model": MODEL_LABELS, "endpoint": ENDPOINT_LABELS}.get(kind, RELATION_LABELS)
    nothing: dict[str, Any] = {label: [] for label in labels}
    return {"name": name, "class": kind, "where": where} | nothing | known


def place(app: App, name: str) -> str:
    """`file:line` of the declaration of a table, rollup or view."""
    declared = app.tables.get(name) or app.rollups.get(name) or app.views[name]
    return near(declared.where)


def near(where: str) -> str:
    """A place, relative to where the user stands if it is below."""
    return where.removeprefix(f"{Path.cwd()}/")


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


def _print(name: str, kind: str, where: str, known: dict[str, list[str]]) -> None:
    click.echo(f"{click.style(name, bold=True)}  {kind}  {click.style(where, dim=True)}")
    for label, lines in known.items():
        shown = click.style(label.ljust(12), fg=LABELS.get(label))
        for number, line in enumerate(lines):
            click.echo(f"  {shown if number == 0 else ' ' * 12}{line}")
    click.echo()
