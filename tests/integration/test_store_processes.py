"""Real processes: `kill -9` at random moments, and readers that must see only whole transactions."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import headrace
from headrace.core.clock import SystemClock
from headrace.core.errors import StoreLocked
from headrace.core.schema import Column, ColumnType, Schema, TableKind
from headrace.store.board import Board
from headrace.store.check import check
from headrace.store.connection import open_reader
from headrace.store.sqlite import SqliteStore

SRC = str(Path(headrace.__file__).parents[1])

COMMON = """
import asyncio, sys
from pathlib import Path
from headrace.core.changes import Judged, Upserts
from headrace.core.clock import SystemClock
from headrace.core.errors import StoreFull
from headrace.core.schema import Column, ColumnType, Schema, TableKind
from headrace.store.base import Submission
from headrace.store.board import Board
from headrace.store.ingest import Ingest
from headrace.store.sqlite import SqliteStore

INTEGER = ColumnType.INTEGER
EVENTS = Schema("events", TableKind.EVENTS, (Column("n", INTEGER), Column("at", INTEGER)), event_time="at", keep=10**15)
PAIRS = Schema("pairs", TableKind.TABLE, (Column("id", INTEGER), Column("v", INTEGER)), key=("id",))
path = Path(sys.argv[1])

def opened():
    def board():
        return Board.create(Path(f"{path}.board"), tables=["events", "pairs"])

    return SqliteStore.open(path, [EVENTS, PAIRS], clock=SystemClock(), board=board)
"""

INGESTING = (
    COMMON
    + """
async def main():
    store = opened()
    ingest = Ingest(store, SystemClock())
    ingest.start()
    n = int(store.positions("events").get("p", "-1")) + 1
    print("start", n, flush=True)
    while True:
        future = await ingest.enqueue(
            Submission("events", Judged([Upserts([(10 * n + i, n) for i in range(10)])], max_event_time=n),
                       partition="p", position=str(n), frontier=n))
        future.add_done_callback(lambda done, n=n: print("ack", n, done.result().txn, flush=True))
        n += 1
        if n % 8 == 0:
            await asyncio.wait([future])
asyncio.run(main())
"""
)

FLIPPING = (
    COMMON
    + """
store = opened()
print("ready", flush=True)
for value in range(int(sys.argv[2])):
    store.commit([Submission("pairs", Judged([Upserts([(i, value) for i in range(500)])]))])
store.close()
"""
)

FILLING = (
    COMMON
    + """
import resource
def block(n):
    return Submission("pairs", Judged([Upserts([(2000 * n + i, n) for i in range(2000)])]), position=str(n))
store = opened()
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), -1))
n = full = 0
while full < 3:
    try:
        store.commit([block(n)])
        store.flush()
        n += 1
        print("ack", n, flush=True)
    except StoreFull:
        full += 1
        kinds = [problem.kind for problem in store.problems.current()]
        store.restart_log() if full == 1 else None
resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
store.commit([block(n)])
print("again", n + 1, *kinds, store.problems.current(), flush=True)
store.close()
"""
)

INTEGER = ColumnType.INTEGER
EVENTS = Schema("events", TableKind.EVENTS, (Column("n", INTEGER), Column("at", INTEGER)), event_time="at", keep=10**15)
PAIRS = Schema("pairs", TableKind.TABLE, (Column("id", INTEGER), Column("v", INTEGER)), key=("id",))


def start(script: str, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": SRC}
    command = [sys.executable, "-c", textwrap.dedent(script), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


async def test_kill_9_at_random_moments_loses_nothing_answered_and_doubles_nothing(tmp_path: Path) -> None:
    draw = random.Random(11)
    path = tmp_path / "live.db"
    acknowledged = -1
    for _ in range(12):
        process = start(INGESTING, str(path))
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("start")
            await SystemClock().sleep(draw.uniform(0, 0.25))
        finally:
            process.kill()
        output, _ = process.communicate(timeout=30)
        for line in output.splitlines():
            # The last line may be cut in the middle by the kill.
            if line.startswith("ack") and len(line.split()) == 3:
                acknowledged = max(acknowledged, int(line.split()[1]))
        _verify(path, acknowledged)
    assert acknowledged > 100


def _verify(path: Path, acknowledged: int) -> None:
    store = SqliteStore.open(path, [EVENTS, PAIRS], clock=SystemClock())
    position = int(store.positions("events").get("p", "-1"))
    assert position >= acknowledged
    rows = store.db.execute("SELECT n FROM events ORDER BY n").fetchall()
    assert [row[0] for row in rows] == list(range(10 * (position + 1)))
    assert store.counters("events")["accepted"] == len(rows)
    assert store.frontiers("events").get("p", -1) == position == (store.watermark("events") or position)
    assert check(store.db, [EVENTS, PAIRS]) == []
    store.close()


def test_readers_in_other_processes_see_only_whole_transactions_and_what_the_board_claims(tmp_path: Path) -> None:
    path = tmp_path / "live.db"
    process = start(FLIPPING, str(path), "400")
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        reader = open_reader(path)
        board = Board.open(Path(f"{path}.board"), tables=["events", "pairs"])
        reads, values = 0, set[object]()
        while process.poll() is None:
            claimed = board.committed
            with reader:
                seen = reader.execute("SELECT DISTINCT v FROM pairs").fetchall()
                count = reader.execute("SELECT count(*), max(_txn) FROM pairs").fetchone()
            if claimed and count is not None and count[0]:
                assert len(seen) == 1
                assert count[0] == 500
                assert count[1] >= claimed or not values
                assert board.last_change("pairs") >= count[1]
                values.add(seen[0][0])
            reads += 1
    finally:
        process.kill()
        process.communicate(timeout=10)
    assert process.returncode == 0
    assert reads > 20
    assert len(values) > 5
    board.close()
    reader.close()


def test_only_one_process_writes(tmp_path: Path) -> None:
    process = start(INGESTING, str(tmp_path / "live.db"))
    try:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(StoreLocked, match=str(process.pid)):
            SqliteStore.open(tmp_path / "live.db", [], clock=SystemClock())
    finally:
        process.kill()
        process.communicate(timeout=10)
    SqliteStore.open(tmp_path / "live.db", [EVENTS, PAIRS], clock=SystemClock()).close()


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="needs a limit on the size of files")
def test_a_disk_that_is_full_loses_nothing_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    process = start(FILLING, str(tmp_path / "live.db"), str(2 << 20))
    try:
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    lines = output.splitlines()
    assert process.returncode == 0, output
    acknowledged = [int(line.split()[1]) for line in lines if line.startswith("ack")]
    assert lines[-1] == f"again {acknowledged[-1] + 1} store_full []"
    store = SqliteStore.open(tmp_path / "live.db", [EVENTS, PAIRS], clock=SystemClock())
    assert store.db.execute("SELECT count(*) FROM pairs").get == 2000 * (acknowledged[-1] + 1)
    assert check(store.db, [EVENTS, PAIRS]) == []
    store.close()
