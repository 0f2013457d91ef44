"""Ours: comparing the read set of 20 reads with the present, among many rows. Prints one line of JSON.

readset.py <data folder> <rows> <rounds>
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

import workload
from apps.shop import build
from harness.figures import quantiles

READS = 20


async def fill(live: Any, rows: int) -> None:
    """One row a key."""
    for body in workload.ndjson(workload.items(rows, rows), 20_000):
        await live.engine.push("items", body)


async def keys(live: Any, numbers: list[int]) -> Any:
    """The read set of these keys."""
    found = None
    for number in numbers:
        value = await live.get("items", f"item-{number:07d}")
        found = value.readset if found is None else found + value.readset
    return found


async def menus(live: Any, numbers: list[int]) -> Any:
    """The read set of these restaurants' menus: predicates, so that rows that come count as well."""
    found = None
    for number in numbers:
        value = await live.menu(restaurant_id=f"r{number % 997}")
        found = value.readset if found is None else found + value.readset
    return found


def item(number: int, restaurant: int, stock: int) -> dict[str, Any]:
    """A record."""
    return {
        "item_id": f"item-{number:07d}",
        "restaurant_id": f"r{restaurant}",
        "name": "changed",
        "price": 1.5,
        "stock": stock,
        "available": True,
    }


async def rounds(live: Any, rows: int, count: int, make: Any, *, busy: bool) -> list[float]:
    """Milliseconds of `count` validations; when `busy`, a commit to another row of the table came in between."""
    rng = random.Random(4)
    taken: list[float] = []
    for _ in range(count):
        numbers = rng.sample(range(1, rows), READS)
        readset = await make(live, numbers)
        if busy:
            await live.push("items", item(rows + 1, 998, rng.randrange(1, 1000)))
        began = time.perf_counter()
        verdict = readset.validate()
        taken.append((time.perf_counter() - began) * 1000)
        if not verdict.holds:
            raise SystemExit("a read set does not hold although nothing of it changed")
    return taken


async def notices(live: Any) -> dict[str, bool]:
    """Whether a changed row, a vanished row and a phantom are noticed."""
    readset = await keys(live, list(range(READS)))
    await live.push("items", item(7, 7, 4999))
    changed = not readset.validate().holds
    readset = await menus(live, [7])
    await live.push("items", {**item(0, 7, 3), "item_id": "a phantom"})
    phantom = not readset.validate().holds
    readset = await menus(live, [7])
    await live.push("items", {"op": "delete", "key": {"item_id": "a phantom"}})
    return {"changed": changed, "phantom": phantom, "vanished": not readset.validate().holds}


async def run(folder: Path, rows: int, count: int) -> dict[str, Any]:
    async with build().run(data=folder / "data") as live:
        await fill(live, rows)
        return {
            "keys_idle": quantiles(await rounds(live, rows, count, keys, busy=False)),
            "keys_busy": quantiles(await rounds(live, rows, count, keys, busy=True)),
            "menus_busy": quantiles(await rounds(live, rows, count, menus, busy=True)),
            "noticed": await notices(live),
        }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))))
