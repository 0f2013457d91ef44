"""What every request passes, on whichever way it is served: a bound on how many at once, the guard, the meter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from headrace.core.clock import Clock
from headrace.server.guard import Guard
from headrace.server.metrics import Meter
from headrace.server.problem import Problem
from headrace.server.settings import Settings


class Served(Protocol):
    """A request, as the gate sees it: `answered` is the status of its answer; 0 where nobody was left to answer."""

    answered: int


class Gate:
    """Lets requests in and counts them out: `enter`, then `refuse`, and in any case `leave`."""

    def __init__(self, settings: Settings, meter: Meter, clock: Clock) -> None:
        self._settings = settings
        self._room = settings.max_concurrency
        self._guard = Guard(settings)
        self._meter = meter
        self._now = clock.monotonic
        self._in_flight = 0

    def enter(self, path: str) -> tuple[float, Problem | None]:
        """A request begins: the instant of it, for `leave`; and why there is no room for it now, or None."""
        self._in_flight += 1
        problem = _BUSY if self._in_flight > self._room and path not in _PROBES else None
        return self._now(), problem

    def refuse(self, path: str, length: int, headers: Mapping[bytes, bytes], *, keys: bool = True) -> Problem | None:
        """Why a request with such a head is refused, at any time; or None.

        `length` is that of its target; `keys`: whether it needs an API key.
        """
        if length > self._settings.max_url:
            return Problem(414, "url-too-long", "The URL is too long", f"over {self._settings.max_url} bytes")
        return self._guard.refuse(path, headers, keys=keys)

    def leave(self, path: str, entered: float, request: Served) -> None:
        """The request is over."""
        self._in_flight -= 1
        self._meter.count(path, request.answered, self._now() - entered)


_PROBES = frozenset({"/healthz", "/metrics"})
"""Answered however much there is to do: a busy worker lives, and this is when one wants to know what it does."""
_BUSY = Problem(
    503,
    "busy",
    "Too many requests at once",
    "this worker has as many requests in flight as it takes",
    hint="try again after a moment, or start more workers",
    headers=((b"retry-after", b"1"),),
)
