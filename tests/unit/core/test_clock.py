import asyncio
from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from headrace.core.clock import SECOND, ScaledClock, SimulatedClock, instant, isoformat, to_datetime

FIRST, LAST = datetime(1900, 1, 1), datetime(2200, 1, 1)  # noqa: DTZ001 (Hypothesis takes naive bounds)
moments = st.datetimes(min_value=FIRST, max_value=LAST, timezones=st.just(UTC))


@given(moments)
def test_an_instant_is_the_same_moment(moment: datetime) -> None:
    assert to_datetime(instant(moment)) == moment


def test_an_instant_knows_time_zones() -> None:
    berlin = timezone(timedelta(hours=2))
    assert instant(datetime(2026, 7, 1, 12, tzinfo=berlin)) == instant(datetime(2026, 7, 1, 10, tzinfo=UTC))


def test_text_of_an_instant_sorts_like_the_instant() -> None:
    stamps = [0, 1, SECOND - 1, SECOND, 1_700_000_000 * SECOND + 5]
    assert sorted(isoformat(at) for at in stamps) == [isoformat(at) for at in stamps]


async def yield_once() -> None:
    await asyncio.get_running_loop().run_in_executor(None, lambda: None)


async def test_a_simulated_clock_wakes_tasks_in_order() -> None:
    clock = SimulatedClock(start=0)
    woken: list[str] = []

    async def wait(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(name)

    tasks = [asyncio.create_task(wait("late", 2)), asyncio.create_task(wait("early", 1))]
    await yield_once()
    clock.advance(1)
    await yield_once()
    assert woken == ["early"]
    clock.advance(1)
    await asyncio.gather(*tasks)
    assert woken == ["early", "late"]
    assert clock.now() == 2 * SECOND


def test_scaled_clocks_of_two_processes_agree() -> None:
    first = ScaledClock(start=0, speed=60, origin=1_000 * SECOND)
    second = ScaledClock(start=0, speed=60, origin=1_000 * SECOND)
    assert abs(second.now() - first.now()) < 60 * SECOND
    assert first.now() > 0
