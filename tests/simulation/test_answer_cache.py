"""For any interleaving of changes, time and requests, a cached answer is the one that would be made anew."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import headrace as hr
from headrace.app import App
from headrace.context.policy import FreshnessPolicy
from headrace.context.readset import ReadSet
from headrace.core.clock import SimulatedClock, isoformat
from headrace.core.errors import StaleContext
from headrace.pipeline.cache import AnswerCache, Made
from headrace.runtime.live import Live


class Item(hr.Record):
    item_id: str
    kind: str
    stock: int


class Sale(hr.Record):
    item_id: str
    n: int
    sold_at: datetime


def shop() -> App:
    app = hr.App("shop")
    app.table(Item, key="item_id", freshness="12s")
    sales = app.events(Sale, event_time="sold_at", keep="1d")
    app.rollup("popular", sales, by="item_id", windows=["10s"], sold=hr.sum("n"))
    app.view("menu", "SELECT item_id, stock FROM items WHERE kind = :kind AND stock > 0 ORDER BY stock DESC, item_id")
    app.view("hot", "SELECT item_id, sold_10s FROM popular ORDER BY item_id")
    app.view("kinds", "SELECT kind, COUNT(*) AS n FROM items GROUP BY kind")
    app.view("total", "SELECT SUM(stock) AS total FROM items", refresh="1s")
    return app


QUESTIONS = {
    "menu a": [("menu", {"kind": "a"})],
    "hot": [("hot", {})],
    "all": [("menu", {"kind": "a"}), ("hot", {}), ("kinds", {}), ("total", {})],
}
FRESH = FreshnessPolicy.parse("refuse")

items = st.tuples(st.just("item"), st.sampled_from("pqr"), st.sampled_from("ab"), st.integers(0, 2))
gone = st.tuples(st.just("delete"), st.sampled_from("pqr"))
sales = st.tuples(st.just("sale"), st.sampled_from("pqr"), st.integers(1, 2))
time = st.tuples(st.just("time"), st.sampled_from([1.0, 4.0, 11.0]))
asks = st.tuples(st.just("ask"), st.sampled_from(sorted(QUESTIONS)), st.booleans())
torn = st.tuples(st.just("torn"), st.sampled_from(sorted(QUESTIONS)), st.sampled_from("pqr"), st.integers(0, 2))
steps = st.lists(st.one_of(items, gone, sales, time, time, asks, asks, asks, torn), min_size=30, max_size=60)


class Shop:
    """An endpoint whose answer is what it read, with a cache before it."""

    def __init__(self, live: Live, clock: SimulatedClock) -> None:
        self.live = live
        self.clock = clock
        self.cache = AnswerCache(1_000_000)

    async def anew(self, question: str, strict: bool) -> Made | None:
        """The answer as a handler makes it; None of refused context."""
        told: list[Any] = []
        readset = ReadSet()
        for view, params in QUESTIONS[question]:
            try:
                value = await self.live.reads.read(view, params, policy=FRESH if strict else None)
            except StaleContext:
                return None
            told.append([value.rows, value.status])
            readset += value.readset
        return Made(json.dumps(told).encode(), readset)

    async def ask(self, question: str, strict: bool) -> None:
        """What the cache gives is what would be made anew: before or after it, since a refresh may end in between."""
        key = f"{question} {strict}"
        before = await self.anew(question, strict)
        found = self.cache.find("v", key, self.live.reads.current)
        made = await self.anew(question, strict)
        if found is None:
            if made is not None:
                self.cache.keep("v", key, made)
        else:
            assert found.body in [one.body for one in (before, made) if one is not None]
            ages = self.live.reads.frontiers(found.readset)
            assert found.as_of is None or all(at is not None and found.as_of <= at for at in ages.values())

    async def torn(self, question: str, item: str, stock: int) -> None:
        """Something is committed while the cache compares: the answer is the one of before or of after."""
        before = await self.anew(question, False)
        reader: Any = self.live.reads._reader
        fetch = reader._fetch

        def fetch_and_commit(*given: Any) -> Any:
            reader._fetch = fetch
            rows = fetch(*given)
            body = json.dumps({"item_id": item, "kind": "a", "stock": stock}).encode()
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                pool.submit(lambda: asyncio.run(self.live.engine.push("items", body))).result(20)
            return rows

        reader._fetch = fetch_and_commit
        found = self.cache.find("v", f"{question} False", self.live.reads.current)
        reader._fetch = fetch
        made = [one.body for one in (before, await self.anew(question, False)) if one is not None]
        assert found is None or found.body in made
        await self.ask(question, False)

    async def step(self, word: str, *given: Any) -> None:
        """One thing that happens."""
        if word == "item":
            await self.live.push("items", {"item_id": given[0], "kind": given[1], "stock": given[2]})
        elif word == "delete":
            await self.live.push("items", {"op": "delete", "item_id": given[0]})
        elif word == "sale":
            at = isoformat(self.clock.now())
            await self.live.push("sales", {"item_id": given[0], "n": given[1], "sold_at": at})
        elif word == "time":
            self.clock.advance(given[0])
            for _ in range(5):  # let what waited for the clock run: refreshes
                await asyncio.get_running_loop().run_in_executor(None, lambda: None)
        elif word == "ask":
            await self.ask(*given)
        else:
            await self.torn(*given)


async def play(some: list[tuple[Any, ...]]) -> AnswerCache:
    clock = SimulatedClock()
    with tempfile.TemporaryDirectory() as folder:
        async with shop().run(data=Path(folder), clock=clock) as live:
            one = Shop(live, clock)
            await live.push(
                "items", [{"item_id": "p", "kind": "a", "stock": 1}, {"item_id": "q", "kind": "b", "stock": 2}]
            )
            for step in some:
                await one.step(*step)
            return one.cache


# Without shrinking: each example runs an engine, and a failure would take minutes to become small.
@settings(max_examples=20, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(steps)
def test_a_cached_answer_is_the_one_that_would_be_made_anew(some: list[tuple[Any, ...]]) -> None:
    asyncio.run(play(some))


async def test_hits_and_misses_come_when_they_should() -> None:
    ask = ("ask", "menu a", False)
    cache = await play(
        [ask, ask, ("item", "q", "b", 1), ask, ("item", "p", "a", 2), ask, ask, ("item", "p", "a", 1), ask]
    )
    counters = cache.counters
    # A miss; a hit; a change of another kind is a hit; a change of this one is not; the old rows find the old answer.
    assert (counters.misses, counters.hits, counters.stale) == (1, 4, 1)


async def test_a_window_that_slides_past_its_events_is_no_hit() -> None:
    ask = ("ask", "hot", False)
    sale = ("sale", "p", 1)
    alive = ("time", 1.0)
    cache = await play([sale, ask, ask, alive, ask, ("time", 11.0), ask])
    assert (cache.counters.misses, cache.counters.hits, cache.counters.stale) == (1, 2, 1)


async def test_context_that_is_not_fresh_any_more_is_no_hit_where_it_was() -> None:
    ask = ("ask", "menu a", False)
    cache = await play([ask, ask, ("time", 25.0), ask, ask])
    assert (cache.counters.misses, cache.counters.hits, cache.counters.stale) == (1, 2, 1)
    ask = ("ask", "menu a", True)
    cache = await play([ask, ask, ("time", 25.0), ask, ask])
    assert (cache.counters.misses, cache.counters.hits, cache.counters.stale) == (1, 1, 2)
