"""A bucket that fills at a rate: what may be spent now, and when there will be enough."""

from __future__ import annotations

import math

_NEVER = -math.inf


class Bucket:
    """A token bucket that never goes below empty: what was spent beyond it is owed, and refill pays that first.

    Parameters
    ----------
    capacity
        Most that it holds.
    rate
        Refill per second.
    level
        What it holds at first; full if not given.

    Examples
    --------
    >>> bucket = Bucket(capacity=10, rate=2)
    >>> bucket.take(0.0, 8), bucket.take(0.0, 8), bucket.wait(0.0, 8)
    (True, False, 3.0)
    >>> bucket.charge(0.0, 5)
    >>> bucket.level(0.0), bucket.owed, bucket.wait(0.0, 1)
    (0.0, 3.0, 2.0)
    """

    __slots__ = ("_at", "capacity", "owed", "rate", "stored")

    def __init__(self, capacity: float, rate: float, *, level: float | None = None) -> None:
        self.capacity = float(capacity)
        self.rate = float(rate)
        self.stored = self.capacity if level is None else min(float(level), self.capacity)
        """What it held when it was last looked at: it holds at least that now."""
        self.owed = 0.0
        self._at = _NEVER

    def level(self, now: float) -> float:
        """What may be spent now; never negative."""
        # No `min` and `max` here and below: a router asks five times for each call.
        if now > self._at:
            came = (now - self._at) * self.rate if self._at > _NEVER else 0.0
            self._at = now
            if self.owed > 0:
                self._add(came)
                return self.stored
            self.stored += came
        if self.stored > self.capacity:
            self.stored = self.capacity
        return self.stored

    def take(self, now: float, amount: float) -> bool:
        """Spend `amount`, all or nothing."""
        if self.owed > 0:
            self.level(now)
            return False
        if self.level(now) < amount:
            return False
        self.stored -= amount
        return True

    def draw(self, now: float, amount: float) -> None:
        """Spend `amount`, or what there is of it."""
        level = self.level(now)
        self.stored = level - amount if amount < level else 0.0

    def charge(self, now: float, amount: float) -> None:
        """Spend `amount` that was already used elsewhere; what is not there is owed."""
        level = self.level(now)
        if amount <= level:
            self.stored = level - amount
        else:
            self.stored = 0.0
            self.owed += amount - level

    def give(self, now: float, amount: float) -> None:
        """Put back what was taken and not used; debts first."""
        self.level(now)
        self._add(amount)

    def wait(self, now: float, amount: float) -> float:
        """Seconds until `amount` can be taken; infinite when it never can."""
        if self.stored >= amount and self.owed <= 0:
            return 0.0  # what has come since does not matter
        level = self.level(now)
        missing = min(amount, self.capacity) - level + self.owed
        if missing <= 1e-9:
            return 0.0
        return missing / self.rate if self.rate > 0 else math.inf

    def set(self, now: float, level: float) -> None:
        """What somebody who knows says that there is."""
        self.correct(now, level, level)

    def correct(self, now: float, least: float, most: float) -> None:
        """What somebody who knows says that there is at least, and at most."""
        level = self.level(now)
        if level < least:
            level = least
        if level > most:
            level = most if most > 0 else 0.0
        self.stored = level if level < self.capacity else self.capacity
        self.owed = 0.0

    def _add(self, amount: float) -> None:
        """Debts are paid first."""
        if self.owed > 0:
            paid = min(amount, self.owed)
            self.owed -= paid
            amount -= paid
        stored = self.stored + amount
        self.stored = stored if stored < self.capacity else self.capacity
