"""Endpoints of an app that runs in this process: nothing of a server between."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import headrace as hr
from headrace.core.clock import SystemClock
from headrace.core.errors import DeadlinePassed, StaleContext


class Item(hr.Record):
    item_id: str
    stock: int


class Ask(BaseModel):
    item_id: str


class Pick(BaseModel):
    item_id: str


def shop(**table: Any) -> hr.App:
    """One table, and a view of it."""
    app = hr.App("shop")
    app.table(Item, key="item_id", **table)
    app.view("stock", "SELECT item_id, stock FROM items WHERE item_id = :item_id")
    return app


@pytest.mark.parametrize(("policy", "error"), [("wait 1m else refuse", StaleContext), ("wait 1m", DeadlinePassed)])
async def test_a_views_own_wait_ends_in_time_to_say_so(tmp_path: Path, policy: str, error: type[Exception]) -> None:
    app = shop(freshness="1ms", policy=policy)
    read = list[str]()

    @app.endpoint("/pick", deadline="300ms")
    async def pick(ask: Ask, ctx: hr.Context) -> Pick:
        found = await ctx.stock(item_id=ask.item_id)
        read.append(found.status)
        await ctx.get("items", ask.item_id)
        await SystemClock().sleep(10)
        return Pick(item_id=ask.item_id)

    async with app.run(data=tmp_path) as live:
        await live.push("items", {"item_id": "a", "stock": 1})
        await SystemClock().sleep(0.05)
        began = SystemClock().monotonic()
        with pytest.raises(error):
            await live.ask("/pick", {"item_id": "a"})
        assert 0.25 < SystemClock().monotonic() - began < 1
    assert read == ([] if error is StaleContext else ["unknown"]), "the read was cut off"


async def test_an_answer_from_the_cache_says_how_old_its_context_is_now(tmp_path: Path) -> None:
    app = shop(source=hr.sources.Push(expect="1m"))

    @app.endpoint("/pick", cache=True)
    async def pick(ask: Ask, ctx: hr.Context) -> Pick:
        await ctx.stock(item_id=ask.item_id)
        return Pick(item_id=ask.item_id)

    async with app.run(data=tmp_path) as live:
        await live.push("items", {"item_id": "a", "stock": 1})
        kept = await live.ask("/pick", {"item_id": "a"})
        await SystemClock().sleep(0.2)
        hit = await live.ask("/pick", {"item_id": "a"})
        assert (kept.cache, hit.cache) == ("miss", "hit")
