"""The declaration of a followed table."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import ClassVar

from headrace.core.durations import Duration, parse_duration
from headrace.core.errors import SourceError
from headrace.core.findings import Finding
from headrace.sources.base import Opening, Partition, Source
from headrace.sources.postgres.checkup.examination import examine, mend_safely
from headrace.sources.postgres.slot import safe_name
from headrace.sources.postgres.tables import Named
from headrace.sources.url import masked


class Postgres(Source):
    """A table that follows a table of a PostgreSQL database (extra `postgres`)."""

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
        self.dsn = dsn
        self.table = table
        self.slot = slot
        self.publication = publication
        self.expect = None if expect is None else parse_duration(expect)
        self.snapshot_workers = snapshot_workers

    @property
    def stream(self) -> Hashable:
        return self.dsn, self.slot, self.publication

    async def open(self, opening: Opening) -> Sequence[Partition]:
        raise SourceError("not here yet", hint="merge the source", permanent=True)

    def describe(self) -> str:
        return f"changes of {masked(self.dsn)}"

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


def _named(name: str, source: Source) -> Named:
    told = source.table if isinstance(source, Postgres) else None
    return Named(None, name) if told is None else Named.parse(told)
