"""Answers that may be given again: kept by what they were asked and by what they were built on, not by a time to live.

An answer is found by the version of its endpoint and its question, and given again only if the same reads, made now,
show the same rows with the same status. Several variants of one question are kept, so that a value which goes and
comes back finds its answer. `docs/design/answer-cache.md` says why that leaves no stale hit, and what is outside.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import msgspec

from headrace.context.readset import Present, Read, ReadSet
from headrace.core.errors import DeclarationError, HeadraceError
from headrace.core.frontier import Status
from headrace.pipeline.canonical import canonical

OVERHEAD = 1024
"""Bytes that an entry takes beside its body and its rows, about."""

VARIANTS = 4
"""How many answers to one question are kept: each is one more read set to compare when none of them holds."""


def question_hash(question: Any, *seen: Any) -> str:
    """The hash of a question, the same in whatever order its names stand.

    It is made of all that the input holds, secrets too, and stays in this process: it is neither logged nor told.

    Parameters
    ----------
    question
        The validated input; see `canonical`.
    *seen
        Whatever else of the request the handler can see: the tenant, the user, the language.

    >>> question_hash({"a": 1, "b": 2}) == question_hash({"b": 2, "a": 1})
    True

    Raises
    ------
    TypeError
        It holds what cannot be compared; see `canonical`.
    """
    text = json.dumps([canonical(question), *seen], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Made:
    """An answer as it was made.

    Attributes
    ----------
    body
        The answer's bytes.
    readset
        Every read that it was built on, of the attempt that made it alone.
    tokens, cost, seconds
        What it took to make it: what each hit saves.
    """

    body: bytes
    readset: ReadSet
    tokens: int = 0
    cost: Decimal | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Cached:
    """A kept answer that holds now.

    Attributes
    ----------
    as_of
        "Nothing that it was built on changed up to this instant" (microseconds); None where that is unknown.
    readset
        The same reads made now, with their status.
    ages
        How old each of them is now (microseconds); None where nobody knows.
    """

    body: bytes
    as_of: int | None
    readset: ReadSet
    ages: tuple[int | None, ...] = ()


@dataclass(slots=True)
class CacheCounters:
    """What came of all lookups so far: each is a hit, a miss, or stale.

    Attributes
    ----------
    misses
        Nobody had asked that.
    stale
        Answers were there, and what they were built on was not the same any more.
    kept, unkept, evicted
        Answers that were taken in; that were not (see `AnswerCache.keep`); that made room.
    saved_tokens, saved_cost, saved_seconds
        What the hits would have taken.
    """

    hits: int = 0
    misses: int = 0
    stale: int = 0
    kept: int = 0
    unkept: int = 0
    evicted: int = 0
    saved_tokens: int = 0
    saved_cost: Decimal = field(default_factory=Decimal)
    saved_seconds: float = 0.0


@dataclass(slots=True)
class _Entry:
    made: Made
    readset: ReadSet
    size: int


_Place = tuple[str, str]
_Key = tuple[str, str, bytes]


class AnswerCache:
    """Answers of one process, bounded by their bytes; those that were used least recently make room.

    Parameters
    ----------
    max_bytes
        Of bodies and of the rows that they are compared by.
    variants
        How many answers to one question are kept.

    Examples
    --------
    >>> cache = AnswerCache(1_000_000)
    >>> cache.keep("v1-abc", question_hash("hello"), Made(b"Hello!", ReadSet(), tokens=12))
    True
    >>> found = cache.find("v1-abc", question_hash("hello"), lambda reads: Present([], None, reads))
    >>> found.body, cache.counters.saved_tokens
    (b'Hello!', 12)
    """

    def __init__(self, max_bytes: int, *, variants: int = VARIANTS) -> None:
        if max_bytes < 0 or variants < 1:
            raise DeclarationError(
                f"an answer cache cannot have {max_bytes} bytes and {variants} variants",
                hint="give it a size of 0 or more, for example 64 MiB, and at least one variant",
            )
        self.max_bytes = max_bytes
        self.variants = variants
        self.bytes = 0
        self.counters = CacheCounters()
        self._entries: OrderedDict[_Key, _Entry] = OrderedDict()  # the one used last stands last
        self._places: dict[_Place, list[bytes]] = {}  # the variants of a question, the one used last first

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, version: str, question: str, still: Callable[[ReadSet], Present]) -> Cached | None:
        """A kept answer that holds now, or None.

        Parameters
        ----------
        version
            The hash of the endpoint's version.
        question
            See `question_hash`.
        still
            Compares a read set with the present, as `ContextReader.current` does. When it raises an error of
            Headrace's, the answer does not hold: whoever makes it anew meets the error where it belongs.
        """
        place = (version, question)
        kept = self._places.get(place)
        if not kept:
            self.counters.misses += 1
            return None
        for variant in tuple(kept):
            entry = self._entries[*place, variant]
            try:
                present = still(entry.readset)
            except HeadraceError:
                continue
            if present.same:
                entry.readset = present.readset  # compared from here on: the next look may need no read at all
                self._use(place, variant)
                return self._hit(entry, present)
        self.counters.stale += 1
        return None

    def keep(self, version: str, question: str | None, made: Made) -> bool:
        """Take an answer in; whether it was.

        It is not when nobody can ask the same (`question` is None), when it is too large, and when what it was built on
        cannot be found the same later: of an unknown status, or refused by its own policy.
        """
        reads = packed(made.readset)
        variant, size = hashlib.sha256(reads).digest(), len(reads) + len(made.body) + OVERHEAD
        if question is None or size > self.max_bytes or not all(map(_comparable, made.readset.reads)):
            self.counters.unkept += 1
            return False
        place = (version, question)
        self._drop(place, variant)
        self._entries[*place, variant] = _Entry(made, made.readset, size)
        self._places.setdefault(place, []).insert(0, variant)
        self.bytes += size
        self.counters.kept += 1
        while len(self._places[place]) > self.variants:
            self._evict((*place, self._places[place][-1]))
        while self.bytes > self.max_bytes:
            self._evict(next(iter(self._entries)))
        return True

    def _hit(self, entry: _Entry, present: Present) -> Cached:
        made, counters = entry.made, self.counters
        counters.hits += 1
        counters.saved_tokens += made.tokens
        counters.saved_cost += made.cost or 0
        counters.saved_seconds += made.seconds
        return Cached(made.body, present.as_of, present.readset, present.ages)

    def _use(self, place: _Place, variant: bytes) -> None:
        self._entries.move_to_end((*place, variant))
        kept = self._places[place]
        kept.remove(variant)
        kept.insert(0, variant)

    def _evict(self, key: _Key) -> None:
        self.counters.evicted += 1
        self._drop((key[0], key[1]), key[2])

    def _drop(self, place: _Place, variant: bytes) -> None:
        entry = self._entries.pop((*place, variant), None)
        if entry is None:
            return
        self.bytes -= entry.size
        kept = self._places[place]
        kept.remove(variant)
        if not kept:
            del self._places[place]


def _comparable(read: Read) -> bool:
    """Whether a read can be found the same later: its status was kept, and its own policy did not refuse it."""
    if read.status is None:
        return False
    return read.policy is None or read.status is Status.FRESH or not read.policy.refuses(read.status)


def packed(readset: ReadSet) -> bytes:
    """What an answer was built on, as bytes."""
    return msgspec.msgpack.encode(
        [[read.name, _given(read.bindings), read.shown, read.status and read.status.value] for read in readset.reads]
    )


def _given(bindings: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """What the caller bound: when it was is no part of what was read."""
    return sorted((name, value) for name, value in bindings.items() if name != "_now")
