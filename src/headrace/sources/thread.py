"""A thread of a partition's own, for drivers that block and bind a connection to its thread."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

Result = TypeVar("Result")

_Job = tuple[asyncio.AbstractEventLoop, asyncio.Future[Any], Callable[[], Any]]


class OwnThread:
    """Runs one function after the other. A daemon: what never returns does not hold up the end of the process."""

    def __init__(self, name: str) -> None:
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    async def run(self, function: Callable[[], Result]) -> Result:
        """What the function returns or raises. It goes on when the caller is cancelled, and what comes next waits."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._jobs.put((loop, future, function))
        return await future

    async def close(self, seconds: float) -> bool:
        """End the thread after what it has to do; False when that took more than `seconds`, and it was left alone."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join, seconds)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            loop, future, function = job
            try:
                settle = _settled(future, function())
            except BaseException as error:  # a boundary: it is raised where the function was asked for
                settle = _failed(future, error)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(settle)


def _settled(future: asyncio.Future[Any], result: object) -> Callable[[], None]:
    return lambda: None if future.done() else future.set_result(result)


def _failed(future: asyncio.Future[Any], error: BaseException) -> Callable[[], None]:
    return lambda: None if future.done() else future.set_exception(error)
