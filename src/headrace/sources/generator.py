"""Generator: any Python iterator or async iterator of records is a source; for simulators, tests and odd feeds."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, cast

from pydantic import BaseModel

from headrace.core.changes import BadBytes, Batch, Json, Keys, Payload, Position, Rows
from headrace.core.clock import Clock
from headrace.core.durations import Duration, parse_duration
from headrace.core.errors import DeclarationError, SourceError
from headrace.sources.base import Opening, Partition, Source
from headrace.sources.pump import Pump, TaskPump, ThreadPump

BATCH_ROWS = 2_000
"""Items in one batch at most."""

HEARTBEAT = 100_000
"""An idle generator says so at most every 100 ms (microseconds)."""

SHORTEST, LONGEST = 0.001, 0.02
"""Seconds between two looks at the buffer: short after an item came, doubling while none does."""


class Generator(Source):
    """Records from a function that returns an iterator or async iterator.

    The iterator yields records (`Record` instances or mappings), payloads (`Json`, `Keys` for deletes, ...), whole
    `Batch`es, or `(record, position)` pairs. What is there is delivered at once; a blocking iterator runs in a thread
    of its own and blocks nobody.

    `None` says "still here, nothing to say": it moves the frontier, and it lets a blocking iterator be closed, which
    happens between two items. One that blocks for good keeps its thread until the process ends.

    Resuming: when the function takes a parameter `position`, it is called with the last committed position (None on
    the first start) and must continue right after it; it yields `(record, position)` pairs, or batches with a
    position. Without it the function starts from its beginning after a restart: for a table by key that changes
    nothing, but events without a key come twice.

    Parameters
    ----------
    fn
        A function without parameters, or with one named `position`.
    expect
        The iterator yields something at least this often; the table's freshness promise if not given.
    idle_is_complete
        True: while the iterator yields nothing there is nothing to say, so the frontier moves on with the clock.
        False: silence may mean trouble (the iterator reads a network), so only a `None` moves the frontier.

    Raises
    ------
    DeclarationError
        When `fn` is not such a function.

    Examples
    --------
    >>> Generator(lambda: iter([{"id": 1}, {"id": 2}])).describe()
    'generator <lambda>, starts from its beginning'
    """

    kind: ClassVar[str] = "generator"

    def __init__(
        self, fn: Callable[..., Any], *, expect: Duration | None = None, idle_is_complete: bool = True
    ) -> None:
        if not callable(fn):
            raise DeclarationError(
                f"Generator takes a function, not {type(fn).__name__}",
                hint="write Generator(lambda: records) so that a restart can begin again",
            )
        self.fn = fn
        self.expect = None if expect is None else parse_duration(expect)
        self.idle_is_complete = idle_is_complete
        self.resumes = _takes_position(fn)

    async def open(self, opening: Opening) -> Sequence[Partition]:
        return [GeneratorPartition(self, opening.resume.get("generator"), opening.clock)]

    def describe(self) -> str:
        return f"generator {_name(self.fn)}, {'resumes' if self.resumes else 'starts from its beginning'}"


class GeneratorPartition:
    """Drains the pump that pulls the user's iterator."""

    name = "generator"

    def __init__(self, source: Generator, position: Position | None, clock: Clock) -> None:
        self._source = source
        self._position = position
        self._clock = clock
        self._pump: Pump | None = None
        self._ended = False
        self._beat = 0
        self._emptied: int | None = None
        self._count = 0
        self._wait = SHORTEST

    async def next_batch(self) -> Batch | None:
        if self._ended:
            return None
        pump = self._pump or await self._start()
        # Both are read before the buffer is: whatever was yielded by then is in what is taken now.
        before, finished = self._clock.now(), pump.finished
        batch = self._drain(pump, before)
        if not pump.buffer:
            self._emptied = before
        if batch is not None:
            self._wait = SHORTEST
            return batch
        return await self._finish(pump, before) if finished else None

    def next_awake(self) -> float:
        wait, self._wait = self._wait, min(self._wait * 2, LONGEST)
        return LONGEST if self._ended else wait

    async def acknowledge(self, position: Position) -> None:
        """Nothing to forget: the iterator belongs to the user."""

    async def close(self) -> None:
        pump, self._pump, self._ended = self._pump, None, True
        if pump is not None:
            await pump.stop()

    async def _start(self) -> Pump:
        arguments = {"position": self._position} if self._source.resumes else {}
        try:
            items = await _call(self._source.fn, arguments)
        except Exception as error:  # boundary to user code
            raise self._failure(error) from error
        if isinstance(items, AsyncIterator):
            self._pump = TaskPump(items)
        else:
            self._pump = ThreadPump(items, name=f"headrace-generator-{_name(self._source.fn)}")
        return self._pump

    def _drain(self, pump: Pump, before: int) -> Batch | None:
        taken = _Taken()
        while pump.buffer and taken.count < BATCH_ROWS:
            item = pump.buffer[0]
            if isinstance(item, Batch) and taken.count == 0:
                pump.buffer.popleft()
                pump.made_room()
                return self._passed(item)
            if taken.count and item is not None and not _is_plain(item):
                break  # what was yielded before a batch, or before a mistake, is delivered first
            taken.add(pump.buffer.popleft(), self._source)
        pump.made_room()
        frontier = None if pump.buffer else self._frontier(before, alive=taken.alive)
        if taken.count == 0:
            return self._idle(before, frontier)
        origin = f"generator:{self._count}"
        self._count += taken.count
        if taken.position is not None:
            self._position = taken.position
        return Batch(taken.payloads(), taken.position, origin, frontier=frontier)

    def _frontier(self, before: int, *, alive: bool) -> int | None:
        """Complete up to when, now that everything that was yielded is taken."""
        if self._source.idle_is_complete:
            return before
        # A `None` was yielded after the last look that found nothing left, and nobody knows how long after.
        return self._emptied if alive else None

    def _passed(self, batch: Batch) -> Batch:
        if batch.position is not None:
            self._position = batch.position
        self._count += 1
        return batch

    def _idle(self, before: int, frontier: int | None) -> Batch | None:
        if frontier is None or before - self._beat < HEARTBEAT:
            return None
        self._beat = before
        return Batch((), frontier=frontier)

    async def _finish(self, pump: Pump, before: int) -> Batch:
        await pump.stop()
        self._pump = None
        if pump.error is not None:
            raise self._failure(pump.error) from pump.error
        self._ended = True
        return Batch((), frontier=before, ended=True)

    def _failure(self, error: Exception) -> SourceError:
        resumes = self._source.resumes
        return SourceError(
            f"the generator {_name(self._source.fn)} raised {type(error).__name__}: {error}",
            hint="it is called again with the last position"
            if resumes
            else "let the function take a parameter `position`, so that it can be called again where it failed",
            source=self._source.kind,
            permanent=not resumes,
        )


class _Taken:
    """Items of one batch: neighbouring records become one `Rows` payload."""

    def __init__(self) -> None:
        self.count = 0
        self.alive = False
        self.position: Position | None = None
        self._payloads: list[Payload] = []
        self._records: list[Mapping[str, Any]] = []

    def add(self, item: Any, source: Generator) -> None:
        if item is None:
            self.alive = True
            return
        self.count += 1
        if not _is_plain(item):
            raise SourceError(
                f"the generator {_name(source.fn)} yielded {item!r:.100}, which is not a record",
                hint="yield Record instances, mappings, payloads, batches, None or (record, position as text)",
                source=source.kind,
                permanent=True,
            )
        if isinstance(item, tuple):
            item, self.position = cast("tuple[Any, Position]", item)
        if isinstance(item, BaseModel):
            self._records.append(item.model_dump())
        elif isinstance(item, Mapping):
            self._records.append(cast("Mapping[str, Any]", item))
        else:
            self._flush()
            self._payloads.append(item)

    def payloads(self) -> list[Payload]:
        self._flush()
        return self._payloads

    def _flush(self) -> None:
        if self._records:
            self._payloads.append(Rows(self._records))
            self._records = []


def _is_plain(item: Any) -> bool:
    """Whether this is a record or payload, alone or with a position."""
    if isinstance(item, tuple):
        pair = cast("tuple[Any, ...]", item)
        return len(pair) == 2 and isinstance(pair[1], str) and not isinstance(pair[0], tuple) and _is_plain(pair[0])
    return isinstance(item, BaseModel | Mapping | Json | Rows | Keys | BadBytes)


async def _call(fn: Callable[..., Any], arguments: dict[str, Any]) -> AsyncIterator[Any] | Iterator[Any]:
    """What `fn` returns, as an iterator. A plain function may take its time, so it runs in a thread."""
    if inspect.isasyncgenfunction(fn) or inspect.iscoroutinefunction(fn) or inspect.isgeneratorfunction(fn):
        result = fn(**arguments)
    else:
        result = await asyncio.to_thread(fn, **arguments)
    if inspect.isawaitable(result):
        result = await result
    return aiter(result) if hasattr(result, "__aiter__") else iter(result)


def _takes_position(fn: Callable[..., Any]) -> bool:
    try:
        return "position" in inspect.signature(fn).parameters
    except ValueError:  # a builtin without a signature
        return False


def _name(fn: Callable[..., Any]) -> str:
    return getattr(fn, "__name__", type(fn).__name__)
