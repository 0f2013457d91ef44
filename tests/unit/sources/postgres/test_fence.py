"""Fences pass in order, and only when everything before them has been received."""

from __future__ import annotations

from headrace.core.clock import ClockOffset
from headrace.sources.postgres.fence import Fence, Fences

NONE = ClockOffset(0, 1)


def test_the_last_fence_that_was_reached_counts():
    fences = Fences()
    for at in (1, 2, 3):
        fences.add(Fence(at, at * 100, NONE))
    assert fences.pass_(99) is None
    assert fences.pass_(250) == Fence(2, 200, NONE)
    assert fences.pass_(250) is None
    assert len(fences) == 1


def test_a_stream_that_is_far_behind_keeps_few_of_them():
    fences = Fences()
    for at in range(10_000):
        fences.add(Fence(at, at, NONE))
    assert len(fences) <= 256
    assert fences.pass_(10_000).at >= 9_000
