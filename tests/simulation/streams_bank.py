"""A bank whose two tables are fed by one stream, and what tests of it share."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import headrace as hr
from headrace.app import App
from headrace.core.changes import Batch, Tuples
from headrace.core.clock import SimulatedClock
from headrace.runtime.live import Live
from headrace.testing import Scripted


class Account(hr.Record):
    account_id: str
    cents: int = hr.Field(ge=0)
    note: str = ""


class Transfer(hr.Record):
    transfer_id: int
    cents: int
    memo: str | None = None


class Audit(hr.Record):
    audit_id: int


def bank(source: Scripted, *, audits: bool = False, **options: Any) -> App:
    app = hr.App("bank", **options)
    app.table(Account, key="account_id", freshness="2s", source=source)
    app.table(Transfer, key="transfer_id", source=source)
    if audits:
        app.table(Audit, key="audit_id", source=source)
    app.view("total", "SELECT cents FROM accounts")
    app.view("moved", "SELECT cents FROM transfers")
    return app


def accounts(*rows: tuple[str, int], **more: Any) -> Batch:
    return Batch([Tuples(("account_id", "cents"), rows)], table="accounts", **more)


def transfers(*rows: tuple[int, int], **more: Any) -> Batch:
    return Batch([Tuples(("transfer_id", "cents"), rows)], table="transfers", **more)


def move(number: int, a: tuple[str, int], b: tuple[str, int], cents: int, position: str) -> list[Batch]:
    """One transaction over two tables."""
    return [accounts(a, b, more=True), transfers((number, cents), position=position)]


def copy(position: str, rows: Sequence[tuple[str, int]]) -> list[Batch]:
    """The first full copy of both tables, in parts, and its end in one transaction."""
    return [
        accounts(*rows[:1], snapshot="part", source_ts=7),
        accounts(*rows[1:], snapshot="part", source_ts=7),
        Batch([], table="accounts", snapshot="end", source_ts=7, more=True),
        Batch([], table="transfers", snapshot="only", source_ts=7, position=position, frontier=8),
    ]


async def until(check: Callable[[], Awaitable[bool]]) -> None:
    """Let the loop and the store's threads work until `check` holds; at most about half a minute."""
    never = threading.Event()
    for _ in range(30_000):
        if await check():
            return
        await asyncio.get_running_loop().run_in_executor(None, never.wait, 0.001)
    pytest.fail("it never came true")


@asynccontextmanager
async def running(app: App, data: Path, clock: SimulatedClock) -> AsyncIterator[Live]:
    async with app.run(data=data, clock=clock) as live:
        yield live


async def figures(live: Live) -> dict[str, int]:
    """Both totals in one snapshot."""
    total, moved = await live.read_many([("total", {}), ("moved", {})])
    return {
        "cents": sum(row["cents"] for row in total),
        "accounts": len(total),
        "moved": sum(row["cents"] for row in moved),
        "transfers": len(moved),
    }


async def opened(source: Scripted, times: int) -> bool:
    return len(source.opened) >= times


def shows(live: Live, **expected: int) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        found = await figures(live)
        return all(found[name] == value for name, value in expected.items())

    return check
