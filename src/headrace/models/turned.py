"""Calls that were turned away because there is too much to do: a line in the log now and then."""

from __future__ import annotations

import logging
import math

from headrace.models.action import Refused

_LOG = logging.getLogger(__name__)
_PERIOD = 60.0
"""Seconds for which calls are only counted after a line."""


class TurnedLog:
    """Tells the log that calls are turned away without an attempt, and what their upstreams were busy with.

    Parameters
    ----------
    model
        The declared model that they asked for.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._calls = 0
        self._told = -math.inf

    def add(self, now: float, refused: Refused) -> None:
        """One more call has been refused."""
        if not (refused.reason.of_load and refused.closed):
            return
        self._calls += 1
        if now - self._told < _PERIOD:
            return
        calls = "a call" if self._calls == 1 else f"{self._calls} calls"
        why = "; ".join(map(str, refused.closed))
        _LOG.warning("the model %r turned %s away (%s): %s", self._model, calls, refused.reason.value, why)
        self._calls, self._told = 0, now
