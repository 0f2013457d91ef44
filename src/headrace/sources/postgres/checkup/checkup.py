"""The whole checkup of one stream: facts in, findings out."""

from __future__ import annotations

from collections.abc import Iterator

from headrace.core.errors import SourceError
from headrace.core.findings import Finding, Grade
from headrace.sources.postgres.checkup.facts import Facts, Wanted
from headrace.sources.postgres.checkup.publication import examine_publication
from headrace.sources.postgres.checkup.server import examine_server
from headrace.sources.postgres.checkup.slot import examine_slot
from headrace.sources.postgres.checkup.table import examine_table


def findings(facts: Facts, wanted: Wanted) -> Iterator[Finding]:
    """What there is to say about the server, the tables, the publication and the slot, in that order."""
    yield from examine_server(facts, wanted)
    for name in wanted.schemas:
        yield from examine_table(name, facts, wanted)
    yield from examine_publication(facts, wanted)
    yield from examine_slot(facts, wanted)


def unreachable(error: SourceError, wanted: Wanted) -> Finding:
    """The only finding there is when the server does not let us in."""
    message = f"{error.message[:1].upper()}{error.message[1:]}. To do: {error.hint}."
    return Finding(wanted.subject, "connection", Grade.PROBLEM, "refused", message)
