"""Rates of alternating measurements: by the clock, and by processor time, which other work hardly moves."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from harness.figures import Result, median


class Rates:
    """Rows a second of several contestants, round by round.

    Every measurement is {"rows", "seconds", "cpu"}: `cpu` is the processor time of the process in seconds.
    """

    def __init__(self) -> None:
        self._clock: dict[str, list[float]] = defaultdict(list)
        self._cpu: dict[str, list[float]] = defaultdict(list)

    def add(self, name: str, found: dict[str, Any]) -> None:
        """Note one measurement."""
        self._clock[name].append(found["rows"] / found["seconds"])
        self._cpu[name].append(found["rows"] / found["cpu"])

    def runs(self, name: str) -> list[float]:
        """Rows a second by the clock, in order."""
        return self._clock[name]

    def detail(self, name: str) -> dict[str, Any]:
        """Rows a processor second, every run: what a quiet core would do at least."""
        return {"per_cpu_second": self._cpu[name]}

    def median(self, name: str) -> float | None:
        """The median by the clock; None when it was not measured."""
        return median(self._clock[name]) if self._clock[name] else None

    def best(self, names: list[str]) -> str | None:
        """The fastest of these contestants; None when none was measured."""
        measured = [name for name in names if self._clock[name]]
        return max(measured, key=lambda name: median(self._clock[name]), default=None)

    def compare(self, result: Result, ours: str, peer: str, label: str, target: float) -> None:
        """Add how many times faster ours is: the median of the rounds, each compared within itself."""
        rounds = [a / b for a, b in zip(self._clock[ours], self._clock[peer], strict=True)]
        result.add(label, median(rounds), "x", target=target, runs=rounds)
        by_cpu = [a / b for a, b in zip(self._cpu[ours], self._cpu[peer], strict=True)]
        result.add(f"{label}, by processor time", median(by_cpu), "x", runs=by_cpu)
