"""Pace: when it is time again for something that is done every so often."""

from __future__ import annotations

from headrace.core.clock import SECOND, Clock

_TOLERANCE = 1 / SECOND
"""A clock moved in microseconds may stop a rounding short of the instant that was meant."""


class Pace:
    """Counts from the beginning of one turn to that of the next; the first is due at once.

    Parameters
    ----------
    every
        Microseconds.
    """

    def __init__(self, every: int, clock: Clock) -> None:
        self._every = every / SECOND
        self._clock = clock
        self._due = clock.monotonic()

    def begin(self) -> None:
        """A turn begins now."""
        self._due = self._clock.monotonic() + self._every

    def retry(self, seconds: float) -> None:
        """The turn failed: the next one is due in `seconds`, or when it was due anyway if that is sooner."""
        self._due = self._clock.monotonic() + min(seconds, self._every)

    @property
    def rest(self) -> float:
        """Seconds until the next turn is due; 0 when it is."""
        left = self._due - self._clock.monotonic()
        return left if left > _TOLERANCE else 0.0
