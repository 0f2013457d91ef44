"""The hand-off: from nothing, or from wherever we stood, to a stream without a gap (docs/design/postgres.md).

Everything here blocks, and runs in a thread of the partition.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from headrace.core.clock import Clock
from headrace.core.errors import SourceError
from headrace.sources.base import Fed
from headrace.sources.postgres import publication, rights, slot
from headrace.sources.postgres.copying import join
from headrace.sources.postgres.decision import Decision, decide
from headrace.sources.postgres.facts import Facts, find_out, switch_point
from headrace.sources.postgres.fence import Fence, ask
from headrace.sources.postgres.note import Run
from headrace.sources.postgres.position import Place, Standing
from headrace.sources.postgres.session import Server, Session
from headrace.sources.postgres.tables import Named, ServerTable, find
from headrace.sources.postgres.trouble import refused
from headrace.sources.postgres.types import TYPES_QUERY


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be followed: the tables by their declared names, and the names at the server."""

    fed: dict[str, Fed]
    named: dict[str, Named]
    slot: str
    publication: str


@dataclass(frozen=True, slots=True)
class Ready:
    """A server that was found as it must be, with two open sessions; `members`: see `publication.since`."""

    server: Server
    session: Session
    replication: Session
    facts: Facts
    tables: tuple[ServerTable, ...]
    standing: Standing | None
    decision: Decision
    members: Mapping[str, int] = field(default_factory=dict[str, int])

    def close(self) -> None:
        """Let go of the sessions."""
        self.session.close()
        self.replication.close()


def connect(server: Server, wanted: Wanted, standing: Standing | None) -> Ready:
    """Find the server, make or adopt the publication, look at the slot, and decide.

    Raises
    ------
    SourceError
        Something is not as it must be; nothing is left open.
    """
    server.forget()
    with contextlib.ExitStack() as opened:
        session, replication, facts = _find_server(server, standing, opened)
        tables = _find_tables(session, wanted)
        if standing is not None:
            standing = _of_declared(standing, wanted)
        membership = publication.ensure(session, wanted.publication, tables, version=facts.version)
        found = slot.look(session, wanted.slot)
        if found is not None:
            slot.check(found)
        known = frozenset(name for name, fed in wanted.fed.items() if fed.known or _copied(standing, name))
        switch = None
        if standing is not None and standing.system == facts.system and standing.timeline < facts.timeline:
            switch = switch_point(replication, facts.timeline, standing.timeline)
        decision = decide(
            facts, standing, found, tables, known=known, added=membership.added, members=membership.since,
            switch=switch,
        )  # fmt: skip
        rights.check(session, [table for table in tables if table.name in decision.copy])
        if decision.drop_slot:
            slot.drop(session, wanted.slot)
        if standing is not None and not decision.whole:
            standing = replace(standing, timeline=facts.timeline, tables=_members(standing, membership.since))
        opened.pop_all()
        return Ready(server, session, replication, facts, tables, standing, decision, membership.since)


def _members(standing: Standing, since: Mapping[str, int]) -> dict[str, Place]:
    """The tables of a position that was written before the publication's entries were remembered, with them."""
    return {
        name: place if place.member else replace(place, member=since.get(name, 0))
        for name, place in standing.tables.items()
    }


def _find_server(
    server: Server, standing: Standing | None, opened: contextlib.ExitStack
) -> tuple[Session, Session, Facts]:
    """The primary. Of several hosts, one whose history ends before a failover that we followed is not it."""
    old: Facts | None = None
    while True:
        with contextlib.ExitStack() as trying:
            try:
                session = server.session()
            except SourceError:
                if old is None or standing is None:
                    raise
                raise _fallen(old, standing) from None
            trying.callback(session.close)
            replication = server.replication()
            trying.callback(replication.close)
            facts = find_out(session, replication)
            fallen = standing is not None and facts.system == standing.system and facts.timeline < standing.timeline
            if standing is None or not fallen or not server.is_one_of_several:
                opened.push(trying.pop_all())
                return session, replication, facts
            old = facts
        if not server.pass_over():
            raise _fallen(old, standing)


def _fallen(facts: Facts, standing: Standing) -> SourceError:
    return refused(
        f"the only host that takes writes is on timeline {facts.timeline}, and {standing.timeline} was read: it was "
        "the primary before a failover, or an older backup",
        "it is tried again until the primary is back; if this one is meant, name it alone in the DSN",
    )


def _find_tables(session: Session, wanted: Wanted) -> tuple[ServerTable, ...]:
    return tuple(find(session, wanted.named[name], fed.schema, extra=fed.extra) for name, fed in wanted.fed.items())


def _of_declared(standing: Standing, wanted: Wanted) -> Standing:
    """Without the tables that are not declared any more; they are copied anew if they ever come back."""
    return replace(standing, tables={name: place for name, place in standing.tables.items() if name in wanted.fed})


def _copied(standing: Standing | None, name: str) -> bool:
    return standing is not None and name in standing.tables


@dataclass(frozen=True, slots=True)
class Shot:
    """A snapshot of the server that copies are made of.

    Attributes
    ----------
    fence
        When it was taken, on our clock: everything committed before is in it.
    taken_at
        The same on the server's clock, microseconds.
    standing
        Where the stream stands once the copy is complete.
    run
        The snapshot as a note tells it: what is stored of it so far is nothing.
    """

    snapshot: str
    temporary: str
    fence: Fence
    taken_at: int
    tables: tuple[ServerTable, ...]
    standing: Standing
    run: Run


def shoot(ready: Ready, wanted: Wanted, clock: Clock) -> Shot:
    """Take the snapshot, and lock the tables against being rewritten while they are read.

    Raises
    ------
    SourceError
        No slot is free, or a table is gone.
    """
    fence = ask(ready.session, clock)
    temporary = f"{wanted.slot[:45]}_tmp_{ready.replication.pid}"
    exported = slot.create_temporary(ready.replication, temporary)
    chosen = tuple(table for table in ready.tables if table.name in ready.decision.copy)
    join(ready.session, exported.snapshot)
    listed = ", ".join(("" if table.is_partitioned else "ONLY ") + table.sql for table in chosen)
    if chosen:
        ready.session.run(f"LOCK TABLE {listed} IN ACCESS SHARE MODE", doing="locking the tables against rewriting")
    again = tuple(find(ready.session, wanted.named[t.name], t.schema, extra=t.extra) for t in chosen)
    if again != chosen:
        raise refused("a table was changed while its copy began", "nothing need be done: it is tried again")
    begun = {*ready.decision.copy, *ready.decision.gaps}
    places = {
        table.name: Place(table.oid, exported.lsn, ready.members.get(table.name, 0))
        for table in ready.tables
        if table.name in begun
    }
    if ready.decision.whole or ready.standing is None:
        facts = ready.facts
        standing = Standing(facts.system, facts.timeline, exported.lsn, places, new=ready.decision.make_slot)
    else:
        standing = replace(ready.standing, tables={**ready.standing.tables, **places})
    taken_at = fence.at + fence.clock.offset
    run = Run(exported.lsn, *_snapshot_of(ready.session, chosen))
    return Shot(exported.snapshot, temporary, fence, taken_at, chosen, standing, run)


def _snapshot_of(session: Session, tables: Sequence[ServerTable]) -> tuple[int, dict[int, int]]:
    """The transaction before which everything had ended, and the files of the relations, which are locked."""
    xmin = session.one(_XMIN, doing="looking at the snapshot")["xmin"]
    oids = [leaf.oid for table in tables for leaf in table.leaves]
    files = session.rows(_FILES, [oids], doing="looking at the files of the tables")
    return int(xmin), {row["oid"]: int(row["file"]) for row in files}


_XMIN = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS xmin"
_FILES = """
SELECT c.oid::bigint AS oid, pg_relation_filenode(c.oid)::bigint AS file
FROM pg_class c JOIN pg_am a ON a.oid = c.relam
WHERE c.oid = ANY (%s::oid[]) AND a.amname = 'heap' AND pg_relation_filenode(c.oid) IS NOT NULL
"""
"""Only PostgreSQL's own storage keeps rows in the way that a note stands on."""


def settle(ready: Ready, wanted: Wanted, shot: Shot) -> None:
    """The copy is on disk here: make the slot, if it is not there.

    Raises
    ------
    SourceError
        It cannot be made; the copy has to be made again.
    """
    if ready.decision.make_slot:
        slot.make_permanent(ready.server, ready.replication, shot.temporary, wanted.slot, version=ready.facts.version)


def ask_types(session: Session, oids: Sequence[int]) -> list[tuple[Any, ...]]:
    """The rows that `Types.add` takes."""
    return session.tuples(TYPES_QUERY, [list(oids)], doing="reading the types")
