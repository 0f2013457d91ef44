"""Ours: fill the store of an app and end. Prints one line of JSON.

fill.py shop <data folder> <rows> <keys>
fill.py features <data folder> <entities>
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

import workload
from apps import features, shop


async def fill_shop(folder: Path, rows: int, keys: int) -> None:
    """Items over `keys` restaurants' menus."""
    async with shop.build().run(data=folder) as live:
        for body in workload.ndjson(workload.items(rows, keys), 10_000):
            await live.engine.push("items", body)


async def fill_features(folder: Path, entities: int) -> None:
    """The values of Feast's workload, ten columns a table."""
    rows = list(workload.features(entities, features.TABLES * features.WIDTH))
    async with features.app.run(data=folder) as live:
        for number in range(features.TABLES):
            names = features.columns(number)
            start = number * features.WIDTH
            records = [
                {"entity": entity, **dict(zip(names, row[start : start + features.WIDTH], strict=True))}
                for entity, row in enumerate(rows)
            ]
            for at in range(0, len(records), 5_000):
                await live.push(f"features_{number}", records[at : at + 5_000])


def main(arguments: list[str]) -> None:
    began = time.perf_counter()
    folder, sizes = Path(arguments[1]), list(map(int, arguments[2:]))
    asyncio.run(fill_shop(folder, *sizes) if arguments[0] == "shop" else fill_features(folder, *sizes))
    print(json.dumps({"seconds": time.perf_counter() - began}))


if __name__ == "__main__":
    main(sys.argv[1:])
