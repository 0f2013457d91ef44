"""`headrace source`: what an app left on the servers of its sources, and how to take it away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from headrace.cli.screen import json_option, print_json, print_table
from headrace.cli.target import load
from headrace.core.errors import HeadraceError

if TYPE_CHECKING:
    from headrace.app import App
    from headrace.sources.postgres.checkup.drop import Remains
    from headrace.sources.postgres.checkup.facts import SlotFacts

F = TypeVar("F", bound=Callable[..., Any])

COLUMNS = ("server", "slot", "state", "followed", "kept log", "publication", "tables")


@click.group
def source() -> None:
    """Look at what sources made on their servers, or take it away."""


def place_options(command: F) -> F:
    """Which server: that of an app, or one by its address."""
    app = click.argument("target", metavar="[APP]", required=False)
    dsn = click.option("--dsn", metavar="DSN", help="This server, where the app file does not name it any more.")
    return app(dsn(command))


@dataclass(frozen=True, slots=True)
class Stream:
    """What one stream of an app has on its server."""

    dsn: str
    slot: str
    publication: str | None
    tables: tuple[str, ...] = ()


@source.command("list")
@place_options
@json_option
def list_(target: str | None, dsn: str | None, as_json: bool) -> None:
    """List the replication slots of APP's PostgreSQL sources, or all that could be one's on the server of --dsn."""
    from headrace.sources.postgres.checkup.drop import look
    from headrace.sources.postgres.checkup.read import connect, place, read_slots, read_wal

    rows: list[dict[str, Any]] = []
    if dsn is not None:
        with connect(dsn) as connection:
            wal, where = read_wal(connection), place(dsn)
            rows = [_row(where, slot.name, slot, wal) for slot in read_slots(connection)]
    else:
        for stream in streams(_app(target)):
            remains = look(stream.dsn, slot=stream.slot, publication=stream.publication)
            row = _row(remains.place, stream.slot, remains.slot, remains.wal)
            public = stream.publication if remains.publication is not None else None
            rows.append(row | {"publication": public, "tables": ", ".join(stream.tables)})
    if as_json:
        print_json(rows)
        return
    print_table(rows, COLUMNS)
    if not rows:
        click.echo("there is no logical replication slot", err=True)


def _row(place: str, name: str, slot: SlotFacts | None, wal: int | None) -> dict[str, Any]:
    """The same fields whatever the state; what is not known is None.

    >>> _row("db:5432/shop", "headrace_shop", None, 5)["followed"] is None
    True
    """
    from headrace.sources.postgres.checkup.names import size
    from headrace.sources.postgres.checkup.slot import is_lost

    row: dict[str, Any] = {"server": place, "slot": name, "state": "not there"}
    row |= dict.fromkeys(("followed", "kept log", "publication", "tables"))
    if slot is None:
        return row
    kept = None if wal is None or slot.restart is None else size(wal - slot.restart)
    return row | {
        "state": "lost" if is_lost(slot) else slot.wal_status or "there",
        "followed": "no" if slot.active_pid is None else f"by process {slot.active_pid}",
        "kept log": kept,
    }


@source.command
@place_options
@click.option("--slot", metavar="NAME", help="The slot, where the app has several or --dsn names the server.")
@click.option("--publication", metavar="NAME", help="With --dsn: a publication to drop too.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def drop(target: str | None, dsn: str | None, slot: str | None, publication: str | None, yes: bool) -> None:
    """Drop the replication slot and the publication that APP's PostgreSQL source made on its server.

    From then on the server keeps no log for the app. The rows in the app's live store stay and are served, with an age
    that grows; if the app is started again with this source, it makes both anew and copies the tables anew.

    Refused while an engine follows the slot. When the app file is gone, name the server and the slot.

    \b
    Examples:
      headrace source drop app.py
      headrace source drop --dsn postgresql://user@host/shop --slot headrace_shop --publication headrace_shop
    """
    from headrace.sources.postgres.checkup.drop import drop as drop_all
    from headrace.sources.postgres.checkup.drop import look, refuse_active

    stream = _chosen(target, dsn, slot, publication)
    remains = look(stream.dsn, slot=stream.slot, publication=stream.publication)
    if remains.empty:
        click.echo(f"there is nothing to drop on {remains.place}: {_missing(stream)}")
        return
    refuse_active(remains)
    for line in _announcement(remains, stream):
        click.echo(line, err=True)
    if not yes:
        click.confirm("drop it for good?", abort=True, err=True)
    for done in drop_all(stream.dsn, remains):
        click.echo(done)
    click.echo("The rows in the live store stay. A start with this source makes both and copies the tables anew.")


def _announcement(remains: Remains, stream: Stream) -> list[str]:
    lines = [f"on {remains.place}:"]
    if remains.slot is not None:
        lines.append(f"  the replication slot {remains.slot.name}")
    if remains.ours is not None:
        published = ", ".join(sorted(".".join(name) for name in remains.ours.tables)) or "no tables"
        published = "all tables" if remains.ours.all_tables else published
        lines.append(f"  the publication {remains.ours.name} (of {published})")
    if stream.tables:
        lines.append(f"these tables of the app are fed by it: {', '.join(stream.tables)}")
    return lines


def _missing(stream: Stream) -> str:
    names = f"no slot {stream.slot}"
    return names if stream.publication is None else f"{names} and no publication {stream.publication}"


def _chosen(target: str | None, dsn: str | None, slot: str | None, publication: str | None) -> Stream:
    if dsn is not None:
        if target is not None:
            raise click.UsageError("name either APP or --dsn")
        if slot is None:
            raise click.UsageError("--dsn needs --slot: `headrace source list --dsn ...` shows those there are")
        return Stream(dsn, slot, publication)
    if publication is not None:
        raise click.UsageError("--publication goes with --dsn: the app names its own")
    found = streams(_app(target))
    chosen = [stream for stream in found if slot in (None, stream.slot)]
    if len(chosen) != 1:
        there = ", ".join(stream.slot for stream in found)
        raise HeadraceError(
            f"the app follows {len(found)} slots, and one must be chosen"
            if not slot
            else f"the app follows no slot {slot!r}",
            hint=f"name one with --slot: {there}; or, if it is not the app's any more, --dsn and --slot",
        )
    return chosen[0]


def streams(app: App) -> list[Stream]:
    """The PostgreSQL streams of an app.

    Raises
    ------
    HeadraceError
        It has none.
    """
    from headrace.sources import Postgres

    found: dict[object, tuple[Postgres, list[str]]] = {}
    for table in app.tables.values():
        if isinstance(table.source, Postgres):
            found.setdefault(table.source.stream, (table.source, []))[1].append(table.name)
    if not found:
        raise HeadraceError(
            f"no table of {app.name!r} follows a PostgreSQL database",
            hint="if it did once, name the server and the slot: --dsn postgresql://... --slot headrace_...",
        )
    return [
        Stream(one.dsn, one.slot_name(app.name), one.publication_name(app.name), tuple(tables))
        for one, tables in found.values()
    ]


def _app(target: str | None) -> App:
    if target is None:
        raise click.UsageError("name APP, the file that declares the app, or a server with --dsn")
    return load(target)
