"""Reads of one snapshot never claim more than the snapshot holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import headrace as hr
from headrace.core.clock import SimulatedClock
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
