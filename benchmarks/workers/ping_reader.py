"""A reader process that polls the store and notes when it first sees each ping. Prints "ready", later one line of JSON.

    ping_reader.py store <data folder> <pings> <seconds between polls> <most seconds>
    ping_reader.py http <port> <pings> <seconds between polls> <most seconds>

Pings are not committed in order (several connections), so it asks for all after the highest number up to which it has
seen every one.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from harness.figures import quantiles

Rows = list[dict[str, Any]]


class Eye:
    """What was seen so far."""

    def __init__(self) -> None:
        self.low = 0
        self.above: set[int] = set()
        self.ages: list[float] = []

    def see(self, rows: Rows, now: int) -> None:
        """Take note of rows that were there at `now` (monotonic nanoseconds)."""
        for row in rows:
            number = row["ping_id"]
            if number not in self.above:
                self.above.add(number)
                self.ages.append((now - row["sent"]) / 1e6)
        while self.low + 1 in self.above:
            self.low += 1
            self.above.discard(self.low)


async def poll(read: Callable[[int], Awaitable[Rows]], pings: int, pause: float, limit: float) -> dict[str, Any]:
    """Poll until all pings were seen, or `limit` seconds are over."""
    eye, polls = Eye(), 0
    await read(0)
    print("ready", flush=True)
    until = time.monotonic() + limit
    while len(eye.ages) < pings and time.monotonic() < until:
        rows = await read(eye.low)
        eye.see(rows, time.monotonic_ns())
        polls += 1
        await asyncio.sleep(pause)
    return {"seen": len(eye.ages), "polls": polls, "ms": quantiles(eye.ages)}


def from_store(folder: Path) -> Callable[[int], Awaitable[Rows]]:
    """Reads in this process, as a Python client on the same machine does."""
    from apps.pings import app

    from headrace.core.clock import SystemClock
    from headrace.runtime.reads import LocalReads

    reads = LocalReads(app, data=folder, clock=SystemClock())

    async def read(low: int) -> Rows:
        return (await reads.read("after", {"ping_id": low})).rows

    return read


def from_http(port: int) -> Callable[[int], Awaitable[Rows]]:
    """Reads through `GET /context/after`."""
    connection = http.client.HTTPConnection("127.0.0.1", port)

    async def read(low: int) -> Rows:
        connection.request("GET", f"/context/after?ping_id={low}")
        return json.loads(connection.getresponse().read())["rows"]

    return read


if __name__ == "__main__":
    how, where, pings, pause, limit = sys.argv[1:6]
    reader = from_store(Path(where)) if how == "store" else from_http(int(where))
    print(json.dumps(asyncio.run(poll(reader, int(pings), float(pause), float(limit)))))
