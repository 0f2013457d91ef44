import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.frontier import Frontier, SourceState, Status, judge, merge, worst

SECOND = 1_000_000
NOW = 100 * SECOND


def frontier(at: float | None, heard: float | None, state: SourceState = SourceState.RUNNING) -> Frontier:
    def stamp(ago: float | None) -> int | None:
        return None if ago is None else NOW - round(ago * SECOND)

    return Frontier(stamp(at), stamp(heard), state)


@pytest.mark.parametrize(
    ("known", "status"),
    [
        (frontier(1, 1), Status.FRESH),
        (frontier(5, 5), Status.UNKNOWN),  # silent: nobody knows whether there was something to say
        (frontier(5, 1), Status.STALE),  # it speaks, and is behind
        (frontier(5, 5, SourceState.STALLED), Status.STALE),
        (frontier(5, 5, SourceState.FAILED), Status.STALE),
        (frontier(None, None, SourceState.NEVER), Status.UNKNOWN),
        (frontier(None, 1, SourceState.SNAPSHOT), Status.STALE),
        (frontier(None, None, SourceState.FAILED), Status.STALE),
        (frontier(90, 90, SourceState.ENDED), Status.FRESH),
    ],
)
def test_silent_and_stalled_are_told_apart(known: Frontier, status: Status) -> None:
    assert judge(known, NOW, promise=2 * SECOND) is status


def test_an_expected_interval_allows_more_silence() -> None:
    quiet = frontier(20, 20)
    assert judge(quiet, NOW, promise=2 * SECOND, expect=60 * SECOND) is Status.STALE
    assert judge(quiet, NOW, promise=None, expect=60 * SECOND) is Status.FRESH
    assert judge(quiet, NOW, promise=None, expect=10 * SECOND) is Status.UNKNOWN


def test_without_a_promise_age_alone_is_not_stale() -> None:
    assert judge(frontier(10_000, 10_000), NOW, promise=None) is Status.FRESH
    assert judge(frontier(1, 1, SourceState.FAILED), NOW, promise=None) is Status.STALE


def test_an_ended_source_is_complete_for_good() -> None:
    assert frontier(90, 90, SourceState.ENDED).as_of(NOW) == NOW


@given(st.lists(st.sampled_from(list(Status)), min_size=1))
def test_the_worst_status_wins(statuses: list[Status]) -> None:
    found = worst(statuses)
    expected = next(s for s in (Status.UNKNOWN, Status.STALE, Status.FRESH) if s in statuses)
    assert found is expected


frontiers = st.builds(
    Frontier,
    at=st.none() | st.integers(0, 100),
    heard=st.none() | st.integers(0, 100),
    state=st.sampled_from(list(SourceState)),
)


@given(st.lists(frontiers, min_size=1))
def test_a_table_is_complete_only_as_far_as_all_its_partitions(partitions: list[Frontier]) -> None:
    whole = merge(partitions)
    going = [f for f in partitions if f.state is not SourceState.ENDED]
    if not going:
        assert whole.state is SourceState.ENDED
    elif any(f.at is None for f in going):
        assert whole.at is None
    else:
        assert whole.at == min(f.at for f in going if f.at is not None)
