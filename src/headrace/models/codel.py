"""Whether a queue is standing rather than absorbing a burst, and who then leaves it.

A queue that is empty now and then does its work. One whose oldest call was above the target during a whole interval
only makes everybody late: then those who have waited twice the target are turned away at once, while the others are
served in time. Turned away early, a caller can go elsewhere; turned away at the deadline it has lost both.

References
----------
K. Nichols, V. Jacobson: Controlling queue delay. CACM 55(7), 2012. The form for servers (drop beyond twice the target
while the least delay of the last interval was above it): B. Maurer: Fail at scale. ACM Queue 13(8), 2015; folly
`Codel`. Where calls leave slowly, as before a rate limit of some a minute, the target is 1.5 times the gap between two:
so does the first for slow links, which gives a queue the time of at least one packet.
"""

from __future__ import annotations

import math

from msgspec import Struct


class Codel(Struct):
    """Watches one queue.

    Parameters
    ----------
    target
        A wait (seconds) that is fine to stand for long. 5-10 % of the time to the first token that users accept.
    interval
        Seconds over which the least is taken.

    Examples
    --------
    >>> codel = Codel(target=0.5, interval=2.0)
    >>> for now, oldest in [(0.0, 0.9), (1.0, 1.2), (2.1, 1.2)]:
    ...     codel.watch(now, oldest)
    >>> codel.overloaded, codel.sheds(0.8), codel.sheds(1.2)
    (True, False, True)
    >>> codel.watch(3.0, 0.1)
    >>> codel.watch(4.2, 1.2)
    >>> codel.overloaded
    False
    """

    target: float = 0.5
    interval: float = 2.0
    overloaded: bool = False
    """Whether the least wait of the last interval was above the target."""
    _least: float = math.inf
    _ends: float = -math.inf
    _served: float = math.inf
    _gaps: tuple[float, float] = (0.0, 0.0)

    @property
    def fine(self) -> float:
        """A wait that is fine now: the target, or somewhat more than the time from one call to the next."""
        gap = 1.5 * min(self._gaps)  # a single long one is an outage
        return gap if gap > self.target else self.target

    def served(self, now: float) -> None:
        """A call has left the queue to be served."""
        self._gaps = self._gaps[1], max(now - self._served, 0.0)
        self._served = now

    def watch(self, now: float, oldest: float) -> None:
        """The oldest call of the queue has waited so long (seconds)."""
        if now >= self._ends:
            # An interval in which nobody looked, or a long pause, proves no overload.
            self.overloaded = self.fine < self._least < math.inf and now < self._ends + self.interval
            self._ends = now + self.interval
            self._least = oldest
        elif oldest < self._least:
            self._least = oldest

    def sheds(self, wait: float) -> bool:
        """Whether a call that has waited so long is turned away instead of served."""
        return self.overloaded and wait > 2 * self.fine
