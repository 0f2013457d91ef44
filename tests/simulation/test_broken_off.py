"""What is broken off in the middle: large transactions, and full copies, which go on where they were."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from streams_bank import accounts, bank, copy, opened, running, shows, transfers, until

from headrace.core.changes import Batch, Kept
from headrace.core.clock import SimulatedClock
from headrace.core.errors import SourceError
from headrace.runtime import feed
from headrace.runtime.live import Live
from headrace.store import snapshot
from headrace.testing import PAUSE, Fail, Scripted


@contextmanager
def complaints() -> Iterator[list[str]]:
    """What the event loop had to complain about, once everything that could be collected was."""
    loop, found = asyncio.get_running_loop(), list[str]()
    loop.set_exception_handler(lambda _, context: found.append(str(context["message"])))
    try:
        yield found
    finally:
        gc.collect()
        loop.set_exception_handler(None)


def _writer_waits() -> bool:
    """Whether the writer's transaction is open and its next piece has not come."""
    frames = sys._current_frames()
    ids = [thread.ident for thread in threading.enumerate() if thread.name == "headrace-writer"]
    return "pieces" in {frame.f_code.co_name for i in ids for frame, _ in traceback.walk_stack(frames[i or 0])}


async def test_an_app_that_ends_amid_a_large_transaction_leaves_no_answer_that_nobody_hears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "LARGE", 4)
    rows = [(f"x{n}", 1) for n in range(5)]
    source = Scripted([*copy("4", [("a", 100), ("b", 0)]), accounts(*rows, more=True), PAUSE(1e9)], stream="bank")
    with complaints() as found:
        async with running(bank(source), tmp_path, SimulatedClock()) as live:

            async def half() -> bool:
                return await shows(live, cents=100, accounts=2)() and _writer_waits()

            await until(half)
    assert found == []


async def test_a_source_that_fails_amid_a_large_transaction_leaves_no_answer_that_nobody_hears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "LARGE", 4)
    clock = SimulatedClock()
    large, broken = accounts(*[(f"x{n}", 1) for n in range(5)], more=True), Fail(SourceError("the stream broke"))
    steps = [*copy("4", [("a", 100), ("b", 0)]), large, broken, transfers((1, 5), position="7"), PAUSE(1e9)]
    with complaints() as found:
        async with running(bank(Scripted(steps, stream="bank")), tmp_path, clock) as live:

            async def whole() -> bool:
                clock.advance(1)
                return await shows(live, cents=105, accounts=7, moved=5)()

            await until(whole)
            broken.error.__traceback__ = None  # it knows everybody who was there
    assert found == []


def part(rows: Sequence[tuple[str, int]], note: str | None = None, source_ts: int = 7) -> Batch:
    return replace(accounts(*rows, snapshot="part", source_ts=source_ts), note=note)


def kept(*keys: str, source_ts: int) -> Batch:
    names = [(key,) for key in keys]
    return Batch([Kept(("account_id",), names)], table="accounts", snapshot="part", source_ts=source_ts)


def ending(position: str, source_ts: int) -> list[Batch]:
    return [
        Batch([], table="accounts", snapshot="end", source_ts=source_ts, more=True),
        Batch([], table="transfers", snapshot="only", source_ts=source_ts, position=position, frontier=8),
    ]


async def test_a_copy_that_was_broken_off_goes_on_from_its_note(tmp_path: Path) -> None:
    clock = SimulatedClock()
    done = [part([("a", 1), ("b", 2)], "a and b"), part([("c", 3)])]
    first = Scripted([*done, PAUSE(1e9)], stream="bank")
    async with running(bank(first), tmp_path, clock) as live:
        await until(shows(live, cents=6, accounts=3))
    assert [fed.note for fed in first.opened[0].tables.values()] == [None, None]
    # Meanwhile b has changed, c is gone, and d is new.
    steps = [*done, kept("a", source_ts=9), part([("b", 20), ("d", 4)], source_ts=9), *ending("6", 9), PAUSE(1e9)]
    second = Scripted(steps, stream="bank")
    async with running(bank(second), tmp_path, clock) as live:
        await until(shows(live, cents=25, accounts=3))
        assert sorted(row["account_id"] for row in await live.get_many("accounts", ["a", "b", "c", "d"])) == [*"abd"]
        await until(lambda: told(live, None))
    assert second.opened[0].tables["accounts"].note == "a and b"
    third = Scripted(steps, stream="bank")
    async with running(bank(third), tmp_path, clock):
        await until(lambda: opened(third, 1))
    assert third.opened[0].tables["accounts"].note is None, "the copy is complete"


async def told(live: Live, note: str | None) -> bool:
    """Whether that is what the store holds of the copy of the accounts."""
    return snapshot.note(live.engine.folder.database, "accounts") == note


async def test_a_note_is_void_once_something_else_has_changed_its_table(tmp_path: Path) -> None:
    steps = [part([("a", 1)], "a"), PAUSE(1), accounts(("x", 5), position="9"), PAUSE(1e9)]
    clock = SimulatedClock()
    async with running(bank(Scripted(steps, stream="bank")), tmp_path, clock) as live:
        await until(lambda: told(live, "a"))

        async def void() -> bool:
            clock.advance(1)
            return await told(live, None)

        await until(void)


async def test_a_kept_key_that_cannot_be_read_deletes_nothing(tmp_path: Path) -> None:
    clock = SimulatedClock()
    done = part([("a", 1), ("b", 2)], "both")
    first = Scripted([done, PAUSE(1e9)], stream="bank")
    async with running(bank(first), tmp_path, clock) as live:
        await until(shows(live, accounts=2))
    bad = Batch([Kept(("account_id",), [(None,)])], table="accounts", snapshot="part", source_ts=9)
    second = Scripted([done, bad, *ending("4", 9), PAUSE(1e9)], stream="bank")
    async with running(bank(second), tmp_path, clock) as live:
        await until(lambda: told(live, None))
        assert await shows(live, accounts=2)()
