"""`headrace doctor`: what stands in an app's way, and the exact statement that mends it."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headrace.cli.screen import json_option, print_json
from headrace.cli.serving import keys_option
from headrace.cli.target import app_argument, data_folder, data_option, load
from headrace.core.errors import HeadraceError
from headrace.core.findings import Finding, Grade, healthy

if TYPE_CHECKING:
    from headrace.app import App
    from headrace.runtime.checkup import Examined

STYLES = {Grade.OK: "green", Grade.WARNING: "yellow", Grade.PROBLEM: "red", Grade.UNKNOWN: "magenta"}

INDENT = 11
"""Where values and messages begin: behind the longest grade."""

ROUNDS = 3
"""What one round of mending does can make more of it safe: a table with a replica identity may be published."""


@click.command
@app_argument
@data_option
@keys_option
@click.option("--fix", is_flag=True, help="Do what is safe, say what was done, and look again.")
@json_option
def doctor(target: str, data: Path | None, keys: Path | None, fix: bool, as_json: bool) -> None:
    """Examine what APP stands on: its sources' servers and files, its data folder, the clocks, keys and prices.

    Upstreams of models are asked for nothing, since that would cost money: only whether the variables of their keys
    are set. It looks at the environment that it runs in: run it where the app runs.

    Nothing is changed without --fix. Each finding is ok, a warning, a problem, or unknown (it could not be told), with
    what was found and, where something can be done, the exact statement or command. Ends with status 1 when there is a
    problem.

    --fix does only what is safe: it makes or extends a publication, or chooses a unique index as a table's replica
    identity. It never deletes, never restarts anything, and never makes writes of others fail or cost more.
    """
    app = load(target)
    folder = data_folder(target, data)
    examined, findings = _examine(app, folder, keys)
    done: list[str] = []
    failures: list[str] = []
    for _ in range(ROUNDS if fix else 0):
        more, failures = asyncio.run(_mend(examined))
        if not more:
            break
        done += more
        examined, findings = _examine(app, folder, keys)
    if as_json:
        print_json({"findings": [_document(one) for one in findings], "done": done, "failed": failures})
    else:
        print_findings(findings)
        _tell(findings, done, failures, fix=fix)
    if failures or not healthy(findings):
        sys.exit(1)


def _examine(app: App, folder: Path, keys: Path | None) -> tuple[list[Examined], list[Finding]]:
    from headrace.core.clock import SystemClock
    from headrace.runtime.checkup import examine_data, examine_models, examine_sources

    examined = asyncio.run(examine_sources(app, data=folder, clock=SystemClock()))
    found = [*examine_data(folder), *(finding for one in examined for finding in one.findings)]
    return examined, [*found, *examine_models(app, os.environ), *_examine_keys(app, folder, keys)]


def _examine_keys(app: App, folder: Path, keys: Path | None) -> list[Finding]:
    """The virtual keys, where there are models to use them for, and the server's own."""
    from headrace.core.names import OWN
    from headrace.server.gateway.accounts import KEYS
    from headrace.server.gateway.examination import examine_api_keys, examine_keys

    views = [name for name in app.views if name not in OWN]
    found = examine_keys(keys or folder / KEYS, named=keys is not None, models=app.models, views=views)
    return [*(found if app.models else ()), *examine_api_keys(os.environ)]


async def _mend(examined: Sequence[Examined]) -> tuple[list[str], list[str]]:
    done: list[str] = []
    failures: list[str] = []
    for one in examined:
        try:
            done += await one.source.mend(one.opening, one.findings)
        except HeadraceError as error:
            failures.append(f"{error.message} ({error.hint})")
    return done, failures


def _document(finding: Finding) -> dict[str, Any]:
    return {
        "subject": finding.subject,
        "what": finding.what,
        "grade": finding.grade.value,
        "value": finding.value,
        "message": finding.message,
        "mend": list(finding.mend),
        "safe": finding.safe,
    }


def print_findings(findings: Sequence[Finding]) -> None:
    """One paragraph for each subject, one line for each finding, and below it what to do; colours on a terminal."""
    widest = max((len(finding.what) for finding in findings), default=0)
    subject = None
    for finding in findings:
        if finding.subject != subject:
            click.echo(("" if subject is None else "\n") + click.style(finding.subject, bold=True))
            subject = finding.subject
        grade = click.style(finding.grade.value.ljust(INDENT - 2), fg=STYLES[finding.grade])
        click.echo(f"  {grade}{finding.what.ljust(widest)}  {finding.value}".rstrip())
        if finding.message:
            click.echo(_wrapped(finding.message))
        for statement in finding.mend:
            click.echo(" " * INDENT + click.style(statement, fg="cyan"))


def _wrapped(text: str) -> str:
    indent = " " * INDENT
    if not sys.stdout.isatty():
        return indent + text
    width = min(shutil.get_terminal_size().columns, 120)
    return click.wrap_text(text, width=width, initial_indent=indent, subsequent_indent=indent)


def _tell(findings: Sequence[Finding], done: Sequence[str], failures: Sequence[str], *, fix: bool) -> None:
    click.echo()
    for statement in done:
        click.echo(f"done: {statement}")
    for failure in failures:
        click.echo(click.style("not done: ", fg="red") + failure)
    counts = {grade: sum(one.grade is grade for one in findings) for grade in Grade}
    parts = [f"{counts[Grade.OK]} ok"]
    parts += [_count(counts[grade], grade.value) for grade in (Grade.WARNING, Grade.PROBLEM) if counts[grade]]
    parts += [f"{counts[Grade.UNKNOWN]} unknown"] if counts[Grade.UNKNOWN] else []
    click.echo(", ".join(parts))
    if not fix and any(one.safe and one.grade is not Grade.OK for one in findings):
        click.echo("some of it can be done for you: run it again with --fix", err=True)


def _count(number: int, word: str) -> str:
    return f"{number} {word}" + ("" if number == 1 else "s")
