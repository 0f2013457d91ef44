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

import random
import threading
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from headrace.core.changes import Json, Position
from headrace.core.errors import SourceError
from headrace.testing.world import ASKS, LawBroken, Reader, World, ensure, ids_of

__all__ = ["LAWS", "Law", "LawBroken", "World", "check_source"]

MAX_ROWS = 50_000
"""Records in one batch at most."""

MAX_BYTES = 16 * 1024 * 1024
"""Bytes in one batch at most."""

MAX_AWAKE = 3600.0
"""Seconds that a source may ask to be left alone at most."""

Law = Callable[[World], Awaitable[None]]
"""Raises `LawBroken` when the source in the world does not keep it."""


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
    """`next_awake` is never negative and never unbounded; an idle source says None, or it would be asked for ever."""
    await world.more(3)
    reader = await _opened(world)
    for _ in range(20):
        for part in reader.parts:
            rest = part.next_awake()
            ensure(0 <= rest <= MAX_AWAKE, f"next_awake() is {rest}")
        if not await reader.ask():
            await reader.wait()
    for _ in range(100):  # the clock stands still: one sign of life is enough
        if not await reader.ask():
            break
    else:
        raise LawBroken("an idle source gives signs of life without end; it must say None between two of them")
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
    asks_for_bounded_rest,
    moves_its_frontier_truthfully,
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
        await reader.take(part, batch)


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
