"""`headrace serve`: run an app in production."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from headrace.cli.options import Lasting, Whole
from headrace.cli.serving import api_keys, check_log, keys_option, note, noted, port_option
from headrace.cli.target import app_argument, data_folder, data_option


@click.command
@app_argument
@click.option("--host", default="127.0.0.1", show_default=True, envvar="HEADRACE_HOST", help="Address to listen on.")
@port_option
@click.option(
    "--workers",
    type=Whole(1, 1000),
    default=1,
    show_default=True,
    envvar="HEADRACE_WORKERS",
    help="HTTP worker processes; all of them read one store.",
)
@data_option
@click.option(
    "--api-keys-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar="HEADRACE_API_KEYS_FILE",
    help="File of API keys, one a line; HEADRACE_API_KEYS holds keys too.",
)
@keys_option
@click.option(
    "--allowed-host", "allowed_hosts", multiple=True, help="A further name under which a proxy calls this server."
)
@click.option(
    "--max-bodies",
    default="256MiB",
    show_default=True,
    envvar="HEADRACE_MAX_BODIES",
    help="What the request bodies that a worker holds may take together; more are answered 503.",
)
@click.option(
    "--drain",
    type=Lasting("1d"),
    default="20s",
    show_default=True,
    envvar="HEADRACE_DRAIN",
    help="How long requests in flight have to end when the server is told to stop; then they are broken off.",
)
def serve(
    target: str,
    host: str,
    port: int,
    workers: int,
    data: Path | None,
    api_keys_file: Path | None,
    keys: Path | None,
    allowed_hosts: tuple[str, ...],
    max_bodies: str,
    drain: float,
) -> None:
    """Run APP in production: one engine process that writes, and HTTP workers that read beside it.

    SIGTERM (or Ctrl-C) drains: requests in flight are finished, everything taken is on disk, then it ends with 0.
    Those that take longer than --drain are broken off.
    An address that other machines can reach is refused unless API keys are set.
    """
    from headrace.core.sizes import parse_size
    from headrace.server.plan import Plan
    from headrace.server.settings import Settings
    from headrace.server.supervisor import serve as run

    check_log()
    folder = data_folder(target, data)

    def announce(message: str) -> None:
        note(folder, message)
        click.echo(message)

    settings = Settings(
        host=host,
        port=port,
        workers=workers,
        api_keys=api_keys(api_keys_file),
        allowed_hosts=allowed_hosts,
        max_bodies=parse_size(max_bodies),
        drain_timeout=drain,
        keys=None if keys is None else str(keys),
    )
    with noted(folder):
        sys.exit(run(Plan(app=target, settings=settings, data=str(folder), announce=announce)))
