import asyncio
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from headrace.core.errors import Backpressure, SourceError
from headrace.demo import watching
from headrace.demo.city import City
from headrace.demo.clock import CityClock
from headrace.demo.feeder import Feeder
from headrace.demo.plan import MINUTE, CityPlan
from headrace.demo.scoreboard import Scoreboard
from headrace.demo.twin import Copied, Twin
from headrace.demo.world import World

PLAN = CityPlan(restaurants=3, dishes=3, couriers=4, promoted=0.5, warm_up=40)


class Memory:
    """Keeps what was pushed; `full` pushes are refused first; what is pushed can be read at once, or never."""

    def __init__(self, *, full: int = 0, blind: bool = False) -> None:
        self.pushed: list[tuple[str, list[Mapping[str, Any]]]] = []
        self.heard = asyncio.Event()
        self._full = full
        self._blind = blind

    async def push(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        if self._full:
            self._full -= 1
            raise Backpressure("full", retry_after=0.001)
        self.pushed.append((table, list(rows)))
        if not rows:
            self.heard.set()

    async def read(self, view: str, /, **params: Any) -> Copied:
        return Copied([], None)

    async def get(self, table: str, key: str) -> Copied:
        return Copied([], None) if self._blind else Copied([{"changed_at": "9", "seen_at": "9"}], 0.0)


def start(service: Memory, folder: Path) -> tuple[Feeder, World, Scoreboard]:
    city = City(PLAN, random.Random(7))
    clock = CityClock(city.now, 60.0)
    world = World(city, Twin({}, clock.now), clock, window=5 * MINUTE)
    board = Scoreboard(PLAN, seed=7, speed=60.0, window=5 * MINUTE)
    return Feeder(world, service, clock, board, promotions=folder / "promotions.jsonl"), world, board


async def test_the_first_load_brings_the_books(tmp_path: Path):
    service = Memory()
    feeder, world, board = start(service, tmp_path)
    expected = {table: len(rows) for table, rows in world.outboxes.items()}
    await feeder.load()
    assert {table: len(rows) for table, rows in service.pushed} == {
        table: expected[table] for table in ("items", "orders", "couriers", "sales")
    }
    promotions = [json.loads(line) for line in (tmp_path / "promotions.jsonl").read_text().splitlines()]
    assert len(promotions) == expected["promotions"] > 0
    assert promotions[0]["changed_at"].endswith("Z")
    assert board.loaded == sum(expected.values())
    assert board.events.total() == 0


async def test_a_full_engine_is_waited_for_and_nothing_is_lost(tmp_path: Path):
    service = Memory(full=3)
    feeder, world, _ = start(service, tmp_path)
    expected = len(world.outboxes["items"])
    await feeder.load()
    assert sum(len(rows) for table, rows in service.pushed if table == "items") == expected


async def test_a_load_that_never_shows_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(watching, "GIVE_UP", 0.01)
    feeder, _, _ = start(Memory(blind=True), tmp_path)
    with pytest.raises(SourceError, match="was not read within"):
        await feeder.load()


async def test_rows_are_sent_in_order_and_a_quiet_sender_gives_signs_of_life(tmp_path: Path):
    service = Memory()
    feeder, world, board = start(service, tmp_path)
    await feeder.load()
    service.pushed.clear()
    world.outboxes["couriers"] = [
        {"courier_id": f"c{n}", "x": 0.0, "y": 0.0, "seen_at": world.city.now + n} for n in range(50)
    ]
    sending = asyncio.create_task(feeder.run())
    async with asyncio.timeout(10):
        await service.heard.wait()
    sending.cancel()
    sent = [row["courier_id"] for table, rows in service.pushed for row in rows if table == "couriers"]
    assert sent == [f"c{n}" for n in range(50)]
    assert +board.events == {"couriers": 50}
