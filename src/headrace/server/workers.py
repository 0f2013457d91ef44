"""The worker processes of local models, in `/metrics`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from headrace.core.events import Problem
from headrace.http1 import Handler, Request, Response
from headrace.models.local.pool import LocalPool
from headrace.server.metrics import escape
from headrace.server.problem import Problem as Document

_COUNTED = {
    "answered": "Inputs that were answered.",
    "failed": "Inputs that got no answer.",
    "expired": "Inputs of the failed that could not be answered in time.",
    "refused": "Inputs that were turned away: the queue was full, or no worker could be started.",
    "batches": "Batches that were run.",
    "deaths": "Workers that ended without being asked, or were killed because they hung.",
}


class Workers:
    """Says how local models do (`server.composition.Handlers`); it serves no path of its own.

    Parameters
    ----------
    pools
        Each with the names of the models that use it: two models may have upstreams of the same name.
    """

    def __init__(self, pools: Sequence[tuple[str, LocalPool]]) -> None:
        self._pools = tuple(pool for _, pool in pools)
        self._labels = [f'model="{escape(models)}",upstream="{escape(pool.name)}"' for models, pool in pools]

    @property
    def checks_keys(self) -> bool:
        """It has no requests."""
        return False

    @property
    def lasts(self) -> bool:
        """It has no requests."""
        return False

    def find(self, request: Request) -> Handler | None:
        """No path is its own."""
        return None

    def refused(self, request: Request, problem: Document) -> Response | None:
        """Problems are its own words."""
        return None

    def openapi(self) -> dict[str, Any]:
        """None either."""
        return {}

    def metrics(self) -> Iterator[str]:
        """What was counted, and what is now, by model and upstream."""
        for name, words in _COUNTED.items():
            yield from self._lines(f"{name}_total", "counter", words, [getattr(p.counters, name) for p in self._pools])
        yield from self._lines("workers", "gauge", "Workers that are up.", [len(p.pids) for p in self._pools])
        yield from self._lines("queued", "gauge", "Inputs that wait.", [p.queued for p in self._pools])
        yield from self._lines("batch_cap", "gauge", "Inputs that a batch may have.", [p.cap for p in self._pools])
        largest = [p.counters.largest for p in self._pools]
        yield from self._lines("batch_largest", "gauge", "Inputs that the largest batch had.", largest)

    def problems(self) -> tuple[Problem, ...]:
        """None that the router would not notice: a model whose workers end is one whose calls fail."""
        return ()

    def _lines(self, metric: str, kind: str, words: str, numbers: Sequence[int]) -> Iterator[str]:
        yield f"# HELP headrace_local_{metric} {words}"
        yield f"# TYPE headrace_local_{metric} {kind}"
        for labels, number in zip(self._labels, numbers, strict=True):
            yield f"headrace_local_{metric}{{{labels}}} {number}"
