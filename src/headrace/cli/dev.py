"""`headrace dev`: run an app while it is being written."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from headrace.cli.serving import api_keys, check_log, keys_option, note, noted, port_option
from headrace.cli.target import app_argument, data_folder, data_option

_DRAIN = 1.0
"""Seconds that what is under way has to end. Whoever saves waits for it, and no user of an app does."""


@click.command
@app_argument
@port_option
@data_option
@keys_option
def dev(target: str, port: int, data: Path | None, keys: Path | None) -> None:
    """Run APP on this machine, and load it again whenever its file changes.

    APP is the file that declares the app (app.py, or app.py:name). A mistake in it is shown with its line, and the
    next save is tried again. For production, use `headrace serve`.
    """
    from headrace.server.plan import Plan
    from headrace.server.settings import Settings
    from headrace.server.supervisor import serve

    check_log()
    folder = data_folder(target, data)

    def announce(message: str) -> None:
        note(folder, message)
        click.echo(message)

    settings = Settings(
        port=port, api_keys=api_keys(None), keys=None if keys is None else str(keys), drain_timeout=_DRAIN
    )
    with noted(folder):
        sys.exit(serve(Plan(app=target, settings=settings, data=str(folder), reload=True, announce=announce)))
