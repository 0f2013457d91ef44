from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import pytest

from headrace.portal import SyncPortal


class Counter:
    name = "counter"

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.count = 0
        self.closed = False

    async def add(self, amount: int, *, fail: bool = False) -> int:
        await asyncio.wait_for(asyncio.Event().wait(), 0.001) if amount < 0 else None
        if fail:
            raise ValueError("no")
        self.count += amount
        return self.count

    async def steps(self, count: int, *, fail: bool = False) -> AsyncIterator[int]:
        try:
            for number in range(count):
                self.count += 1
                yield number
            if fail:
                raise ValueError("no more")
        finally:
            self.count = 0

    def where(self) -> int:
        return threading.get_ident()


def running(counters: list[Counter]):
    @asynccontextmanager
    async def run() -> AsyncIterator[Counter]:
        asyncio.get_running_loop()
        counters.append(Counter())
        try:
            yield counters[0]
        finally:
            counters[0].closed = True

    return run


def test_methods_run_in_the_loops_thread() -> None:
    counters: list[Counter] = []
    with SyncPortal(running(counters)) as counter:
        assert counter.add(2) == 2
        assert counter.name == "counter"
        assert counter.where() == counter.thread != threading.get_ident()
        assert "add" in dir(counter)
    assert counters[0].closed


def test_an_async_iterator_is_an_iterator() -> None:
    with SyncPortal(running([])) as counter:
        assert list(counter.steps(3)) == [0, 1, 2]
        with counter.steps(3) as steps:
            assert next(steps) == 0
            assert counter.count == 1
        assert counter.count == 0
        with pytest.raises(ValueError, match="no more"):
            list(counter.steps(1, fail=True))


def test_errors_come_through_and_the_object_is_closed() -> None:
    counters: list[Counter] = []
    with pytest.raises(ValueError, match="no"), SyncPortal(running(counters)) as counter:
        counter.add(1, fail=True)
    assert counters[0].closed


def test_many_threads_may_call() -> None:
    with SyncPortal(running([])) as counter, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: counter.add(1), range(100)))
        assert counter.count == 100


def test_what_cannot_be_opened_raises_and_leaves_no_thread() -> None:
    @asynccontextmanager
    async def broken() -> AsyncIterator[None]:
        raise OSError("locked")
        yield

    before = threading.active_count()
    with pytest.raises(OSError, match="locked"), SyncPortal(broken):
        pass
    assert threading.active_count() == before
