"""Reading the facts: one plain connection, one replication connection, nothing changed on either."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, cast

from headrace.core.clock import Clock, ClockOffset
from headrace.core.errors import MissingExtra, SourceError
from headrace.sources.postgres.checkup.facts import (
    ColumnFacts,
    Facts,
    PartitionFacts,
    PublicationFacts,
    Published,
    ServerFacts,
    SlotFacts,
    TableFacts,
    UniqueIndex,
    Wanted,
)
from headrace.sources.postgres.checkup.refusal import refusal
from headrace.sources.postgres.dsn import with_defaults, without_secrets
from headrace.sources.postgres.lsn import parse_lsn
from headrace.sources.postgres.tables import Named

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[dict[str, Any]]

TIMEOUT = 10
"""Seconds for each statement."""

SETTINGS = (
    "wal_level",
    "max_replication_slots",
    "max_wal_senders",
    "max_slot_wal_keep_size",
    "idle_replication_slot_timeout",
    "wal_sender_timeout",
    "server_encoding",
)

PROVIDER_ROLES = {
    "rds_superuser": "rds",
    "rds_replication": "rds",
    "alloydbsuperuser": "alloydb",
    "cloudsqlsuperuser": "cloudsql",
    "azure_pg_admin": "azure",
    "supabase_admin": "supabase",
    "neon_superuser": "neon",
}
"""Roles that only a provider makes, and whose they are."""

CLOCK_READS = 5
"""The offset is taken from the quickest of so many: its answer was the least time on the way."""


def connect(dsn: str) -> Connection:
    """A plain connection, every statement a transaction of its own.

    Raises
    ------
    MissingExtra
        psycopg is not installed.
    SourceError
        The server cannot be reached or does not let us in; the message says which, and the hint what to do.
    """
    psycopg = _psycopg()
    from psycopg.rows import dict_row

    try:
        connection = cast(
            "Connection",
            psycopg.connect("", **_parameters(dsn), autocommit=True, row_factory=cast("Any", dict_row)),
        )
        connection.execute("SELECT set_config('statement_timeout', %s, false)", [str(TIMEOUT * 1000)])
    except psycopg.Error as error:
        raise refusal(without_secrets(str(error), dsn), place(dsn)) from None
    return connection


def place(dsn: str) -> str:
    """How people call a server: `postgres db:5432/shop`, without user or secrets."""
    psycopg = _psycopg()
    try:
        known = psycopg.conninfo.conninfo_to_dict(dsn)
    except psycopg.Error:
        raise SourceError(
            "the dsn of a Postgres source cannot be read",
            hint='write for example "postgresql://user:password@host:5432/database"',
            source="postgres",
            permanent=True,
        ) from None
    host, port = known.get("host") or "local socket", known.get("port") or "5432"
    return f"postgres {host}:{port}/{known.get('dbname') or known.get('user') or ''}"


def read_facts(dsn: str, wanted: Wanted, clock: Clock) -> Facts:
    """Everything that the checkup judges.

    Raises
    ------
    SourceError
        The server cannot be reached, or does not let us in.
    """
    psycopg = _psycopg()
    try:
        with connect(dsn) as connection:
            return Facts(
                server=_server(connection, clock),
                slot=read_slot(connection, wanted.slot),
                publication=read_publication(connection, wanted.publication),
                tables={name: _table(connection, source) for name, source in wanted.sources.items()},
                refused=_replication(dsn),
            )
    except psycopg.Error as error:
        raise SourceError(
            f"{place(dsn)} stopped answering: {without_secrets(str(error), dsn).strip():.500}",
            hint="see the server's own words, and run it again",
            source="postgres",
        ) from None


def read_slot(connection: Connection, name: str) -> SlotFacts | None:
    """A replication slot; None: there is none of that name."""
    found = _one(connection, "slot", slot=name)
    return None if found is None else _slot(found["to_jsonb"])


def read_slots(connection: Connection) -> list[SlotFacts]:
    """The logical slots of this database that a Headrace could stand on."""
    return [_slot(row["to_jsonb"]) for row in _all(connection, "slots")]


def read_publication(connection: Connection, name: str) -> PublicationFacts | None:
    """A publication; None: there is none of that name."""
    found = _one(connection, "publication", publication=name)
    if found is None:
        return None
    row: dict[str, Any] = next(iter(found.values()))
    operations = {op for op in ("insert", "update", "delete", "truncate") if row.get(f"pub{op}")}
    return PublicationFacts(
        name=name,
        owner=row["owner"],
        owned=row["owned"],
        all_tables=row["puballtables"],
        operations=frozenset(operations),
        via_root=bool(row.get("pubviaroot")),
        generated=row.get("pubgencols", "n") != "n",
        tables=dict(map(_published, _all(connection, "published", publication=name))),
    )


def _published(row: Mapping[str, Any]) -> tuple[tuple[str, str], Published]:
    found: dict[str, Any] = row["to_jsonb"]
    columns = found.get("attnames")
    return (found["schemaname"], found["tablename"]), Published(
        columns=None if columns is None else frozenset(columns), row_filter=found.get("rowfilter")
    )


def _server(connection: Connection, clock: Clock) -> ServerFacts:
    row = _one(connection, "server")
    if row is None:
        raise SourceError("the server does not say who we are", hint="is this a PostgreSQL server?", source="postgres")
    settings = {one["name"]: one["current_setting"] for one in _all(connection, "settings", names=list(SETTINGS))}
    roles = {
        one["rolname"]: one["pg_has_role"] for one in _all(connection, "provider_roles", names=list(PROVIDER_ROLES))
    }
    return ServerFacts(
        **row,
        settings=settings,
        roles=frozenset(role for role, member in roles.items() if member),
        provider=next((owner for role, owner in PROVIDER_ROLES.items() if role in roles), ""),
        wal=read_wal(connection),
        clock=_clock(connection, clock),
    )


def read_wal(connection: Connection) -> int | None:
    """Bytes of log written since the beginning; None: the server does not say."""
    try:
        row = _one(connection, "wal")
    except _psycopg().Error:  # Aurora does not have the function while logical replication is off
        return None
    value = None if row is None else next(iter(row.values()))
    return None if value is None else int(value)


def _clock(connection: Connection, clock: Clock) -> ClockOffset:
    found: list[ClockOffset] = []
    for _ in range(CLOCK_READS):
        before = clock.now()
        row = _one(connection, "clock")
        after = clock.now()
        theirs = int(next(iter((row or {}).values())))
        found.append(ClockOffset(offset=theirs - (before + after) // 2, error=(after - before + 1) // 2))
    return min(found, key=lambda one: one.error)


def _slot(row: Mapping[str, Any]) -> SlotFacts:
    return SlotFacts(
        name=row["slot_name"],
        plugin=row["plugin"],
        type=row["slot_type"],
        database=row["database"],
        active_pid=row["active_pid"],
        restart=_lsn(row["restart_lsn"]),
        confirmed=_lsn(row["confirmed_flush_lsn"]),
        wal_status=row.get("wal_status"),
        safe_wal_size=row.get("safe_wal_size"),
        invalidation=row.get("invalidation_reason"),
        conflicting=row.get("conflicting"),
        failover=row.get("failover"),
        synced=row.get("synced"),
        inactive_since=row.get("inactive_since"),
    )


def _lsn(text: str | None) -> int | None:
    return None if text is None else parse_lsn(text)


def _table(connection: Connection, named: Named) -> TableFacts | None:
    found = _one(connection, "table_oid", schema=named.schema, relation=named.relation)
    oid = None if found is None else next(iter(found.values()))
    row = None if oid is None else _one(connection, "table", oid=oid)
    if row is None:
        return None
    columns = {one.pop("name"): ColumnFacts(**one) for one in _all(connection, "columns", oid=oid)}
    indexes = _all(connection, "indexes", oid=oid)
    return TableFacts(
        **row,
        identity_columns=_identity(row["identity"], columns, indexes),
        columns=columns,
        indexes=[UniqueIndex(one["name"], tuple(one["columns"]), one["primary"], one["identifies"]) for one in indexes],
        partitions=[
            PartitionFacts(one["name"], one["identity"], frozenset(one["identity_columns"]), one["may_select"])
            for one in (_all(connection, "partitions", oid=oid) if row["kind"] == "p" else ())
        ],
    )


def _identity(letter: str, columns: Mapping[str, ColumnFacts], indexes: list[dict[str, Any]]) -> frozenset[str]:
    if letter == "f":
        return frozenset(columns)
    flag = {"d": "primary", "i": "chosen"}.get(letter)
    return frozenset(name for one in indexes if flag and one[flag] for name in one["columns"])


def _replication(dsn: str) -> str | None:
    """Ask for what the stream will ask for: a replication connection that says who the server is."""
    psycopg = _psycopg()
    try:
        with psycopg.connect("", **_parameters(dsn), autocommit=True, replication="database") as connection:
            answer = connection.pgconn.exec_(b"IDENTIFY_SYSTEM")
            if answer.status != psycopg.pq.ExecStatus.TUPLES_OK:
                return answer.error_message.decode(errors="replace").strip() or "no answer to IDENTIFY_SYSTEM"
            return None
    except psycopg.Error as error:
        return without_secrets(str(error), dsn).strip()


def _parameters(dsn: str) -> dict[str, Any]:
    return with_defaults(_psycopg().conninfo.conninfo_to_dict(dsn), "headrace doctor")


def _one(connection: Connection, name: str, **params: Any) -> dict[str, Any] | None:
    return connection.execute(cast("Any", _statements()[name]), params or None).fetchone()


def _all(connection: Connection, name: str, **params: Any) -> list[dict[str, Any]]:
    return connection.execute(cast("Any", _statements()[name]), params or None).fetchall()


@cache
def _statements() -> dict[str, str]:
    text = files("headrace.sources.postgres.checkup").joinpath("facts.sql").read_text(encoding="utf-8")
    _, *parts = re.split(r"^-- name: (\w+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[::2], (part.strip() for part in parts[1::2]), strict=True))


def _psycopg() -> Any:
    try:
        import psycopg
        import psycopg.conninfo  # pyright: ignore[reportUnusedImport]
    except ModuleNotFoundError as error:
        raise MissingExtra("following a PostgreSQL database", extra="postgres") from error
    return psycopg
