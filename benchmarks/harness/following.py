"""Two followers of one PostgreSQL: ours, and PostgreSQL's own logical subscription as the peer."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

from harness.process import Failed, environment
from harness.setting import BENCHMARKS

TABLES = """
CREATE TABLE items (id bigint PRIMARY KEY, shop text NOT NULL, name text NOT NULL, price double precision NOT NULL,
                    stock integer NOT NULL, changed_at timestamptz NOT NULL);
CREATE INDEX items_shop ON items (shop);
CREATE TABLE pings (n bigint PRIMARY KEY, x double precision NOT NULL)
"""
FILL = """INSERT INTO items SELECT i, 's' || (i % 1000), 'dish number ' || i, i * 0.25, i % 50, now()
FROM generate_series(1, {rows}) AS i"""


def connect(dsn: str) -> psycopg.Connection[Any]:
    """A connection that commits each statement."""
    return psycopg.connect(dsn, autocommit=True)


class Ours:
    """`workers/follow.py` as a process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, command: str) -> dict[str, Any]:
        """Give a command and wait for its answer."""
        self.tell(command)
        return self.answer()

    def tell(self, command: str) -> None:
        """Give a command."""
        if self._process.stdin is not None:
            self._process.stdin.write(command + "\n")
            self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """The answer of the command before."""
        line = self._process.stdout.readline() if self._process.stdout is not None else ""
        if not line:
            raise Failed(f"the follower ended with {self._process.wait(5)}")
        return json.loads(line)


@contextlib.contextmanager
def ours(dsn: str, data: Path) -> Iterator[Ours]:
    """Our follower, its clock started when its imports are done."""
    command = [sys.executable, str(BENCHMARKS / "workers/follow.py"), dsn, str(data)]
    log = (data.parent / "follow.log").open("ab")
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment()
    )
    try:
        follower = Ours(process)
        follower.answer()
        yield follower
        follower.tell("quit")
        process.wait(60)
    finally:
        process.kill()
        process.wait(10)
        log.close()


class Subscription:
    """A second PostgreSQL that subscribes to the first; seconds are from `enable` on."""

    def __init__(self, publisher: str, subscriber: str) -> None:
        self._db = connect(subscriber)
        self._db.execute(TABLES)
        connect(publisher).execute("CREATE PUBLICATION peer FOR TABLE items, pings")
        self._publisher = publisher
        self._began = 0.0

    def create(self) -> None:
        """Subscribe, which begins with a copy."""
        self._began = time.perf_counter()
        dsn = self._publisher.replace("'", "''")
        self._db.execute(f"CREATE SUBSCRIPTION peer CONNECTION '{dsn}' PUBLICATION peer WITH (streaming = on)")

    def disable(self) -> None:
        """Stop following; the slot stays."""
        self._db.execute("ALTER SUBSCRIPTION peer DISABLE")
        time.sleep(1.0)

    def enable(self) -> None:
        """Follow again."""
        self._began = time.perf_counter()
        self._db.execute("ALTER SUBSCRIPTION peer ENABLE")

    def drop(self) -> None:
        """End the subscription and its slot."""
        self._db.execute("DROP SUBSCRIPTION peer")

    def until(self, sql: str) -> float:
        """Seconds until `sql` gives true."""
        while not self._db.execute(sql).fetchone()[0]:  # type: ignore[index,arg-type]
            time.sleep(0.005)
        return time.perf_counter() - self._began

    def copied(self) -> float:
        """Seconds until both tables are copied and followed."""
        return self.until("SELECT count(*) = 2 AND bool_and(srsubstate = 'r') FROM pg_subscription_rel")

    def watch(self, count: int) -> list[float]:
        """When each of `count` pings was seen first."""
        seen: dict[int, float] = {}
        low = -1
        while len(seen) < count:
            rows = self._db.execute("SELECT n FROM pings WHERE n > %s ORDER BY n LIMIT 5000", (low,)).fetchall()
            now = time.time()
            for (n,) in rows:
                seen.setdefault(n, now)
            while low + 1 in seen:
                low += 1
            time.sleep(0.001)
        return [seen[n] for n in range(count)]
