"""Reads of one snapshot never claim more than the snapshot holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import headrace as hr
from headrace.core.clock import SimulatedClock
from headrace.core.errors import StaleContext
from headrace.core.frontier import SourceState


class Item(hr.Record):
    item_id: str
    stock: int


async def test_reads_of_one_snapshot_look_at_the_board_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = hr.App("shop")
    app.table(Item, key="item_id", freshness="1m")
    app.view("stock", "SELECT item_id, stock FROM items WHERE item_id = :item_id")
    clock = SimulatedClock()
    async with app.run(data=tmp_path, clock=clock) as live:
        await live.push("items", {"item_id": "a", "stock": 1})
        reader, board = live.reads._reader, live.engine.store.board
        before, fetch = board.committed, reader._fetch

        def commit_in_between(*given: Any) -> Any:
            found = fetch(*given)
            board.set_frontier("items", clock.now() + 5_000_000, clock.now(), SourceState.RUNNING)
            board.publish_commit(board.committed + 1)
            return found

        monkeypatch.setattr(reader, "_fetch", commit_in_between)
        first, second = await live.read_many([("stock", {"item_id": "a"}), ("stock", {"item_id": "b"})])
        assert first.as_of == second.as_of
        assert [read.txn for value in (first, second) for read in value.readset.reads] == [before, before]


async def test_what_is_refused_says_how_old_it_is_and_how_old_it_may_be(tmp_path: Path) -> None:
    app = hr.App("shop")
    app.table(Item, key="item_id", freshness="90s")
    app.view("stock", "SELECT item_id, stock FROM items WHERE item_id = :item_id")
    app.view("fast", "SELECT item_id, stock FROM items WHERE item_id = :item_id", freshness="3s")
    clock = SimulatedClock()
    async with app.run(data=tmp_path, clock=clock) as live:
        await live.push("items", {"item_id": "a", "stock": 1})
        board = live.engine.store.board

        async def told(view: str, **terms: Any) -> str:
            with pytest.raises(StaleContext) as caught:
                await live.read(view, item_id="a", _policy="refuse", **terms)
            return caught.value.message

        board.set_frontier("items", clock.now(), clock.now() + 500_000_000, SourceState.RUNNING)
        clock.advance(5)
        said = "'stock' is stale: its as-of age is 5s, where at most 2s is asked for; its policy is to refuse"
        assert await told("stock", _max_age="2s") == said
        assert "'fast' is stale: its as-of age is 5s, where 3s is promised;" in await told("fast")
        clock.advance(95)
        assert "'stock' is stale: its as-of age is 1m40s, where 'items' is promised within 1m30s;" in await told(
            "stock"
        )
