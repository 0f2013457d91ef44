"""Ours: JSON bytes to validated, committed, durable, readable rows. Prints one line of JSON.

ingest.py <data folder> <rows> <keys> <rows a batch> memory|files|push
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import workload
from apps.shop import build
from workers.bodies import Bodies, settled

from headrace.sources import Files

IN_FLIGHT = 8
"""Pushes under way at once."""


async def from_source(folder: Path, rows: int, bodies: Sequence[bytes], how: str) -> tuple[float, float, int]:
    """Through a source of a running app."""
    source = Bodies(bodies)
    path = folder / "items.jsonl"
    if how == "files":
        path.write_bytes(b"\n".join(bodies) + b"\n")
    app = build(source if how == "memory" else Files(path, follow=False))
    began, cpu = time.perf_counter(), time.process_time()
    async with app.run(data=folder / "data") as live:
        ended = await settled(live, "items", rows)
        spent = time.process_time() - (source.cpu or cpu)
        return ended - (source.began or began), spent, count(live)


async def from_pushes(folder: Path, rows: int, bodies: Sequence[bytes]) -> tuple[float, float, int]:
    """Through the entrance of `POST /push/{table}`, several requests at once, each answered once it is on disk."""
    gate = asyncio.Semaphore(IN_FLIGHT)
    async with build().run(data=folder / "data") as live:

        async def push(body: bytes) -> None:
            async with gate:
                await live.engine.push("items", body)

        began, cpu = time.perf_counter(), time.process_time()
        async with asyncio.TaskGroup() as group:
            for body in bodies:
                group.create_task(push(body))
        return time.perf_counter() - began, time.process_time() - cpu, count(live)


def count(live: object) -> int:
    """Rows that a reader sees."""
    return live.reads.database().execute("SELECT count(*) FROM items").get  # type: ignore[attr-defined]


def main(folder: Path, rows: int, keys: int, batch: int, how: str) -> None:
    bodies = workload.ndjson(workload.items(rows, keys), batch)
    work = from_pushes(folder, rows, bodies) if how == "push" else from_source(folder, rows, bodies, how)
    seconds, cpu, readable = asyncio.run(work)
    if readable != min(rows, keys):
        raise SystemExit(f"{readable} rows are readable, {min(rows, keys)} were expected")
    print(json.dumps({"rows": rows, "seconds": seconds, "cpu": cpu, "readable": readable}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:5]), sys.argv[5])
