"""One simulated upstream: slots, a queue or refusals, prefill, decoding, rate limits with headers, and faults."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

from headrace.core.clock import SECOND, isoformat
from headrace.models.action import Attempt
from headrace.models.bucket import Bucket
from headrace.models.call import Usage
from headrace.models.failure import Failure, classify
from headrace.models.headers import Limits, read_limits
from headrace.models.simulation.agenda import Agenda
from headrace.models.simulation.faults import Fault
from headrace.models.simulation.settings import SimulatedUpstream

_AT_ONCE = 0.005
"""Seconds that a refusal takes."""
_CHUNK = 2.0
"""Seconds between the signs of life of a stream that are simulated; real ones come far more often."""
_HUNG = 120.0
"""Seconds after which a server lets go of a call that hangs, where it does not hear of cancellation."""


class Listener(Protocol):
    """Whoever is told what an attempt does."""

    def first_token(self, attempt: Attempt) -> None:
        """Its first byte."""
        ...

    def progress(self, attempt: Attempt) -> None:
        """More of it."""
        ...

    def end(self, attempt: Attempt, usage: Usage, limits: Limits) -> None:
        """All of it."""
        ...

    def failure(self, attempt: Attempt, failure: Failure, limits: Limits) -> None:
        """It failed."""
        ...


@dataclass(slots=True)
class _Work:
    attempt: Attempt
    output: int
    alive: bool = True
    placed: bool = False


class SimulatedServer:
    """Works on attempts in virtual time.

    Parameters
    ----------
    upstream
        How it is.
    faults
        What goes wrong with it and others.
    """

    def __init__(
        self, upstream: SimulatedUpstream, agenda: Agenda, random: Random, faults: Sequence[Fault], listener: Listener
    ) -> None:
        self.name = upstream.name
        self.server = upstream.server
        self.agenda = agenda
        self.listener = listener
        self._random = random
        self._faults = [fault for fault in faults if not fault.upstreams or upstream.name in fault.upstreams]
        self._works: dict[int, _Work] = {}
        self._queue: deque[_Work] = deque()
        self._busy = 0
        self._read_until = 0.0
        self._buckets = {
            kind: Bucket(limit, limit / 60)
            for kind, limit in (
                ("requests", self.server.requests_per_minute),
                ("tokens", self.server.tokens_per_minute),
            )
            if limit is not None
        }
        for fault in self._faults:
            if fault.kind == "limit":
                agenda.at(fault.start, self._drain)

    @property
    def busy(self) -> int:
        """Slots in use."""
        return self._busy

    def accept(self, attempt: Attempt, output: int) -> None:
        """A request comes in, whose answer will have `output` tokens."""
        work = self._works[attempt.id] = _Work(attempt, output)
        refused = self._refusal(attempt)
        if refused is not None:
            failure, limits = refused
            self.agenda.at(self.agenda.now + _AT_ONCE, lambda: self._fail(work, failure, limits))
        elif self._there("dark"):
            return
        elif self._busy >= self.server.slots:
            self._queue.append(work)
        else:
            self._place(work)

    def cancel(self, attempt: Attempt) -> None:
        """The client hangs up."""
        work = self._works.pop(attempt.id, None)
        if work is None:
            return
        work.alive = False
        if work.placed and self.server.hears_cancel:
            self._free(work)
        elif not work.placed and self.server.hears_cancel and work in self._queue:
            self._queue.remove(work)

    # Inside --------------------------------------------------------------------------------------------------------

    def _there(self, kind: str) -> Fault | None:
        now = self.agenda.now
        return next((fault for fault in self._faults if fault.kind == kind and fault.concerns(self.name, now)), None)

    def _strikes(self, kind: str) -> bool:
        fault = self._there(kind)
        return fault is not None and self._random.random() < fault.share

    def _refusal(self, attempt: Attempt) -> tuple[Failure, Limits] | None:
        """Why a request is refused at the door, if it is."""
        if self._there("down"):
            return Failure.CONNECTION, Limits()
        if self._strikes("refuse"):
            return Failure.RATE_LIMITED, Limits()
        if self._random.random() < self.server.errors:
            return Failure.SERVER_ERROR, self._limits()
        wait = self._quota_wait(attempt)
        if wait > 0:
            return Failure.RATE_LIMITED, self._limits(wait)
        full = self._busy >= self.server.slots and self.server.overflow == "refuse"
        if full and not self._there("dark"):
            return classify(self.server.refusal) or Failure.OVERLOADED, self._limits()
        for kind, bucket in self._buckets.items():
            bucket.take(self.agenda.now, 1 if kind == "requests" else min(attempt.call.tokens, bucket.capacity))
        return None

    def _quota_wait(self, attempt: Attempt) -> float:
        wanted = {"requests": 1, "tokens": attempt.call.tokens}
        return max((bucket.wait(self.agenda.now, wanted[kind]) for kind, bucket in self._buckets.items()), default=0.0)

    def _place(self, work: _Work) -> None:
        """A slot is free for it: read the prompt, then write the answer."""
        now = self.agenda.now
        self._busy += 1
        work.placed = True
        if self._strikes("hang"):
            if not self.server.hears_cancel:
                self.agenda.at(now + _HUNG, lambda: self._free(work))
            return
        slow = self._there("slow")
        factor = 1.0 if slow is None else slow.factor
        call = work.attempt.call
        self._read_until = max(now, self._read_until) + factor * call.prompt_tokens / self.server.prefill
        fixed = self.server.first_token * math.exp(self._random.gauss(0.0, self.server.spread))
        first = self._read_until + factor * fixed
        end = first + factor * work.output / self.server.speed
        if call.stream:
            self.agenda.at(first, lambda: self._first(work, end))
        self.agenda.at(end, lambda: self._end(work))

    def _first(self, work: _Work, end: float) -> None:
        if work.alive:
            self.listener.first_token(work.attempt)
            self._chunk(work, end)

    def _chunk(self, work: _Work, end: float) -> None:
        if work.alive and self.agenda.now + _CHUNK < end:
            self.listener.progress(work.attempt)
            self.agenda.at(self.agenda.now + _CHUNK, lambda: self._chunk(work, end))

    def _end(self, work: _Work) -> None:
        if work.placed:
            self._free(work)
        if work.alive:
            work.alive = False
            del self._works[work.attempt.id]
            self.listener.end(work.attempt, Usage(work.attempt.call.prompt_tokens, work.output), self._limits())

    def _fail(self, work: _Work, failure: Failure, limits: Limits) -> None:
        if work.alive:
            work.alive = False
            del self._works[work.attempt.id]
            self.listener.failure(work.attempt, failure, limits)

    def _free(self, work: _Work) -> None:
        work.placed = False
        self._busy -= 1
        while self._queue and self._busy < self.server.slots:
            following = self._queue.popleft()
            if following.alive or not self.server.hears_cancel:
                self._place(following)

    def _drain(self) -> None:
        for bucket in self._buckets.values():
            bucket.set(self.agenda.now, 0.0)

    def _limits(self, retry_after: float | None = None) -> Limits:
        """What the production parser makes of the headers that such a provider sends."""
        if self.server.headers == "none" or not self._buckets:
            return Limits()
        now = self.agenda.now
        headers: dict[str, str] = {}
        for kind, bucket in self._buckets.items():
            left = bucket.level(now)
            reset = (bucket.capacity - left) / bucket.rate
            if self.server.headers == "openai":
                said = {"limit": bucket.capacity, "remaining": left, "reset": 0}
                headers |= {f"x-ratelimit-{part}-{kind}": str(int(value)) for part, value in said.items()}
                headers[f"x-ratelimit-reset-{kind}"] = f"{math.ceil(reset * 1000)}ms"
            else:
                headers[f"anthropic-ratelimit-{kind}-limit"] = str(int(bucket.capacity))
                headers[f"anthropic-ratelimit-{kind}-remaining"] = str(int(left))
                headers[f"anthropic-ratelimit-{kind}-reset"] = isoformat(int((now + reset) * SECOND))
        if retry_after is not None:
            headers["retry-after"] = str(math.ceil(retry_after))
        return read_limits(headers, int(now * SECOND))
