"""Ours: a window of 24 h over many events of one key, by tiles against a scan of the raw events. One line of JSON.

window.py <data folder> <events> <reads>
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from datetime import datetime
from pathlib import Path

import workload
from harness.figures import quantiles
from workers.bodies import Bodies, settled

import headrace as hr

DAY = 86_400_000_000
TILE = 300_000_000


class StillClock:
    """Shows one instant, so that tiles and scan look at the same window; waits are real."""

    def __init__(self, at: int) -> None:
        self.at = at

    def now(self) -> int:
        return self.at

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Sale(hr.Record):
    item_id: str
    price: int
    sold_at: datetime


def build(source: hr.sources.Source) -> hr.App:
    """Prices are integers (cents), so that sums must be equal to the last digit whatever the order of adding."""
    app = hr.App("sales")
    sales = app.events(Sale, name="sales", event_time="sold_at", keep="2d", source=source, index=["item_id"])
    app.rollup(
        "popular",
        sales,
        by="item_id",
        windows=["24h"],
        tile="5m",
        orders=hr.count(),
        spent=hr.sum("price"),
        least=hr.min("price"),
        most=hr.max("price"),
    )
    app.view("day", "SELECT orders_24h, spent_24h, least_24h, most_24h FROM popular WHERE item_id = :item_id")
    return app


async def run(folder: Path, events: int, reads: int, now: int) -> dict[str, object]:
    lines = (
        workload.to_line({"item_id": "one", "price": n * 7919 % 4999 + 1, "sold_at": workload.rfc3339(at)})
        for n in range(events)
        for at in [now - DAY - TILE + n * (DAY + TILE) // events]
    )
    app = build(Bodies(workload.ndjson(lines, 5000)))
    async with app.run(data=folder / "data", clock=StillClock(now)) as live:
        await settled(live, "sales", events)
        by_tiles = (await live.day(item_id="one")).rows[0]
        taken = []
        for _ in range(reads):
            began = time.perf_counter()
            await live.day(item_id="one")
            taken.append((time.perf_counter() - began) * 1000)
        scans = []
        for _ in range(5):
            began = time.perf_counter()
            scanned = scan(live, now)
            scans.append((time.perf_counter() - began) * 1000)
        equal = list(by_tiles.values()) == list(scanned)
        return {"equal": equal, "tiles": by_tiles, "scan": scanned, "ms": quantiles(taken), "scan_ms": quantiles(scans)}


def scan(live: object, now: int) -> tuple[int, ...]:
    """The same aggregates from the raw events of the same interval: it begins at a tile's edge (see views.rollup)."""
    edge = (now - DAY) // TILE * TILE + TILE
    return (
        live.reads.database()
        .execute(  # type: ignore[attr-defined]
            "SELECT count(*), sum(price), min(price), max(price) FROM sales"
            " WHERE item_id = 'one' AND sold_at >= ? AND sold_at < ?",
            (edge, now // TILE * TILE + TILE),
        )
        .get
    )


if __name__ == "__main__":
    found = asyncio.run(run(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), time.time_ns() // 1000))
    print(json.dumps(found))
