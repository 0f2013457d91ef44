"""Ours: resident memory of engine and reader, and the cost of a row, while a table grows. Prints one line of JSON.

    memory.py <data folder> <glob of JSON lines files> <rows> <seconds of steady reads>

The rows come from files (the page cache is not ours), in a running app whose reader is in the same process.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

from apps.shop import build
from harness.process import private, resident
from workers.bodies import settled

from headrace.sources import Files

MIB = 2**20


class Watch:
    """Notes how many rows were committed when, and the memory of this process beside it."""

    def __init__(self) -> None:
        self.progress: list[tuple[float, float, int]] = []
        self.memory: list[tuple[float, float, float]] = []
        self._next = 0.0

    def look(self, count: int) -> None:
        """Called every 10 ms."""
        now = time.perf_counter()
        self.progress.append((now, time.process_time(), count))
        if now >= self._next:
            self._next = now + 0.5
            self.note()

    def note(self) -> None:
        """Memory now: resident in all, and without pages of files."""
        pid = os.getpid()
        self.memory.append((time.perf_counter(), resident(pid) / MIB, private(pid) / MIB))

    def cost(self, first: int, last: int) -> tuple[float, float]:
        """Microseconds a row between two counts: of time, and of processor time in all threads."""
        began = next(look for look in self.progress if look[2] >= first)
        ended = next(look for look in self.progress if look[2] >= last)
        rows = max(ended[2] - began[2], 1)
        return (ended[0] - began[0]) / rows * 1e6, (ended[1] - began[1]) / rows * 1e6


async def steady(live: Any, rows: int, seconds: float, watch: Watch) -> tuple[int, list[float]]:
    """Read keys and menus for `seconds`; how many, and their milliseconds (a sample)."""
    rng = random.Random(5)
    until = time.perf_counter() + seconds
    count, sample, noted = 0, [], time.perf_counter()
    while (now := time.perf_counter()) < until:
        await live.get("items", f"item-{rng.randrange(rows):07d}")
        await live.menu(restaurant_id=f"r{rng.randrange(997)}")
        count += 2
        if count % 100 == 0:
            sample.append((time.perf_counter() - now) * 1000)
            await asyncio.sleep(0)
        if now - noted > 1:
            noted = now
            watch.note()
    return count, sample


async def run(folder: Path, pattern: str, rows: int, keys: int, seconds: float) -> dict[str, Any]:
    watch = Watch()
    began = time.perf_counter()
    watch.progress.append((began, time.process_time(), 0))
    async with build(Files(pattern, follow=False)).run(data=folder / "data") as live:
        ended = await settled(live, "items", rows, watch=watch.look)
        watch.look(rows)
        loaded = len(watch.memory)
        count, _ = await steady(live, keys, seconds, watch)
        reading = watch.memory[loaded:]
        early, late = reading[: max(len(reading) // 5, 1)], reading[-max(len(reading) // 5, 1) :]
        first = watch.cost(0, min(100_000, rows))
        last = watch.cost(rows - max(rows // 10, 50_000), rows) if rows > 100_000 else (None, None)
        return {
            "rows": rows,
            "seconds": ended - began,
            "cost": (ended - began) / rows * 1e6,
            "cost_first": first[0],
            "cost_last": last[0],
            "processor_first": first[1],
            "processor_last": last[1],
            "peak_mib": max(r for _, r, _ in watch.memory),
            "peak_private_mib": max(p for _, _, p in watch.memory),
            "reads": count,
            "growth_mib": sum(r for _, r, _ in late) / len(late) - sum(r for _, r, _ in early) / len(early),
            "database_mib": sum(f.stat().st_size for f in (folder / "data").iterdir()) / MIB,
        }


if __name__ == "__main__":
    arguments = sys.argv[1:]
    found = run(Path(arguments[0]), arguments[1], int(arguments[2]), int(arguments[3]), float(arguments[4]))
    print(json.dumps(asyncio.run(found)))
