"""Follows a PostgreSQL and does what standard input says, one command a line, one line of JSON as the answer.

python workers/follow.py <dsn> <data folder>

fresh                   wait until every table is copied and fresh
see <id> <stock>        wait until the row `id` of items has this stock
count <n>               wait until items has this many rows
watch <n>               read new rows of pings until `n` have been seen; their numbers and instants
idle <seconds>          do nothing
quit
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import headrace as hr
from headrace.runtime.live import Live


class Item(hr.Record):
    id: int
    shop: str
    name: str
    price: float
    stock: int
    changed_at: datetime


class Ping(hr.Record):
    n: int
    x: float


def build(dsn: str) -> hr.App:
    """The app that follows two tables."""
    app = hr.App("follow")
    app.table(Item, key="id", index=["shop"], freshness="2s", source=hr.sources.Postgres(dsn, table="items"))
    app.table(Ping, key="n", freshness="2s", source=hr.sources.Postgres(dsn, table="pings"))
    app.view("after", "SELECT n FROM pings WHERE n > :n ORDER BY n LIMIT 5000")
    return app


class Follower:
    """One running app and the commands that it takes."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._began = time.perf_counter()
        self.commands: dict[str, Callable[..., Awaitable[dict[str, Any]]]] = {
            "fresh": self.fresh,
            "see": self.see,
            "count": self.count,
            "watch": self.watch,
            "idle": self.idle,
        }

    async def fresh(self) -> dict[str, Any]:
        while not all(one["status"] == "fresh" for one in (await self._live.freshness())["tables"].values()):
            await asyncio.sleep(0.02)
        return {"rows": (await self._live.freshness())["tables"]["items"]["counters"]["accepted"]}

    async def see(self, key: str, stock: str) -> dict[str, Any]:
        while True:
            rows = (await self._live.get("items", int(key))).rows
            if rows and rows[0]["stock"] == int(stock):
                return {}
            await asyncio.sleep(0.005)

    async def count(self, rows: str) -> dict[str, Any]:
        database = self._live.reads.database()
        while database.execute("SELECT count(*) FROM items").get != int(rows):
            await asyncio.sleep(0.05)
        return {}

    async def watch(self, count: str) -> dict[str, Any]:
        seen: dict[int, float] = {}
        low = -1
        while len(seen) < int(count):
            rows = (await self._live.after(n=low)).rows
            now = time.time()
            for row in rows:
                seen.setdefault(row["n"], now)
            while low + 1 in seen:
                low += 1
            await asyncio.sleep(0.001)
        return {"seen": [seen[n] for n in range(int(count))]}

    async def idle(self, seconds: str) -> dict[str, Any]:
        before = time.process_time()
        await asyncio.sleep(float(seconds))
        return {"cpu_share": (time.process_time() - before) / float(seconds)}

    async def obey(self) -> None:
        """Take commands until `quit`."""
        while True:
            words = (await asyncio.to_thread(sys.stdin.readline)).split()
            if not words or words[0] == "quit":
                return
            found = await self.commands[words[0]](*words[1:])
            status = dict(
                line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line
            )
            told = {
                "seconds": time.perf_counter() - self._began,
                "cpu": time.process_time(),
                "rss_mib": int(status["VmRSS"].split()[0]) / 1024,
                "peak_mib": int(status["VmHWM"].split()[0]) / 1024,
            }
            print(json.dumps(told | found), flush=True)


async def main(dsn: str, data: str) -> None:
    app = build(dsn)
    print(json.dumps({"ready": True}), flush=True)
    async with app.run(data=Path(data)) as live:
        await Follower(live).obey()


if __name__ == "__main__":
    import uvloop

    uvloop.run(main(*sys.argv[1:]))
