"""Polls: full copies, their age, and what is never shown."""

from __future__ import annotations

import asyncio
import builtins
import threading
from pathlib import Path
from typing import Any

import apsw
import pytest

from headrace.core.changes import Rows
from headrace.core.clock import SECOND, SimulatedClock, SystemClock
from headrace.core.errors import DeclarationError, MissingExtra, SourceError
from headrace.core.schema import Column, ColumnType, Schema, TableKind
from headrace.sources import Opening, Partition, Poll
from headrace.sources.poll import CHUNK, RETRY

SCHEMA = Schema("things", TableKind.TABLE, (Column("id", ColumnType.INTEGER),), ("id",))


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    path = tmp_path / "shop.db"
    execute(path, "CREATE TABLE things (id INTEGER, note TEXT)")
    return path


def execute(path: Path, sql: str, *arguments: Any) -> None:
    db = apsw.Connection(str(path))
    db.execute(sql, *arguments)
    db.close()


def fill(path: Path, count: int) -> None:
    sql = (
        "INSERT INTO things WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<?) SELECT i,'' FROM n"
    )
    execute(path, sql, (count,))


async def opened(poll: Poll, clock: SimulatedClock) -> Partition:
    (part,) = await poll.open(Opening(SCHEMA, {}, clock))
    return part


async def test_a_copy_comes_in_parts_as_of_the_instant_the_query_began(shop: Path) -> None:
    fill(shop, 2 * CHUNK + 1)
    clock = SimulatedClock()
    part = await opened(Poll(f"sqlite:///{shop}", "SELECT * FROM things", every="10s"), clock)
    began = clock.now()
    batches: list[Any] = []
    for _ in range(3):
        batches.append(await part.next_batch())
        clock.advance(1)
    assert [batch.snapshot for batch in batches] == ["part", "part", "end"]
    assert [batch.frontier for batch in batches] == [None, None, began]
    assert {batch.source_ts for batch in batches} == {began}
    assert sum(len(payload.records) for batch in batches for payload in batch.payloads) == 2 * CHUNK + 1
    assert await part.next_batch() is None
    assert part.next_awake() == pytest.approx(7)
    await part.close()


async def test_an_empty_answer_is_a_full_copy_too(shop: Path) -> None:
    part = await opened(Poll(f"sqlite:///{shop}", "SELECT * FROM things"), SimulatedClock())
    batch = await part.next_batch()
    assert batch is not None
    assert (batch.snapshot, batch.payloads) == ("only", [Rows([])])
    await part.close()


async def test_without_replace_rows_are_only_upserted(shop: Path) -> None:
    fill(shop, 1)
    clock = SimulatedClock()
    poll = Poll(
        f"sqlite:///{shop}", "SELECT id FROM things WHERE id <= :top", every="1s", replace=False, params={"top": 9}
    )
    part = await opened(poll, clock)
    batch = await part.next_batch()
    assert batch is not None
    assert (batch.snapshot, batch.payloads, batch.frontier) == (None, [Rows([{"id": 1}])], clock.now())
    await part.close()


async def test_a_failure_is_told_without_the_password_and_tried_again(shop: Path) -> None:
    clock = SimulatedClock()
    poll = Poll(f"sqlite:///file:{shop}?uri=true&password=hunter2", "SELECT * FROM absent, hunter2", every="1h")
    part = await opened(poll, clock)
    with pytest.raises(SourceError, match="no such table") as caught:
        await part.next_batch()
    assert not caught.value.permanent
    assert "hunter2" not in str(caught.value)
    assert part.next_awake() == pytest.approx(RETRY)
    execute(shop, "CREATE TABLE absent (id INTEGER)")
    execute(shop, "CREATE TABLE hunter2 (x INTEGER)")
    clock.advance(RETRY)
    batch = await part.next_batch()
    assert batch is not None
    assert batch.frontier == clock.now()
    await part.close()


async def test_a_url_that_nobody_knows_is_a_permanent_error() -> None:
    with pytest.raises(SourceError, match=r"nosql://ann:\*\*\*@db") as caught:
        await opened(Poll("nosql://ann:pw@db", "SELECT 1"), SimulatedClock())
    assert caught.value.permanent


async def test_without_the_extra_the_install_command_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any, **options: Any) -> Any:
        if name.startswith("sqlalchemy"):
            raise ModuleNotFoundError(name)
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(MissingExtra, match=r"headrace\[sql\]"):
        await opened(Poll("sqlite://", "SELECT 1"), SimulatedClock())


@pytest.mark.parametrize(("url", "query"), [("shop.db", "SELECT 1"), ("sqlite://", "  ")])
def test_what_cannot_work_is_refused_when_it_is_declared(url: str, query: str) -> None:
    with pytest.raises(DeclarationError):
        Poll(url, query)


def test_silence_counts_from_the_second_missed_poll() -> None:
    assert Poll("sqlite://", "SELECT 1", every="5m").expect == 600 * SECOND


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) AS id FROM n"


async def test_a_query_under_way_is_interrupted_by_a_stop(shop: Path) -> None:
    part = await opened(Poll(f"sqlite:///{shop}", ENDLESS), SimulatedClock())
    asking = asyncio.ensure_future(part.next_batch())
    await SystemClock().sleep(0.05)
    asking.cancel()
    async with asyncio.timeout(1.5):
        await part.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "headrace-poll" and thread.is_alive()]


async def test_a_query_that_cannot_be_interrupted_is_left_alone(
    shop: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("headrace.sources.poll.LEAVE", 0.2)
    part = await opened(Poll(f"sqlite:///{shop}", ENDLESS), SimulatedClock())
    interrupt = part._interrupt  # type: ignore[attr-defined]
    monkeypatch.setattr(part, "_interrupt", lambda: None)
    asking = asyncio.ensure_future(part.next_batch())
    await SystemClock().sleep(0.05)
    asking.cancel()
    async with asyncio.timeout(1.5):
        await part.close()
    assert "left alone" in caplog.text
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "headrace-poll"]
    assert thread.daemon
    while thread.is_alive():  # so that the next test has the processor for itself
        interrupt()
        thread.join(0.05)
