"""Failover to real replicas: what was read is in the history of the new primary, or is copied anew."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import psycopg
import pytest
from postgres_mirror import Follower, Mirror, at_server, same
from postgres_server import FAST, FOLDERS, version
from postgres_standby import KEEPS_SLOTS_SINCE, SLOT, Standby

from headrace.contracts.infer import schema_of
from headrace.core.events import Problem, Solved
from headrace.core.records import Record
from headrace.core.schema import TableKind
from headrace.demo.postgres import TemporaryPostgres
from headrace.sources import Postgres


class Note(Record):
    id: int
    text: str | None


NOTES = schema_of(Note, name="notes", kind=TableKind.TABLE, key="id")
LOG = schema_of(Note, name="log", kind=TableKind.EVENTS)
CREATE = "CREATE TABLE notes (id int PRIMARY KEY, text text); CREATE TABLE log (id int, text text)"
SOME = "INSERT INTO notes SELECT i, 'n' || i FROM generate_series(1, 1000) i"
FAILOVER = "SELECT failover FROM pg_replication_slots WHERE slot_name = 'headrace_t'"
NO_PRIMARY = "none of the hosts is a primary now"
OURS = "SELECT * FROM pg_replication_slots WHERE slot_name = 'headrace_t'"

pytestmark = pytest.mark.timeout(60)


class Pair:
    """A primary and its replica."""

    def __init__(self, primary: TemporaryPostgres, standby: Standby) -> None:
        self.primary = primary
        self.standby = standby
        self.sql = psycopg.connect(primary.dsn, autocommit=True)

    @property
    def dsn(self) -> str:
        """Both of them; whichever takes writes is meant."""
        ports = f"{self.primary.port},{self.standby.port}"
        return f"host=127.0.0.1,127.0.0.1 port={ports} user=postgres dbname=postgres target_session_attrs=read-write"

    @property
    def keeps_slots(self) -> bool:
        return self.primary.version >= KEEPS_SLOTS_SINCE

    def keep_slots(self) -> None:
        """Until the replica has our slot, and would keep it if it were promoted now."""
        with self.standby.connect() as there:
            there.execute("ALTER SYSTEM SET sync_replication_slots = on")
            there.execute("SELECT pg_reload_conf()")
            while not there.execute(f"{OURS} AND synced AND NOT temporary").fetchall():
                # The slot moves on, beyond the place from which the replica can read the log.
                self.sql.execute("SELECT pg_log_standby_snapshot()")
                self.sql.execute("UPDATE notes SET text = 'moved' WHERE id = 1")
                there.execute("SELECT pg_sleep(0.05)")

    def hold_back(self) -> None:
        """The primary sends us nothing that the replica does not have."""
        self.sql.execute(f"ALTER SYSTEM SET synchronized_standby_slots = '{SLOT}'")
        self.sql.execute("SELECT pg_reload_conf()")

    def fail_over(self) -> None:
        """The primary crashes, and the replica takes its place."""
        self.primary.stop(signal.SIGQUIT)
        self.standby.promote()

    def close(self) -> None:
        self.sql.close()


NEW = [next((folder for folder in FOLDERS if "site-packages" in folder), "none")]
"""The server that is newer than Debian's."""


@pytest.fixture(params=list(FOLDERS) or ["none"], ids=version)
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    if request.param not in FOLDERS:
        pytest.skip("needs a PostgreSQL server")
    with TemporaryPostgres(FAST, folder=Path(FOLDERS[request.param])) as primary:
        if not (primary.binaries / "pg_basebackup").exists():
            pytest.skip("needs pg_basebackup")
        with Standby(primary, FAST) as standby:
            made = Pair(primary, standby)
            yield made
            made.close()


@pytest.fixture
async def running(pair: Pair, tmp_path: Path) -> AsyncIterator[Follower]:
    """A follower of a table and of events, that has copied them and reads the stream."""
    pair.sql.execute(CREATE)
    pair.sql.execute(SOME)
    follower = Follower({"notes": Postgres(pair.dsn)}, Mirror(NOTES), tmp_path)
    await follower.caught_up()
    await follower.caught_up()
    yield follower
    await follower.close()


async def meanwhile(follower: Follower, work: Callable[..., None], *arguments: object) -> None:
    """The follower goes on while `work` is done in a thread."""
    doing = asyncio.create_task(asyncio.to_thread(work, *arguments))
    while not doing.done():
        await follower.step()
    await doing


def kinds(follower: Follower, cls: type) -> list[str]:
    return follower.events.kinds(cls)


def copies(follower: Follower) -> int:
    """How many full copies were given so far; each must be one transaction."""
    return sum(any(batch.snapshot in ("end", "only") for batch in unit) for unit in follower.mirror.units)


def position(follower: Follower) -> dict[str, object]:
    assert follower.mirror.position is not None
    return json.loads(follower.mirror.position)


class Writer:
    """Appends to the log and changes notes, one transaction after the other, until its server is gone."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.written = 0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            with psycopg.connect(self.dsn, autocommit=True) as sql:
                while True:
                    at = self.written + 1
                    sql.execute(
                        "WITH a AS (INSERT INTO log VALUES (%s, 'x')) UPDATE notes SET text = %s WHERE id = %s",
                        [at, f"w{at}", at % 1000 + 1],
                    )
                    self.written = at
        except psycopg.Error:
            pass

    def go_on(self, count: int) -> None:
        """Wait until so many more are written."""
        end = self.written + count
        while self.written < end and self._thread.is_alive():
            self._thread.join(0.01)

    def join(self) -> None:
        self._thread.join()


@pytest.mark.parametrize("stopped", [False, True], ids=["while it runs", "while it is stopped"])
@pytest.mark.parametrize("pair", NEW, indirect=True, ids=["18"])  # older replicas keep no slots
async def test_a_failover_to_a_replica_that_keeps_the_slot_is_no_gap(pair: Pair, tmp_path: Path, stopped: bool):
    assert pair.keeps_slots
    pair.sql.execute(CREATE)
    pair.sql.execute(SOME)
    sources = {"notes": Postgres(pair.dsn), "log": Postgres(pair.dsn)}
    follower = Follower(sources, Mirror(NOTES, LOG), tmp_path)
    await follower.caught_up()
    await follower.caught_up()
    assert pair.sql.execute(FAILOVER).fetchone() == (True,)
    pair.hold_back()
    await meanwhile(follower, pair.keep_slots)
    before = copies(follower)
    writer = Writer(pair.primary.dsn)
    await follower.until(lambda: writer.written > 300)
    if stopped:
        await follower.close()
        await asyncio.to_thread(writer.go_on, 100)
        pair.fail_over()
    else:
        await meanwhile(follower, pair.fail_over)
    writer.join()
    with pair.standby.connect() as sql:
        sql.execute("INSERT INTO log VALUES (-1, 'after'); DELETE FROM notes WHERE id > 900")
        await follower.caught_up()
        ids = [event["id"] for event in follower.mirror.tables["log"].events]
        assert len(ids) == len(set(ids)), "an event came twice"
        assert ids == [*range(1, len(ids)), -1], "in order, without a gap"
        assert len(ids) > 300
        for name in sources:
            table = follower.mirror.tables[name]
            assert table.stored() == at_server(pair.standby.dsn, name, table.schema)
        assert position(follower)["timeline"] == 2
        assert copies(follower) == before, "nothing was copied anew"
        assert not kinds(follower, Problem)
        assert sql.execute(FAILOVER).fetchone() == (True,), "the next failover is no gap either"
    await follower.close()


async def test_a_failover_to_a_replica_without_the_slot_is_one_new_copy(pair: Pair, running: Follower):
    before = copies(running)
    writer = Writer(pair.primary.dsn)
    await running.until(lambda: writer.written > 200)
    pair.sql.execute("DELETE FROM notes WHERE id > 900")
    await meanwhile(running, pair.primary.stop)
    writer.join()
    await running.until(lambda: any(NO_PRIMARY in error.hint for error in running.errors))
    await meanwhile(running, pair.standby.promote)
    with pair.standby.connect() as sql:
        sql.execute("DELETE FROM notes WHERE id BETWEEN 100 AND 200")
        await running.caught_up()
        same(running, pair.standby.dsn)
        assert kinds(running, Problem) == ["slot_lost"]
        assert kinds(running, Solved) == ["slot_lost"]
        assert copies(running) == before + 1
        assert position(running)["timeline"] == 2
        sql.execute("UPDATE notes SET text = 'on' WHERE id < 50")
        await running.caught_up()
        same(running, pair.standby.dsn)
        assert copies(running) == before + 1, "the stream goes on behind it"


@pytest.mark.parametrize("stopped", [False, True], ids=["while it runs", "while it is stopped"])
async def test_what_only_the_old_primary_had_is_taken_back(pair: Pair, running: Follower, stopped: bool):
    if pair.keeps_slots:
        await meanwhile(running, pair.keep_slots)  # a slot that is there is no proof that all goes on
    await meanwhile(running, pair.standby.cut)
    pair.sql.execute("INSERT INTO notes SELECT i, 'lost' FROM generate_series(2000, 2500) i")
    pair.sql.execute("DELETE FROM notes WHERE id < 10")
    await running.caught_up()
    same(running, pair.primary.dsn)
    read = position(running)
    before = copies(running)
    if stopped:
        await running.close()
        pair.fail_over()
    else:
        await meanwhile(running, pair.fail_over)
    with pair.standby.connect() as sql:
        # Its log grows beyond what was read, so that only the history tells.
        sql.execute("CREATE TABLE filler AS SELECT i, repeat('x', 100) FROM generate_series(1, 30000) i")
        sql.execute("INSERT INTO notes VALUES (3000, 'after')")
        assert sql.execute("SELECT pg_current_wal_lsn() > %s::pg_lsn", [read["lsn"]]).fetchone() == (True,)
        await running.caught_up()
        same(running, pair.standby.dsn)
        assert not any(row[1] == "lost" for row in running.mirror.tables["notes"].stored())
        assert kinds(running, Problem) == ["server_diverged"]
        assert kinds(running, Solved) == ["server_diverged"]
        (problem,) = [event for event in running.events.all if isinstance(event, Problem)]
        assert "history left ours at" in problem.message
        assert copies(running) == before + 1
        sql.execute("UPDATE notes SET text = 'on' WHERE id < 50")
        await running.caught_up()
        same(running, pair.standby.dsn)
        assert copies(running) == before + 1, "the stream goes on behind it"


async def test_a_primary_of_before_the_failover_that_comes_back_is_left_alone(pair: Pair, running: Follower):
    await meanwhile(running, pair.primary.stop)
    await meanwhile(running, pair.standby.promote)
    with pair.standby.connect() as sql:
        sql.execute("UPDATE notes SET text = 'new' WHERE id < 50")
        await running.caught_up()
        before = copies(running)
        await meanwhile(running, pair.primary.start)
        sql.execute("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active")
        sql.execute("UPDATE notes SET text = 'newer' WHERE id < 50")
        await running.caught_up()
        same(running, pair.standby.dsn)
        assert copies(running) == before
        assert position(running)["timeline"] == 2
        sql.close()
        await meanwhile(running, pair.standby.stop)
        seen = len(running.errors)
        await running.until(lambda: any("timeline 1" in error.message for error in running.errors[seen:]))
        assert any("name it alone" in error.hint for error in running.errors[seen:])
        await meanwhile(running, pair.standby.start)
        await running.caught_up()
        same(running, pair.standby.dsn)
