"""Upstreams that are ejected: a line in the log where that begins and ends."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from headrace.models.upstream import Upstream

_LOG = logging.getLogger(__name__)


class Ejections:
    """Tells the log once that an upstream is left out, and once that it is used again.

    Parameters
    ----------
    model
        The declared model whose upstreams they are.
    upstreams
        All of them.
    """

    def __init__(self, model: str, upstreams: Sequence[Upstream]) -> None:
        self._model = model
        self._upstreams = upstreams
        self.open: dict[str, float] = {}
        """What is left out, since when."""

    def look(self, now: float) -> None:
        """Tell what has changed."""
        for one in self._upstreams:
            if one.breaker.ejected == (one.name in self.open):
                continue
            if one.breaker.ejected:
                self.open[one.name] = now
                _LOG.warning(
                    "the model %r: %s is left out for %.0f s: %.0f %% of its attempts lately failed, or showed nothing",
                    self._model,
                    one.name,
                    one.breaker.until - now,
                    100 * one.breaker.failure_share(now),
                )
            else:
                _LOG.info(
                    "the model %r: %s is used again, after %.0f s", self._model, one.name, now - self.open.pop(one.name)
                )
