"""What came up within one turn of the event loop, done together at its end: one step for all of it, then the next.

A request runs through two hundred functions, and the processor has little of that at hand when it comes. With many
requests at once it is cheaper to take one step of all of them, one after the other, than all steps of one: what a step
needs is at hand from the second on. One that is alone loses nothing by it: the end of its turn comes next.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
_MOST = 64
"""Steps that are taken without a pause: the first is not to wait long for the last."""


class Batch(Generic[T]):
    """Does one step for whatever is put into it, at the end of the loop's turn, in that order.

    Parameters
    ----------
    do
        The step.
    """

    __slots__ = ("_do", "_due", "_waiting")

    def __init__(self, do: Callable[[T], object]) -> None:
        self._do = do
        self._waiting: deque[T] = deque()
        self._due = False

    def put(self, one: T) -> None:
        """Do the step for this at the end of the turn."""
        self._waiting.append(one)
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._run)

    def _run(self) -> None:
        do, waiting = self._do, self._waiting
        self._due = False
        try:
            for _ in range(min(len(waiting), _MOST)):
                do(waiting.popleft())
        finally:
            if waiting and not self._due:  # more than that; or one has raised, which is not the others' loss
                self._due = True
                asyncio.get_running_loop().call_soon(self._run)
