"""A thread of the partition's own, for what blocks: one thing after the other."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
from collections.abc import Callable
from typing import Any, TypeVar

Result = TypeVar("Result")

LEAVE_SECONDS = 15.0
"""How long closing waits for what is under way; connecting takes ten seconds at most."""


class Worker:
    """Runs functions in one thread."""

    def __init__(self) -> None:
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="headrace-postgres")

    async def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """What the function returns or raises. It goes on when the caller is cancelled, and what comes next waits."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    async def close(self) -> None:
        """Wait for the thread to end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_SECONDS):
                await asyncio.to_thread(self._thread.shutdown)
