"""Trouble at the server, on the way and here: each is said clearly, and what can mend itself does."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import psycopg
import pytest
from postgres_mirror import CLOCK, Follower, Mirror, same
from postgres_server import FAST, dsn, server, sql  # noqa: F401

from headrace.contracts.infer import schema_of
from headrace.core.errors import SourceError
from headrace.core.events import Problem, Solved
from headrace.core.records import Record
from headrace.core.schema import TableKind
from headrace.demo.postgres import TemporaryPostgres
from headrace.sources import Postgres
from headrace.sources.postgres.stream import Stream


class Note(Record):
    id: int
    text: str | None


NOTES = schema_of(Note, name="notes", kind=TableKind.TABLE, key="id")
CREATE = "CREATE TABLE notes (id int PRIMARY KEY, text text)"
SOME = "INSERT INTO notes SELECT i, 'n' || i FROM generate_series(1, 1000) i"
SLOT = "SELECT * FROM pg_replication_slots WHERE slot_name = 'headrace_t'"

Follow = Callable[..., Follower]


@pytest.fixture
async def follow(dsn: str, tmp_path: Path) -> AsyncIterator[Follow]:  # noqa: F811
    """Makes followers of `notes`, and closes them."""
    made: list[Follower] = []

    def make(source: Postgres | None = None, mirror: Mirror | None = None) -> Follower:
        made.append(Follower({"notes": source or Postgres(dsn)}, mirror or Mirror(NOTES), tmp_path))
        return made[-1]

    yield make
    for follower in made:
        await follower.close()


@pytest.fixture
async def running(sql, follow) -> Follower:  # noqa: F811
    """A follower that has copied a thousand rows and reads the stream."""
    sql.execute(CREATE)
    sql.execute(SOME)
    follower = follow()
    await follower.caught_up()
    await follower.caught_up()
    return follower


async def refusal(follower: Follower) -> SourceError:
    """What the source says instead of working."""
    before = len(follower.errors)
    with contextlib.suppress(SourceError):
        await follower.until(lambda: len(follower.errors) > before)
    return follower.errors[-1]


async def when_free(connection: psycopg.Connection, statement: str) -> None:
    """Do something to the slot as soon as the server has noticed that nobody reads from it."""
    for _ in range(500):
        try:
            connection.execute(statement)  # pyright: ignore
        except psycopg.errors.ObjectInUse:
            await asyncio.sleep(0.01)
        else:
            return
    raise AssertionError("the slot stays in use")


def kinds(follower: Follower, cls: type) -> list[str]:
    return follower.events.kinds(cls)


# Crashes of ours ------------------------------------------------------------------------------------------------------


async def test_from_any_position_on_the_rest_comes_exactly_once(dsn, sql, follow):  # noqa: F811
    sql.execute(CREATE)
    sql.execute(SOME)
    events = schema_of(Note, name="log", kind=TableKind.EVENTS)
    sources = {"notes": Postgres(dsn), "log": Postgres(dsn, table="notes")}
    first = follow(mirror=Mirror(NOTES, events))
    first.sources = sources
    first.acknowledging = False  # the slot stays where it began, so that every position can be tried
    stages: list[Mirror] = []

    async def note_each_stage() -> None:
        now = CLOCK.now()
        while first.mirror.frontier is None or first.mirror.frontier < now:
            batch = await first.step()
            if batch is not None and batch.position is not None and first.partition is not None:
                if len(stages) == 0:
                    await first.partition.acknowledge(batch.position)  # the hand-off waits for this one
                stages.append(copy.deepcopy(first.mirror))

    await note_each_stage()
    for n in range(6):
        sql.execute(f"INSERT INTO notes SELECT i, 'r{n}' FROM generate_series({n + 2}000, {n + 2}000 + {n * 150}) i")
        sql.execute(f"UPDATE notes SET text = 'x{n}' WHERE id % 7 = {n}")
        await note_each_stage()
    await first.close()
    assert len(stages) > 6
    for stage in stages:
        again = follow(mirror=stage)
        again.sources = sources
        again.acknowledging = False
        await again.caught_up()
        await again.close()
        assert stage.tables["notes"].stored() == first.mirror.tables["notes"].stored()
        assert stage.tables["log"].stored() == first.mirror.tables["log"].stored()
        assert not again.errors


async def test_a_crash_during_the_copy_leaves_nothing_behind(dsn, sql, follow):  # noqa: F811
    sql.execute(CREATE)
    sql.execute("INSERT INTO notes SELECT i, 'n' || i FROM generate_series(1, 100000) i")
    follower = follow()
    await follower.until(lambda: bool(follower.mirror.tables["notes"].rows))
    assert follower.mirror.position is None
    await follower.close()
    for _ in range(500):  # the server drops the temporary slot when it has noticed that we are gone
        if not (left := sql.execute("SELECT slot_name FROM pg_replication_slots").fetchall()):
            break
        await asyncio.sleep(0.01)
    assert left == []
    sql.execute("DELETE FROM notes WHERE id % 2 = 0")
    await follower.caught_up()
    same(follower, dsn)


async def test_a_crash_before_the_slot_is_made_copies_again(dsn, sql, follow):  # noqa: F811
    sql.execute(CREATE)
    sql.execute(SOME)
    follower = follow()
    follower.acknowledging = False
    await follower.until(lambda: follower.mirror.position is not None)
    await follower.close()
    assert sql.execute(SLOT).fetchone() is None
    sql.execute("DELETE FROM notes WHERE id < 100")
    follower.acknowledging = True
    await follower.caught_up()
    same(follower, dsn)
    assert not kinds(follower, Problem), "nobody did anything wrong"


async def test_half_of_a_new_copy_is_never_seen(dsn, sql, running):  # noqa: F811
    before = running.mirror.tables["notes"].stored()
    await running.close()
    await when_free(sql, "SELECT pg_drop_replication_slot('headrace_t')")
    sql.execute("DELETE FROM notes WHERE id > 500")
    units = len(running.mirror.units)
    while len(running.mirror.units) == units:
        assert running.mirror.tables["notes"].stored() == before
        await running.step()
    await running.caught_up()
    same(running, dsn)
    assert kinds(running, Problem) == ["slot_lost"]
    assert kinds(running, Solved) == ["slot_lost"]


# Trouble at the server ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT, signal.SIGKILL], ids=["restart", "crash", "kill -9"])
async def test_a_server_that_comes_back_is_followed_on(dsn, sql, running, server: TemporaryPostgres, how):  # noqa: F811
    sql.execute("UPDATE notes SET text = 'before' WHERE id < 500")
    sql.close()
    began = CLOCK.monotonic()
    stopping = asyncio.create_task(asyncio.to_thread(server.stop, how))
    while not stopping.done():
        await running.step()
    assert CLOCK.monotonic() - began < 4, "we held up the server's shutdown"
    await running.until(lambda: any("Connection refused" in error.message for error in running.errors))
    for left in server.data.glob("postmaster.pid"):
        left.unlink()  # what a postmaster that was killed leaves behind
    await asyncio.to_thread(_start, server)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("DELETE FROM notes WHERE id > 900")
    await running.caught_up()
    same(running, dsn)
    assert not kinds(running, Problem), "nothing was lost"


def _start(server: TemporaryPostgres) -> None:  # noqa: F811
    for _ in range(50):  # children of a killed postmaster may hold the shared memory for a moment
        try:
            server.start()
        except Exception:
            continue
        return
    server.start()


async def test_a_killed_walsender_is_replaced(dsn, sql, running, server):  # noqa: F811
    pid = sql.execute("SELECT active_pid FROM pg_replication_slots WHERE slot_name = 'headrace_t'").fetchone()[0]
    sql.execute("SELECT pg_terminate_backend(%s)", [pid])
    sql.execute("DELETE FROM notes WHERE id < 10")
    await running.caught_up()
    same(running, dsn)
    assert "57P01" in str(running.errors[0].__dict__) or "terminat" in running.errors[0].message
    pid = sql.execute("SELECT active_pid FROM pg_replication_slots WHERE slot_name = 'headrace_t'").fetchone()[0]
    sql.execute("UPDATE notes SET text = 'y'")
    sql.close()
    os.kill(pid, signal.SIGKILL)  # the postmaster restarts all of its children
    await running.caught_up()
    same(running, dsn)


async def test_silence_is_noticed(dsn, sql, running):  # noqa: F811
    pid = sql.execute("SELECT active_pid FROM pg_replication_slots WHERE slot_name = 'headrace_t'").fetchone()[0]
    os.kill(pid, signal.SIGSTOP)
    try:
        await running.until(lambda: bool(running.errors), 15)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert "silent for 5 s" in running.errors[0].message
    sql.execute("DELETE FROM notes WHERE id < 10")
    await running.caught_up()
    same(running, dsn)


async def test_a_slot_that_is_in_use_is_left_alone(dsn, sql, running, follow):  # noqa: F811
    other = follow(mirror=copy.deepcopy(running.mirror))
    error = await refusal(other)
    assert "in use by process" in error.message
    assert "SELECT pg_terminate_backend(" in error.hint


@pytest.mark.parametrize("how", ["dropped", "moved", "overrun"])
async def test_a_lost_slot_leads_to_a_new_copy(dsn, sql, running, how):  # noqa: F811
    if how == "overrun":
        await running.close()
        sql.execute("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
        sql.execute("SELECT pg_reload_conf()")
        for _ in range(3):
            sql.execute("INSERT INTO notes SELECT i, repeat('x', 900) FROM generate_series(2000, 4000) i")
            sql.execute("DELETE FROM notes WHERE id >= 2000")
            sql.execute("SELECT pg_switch_wal()")
            sql.execute("CHECKPOINT")
        assert sql.execute(SLOT.replace("*", "wal_status")).fetchone() == ("lost",)
        sql.execute("ALTER SYSTEM RESET max_slot_wal_keep_size")
        sql.execute("SELECT pg_reload_conf()")
    elif how == "moved":
        await running.close()
        sql.execute("DELETE FROM notes WHERE id < 50")
        await when_free(sql, "SELECT pg_replication_slot_advance('headrace_t', pg_current_wal_lsn())")
    else:
        sql.execute("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = 'headrace_t'")
        await when_free(sql, "SELECT pg_drop_replication_slot('headrace_t')")
    sql.execute("DELETE FROM notes WHERE id > 900")
    await running.caught_up()
    await running.caught_up()
    same(running, dsn)
    assert kinds(running, Problem) == ["slot_lost"]
    assert kinds(running, Solved) == ["slot_lost"]
    assert sql.execute(SLOT).fetchone() is not None


async def test_a_table_that_was_made_anew_is_copied_again(dsn, sql, running):  # noqa: F811
    sql.execute("DROP TABLE notes")
    await running.until(lambda: bool(running.errors), 15)
    assert "there is no table notes" in running.errors[0].message
    sql.execute(CREATE)
    sql.execute("INSERT INTO notes VALUES (7, 'new')")
    await running.caught_up()
    same(running, dsn)
    assert kinds(running, Problem) == ["table_replaced"]


async def test_a_table_that_left_the_publication_is_copied_again(dsn, sql, running):  # noqa: F811
    sql.execute("ALTER PUBLICATION headrace_t DROP TABLE notes")
    sql.execute("DELETE FROM notes WHERE id < 100")
    await running.until(lambda: bool(running.errors), 15)
    assert "taken out of the publication" in running.errors[0].message
    await running.caught_up()
    same(running, dsn)
    assert kinds(running, Solved) == ["unpublished"]


async def test_a_publication_is_adopted_or_refused_with_what_mends_it(dsn, sql, follow):  # noqa: F811
    sql.execute(CREATE)
    sql.execute(SOME)
    sql.execute("CREATE PUBLICATION headrace_t WITH (publish = 'insert, update')")
    follower = follow()
    error = await refusal(follower)
    assert "leaves out delete, truncate" in error.message
    sql.execute(error.hint)
    if sql.info.server_version < 150_000:  # no filters yet
        return
    sql.execute("ALTER PUBLICATION headrace_t ADD TABLE notes WHERE (id > 3)")
    error = await refusal(follower)
    assert "only some rows" in error.message
    sql.execute(error.hint.split(";")[0])
    await follower.caught_up()
    same(follower, dsn)


async def test_a_slot_is_adopted_or_refused(dsn, sql, follow):  # noqa: F811
    sql.execute(CREATE)
    sql.execute(SOME)
    sql.execute("SELECT pg_create_logical_replication_slot('headrace_t', 'test_decoding')")
    follower = follow()
    error = await refusal(follower)
    assert "exists and is for test_decoding" in error.message
    sql.execute("SELECT pg_drop_replication_slot('headrace_t')")
    sql.execute("SELECT pg_create_logical_replication_slot('headrace_t', 'pgoutput')")
    sql.execute("UPDATE notes SET text = 'between'")
    await follower.caught_up()
    sql.execute("DELETE FROM notes WHERE id = 1")
    await follower.caught_up()
    same(follower, dsn)
    assert sql.execute("SELECT count(*) FROM pg_replication_slots").fetchone() == (1,)


async def test_a_wrong_address_is_said_without_secrets(dsn, sql, follow):  # noqa: F811
    port = dsn.rsplit(":", 1)[1].split("/")[0]
    for bad, said in (
        (f"postgresql://ann:s3cret@127.0.0.1:{port}/postgres", "does not exist"),
        (f"host=127.0.0.1 port={port} user=postgres password=s3cret dbname=nowhere", "does not exist"),
        ("postgresql://ann:s3cret@127.0.0.1:1/postgres", "Connection refused"),
    ):
        error = await refusal(follow(Postgres(bad)))
        assert said in error.message
        assert error.hint
        assert "s3cret" not in str(error) + repr(error.__cause__) + repr(error.__context__)
        assert not error.permanent


async def test_all_slots_in_use(dsn, sql, follow):  # noqa: F811
    sql.execute(CREATE)
    follower = follow()
    names = [f"taken_{i}" for i in range(20)]
    for name in names:
        sql.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [name])
    error = await refusal(follower)
    assert "all replication slots are in use" in error.message
    assert "max_replication_slots" in error.hint
    for name in names:
        sql.execute("SELECT pg_drop_replication_slot(%s)", [name])
    await follower.caught_up()


async def test_a_full_disk_here_is_waited_out(dsn, sql, running, monkeypatch):  # noqa: F811
    from headrace.sources.postgres import spool

    monkeypatch.setattr("headrace.sources.postgres.assembly.PILE_BYTES", 10_000)
    full = True

    class Full:
        def __init__(self, file):
            self.file = file

        def __getattr__(self, name):
            return getattr(self.file, name)

        def write(self, data):
            if full:
                raise OSError(28, "No space left on device")
            return self.file.write(data)

    opened = spool.SpoolFile._open
    monkeypatch.setattr(spool.SpoolFile, "_open", lambda self: Full(opened(self)))
    sql.execute("UPDATE notes SET text = repeat('y', 100)")
    await running.until(lambda: bool(running.errors))
    assert "No space left" in running.errors[0].message
    assert "sends the transaction again" in running.errors[0].hint
    full = False
    await running.caught_up()
    same(running, dsn)


async def test_a_connection_that_breaks_while_it_copies_is_replaced(dsn, sql, follow, monkeypatch):  # noqa: F811
    monkeypatch.setattr("headrace.sources.postgres.copying.PIECE_PAGES", 2_500)
    monkeypatch.setattr("headrace.sources.postgres.copying.CHUNK_ROWS", 500)
    monkeypatch.setattr("headrace.sources.postgres.copywork.AHEAD", 20_000)
    sql.execute(CREATE)
    sql.execute("INSERT INTO notes SELECT i, repeat('n', 1000) FROM generate_series(1, 40000) i")
    follower = follow()
    seen: list[tuple[int, ...]] = []
    take = follower.mirror.tables["notes"].put
    monkeypatch.setattr(follower.mirror.tables["notes"], "put", lambda r, b: (seen.append((r["id"],)), take(r, b)))
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'COPY%' AND state = 'active'"
    for share in (2_000, 9_000):  # a broken connection brings what was on its way yet: wait for the one after it
        await follower.until(lambda share=share: len(seen) > share and bool(sql.execute(kill).fetchall()))
    await follower.caught_up()
    same(follower, dsn)
    assert len(seen) == 40_000, "each row came once"
    assert not follower.errors


async def test_a_copy_whose_snapshot_is_gone_begins_anew(dsn, sql, follow, monkeypatch):  # noqa: F811
    monkeypatch.setattr("headrace.sources.postgres.copywork.AHEAD", 20_000)
    sql.execute(CREATE)
    sql.execute("INSERT INTO notes SELECT i, repeat('n', 100) FROM generate_series(1, 50000) i")
    follower = follow()
    await follower.until(lambda: bool(follower.mirror.tables["notes"].rows))
    sql.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'headrace_t'")
    sql.execute("DELETE FROM notes WHERE id % 2 = 0")
    await follower.caught_up()
    same(follower, dsn)
    assert follower.errors


async def test_wal_level_is_asked_for(tmp_path):
    with TemporaryPostgres(FAST | {"wal_level": "replica"}) as server:  # noqa: F811
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            connection.execute(CREATE)
        follower = Follower({"notes": Postgres(server.dsn)}, Mirror(NOTES), tmp_path)
        error = await refusal(follower)
        await follower.close()
    assert error.permanent
    assert "wal_level is 'replica'" in error.message
    assert "ALTER SYSTEM SET wal_level = 'logical'" in error.hint


async def test_several_hosts_and_one_that_takes_writes(dsn, sql, follow):  # noqa: F811
    port = dsn.rsplit(":", 1)[1].split("/")[0]
    database = dsn.rsplit("/", 1)[1]
    sql.execute(CREATE)
    sql.execute(SOME)
    source = Postgres(f"host=127.0.0.1,127.0.0.1 port=1,{port} user=postgres dbname={database}")
    follower = follow(source)
    await follower.caught_up()
    await follower.caught_up()
    assert follower.mirror.tables["notes"].rows
    assert not follower.errors


async def test_events_without_a_key_are_not_copied_twice(dsn, sql, follow):  # noqa: F811
    sql.execute(CREATE)
    sql.execute(SOME)
    events = schema_of(Note, name="log", kind=TableKind.EVENTS)
    follower = follow(mirror=Mirror(events))
    follower.sources = {"log": Postgres(dsn, table="notes")}
    await follower.caught_up()
    await follower.caught_up()
    await follower.close()
    sql.execute("INSERT INTO notes VALUES (2000, 'missing')")
    await when_free(sql, "SELECT pg_drop_replication_slot('headrace_t')")
    await follower.caught_up()
    await follower.caught_up()
    sql.execute("INSERT INTO notes VALUES (2001, 'there')")
    await follower.caught_up()
    ids = [event["id"] for event in follower.mirror.tables["log"].events]
    assert ids == [*range(1, 1001), 2001]
    assert kinds(follower, Problem) == ["events_missing"]
    assert kinds(follower, Solved) == []


async def test_what_the_server_says_is_passed_on_without_its_grade(dsn, sql, follow, monkeypatch):  # noqa: F811
    """Our log has grades of its own: what is tried again is a warning there."""
    sql.execute(CREATE)
    follower = follow()
    await follower.caught_up()
    await follower.close()
    drop = "SELECT pg_drop_replication_slot('headrace_t')"
    start = Stream.start

    def dropped_before(stream: Stream, *arguments: object) -> None:
        sql.execute(drop)
        monkeypatch.setattr(Stream, "start", start)
        start(stream, *arguments)  # pyright: ignore

    monkeypatch.setattr(Stream, "start", dropped_before)
    error = await refusal(follower)
    assert 'replication slot "headrace_t" does not exist' in error.message
    assert "ERROR" not in error.message
    await follower.caught_up()
    same(follower, dsn)
