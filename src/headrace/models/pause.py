"""Upstreams that take no more: they ask to be left alone, which has a line in the log where it begins and where it
ends, or have enough to do.
"""

from __future__ import annotations

import logging
import math

from msgspec import Struct

from headrace.models.failure import Failure

_LOG = logging.getLogger(__name__)
LONG = 10.0
"""Seconds from which on a pause is one that somebody should know of; shorter ones are how rate limits work."""


class Pause(Struct, frozen=True, gc=False):
    """An upstream is not asked, as it wants it.

    Attributes
    ----------
    upstream
        Its name.
    seconds
        How long that is yet.
    why
        `Failure.RATE_LIMITED`, or `Failure.QUOTA`: no credit is left.
    """

    upstream: str
    seconds: float
    why: Failure

    @property
    def matters(self) -> bool:
        """Whether somebody should know of it."""
        return self.why is Failure.QUOTA or self.seconds >= LONG

    def __str__(self) -> str:
        return f"{self.upstream} is paused for {math.ceil(self.seconds)} s: {self.why.told}"


class Full(Struct, frozen=True, gc=False):
    """An upstream has as much in flight as it may, or nearly.

    >>> str(Full("east", 24, 24))
    'east has 24 in flight, of at most 24 at once (`concurrency`)'
    """

    upstream: str
    in_flight: int
    most: int

    def __str__(self) -> str:
        return f"{self.upstream} has {self.in_flight} in flight, of at most {self.most} at once (`concurrency`)"


class PauseLog:
    """Tells the log once that an upstream is paused, and once that it answers again.

    Parameters
    ----------
    model
        The declared model whose upstreams they are.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self.open: dict[str, tuple[Failure, float]] = {}
        """What is paused since when, and why; what was told."""

    def begins(self, now: float, pause: Pause, said: str) -> None:
        """An upstream is paused since an instant. `said`: what it said."""
        why, since = self.open.get(pause.upstream, (None, now))
        if why is pause.why or not pause.matters:
            return
        self.open[pause.upstream] = (pause.why, since)
        _LOG.warning("the model %r: %s (%s)", self._model, pause, said)

    def ends(self, now: float, upstream: str) -> None:
        """An upstream has answered."""
        if upstream in self.open:
            _, since = self.open.pop(upstream)
            _LOG.info("the model %r: %s answers again, after a pause of %.0f s", self._model, upstream, now - since)
