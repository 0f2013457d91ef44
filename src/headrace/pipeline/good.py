"""The last good answers of an endpoint, for the fallback "cached": by version and question, with what they stand on.

Whether what such an answer was built on is still so is looked at when it is to be given, as the answer cache does, so
that it can say how old it is and what has changed since. Bounded: the oldest go first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from headrace.context.readset import Present, ReadSet
from headrace.core.events import ReadAge
from headrace.pipeline.answer import Facts
from headrace.pipeline.cache import packed

_BYTES = 16 * 1024 * 1024
_OVERHEAD = 200


@dataclass(frozen=True, slots=True)
class Good:
    """A good answer as it was made.

    Attributes
    ----------
    readset
        Every read that it was built on.
    ages
        How old these were when they were made.
    began
        When its request came (seconds, monotonic): no read is older than that.
    at
        When it was made (microseconds).
    """

    body: bytes
    readset: ReadSet = field(default_factory=ReadSet)
    ages: tuple[ReadAge, ...] = ()
    began: float = 0.0
    at: int = 0

    @property
    def size(self) -> int:
        """Bytes that it takes, about."""
        return len(self.body) + len(packed(self.readset)) + _OVERHEAD

    def tell(self, facts: Facts, present: Present) -> None:
        """Say of it what is so now: `present` is what became of its reads."""
        facts.made_at = self.at
        if not self.readset.reads:
            return
        changed = present.changed
        facts.stale = "changed" if changed else "unchanged"
        facts.unchanged_as_of = None if changed else present.as_of
        facts.changed = sorted({one.read.name for one in changed})
        facts.stale_detail = [one.reason for one in changed]

    def read_ages(self, present: Present, now: float) -> list[ReadAge]:
        """How old what it is built on is: where that has changed, the rows of then, and not those of now."""
        if not present.changed:
            return ages_of(present.readset, present.ages)
        later = (now - self.began) * 1000
        return [replace(one, age_ms=None if one.age_ms is None else one.age_ms + later) for one in self.ages]


def ages_of(readset: ReadSet, ages: Sequence[int | None]) -> list[ReadAge]:
    """Each read with its age (microseconds) as answers say it."""
    return [
        ReadAge(read.name, None if age is None else age / 1000, str(read.status or "unknown"))
        for read, age in zip(readset.reads, ages, strict=True)
    ]


class GoodAnswers:
    """Keeps the last good answer of each version to each question.

    >>> good = GoodAnswers(most=1000)
    >>> good.keep("v", "a", Good(b"1")), good.keep("v", "b", Good(b"x" * 700))
    (None, None)
    >>> good.find("v", "a"), good.find("w", "b"), good.find("v", "b") == Good(b"x" * 700)
    (None, None, True)
    """

    def __init__(self, most: int = _BYTES) -> None:
        self._most = most
        self._answers: OrderedDict[tuple[str, str], tuple[Good, int]] = OrderedDict()
        self._size = 0

    def find(self, version: str, question: str) -> Good | None:
        """The last good answer of this version to this question, whatever has become of what it was built on."""
        found = self._answers.get((version, question))
        return None if found is None else found[0]

    def keep(self, version: str, question: str, good: Good) -> None:
        """This was a good answer."""
        before = self._answers.pop((version, question), None)
        size = good.size
        self._size += size - (0 if before is None else before[1])
        self._answers[version, question] = good, size
        while self._size > self._most and self._answers:
            self._size -= self._answers.popitem(last=False)[1][1]
