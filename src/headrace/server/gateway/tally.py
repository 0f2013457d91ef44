"""What is counted of models, in the Prometheus text format. Labels come from the declaration and from the file of keys,
never from a client.

Calls are counted where they end, by the event that each one records: those of the gateway and those of endpoints alike.
What only the gateway knows (the status of a request, context that changed) it counts itself.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from decimal import Decimal

from headrace.core.events import Event, ModelCalled
from headrace.server.metrics import escape

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
"""Upper bounds of the histograms, seconds."""
_NONE = "none"
"""The model of requests that named none of ours, and the upstream of those that none answered."""
_KINDS = ("prompt", "cached", "output")
_TIMES = {
    "queue_seconds": "From an answered call to the start of its first attempt.",
    "first_byte_seconds": "From a call to the first byte of its answer.",
    "answer_seconds": "From a call to the end of its answer, or to where that broke off.",
}
_COUNTS = {
    "extra_attempts_total": "Attempts beyond the first of each call: retries, hedges and fallbacks.",
    "hedged_calls_total": "Calls of which an attempt was a hedge.",
    "streams_broken_total": "Streams that broke off after they began.",
    "context_changed_total": "Answers of the gateway whose context had changed.",
}
_WHOLE = "done"
_LEFT = "cancelled"
"""The outcome of a call whose client has gone: its stream did not break, it was let go."""


Answers = defaultdict[tuple[str, int], int]
"""How many answers of one model to one key there were, by upstream (empty: it is from none) and status."""


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
    __slots__ = ("answers", "cost", "counts", "times", "tokens")

    def __init__(self) -> None:
        self.answers: dict[str, Answers] = {}
        """By name of the key; empty: those to requests without one."""
        self.tokens = [0, 0, 0]
        self.cost = Decimal(0)
        self.counts = dict.fromkeys(_COUNTS, 0)
        self.times = [Histogram() for _ in _TIMES]


class Tally:
    """Counts per model and upstream. A `Recorder`: of calls it hears from the models that carry them.

    Parameters
    ----------
    models
        The declared ones: whatever else clients write counts as none of them.
    """

    def __init__(self, models: Iterable[str]) -> None:
        self._models = {name: _Model() for name in (*models, _NONE)}
        self._calls: Counter[tuple[str, str, str]] = Counter()

    def record(self, event: Event) -> None:
        """A call to a model ended, whoever made it."""
        if not isinstance(event, ModelCalled):
            return
        one = self._models.get(event.model)
        if one is None:
            return
        self._calls[event.model, event.upstream or _NONE, event.outcome] += 1
        counts = one.counts
        if event.attempts > 1:
            counts["extra_attempts_total"] += event.attempts - 1
        if event.hedged:
            counts["hedged_calls_total"] += 1
        tokens = one.tokens
        tokens[0] += event.prompt_tokens or 0
        tokens[1] += event.cached_tokens or 0
        tokens[2] += event.output_tokens or 0
        if event.cost is not None:
            one.cost += event.cost
        if event.first_byte is None or event.outcome == _LEFT:
            return
        one.times[0].add(event.queued)
        one.times[1].add(event.first_byte)
        one.times[2].add(event.seconds)
        if event.outcome != _WHOLE:
            counts["streams_broken_total"] += 1

    def answers(self, model: str, key: str = "") -> Answers:
        """Where requests to the gateway are counted as they are answered, or as the heads of their answers are sent."""
        return (self._models.get(model) or self._models[_NONE]).answers.setdefault(key, defaultdict(int))

    def changed(self, model: str) -> None:
        """The context of an answer had changed before it was there."""
        self._models[model].counts["context_changed_total"] += 1

    def lines(self) -> Iterator[str]:
        """All of it."""
        yield from _head("requests_total", "counter", "Answers of the gateway, by model, upstream and status.")
        requests: Counter[tuple[str, str, int]] = Counter()
        keys: Counter[tuple[str, str, int]] = Counter()
        for model, one in self._models.items():
            for key, answers in one.answers.items():
                for (upstream, status), count in answers.items():
                    requests[model, upstream or _NONE, status] += count
                    if key:
                        keys[key, model, status] += count
        for (model, upstream, status), count in sorted(requests.items()):
            labels = f'model="{escape(model)}",upstream="{escape(upstream)}",status="{status}"'
            yield f"headrace_model_requests_total{{{labels}}} {count}"
        if keys:
            yield "# HELP headrace_key_requests_total Answers of the gateway to requests with a key, by key."
            yield "# TYPE headrace_key_requests_total counter"
        for (key, model, status), count in sorted(keys.items()):
            labels = f'key="{escape(key)}",model="{escape(model)}",status="{status}"'
            yield f"headrace_key_requests_total{{{labels}}} {count}"
        yield from _head("calls_total", "counter", "Calls that ended, whoever made them, by outcome.")
        for (model, upstream, outcome), count in sorted(self._calls.items()):
            labels = f'model="{escape(model)}",upstream="{escape(upstream)}",outcome="{outcome}"'
            yield f"headrace_model_calls_total{{{labels}}} {count}"
        used = {escape(name): one for name, one in self._models.items() if name != _NONE}
        yield from _head("tokens_total", "counter", "Tokens, as the upstreams count them; cached ones are prompt too.")
        for name, one in used.items():
            for kind, count in zip(_KINDS, one.tokens, strict=True):
                yield f'headrace_model_tokens_total{{model="{name}",kind="{kind}"}} {count}'
        yield from _head("cost_total", "counter", "What calls cost, in the currency of the prices.")
        for name, one in used.items():
            yield f'headrace_model_cost_total{{model="{name}"}} {one.cost:f}'
        for metric, words in _COUNTS.items():
            yield from _head(metric, "counter", words)
            for name, one in used.items():
                yield f'headrace_model_{metric}{{model="{name}"}} {one.counts[metric]}'
        for index, (metric, words) in enumerate(_TIMES.items()):
            yield from _head(metric, "histogram", words)
            for name, one in used.items():
                yield from one.times[index].lines(f"headrace_model_{metric}", name)


def _head(metric: str, kind: str, words: str) -> Iterator[str]:
    yield f"# HELP headrace_model_{metric} {words}"
    yield f"# TYPE headrace_model_{metric} {kind}"
