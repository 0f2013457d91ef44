"""Following a PostgreSQL: copy, backlog, freshness, one huge transaction, idleness; beside its own subscription."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import psycopg
from harness.figures import Result, quantiles
from harness.following import FILL, TABLES, Ours, Subscription, connect, ours
from harness.setting import Setting

from headrace.demo.postgres import TemporaryPostgres

PER_TRANSACTION = 100
RATE = 500
WRITERS = 4
PEER = "PostgreSQL's subscription"


def run(setting: Setting) -> Result:
    """Each follower alone on the publisher, one after the other, in the same run."""
    result = Result("postgres")
    folder = setting.folder("postgres")
    with TemporaryPostgres({"max_wal_size": "8GB", "synchronous_commit": "on"}) as server:
        database = connect(server.dsn)
        database.execute(TABLES)
        rows = setting.pick(200_000, 5_000_000)
        database.execute(FILL.format(rows=rows))
        database.execute("VACUUM ANALYZE items")
        peer = _peer(setting, server, database, rows) if setting.peers else {}
        mine = _ours(setting, server.dsn, database, folder / "data", rows)
        result.notes.append(
            f"PostgreSQL {server.version}, fsync on,"
            " publisher, follower and writers on the same cores. The peer is a second PostgreSQL that subscribes to the"
            " first: compiled code that keeps the same rows and index, without validation, ages or views."
        )
    _figures(result, mine, peer, rows)
    return result


def _ours(setting: Setting, dsn: str, database: psycopg.Connection[Any], data: Path, rows: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with ours(dsn, data) as follower:
        found["copy"] = follower.ask("fresh")
        found["idle"] = follower.ask(f"idle {setting.pick(5, 20)}")
        count = RATE * setting.pick(4, 20)
        follower.tell(f"watch {count}")
        committed = _write_pings(dsn, count)
        found["fresh"] = _lags(committed, follower.answer()["seen"])
        found["before"] = follower.ask("idle 1")
    found["backlog"] = _backlog(dsn, database, setting, data, rows)
    with ours(dsn, data) as follower:
        follower.ask("fresh")
        found["huge"] = _huge(setting, database, follower, rows)
    return found


def _backlog(dsn: str, database: psycopg.Connection[Any], setting: Setting, data: Path, rows: int) -> dict[str, Any]:
    changes = setting.pick(40_000, 200_000)
    _write_backlog(database, changes, rows)
    database.execute("UPDATE items SET stock = -7 WHERE id = 1")
    with ours(dsn, data) as follower:
        answer = follower.ask("see 1 -7")
        return answer | {"changes": changes}


def _write_backlog(database: psycopg.Connection[Any], changes: int, rows: int) -> None:
    """Transactions of a hundred updates each."""
    for number in range(changes // PER_TRANSACTION):
        low = (number * PER_TRANSACTION) % (rows - 2 * PER_TRANSACTION) + 2
        database.execute(
            "UPDATE items SET stock = stock + 1, changed_at = now() WHERE id BETWEEN %s AND %s",
            (low, low + PER_TRANSACTION - 1),
        )


def _huge(setting: Setting, database: psycopg.Connection[Any], follower: Ours, rows: int) -> dict[str, Any]:
    """One transaction that inserts two million rows."""
    more = setting.pick(100_000, 2_000_000)
    before = follower.ask("idle 1")
    database.execute(FILL.format(rows=more).replace("SELECT i,", f"SELECT i + {rows},"))
    began = time.perf_counter()
    answer = follower.ask(f"count {rows + more}")
    return answer | {"rows": more, "before_mib": before["rss_mib"], "after_commit": time.perf_counter() - began}


def _write_pings(dsn: str, count: int) -> list[float]:
    """Insert one row a transaction at the rate; when each commit was answered."""
    committed = [0.0] * count

    async def writer(first: int, began: float) -> None:
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as db:
            for n in range(first, count, WRITERS):
                await asyncio.sleep(max(0.0, began + n / RATE - time.perf_counter()))
                await db.execute("INSERT INTO pings VALUES (%s, 0.5)", (n,))
                committed[n] = time.time()

    async def all_writers() -> None:
        began = time.perf_counter() + 0.2
        await asyncio.gather(*(writer(first, began) for first in range(WRITERS)))

    asyncio.run(all_writers())
    return committed


def _lags(committed: list[float], seen: list[float]) -> dict[str, float]:
    return quantiles([max(0.0, at - done) * 1000 for at, done in zip(seen, committed, strict=True)])


def _peer(setting: Setting, server: TemporaryPostgres, database: psycopg.Connection[Any], rows: int) -> dict[str, Any]:
    with TemporaryPostgres({"max_wal_size": "8GB"}, folder=server.binaries) as second:
        subscription = Subscription(server.dsn, second.dsn)
        subscription.create()
        found: dict[str, Any] = {"copy": subscription.copied()}
        count = RATE * setting.pick(4, 20)
        seen: list[float] = []
        watching = threading.Thread(target=lambda: seen.extend(subscription.watch(count)))
        watching.start()
        committed = _write_pings(server.dsn, count)
        watching.join()
        found["fresh"] = _lags(committed, seen)
        subscription.disable()
        changes = setting.pick(40_000, 200_000)
        _write_backlog(database, changes, rows)
        database.execute("UPDATE items SET stock = -8 WHERE id = 1")
        subscription.enable()
        found["backlog"] = subscription.until("SELECT stock = -8 FROM items WHERE id = 1")
        subscription.drop()
        database.execute("DROP PUBLICATION peer")
        database.execute("TRUNCATE pings")
        return found


def _figures(result: Result, mine: dict[str, Any], peer: dict[str, Any], rows: int) -> None:
    def beside(name: str, value: float) -> dict[str, Any]:
        return {"peer": value, "peer_name": PEER} if peer else {}

    copied = rows / mine["copy"]["seconds"]
    result.add(
        f"copy of {rows:,} rows", copied, "rows/s", target=150_000, detail=mine["copy"],
        **beside("copy", rows / peer["copy"] if peer else 0.0),
    )  # fmt: skip
    changes = mine["backlog"]["changes"]
    result.add(
        f"backlog of {changes:,} changes, {PER_TRANSACTION} a transaction", changes / mine["backlog"]["seconds"],
        "changes/s", target=50_000, detail=mine["backlog"],
        **beside("backlog", changes / peer["backlog"] if peer else 0.0),
    )  # fmt: skip
    result.add("peak memory of the backlog", mine["backlog"]["peak_mib"], "MiB", better="less")
    for name, target in (("p50", 5.0), ("p99", 50.0)):
        result.add(
            f"commit to readable, {RATE} transactions/s, {name}", mine["fresh"][name], "ms", target=target,
            better="less", detail=mine["fresh"], **beside("fresh", peer["fresh"][name] if peer else 0.0),
        )  # fmt: skip
    huge = mine["huge"]
    result.add(
        f"peak memory, one transaction of {huge['rows']:,} rows", huge["peak_mib"], "MiB", target=300, better="less",
        detail=huge,
    )  # fmt: skip
    result.add("that transaction, from its commit to readable", huge["after_commit"], "s", better="less")
    result.add("processor time while idle", mine["idle"]["cpu_share"] * 100, "%", target=1.0, better="less")
