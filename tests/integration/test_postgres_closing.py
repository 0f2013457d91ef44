"""Closing the source does not wait for what the server waits for."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import psycopg
from postgres_mirror import Follower, Mirror, same
from postgres_server import dsn, server, sql  # noqa: F401

from headrace.contracts.infer import schema_of
from headrace.core.records import Record
from headrace.core.schema import TableKind
from headrace.sources import Postgres


class Note(Record):
    id: int
    text: str | None


NOTES = schema_of(Note, name="notes", kind=TableKind.TABLE, key="id")
CREATE = "CREATE TABLE notes (id int PRIMARY KEY, text text)"


async def test_closing_does_not_wait_for_somebody_elses_transaction(dsn, sql, tmp_path: Path):  # noqa: F811
    sql.execute(CREATE)
    follower = Follower({"notes": Postgres(dsn)}, Mirror(NOTES), tmp_path)
    with psycopg.connect(dsn) as other:
        other.execute("INSERT INTO notes VALUES (1, 'n')")  # until it ends no slot can be made
        asking = asyncio.create_task(follower.until(lambda: follower.mirror.position is not None))
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND backend_type = 'walsender'"
        for _ in range(500):
            if sql.execute(waiting).fetchone() == (1,):
                break
            await asyncio.sleep(0.01)
        assert sql.execute(waiting).fetchone() == (1,)
        asking.cancel()
        async with asyncio.timeout(8):
            await follower.close()
        other.rollback()
    await follower.caught_up()
    same(follower, dsn)
    await follower.close()
