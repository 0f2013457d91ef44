"""Several tables fed by one stream: transactions are seen whole or not at all, whatever breaks and whenever."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from streams_bank import accounts, bank, copy, figures, move, opened, running, shows, transfers, until

from headrace.core.changes import Batch, Keys, Partial, Payload, Rows
from headrace.core.clock import SECOND, ClockOffset, SimulatedClock
from headrace.core.errors import SourceError
from headrace.runtime import feed
from headrace.runtime.live import Live
from headrace.testing import CRASH, PAUSE, Fail, Heartbeat, Scripted


async def test_both_tables_of_a_transaction_appear_together_and_share_position_and_frontier(tmp_path: Path) -> None:
    clock = SimulatedClock()
    steps = [
        *copy("4", [("a", 100), ("b", 0)]),
        *move(1, ("a", 70), ("b", 30), 30, "6"),
        Heartbeat(clock.now()),
        PAUSE(1000),
    ]
    source = Scripted(steps, stream="bank")
    async with running(bank(source), tmp_path, clock) as live:
        await until(shows(live, cents=100, accounts=2, moved=30, transfers=1))

        async def fresh() -> bool:
            answer = await live.get("transfers", 1)
            return answer.as_of == clock.now() and answer.inputs["transfers"].state == "running"

        await until(fresh)

        async def acknowledged() -> bool:
            clock.advance(50)
            return source.acknowledged == {"script": "6"}

        await until(acknowledged)
    assert [fed.known for fed in source.opened[0].tables.values()] == [False, False]
    async with running(bank(source), tmp_path, clock) as live:
        await until(lambda: opened(source, 2))
        assert await shows(live, cents=100, transfers=1)()
        assert source.opened[1].resume == {"script": "6"}
        assert [fed.known for fed in source.opened[1].tables.values()] == [True, True]


async def test_while_a_table_is_copied_it_is_complete_up_to_no_instant(tmp_path: Path) -> None:
    clock = SimulatedClock()
    parts = copy("4", [("a", 100), ("b", 0)])
    source = Scripted([parts[0], Heartbeat(), PAUSE(5), *parts[1:], PAUSE(1000)], stream="bank")
    async with running(bank(source), tmp_path, clock) as live:
        await until(shows(live, accounts=1))

        async def copying() -> bool:
            answer = await live.total()
            return (answer.as_of, answer.status, answer.inputs["accounts"].state) == (None, "stale", "snapshot")

        await until(copying)
        clock.advance(5)
        await until(shows(live, accounts=2))

        async def complete() -> bool:
            return (await live.total()).as_of == 8

        await until(complete)


async def test_a_table_declared_later_is_copied_alone_and_the_others_go_on(tmp_path: Path) -> None:
    clock = SimulatedClock()
    source = Scripted([*copy("4", [("a", 100), ("b", 0)]), PAUSE(5)], stream="bank")
    async with running(bank(source), tmp_path, clock) as live:
        await until(shows(live, accounts=2))
    later = Scripted(
        [
            *[Heartbeat()] * 4,
            *move(1, ("a", 70), ("b", 30), 30, "6"),
            Batch([Rows([{"audit_id": 1}])], table="audits", snapshot="part", source_ts=9),
            *move(2, ("a", 60), ("b", 40), 10, "9"),
            CRASH,
            Batch([], table="audits", snapshot="end", source_ts=9, position="11", frontier=9),
            PAUSE(1000),
        ],
        stream="bank",
    )
    app = bank(later, audits=True)
    async with running(app, tmp_path, clock) as live:
        await until(shows(live, moved=40))

        async def stopped() -> bool:
            return bool((await live.freshness())["problems"])

        await until(stopped)
    assert {name: fed.known for name, fed in later.opened[0].tables.items()} == {
        "accounts": True,
        "transfers": True,
        "audits": False,
    }
    async with running(app, tmp_path, clock) as live:
        # Its copy had not ended when the process died: the position of the stream does not count for it.
        await until(lambda: opened(later, 2))
        assert await shows(live, moved=40)()
        assert not later.opened[1].tables["audits"].known
        assert later.opened[1].resume == {"script": "9"}

        async def copied() -> bool:
            return (await live.get("audits", 1)).as_of == 9

        await until(copied)


async def test_a_table_that_was_not_declared_for_a_while_is_copied_again(tmp_path: Path) -> None:
    clock = SimulatedClock()
    end = Batch([], table="audits", snapshot="only", source_ts=7, position="5")
    source = Scripted([*copy("4", [("a", 100), ("b", 0)]), end, PAUSE(5)], stream="bank")
    async with running(bank(source, audits=True), tmp_path, clock) as live:
        await until(shows(live, accounts=2))

        async def all_known() -> bool:
            return live.engine.store.positions("audits") == {"script": "5"}

        await until(all_known)
    without = Scripted([*[Heartbeat()] * 5, *move(1, ("a", 70), ("b", 30), 30, "7"), PAUSE(5)], stream="bank")
    async with running(bank(without), tmp_path, clock) as live:
        await until(shows(live, moved=30))
    again = Scripted([*[Heartbeat()] * 7, PAUSE(5)], stream="bank")
    async with running(bank(again, audits=True), tmp_path, clock) as live:
        await until(lambda: opened(again, 1))
    assert {name: fed.known for name, fed in again.opened[0].tables.items()} == {
        "accounts": True,
        "transfers": True,
        "audits": False,
    }


def ledger(seed: int, rounds: int) -> tuple[list[Any], dict[str, int]]:
    """A random history of money moved between accounts, in transactions of random size; the sum never changes.

    Crashes, failures and pauses lie anywhere, also in the middle of transactions.
    """
    draw = random.Random(seed)
    names = [f"a{n}" for n in range(6)]
    cents = dict.fromkeys(names, 100)
    steps: list[Any] = copy("4", [(name, 100) for name in names])
    moved = number = 0
    for _ in range(rounds):
        batches: list[Batch] = []
        for _ in range(draw.choice([1, 1, 2, 9])):
            a, b = draw.sample(names, 2)
            some = draw.randint(0, cents[a])
            cents[a], cents[b] = cents[a] - some, cents[b] + some
            number, moved = number + 1, moved + some
            batches.append(accounts((a, cents[a]), more=True))
            batches.append(transfers((number, some), more=True))
            payload: Payload = Partial([{"account_id": b, "cents": cents[b]}])
            batches.append(Batch([payload], table="accounts", more=True))
        for batch in batches:
            if draw.random() < 0.1:
                fail = Fail(SourceError("the line is cut"))
                steps.append(draw.choice([CRASH, fail, PAUSE(0.01)]))
            steps.append(batch)
        steps[-1] = Batch(steps[-1].payloads, table="accounts", position=str(len(steps)), frontier=1)
    return steps, {"cents": 600, "accounts": 6, "moved": moved, "transfers": number}


def crashes(source: Scripted) -> int:
    """How many of the script's crashes have happened."""
    return sum(source.scripts[name][step] is CRASH for name, step in source.happened)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("large", [4, 40_000])
async def test_no_reader_ever_sees_half_of_a_transaction_through_crashes_and_failures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, large: int
) -> None:
    monkeypatch.setattr(feed, "LARGE", large)  # 4: nearly every transaction is streamed to the writer
    clock = SimulatedClock()
    steps, expected = ledger(seed, rounds=25)
    source = Scripted([*steps, PAUSE(10**6)], stream="bank")
    app = bank(source)
    for _ in range(100):
        crashed = crashes(source)
        async with running(app, tmp_path, clock) as live:

            async def settled(before: int = crashed, live: Live = live) -> bool:
                clock.advance(0.05)
                found = await figures(live)
                assert found["accounts"] < 6 or found["cents"] == 600, "half of a transaction"
                return crashes(source) > before or found == expected

            await until(settled)
            if await figures(live) == expected:
                return
    pytest.fail("it never came to its end")


async def test_truncate_is_a_copy_that_brings_nothing_also_before_rows_of_the_same_transaction(tmp_path: Path) -> None:
    clock = SimulatedClock()
    emptied = Batch([], table="accounts", snapshot="only", more=True)
    steps = [*copy("4", [("a", 100), ("b", 0)]), emptied, accounts(("c", 5), position="6"), PAUSE(1000)]
    async with running(bank(Scripted(steps, stream="bank")), tmp_path, clock) as live:
        await until(shows(live, cents=5, accounts=1))
        assert (await live.get("accounts", "a")).rows == []


async def test_a_partial_record_keeps_what_is_stored_even_when_that_is_of_the_same_transaction(tmp_path: Path) -> None:
    clock = SimulatedClock()
    note = Batch([Rows([{"account_id": "c", "cents": 1, "note": "long"}])], table="accounts", more=True)
    partial = Batch([Partial([{"account_id": "c", "cents": 2}])], table="accounts", more=True)
    gone = Batch([Keys([{"account_id": "a"}])], table="accounts", more=True)
    orphan = Batch([Partial([{"account_id": "a", "cents": 2}])], table="accounts", position="8")
    later = Batch([Partial([{"account_id": "c", "cents": 3}])], table="accounts", position="9")
    negative = Batch([Partial([{"account_id": "c", "cents": -1}])], table="accounts", position="10")
    steps = [*copy("4", [("a", 100), ("b", 0)]), note, partial, gone, orphan, later, negative, PAUSE(1000)]
    async with running(bank(Scripted(steps, stream="bank")), tmp_path, clock) as live:

        async def kept() -> bool:
            return (await live.get("accounts", "c")).rows == [{"account_id": "c", "cents": 3, "note": "long"}]

        await until(kept)

        async def waiting() -> bool:
            return len(live.reads.quarantine()) == 2

        await until(waiting)
        one, two = live.reads.quarantine()
        assert (one["rule"], one["column"]) == ("incomplete", "note")
        assert (two["rule"], two["value"]) == ("ge", "-1")
        assert (await live.get("accounts", "a")).rows == []


async def test_a_partial_record_with_a_new_key_takes_its_row_along(tmp_path: Path) -> None:
    clock = SimulatedClock()
    note = Batch([Rows([{"account_id": "c", "cents": 1, "note": "long"}])], table="accounts", more=True)
    moved = Partial([{"account_id": "d", "cents": 1}, {"account_id": "d", "cents": 2}], [{"account_id": "c"}, None])
    again = Partial([{"account_id": "c", "cents": 3}], [{"account_id": "d"}])
    twice = Batch([moved, again], table="accounts", position="8")
    orphan = Batch([Partial([{"account_id": "y", "cents": 2}], [{"account_id": "x"}])], table="accounts", position="9")
    last = Batch([Partial([{"account_id": "e", "cents": 3}], [{"account_id": "c"}])], table="accounts", position="10")
    steps = [*copy("4", [("a", 100), ("b", 0)]), note, twice, orphan, last, PAUSE(1000)]
    async with running(bank(Scripted(steps, stream="bank")), tmp_path, clock) as live:

        async def kept() -> bool:
            return (await live.get("accounts", "e")).rows == [{"account_id": "e", "cents": 3, "note": "long"}]

        await until(kept)
        assert (await live.get_many("accounts", ["c", "d", "x", "y"])).rows == []
        assert [one["rule"] for one in live.reads.quarantine()] == ["incomplete"]


async def test_a_unit_of_which_one_part_is_refused_is_refused_as_a_whole(tmp_path: Path) -> None:
    clock = SimulatedClock()
    bad = Batch([Rows([{"transfer_id": 1, "cents": "x" * 3000}])], table="transfers", position="5")
    unit = [accounts(("a", 1), more=True), Batch(bad.payloads, table="transfers", position="8")]
    source = Scripted([*copy("4", [("a", 100), ("b", 0)]), bad, PAUSE(1), *unit, PAUSE(1000)], stream="bank")
    app = bank(source, quarantine_limit=1000)
    async with running(app, tmp_path, clock) as live:

        async def full() -> bool:
            return len(live.reads.quarantine()) == 1

        await until(full)

        async def refused() -> bool:
            clock.advance(1)  # again and again: the source may not have come to its pause yet
            return {p["kind"] for p in (await live.freshness())["problems"]} >= {"refused", "quarantine_full"}

        await until(refused)
        assert (await figures(live))["cents"] == 100  # not 1: what came with the refused record waits with it
        await live.engine.drop(table="transfers")
        await until(lambda: _advanced(live, clock))


async def _advanced(live: Live, clock: SimulatedClock) -> bool:
    clock.advance(1)
    return (await figures(live))["cents"] == 1


async def test_the_offset_of_the_sources_clock_is_told(tmp_path: Path) -> None:
    clock = SimulatedClock()
    told = Batch((), frontier=clock.now(), clock=ClockOffset(2 * SECOND, 1500))
    source = Scripted([*copy("4", [("a", 100), ("b", 0)]), told, PAUSE(1000)], stream="bank")
    async with running(bank(source), tmp_path, clock) as live:

        async def measured() -> bool:
            tables = (await live.freshness())["tables"]
            return all(table["clock"] == {"offset_ms": 2000.0, "error_ms": 1.5} for table in tables.values())

        await until(measured)
        answer = await live.total()
        assert answer.value_age_error_ms == 2001.5
        assert answer.inputs["accounts"].error == 2_001_500
        shown = answer.to_dict()
        assert (shown["value_age_error_ms"], shown["inputs"]["accounts"]["value_age_error_ms"]) == (2001.5, 2001.5)
