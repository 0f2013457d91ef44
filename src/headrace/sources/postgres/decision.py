"""The decision at each connection: go on with the stream, or copy first, and which tables, and why.

Pure: what was found at the server and what is remembered go in, what to do comes out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from headrace.sources.postgres.facts import Facts
from headrace.sources.postgres.lsn import Lsn, format_lsn
from headrace.sources.postgres.position import Standing
from headrace.sources.postgres.slot import Slot
from headrace.sources.postgres.tables import ServerTable


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something that was copied before is copied again: a problem's kind and message, for people."""

    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do.

    Attributes
    ----------
    copy
        Names of the tables to copy; none: the stream goes on.
    whole
        The position is begun anew, with the copy.
    at_once
        Tables whose copy is kept in files and given as one transaction, so that readers never see half of it, and
        events are not appended twice.
    reasons
        By table: why it is copied again. A first copy has none.
    gaps
        Events without a key that would have to be copied again: there, repeats could not be told from what is new. They
        go on at the new place, and what happened in between is missing. Why, by table.
    drop_slot, make_slot
        What becomes of the slot.
    """

    copy: tuple[str, ...] = ()
    whole: bool = False
    at_once: frozenset[str] = frozenset()
    reasons: Mapping[str, Reason] = field(default_factory=dict[str, Reason])
    gaps: Mapping[str, Reason] = field(default_factory=dict[str, Reason])
    drop_slot: bool = False
    make_slot: bool = False


def decide(
    facts: Facts,
    standing: Standing | None,
    slot: Slot | None,
    tables: Sequence[ServerTable],
    *,
    known: frozenset[str],
    added: frozenset[str],
    members: Mapping[str, int] | None = None,
    switch: Lsn | None = None,
) -> Decision:
    """What to do at a server like this.

    Parameters
    ----------
    known
        Names of the tables that something was committed for.
    added
        Names of the tables that the publication did not have until now.
    members
        By name, the entry by which the publication has a table (`Place.member`).
    switch
        Where the server's timeline left that of `standing`, when they differ; None: it never was on it.
    """
    again = None if standing is None else _broken(facts, standing, slot, switch)
    if standing is None or again is not None:
        copy = {table.name: again for table in tables}
        usable = slot is not None and not slot.lost
        return _copying(
            tables, copy, known, whole=True, drop_slot=slot is not None and not usable, make_slot=not usable
        )
    copy = {table.name: _stale(table, standing, added, (members or {}).get(table.name, 0)) for table in tables}
    wanted = {name: reason for name, reason in copy.items() if reason is not None or name not in known}
    return _copying(tables, wanted, known) if wanted else Decision()


def _copying(
    tables: Sequence[ServerTable],
    copy: Mapping[str, Reason | None],
    known: frozenset[str],
    *,
    whole: bool = False,
    drop_slot: bool = False,
    make_slot: bool = False,
) -> Decision:
    gaps = {
        table.name: reason
        for table in tables
        if table.is_events and not table.schema.key and table.name in known
        if (reason := copy.get(table.name)) is not None
    }
    chosen = [table for table in tables if table.name in copy and table.name not in gaps]
    at_once = frozenset(table.name for table in chosen if table.name in known or table.is_events)
    told = {name: reason for name, reason in copy.items() if reason is not None and reason.kind and name in known}
    reasons = {name: reason for name, reason in told.items() if name not in gaps}
    return Decision(
        tuple(table.name for table in chosen), whole, at_once, reasons, gaps, drop_slot=drop_slot, make_slot=make_slot
    )


_QUIET = Reason("", "")
"""A copy that was complete when the app was stopped before its slot was made: nothing was lost, nobody need know."""


def _broken(facts: Facts, standing: Standing, slot: Slot | None, switch: Lsn | None) -> Reason | None:
    """Why the stream cannot go on from `standing`; None: it can."""
    at = format_lsn(standing.lsn)
    if facts.system != standing.system:
        return Reason("server_replaced", f"the server is another one than before (system identifier {facts.system})")
    if facts.timeline < standing.timeline:
        return Reason(
            "server_diverged", f"the server is on timeline {facts.timeline}, and {standing.timeline} was read"
        )
    if facts.timeline > standing.timeline and (switch is None or standing.lsn > switch):
        left = "elsewhere" if switch is None else f"at {format_lsn(switch)}"
        return Reason("server_diverged", f"after a failover the server's history left ours {left}, before {at}")
    if facts.end < standing.lsn:
        return Reason(
            "server_diverged", f"the server's log ends at {format_lsn(facts.end)}, before {at}: was it restored?"
        )
    if slot is None:
        if standing.new:
            return _QUIET
        return Reason("slot_lost", "the replication slot is gone: what was committed since is not known")
    if slot.lost:
        return Reason("slot_lost", f"the server gave up the replication slot {slot.name}: {slot.lost}")
    if slot.confirmed > standing.lsn:
        return Reason(
            "slot_lost",
            f"somebody else read from the slot {slot.name}, up to {format_lsn(slot.confirmed)}, beyond {at}",
        )
    return None


def _stale(table: ServerTable, standing: Standing, added: frozenset[str], member: int) -> Reason | None:
    """Why a table that was copied must be copied again; None: it need not be."""
    place = standing.tables.get(table.name)
    if place is None:
        return None if table.name not in added else _QUIET
    if place.oid != table.oid:
        return Reason("table_replaced", f"{table.sql} is another table than before: it was dropped and made anew")
    if table.name in added or (place.member and member != place.member):
        return Reason("unpublished", f"{table.sql} was not in the publication: its changes since then are not known")
    return None
