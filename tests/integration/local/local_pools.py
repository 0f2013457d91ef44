"""What the tests of local models share: the models' module, the clock, and a look at processes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from headrace.core.clock import SystemClock
from headrace.models.local.pool import LocalPool

MODELS = Path(__file__).with_name("local_models.py")
CLOCK = SystemClock()

Start = Callable[..., Awaitable[LocalPool]]


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has asked about does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


async def until(what: Callable[[], bool], *, within: float = 10.0) -> None:
    """Wait until something is so."""
    end = CLOCK.monotonic() + within
    while not what():
        assert CLOCK.monotonic() < end, "it did not come to pass"
        await asyncio.sleep(0.01)
