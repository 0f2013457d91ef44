"""What waits for the writer, and how whoever waits for it is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import apsw

from headrace.core.changes import Receipt, together
from headrace.core.errors import HeadraceError
from headrace.store.base import Submission
from headrace.store.streamed import StreamedUnit
from headrace.store.transaction import Outcome


@dataclass(slots=True)
class Item:
    """Something for the writer: submissions that belong together, or what has a transaction for itself: a function to
    run in it, or a unit whose submissions come piece by piece."""

    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    durable: bool
    submissions: Sequence[Submission] = ()
    function: Callable[[apsw.Connection, int], Any] | None = None
    unit: StreamedUnit | None = None
    changed: Sequence[str] = ()
    rows: int = 1
    size: int = 0

    @property
    def bulk(self) -> str | None:
        """The table that this is read into from a source; None when somebody waits for it, or it is for several."""
        tables = {submission.table for submission in self.submissions}
        return None if self.durable or len(tables) != 1 else tables.pop()

    @property
    def alone(self) -> bool:
        """Whether it has a transaction for itself."""
        return not self.submissions


@dataclass(slots=True)
class Answer:
    """What to tell whoever waits for an item."""

    item: Item
    result: Any = None
    error: BaseException | None = None


def answer(item: Item, outcomes: Sequence[Outcome]) -> Answer:
    """One answer to an item of several submissions, which were taken together or not at all."""
    receipts = [outcome for outcome in outcomes if isinstance(outcome, Receipt)]
    if len(receipts) < len(outcomes):
        return Answer(item, error=next(outcome for outcome in outcomes if isinstance(outcome, HeadraceError)))
    return Answer(item, receipts[0] if len(receipts) == 1 else together(receipts))


def deliver(answers: Sequence[Answer]) -> None:
    """Complete the futures, with one wake-up for each event loop."""
    loops: dict[int, list[Answer]] = {}
    for answer in answers:
        loops.setdefault(id(answer.item.loop), []).append(answer)
    for group in loops.values():
        call_soon(group[0].item.loop, lambda g=group: _complete(g))


def _complete(answers: Sequence[Answer]) -> None:
    for answer in answers:
        future = answer.item.future
        if future.done():
            continue
        if answer.error is not None:
            future.set_exception(answer.error)
        else:
            future.set_result(answer.result)


def call_soon(loop: asyncio.AbstractEventLoop, call: Callable[[], object]) -> None:
    """Run `call` on `loop`, from any thread."""
    try:
        loop.call_soon_threadsafe(call)
    except RuntimeError:
        # The loop is closed: whoever waited is gone. What was committed stays.
        return
