"""Whether the slot can be followed, and how much log it keeps the server from throwing away."""

from __future__ import annotations

from collections.abc import Iterator

from headrace.core.findings import Finding, Grade
from headrace.sources.postgres.checkup.facts import Facts, ServerFacts, SlotFacts, Wanted
from headrace.sources.postgres.checkup.names import size

NARROW = 256 << 20
"""Bytes that the server may still write before the slot is given up; below this it is told."""

MUCH = 1 << 30
"""Bytes of log that a slot keeps; from here on it is told."""

ANEW = "A running engine, or the next start, copies the tables anew; until then their rows are served, and are stale."


def examine_slot(facts: Facts, wanted: Wanted) -> Iterator[Finding]:
    """Findings about the slot."""
    slot, subject = facts.slot, f"slot {wanted.slot}"
    if slot is None:
        yield _absent(wanted, subject)
        return
    if slot.type != "logical" or slot.plugin != "pgoutput":
        yield Finding(
            subject, "plugin", Grade.PROBLEM, slot.plugin or slot.type,
            "Somebody else's slot has this name, and it does not speak pgoutput. Choose another: Postgres(slot=...).",
        )  # fmt: skip
        return
    if slot.database != facts.server.database:
        yield Finding(
            subject, "database", Grade.PROBLEM, slot.database or "none",
            f"The slot belongs to that database, and the dsn names {facts.server.database}. Correct the dsn, or choose"
            " another slot: Postgres(slot=...).",
        )  # fmt: skip
        return
    yield _follower(slot, subject)
    yield _state(slot, subject)
    if not is_lost(slot):
        yield _lag(slot, facts.server, subject)
        yield from _reserve(slot, subject)
    yield from _failover(slot, facts.server, subject)


def _absent(wanted: Wanted, subject: str) -> Finding:
    if wanted.resumes:
        return Finding(
            subject, "state", Grade.WARNING, "gone",
            f"These tables were followed before, and their slot is not there any more. {ANEW}",
        )  # fmt: skip
    return Finding(subject, "state", Grade.OK, "not there yet", "The first start makes it.")


def _follower(slot: SlotFacts, subject: str) -> Finding:
    if slot.active_pid is not None:
        return Finding(subject, "follower", Grade.OK, f"process {slot.active_pid} of the server serves one")
    since = f" since {slot.inactive_since}" if slot.inactive_since else ""
    return Finding(
        subject, "follower", Grade.OK, f"none{since}",
        "While nobody follows, the server keeps its log, that of all its databases, for this slot.",
    )  # fmt: skip


def is_lost(slot: SlotFacts) -> bool:
    """Whether the server has given it up."""
    return slot.wal_status == "lost" or bool(slot.invalidation) or bool(slot.conflicting)


def _state(slot: SlotFacts, subject: str) -> Finding:
    if is_lost(slot):
        reason = slot.invalidation or ("conflict with recovery" if slot.conflicting else "wal_removed")
        return Finding(
            subject,
            "state",
            Grade.PROBLEM,
            f"lost: {reason}",
            f"{_REASONS.get(reason, 'The server gave it up.')} {ANEW}",
        )
    if slot.wal_status == "unreserved":
        return Finding(
            subject, "state", Grade.PROBLEM, slot.wal_status,
            "The server gives it up at its next checkpoint unless it is read on before: start the engine now, or raise"
            " max_slot_wal_keep_size first.",
        )  # fmt: skip
    if slot.wal_status == "extended":
        return Finding(
            subject, "state", Grade.WARNING, slot.wal_status,
            "It keeps more log than max_wal_size: the follower is behind, or there is none.",
        )  # fmt: skip
    return Finding(subject, "state", Grade.OK, slot.wal_status or "there")


_REASONS = {
    "wal_removed": "It was behind by more than max_slot_wal_keep_size, so the server gave it up.",
    "rows_removed": "Rows of the catalog that it needs were removed.",
    "wal_level_insufficient": "wal_level was lowered while it existed.",
    "idle_timeout": "Nobody read it for longer than idle_replication_slot_timeout.",
}


def _lag(slot: SlotFacts, server: ServerFacts, subject: str) -> Finding:
    if server.wal is None or slot.restart is None:
        return Finding(subject, "kept log", Grade.UNKNOWN, "", "The server does not say where its log ends.")
    kept = server.wal - slot.restart
    behind = None if slot.confirmed is None else server.wal - slot.confirmed
    value = size(kept) + ("" if behind is None else f", follower behind by {size(behind)}")
    if kept < MUCH:
        return Finding(subject, "kept log", Grade.OK, value)
    why = (
        "The follower is behind, or a transaction has been open for long (pg_stat_activity, xact_start)."
        if slot.active_pid is not None
        else "Nobody follows: start the engine, or `headrace source drop` what is not needed any more."
    )
    return Finding(subject, "kept log", Grade.WARNING, value, f"The server cannot throw this log away. {why}")


def _reserve(slot: SlotFacts, subject: str) -> Iterator[Finding]:
    if slot.safe_wal_size is None or slot.wal_status in ("unreserved", "lost"):
        return
    narrow = slot.safe_wal_size < NARROW
    yield Finding(
        subject,
        "safe_wal_size",
        Grade.WARNING if narrow else Grade.OK,
        size(slot.safe_wal_size),
        "When the server has written this much more, the slot is given up. Start the engine, or raise"
        " max_slot_wal_keep_size."
        if narrow
        else "",
    )


def _failover(slot: SlotFacts, server: ServerFacts, subject: str) -> Iterator[Finding]:
    if slot.failover is None:
        return
    if slot.failover:
        yield Finding(subject, "failover", Grade.OK, "kept on standbys")
        return
    yield Finding(
        subject, "failover", Grade.OK, "on this server only",
        "After a failover to a standby the tables are copied anew.",
    )  # fmt: skip
