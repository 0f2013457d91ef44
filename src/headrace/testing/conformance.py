"""What every source must keep, as a suite that anyone can run over a source of their own.

Each *law* is a coroutine function that takes a `World`: a small outside world with the source in it, which the law
makes happen, watches, crashes and breaks. A broken law raises `LawBroken`.

Examples
--------
In a test module::

    @pytest.mark.parametrize("law", conformance.LAWS, ids=lambda law: law.__name__)
    async def test_my_source_keeps(law, tmp_path):
        await law(MyWorld(tmp_path))
"""

from __future__ import annotations

import json
import random
import threading
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from headrace.core.changes import BadBytes, Batch, Json, Payload, Position, Rows
from headrace.core.clock import SimulatedClock, SystemClock
from headrace.core.errors import SourceError
from headrace.core.schema import Column, ColumnType, Schema, TableKind
from headrace.sources.base import Opening, Partition, Source

MAX_ROWS = 50_000
"""Records in one batch at most."""

MAX_BYTES = 16 * 1024 * 1024
"""Bytes in one batch at most."""

MAX_AWAKE = 3600.0
"""Seconds that a source may ask to be left alone at most."""

ASKS = 3_000
"""Questions after which a source that still has not said what it should counts as stuck."""


class LawBroken(AssertionError):
    """A source does not keep a law; the message says which, and what it did."""


class World(ABC):
    """A small outside world with one source in it.

    Attributes
    ----------
    clock
        The clock that the source is given. Laws move it; the world must not.
    replaces
        The source delivers full copies (`Batch.snapshot`) rather than changes.
    partitions
        How many partitions it opens; 0 for one that only takes what others send.
    secrets
        Texts that it is declared with and must never show.
    heartbeats
        Whether an idle source moves its frontier.
    """

    replaces: bool = False
    partitions: int = 1
    secrets: Sequence[str] = ()
    heartbeats: bool = True

    def __init__(self) -> None:
        self.clock = SimulatedClock()
        self.count = 0

    @property
    def schema(self) -> Schema:
        """The table that is fed; two columns, `id` and `note`, unless the source needs others."""
        columns = (Column("id", ColumnType.INTEGER), Column("note", ColumnType.TEXT))
        return Schema("things", TableKind.TABLE, columns, ("id",))

    @abstractmethod
    def declare(self) -> Source:
        """Declare the source, as a user would; the same values each time."""

    @abstractmethod
    async def happen(self, ids: Sequence[int]) -> None:
        """Records with these ids happen at the source, in this order."""

    def break_it(self) -> bool:
        """Make the source unreadable; False where that cannot be done."""
        return False

    def mend(self) -> None:
        """Undo `break_it`, where that was done."""
        return

    async def close(self) -> None:
        """Let go of what the world holds."""
        return

    async def more(self, count: int) -> list[int]:
        """`count` new records happen; their ids."""
        ids = list(range(self.count, self.count + count))
        self.count += count
        await self.happen(ids)
        return ids


Law = Callable[[World], Awaitable[None]]


class Reader:
    """Reads the partitions of a source as the runtime does, and keeps what a store would hold."""

    def __init__(self, world: World, source: Source) -> None:
        self.world = world
        self.source = source
        self.parts: list[Partition] = []
        self.positions: dict[str, Position] = {}
        self.ids: list[int] = []
        self.copy: list[int] = []
        self.batches: list[Batch] = []
        self.frontier: int | None = None
        self.ended = False

    async def open(self) -> None:
        """Open at the last committed positions."""
        opening = Opening(self.world.schema, dict(self.positions), self.world.clock)
        self.parts = list(await self.source.open(opening))

    async def close(self) -> None:
        """Close all partitions."""
        for part in self.parts:
            await part.close()

    async def ask(self) -> list[Batch]:
        """Ask each partition once; commit what it says."""
        said: list[Batch] = []
        for part in self.parts:
            batch = await part.next_batch()
            if batch is None:
                continue
            said.append(batch)
            self.commit(part.name, batch)
        return said

    def commit(self, name: str, batch: Batch) -> None:
        """What the store would do with a batch."""
        self.batches.append(batch)
        self.ended = self.ended or batch.ended
        if batch.frontier is not None:
            self.frontier = batch.frontier
        if batch.position is not None:
            self.positions[name] = batch.position
        found = [i for payload in batch.payloads for i in ids_of(payload)]
        if batch.snapshot is None:
            self.ids.extend(found)
            return
        self.copy.extend(found)
        if batch.snapshot != "part":
            self.ids, self.copy = self.copy, []

    async def wait(self) -> None:
        """Leave the partitions alone as long as they ask to be, on the world's clock."""
        waits = [part.next_awake() for part in self.parts]
        self.world.clock.advance(max(min(waits, default=0.0), 0.001))
        # Real threads and tasks feed some sources: let them run.
        await SystemClock().sleep(0.0005)

    async def until(self, holds: Callable[[], bool], what: str) -> None:
        """Ask until `holds`; raises `LawBroken` when it never does."""
        for _ in range(ASKS):
            if holds():
                return
            if not await self.ask():
                await self.wait()
        raise LawBroken(f"{self.source.describe()}: {what}; it delivered {self.ids[:20]} ...")

    async def expect(self, ids: Sequence[int]) -> None:
        """Ask until exactly `ids` were delivered; more or other ones break the law."""
        await self.until(lambda: len(self.ids) >= len(ids) and self.ids[-1:] == list(ids[-1:]), f"expected {ids[:20]}")
        for _ in range(3):
            await self.ask()
            await self.wait()
        ensure(self.ids == list(ids), f"expected the ids {_short(ids)}, got {_short(self.ids)}")


def ids_of(payload: Payload) -> list[int]:
    """The `id`s of the records in a payload."""
    if isinstance(payload, Json):
        data = payload.data.strip()
        if data.startswith(b"["):
            return [int(record["id"]) for record in json.loads(data)]
        return [int(json.loads(line)["id"]) for line in data.splitlines() if line.strip()]
    if isinstance(payload, BadBytes):
        raise LawBroken(f"good records came as bad bytes: {payload}")
    records: Sequence[Mapping[str, Any]] = payload.records if isinstance(payload, Rows) else payload.keys
    return [int(record["id"]) for record in records]


def ensure(holds: bool, message: str) -> None:
    """Raise `LawBroken` unless the law holds."""
    if not holds:
        raise LawBroken(message)


async def declares_without_touching_the_world(world: World) -> None:
    """Declaring opens no file, no connection and no thread; the source is described in one line without secrets."""
    with _nothing_left("declaring"):
        source = world.declare()
    shown = f"{source.describe()} {source!r}"
    ensure("\n" not in shown and bool(source.describe()), f"describe() is not one line: {shown!r}")
    for secret in world.secrets:
        ensure(secret not in shown, f"describe() or repr() shows a secret: {shown!r}")
    ensure(bool(source.kind), "a source needs a `kind`")


async def opens_its_partitions(world: World) -> None:
    """Names are unique and the same each time."""
    source = world.declare()
    names: list[list[str]] = []
    for _ in range(2):
        reader = Reader(world, source)
        await reader.open()
        names.append([part.name for part in reader.parts])
        await reader.close()
    ensure(names[0] == names[1] and len(set(names[0])) == len(names[0]), f"partition names: {names}")
    ensure(len(names[0]) == world.partitions, f"{len(names[0])} partitions, expected {world.partitions}")


async def delivers_everything_once(world: World) -> None:
    """What was there before and what happens later comes once, in order."""
    ids = await world.more(7)
    reader = await _opened(world)
    await reader.expect(ids)
    for count in (1, 5, 2):
        ids += await world.more(count)
        await reader.expect(ids)
    await reader.close()


async def resumes_after_every_batch(world: World) -> None:
    """Opened at the position of any batch, it goes on right behind it, whatever was read since."""
    ids: list[int] = []
    first = await _opened(world)
    for count in (3, 1, 4):
        ids += await world.more(count)
        await first.expect(ids)
    await first.close()
    marks = _marks(first)
    for positions, count in marks:
        again = Reader(world, first.source)
        again.positions = positions
        await again.open()
        await again.expect(ids if world.replaces else ids[count:]) if ids[count:] or world.replaces else None
        await again.close()
    ensure(world.replaces or bool(marks), "no batch carries a position")


async def survives_any_schedule(world: World, *, seed: int = 0, steps: int = 60) -> None:
    """Things happen, batches are read, some are committed, the process dies: nothing is lost, nothing doubled."""
    random_steps = random.Random(seed)
    ids: list[int] = []
    reader = await _opened(world)
    for _ in range(steps):
        step = random_steps.choice(["happen", "ask", "ask", "crash", "wait", "acknowledge"])
        if step == "happen":
            ids += await world.more(random_steps.randint(1, 4))
        elif step == "ask":
            await _ask_and_maybe_lose(reader, random_steps)
        elif step == "wait":
            await reader.wait()
        elif step == "acknowledge":
            await _acknowledge(reader)
        else:
            await _crash(reader)
    await reader.expect(ids)
    await reader.close()


async def bounds_its_batches(world: World) -> None:
    """A great many records come in several batches, each bounded in rows and bytes."""
    ids = await world.more(60_000)
    reader = await _opened(world)
    await reader.until(lambda: len(reader.ids) >= len(ids), f"expected {len(ids)} records")
    ensure(reader.ids == ids, "records are missing, doubled or out of order")
    for batch in reader.batches:
        rows = sum(len(ids_of(payload)) for payload in batch.payloads)
        ensure(rows <= MAX_ROWS, f"a batch holds {rows} records, allowed are {MAX_ROWS}")
        size = sum(len(payload.data) for payload in batch.payloads if isinstance(payload, Json))
        ensure(size <= MAX_BYTES, f"a batch holds {size} bytes, allowed are {MAX_BYTES}")
    await reader.close()


async def moves_its_frontier_truthfully(world: World) -> None:
    """An idle source moves its frontier, never back, never past now, and never past what it has not delivered."""
    reader = await _opened(world)
    happened: list[tuple[int, int]] = []
    for _ in range(6):
        happened += [(i, world.clock.now()) for i in await world.more(2)]
        world.clock.advance(0.05)
        for _ in range(4):
            before = reader.frontier
            for _ in range(3):
                await reader.ask()
            _check_frontier(reader, happened, before)
            await reader.wait()
    await reader.expect([i for i, _ in happened])
    if world.heartbeats and world.partitions:
        start = world.clock.now()
        await reader.until(lambda: (reader.frontier or 0) > start, "an idle source must move its frontier")
    await reader.close()


async def asks_for_bounded_rest(world: World) -> None:
    """`next_awake` is never negative and never unbounded, before, between and after batches."""
    await world.more(3)
    reader = await _opened(world)
    for _ in range(20):
        for part in reader.parts:
            rest = part.next_awake()
            ensure(0 <= rest <= MAX_AWAKE, f"next_awake() is {rest}")
        if not await reader.ask():
            await reader.wait()
    await reader.close()


async def closes_cleanly(world: World) -> None:
    """Closing lets go of threads and files, may be repeated, and leaves a partition that says nothing."""
    await world.more(5)
    warm = await _opened(world)
    await warm.close()
    with _nothing_left("closing"):
        reader = await _opened(world)
        for _ in range(5):
            await reader.ask()
            await reader.wait()
        for _ in range(2):
            await reader.close()
    for part in reader.parts:
        ensure(await part.next_batch() is None, "a closed partition still speaks")


async def fails_with_source_errors(world: World) -> None:
    """What is unreadable raises `SourceError` with a hint and without secrets; mended, it goes on without a gap."""
    ids = await world.more(3)
    reader = await _opened(world)
    await reader.expect(ids)
    if not world.break_it():
        await reader.close()
        return
    error = await _failure(reader)
    ensure(bool(error.hint), f"the error has no hint: {error}")
    for secret in world.secrets:
        ensure(secret not in f"{error} {error!r} {error.__cause__!r}", "the error shows a secret")
    world.mend()
    ids += await world.more(2)
    if error.permanent:
        await _crash(reader)
    await reader.expect(ids)
    await reader.close()


LAWS: Final[tuple[Law, ...]] = (
    declares_without_touching_the_world,
    opens_its_partitions,
    delivers_everything_once,
    resumes_after_every_batch,
    survives_any_schedule,
    bounds_its_batches,
    moves_its_frontier_truthfully,
    asks_for_bounded_rest,
    closes_cleanly,
    fails_with_source_errors,
)
"""All laws; those about reading hold by themselves for a source without partitions."""


async def check_source(make_world: Callable[[], World]) -> None:
    """Every law, each in a fresh world.

    Raises
    ------
    LawBroken
        At the first law that the source does not keep.
    """
    for law in LAWS:
        world = make_world()
        try:
            if world.partitions or law in LAWS[:2]:
                await law(world)
        finally:
            await world.close()


async def _opened(world: World) -> Reader:
    reader = Reader(world, world.declare())
    await reader.open()
    return reader


def _marks(reader: Reader) -> list[tuple[dict[str, Position], int]]:
    """After each batch with a position: where it stood, and how many ids had come."""
    marks: list[tuple[dict[str, Position], int]] = []
    count, name = 0, next((part.name for part in reader.parts), "")
    for batch in reader.batches:
        count += sum(len(ids_of(payload)) for payload in batch.payloads)
        if batch.position is not None:
            marks.append(({name: batch.position}, count))
    return marks


async def _ask_and_maybe_lose(reader: Reader, choose: random.Random) -> None:
    """Ask once; sometimes the process dies before what came is committed."""
    for part in reader.parts:
        batch = await part.next_batch()
        if batch is None:
            continue
        if choose.random() < 0.2:
            await _crash(reader)
            return
        reader.commit(part.name, batch)


async def _acknowledge(reader: Reader) -> None:
    for part in reader.parts:
        if part.name in reader.positions:
            await part.acknowledge(reader.positions[part.name])


async def _crash(reader: Reader) -> None:
    """Everything in memory is gone; the store keeps what was committed."""
    await reader.close()
    reader.copy = []
    await reader.open()


async def _failure(reader: Reader) -> SourceError:
    for _ in range(ASKS):
        try:
            if not await reader.ask():
                await reader.wait()
        except SourceError as error:
            return error
    raise LawBroken("a source that cannot be read must raise SourceError")


def _check_frontier(reader: Reader, happened: Sequence[tuple[int, int]], before: int | None) -> None:
    frontier = reader.frontier
    if frontier is None:
        return
    ensure(before is None or frontier >= before, f"the frontier went back from {before} to {frontier}")
    ensure(frontier <= reader.world.clock.now(), "the frontier is in the future")
    missing = [i for i, at in happened if at < frontier and i not in reader.ids]
    ensure(not missing, f"the frontier is past the records {missing}, which were not delivered")


@contextmanager
def _nothing_left(what: str) -> Generator[None]:
    """No thread and no open file more than before. Threads of the event loop's own pool stay by design."""
    threads, files = _threads(), _open_files()
    yield
    ensure(_threads() <= threads, f"{what} left threads behind: {sorted(_threads() - threads)}")
    left = _open_files() - files
    ensure(not left, f"{what} left files open: {sorted(left)}")


def _threads() -> set[str]:
    return {f"{t.name} {t.ident}" for t in threading.enumerate() if not t.name.startswith("asyncio_")}


def _open_files() -> set[str]:
    """Open descriptors and what they stand for; nothing where the system does not tell."""
    folder = Path("/proc/self/fd")
    found: set[str] = set()
    for link in [*folder.iterdir()] if folder.is_dir() else ():
        try:
            found.add(f"{link.name} {link.readlink()}")
        except OSError:
            continue  # the descriptor of this very listing
    return found


def _short(ids: Sequence[int]) -> str:
    return f"{list(ids[:30])}{' ...' if len(ids) > 30 else ''} ({len(ids)})"
