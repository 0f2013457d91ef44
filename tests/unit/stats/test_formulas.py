"""Sketches, intervals and fairness against what they promise."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.stats.ddsketch import ACCURACY, Sketch, bin_of, value_of
from headrace.stats.fairness import jain
from headrace.stats.interval import quantile, wilson

positive = st.floats(min_value=1e-6, max_value=1e9)


@given(st.lists(positive, min_size=1, max_size=200), st.floats(0, 1))
def test_a_quantile_of_a_sketch_is_within_its_accuracy(values: list[float], q: float) -> None:
    sketch = Sketch()
    for value in values:
        sketch.add(value)
    exact = sorted(values)[math.floor(q * (len(values) - 1))]
    assert sketch.quantile(q) == pytest.approx(exact, rel=ACCURACY * 1.01)


@given(st.lists(positive, max_size=50), st.lists(positive, max_size=50))
def test_merging_is_the_sketch_of_both(left: list[float], right: list[float]) -> None:
    parts, whole = (Sketch(), Sketch()), Sketch()
    for part, values in zip(parts, (left, right), strict=True):
        for value in values:
            part.add(value)
            whole.add(value)
    merged = parts[0].merged(parts[1])
    assert merged.count == whole.count
    if whole.count:
        assert [merged.quantile(q) for q in (0, 0.5, 1)] == [whole.quantile(q) for q in (0, 0.5, 1)]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_bin_keeps_sign_and_size(value: float) -> None:
    back = value_of(bin_of(value))
    assert back == pytest.approx(value, rel=ACCURACY * 1.01, abs=1e-299)


@given(st.integers(0, 500), st.integers(0, 500))
def test_wilson_holds_the_share_and_stays_in_range(count: int, more: int) -> None:
    found = wilson(count, count + more)
    assert 0 <= found.low <= found.high <= 1
    if count + more:
        assert found.low - 1e-12 <= found.value <= found.high + 1e-12


def test_intervals_of_quantiles_cover_as_often_as_they_say() -> None:
    random = Random(1)
    true = -math.log(0.1)  # the 90th percentile of an exponential distribution
    covered = 0
    for _ in range(400):
        found = quantile(sorted(random.expovariate(1.0) for _ in range(200)), 0.9)
        covered += found.low <= true <= found.high
    assert covered / 400 >= 0.92


@given(st.lists(st.floats(0.01, 1e6), min_size=1, max_size=20))
def test_fairness_lies_between_one_of_n_and_one(shares: list[float]) -> None:
    assert 1 / len(shares) - 1e-9 <= jain(shares) <= 1 + 1e-9
