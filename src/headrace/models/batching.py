"""How many waiting items a local model gets at once.

- Drain on idle: while a batch runs, items gather; when a worker is free it gets what there is. An idle worker does not
  wait for more to come, unless `linger` says so: waiting pays only when the next batch is full anyway, and then it is.
- The size is capped so that a batch does not take longer than `within`: the time of a batch of n items is fitted as
  a*n + b from the batches that ran. Batches of one size do not tell a from b, so that the cap then is twice that
  size, if they took no longer: a model whose time is all base would else never leave batches of one.
- Several workers share one queue; those that are free at once share what is there.
- Items whose deadline has passed, or would pass before a batch of one could end, are taken out before, not after: when
  the batch that they would have been in is taken. Where that leaves none, and no batch has ended lately, one is run all
  the same: a first batch that was slow, while the model was made ready, must not keep all others out for ever.

References
----------
NVIDIA Triton, "Dynamic batcher": as large as possible, no delay by default. D. Crankshaw et al.: Clipper. NSDI 2017
(batch size from the latency that is allowed).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field

_OLD = 1.0
"""Seconds since the last batch after which what batches take is tried again."""


@dataclass(slots=True)
class BatchTime:
    """Fits seconds = a*n + b by least squares; old batches fade.

    Parameters
    ----------
    keep
        What is left of a batch's weight with each new one.

    Examples
    --------
    >>> fit = BatchTime()
    >>> for n in (1, 2, 4, 8):
    ...     fit.add(n, 0.010 + 0.002 * n)
    >>> round(fit.slope, 6), round(fit.base, 6), fit.most(0.050)
    (0.002, 0.01, 20)
    """

    keep: float = 0.98
    _weight: float = field(default=0.0, init=False)
    _n: float = field(default=0.0, init=False)
    _nn: float = field(default=0.0, init=False)
    _t: float = field(default=0.0, init=False)
    _nt: float = field(default=0.0, init=False)

    def add(self, n: int, seconds: float) -> None:
        """A batch of `n` items took so long."""
        self._weight = self._weight * self.keep + 1
        self._n = self._n * self.keep + n
        self._nn = self._nn * self.keep + n * n
        self._t = self._t * self.keep + seconds
        self._nt = self._nt * self.keep + n * seconds

    @property
    def slope(self) -> float:
        """Seconds per item (a); never negative. With batches of one size only, all time is blamed on the items."""
        if self._weight == 0:
            return 0.0
        if not self._spread:
            return self._t / self._n
        return max((self._nt * self._weight - self._n * self._t) / self._spread, 0.0)

    @property
    def base(self) -> float:
        """Seconds per batch (b); never negative."""
        return max((self._t - self.slope * self._n) / self._weight, 0.0) if self._weight else 0.0

    def seconds(self, n: int) -> float:
        """What a batch of `n` items is expected to take; 0 while nothing is known."""
        return self.base + self.slope * n

    def most(self, within: float) -> int | None:
        """The largest batch that takes at most `within` seconds, at least 1; None while nothing limits it.

        A little more than fits exactly is let through: the fit is no better than its rounding. While all batches had
        one size and took no longer, twice that size is let through as well, so that the next fit has two.
        """
        if self.slope <= 0:
            return None
        fitted = max(int((within - self.base) / self.slope + 1e-6), 1)
        if self._spread or self._t > within * self._weight:
            return fitted
        return max(fitted, round(2 * self._n / self._weight))

    @property
    def _spread(self) -> float:
        """How much the sizes differ; 0 where that is no more than rounding."""
        spread = self._nn * self._weight - self._n * self._n
        return spread if spread >= 1e-9 * self._nn * self._weight else 0.0


@dataclass(frozen=True, slots=True)
class Item:
    """What waits: a name that nothing else that waits has, until when it is of use, and since when it waits."""

    name: Hashable
    deadline: float
    since: float = -math.inf


@dataclass(frozen=True, slots=True)
class Batch:
    """What to run now, and what has expired and is to be told so."""

    items: tuple[Item, ...]
    expired: tuple[Item, ...]


class Batcher:
    """Gathers items for one worker, or for several that are alike.

    Parameters
    ----------
    most
        Largest batch (items), however fast it would be.
    within
        Longest batch (seconds).
    queue
        Most items that wait.
    linger
        Seconds that a free worker waits after the first item for more to come.

    Examples
    --------
    >>> batcher = Batcher(most=2, within=1.0)
    >>> [batcher.offer(Item(name, deadline=9.0)) for name in "abc"]
    [True, True, True]
    >>> [item.name for item in batcher.take(0.0).items]
    ['a', 'b']
    >>> batcher.take(0.1) is None
    True
    >>> batcher.on_done(0.2)
    >>> [item.name for item in batcher.take(0.2).items]
    ['c']
    """

    def __init__(self, *, most: int = 64, within: float = 0.1, queue: int = 10_000, linger: float = 0.0) -> None:
        self.largest = most
        self.within = within
        self.queue = queue
        self.linger = linger
        self.time = BatchTime()
        self._waiting: OrderedDict[Hashable, Item] = OrderedDict()
        self._running: dict[int, tuple[float, int]] = {}
        self._ended = -math.inf

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def cap(self) -> int:
        """The largest batch now."""
        fitted = self.time.most(self.within)
        return self.largest if fitted is None else min(self.largest, fitted)

    def offer(self, item: Item) -> bool:
        """Let an item wait; False when the queue is full."""
        if len(self._waiting) >= self.queue:
            return False
        self._waiting[item.name] = item
        return True

    def rest(self, now: float) -> float:
        """Seconds until a free worker may take: 0 now, infinite while nothing waits."""
        if not self._waiting:
            return math.inf
        if self.linger <= 0 or len(self._waiting) >= self.cap:
            return 0.0
        first = next(iter(self._waiting.values()))
        # Half of what the first can spare, at most: waiting to its last moment would make it expire.
        spare = (first.deadline - self.time.seconds(1) - first.since) / 2
        return max(first.since + min(self.linger, spare) - now, 0.0)

    def take(self, now: float, worker: int = 0, *, free: int = 1) -> Batch | None:
        """The next batch of `worker`; None while it runs one or there is nothing to take yet.

        A batch without items has expired ones only. `free`: how many workers are free, this one included.
        """
        if worker in self._running or self.rest(now) > 0:
            return None
        soonest = now + self.time.seconds(1)
        size = min(self.cap, -(-len(self._waiting) // free))
        chosen: list[Item] = []
        expired: list[Item] = []
        while self._waiting and len(chosen) < size:
            _, item = self._waiting.popitem(last=False)
            (chosen if item.deadline >= soonest else expired).append(item)
        if not chosen and not self._running and now - self._ended >= _OLD:
            late = max(expired, key=lambda item: item.deadline)
            if late.deadline > now:
                expired.remove(late)
                chosen.append(late)
        if chosen:
            self._running[worker] = (now, len(chosen))
        return Batch(tuple(chosen), tuple(expired))

    def on_done(self, now: float, worker: int = 0, *, typical: bool = True) -> None:
        """The batch ended. Only the time of a `typical` one is learnt from: not of one that failed, say."""
        self._ended = now
        running = self._running.pop(worker, None)
        if running is not None and typical:
            began, n = running
            self.time.add(n, now - began)

    def withdraw(self, name: Hashable) -> bool:
        """Take an item out whose caller went away; whether it was still there."""
        return self._waiting.pop(name, None) is not None

    def drain(self) -> tuple[Item, ...]:
        """Take out all that wait: there is no worker any more."""
        items = tuple(self._waiting.values())
        self._waiting.clear()
        return items
