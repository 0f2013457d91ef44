"""The declaration of a followed table."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from typing import ClassVar

from headrace.core.durations import Duration, parse_duration
from headrace.core.errors import SourceError
from headrace.core.findings import Finding
from headrace.sources.base import Opening, Partition, Source
from headrace.sources.postgres.checkup.examination import examine, mend_safely
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
        """The slot's name."""
        return self.slot or re.sub(r"[^a-z0-9_]", "_", f"headrace_{app}".lower())[:63]

    def publication_name(self, app: str) -> str:
        """The publication's name."""
        return self.publication or self.slot_name(app)

    async def examine(self, opening: Opening) -> Sequence[Finding]:
        return await examine(
            self.dsn, opening, slot=self.slot_name(opening.app), publication=self.publication_name(opening.app)
        )

    async def mend(self, opening: Opening, findings: Sequence[Finding]) -> Sequence[str]:
        return await mend_safely(self.dsn, findings)
