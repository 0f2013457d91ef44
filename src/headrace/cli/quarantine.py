"""`headrace quarantine`: records that broke their contract wait here, with their bytes and the reason."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from headrace.cli.options import Whole
from headrace.cli.remote import Remote, remote_options
from headrace.cli.screen import json_option, print_json, print_table
from headrace.cli.serving import noted_url
from headrace.cli.target import data_folder, existing_store, load
from headrace.core.errors import StoreLocked

if TYPE_CHECKING:
    from headrace.app import App
    from headrace.runtime.reads import LocalReads

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

COLUMNS = ("id", "table", "rule", "column", "value", "message", "at")


@click.group
def quarantine() -> None:
    """Look at records that broke their contract; replay them or drop them.

    A record that breaks its contract never stops the stream and is never lost: it waits here with its raw bytes, its
    position at the source, the rule and the offending value. After the contract (or the record) was fixed, `replay`
    judges it again and applies it as if it had just arrived.

    The commands speak to the running server (--url), or, when none runs, work on the data folder of an app (--app).
    """


def place_options(command: F) -> F:
    """The options that say where the quarantine is."""
    app = click.option("--app", "target", metavar="APP", help="Work on this app's data folder; no server is needed.")
    data = click.option(
        "--data",
        type=click.Path(file_okay=False, path_type=Path),
        envvar="HEADRACE_DATA",
        help="With --app: the data folder.  [default: .headrace beside the app file]",
    )
    return app(data(remote_options(command)))


def chosen_options(command: F) -> F:
    """Which records: numbers, a table, or all."""
    numbers = click.argument("numbers", nargs=-1, type=int, metavar="[ID]...")
    table = click.option("--table", help="All records of this table.")
    every = click.option("--all", "everything", is_flag=True, help="All records.")
    return numbers(table(every(command)))


@quarantine.command("list")
@click.option("--table", help="Only records of this table.")
@click.option("--rule", help="Only records that broke this rule.")
@click.option("--limit", type=Whole(1, 1000), default=100, show_default=True, help="Show at most this many.")
@click.option("--after", type=int, default=0, metavar="ID", help="Begin after this record.")
@place_options
@json_option
def list_(table: str | None, rule: str | None, limit: int, after: int, as_json: bool, **place: Any) -> None:
    """List waiting records, oldest first."""
    records = Place(**place).waiting(table=table, rule=rule, limit=limit, after=after)
    if as_json:
        print_json(records)
        return
    print_table(records, COLUMNS)
    if not records:
        click.echo("nothing waits in quarantine", err=True)
    elif len(records) == limit:
        click.echo(f"there may be more: --after {records[-1]['id']}", err=True)


@quarantine.command
@click.argument("number", type=int, metavar="ID")
@place_options
@json_option
def show(number: int, as_json: bool, **place: Any) -> None:
    """Show one record with its bytes and everything that is known about it."""
    record = Place(**place).one(number)
    if as_json:
        print_json(record)
        return
    for name, value in record.items():
        if value is not None and value != "":
            click.echo(f"{name + ':':12} {value}")


@quarantine.command
@chosen_options
@place_options
@json_option
def replay(numbers: Sequence[int], table: str | None, everything: bool, as_json: bool, **place: Any) -> None:
    """Judge records again, and apply those that pass now as if they had just arrived.

    \b
    Examples:
      headrace quarantine replay 17 18
      headrace quarantine replay --table items
    """
    _check(numbers, table, everything)
    done = Place(**place).settle("replay", numbers, table)
    if as_json:
        print_json(done)
    else:
        click.echo(f"replayed {done['replayed']}, still in quarantine {done['still_quarantined']}")


@quarantine.command
@chosen_options
@click.option("--yes", is_flag=True, help="Do not ask.")
@place_options
@json_option
def drop(numbers: Sequence[int], table: str | None, everything: bool, yes: bool, as_json: bool, **place: Any) -> None:
    """Drop records for good."""
    _check(numbers, table, everything)
    if not yes and not numbers:
        click.confirm(f"drop all records {f'of {table}' if table else 'that wait'} for good?", abort=True, err=True)
    done = Place(**place).settle("drop", numbers, table)
    if as_json:
        print_json(done)
    else:
        click.echo(f"dropped {done['dropped']}")


def _check(numbers: Sequence[int], table: str | None, everything: bool) -> None:
    if bool(numbers) + bool(table) + everything != 1:
        raise click.UsageError("say which records: their ids, --table TABLE, or --all")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the quarantine is: at a server, or in the data folder of an app that nobody runs."""

    target: str | None
    data: Path | None
    url: str
    api_key: str | None

    def waiting(self, *, table: str | None, rule: str | None, limit: int, after: int) -> list[dict[str, Any]]:
        """Waiting records, oldest first."""
        if self.target is not None:
            return self._read(lambda reads: reads.quarantine(table=table, rule=rule, limit=limit, after=after))
        query = {"table": table, "rule": rule, "limit": limit, "after": after}
        return self._remote.get("/quarantine", {name: value for name, value in query.items() if value is not None})[
            "records"
        ]

    def one(self, number: int) -> dict[str, Any]:
        """One record with its bytes."""
        if self.target is not None:
            return self._read(lambda reads: reads.quarantined(number))
        return self._remote.get(f"/quarantine/{number}")

    def settle(self, verb: str, numbers: Sequence[int], table: str | None) -> Mapping[str, int]:
        """Replay or drop records."""
        if self.target is not None:
            try:
                return asyncio.run(self._settle_here(verb, numbers, table))
            except StoreLocked as error:
                return self._server_of(error).settle(verb, numbers, table)
        body = {"ids": list(numbers)} if numbers else {"table": table} if table else {"all": True}
        return self._remote.post(f"/quarantine/{verb}", body)

    @property
    def _remote(self) -> Remote:
        return Remote(self.url, self.api_key)

    def _read(self, ask: Callable[[LocalReads], T]) -> T:
        """Read the data folder; this works beside a running engine too."""
        from headrace.core.clock import SystemClock
        from headrace.runtime.reads import LocalReads

        app, folder = self._app()
        reads = LocalReads(app, data=folder, clock=SystemClock())
        try:
            return ask(reads)
        finally:
            reads.close()

    async def _settle_here(self, verb: str, numbers: Sequence[int], table: str | None) -> Mapping[str, int]:
        """Write to the data folder, as its one engine for a moment. Raises `StoreLocked` where another one runs."""
        from headrace.core.clock import SystemClock
        from headrace.runtime.engine import Engine

        app, folder = self._app()
        engine = Engine(quiet(app), data=folder, clock=SystemClock())
        await engine.start()
        try:
            if verb == "replay":
                return await engine.replay(numbers=list(numbers) or None, table=table)
            return await engine.drop(numbers=list(numbers) or None, table=table)
        finally:
            await engine.stop()

    def _server_of(self, error: StoreLocked) -> Place:
        """The server whose engine holds the data folder, by the note that it left there."""
        url = noted_url(data_folder(self.target or "", self.data))
        if url is None:
            raise StoreLocked(error.message, hint="leave out --app and say where the server is with --url") from None
        click.echo(f"asking the server that runs on this data: {url}", err=True)
        return replace(self, target=None, url=url)

    def _app(self) -> tuple[App, Path]:
        target = self.target or ""
        return load(target), existing_store(target, self.data).parent


def quiet(app: App) -> App:
    """The same app with nothing that feeds it, so that settling its quarantine reads no source."""
    from headrace.sources.push import Push

    app.tables = {name: replace(table, source=Push()) for name, table in app.tables.items()}
    return app
