"""The shell around the checkup: from an opening of the source to findings, off the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from headrace.core.errors import SourceError
from headrace.core.findings import Finding
from headrace.sources.base import Opening
from headrace.sources.postgres.checkup import checkup
from headrace.sources.postgres.checkup.facts import Wanted
from headrace.sources.postgres.checkup.mend import mend
from headrace.sources.postgres.checkup.read import place, read_facts
from headrace.sources.postgres.tables import Named


async def examine(
    dsn: str, opening: Opening, named: Mapping[str, Named], *, slot: str, publication: str
) -> list[Finding]:
    """All findings about one stream; a server that does not let us in is one finding.

    Parameters
    ----------
    named
        The server's name of each table of `Opening.tables`.
    """
    return await asyncio.to_thread(_examine, dsn, opening, named, slot, publication)


async def mend_safely(dsn: str, findings: Sequence[Finding]) -> list[str]:
    """Run what is safe; see `mend.mend`."""
    return await asyncio.to_thread(mend, dsn, findings)


def _examine(dsn: str, opening: Opening, named: Mapping[str, Named], slot: str, publication: str) -> list[Finding]:
    wanted = Wanted(
        subject=place(dsn),
        slot=slot,
        publication=publication,
        schemas={name: fed.schema for name, fed in opening.tables.items()},
        sources=named,
        resumes=any(fed.known for fed in opening.tables.values()),
    )
    try:
        facts = read_facts(dsn, wanted, opening.clock)
    except SourceError as error:
        return [checkup.unreachable(error, wanted)]
    return list(checkup.findings(facts, wanted))
