"""What upstreams can answer while something is wrong, and the intervals of what runs show."""

from __future__ import annotations

import pytest

from headrace.models.simulation.faults import Fault
from headrace.models.simulation.result import median
from headrace.models.simulation.room import Room, Shortage, left, room
from headrace.models.simulation.settings import Server, SimulatedUpstream, Simulation

ONE = Simulation().capacity() / 3
"""What one of the three upstreams can answer, calls per second."""


@pytest.mark.parametrize(
    ("fault", "upstreams"),
    [
        (Fault("refuse", ("a",)), 2.0),
        (Fault("down", ("a", "b")), 1.0),
        (Fault("dark"), 0.0),
        (Fault("hang", ("a",), share=0.1), 2.9),
        (Fault("slow", factor=3.0), 1.0),
        (Fault("slow", ("a",), factor=2.0), 2.5),
        (Fault("limit"), 3.0),
    ],
)
def test_a_fault_takes_away_what_it_says(fault: Fault, upstreams: float) -> None:
    assert left(Simulation(), [fault]) == pytest.approx(upstreams * ONE)


def test_faults_of_one_upstream_add_up() -> None:
    assert left(Simulation(), [Fault("hang", ("a",), share=0.5), Fault("slow", factor=2.0)]) == pytest.approx(
        1.25 * ONE
    )


def test_fallbacks_are_a_part_of_what_is_left_and_not_of_what_the_load_is_made_of() -> None:
    tiers = [SimulatedUpstream(name="a", model="m"), SimulatedUpstream(name="b", model="m", tier=1)]
    simulation = Simulation(upstreams=tuple(tiers))
    assert simulation.capacity() == pytest.approx(ONE)
    assert left(simulation, []) == pytest.approx(2 * ONE)
    assert left(simulation, [Fault("refuse", ("a",))]) == pytest.approx(ONE)


@pytest.mark.parametrize(
    ("server", "rate"),
    [
        (Server(requests_per_minute=60), 1.0),
        (Server(tokens_per_minute=60_000, slots=1000), 1.0),
        (Server(prefill=826, slots=1000), 1.0),
    ],
)
def test_the_narrowest_of_slots_prefill_and_limits_counts(server: Server, rate: float) -> None:
    simulation = Simulation(upstreams=(SimulatedUpstream(name="a", model="m", server=server),))
    assert simulation.capacity() == pytest.approx(rate, rel=0.01)


def test_a_phase_has_the_faults_of_its_time_and_the_load_of_its_scenario() -> None:
    faults = [Fault("refuse", ("a",), 60, 120)]
    before, during, after = (room(Simulation(), faults, "", at, at + 60, 2.0) for at in (0, 60, 120))
    assert before.left == after.left == pytest.approx(3 * ONE)
    assert during.left == pytest.approx(2 * ONE)
    assert during.offered == pytest.approx(2 * during.rate)
    assert during.possible == pytest.approx(2 * ONE)


def test_an_outage_of_all_is_no_lack_of_upstreams() -> None:
    dark = room(Simulation(), [Fault("dark", (), 0, 60)], "", 0, 60, 1.0)
    assert dark.left == 0.0
    assert not dark.tight
    assert Shortage(Room("", 0, 60, 1.0, 1.0, left=0.0), 0.0).times is None


@pytest.mark.parametrize(("n", "place"), [(5, None), (6, 0), (8, 0), (9, 1), (12, 2), (20, 5), (100, 39)])
def test_the_interval_of_a_median_lies_where_tables_say(n: int, place: int | None) -> None:
    """Ranks as in Conover, table A3 (binomial, p = 0.5)."""
    found = median([float(value) for value in range(n)])
    bounds = (float("-inf"), float("inf")) if place is None else (float(place), float(n - 1 - place))
    assert (found.low, found.high) == bounds
