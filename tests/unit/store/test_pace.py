"""When the writer waits, by a clock that is an argument."""

from __future__ import annotations

import pytest

from headrace.store.pace import Growth, Pace


@pytest.fixture
def pace() -> Pace:
    return Pace(small=500, linger=0.002, group=50_000, patience=0.02)


def loaded(pace: Pace, *, gap: float = 0.0) -> None:
    """A large group was committed, and something came meanwhile; the writer looks at 1.0."""
    pace.arrive(1.0 - gap)
    pace.took(1_000)
    pace.arrive(1.0)
    pace.look(1.0, refilled=True)


def test_a_few_rows_linger_a_moment_from_when_the_writer_looks(pace: Pace) -> None:
    pace.arrive(1.0)
    pace.look(1.0, refilled=False)
    assert pace.pause(1.0, 1) == pytest.approx(0.002)
    assert pace.pause(1.0015, 4) == pytest.approx(0.0005)
    assert pace.pause(1.002, 5) == 0.0


def test_a_batch_by_itself_is_committed_at_once(pace: Pace) -> None:
    pace.took(5_000)
    pace.arrive(1.0)
    pace.look(1.0, refilled=False)
    assert pace.pause(1.0, 500) == 0.0


def test_single_rows_never_wait_longer_however_many_come(pace: Pace) -> None:
    pace.took(20)
    pace.arrive(1.0)
    pace.look(1.0, refilled=True)
    assert pace.enough == 500
    assert pace.pause(1.0, 10) == pytest.approx(0.002)


def test_under_load_a_group_grows_while_more_comes(pace: Pace) -> None:
    loaded(pace)
    assert pace.enough == 50_000
    assert pace.pause(1.0, 1_000) == pytest.approx(0.002)
    pace.arrive(1.001)
    assert pace.pause(1.001, 2_000) == pytest.approx(0.002)
    assert pace.pause(1.001, 50_000) == 0.0


def test_large_batches_come_in_longer_steps(pace: Pace) -> None:
    loaded(pace, gap=0.004)
    assert pace.pause(1.0, 5_000) == pytest.approx(0.008)


def test_patience_ends(pace: Pace) -> None:
    loaded(pace, gap=1.0)
    assert pace.pause(1.0, 1_000) == pytest.approx(0.02)
    assert pace.pause(1.015, 9_000) == pytest.approx(0.005)
    assert pace.pause(1.021, 20_000) == 0.0


def test_load_is_over_when_nothing_came_during_a_commit(pace: Pace) -> None:
    loaded(pace)
    pace.took(20_000)
    pace.arrive(2.0)
    pace.look(2.0, refilled=False)
    assert pace.pause(2.0, 1_000) == 0.0


@pytest.fixture
def growth() -> Growth:
    return Growth(group=50_000, most=100_000, hold=0.75, calm=10.0)


def test_groups_of_one_bulk_load_grow_as_far_as_a_commit_may_take(growth: Growth) -> None:
    growth.committed(50_000, 0.5, now=1.0, company=False)
    assert growth.rows == 75_000
    growth.committed(75_000, 0.3, now=2.0, company=False)
    assert growth.rows == 100_000  # not the 187,500 that would fit in time: they stand in memory


def test_a_slow_disk_keeps_groups_as_they_were(growth: Growth) -> None:
    growth.committed(50_000, 2.0, now=1.0, company=False)
    assert growth.rows == 50_000


def test_small_groups_say_nothing_about_large_ones(growth: Growth) -> None:
    growth.committed(100, 0.0001, now=1.0, company=False)
    assert growth.rows == 50_000


def test_whoever_writes_beside_a_bulk_load_has_small_groups_until_it_is_calm_again(growth: Growth) -> None:
    growth.committed(50_000, 0.3, now=1.0, company=False)
    growth.committed(100_000, 0.6, now=2.0, company=True)
    assert growth.rows == 50_000
    growth.committed(50_000, 0.3, now=11.9, company=False)
    assert growth.rows == 50_000
    growth.committed(50_000, 0.3, now=12.1, company=False)
    assert growth.rows == 100_000
