"""What the server is and how it is set, as far as following it depends on that."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.sources.postgres.lsn import Lsn, parse_lsn
from headrace.sources.postgres.session import Session
from headrace.sources.postgres.trouble import refused

OLDEST = 140_000
"""The first version that can be followed: it copies large tables by ranges of ctid, and streams large transactions."""

DEFAULT_PATIENCE = 60.0

_FACTS = """
SELECT current_setting('server_version_num')::int AS version, current_setting('wal_level') AS wal_level,
       pg_is_in_recovery() AS in_recovery, current_database() AS database,
       (SELECT setting::bigint FROM pg_settings WHERE name = 'wal_sender_timeout') AS patience
"""


@dataclass(frozen=True, slots=True)
class Facts:
    """What was found out.

    Attributes
    ----------
    version
        As in `server_version_num`: 150004.
    system
        The identifier that tells this cluster, and its replicas, from all others.
    end
        Where its log ends on disk.
    patience
        Seconds of silence after which a connection counts as broken (`wal_sender_timeout`).
    """

    version: int
    database: str
    patience: float
    system: str
    timeline: int
    end: Lsn

    @property
    def protocol(self) -> int:
        """The newest protocol of pgoutput that both sides speak."""
        if self.version >= 160_000:
            return 4
        return 3 if self.version >= 150_000 else 2


def find_out(session: Session, replication: Session) -> Facts:
    """Ask the server.

    Raises
    ------
    SourceError
        It cannot be followed as it is set now.
    """
    row = session.one(_FACTS, doing="looking at the server's settings")
    if row["version"] < OLDEST:
        raise refused(f"the server is PostgreSQL {row['version'] // 10_000}", "14 is the oldest that can be followed",
                      permanent=True)  # fmt: skip
    if row["in_recovery"]:
        raise refused(
            "the server is a standby: publications and slots are made on the primary",
            "name the primary, or all hosts: host=a,b target_session_attrs=read-write; it is tried again",
        )
    if row["wal_level"] != "logical":
        raise refused(
            f"the server's wal_level is {row['wal_level']!r}: it does not write down what changes rows",
            "ALTER SYSTEM SET wal_level = 'logical', then restart the server "
            "(managed servers have a switch for it: rds.logical_replication, cloudsql.logical_decoding, ...)",
            permanent=True,
        )
    system, timeline, end, *_ = replication.command("IDENTIFY_SYSTEM", doing="asking the server who it is")
    patience = int(row["patience"]) / 1000 or DEFAULT_PATIENCE
    return Facts(row["version"], row["database"], patience, str(system), int(str(timeline)), parse_lsn(str(end)))


def switch_point(replication: Session, timeline: int, past: int) -> Lsn | None:
    """Where the history of `timeline` left the timeline `past`; None: it never was on it."""
    row = replication.command(f"TIMELINE_HISTORY {timeline}", doing="reading the timeline's history")
    for line in str(row[1] or "").splitlines() if len(row) > 1 else ():
        parts = line.split("#")[0].split()
        if len(parts) >= 2 and parts[0] == str(past):
            return parse_lsn(parts[1])
    return None
