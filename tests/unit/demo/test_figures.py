import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.demo.figures import Quantiles, Rate, times


@given(st.integers(0, 500), st.integers(1, 500))
def test_the_interval_holds_the_share_and_stays_inside(count: int, more: int):
    rate = Rate(min(count, more), more)
    low, high = rate.interval()
    assert rate.share is not None
    assert 0 <= low <= rate.share <= high <= 1


def test_the_interval_narrows_with_more_cases():
    few, many = Rate(10, 100).interval(), Rate(1000, 10_000).interval()
    assert many[1] - many[0] < (few[1] - few[0]) / 5


def test_before_the_first_case_nothing_is_known():
    assert Rate().share is None
    assert Rate().interval() == (0.0, 1.0)
    assert Quantiles().at(0.5) is None


@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.sampled_from([0.01, 0.5, 0.95, 0.99, 1.0]))
def test_a_quantile_is_the_smallest_value_that_enough_do_not_exceed(values: list[float], share: float):
    measured = Quantiles()
    for value in values:
        measured.add(value)
    found = measured.at(share)
    assert found is not None
    assert sum(value <= found for value in values) >= share * len(values)
    assert sum(value < found for value in values) < share * len(values)


def test_where_live_has_no_case_the_ratio_is_a_lower_bound():
    ratio = times(Rate(30, 100), Rate(0, 100))
    assert ratio is not None
    value, bound = ratio
    assert bound
    assert value == pytest.approx(0.3 / Rate(0, 100).interval()[1])
    assert times(Rate(0, 100), Rate(1, 100)) is None
