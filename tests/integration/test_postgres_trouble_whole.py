"""Trouble that is none of PostgreSQL's own, through the whole product: the network, our disk, our memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from postgres_server import dsn, server  # noqa: F401
from postgres_torture import NEVER, Server, at_server, difference, eventually, instant, signalled, stored
from postgres_writers import CLOCK, fill
from tcp_proxy import Proxy

import headrace
from headrace import load_app
from headrace.store.connection import open_reader
from headrace.store.snapshot import note

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture
def serve() -> Iterator:
    started: list[Server] = []

    def make(folder: Path, dsn: str) -> Server:  # noqa: F811
        started.append(Server(folder, dsn))
        started[-1].start()
        return started[-1]

    yield make
    for one in started:
        if one.process.poll() is None:
            one.kill_all()


def is_in(server: Server, now: int) -> None:  # noqa: F811
    found = server.freshness()
    for name, table in found["tables"].items():
        assert instant(table["as_of"] or NEVER) >= now, f"{name}: {table}, {found['problems']}"
        assert table["status"] == "fresh", f"{name}: {table}"
    assert not found["problems"], found["problems"]


def bulk_is_the_same(server: Server, dsn: str) -> None:  # noqa: F811
    os.environ["HEADRACE_TORTURE_DSN"] = dsn
    schema = load_app(Path(__file__).parent / "postgres_torture_app.py").tables["bulk"].schema
    db = open_reader(server.data / "live.db")
    try:
        with psycopg.connect(dsn) as sql:
            assert not difference(stored(db, schema), at_server(sql, "bulk", schema))
    finally:
        db.close()


def insert(dsn: str, first: int, count: int, value: str = "md5(i::text)") -> None:  # noqa: F811
    with psycopg.connect(dsn) as db:
        db.execute(f"INSERT INTO bulk SELECT i, 1, {value} FROM generate_series({first}, {first + count - 1}) i")  # pyright: ignore


def drop_slot(db: psycopg.Connection) -> None:
    """Fails while the slot is in use, and until it is there: that is a moment after the copy is complete."""
    db.execute(
        "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots "
        "WHERE active AND slot_name = 'headrace_torture'"
    )
    db.execute("SELECT pg_drop_replication_slot('headrace_torture')")


@pytest.mark.parametrize("how", ["silent", "cut"])
def test_a_network_that_is_cut_is_noticed_and_recovered_from(server, dsn, tmp_path, serve, how):  # noqa: F811
    fill(dsn)
    with Proxy(server.port) as proxy:
        running = serve(tmp_path, dsn.replace(str(server.port), str(proxy.port)))
        eventually(lambda: is_in(running, CLOCK.now() - 1_000_000))
        if how == "cut":
            proxy.cut()
        else:
            proxy.silent = True
        insert(dsn, 100_000, 500)

        def noticed() -> None:
            found = running.freshness()
            assert {table["status"] for table in found["tables"].values()} <= {"stale", "unknown"}
            assert [problem["kind"] for problem in found["problems"]].count("source_failed") == len(found["tables"])

        eventually(noticed, 30)
        assert running.read("marked", shard=0)["status"] in ("stale", "unknown")
        proxy.mend()
        now = CLOCK.now()
        eventually(lambda: is_in(running, now), 40)
        bulk_is_the_same(running, dsn)
        assert not running.complaints()


def test_one_transaction_of_many_rows_takes_little_memory(server, dsn, tmp_path, serve):  # noqa: F811
    fill(dsn)
    running = serve(tmp_path, dsn)
    eventually(lambda: is_in(running, CLOCK.now() - 1_000_000))
    insert(dsn, 100_000, int(os.environ.get("HEADRACE_TORTURE_ROWS", "200000")))
    now = CLOCK.now()
    eventually(lambda: is_in(running, now), 150)
    _, peak = running.memory()
    print(f"peak {peak >> 10} MiB")
    assert peak < 300 << 10
    bulk_is_the_same(running, dsn)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder with room for 48 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "none", place]).returncode:
        pytest.skip("only root may mount a small disk")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_is_told_and_nothing_is_lost_once_there_is_room(server, dsn, small_disk, serve):  # noqa: F811
    fill(dsn)
    running = serve(small_disk, dsn)
    eventually(lambda: is_in(running, CLOCK.now() - 1_000_000))
    insert(dsn, 100_000, 150_000, "repeat(md5(i::text), 8)")

    def told() -> None:
        problems = running.freshness()["problems"]
        texts = [f"{p['kind']}: {p['message']} {p['hint']}" for p in problems]
        assert any("room" in text or "full" in text or "space" in text for text in texts), texts

    eventually(told, 60)
    assert running.read("marked", shard=0)["status"] in ("stale", "unknown", "fresh")
    print(running.freshness()["problems"][:2])
    subprocess.run(["mount", "-o", "remount,size=1g", small_disk], check=True)
    now = CLOCK.now()
    eventually(lambda: is_in(running, now), 90)
    bulk_is_the_same(running, dsn)


def test_a_truncate_while_tables_are_copied_waits_for_no_one_for_long(server, dsn, tmp_path, serve):  # noqa: F811
    """The copy holds locks in several sessions: a lock that somebody waits for in between must not stop them all."""
    fill(dsn)
    insert(dsn, 100_000, 60_000)
    running = serve(tmp_path, dsn)
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute("SET statement_timeout = '20s'")
        for _ in range(8):
            eventually(lambda: drop_slot(db), 10)
            end = CLOCK.monotonic() + 0.6
            while CLOCK.monotonic() < end:
                db.execute("TRUNCATE scratch")
                db.execute("INSERT INTO scratch VALUES (1, 'x')")
        now = CLOCK.now()
        eventually(lambda: is_in(running, now), 60)
    assert running.stop() == 0


def stored_note(server: Server) -> None:  # noqa: F811
    assert note(server.data / "live.db", "bulk") is not None


def test_a_copy_is_shown_while_it_runs_and_goes_on_after_we_were_killed(server, dsn, tmp_path, serve):  # noqa: F811
    fill(dsn)
    insert(dsn, 100_000, 1_000_000)
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute("ANALYZE bulk")
    running = serve(tmp_path, dsn)

    eventually(lambda: stored_note(running), 60)
    assert 'headrace_copy_rows{table="bulk"}' in httpx.get(f"{running.url}/metrics").text
    signalled(running.engine or 0, signal.SIGSTOP)  # what it said last stays to be looked at
    copy = running.freshness()["tables"]["bulk"]["copy"]
    assert copy["parts"] >= 1
    assert 0 < copy["rows"] <= copy["expected_rows"]
    assert copy["expected_rows"] == pytest.approx(1_003_000, rel=0.1)
    assert 0 < copy["share"] < 1
    assert copy["rows_per_second"] > 0
    command = [sys.executable, "-m", "headrace", "freshness", "--url", running.url]
    environment = os.environ | {"PYTHONPATH": str(Path(headrace.__file__).parents[1])}
    told = subprocess.run(command, capture_output=True, text=True, env=environment, check=True, timeout=60).stdout
    assert "bulk: copying, " in told
    running.kill_all()
    with psycopg.connect(dsn, autocommit=True) as db:
        assert not db.execute("SELECT 1 FROM pg_replication_slots WHERE NOT temporary").fetchall()
        db.execute("DELETE FROM bulk WHERE mod(id, 1000) = 7")
        db.execute("UPDATE bulk SET batch = 9 WHERE mod(id, 1000) = 8")
        db.execute("INSERT INTO bulk VALUES (-1, 3, 'new')")
    running.start()
    eventually(lambda: is_in(running, CLOCK.now() - 2_000_000), 120)
    bulk_is_the_same(running, dsn)
    assert "the copy of bulk goes on with what is stored" in running.log.read_text()
    assert running.freshness()["tables"]["bulk"]["copy"] is None
    assert not running.complaints()
