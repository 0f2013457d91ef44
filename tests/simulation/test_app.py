"""Whole apps on a clock that is moved by hand: what sources do, and what readers are told."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime as hr_datetime
from datetime import timedelta
from pathlib import Path

import pytest

import headrace as hr
from headrace.app import App
from headrace.context.value import ContextValue
from headrace.core.changes import Batch, Json, Rows
from headrace.core.clock import SECOND, SimulatedClock, to_datetime
from headrace.core.errors import DeclarationError, Rejected, SourceError, StaleContext
from headrace.runtime.live import Live
from headrace.testing import CRASH, EOF, PAUSE, Fail, Heartbeat, Scripted


class Item(hr.Record):
    item_id: str
    shop: str
    stock: int = hr.Field(ge=0)


class Order(hr.Record):
    order_id: str
    item_id: str
    placed_at: hr_datetime


def item(number: int, stock: int = 1, shop: str = "s1") -> dict[str, object]:
    return {"item_id": f"i{number}", "shop": shop, "stock": stock}


def shop_app(source: hr.sources.Source | None = None, **options: object) -> App:
    app = hr.App("shop")
    app.table(Item, key="item_id", index=["shop"], freshness="2s", source=source, **options)  # type: ignore[arg-type]
    app.view("in_stock", "SELECT item_id, stock FROM items WHERE shop = :shop AND stock > 0 ORDER BY item_id")
    app.view("per_shop", "SELECT shop, COUNT(*) AS items, SUM(stock) AS stock FROM items GROUP BY shop")
    return app


async def until(check: Callable[[], Awaitable[bool]]) -> None:
    """Let the loop and the store's threads work until `check` holds; at most about half a minute."""
    never = threading.Event()
    for _ in range(30_000):
        if await check():
            return
        await asyncio.get_running_loop().run_in_executor(None, never.wait, 0.001)
    pytest.fail("it never came true")


async def step(clock: SimulatedClock, seconds: float, check: Callable[[], Awaitable[bool]]) -> None:
    clock.advance(seconds)
    await until(check)


@asynccontextmanager
async def running(app: App, data: Path, clock: SimulatedClock) -> AsyncIterator[Live]:
    async with app.run(data=data, clock=clock) as live:
        yield live


async def test_a_crash_between_batches_loses_and_doubles_nothing(tmp_path: Path) -> None:
    clock = SimulatedClock()
    script = Scripted([item(1), CRASH, [item(2), item(3, stock=-1)], CRASH, item(1, stock=9), EOF])
    app = shop_app(script)

    async def ended() -> bool:
        return (await live.freshness())["tables"]["items"]["state"] == "ended" or bool(
            (await live.freshness())["problems"]
        )

    for _ in range(3):
        async with running(app, tmp_path, clock) as live:
            await until(ended)
            last = (await live.in_stock(shop="s1")).rows
            counters = (await live.freshness())["tables"]["items"]["counters"]
    assert last == [{"item_id": "i1", "stock": 9}, {"item_id": "i2", "stock": 1}]
    assert (counters["accepted"], counters["quarantined"]) == (3, 1)


async def test_idle_silent_and_failed_sources_are_told_apart(tmp_path: Path) -> None:
    clock = SimulatedClock()
    down = SourceError("the database does not answer", hint="is it up?")
    script = Scripted([item(1), PAUSE(10), Heartbeat(), PAUSE(1), Fail(down, times=1), Heartbeat(), PAUSE(100)])

    async with running(shop_app(script), tmp_path, clock) as live:

        async def is_(status: str, state: str = "running") -> bool:
            answer = await live.in_stock(shop="s1")
            return (answer.status, answer.inputs["items"].state) == (status, state)

        await until(lambda: is_("fresh"))
        await step(clock, 5, lambda: is_("unknown"))  # silent: nobody knows
        await step(clock, 5.001, lambda: is_("fresh"))  # the sign of life moved the frontier without a commit
        await step(clock, 1.001, lambda: is_("fresh", "failed"))  # broken, and still within the promise
        problems = (await live.freshness())["problems"]
        await step(clock, 0.2, lambda: is_("fresh"))  # it came back by itself
        assert (await live.in_stock(shop="s1")).rows == [{"item_id": "i1", "stock": 1}]
        await until(lambda: _no_problems(live))
        assert problems == [] or problems[0]["kind"] == "source_failed"


async def _no_problems(live: Live) -> bool:
    return not (await live.freshness())["problems"]


async def test_a_source_that_stays_broken_makes_answers_stale(tmp_path: Path) -> None:
    clock = SimulatedClock()
    down = SourceError("no such database", permanent=True)
    script = Scripted([item(1), Fail(down, times=1)])
    async with running(shop_app(script, policy="refuse"), tmp_path, clock) as live:

        async def failed() -> bool:
            return (await live.freshness())["tables"]["items"]["state"] == "failed"

        await until(failed)
        clock.advance(5)
        with pytest.raises(StaleContext) as caught:
            await live.in_stock(shop="s1")
        assert caught.value.answer.status == "stale"
        flagged = await live.read("in_stock", shop="s1", _policy="flag")
        assert flagged.status == "stale"
        assert flagged.age_ms == pytest.approx(5_000, abs=200)


async def test_a_wait_ends_when_the_frontier_passes(tmp_path: Path) -> None:
    clock = SimulatedClock()
    async with running(shop_app(), tmp_path, clock) as live:
        await live.push("items", item(1))
        clock.advance(10)
        waiting = asyncio.create_task(live.read("in_stock", shop="s1", _policy="wait 5s else refuse"))
        await live.push("items", item(2))

        async def done() -> bool:
            clock.advance(0.01)
            return waiting.done()

        await until(done)
        answer: ContextValue = await waiting
        assert answer.status == "fresh"
        assert len(answer) == 2


async def test_groups_follow_updates_deletes_and_moves(tmp_path: Path) -> None:
    async with running(shop_app(), tmp_path, SimulatedClock()) as live:
        await live.push("items", [item(1, 3), item(2, 4), item(3, 5, shop="s2")])
        await live.push("items", [item(2, 6, shop="s2"), {"op": "delete", "key": "i1"}])
        assert (await live.per_shop()).rows == [{"shop": "s2", "items": 2, "stock": 11}]


async def test_a_read_set_says_what_changed_and_nothing_else(tmp_path: Path) -> None:
    async with running(shop_app(), tmp_path, SimulatedClock()) as live:
        await live.push("items", [item(1), item(2, shop="s2")])
        answer = await live.in_stock(shop="s1")
        row = await live.get("items", "i1")
        both = answer.readset + row.readset
        assert both.validate().holds
        await live.push("items", item(2, stock=7, shop="s2"))  # another shop: the table changed, the answer did not
        assert both.validate().holds
        await live.push("items", item(3))  # a phantom
        validity = both.validate()
        assert [changed.read.name for changed in validity.changed] == ["in_stock"]
        assert validity.changed[0].came == [("i3", 1)]
        await live.push("items", {"op": "delete", "key": "i1"})
        assert {changed.read.name for changed in both.validate().changed} == {"in_stock", "items"}


async def test_a_contract_fix_lets_quarantined_records_in(tmp_path: Path) -> None:
    clock = SimulatedClock()
    async with running(shop_app(), tmp_path, clock) as live:
        receipt = await live.push("items", [item(1), item(2, stock=-5)])
        assert (receipt.accepted, receipt.quarantined) == (1, 1)
        waiting = live.reads.quarantine()
        assert (waiting[0]["rule"], waiting[0]["column"], waiting[0]["value"]) == ("ge", "stock", "-5")
        assert await live.engine.replay() == {"replayed": 0, "still_quarantined": 1}
        assert (await live.freshness())["tables"]["items"]["waiting"] == 1

    class Fixed(hr.Record):
        item_id: str
        shop: str
        stock: int

    fixed = hr.App("shop")
    fixed.table(Fixed, name="items", key="item_id", index=["shop"], freshness="2s")
    async with running(fixed, tmp_path, clock) as live:
        assert (await live.freshness())["tables"]["items"]["waiting"] == 1
        assert await live.engine.replay() == {"replayed": 1, "still_quarantined": 0}
        items = (await live.freshness())["tables"]["items"]
        assert (items["waiting"], items["counters"]["quarantined"]) == (0, 1)
        assert (await live.get("items", "i2")).first == item(2, stock=-5)
        assert live.reads.quarantine() == []


async def test_a_rejecting_rule_refuses_the_whole_request(tmp_path: Path) -> None:
    app = hr.App("shop")
    rule = hr.Rule("stock < 1000", name="plausible", on_violation="reject")
    app.table(Item, key="item_id", rules=[rule])
    async with running(app, tmp_path, SimulatedClock()) as live:
        with pytest.raises(Rejected) as caught:
            await live.push("items", [item(1), item(2, stock=5_000)])
        assert caught.value.violations[0]["rule"] == "plausible"
        assert (await live.get("items", "i1")).rows == []


async def test_an_idempotency_key_applies_once(tmp_path: Path) -> None:
    async with running(shop_app(), tmp_path, SimulatedClock()) as live:
        first = await live.push("items", item(1), idempotency_key="k1")
        again = await live.push("items", item(1), idempotency_key="k1")
        assert (first.txn, first.replayed) == (again.txn, False)
        assert again.replayed


async def test_rollups_slide_with_the_clock(tmp_path: Path) -> None:
    app = hr.App("shop")
    orders = app.events(Order, event_time="placed_at", key="order_id", keep="1d")
    app.rollup("popular", orders, by="item_id", windows=["10m"], orders=hr.count())
    app.view("top", "SELECT item_id, orders_10m FROM popular WHERE item_id = :item_id")
    clock = SimulatedClock()

    def order(number: int, ago: float) -> dict[str, object]:
        return {
            "order_id": f"o{number}",
            "item_id": "i1",
            "placed_at": to_datetime(clock.now()) - timedelta(minutes=ago),
        }

    async with running(app, tmp_path, clock) as live:
        receipt = await live.push("orders", [order(1, 0), order(2, 5), order(3, 9), order(3, 9)])
        assert (receipt.accepted, receipt.duplicates) == (3, 1)
        assert (await live.top(item_id="i1")).rows == [{"item_id": "i1", "orders_10m": 3}]
        clock.advance(120)
        assert (await live.top(item_id="i1")).rows == [{"item_id": "i1", "orders_10m": 2}]
        await live.push("orders", order(4, 1))  # late by a minute: its tile is amended
        assert (await live.top(item_id="i1")).rows == [{"item_id": "i1", "orders_10m": 3}]
        await live.push("orders", order(5, 60 * 24 * 3))
        assert [record["rule"] for record in live.reads.quarantine()] == ["too_late"]


async def test_an_event_sent_again_too_late_is_a_duplicate_where_it_is_stored_and_waits_where_it_is_not(
    tmp_path: Path,
) -> None:
    app = hr.App("shop")
    app.events(Order, event_time="placed_at", key="order_id", name="orders", lateness="1m", keep="1d")
    clock = SimulatedClock()

    def order(name: str, at: int) -> dict[str, object]:
        return {"order_id": name, "item_id": "i1", "placed_at": to_datetime(at)}

    async with running(app, tmp_path, clock) as live:
        begin = clock.now()
        await live.push("orders", order("o1", begin))
        clock.advance(600)
        await live.push("orders", order("o2", clock.now()))
        receipt = await live.push("orders", [order("o1", begin), order("o3", begin), order("o2", clock.now())])
        assert (receipt.accepted, receipt.duplicates, receipt.quarantined) == (0, 2, 1)
        (waiting,) = live.reads.quarantine()
        assert waiting["rule"] == "too_late"
        assert "o3" in live.reads.quarantined(waiting["id"])["raw"]
        counters = (await live.freshness())["tables"]["orders"]["counters"]
        assert (counters["quarantined"], counters["late"], counters["duplicates"]) == (1, 1, 2)


async def test_a_batch_with_a_version_never_overwrites_a_newer_one(tmp_path: Path) -> None:
    def batch(stock: int, version: int) -> Batch:
        record = b'{"item_id": "i1", "shop": "s1", "stock": %d}' % stock
        return Batch([Json(record)], position=str(version), version=version, frontier=version)

    script = Scripted([batch(5, 50), batch(3, 30), EOF])
    async with running(shop_app(script), tmp_path, SimulatedClock(start=1_000 * SECOND)) as live:

        async def both() -> bool:
            return (await live.freshness())["tables"]["items"]["counters"]["accepted"] == 2

        await until(both)
        assert (await live.get("items", "i1")).first == item(1, stock=5)
        assert (await live.freshness())["tables"]["items"]["counters"]["duplicates"] == 1


async def test_a_full_quarantine_holds_its_source_back_and_nothing_is_skipped(tmp_path: Path) -> None:
    clock = SimulatedClock()
    script = Scripted([item(1, stock=-1), PAUSE(1), item(2, stock=-2), item(3), item(4), EOF])
    app = shop_app(script)
    app.quarantine_limit = 1
    async with running(app, tmp_path, clock) as live:

        async def refused() -> bool:
            clock.advance(0.1)
            return "refused" in [problem["kind"] for problem in (await live.freshness())["problems"]]

        await until(refused)
        assert (await live.in_stock(shop="s1")).rows == []  # what follows a refused batch waits as well
        assert len(live.reads.quarantine()) == 1
        await live.engine.drop(table="items")

        async def ended() -> bool:
            clock.advance(1)
            return (await live.freshness())["tables"]["items"]["state"] == "ended"

        await until(ended)
        assert [row["item_id"] for row in (await live.in_stock(shop="s1")).rows] == ["i3", "i4"]
        assert [record["value"] for record in live.reads.quarantine()] == ["-2"]
        await until(lambda: _no_problems(live))


async def test_a_copy_does_not_delete_the_rows_of_records_that_it_brings_broken(tmp_path: Path) -> None:
    def copy(*records: dict[str, object], at: int) -> Batch:
        return Batch([Rows(records)], source_ts=at, frontier=at, snapshot="only")

    clock = SimulatedClock()
    nameless = {"item_id": None, "shop": "s1", "stock": 1}
    script = Scripted(
        [
            copy(item(1), item(2), item(3), at=1),
            copy(item(1, stock=-1), item(3, stock=7), at=2),  # 1 is broken, 2 is gone
            copy(nameless, at=3),  # whose record is it? nothing is deleted
            EOF,
        ]
    )
    async with running(shop_app(script), tmp_path, clock) as live:

        async def ended() -> bool:
            return (await live.freshness())["tables"]["items"]["state"] == "ended"

        await until(ended)
        rows = (await live.in_stock(shop="s1")).rows
        assert rows == [{"item_id": "i1", "stock": 1}, {"item_id": "i3", "stock": 7}]
        assert len(live.reads.quarantine()) == 2


@pytest.mark.parametrize("wrong", [{"keep": None}, {"keep": "1h", "lateness": "2h"}])
def test_a_repeat_must_be_recognisable_for_as_long_as_it_may_come(wrong: dict[str, str | None]) -> None:
    class Order(hr.Record):
        order_id: str
        placed_at: hr_datetime

    app = hr.App("shop")
    app.events(Order, name="others", event_time="placed_at", **wrong)  # type: ignore[arg-type]
    with pytest.raises(DeclarationError, match="repeat"):
        app.events(Order, event_time="placed_at", key="order_id", **wrong)  # type: ignore[arg-type]


async def test_a_view_with_a_period_of_its_own_is_refreshed_by_it(tmp_path: Path) -> None:
    clock = SimulatedClock()
    app = shop_app()
    app.view("total", "SELECT SUM(stock) AS stock FROM items", refresh="30s")
    async with running(app, tmp_path, clock) as live:
        await live.push("items", item(1, stock=4))

        async def refreshed() -> bool:
            clock.advance(1)  # each time: the first refresh may begin to wait only after the clock has moved
            return await _has(live.total(), [{"stock": 4}])

        await until(refreshed)


async def test_rows_that_are_there_take_the_default_of_a_new_column(tmp_path: Path) -> None:
    clock = SimulatedClock()
    async with running(shop_app(), tmp_path, clock) as live:
        await live.push("items", item(1))

    class Item(hr.Record):
        item_id: str
        shop: str
        stock: int
        spicy: bool = False

    app = hr.App("shop")
    app.table(Item, key="item_id", index=["shop"])
    async with running(app, tmp_path, clock) as live:
        assert (await live.get("items", "i1")).rows == [item(1) | {"spicy": False}]


async def _has(read: Awaitable[ContextValue], rows: list[dict[str, object]]) -> bool:
    return (await read).rows == rows


async def test_a_source_that_keeps_failing_stays_a_problem_between_its_attempts(tmp_path: Path) -> None:
    clock = SimulatedClock()
    poll = hr.sources.Poll(f"sqlite:///{tmp_path / 'shop.db'}", "SELECT item_id, shop, stock FROM items", every="1s")
    async with running(shop_app(poll), tmp_path / "store", clock) as live:

        async def failed() -> bool:
            return [problem.kind for problem in live.engine.store.problems.current()] == ["source_failed"]

        await until(failed)
        for _ in range(5):  # beyond the wait after a failure, and not yet to the next poll
            clock.advance(0.1)
            for _ in range(50):
                await asyncio.to_thread(lambda: None)
                assert await failed()
