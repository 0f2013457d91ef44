"""A local model, running: one queue, some worker processes, and exactly one outcome for every input.

What happens to a call:

1. it waits in the queue, or is refused when that is full;
2. a free worker takes what waits, up to the size that keeps a batch within its budget; who expired is told so;
3. the batch crosses to the worker and its outcomes come back, one for each input;
4. a worker that dies, or is killed because its batch ran over the limit, fails the inputs of that batch and no others;
   it is started again, at once at first, later with growing pauses.

While no worker is up the queue waits, each call to its deadline; but when a worker could not even load its model, all
are told at once, so that the router can go elsewhere.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from headrace.core.clock import Clock, SystemClock
from headrace.core.durations import format_duration
from headrace.core.errors import DeclarationError, ModelError
from headrace.core.restarts import Restarts
from headrace.models.batching import Batcher, Item
from headrace.models.failure import Failure
from headrace.models.local.failure import LocalFailure
from headrace.models.local.frames import LARGEST_VALUE, Charge, Done, NotLoaded, Work
from headrace.models.local.isolation import Fate
from headrace.models.local.loading import Loader, refuse_in_worker
from headrace.models.local.process import WorkerEnded, WorkerProcess
from headrace.models.local.settings import LocalSettings
from headrace.models.local.values import NotJson, to_json

log = logging.getLogger("headrace.models.local")

_PATIENCE = 0.5
"""Share of the time limit of a batch in which one that fails may still be halved."""
_TELL = 1.0
"""Seconds that loading may take without a word."""
_SETTLED = 20
"""Batches after which the fit of their times is believed: the first are slow in most models."""
_FAILURES = {Fate.BAD_INPUT: Failure.BAD_REQUEST, Fate.FAILED: Failure.SERVER_ERROR}


@dataclass(slots=True)
class Counters:
    """What a pool did since it was started, in inputs unless it says otherwise."""

    answered: int = 0
    failed: int = 0
    expired: int = 0
    """Those of the failed whose deadline passed."""
    refused: int = 0
    """Not taken into the queue: it was full, or no worker could be started."""
    batches: int = 0
    largest: int = 0
    """The largest batch so far."""
    deaths: int = 0
    """Worker processes that ended without being asked, or that were killed because they hung."""


@dataclass(slots=True)
class _Waiting:
    data: bytes
    answer: asyncio.Future[bytes]


@dataclass(slots=True)
class _Slot:
    """The place of one worker, who may be away."""

    number: int
    first: asyncio.Future[None]
    """Done when the model was loaded here for the first time, or could not be."""
    worker: WorkerProcess | None = None
    batch: asyncio.Task[None] | None = None
    up: bool = False
    trouble: str = ""
    """Why the model could not be loaded, the last time that it was tried."""
    keeper: asyncio.Task[None] | None = field(default=None, repr=False)


class LocalPool:
    """Runs a local model in worker processes.

    Parameters
    ----------
    name
        Of the model, for messages.
    loader
        Where it is loaded.
    settings
        How it is run.
    """

    def __init__(
        self, name: str, loader: Loader, settings: LocalSettings | None = None, *, clock: Clock | None = None
    ) -> None:
        self.name = name
        self.loader = loader
        self.settings = settings or LocalSettings()
        self.counters = Counters()
        self._clock = clock or SystemClock()
        self._batcher = Batcher(
            most=self.settings.max_batch if self.settings.batch else 1,
            within=self.settings.budget,
            queue=self.settings.queue,
            linger=self.settings.max_wait if self.settings.batch else 0.0,
        )
        self._waiting: dict[int, _Waiting] = {}
        self._names = itertools.count()
        self._slots: list[_Slot] = []
        self._free: dict[int, tuple[_Slot, WorkerProcess]] = {}
        self._looking: asyncio.Handle | None = None
        self._lingers = False
        self._open = False
        self._warned = False

    async def start(self) -> None:
        """Start the workers; returns when each has loaded the model.

        Raises
        ------
        DeclarationError
            One could not: with the user's line; or this process is a worker itself.
        """
        refuse_in_worker()
        self._open = True
        loop = asyncio.get_running_loop()
        self._slots = [_Slot(number, loop.create_future()) for number in range(self.settings.workers)]
        for slot in self._slots:
            slot.keeper = asyncio.create_task(self._keep(slot))
        telling = loop.call_later(_TELL, log.info, "loading the model %s ...", self.name)
        try:
            await asyncio.gather(*(slot.first for slot in self._slots))
        except BaseException:
            await self.aclose()
            raise
        finally:
            telling.cancel()

    async def aclose(self) -> None:
        """End the workers, and whoever waits; returns when no process is left."""
        self._open = False
        for name in list(self._waiting):
            self._fail(name, Failure.CONNECTION, f"the model {self.name} is closing")
        self._batcher.drain()
        if self._looking is not None:
            self._looking.cancel()
        tasks = [task for slot in self._slots for task in (slot.batch, slot.keeper) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for slot in self._slots:
            if slot.worker is not None:  # its keeper was told to stop while it ended it
                await slot.worker.end()

    async def call(self, value: Any, *, deadline: float = math.inf) -> Any:
        """The model's output for one input.

        Parameters
        ----------
        value
            What JSON can hold, or arrays of it.
        deadline
            The instant (seconds of the monotonic clock) after which nobody waits.

        Raises
        ------
        LocalFailure
            There is none.
        """
        try:
            data = to_json(value)
        except NotJson as error:
            raise LocalFailure(Failure.BAD_REQUEST, f"the input has {error}") from None
        return msgspec.json.decode(await self.run(data, deadline=deadline))

    async def run(self, data: bytes, *, deadline: float = math.inf) -> bytes:
        """The same for an input that is JSON text already. Cancelled, it leaves the queue."""
        self._admit(data)
        now = self._clock.monotonic()
        loop, name = asyncio.get_running_loop(), next(self._names)
        if not self._batcher.offer(Item(name, deadline, now)):
            self.counters.refused += 1
            raise LocalFailure(Failure.OVERLOADED, f"{self.settings.queue} inputs wait for {self.name} already")
        waiting = self._waiting[name] = _Waiting(data, loop.create_future())
        timer = None if deadline == math.inf else loop.call_later(max(deadline - now, 0.0), self._expire, name)
        self._look()
        try:
            return await waiting.answer
        finally:
            self._waiting.pop(name, None)
            self._batcher.withdraw(name)
            if timer is not None:
                timer.cancel()

    @property
    def pids(self) -> list[int]:
        """The process ids of the workers that are up."""
        return [slot.worker.pid for slot in self._slots if slot.worker is not None and slot.up]

    @property
    def queued(self) -> int:
        """Inputs that wait."""
        return len(self._batcher)

    @property
    def cap(self) -> int:
        """The largest batch now."""
        return self._batcher.cap

    # Inputs ----------------------------------------------------------------------------------------------------------

    def _admit(self, data: bytes) -> None:
        """Refuse at once what cannot be answered."""
        if not self._open:
            raise LocalFailure(Failure.CONNECTION, f"the model {self.name} is closed")
        if len(data) > LARGEST_VALUE:
            text = f"an input of {len(data):,} bytes is over the limit of {LARGEST_VALUE:,}"
            raise LocalFailure(Failure.BAD_REQUEST, text)
        down = self._down()
        if down:
            self.counters.refused += 1
            raise LocalFailure(Failure.CONNECTION, down)

    def _waits(self, name: int) -> bool:
        waiting = self._waiting.get(name)
        return waiting is not None and not waiting.answer.done()

    def _answer(self, name: int, data: bytes) -> None:
        waiting = self._waiting.pop(name, None)
        if waiting is not None and not waiting.answer.done():
            self.counters.answered += 1
            waiting.answer.set_result(data)

    def _fail(self, name: int, failure: Failure, message: str) -> bool:
        """Whether anybody waited for it."""
        waiting = self._waiting.pop(name, None)
        if waiting is None or waiting.answer.done():
            return False
        self.counters.failed += 1
        waiting.answer.set_exception(LocalFailure(failure, message))
        return True

    def _expire(self, name: int) -> None:
        if self._fail(name, Failure.TIMEOUT, f"the deadline passed before {self.name} answered"):
            self.counters.expired += 1

    # Batches ---------------------------------------------------------------------------------------------------------

    def _look(self, after: float = 0.0) -> None:
        """See soon whether a worker can take something: so all that comes in one turn of the loop goes together."""
        if self._looking is not None:
            if not self._lingers:
                return
            self._looking.cancel()
        loop = asyncio.get_running_loop()
        self._lingers = after > 0
        self._looking = loop.call_later(after, self._dispatch) if self._lingers else loop.call_soon(self._dispatch)

    def _dispatch(self) -> None:
        """Give every free worker what there is for it."""
        self._looking = None
        now = self._clock.monotonic()
        while self._free:
            slot, worker = next(iter(self._free.values()))
            batch = self._batcher.take(now, slot.number, free=len(self._free))
            if batch is None:
                break
            for item in batch.expired:
                self._expire(_name(item))
            if batch.items:
                del self._free[slot.number]
                slot.batch = asyncio.create_task(self._batch(slot, worker, [_name(item) for item in batch.items]))
        rest = self._batcher.rest(now)
        if self._free and rest < math.inf:
            self._look(max(rest, 0.0005))

    async def _batch(self, slot: _Slot, worker: WorkerProcess, names: Sequence[int]) -> None:
        """Run one batch: afterwards each input has its outcome, and the worker is free or gone."""
        names = [name for name in names if self._waits(name)]  # some may have left in this turn of the loop
        try:
            done = await self._outcomes(slot, worker, names) if names else Done([], "")
            self._settle(names, done)
        # The boundary to what a worker says: nobody must wait for ever because of it.
        except Exception:
            log.exception("a batch of the model %s could not be understood", self.name)
            self._fail_all(names, Failure.SERVER_ERROR, f"a worker of {self.name} answered what it was not asked")
            done = None
        typical = done is not None and bool(names) and all(fate == Fate.ANSWERED for fate, _ in done.outcomes)
        self._batcher.on_done(self._clock.monotonic(), slot.number, typical=typical)
        self._warn_of_budget()
        if done is None:
            await worker.end()  # its keeper sees it go
        elif slot.worker is worker and slot.up:
            self._free[slot.number] = (slot, worker)
            self._look()

    def _settle(self, names: Sequence[int], done: Done | None) -> None:
        """Tell each input its outcome."""
        if done is None:
            return
        for name, (fate, data) in zip(names, done.outcomes, strict=True):
            if fate == Fate.ANSWERED:
                self._answer(name, data)
            else:
                self._fail(name, _FAILURES[Fate(fate)], data.decode(errors="replace"))
        if done.trace:
            level = logging.WARNING if any(fate == Fate.FAILED for fate, _ in done.outcomes) else logging.INFO
            log.log(level, "the model %s raised (%s):\n%s", self.name, self.loader, done.trace)

    async def _outcomes(self, slot: _Slot, worker: WorkerProcess, names: Sequence[int]) -> Done | None:
        """What the worker says; None when it is not of use any more, and its inputs were told."""
        inputs = [self._waiting[name].data for name in names]
        limit = self.settings.limit
        self.counters.batches += 1
        self.counters.largest = max(self.counters.largest, len(inputs))
        try:
            async with asyncio.timeout(limit):
                return await worker.run(Work(inputs, limit * _PATIENCE))
        except TimeoutError:
            text = f"the batch ran over its limit of {format_duration(int(limit * 1e6))}, and its worker was killed"
            self._fail_all(names, Failure.TIMEOUT, text)
            log.error("model %s, worker %d: %s; the stacks of its threads follow", self.name, slot.number, text)
            await worker.show()
        except WorkerEnded as error:
            self._fail_all(names, Failure.CONNECTION, f"the worker process of {self.name} {error}")
        return None

    def _warn_of_budget(self) -> None:
        """A budget that not even one input keeps means batches of one, however many wait."""
        one, budget = self._batcher.time.seconds(1), self.settings.budget
        if self._warned or self.settings.max_batch == 1 or not self.settings.batch or self.counters.batches < _SETTLED:
            return
        if one > budget:
            self._warned = True
            log.warning(
                "a batch of one takes %.0f ms in the model %s, more than its budget of %.0f ms, so no batch is larger: "
                "raise the budget",
                one * 1000,
                self.name,
                budget * 1000,
            )

    def _fail_all(self, names: Sequence[int], failure: Failure, message: str) -> None:
        for name in names:
            self._fail(name, failure, message)

    # Workers ---------------------------------------------------------------------------------------------------------

    async def _keep(self, slot: _Slot) -> None:
        """Have a worker in this slot, one after the other."""
        restarts = Restarts()
        while True:
            began = self._clock.monotonic()
            try:
                how = await self._life(slot)
            # The boundary to the operating system: a slot must not stay empty because starting a process went wrong.
            except Exception as error:
                log.exception("worker %d of the model %s could not be kept", slot.number, self.name)
                how = self._stranded(slot, f"failed: {type(error).__name__}: {error}")
            self.counters.deaths += 1
            wait = restarts.delay(self._clock.monotonic() - began)
            log.warning("model %s: worker %d %s; starting it again in %.1f s", self.name, slot.number, how, wait)
            await self._clock.sleep(wait)

    async def _life(self, slot: _Slot) -> str:
        """One worker from its start to its end; how that was."""
        settings = self.settings
        charge = Charge(
            self.loader.module, self.loader.file, self.loader.function, list(sys.path), settings.batch, settings.memory
        )
        try:
            slot.worker = await WorkerProcess.begin(charge, settings.environment(os.environ))
        # No process, no memory, too many files: these pass.
        except OSError as error:
            return self._stranded(slot, f"could not be started: {error}")
        try:
            problem = await self._load(slot.worker)
            if problem is not None:
                return self._stranded(slot, *problem)
            self._rise(slot, slot.worker)
            return await slot.worker.gone()
        finally:
            await self._leave(slot, slot.worker)

    async def _load(self, worker: WorkerProcess) -> tuple[str, str, str] | None:
        """Wait for the model; why it is not there, where in the user's code, and what to do."""
        limit = self.settings.load_within
        try:
            async with asyncio.timeout(limit):
                answer = await worker.loaded()
        except TimeoutError:
            await worker.show()
            return f"did not load the model within {format_duration(int(limit * 1e6))}", "", ""
        except WorkerEnded as error:
            return f"{error} while it loaded the model", "", ""
        if not isinstance(answer, NotLoaded):
            return None
        if answer.trace:
            log.error("the model %s could not be loaded (%s):\n%s", self.name, self.loader, answer.trace)
        return f"could not load the model: {answer.message}", answer.where, answer.hint

    def _rise(self, slot: _Slot, worker: WorkerProcess) -> None:
        slot.up, slot.trouble = True, ""
        if not slot.first.done():
            slot.first.set_result(None)
        self._free[slot.number] = (slot, worker)
        self._look()

    def _stranded(self, slot: _Slot, trouble: str, where: str = "", hint: str = "") -> str:
        """A worker could not load the model; unless another can, all who wait are told."""
        slot.trouble = trouble
        if not slot.first.done():
            slot.first.set_exception(
                DeclarationError(
                    f"a worker of the model {self.name} {trouble}",
                    hint=hint or f"{self.loader} is called once in each worker process, and returns the model",
                    where=where or self.loader.file,
                )
            )
        down = self._down()
        if down:
            for item in self._batcher.drain():
                self._fail(_name(item), Failure.CONNECTION, down)
        return trouble

    async def _leave(self, slot: _Slot, worker: WorkerProcess) -> None:
        """Nothing of a worker is left afterwards: neither its process nor its batch."""
        slot.up = False
        idle = self._free.pop(slot.number, None) is not None
        # First the process: one that it has forked may still hold the other end of the socket.
        await worker.end(kindly=idle and not self._open)
        if slot.batch is not None:
            await asyncio.wait({slot.batch})
        slot.worker = slot.batch = None

    def _down(self) -> str:
        """Why no worker will be up soon; empty when one is, or may be."""
        if any(slot.up for slot in self._slots):
            return ""
        trouble = next((slot.trouble for slot in self._slots if slot.trouble), "")
        return f"no worker of {self.name} is up: one {trouble}" if trouble else ""


def _name(item: Item) -> int:
    """What this pool named it."""
    if not isinstance(item.name, int):
        raise ModelError(f"{item.name!r} is no name of a call")
    return item.name
