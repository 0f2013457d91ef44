"""The replication slot: what the server remembers of us, and what it keeps for us."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass

from headrace.core.errors import SourceError
from headrace.sources.postgres.lsn import Lsn, parse_lsn
from headrace.sources.postgres.session import Server, Session
from headrace.sources.postgres.tables import literal, quoted
from headrace.sources.postgres.trouble import refused

log = logging.getLogger("headrace.source")

PLUGIN = "pgoutput"
LONGEST = 63
"""Bytes in a name, at most."""

FAILOVER_SINCE = 170_000
"""The first version whose standbys can keep slots in step."""

_LOOK = """
SELECT s.*, current_database() AS here, a.application_name, a.client_addr::text AS client,
       (SELECT setting::bigint FROM pg_settings WHERE name = 'wal_sender_timeout') AS patience
FROM pg_replication_slots s LEFT JOIN pg_stat_activity a ON a.pid = s.active_pid
WHERE s.slot_name = %s
"""


_COPY = "SELECT pg_copy_logical_replication_slot(%s, %s, false)"


@dataclass(frozen=True, slots=True)
class Slot:
    """A slot as the server shows it.

    Attributes
    ----------
    confirmed
        The server sends transactions that end after this place.
    lost
        Why the server cannot go on from it any more; "": it can.
    holder
        Who uses it now, for people; "": nobody.
    pid
        The process that uses it; 0: none.
    """

    name: str
    plugin: str
    database: str
    here: str
    confirmed: Lsn
    lost: str
    pid: int
    holder: str
    failover: bool
    temporary: bool


def safe_name(text: str) -> str:
    """`text` as a name that slots may have: lower-case letters, digits and underscores, 63 bytes at most.

    >>> safe_name("headrace_My Shop!")
    'headrace_my_shop_'
    """
    return re.sub(r"[^a-z0-9_]", "_", text.lower())[:LONGEST]


def look(session: Session, name: str) -> Slot | None:
    """The slot of that name; None: there is none."""
    rows = session.rows(_LOOK, [name], doing="looking for the slot")
    if not rows:
        return None
    row = rows[0]
    confirmed = row["confirmed_flush_lsn"]
    holder = ""
    if row["active_pid"]:
        holder = f"{row['application_name'] or 'an unnamed client'} at {row['client'] or 'a local socket'}"
    return Slot(
        name=name,
        plugin=str(row["plugin"] or "physical replication"),
        database=str(row["database"] or ""),
        here=str(row["here"]),
        confirmed=parse_lsn(str(confirmed)) if confirmed else 0,
        lost=_lost(row),
        pid=int(row["active_pid"] or 0),
        holder=holder,
        failover=bool(row.get("failover")),
        temporary=bool(row["temporary"]),
    )


def _lost(row: dict[str, object]) -> str:
    reason = row.get("invalidation_reason") or ("conflicting with recovery" if row.get("conflicting") else None)
    if row["wal_status"] == "lost" or reason:
        return str(reason or "its WAL was removed: max_slot_wal_keep_size was exceeded")
    return ""


def check(slot: Slot) -> None:
    """Whether the slot is one that we can use.

    Raises
    ------
    SourceError
        It is something else, or somebody uses it.
    """
    if slot.plugin != PLUGIN or slot.database != slot.here:
        what = f"for {slot.plugin}" if slot.plugin != PLUGIN else f"of the database {slot.database}"
        raise refused(
            f"the replication slot {slot.name} exists and is {what}",
            f'choose another name with slot="...", or drop it: SELECT pg_drop_replication_slot({literal(slot.name)})',
        )
    if slot.pid:
        raise refused(
            f"the replication slot {slot.name} is in use by process {slot.pid} of the server ({slot.holder})",
            "if that is an older connection of this app, it ends by itself within wal_sender_timeout; to end it now: "
            f"SELECT pg_terminate_backend({slot.pid}). If it is another app, give this one another slot",
        )


def drop(session: Session, name: str) -> None:
    """Drop the slot if it is there."""
    session.rows(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s AND NOT active",
        [name],
        doing=f"dropping the slot {name}",
    )


@dataclass(frozen=True, slots=True)
class Exported:
    """A temporary slot, and the snapshot that shows what was committed before the place at which it begins."""

    lsn: Lsn
    snapshot: str


def create_temporary(replication: Session, name: str) -> Exported:
    """Make a temporary slot. It lives as long as its session, which must do nothing else while the snapshot is used."""
    command = f"CREATE_REPLICATION_SLOT {quoted(name)} TEMPORARY LOGICAL {PLUGIN} EXPORT_SNAPSHOT"
    row = replication.command(command, doing="creating a temporary replication slot")
    return Exported(parse_lsn(str(row[1])), str(row[2]))


def make_permanent(server: Server, replication: Session, temporary: str, name: str, *, version: int) -> None:
    """Copy the temporary slot, which is that of `replication`: from here on the server keeps what comes after it.

    The temporary one is dropped by the server when its session ends. Raises SourceError when there is no slot left.
    """
    session = server.session()  # the one that locked the tables for the copy reads in an old snapshot
    try:
        session.rows(_COPY, [temporary, name], doing=f"creating the slot {name}")
    finally:
        session.close()
    if version >= FAILOVER_SINCE:
        try:
            replication.command(
                f"ALTER_REPLICATION_SLOT {quoted(name)} (FAILOVER true)", doing="marking it for failover"
            )
        except SourceError as error:  # without it a failover costs a new copy, nothing more
            log.warning("the slot %s is not marked for failover: %s", name, error.message)
