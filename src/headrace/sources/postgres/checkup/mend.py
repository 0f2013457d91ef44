"""Running what is safe among the findings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from headrace.core.errors import SourceError
from headrace.core.findings import Finding
from headrace.sources.postgres.checkup.read import connect, place

LOCK_TIMEOUT = 5_000
"""Milliseconds that a statement waits for a lock on a table: behind a waiting ALTER, everybody else waits too."""


def mend(dsn: str, findings: Sequence[Finding]) -> list[str]:
    """Run the statements of the safe findings, each on its own; the statements that were run.

    Raises
    ------
    SourceError
        One failed; those before it were done, as the message says.
    """
    statements = [statement for finding in findings if finding.safe for statement in finding.mend]
    if not statements:
        return []
    import psycopg

    done: list[str] = []
    with connect(dsn) as connection:
        connection.execute("SELECT set_config('lock_timeout', %s, false)", [str(LOCK_TIMEOUT)])
        for statement in statements:
            try:
                connection.execute(cast("Any", statement))
            except psycopg.Error as error:
                before = f" (done before it: {' '.join(done)})" if done else ""
                raise SourceError(
                    f"{place(dsn)} refused {statement!r}: {str(error).splitlines()[0]}{before}",
                    hint="run it as the owner of the tables, when no long transaction holds them",
                    source="postgres",
                ) from None
            done.append(statement)
    return done
