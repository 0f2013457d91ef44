"""What an answer claims of itself, against what it holds: ages, read sets and watermarks at awkward moments."""

from __future__ import annotations

import asyncio
import concurrent.futures
import shutil
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import headrace as hr
from headrace.app import App
from headrace.core.clock import SECOND, SimulatedClock, SystemClock, isoformat
from headrace.core.errors import Backpressure, Rejected, SourceError, StoreError
from headrace.runtime.live import Live
from headrace.runtime.reads import LocalReads
from headrace.sources.base import Opening, Partition
from headrace.store.board import Board
from headrace.testing import Scripted


class Item(hr.Record):
    item_id: str
    stock: int = hr.Field(ge=0)


class Sale(hr.Record):
    n: int
    sold_at: datetime


def shop() -> App:
    app = hr.App("shop")
    app.table(Item, key="item_id", freshness="2s")
    sold_in_order = hr.Rule("n < 100", name="plausible", on_violation="reject")
    app.events(Sale, event_time="sold_at", keep="1d", lateness="1m", rules=[sold_in_order])
    app.view("stock", "SELECT item_id, stock FROM items ORDER BY item_id")
    return app


async def turn() -> None:
    """Let the other tasks of the loop run."""
    await asyncio.get_running_loop().run_in_executor(None, lambda: None)


async def test_the_second_of_many_reads_claims_no_more_than_their_snapshot_holds(tmp_path: Path) -> None:
    clock = SimulatedClock()
    async with shop().run(data=tmp_path, clock=clock) as live:
        await live.push("items", {"item_id": "i1", "stock": 1})
        reader: Any = live.reads._reader
        fetch = reader._fetch

        def fetch_while_something_is_committed(*given: Any) -> Any:
            rows = fetch(*given)
            clock.advance(1)
            _commit(live)
            return rows

        reader._fetch = fetch_while_something_is_committed
        first, second = await live.read_many([("stock", {}), ("stock", {})])
        reader._fetch = fetch
        assert first.rows == second.rows == [{"item_id": "i1", "stock": 1}]
        assert second.as_of == first.as_of
        assert not second.readset.validate().holds


def _commit(live: Live) -> None:
    """A commit while the event loop is busy, as when the engine is another process."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        body = b'{"item_id": "i1", "stock": 2}'
        pool.submit(lambda: asyncio.run(live.engine.push("items", body))).result(20)


async def test_a_sign_of_life_does_not_overtake_what_was_pushed_before_it(tmp_path: Path) -> None:
    clock = SimulatedClock()
    async with shop().run(data=tmp_path, clock=clock) as live:
        await live.push("items", {"item_id": "i1", "stock": 1})
        clock.advance(10)
        commit, free = live.engine.store.commit, asyncio.Event()
        loop = asyncio.get_running_loop()

        def commit_late(submissions: Any) -> Any:
            asyncio.run_coroutine_threadsafe(free.wait(), loop).result(20)
            return commit(submissions)

        live.engine.store.commit = commit_late  # type: ignore[method-assign]
        pushing = asyncio.create_task(live.push("items", {"item_id": "i1", "stock": 2}))
        await turn()
        clock.advance(1)
        alive = asyncio.create_task(live.push("items", []))
        for _ in range(20):
            await turn()
        answer = await live.stock()
        assert answer.rows == [{"item_id": "i1", "stock": 1}]
        assert answer.status != "fresh"
        free.set()
        await asyncio.gather(pushing, alive)
        assert (await live.stock()).age_ms == 0


def sale(n: int, at: int) -> dict[str, object]:
    return {"n": n, "sold_at": isoformat(at)}


async def test_what_is_not_taken_does_not_make_others_late(tmp_path: Path) -> None:
    clock = SimulatedClock()
    async with shop().run(data=tmp_path, clock=clock) as live:
        now = clock.now()
        await live.push("sales", sale(1, now - 600 * SECOND))
        with pytest.raises(Rejected):
            await live.push("sales", [sale(2, now), sale(1000, now)])
        live.engine.ingest.limits = type(live.engine.ingest.limits)(rows=0)
        live.engine.ingest._queue.append(None)  # type: ignore[arg-type]
        with pytest.raises(Backpressure):
            await live.push("sales", sale(3, now))
        live.engine.ingest._queue.clear()
        assert (await live.push("sales", sale(4, now - 590 * SECOND))).quarantined == 0


async def test_a_record_is_replayed_once_however_many_ask(tmp_path: Path) -> None:
    clock = SimulatedClock()
    async with shop().run(data=tmp_path, clock=clock) as live:
        now = clock.now()
        await live.push("sales", [sale(1, now), sale(2, now - 600 * SECOND)])
        await live.push("sales", sale(3, now - 600 * SECOND))
        (late,) = live.reads.quarantine()
        live.engine._lanes["sales"].watermark = None
        number = late["id"]
        answers = await asyncio.gather(
            live.engine.replay(numbers=[number, number]),
            live.engine.replay(numbers=[number]),
            live.engine.replay(),
            return_exceptions=True,
        )
        assert answers[0] == {"replayed": 1, "still_quarantined": 0}
        assert (await live.freshness())["tables"]["sales"]["counters"]["accepted"] == 3


async def test_a_read_of_a_commit_that_was_taken_back_does_not_hold(tmp_path: Path) -> None:
    clock = SimulatedClock()
    async with shop().run(data=tmp_path, clock=clock) as live:
        await live.push("items", {"item_id": "i1", "stock": 1})
        shutil.copytree(tmp_path, tmp_path / "kept")
        clock.advance(1)
        await live.push("items", {"item_id": "i1", "stock": 2})
        answer = await live.stock()
    async with shop().run(data=tmp_path / "kept", clock=clock) as live:
        assert (await live.stock()).rows == [{"item_id": "i1", "stock": 1}]
        assert not (await live.validate(answer)).holds


async def test_nothing_is_called_valid_while_the_engine_is_starting(tmp_path: Path) -> None:
    clock = SimulatedClock()
    async with shop().run(data=tmp_path, clock=clock) as live:
        await live.push("items", {"item_id": "i1", "stock": 1})
        answer = await live.stock()
        clock.advance(1)
        await live.push("items", {"item_id": "i1", "stock": 2})
        board = Board.create(tmp_path / "board", tables=["items", "sales"])  # the engine's first step
        assert not (await live.validate(answer)).holds
        assert (await live.stock()).status == "unknown"
        board.close()


async def test_readers_outlive_an_engine_with_another_declaration(tmp_path: Path) -> None:
    clock, app = SimulatedClock(), shop()
    async with app.run(data=tmp_path, clock=clock) as live:
        await live.push("items", {"item_id": "i1", "stock": 1})
    reads = LocalReads(app, data=tmp_path, clock=clock)
    Board.create(tmp_path / "board", tables=["other"]).close()
    for _ in range(2):
        with pytest.raises(StoreError, match="other tables"):
            await reads.read("stock", {})
    Board.create(tmp_path / "board", tables=["items", "sales"]).close()
    assert len((await reads.read("stock", {})).rows) == 1
    reads.close()


async def test_stopping_ends_a_refresh_that_is_under_way(tmp_path: Path) -> None:
    class Point(hr.Record):
        n: int
        one: int = 1

    app = hr.App("points")
    app.table(Point, key="n", name="points")
    app.view(
        "slow",
        "SELECT COUNT(*) AS pairs FROM points a JOIN points b ON a.one = b.one JOIN points c ON b.one = c.one"
        " WHERE a.n + b.n <= c.n",
        refresh="10ms",
    )
    async with app.run(data=tmp_path) as live:
        await live.push("points", [{"n": n} for n in range(1_000)])
        await SystemClock().sleep(0.1)
    async with app.run(data=tmp_path):  # everything was closed, the lock too
        pass


async def test_a_source_that_cannot_be_opened_takes_nothing_back(tmp_path: Path) -> None:
    clock = SimulatedClock()

    def app(source: hr.sources.Source) -> App:
        app = hr.App("shop")
        app.table(Item, key="item_id", freshness="2s", source=source)
        return app

    async with app(Scripted({"p": [{"item_id": "i1", "stock": 1}]})).run(data=tmp_path, clock=clock) as live:
        await until_state(live, "running")
        before = (await live.get("items", "i1")).as_of
    clock.advance(60)
    down = Scripted({"p": []})
    down.open = _refused  # type: ignore[method-assign]
    async with app(down).run(data=tmp_path, clock=clock) as live:
        await until_state(live, "failed")
        answer = await live.get("items", "i1")
        assert (answer.as_of, answer.status) == (before, "stale")


async def _refused(opening: Opening) -> Sequence[Partition]:
    raise SourceError("the database does not answer")


async def until_state(live: Live, state: str) -> None:
    async with asyncio.timeout(20):
        while (await live.freshness())["tables"]["items"]["state"] != state:
            await SystemClock().sleep(0.001)


async def test_a_clock_that_is_set_back_makes_nothing_fresher(tmp_path: Path) -> None:
    clock = SimulatedClock()
    async with shop().run(data=tmp_path, clock=clock) as live:
        await live.push("items", {"item_id": "i1", "stock": 1})
        clock._now -= 3_600 * SECOND
        await live.push("items", {"item_id": "i1", "stock": 2})
        clock.advance(10)
        answer = await live.stock()
        assert (answer.age_ms, answer.status) == (10_000, "unknown")


async def test_ready_says_that_nothing_is_stored_any_more(tmp_path: Path) -> None:
    async with shop().run(data=tmp_path, clock=SimulatedClock()) as live:
        assert (await live.engine.health())["ready"]
        live.engine.ingest._fail(StoreError("the log cannot be synced"))
        health = await live.engine.health()
        assert not health["ready"]
        assert "cannot be synced" in health["reasons"][0]
        with pytest.raises(StoreError):
            await live.push("items", [])
