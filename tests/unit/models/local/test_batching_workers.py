"""What the batcher does for several workers, for models that are all base, and while it lingers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.models.batching import Batch, Batcher, BatchTime, Item


def load(batcher: Batcher, count: int, *, since: float = 0.0, deadline: float = 1e9) -> None:
    for number in range(count):
        assert batcher.offer(Item((since, number), deadline, since))


def settle(batcher: Batcher, time: float, base: float, slope: float) -> list[int]:
    """The sizes of batches under a load that never ends, of a model that takes base + slope * n."""
    sizes: list[int] = []
    for number in range(30):
        load(batcher, batcher.queue - len(batcher), since=time + number)
        batch = batcher.take(time)
        assert batch is not None
        sizes.append(len(batch.items))
        time += base + slope * len(batch.items)
        batcher.on_done(time)
    return sizes


def test_a_model_that_is_all_base_leaves_batches_of_one() -> None:
    batcher = Batcher(most=64, within=0.05, queue=200)
    load(batcher, 1)
    batcher.take(0.0)
    batcher.on_done(0.03)  # alone, 30 ms: by itself that leaves room for one in 50 ms
    assert settle(batcher, 1.0, base=0.03, slope=0.0)[-1] == 64


def test_a_model_that_is_all_slope_is_back_within_its_budget() -> None:
    batcher = Batcher(most=64, within=0.05, queue=200)
    load(batcher, 1)
    batcher.take(0.0)
    batcher.on_done(0.03)
    sizes = settle(batcher, 1.0, base=0.0, slope=0.03)
    assert sizes[0] == 2, "it tries, once"
    assert set(sizes[1:]) == {1}


@given(st.floats(0.0001, 0.2), st.floats(0.0001, 0.01))
def test_the_cap_keeps_the_budget_for_any_line(base: float, slope: float) -> None:
    batcher = Batcher(most=64, within=0.1, queue=200)
    last = settle(batcher, 0.0, base, slope)[-1]
    assert last == 1 or base + slope * last <= 0.1 * 1.001
    assert last == 64 or base + slope * (last + 1) > 0.1 * 0.999


def test_workers_that_are_free_at_once_share_what_is_there() -> None:
    batcher = Batcher(most=64)
    load(batcher, 10)
    sizes = [
        len(batch.items) for worker, free in ((0, 3), (1, 2), (2, 1)) if (batch := batcher.take(0.0, worker, free=free))
    ]
    assert sizes == [4, 3, 3]
    load(batcher, 1, since=1.0)
    assert batcher.take(1.0, 0) is None
    batcher.on_done(1.0, 1)
    assert batcher.take(1.0, 1) is not None


def test_a_lingering_batcher_waits_for_more_but_not_when_it_is_full() -> None:
    batcher = Batcher(most=3, within=1.0, linger=0.01)
    load(batcher, 1)
    assert batcher.take(0.0) is None
    assert batcher.rest(0.004) == pytest.approx(0.006)
    load(batcher, 2, since=0.004)
    assert batcher.rest(0.004) == 0
    batch = batcher.take(0.004)
    assert batch is not None
    assert len(batch.items) == 3


def test_a_lingering_batcher_does_not_let_its_first_expire() -> None:
    batcher = Batcher(most=3, within=1.0, linger=10.0)
    load(batcher, 1, deadline=1.0)
    rest = batcher.rest(0.0)
    batch = batcher.take(rest)
    assert batch is not None
    assert len(batch.items) == 1
    assert not batch.expired


def test_a_batch_that_failed_says_nothing_about_time() -> None:
    batcher = Batcher(most=64, within=0.1)
    load(batcher, 2)
    batcher.take(0.0)
    batcher.on_done(30.0, typical=False)
    assert batcher.cap == 64


def test_a_slow_first_batch_does_not_keep_all_others_out_for_ever() -> None:
    """The first call makes the model ready; the time that callers have is less than that took."""
    batcher, now, answered = Batcher(within=0.1), 0.0, 0
    batcher.offer(Item("first", deadline=1.0))
    assert batcher.take(now) is not None
    batcher.on_done(now := 20.0)
    for number in range(100):
        batcher.offer(Item(number, deadline=now + 1.0))
        batch = batcher.take(now)
        assert batch is not None
        if batch.items:
            answered += 1
            batcher.on_done(now := now + 0.01)
        else:
            assert [item.name for item in batch.expired] == [number]
        now += 0.5
    assert answered > 60, "soon the others show that it is fast"


def test_what_is_too_late_is_tried_no_more_than_once_a_second() -> None:
    batcher = Batcher(within=0.1)
    batcher.offer(Item("first", deadline=9.0))
    batcher.take(0.0)
    batcher.on_done(2.0)
    batcher.offer(Item("late", deadline=3.0))
    batcher.offer(Item("later", deadline=3.5))
    assert batcher.take(2.5) == Batch((), (Item("late", 3.0), Item("later", 3.5)))
    batcher.offer(Item("late", deadline=4.0))
    batcher.offer(Item("later", deadline=4.5))
    batcher.offer(Item("gone", deadline=2.9))
    assert batcher.take(3.0) == Batch((Item("later", 4.5),), (Item("late", 4.0), Item("gone", 2.9)))


def test_who_leaves_or_is_drained_is_not_taken() -> None:
    batcher = Batcher()
    load(batcher, 3)
    assert batcher.withdraw((0.0, 1))
    assert not batcher.withdraw((0.0, 1))
    assert [item.name for item in batcher.drain()] == [(0.0, 0), (0.0, 2)]
    assert batcher.take(0.0) is None


def test_one_size_allows_twice_that_size() -> None:
    fit = BatchTime()
    fit.add(4, 0.1)
    assert fit.most(0.1) == 8
