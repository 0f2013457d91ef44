"""Whether the server can be followed at all: its version, settings, room and clock, and the rights of our user."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from headrace.core.clock import SECOND
from headrace.core.findings import Finding, Grade
from headrace.sources.postgres.checkup.facts import Facts, ServerFacts, Wanted
from headrace.sources.postgres.checkup.names import identifier
from headrace.sources.postgres.checkup.refusal import brief, kind_of
from headrace.sources.postgres.facts import OLDEST

SKEW = SECOND // 2
"""A clock that is off by more than half a second is told: values' own ages are off by as much."""

SHORT_TIMEOUT = 10
"""Seconds: a `wal_sender_timeout` below this drops followers that pause for breath."""


@dataclass(frozen=True, slots=True)
class Provider:
    """How a managed service turns logical replication on. `replication`: how a user gets the right to it."""

    title: str
    logical: str
    setting: str
    replication: str = "ALTER ROLE {user} REPLICATION;"


PROVIDERS = {
    "": Provider(
        "",
        "ALTER SYSTEM SET wal_level = logical;  -- then restart the server",
        "ALTER SYSTEM SET {name} = {value};  -- {when}",
    ),
    "rds": Provider(
        "Amazon RDS or Aurora",
        "set rds.logical_replication = 1 in the parameter group (Aurora: of the cluster), then reboot the instance",
        "set {name} = {value} in the parameter group",
        "GRANT rds_replication TO {user};",
    ),
    "cloudsql": Provider(
        "Cloud SQL",
        "set the flag cloudsql.logical_decoding = on (this restarts the instance)",
        "set the flag {name} = {value}",
    ),
    "alloydb": Provider(
        "AlloyDB",
        "set the flag alloydb.logical_decoding = on (this restarts the instance)",
        "set the flag {name} = {value}",
    ),
    "azure": Provider(
        "Azure Database for PostgreSQL",
        "set the server parameter wal_level = logical, then restart the server",
        "set the server parameter {name} = {value}",
    ),
    "supabase": Provider(
        "Supabase",
        "wal_level is logical there by default: ask their support",
        "supabase --experimental postgres-config update --config {name}={value}",
    ),
    "neon": Provider(
        "Neon",
        "enable logical replication in the project's settings (this restarts its computes)",
        "ask their support about {name}",
        "create the role in Neon's console: such roles have the REPLICATION attribute",
    ),
}
"""What to do where, by `ServerFacts.provider`; see docs/how-to/postgres-managed.md."""


def examine_server(facts: Facts, wanted: Wanted) -> Iterator[Finding]:
    """Findings about the server."""
    server, subject = facts.server, wanted.subject
    yield _version(server, subject)
    if server.standby:
        yield _standby(server, subject)
    yield _wal_level(server, subject)
    yield _rights(server, subject)
    yield _replication(facts, subject)
    yield _room(server, subject, "max_replication_slots", server.slots_used, needed=1 if facts.slot else 2)
    busy = facts.slot is not None and facts.slot.active_pid is not None
    yield _room(server, subject, "max_wal_senders", server.senders_used, needed=0 if busy else 1)
    yield _keep_size(server, subject)
    yield from _idle_timeout(server, subject)
    yield _sender_timeout(server, subject)
    yield _clock(server, subject)


def _version(server: ServerFacts, subject: str) -> Finding:
    value = server.release + (f", {PROVIDERS[server.provider].title}" if server.provider else "")
    if server.version < OLDEST:
        return Finding(
            subject,
            "version",
            Grade.PROBLEM,
            value,
            f"PostgreSQL {OLDEST // 10_000} is the oldest that can be followed. Upgrade the server, or poll it"
            " (sources.Poll).",
        )
    return Finding(subject, "version", Grade.OK, value)


def _standby(server: ServerFacts, subject: str) -> Finding:
    return Finding(
        subject,
        "recovery",
        Grade.PROBLEM,
        "standby",
        "This server is a standby: nothing can be written to it, so no publication can be made here. Name the primary"
        " in the dsn (several hosts and target_session_attrs=read-write find it after a failover too).",
    )


def _wal_level(server: ServerFacts, subject: str) -> Finding:
    level = server.settings.get("wal_level", "")
    if level == "logical":
        return Finding(subject, "wal_level", Grade.OK, level)
    return Finding(
        subject,
        "wal_level",
        Grade.PROBLEM,
        level,
        "The server does not log enough to tell what changed.",
        (PROVIDERS[server.provider].logical,),
    )


def _rights(server: ServerFacts, subject: str) -> Finding:
    granted = server.superuser or server.replication or "rds_replication" in server.roles
    if granted:
        how = "superuser" if server.superuser else "REPLICATION" if server.replication else "rds_replication"
        return Finding(subject, "replication right", Grade.OK, f"{server.user}: {how}")
    return Finding(
        subject,
        "replication right",
        Grade.PROBLEM,
        f"{server.user}: none",
        f"The user {server.user} may not open a replication stream.",
        (PROVIDERS[server.provider].replication.format(user=identifier(server.user)),),
    )


def _replication(facts: Facts, subject: str) -> Finding:
    what = "replication connection"
    if facts.refused is None:
        return Finding(subject, what, Grade.OK, "opens")
    kind = kind_of(facts.refused)
    return Finding(
        subject,
        what,
        Grade.PROBLEM,
        brief(facts.refused),
        f"A plain connection opens and a replication connection does not: {kind.hint}."
        if kind
        else "A plain connection opens and a replication connection does not; the server's log says more.",
    )


def _room(server: ServerFacts, subject: str, name: str, used: int, *, needed: int) -> Finding:
    text = server.settings.get(name, "")
    if not text.isdigit():
        return Finding(subject, name, Grade.UNKNOWN, text, "The server does not say how many there may be.")
    free = int(text) - used
    value = f"{used} of {text} used"
    if free >= needed:
        return Finding(subject, name, Grade.OK, value)
    raised = str(int(text) + needed - free)
    return Finding(
        subject,
        name,
        Grade.PROBLEM,
        value,
        f"{needed} must be free: the first copy of a table takes a temporary slot beside the lasting one."
        if name == "max_replication_slots"
        else "Each follower takes one, and none is free.",
        (_set(server, name, raised, "then restart the server"),),
    )


def _keep_size(server: ServerFacts, subject: str) -> Finding:
    name = "max_slot_wal_keep_size"
    value = server.settings.get(name)
    if value is None:
        return Finding(subject, name, Grade.UNKNOWN, "", "The server does not say how much log a slot may keep.")
    if value != "-1":
        return Finding(subject, name, Grade.OK, value)
    if server.provider == "azure":
        return Finding(
            subject, name, Grade.WARNING, "-1, no bound",
            "A slot that nobody reads keeps the log of the whole server until its disk is full, and Azure does not let"
            " this be bounded. Let an alert watch the storage, and drop the slot when the app stays down.",
        )  # fmt: skip
    return Finding(
        subject,
        name,
        Grade.WARNING,
        "-1, no bound",
        "A slot that nobody reads keeps the log of the whole server until its disk is full. With a bound the slot is"
        " given up instead, and the tables are copied anew. Choose what the disk can spare.",
        (_set(server, name, "'10GB'", "then SELECT pg_reload_conf();"),),
    )


def _idle_timeout(server: ServerFacts, subject: str) -> Iterator[Finding]:
    name = "idle_replication_slot_timeout"
    value = server.settings.get(name)
    if value is None:
        return
    if value in ("0", "0s", "0min"):
        yield Finding(subject, name, Grade.OK, "off")
        return
    yield Finding(
        subject,
        name,
        Grade.WARNING,
        value,
        f"A slot that nobody reads for {value} is given up: if Headrace is down for longer, the tables are copied"
        " anew.",
    )


def _sender_timeout(server: ServerFacts, subject: str) -> Finding:
    name = "wal_sender_timeout"
    value = server.settings.get(name, "")
    seconds = _seconds(value)
    if seconds is None:
        return Finding(subject, name, Grade.UNKNOWN, value, "The server does not say how long it waits.")
    if seconds == 0:
        message = (
            "The server never notices that a follower is gone without a word (a cut cable, a lost machine): its slot"
            " stays taken, and the next start is refused until somebody ends that process."
        )
    elif seconds < SHORT_TIMEOUT:
        message = "A follower that pauses for that long is cut off, and begins its last transaction again."
    else:
        return Finding(subject, name, Grade.OK, value)
    return Finding(
        subject, name, Grade.WARNING, value, message, (_set(server, name, "'60s'", "then SELECT pg_reload_conf();"),)
    )


def _clock(server: ServerFacts, subject: str) -> Finding:
    if server.clock is None:
        return Finding(subject, "clock", Grade.UNKNOWN, "", "The server did not say what time it has.")
    offset, error = server.clock.offset, server.clock.error
    value = f"{offset / 1000:+.1f} ms, give or take {error / 1000:.1f} ms"
    if abs(offset) - error <= SKEW:
        return Finding(subject, "clock", Grade.OK, value)
    return Finding(
        subject,
        "clock",
        Grade.WARNING,
        value,
        "The server's clock and this machine's differ. As-of ages do not suffer, they use this machine's clock alone;"
        " the value age of a row is off by as much. Let both follow a time server (NTP).",
    )


def _set(server: ServerFacts, name: str, value: str, when: str) -> str:
    return PROVIDERS[server.provider].setting.format(name=name, value=value, when=when)


def _seconds(text: str) -> float | None:
    """
    >>> _seconds("1min"), _seconds("500ms"), _seconds("0"), _seconds("?")
    (60, 0.5, 0.0, None)
    """
    for unit, factor in (("ms", 0.001), ("min", 60), ("s", 1), ("h", 3600), ("d", 86400), ("", 0.001)):
        number = text.removesuffix(unit)
        if text.endswith(unit) and number.isdigit():
            return int(number) * factor
    return None
