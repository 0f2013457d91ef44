"""The event loop: uvloop where it is installed, asyncio's own elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes a loop; None means asyncio's default."""
    try:
        import uvloop
    except ImportError:  # no wheels for this platform
        return None
    return uvloop.new_event_loop


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in a fresh loop.

    >>> async def one() -> int:
    ...     return 1
    >>> run(one())
    1
    """
    with asyncio.Runner(loop_factory=factory()) as runner:
        return runner.run(main)
