"""Two failovers in a row, to replicas that keep the slot: no gap, no repeat, no new copy.

A replica gets a slot into step only while somebody reads from it, so the follower is there all the time.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import pytest
from postgres_mirror import Follower, Mirror, same
from postgres_server import FAST
from postgres_standby import Standby
from test_postgres_failover import (  # noqa: F401
    CREATE,
    LOG,
    NEW,
    NOTES,
    SOME,
    Pair,
    Writer,
    copies,
    meanwhile,
    pair,
    position,
)

from headrace.sources import Postgres

pytestmark = pytest.mark.timeout(120)


@pytest.mark.parametrize("pair", NEW, indirect=True, ids=["18"])  # older replicas keep no slots
async def test_two_failovers_in_a_row_are_no_gap(pair: Pair, tmp_path: Path) -> None:  # noqa: F811
    pair.sql.execute(CREATE)
    pair.sql.execute(SOME)
    third = Standby(pair.standby, FAST)
    ports = f"{pair.primary.port},{pair.standby.port},{third.port}"
    dsn = (
        f"host=127.0.0.1,127.0.0.1,127.0.0.1 port={ports} user=postgres dbname=postgres target_session_attrs=read-write"
    )
    follower = Follower({"notes": Postgres(dsn), "log": Postgres(dsn)}, Mirror(NOTES, LOG), tmp_path)
    await follower.caught_up()
    await follower.caught_up()
    before = copies(follower)
    pair.hold_back()
    await meanwhile(follower, pair.keep_slots)
    first = Writer(pair.primary.dsn)
    await follower.until(lambda: first.written > 100)
    await meanwhile(follower, pair.fail_over)
    first.join()
    with third:
        again = Pair(pair.standby, third)
        try:
            again.hold_back()
            await meanwhile(follower, again.keep_slots)
            again.sql.execute("INSERT INTO log SELECT -i, 'between' FROM generate_series(1, 50) i")
            await meanwhile(follower, _received, again)
            await meanwhile(follower, again.fail_over)
        finally:
            again.close()
        with third.connect() as sql:
            sql.execute("INSERT INTO log VALUES (-1000, 'after'); DELETE FROM notes WHERE id > 900")
            await follower.caught_up(60)
            ids = [event["id"] for event in follower.mirror.tables["log"].events]
            forward = [i for i in ids if i > 0]
            assert forward == [*range(1, len(forward) + 1)], "in order, once, without a gap"
            assert [i for i in ids if i < 0] == [*range(-1, -51, -1), -1000]
        follower.sources = {name: Postgres(third.dsn) for name in follower.sources}
        same(follower, third.dsn)
        assert copies(follower) == before
        assert position(follower)["timeline"] == 3
        await follower.close()


def _received(two: Pair) -> None:
    """Until the replica has all that its primary has committed."""
    (end,) = two.sql.execute("SELECT pg_current_wal_flush_lsn()::text").fetchone()  # pyright: ignore
    with two.standby.connect() as there:
        while not there.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", [end]).fetchone()[0]:  # pyright: ignore
            there.execute("SELECT pg_sleep(0.02)")
