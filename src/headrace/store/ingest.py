"""The way into the store: a bounded queue, a writer thread that commits what is queued, a flusher that syncs behind it.

    submit -> queue -> writer: one transaction for all that waits -> flusher: one sync for all that is committed


The two threads overlap: while one group is synced the next is applied. Callers stay on their event loops.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar, cast

import apsw

from headrace.core.changes import Receipt
from headrace.core.clock import Clock
from headrace.core.errors import Backpressure, HeadraceError, StoreError, StoreFull
from headrace.store import disk
from headrace.store.base import Submission
from headrace.store.checkpoint import Checkpointer
from headrace.store.item import Answer, Item, answer, call_soon, deliver
from headrace.store.pace import Growth, Pace
from headrace.store.sqlite import SqliteStore
from headrace.store.streamed import StreamedUnit

T = TypeVar("T")

_LONGEST_PAUSE = 60.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may wait, and how much goes into one transaction.

    Attributes
    ----------
    rows, size
        The queue is full when this many rows or bytes wait; one submission always fits into an empty queue.
    group, most
        Rows in one transaction, about: submissions are not split. `most` while one table is loaded in bulk and nothing
        else is written: see `store.pace.Growth`.
    small, linger, patience
        Seconds that a small group (under `small` rows) waits for company, and any group under load: see `store.pace`.
    lazy
        Seconds after which a commit is synced that nobody waits for.
    retry
        Seconds between attempts while the disk is full.
    housekeep
        Seconds between rounds of housekeeping; up to a minute when there is nothing to drop.
    """

    rows: int = 150_000
    size: int = 64 << 20
    group: int = 50_000
    most: int = 100_000
    small: int = 500
    linger: float = 0.002
    patience: float = 0.02
    lazy: float = 0.05
    retry: float = 1.0
    housekeep: float = 2.0


class Ingest:
    """Drives a store from its own threads. Start with `start`, end with `stop`.

    Parameters
    ----------
    store
        An open store; from `start` to the end of `stop` only this object may write through it.
    clock
        For housekeeping's rhythm.

    Examples
    --------
        ingest = Ingest(store, clock)
        ingest.start()
        receipt = await ingest.submit(submission)     # on disk
        await ingest.stop()
    """

    def __init__(self, store: SqliteStore, clock: Clock, limits: Limits | None = None) -> None:
        self.store = store
        self.limits = limits or Limits()
        self._clock = clock
        self._checkpointer = Checkpointer(store)
        self._changed = threading.Condition()
        self._queue: deque[Item] = deque()
        self._rows = 0
        self._size = 0
        self._arrivals = 0
        limits = self.limits
        self._pace = Pace(small=limits.small, linger=limits.linger, group=limits.group, patience=limits.patience)
        self._growth = Growth(group=limits.group, most=limits.most)
        self._room: deque[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = deque()
        self._unsynced: list[Answer] = []
        self._taken: list[Item] = []
        self._syncing: list[Answer] = []
        self._stopping = False
        self._failure: BaseException | None = None
        self._committed = threading.Condition()
        store.problems.on_news = self._wake
        self._writer_done = False
        self._sync_soon = False
        self._threads = [
            threading.Thread(target=self._run, args=(work,), name=f"headrace-{name}", daemon=True)
            for name, work in (("writer", self._write), ("flusher", self._flush))
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()
        self._checkpointer.start()

    @property
    def waiting(self) -> tuple[int, int]:
        """Rows and bytes in the queue."""
        return self._rows, self._size

    @property
    def failure(self) -> BaseException | None:
        """Why ingestion stopped for good; None while it runs."""
        return self._failure

    async def submit(self, submission: Submission, *, durable: bool = True) -> Receipt:
        """Wait for room in the queue, then until the submission is on disk (or only committed, if not `durable`).

        Raises
        ------
        HeadraceError
            This submission was refused (`IdempotencyConflict`, `Backpressure` of a full quarantine, ...).
        StoreFull
            The disk is full, and the submission was to be durable: nothing of it was or will be applied. One that is
            not waits instead.
        StoreError
            Ingestion has stopped.
        """
        return await (await self.enqueue(submission, durable=durable))

    async def enqueue(self, submission: Submission, *, durable: bool = True) -> asyncio.Future[Receipt]:
        """Wait for room in the queue; the future is the answer of `submit`. Order of calls is order of commits."""
        return await self.enqueue_unit([submission], durable=durable)

    async def enqueue_unit(self, submissions: Sequence[Submission], *, durable: bool = True) -> asyncio.Future[Receipt]:
        """As `enqueue`, for submissions of one `unit`: the receipt is that of all of them together."""
        while True:
            with self._changed:
                self._check_open(durable)
                if self._fits(submissions):
                    return self._put_submissions(submissions, durable)
                loop = asyncio.get_running_loop()
                room: asyncio.Future[None] = loop.create_future()
                self._room.append((loop, room))
                self._changed.notify()
            await room

    def open_unit(self) -> tuple[StreamedUnit, asyncio.Future[Receipt]]:
        """A unit that is too large for memory: it is given piece by piece when its turn comes, and nothing else is
        written meanwhile. The future is the answer of `submit`, not waiting for the disk."""
        loop = asyncio.get_running_loop()
        unit = StreamedUnit(loop)
        item = Item(loop, loop.create_future(), False, unit=unit)
        item.future.add_done_callback(lambda _: unit.answered())
        with self._changed:
            self._check_open(durable=False)
            self._put(item)
        return unit, item.future

    def try_submit(self, submission: Submission, *, durable: bool = True) -> asyncio.Future[Receipt]:
        """As `enqueue`, from an event loop, without waiting.

        Raises
        ------
        Backpressure
            The queue is full.
        StoreFull
            The disk is full.
        """
        with self._changed:
            self._check_open(durable)
            if not self._fits([submission]):
                raise Backpressure(
                    f"{self._rows:,} rows wait to be stored",
                    retry_after=self.limits.retry,
                    hint="send again later, or slower",
                )
            return self._put_submissions([submission], durable)

    async def execute(
        self, function: Callable[[apsw.Connection, int], T], *, changed: Sequence[str] = (), durable: bool = True
    ) -> T:
        """Run `function(connection, txn)` on the writer's thread in a transaction of its own, in its turn.

        `changed` names the tables and refreshed views that it writes. What it raises is raised here, rolled back.
        """
        loop = asyncio.get_running_loop()
        item = Item(loop, loop.create_future(), durable, function=function, changed=changed)
        with self._changed:
            self._check_open(durable)
            self._put(item)
        return cast("T", await item.future)

    async def stop(self, timeout: float = 30.0) -> None:
        """Take nothing more, commit and sync what waits, end the threads. The store stays open.

        Raises
        ------
        StoreError
            It did not end within `timeout` seconds (the disk is full, or hangs); what waited was not acknowledged.
        """
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._make_room()
        for thread in self._threads:
            await _join(thread, timeout)
        self._checkpointer.stop()
        await _join(self._checkpointer.thread, timeout)
        if any(thread.is_alive() for thread in self._threads):
            error = StoreError(f"ingestion did not end within {timeout:g} s", hint="see the problems of the store")
            self._fail(error)
            raise error

    def _check_open(self, durable: bool) -> None:
        if self._failure is not None:
            raise StoreError(f"ingestion has stopped: {self._failure}", hint="restart the engine") from self._failure
        if self._stopping:
            raise StoreError("ingestion is stopping", hint="send again when the engine is back")
        if durable and self.store.full:
            raise disk.refusal(self.store.path)

    def _fits(self, submissions: Sequence[Submission]) -> bool:
        if not self._queue:
            return True
        rows = self._rows + sum(submission.judged.rows for submission in submissions)
        size = self._size + sum(submission.size for submission in submissions)
        return rows <= self.limits.rows and size <= self.limits.size

    def _put_submissions(self, submissions: Sequence[Submission], durable: bool) -> asyncio.Future[Receipt]:
        loop = asyncio.get_running_loop()
        rows = sum(one.judged.rows + len(one.judged.violations) for one in submissions)
        size = sum(one.size for one in submissions)
        item = Item(loop, loop.create_future(), durable, submissions=submissions, rows=rows, size=size)
        self._put(item)
        return item.future

    def _put(self, item: Item) -> None:
        self._queue.append(item)
        self._rows += item.rows
        self._size += item.size
        self._arrivals += 1
        self._pace.arrive(self._clock.monotonic())
        if len(self._queue) == 1 or self._rows >= self._pace.enough:
            self._changed.notify()

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # a boundary: a thread that dies unseen would leave everyone waiting
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        with self._changed, self._committed:
            if self._failure is None:
                self._failure = error
            self._stopping = True
            lost = [*self._taken, *self._queue, *(answer.item for answer in [*self._unsynced, *self._syncing])]
            self._queue.clear()
            self._unsynced.clear()
            self._rows = self._size = 0
            self._changed.notify_all()
            self._committed.notify_all()
        reason = StoreError(f"ingestion has stopped: {error}", hint="restart the engine; nothing of this was answered")
        deliver([Answer(item, error=reason) for item in lost])
        self._make_room()

    def _write(self) -> None:
        """The writer's thread."""
        last, pause = self._clock.monotonic(), self.limits.housekeep
        while True:
            group = self._next_group()
            if group:
                self._commit(group)
                self._make_room()
            elif self._stopping:
                break
            if self._clock.monotonic() - last >= pause and not self.store.full:
                pause = self.limits.housekeep if self._housekeep() else min(2 * pause, _LONGEST_PAUSE)
                last = self._clock.monotonic()
                self._pass_on([])
            if self.store.problems.waiting or self.store.full:
                self._write_problems()
        with self._committed:
            self._writer_done = True
            self._committed.notify_all()

    def _next_group(self) -> list[Item]:
        with self._changed:
            refilled = bool(self._queue)
            if not refilled:
                full = self.store.full
                self._changed.wait_for(
                    lambda: self._queue or self._stopping or (self.store.problems.waiting and not full),
                    self.limits.retry if full else self.limits.housekeep,
                )
            if not self._queue:
                return []
            self._pace.look(self._clock.monotonic(), refilled=refilled)
            self._wait_for_company()
            self._taken = self._take()
            self._pace.took(sum(item.rows for item in self._taken))
            return self._taken

    def _wait_for_company(self) -> None:
        # A function has its transaction for itself, and nothing to wait for; nor does a queue that has no room.
        while not self._stopping and not self._room and not self._queue[0].alone:
            pause, before = self._pace.pause(self._clock.monotonic(), self._rows), self._arrivals
            if pause == 0.0:
                return
            self._changed.wait_for(lambda: self._rows >= self._pace.enough or self._stopping or self._room, pause)
            if self._arrivals == before:
                return

    def _take(self) -> list[Item]:
        group: list[Item] = []
        rows = 0
        while self._queue and rows < self._growth.rows:
            if group and (self._queue[0].alone or group[-1].alone):
                break
            item = self._queue.popleft()
            group.append(item)
            rows += item.rows
            self._rows -= item.rows
            self._size -= item.size
        return group

    def _commit(self, group: list[Item]) -> None:
        while group:
            began = self._clock.monotonic()
            try:
                answers = self._apply(group)
            except StoreFull as full:
                group = self._turn_away(group, full)
                self._wait_for_space(group)
            else:
                self._grow(group, began)
                self._pass_on(answers)
                return

    def _pass_on(self, answers: list[Answer]) -> None:
        with self._committed:
            if self._failure is not None:
                return
            self._taken = []
            now = [answer for answer in answers if answer.error is not None or not answer.item.durable]
            self._unsynced += [answer for answer in answers if answer.error is None and answer.item.durable]
            self._sync_soon = True
            self._committed.notify()
        deliver(now)
        self._checkpointer.between_transactions()

    def _grow(self, group: list[Item], began: float) -> None:
        now, loaded = self._clock.monotonic(), group[0].bulk
        with self._changed:
            company = loaded is None or any(item.bulk != loaded for item in (*group, *self._queue))
        self._growth.committed(sum(item.rows for item in group), now - began, now=now, company=company)

    def _apply(self, group: list[Item]) -> list[Answer]:
        first = group[0]
        if first.function is not None:
            return [self._call(first, first.function)]
        if first.unit is not None:
            return [self._stream(first, first.unit)]
        outcomes = iter(self.store.commit([submission for item in group for submission in item.submissions]))
        return [answer(item, list(islice(outcomes, len(item.submissions)))) for item in group]

    def _stream(self, item: Item, unit: StreamedUnit) -> Answer:
        """What fails here is read again at its source: the pieces are gone."""
        try:
            return Answer(item, self.store.commit_streamed(unit.pieces()))
        except HeadraceError as error:
            return Answer(item, error=error)

    def _call(self, item: Item, function: Callable[[apsw.Connection, int], Any]) -> Answer:
        try:
            return Answer(item, self.store.execute(function, changed=item.changed))
        except StoreFull:
            raise
        except Exception as error:  # a boundary: the caller's function, rolled back, and the caller's error
            return Answer(item, error=error)

    def _turn_away(self, group: list[Item], full: StoreFull) -> list[Item]:
        """Tell whoever waits for an answer, of this group and behind it, and forget what they brought, so that nothing
        of it is applied later; those who can wait (sources) stay. When the engine stops, nobody can."""
        with self._changed:
            away = [item for item in (*group, *self._queue) if item.durable or self._stopping]
            self._taken = [item for item in group if not (item.durable or self._stopping)]
            self._queue = deque(item for item in self._queue if not (item.durable or self._stopping))
            self._rows = sum(item.rows for item in self._queue)
            self._size = sum(item.size for item in self._queue)
        deliver([Answer(item, error=full) for item in away])
        self._make_room()
        return self._taken

    def _wait_for_space(self, group: list[Item]) -> None:
        with self._changed:
            if group:
                self._changed.wait_for(lambda: self._failure is not None or self._stopping, self.limits.retry)
        if self._failure is not None:
            raise StoreError("ingestion was stopped while the disk was full")

    def _write_problems(self) -> None:
        """In a transaction of their own, while nothing else comes; it also finds out whether the disk is still full."""
        if self.store.full and not disk.has_room(self.store.path):
            return
        try:
            self.store.execute(lambda db, txn: None)
        except StoreFull:
            return  # known already; tried again after `retry`
        self._pass_on([])

    def _housekeep(self) -> int:
        try:
            return self.store.housekeep()
        except StoreFull:
            return 0  # deletes need log space too; the next commit finds out whether there is some

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify()

    def _make_room(self) -> None:
        with self._changed:
            waiting = list(self._room)
            self._room.clear()
        for loop, future in waiting:
            call_soon(loop, lambda f=future: None if f.done() else f.set_result(None))

    @property
    def _urgent(self) -> bool:
        """Whether somebody waits for a sync; what nobody waits for is synced soon, so that sources may forget it."""
        return bool(self._unsynced) or self._writer_done or self._failure is not None

    def _flush(self) -> None:
        """The flusher's thread."""
        while True:
            with self._committed:
                self._committed.wait_for(lambda: self._sync_soon or self._urgent)
                self._committed.wait_for(lambda: self._urgent, self.limits.lazy)
                if self._failure is not None:
                    return
                self._sync_soon = False
                self._syncing, self._unsynced = self._unsynced, []
                done = self._writer_done and not self._syncing
            self.store.flush()
            answers, self._syncing = self._syncing, []
            deliver(answers)
            if done:
                return


async def _join(thread: threading.Thread, timeout: float) -> None:
    if thread.ident is not None:
        await asyncio.to_thread(thread.join, timeout)
