"""What the endpoints of one process did, as numbers for Prometheus."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from headrace.core.events import Answered

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the histogram, seconds."""

Labels = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class _Histogram:
    cells: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    total: float = 0.0


class Counters:
    """Counts; `lines` renders."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, Labels]] = Counter()
        self._seconds: dict[Labels, _Histogram] = {}
        self._stages: Counter[Labels] = Counter()

    def answered(self, event: Answered) -> None:
        """A request, or one beside it, came to its end."""
        where = (("endpoint", event.endpoint), ("version", event.version))
        if event.shadow:
            return
        counts = self._counts
        counts["requests", (*where, ("status", str(event.status)))] += 1
        histogram = self._seconds.get(where)
        if histogram is None:
            histogram = self._seconds[where] = _Histogram()
        histogram.cells[bisect_left(BUCKETS, event.seconds)] += 1
        histogram.total += event.seconds
        if event.stale != "unchecked":
            counts["read_sets", (*where, ("found", event.stale))] += 1
        if event.retries:
            counts["stale_retries", where] += event.retries
        if event.fallback:
            counts["fallbacks", (*where, ("fallback", event.fallback))] += 1
        for name, seconds in event.stages.items():
            self._stages[*where, ("stage", name)] += seconds  # pyright: ignore[reportArgumentType]

    def refused(self, endpoint: str, status: int) -> None:
        """A request was wrong itself."""
        self._counts["refused", (("endpoint", endpoint), ("status", str(status)))] += 1

    def shadow(self, endpoint: str, version: str, outcome: str) -> None:
        """A shadow was answered, failed, or was skipped for want of budget."""
        self._counts["shadows", (("endpoint", endpoint), ("version", version), ("outcome", outcome))] += 1

    def lines(self) -> Iterator[str]:
        """The Prometheus text format."""
        for name, words in _HELP.items():
            found = sorted((labels, count) for (kind, labels), count in self._counts.items() if kind == name)
            if found:
                yield f"# HELP headrace_endpoint_{name}_total {words}"
                yield f"# TYPE headrace_endpoint_{name}_total counter"
                for labels, count in found:
                    yield f"headrace_endpoint_{name}_total{render(labels)} {count}"
        if self._seconds:
            yield "# HELP headrace_endpoint_seconds How long requests took."
            yield "# TYPE headrace_endpoint_seconds histogram"
            for labels, histogram in sorted(self._seconds.items()):
                yield from _histogram(labels, histogram)
        if self._stages:
            yield "# HELP headrace_endpoint_stage_seconds_total Time by stage."
            yield "# TYPE headrace_endpoint_stage_seconds_total counter"
            for labels, seconds in sorted(self._stages.items()):
                yield f"headrace_endpoint_stage_seconds_total{render(labels)} {seconds:.6f}"


_HELP = {
    "requests": "Requests, by status (499: the client went away).",
    "refused": "Requests that were not what the endpoint takes.",
    "read_sets": "Read sets that were checked, by what was found.",
    "stale_retries": "Runs again because what was read had changed.",
    "fallbacks": "Requests that a fallback answered.",
    "shadows": "Runs beside requests, by outcome.",
}


def _histogram(labels: Labels, histogram: _Histogram) -> Iterator[str]:
    running = 0
    for bound, count in zip((*map(str, BUCKETS), "+Inf"), histogram.cells, strict=True):
        running += count
        yield f"headrace_endpoint_seconds_bucket{render((*labels, ('le', bound)))} {running}"
    yield f"headrace_endpoint_seconds_sum{render(labels)} {histogram.total:.6f}"
    yield f"headrace_endpoint_seconds_count{render(labels)} {running}"


def render(labels: Labels) -> str:
    r"""Labels as Prometheus writes them.

    >>> render((("a", 'x"y'),))
    '{a="x\\"y"}'
    """
    escaped = (value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for _, value in labels)
    pairs = ",".join(f'{name}="{value}"' for (name, _), value in zip(labels, escaped, strict=True))
    return "{" + pairs + "}"
