"""Postgres: a database's commits as they happen."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import ClassVar

from headrace.core.durations import Duration, parse_duration
from headrace.core.errors import DeclarationError
from headrace.core.findings import Finding
from headrace.sources.base import Fed, Opening, Partition, Source
from headrace.sources.postgres.checkup.examination import examine, mend_safely
from headrace.sources.postgres.dsn import checked, shown
from headrace.sources.postgres.handoff import Wanted
from headrace.sources.postgres.partition import PostgresPartition
from headrace.sources.postgres.session import load
from headrace.sources.postgres.slot import LONGEST, safe_name
from headrace.sources.postgres.tables import Named


class Postgres(Source):
    """A table of a PostgreSQL database (14 or later): a copy first, then every commit, in order, each exactly once.

    All tables that are declared with the same DSN, slot and publication are followed together: what one transaction
    changed in several of them becomes visible together. The server must run with `wal_level = logical`; the user needs
    the right to replicate, and to read the tables. Needs the extra `postgres`.

    Parameters
    ----------
    dsn
        "postgresql://user:password@host/database", or "host=... dbname=...", as libpq takes it; several hosts are
        tried in turn, and the one that takes writes is followed. Never shown with its password. A pooler will not do.
    table
        The table's name at the server, "items" or "shop.items"; the declared table's name if not given.
    slot
        The replication slot, which is made if it is not there; "headrace_<app>" if not given.
    publication
        The publication, made if it is not there; named like the slot if not given.
    expect
        Rarely needed: an idle server gives a sign of life several times a second.
    snapshot_workers
        Connections that copy at the same time.

    Raises
    ------
    DeclarationError
        When a parameter cannot be true.

    Examples
    --------
    >>> Postgres("postgresql://ann:s3cret@db/shop", table="shop.items").describe()
    'changes of shop.items in postgresql://ann:***@db/shop'
    """

    kind: ClassVar[str] = "postgres"

    def __init__(
        self,
        dsn: str,
        *,
        table: str | None = None,
        slot: str | None = None,
        publication: str | None = None,
        expect: Duration | None = None,
        snapshot_workers: int = 2,
    ) -> None:
        self.dsn = checked(dsn)
        self.table = table
        self.slot = _checked_slot(slot)
        self.publication = _checked_publication(publication)
        self.expect = None if expect is None else parse_duration(expect)
        self.snapshot_workers = snapshot_workers
        self._named = None if table is None else Named.parse(table)
        if not 1 <= snapshot_workers <= 64:
            raise DeclarationError(f"snapshot_workers={snapshot_workers} is not from 1 to 64", hint="2 is usual")

    def __repr__(self) -> str:
        return f"<{self.describe()}>"

    @property
    def stream(self) -> Hashable:
        return (self.dsn, self.slot, self.publication)

    async def open(self, opening: Opening) -> Sequence[Partition]:
        load()
        fed = dict(opening.tables) or {
            opening.schema.name: Fed(opening.schema, self, bool(opening.resume), extra=opening.schema.adopt)
        }
        slot, publication = self.slot_name(opening.app), self.publication_name(opening.app)
        named = {name: _named(name, one.source) for name, one in fed.items()}
        return [PostgresPartition(self, Wanted(fed, named, slot, publication), opening)]

    def slot_name(self, app: str) -> str:
        """The name of the replication slot, for an app of that name."""
        return self.slot or safe_name(f"headrace_{app}")

    def publication_name(self, app: str) -> str:
        """The name of the publication, for an app of that name."""
        return self.publication or self.slot_name(app)

    async def examine(self, opening: Opening) -> Sequence[Finding]:
        named = {name: _named(name, one.source) for name, one in opening.tables.items()}
        slot, publication = self.slot_name(opening.app), self.publication_name(opening.app)
        return await examine(self.dsn, opening, named, slot=slot, publication=publication)

    async def mend(self, opening: Opening, findings: Sequence[Finding]) -> Sequence[str]:
        return await mend_safely(self.dsn, findings)

    def describe(self) -> str:
        what = "its table" if self._named is None else str(self._named)
        return f"changes of {what} in {shown(self.dsn)}"


def _named(name: str, source: Source) -> Named:
    told = source.table if isinstance(source, Postgres) else None
    return Named(None, name) if told is None else Named.parse(told)


def _checked_slot(value: str | None) -> str | None:
    if value is not None and (value != safe_name(value) or not value):
        raise DeclarationError(
            f"slot={value!r} is no name of a replication slot",
            hint=f"lower-case letters, digits and underscores, {LONGEST} at most: {safe_name(value) or 'headrace'!r}",
        )
    return value


def _checked_publication(value: str | None) -> str | None:
    if value is not None and not 1 <= len(value.encode()) <= LONGEST:
        raise DeclarationError(
            f"publication={value!r} is no name of a publication", hint=f"1 to {LONGEST} bytes, for example 'headrace'"
        )
    return value
