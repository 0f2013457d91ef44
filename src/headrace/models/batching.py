"""How many waiting items a local model gets at once.

- Drain on idle: while a batch runs, items gather; when the model is free it gets what there is. An idle model never
  waits for more to come: waiting pays only when the next batch is full anyway, and then it is.
- The size is capped so that a batch does not take longer than `within`: the time of a batch of n items is fitted as
  a*n + b from the batches that ran.
- Items whose deadline has passed, or would pass before a batch of one could end, are taken out before, not after.

References
----------
NVIDIA Triton, "Dynamic batcher": as large as possible, no delay by default. D. Crankshaw et al.: Clipper. NSDI 2017
(batch size from the latency that is allowed).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field


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
        spread = self._nn * self._weight - self._n * self._n
        if spread < 1e-9 * self._nn * self._weight:
            return self._t / self._n
        return max((self._nt * self._weight - self._n * self._t) / spread, 0.0)

    @property
    def base(self) -> float:
        """Seconds per batch (b); never negative."""
        return max((self._t - self.slope * self._n) / self._weight, 0.0) if self._weight else 0.0

    def seconds(self, n: int) -> float:
        """What a batch of `n` items is expected to take; 0 while nothing is known."""
        return self.base + self.slope * n

    def most(self, within: float) -> int | None:
        """The largest batch that takes at most `within` seconds, at least 1; None while nothing limits it.

        A little more than fits exactly is let through: the fit is no better than its rounding.
        """
        if self.slope <= 0:
            return None
        return max(int((within - self.base) / self.slope + 1e-6), 1)


@dataclass(frozen=True, slots=True)
class Item:
    """What waits: anything that names it, and the instant until when it is of use."""

    name: Hashable
    deadline: float


@dataclass(frozen=True, slots=True)
class Batch:
    """What to run now, and what has expired and is to be told so."""

    items: tuple[Item, ...]
    expired: tuple[Item, ...]


class Batcher:
    """Gathers items for one worker.

    Parameters
    ----------
    most
        Largest batch (items), however fast it would be.
    within
        Longest batch (seconds).
    queue
        Most items that wait.

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

    def __init__(self, *, most: int = 64, within: float = 0.1, queue: int = 10_000) -> None:
        self.largest = most
        self.within = within
        self.queue = queue
        self.time = BatchTime()
        self._waiting: deque[Item] = deque()
        self._running: tuple[float, int] | None = None

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
        self._waiting.append(item)
        return True

    def take(self, now: float) -> Batch | None:
        """The next batch; None while one runs or nothing waits. A batch without items has expired ones only."""
        if self._running is not None or not self._waiting:
            return None
        one = self.time.seconds(1)
        expired = tuple(item for item in self._waiting if item.deadline < now + one)
        alive = [item for item in self._waiting if item.deadline >= now + one]
        chosen = tuple(alive[: self.cap])
        self._waiting = deque(alive[len(chosen) :])
        if chosen:
            self._running = (now, len(chosen))
        return Batch(chosen, expired)

    def on_done(self, now: float) -> None:
        """The batch ended, well or not: how long it took is known either way."""
        if self._running is not None:
            began, n = self._running
            self._running = None
            self.time.add(n, now - began)

    def withdraw(self, name: Hashable) -> bool:
        """Take an item out whose caller went away; whether it was still there."""
        before = len(self._waiting)
        self._waiting = deque(item for item in self._waiting if item.name != name)
        return len(self._waiting) < before
