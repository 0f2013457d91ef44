"""Ours: JSON events to durable, readable tiles (count and sum by key and minute). Prints one line of JSON.

rollup.py <data folder> <file of events> <keys> <rows a batch> keep|drop
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from datetime import datetime
from pathlib import Path

import workload
from workers.bodies import Bodies, settled

import headrace as hr


class Sale(hr.Record):
    item_id: str
    price: float
    sold_at: datetime


def build(source: hr.sources.Source, keep: str | None) -> hr.App:
    """Events and their rollup over an hour in tiles of a minute."""
    app = hr.App("sales")
    sales = app.events(Sale, name="sales", event_time="sold_at", keep=keep, lateness="1h", source=source)
    app.rollup("popular", sales, by="item_id", windows=["1h"], tile="1m", orders=hr.count(), spent=hr.sum("price"))
    app.view("spending", "SELECT item_id, orders_1h, spent_1h FROM popular WHERE item_id = :item_id")
    return app


async def run(folder: Path, lines: list[bytes], keys: int, batch: int, keep: str | None) -> tuple[float, float, int]:
    source = Bodies(workload.ndjson(iter(lines), batch))
    async with build(source, keep).run(data=folder / "data") as live:
        ended = await settled(live, "sales", len(lines))
        cpu = time.process_time() - source.cpu
        counted = 0
        for key in range(keys):
            answer = await live.spending(item_id=f"item-{key:05d}")
            counted += sum(row["orders_1h"] for row in answer.rows)
        return ended - source.began, cpu, counted


def main(folder: Path, events: Path, keys: int, batch: int, how: str) -> None:
    lines = events.read_bytes().splitlines()
    seconds, cpu, counted = asyncio.run(run(folder, lines, keys, batch, "1d" if how == "keep" else None))
    if counted != len(lines):
        raise SystemExit(f"the tiles count {counted} events, {len(lines)} were sent")
    print(json.dumps({"rows": len(lines), "seconds": seconds, "cpu": cpu, "counted": counted}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
