"""The bookkeeping of kept answers: bounds, variants, counters, and what is never kept."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from headrace.context.policy import FreshnessPolicy
from headrace.context.readset import Changed, Present, Read, ReadSet
from headrace.core.errors import DeclarationError, Unavailable
from headrace.core.frontier import Status
from headrace.pipeline.cache import OVERHEAD, AnswerCache, Made, question_hash


def reads(value: object, status: Status | None = Status.FRESH, policy: str | None = None) -> ReadSet:
    parsed = FreshnessPolicy.parse(policy) if policy else None
    return ReadSet((Read("menu", {"id": 1, "_now": 5}, ("items",), 7, ((value, 1, 1),), 1, status, parsed),))  # type: ignore[arg-type]


class World:
    """What a read would show now."""

    def __init__(self, value: object) -> None:
        self.value = value
        self.asked = 0

    def still(self, readset: ReadSet) -> Present:
        self.asked += 1
        changed = [Changed(read, "other") for read in readset.reads if read.shown != ((self.value,),)]
        return Present(changed, 42, readset)


def test_an_answer_is_given_again_while_the_reads_show_the_same() -> None:
    cache, world = AnswerCache(10_000), World("a")
    assert cache.find("v", "q", world.still) is None
    cache.keep("v", "q", Made(b"A", reads("a"), tokens=10, cost=Decimal("0.5"), seconds=2.0))
    found = cache.find("v", "q", world.still)
    assert found is not None
    assert (found.body, found.as_of) == (b"A", 42)
    world.value = "b"
    assert cache.find("v", "q", world.still) is None
    cache.keep("v", "q", Made(b"B", reads("b")))
    world.value = "a"
    again = cache.find("v", "q", world.still)
    assert again is not None
    assert again.body == b"A"
    counters = cache.counters
    assert (counters.hits, counters.misses, counters.stale, counters.kept) == (2, 1, 1, 2)
    assert (counters.saved_tokens, counters.saved_cost, counters.saved_seconds) == (20, Decimal("1.0"), 4.0)


@pytest.mark.parametrize(("version", "question"), [("w", "q"), ("v", "r")])
def test_another_version_or_question_finds_nothing(version: str, question: str) -> None:
    cache, world = AnswerCache(10_000), World("a")
    cache.keep("v", "q", Made(b"A", reads("a")))
    assert cache.find(version, question, world.still) is None
    assert world.asked == 0


@pytest.mark.parametrize(
    "made",
    [
        Made(b"A", reads("a", Status.STALE, "refuse")),
        Made(b"A", reads("a", None)),
        Made(b"A" * 10_000, reads("a")),
    ],
)
def test_what_must_not_be_given_again_is_not_kept(made: Made) -> None:
    cache = AnswerCache(10_000)
    assert not cache.keep("v", "q", made)
    assert not cache.keep("v", None, Made(b"A", reads("a"))), "nobody can ask the same"
    assert (len(cache), cache.bytes, cache.counters.unkept) == (0, 0, 2)


def test_a_stale_answer_that_nobody_refuses_is_kept() -> None:
    assert AnswerCache(10_000).keep("v", "q", Made(b"A", reads("a", Status.STALE, "flag")))


def test_a_store_that_cannot_be_read_is_no_hit() -> None:
    def still(readset: ReadSet) -> Present:
        raise Unavailable("starting")

    cache = AnswerCache(10_000)
    cache.keep("v", "q", Made(b"A", reads("a")))
    assert cache.find("v", "q", still) is None
    assert cache.counters.stale == 1


def test_the_oldest_variant_goes_first() -> None:
    cache, world = AnswerCache(100_000, variants=2), World("a")
    for value in ("a", "b"):
        cache.keep("v", "q", Made(value.encode(), reads(value)))
    assert cache.find("v", "q", world.still) is not None  # "a" is now the one used last
    cache.keep("v", "q", Made(b"c", reads("c")))
    world.value = "b"
    assert cache.find("v", "q", world.still) is None
    world.value = "a"
    assert cache.find("v", "q", world.still) is not None


def test_the_same_reads_replace_their_answer() -> None:
    cache = AnswerCache(100_000)
    cache.keep("v", "q", Made(b"A", reads("a")))
    cache.keep("v", "q", Made(b"AA", reads("a")))
    found = cache.find("v", "q", World("a").still)
    assert found is not None
    assert (found.body, len(cache)) == (b"AA", 1)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(0, 3_000), st.booleans()), max_size=60))
def test_it_never_holds_more_than_its_bound(steps: list[tuple[int, int, int, bool]]) -> None:
    cache = AnswerCache(8_000, variants=2)
    for question, value, size, ask in steps:
        if ask:
            cache.find("v", str(question), World(value).still)
        else:
            cache.keep("v", str(question), Made(b"x" * size, reads(value)))
        assert cache.bytes <= 8_000
        assert cache.bytes >= len(cache) * OVERHEAD
        assert sum(map(len, cache._places.values())) == len(cache._entries)
        assert cache.bytes == sum(entry.size for entry in cache._entries.values())
    assert cache.counters.kept - cache.counters.evicted >= len(cache)


class Ask(BaseModel):
    text: str
    limit: int = 5


def test_a_question_is_the_same_in_whatever_order_it_is_written() -> None:
    assert question_hash(Ask(text="x", limit=3)) == question_hash(Ask(limit=3, text="x"))
    assert question_hash({"text": "x", "limit": 5}) == question_hash({"limit": 5, "text": "x"})
    assert question_hash(Ask(text="x"), "ann") != question_hash(Ask(text="x"), "ben")
    assert question_hash(Ask(text="x"), "a", "b") != question_hash(Ask(text="x"), "ab")
    assert question_hash("\ud800") != question_hash("x")


@pytest.mark.parametrize(("size", "variants"), [(-1, 1), (10, 0)])
def test_a_size_that_cannot_be_is_refused(size: int, variants: int) -> None:
    with pytest.raises(DeclarationError):
        AnswerCache(size, variants=variants)
