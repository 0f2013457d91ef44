"""A streamed answer: events as they come, then one that says what they were built on; never a broken one as complete.

data: "..."                each item of the handler, as JSON
event: headrace            the end: version, ages, whether what was read still holds
event: error               in its place where the stream broke: a problem document; then the connection breaks
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

import msgspec

from headrace.core.errors import HeadraceError
from headrace.pipeline.answer import Facts
from headrace.pipeline.handling import Handling, Work
from headrace.pipeline.running import Run
from headrace.pipeline.sse import encode, event
from headrace.pipeline.until import Until


class Events:
    """The events of one answer; an async iterator of bytes. Iterate it to its end, or `aclose` it.

    Parameters
    ----------
    first
        The item that is there already.
    end
        Told once, whatever happens: the status with which it ended.
    """

    def __init__(
        self,
        handling: Handling,
        work: Work,
        run: Run,
        items: AsyncIterator[Any],
        first: list[Any],
        end: Callable[[int], None],
    ) -> None:
        self._handling = handling
        self._work = work
        self._run = run
        self._items = items
        self._first = first
        self._end = end
        self._over = False
        self._broken: HeadraceError | None = None

    def __aiter__(self) -> Events:
        return self

    async def __anext__(self) -> bytes:
        """The next event."""
        if self._broken is not None:
            raise self._broken
        if self._over:
            raise StopAsyncIteration
        try:
            return await self._next()
        except HeadraceError as error:
            self._broken = error
            problem = self._handling.unanswered(self._work, error)
            await self._finish(problem["status"])
            return event(encode(problem), "error")
        except asyncio.CancelledError:
            await self._finish(499)
            raise
        except Exception:  # a fault of ours, which whoever serves logs
            await self._finish(500)
            raise

    async def aclose(self) -> None:
        """Nobody takes more."""
        await self._finish(499)

    async def items(self) -> AsyncGenerator[Any]:
        """The items as plain JSON data, without the events around them: for callers in this process."""
        status = 499
        try:
            while (item := await self._item()) is not _END:
                yield msgspec.json.decode(self._handling.write(self._run, item))
            await self._settle()
            status = 200
        except HeadraceError as error:
            status = self._handling.unanswered(self._work, error)["status"]
            raise
        except Exception:  # as in `__anext__`
            status = 500
            raise
        finally:
            await self._finish(status)

    async def _next(self) -> bytes:
        item = await self._item()
        if item is not _END:
            return event(self._handling.write(self._run, item))
        await self._settle()
        await self._finish(200)
        return event(encode(self._work.facts.to_dict()), "headrace")

    async def _item(self) -> Any:
        if self._first:
            return self._first.pop()
        try:
            async with Until(self._handling.means.clock, self._work.end, self._work.stage):
                return await self._handling.next(self._run, self._items)
        except StopAsyncIteration:
            return _END

    async def _settle(self) -> None:
        check = await self._handling.validate(self._run.reads, self._work.end)
        self._handling.settle(self._work, check)
        self._work.settle(self._handling.means.clock.monotonic())

    async def _finish(self, status: int) -> None:
        if self._over:
            return
        self._over = True
        try:
            await close(self._run, self._items)
        finally:
            self._end(status)


class Told:
    """A streamed answer that is there as a whole: one item, and the end. What a fallback gives."""

    def __init__(self, body: bytes, facts: Facts) -> None:
        self._body = body
        self._events = [event(encode(facts.to_dict()), "headrace"), event(body)]

    def __aiter__(self) -> Told:
        return self

    async def __anext__(self) -> bytes:
        """The next event."""
        if not self._events:
            raise StopAsyncIteration
        return self._events.pop()

    async def items(self) -> AsyncGenerator[Any]:
        """The item."""
        yield msgspec.json.decode(self._body)

    async def aclose(self) -> None:
        """Nobody takes more."""
        self._events.clear()


_END = object()


async def close(run: Run, items: AsyncIterator[Any] | None) -> None:
    """Let go of a handler's stream, and of what it waits for."""
    closer = getattr(items, "aclose", None)
    try:
        if closer is not None:
            await closer()
    finally:
        await run.let_go()
