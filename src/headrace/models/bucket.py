"""A bucket that fills at a rate: what may be spent now, and when there will be enough."""

from __future__ import annotations

import math


class Bucket:
    """A token bucket, full at first: what was spent beyond it is owed, and refill pays that first.

    Parameters
    ----------
    capacity
        Most that it holds.
    rate
        Refill per second.

    Examples
    --------
    >>> bucket = Bucket(capacity=10, rate=2)
    >>> bucket.take(0.0, 8), bucket.take(0.0, 8), bucket.wait(0.0, 8)
    (True, False, 3.0)
    >>> bucket.give(0.0, -5)
    >>> bucket.level(0.0), bucket.owed, bucket.wait(0.0, 1)
    (0.0, 3.0, 2.0)
    """

    __slots__ = ("_at", "capacity", "rate", "stored")

    def __init__(self, capacity: float, rate: float) -> None:
        self.capacity = float(capacity)
        self.rate = float(rate)
        self.stored = self.capacity
        """What it held when it was last looked at, less than 0 where that was owed: it holds at least that now."""
        self._at = 0.0  # whenever that was: it is full

    @property
    def owed(self) -> float:
        """What was spent beyond it, and is not paid yet."""
        return -self.stored if self.stored < 0 else 0.0

    def refill(self, now: float) -> float:
        """What it holds now, with what has come since it was last looked at; less than 0 where that is owed."""
        # No `min` and `max` here and below: a router looks five times for each call.
        passed = now - self._at
        if passed > 0.0:
            self._at = now
            stored = self.stored + passed * self.rate
            self.stored = stored if stored < self.capacity else self.capacity
        return self.stored

    def level(self, now: float) -> float:
        """What may be spent now; never negative."""
        level = self.refill(now)
        return level if level > 0.0 else 0.0

    def take(self, now: float, amount: float) -> bool:
        """Spend `amount`, all or nothing."""
        if self.refill(now) < amount:
            return False
        self.stored -= amount
        return True

    def draw(self, now: float, amount: float) -> float:
        """Spend `amount`, or what there is of it; what is left."""
        left = self.refill(now)
        if amount < left:
            self.stored = left = left - amount
        elif left > 0.0:
            self.stored = left = 0.0
        return left

    def give(self, now: float, amount: float) -> None:
        """Put back what was taken and not used; a negative `amount` was used and not taken."""
        stored = self.refill(now) + amount
        self.stored = stored if stored < self.capacity else self.capacity

    def wait(self, now: float, amount: float) -> float:
        """Seconds until `amount` can be taken; infinite when it never can."""
        if self.stored >= amount:
            return 0.0  # what has come since does not matter
        missing = min(amount, self.capacity) - self.refill(now)
        if missing <= 1e-9:
            return 0.0
        return missing / self.rate if self.rate > 0 else math.inf

    def set(self, now: float, level: float) -> None:
        """What somebody who knows says that there is."""
        self.correct(now, level, level)

    def correct(self, now: float, least: float, most: float) -> float:
        """What somebody who knows says that there is at least, and at most; what that leaves."""
        level = self.refill(now)
        if level < least:
            level = least
        if level > most:
            level = most
        if level < 0.0:
            level = 0.0  # what was owed is in what they say
        if level > self.capacity:
            level = self.capacity
        self.stored = level
        return level
