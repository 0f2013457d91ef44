"""The answer cache of one endpoint (see `cache`), as its runner uses it."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from headrace.context.readset import ReadSet
from headrace.pipeline.answer import Answer
from headrace.pipeline.cache import AnswerCache, Made
from headrace.pipeline.good import ages_of
from headrace.pipeline.handling import Work
from headrace.pipeline.ports import Reads

WORDS = {
    "hits_total": "Requests that were given a kept answer.",
    "misses_total": "Requests that nobody had asked before.",
    "stale_total": "Requests whose kept answers did not hold any more.",
    "kept_total": "Answers that were kept.",
    "unkept_total": "Answers that were not kept: for one request alone, too large, or on refused context.",
    "evicted_total": "Kept answers that made room for others.",
    "saved_tokens_total": "Tokens that hits did not take.",
    "saved_cost_total": "What hits did not cost, in the currency of the prices.",
    "saved_seconds_total": "How long the answers of hits had taken.",
    "bytes": "Size of what is kept.",
    "answers": "Answers that are kept.",
}
"""What `KeptAnswers.lines` counts, for people."""


class KeptAnswers:
    """Finds and keeps the answers of one endpoint."""

    def __init__(self, size: int, reads: Reads) -> None:
        self._reads = reads
        self._cache = AnswerCache(size)

    def find(self, work: Work, question: str | None) -> Answer | None:
        """An answer that holds now, as the answer of this request; `question` is None where it is like no other."""
        found = None if question is None else self._cache.find(work.label, question, self._reads.current)
        facts = work.facts
        if found is None:
            facts.cache = "miss"
            return None
        facts.cache = "hit"
        if found.readset.reads:
            facts.stale, facts.unchanged_as_of = "unchanged", found.as_of
        facts.reads = ages_of(found.readset, found.ages)
        return Answer(facts, found.body)

    def keep(self, work: Work, question: str | None, body: bytes, seconds: float) -> None:
        """Take a fresh answer in; `seconds`: what it took to make it. `question` as in `find`."""
        run = work.runs[-1]
        calls = [call for one in work.runs for call in one.calls]
        made = Made(
            body,
            ReadSet(tuple(run.reads)),
            tokens=sum((call.prompt_tokens or 0) + (call.output_tokens or 0) for call in calls),
            cost=sum((call.cost for call in calls if call.cost is not None), Decimal(0)),
            seconds=seconds,
        )
        self._cache.keep(work.label, question, made)

    def lines(self) -> Iterator[tuple[str, str, float]]:
        """Name, kind and number of what is counted."""
        counters, cache = self._cache.counters, self._cache
        for name in ("hits", "misses", "stale", "kept", "unkept", "evicted", "saved_tokens"):
            yield f"{name}_total", "counter", getattr(counters, name)
        yield "saved_cost_total", "counter", float(counters.saved_cost)
        yield "saved_seconds_total", "counter", counters.saved_seconds
        yield "bytes", "gauge", cache.bytes
        yield "answers", "gauge", len(cache)
