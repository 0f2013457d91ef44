"""What the gateway counts, in the Prometheus text format. Labels come from the declaration, never from a client."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from decimal import Decimal

from headrace.core.events import Event, ModelCalled
from headrace.models.call import Usage

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
"""Upper bounds of the histograms, seconds."""
_NONE = "none"
"""The model of requests that named none of ours, and the upstream of those that reached none."""
_KINDS = ("prompt", "cached", "output")
_TIMES = {
    "queue_seconds": "From a request to the start of its first attempt.",
    "first_byte_seconds": "From a request to the first byte of its answer.",
    "answer_seconds": "From a request to the end of its answer.",
}


class Histogram:
    """Counts in fixed buckets."""

    __slots__ = ("cells", "sum")

    def __init__(self) -> None:
        self.cells = [0] * (len(BOUNDS) + 1)
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        """One observation."""
        self.cells[bisect_left(BOUNDS, seconds)] += 1
        self.sum += seconds

    def lines(self, name: str, model: str) -> Iterator[str]:
        """Its lines."""
        running = 0
        for bound, count in zip((*BOUNDS, "+Inf"), self.cells, strict=True):
            running += count
            yield f'{name}_bucket{{model="{model}",le="{bound}"}} {running}'
        yield f'{name}_sum{{model="{model}"}} {self.sum}'
        yield f'{name}_count{{model="{model}"}} {running}'


class _Model:
    __slots__ = ("broken", "cost", "extra", "hedged", "stale", "times", "tokens")

    def __init__(self) -> None:
        self.tokens = [0, 0, 0]
        self.cost = Decimal(0)
        self.extra = 0
        self.hedged = 0
        self.broken = 0
        self.stale = 0
        self.times = [Histogram() for _ in _TIMES]


class Tally:
    """Counts per model and upstream. A `Recorder` too: what only the models know, it hears from them.

    Parameters
    ----------
    models
        The declared ones: whatever else clients write counts as none of them.
    """

    def __init__(self, models: Iterable[str]) -> None:
        self._models = {name: _Model() for name in (*models, _NONE)}
        self._requests: dict[tuple[str, str, int], int] = {}

    def record(self, event: Event) -> None:
        """A call to a model ended."""
        if isinstance(event, ModelCalled) and event.hedged and event.model in self._models:
            self._models[event.model].hedged += 1

    def answered(self, model: str, upstream: str, status: int) -> None:
        """A request was answered, or the head of its answer sent."""
        cell = (model if model in self._models else _NONE, upstream or _NONE, status)
        self._requests[cell] = self._requests.get(cell, 0) + 1

    def took(self, model: str, queued: float, first_byte: float, total: float, attempts: int) -> None:
        """How long an answer took, and how many attempts beyond the first."""
        one = self._models[model]
        one.times[0].add(queued)
        one.times[1].add(first_byte)
        one.times[2].add(total)
        one.extra += attempts - 1

    def used(self, model: str, usage: Usage | None, cost: Decimal | None) -> None:
        """What an answer took."""
        one = self._models[model]
        if usage is not None:
            tokens = one.tokens
            tokens[0] += usage.prompt_tokens
            tokens[1] += usage.cached_tokens
            tokens[2] += usage.output_tokens
        if cost is not None:
            one.cost += cost

    def broke(self, model: str) -> None:
        """A stream broke off after it had begun."""
        self._models[model].broken += 1

    def changed(self, model: str) -> None:
        """The context of an answer had changed before it was there."""
        self._models[model].stale += 1

    def lines(self) -> Iterator[str]:
        """All of it."""
        yield from _head("requests_total", "counter", "Answers, by model, upstream and status.")
        for (model, upstream, status), count in sorted(self._requests.items()):
            labels = f'model="{_escape(model)}",upstream="{_escape(upstream)}",status="{status}"'
            yield f"headrace_model_requests_total{{{labels}}} {count}"
        used = {_escape(name): one for name, one in self._models.items() if name != _NONE}
        yield from _head("tokens_total", "counter", "Tokens, as the upstreams count them; cached ones are prompt too.")
        for name, one in used.items():
            for kind, count in zip(_KINDS, one.tokens, strict=True):
                yield f'headrace_model_tokens_total{{model="{name}",kind="{kind}"}} {count}'
        yield from _head("cost_total", "counter", "What answers cost, in the currency of the prices.")
        for name, one in used.items():
            yield f'headrace_model_cost_total{{model="{name}"}} {one.cost:f}'
        for metric, words, counts in (
            (
                "extra_attempts_total",
                "Retries, hedges and fallbacks of answers.",
                {n: o.extra for n, o in used.items()},
            ),
            (
                "streams_broken_total",
                "Streams that broke off after they began.",
                {n: o.broken for n, o in used.items()},
            ),
            ("context_changed_total", "Answers whose context had changed.", {n: o.stale for n, o in used.items()}),
        ):
            yield from _head(metric, "counter", words)
            for name, count in counts.items():
                yield f'headrace_model_{metric}{{model="{name}"}} {count}'
        for index, (metric, words) in enumerate(_TIMES.items()):
            yield from _head(metric, "histogram", words)
            for name, one in used.items():
                yield from one.times[index].lines(f"headrace_model_{metric}", name)


def _head(metric: str, kind: str, words: str) -> Iterator[str]:
    yield f"# HELP headrace_model_{metric} {words}"
    yield f"# TYPE headrace_model_{metric} {kind}"


def _escape(label: str) -> str:
    return label.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
