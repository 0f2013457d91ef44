"""How soon it is as before."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from headrace.models.call import Priority
from headrace.models.simulation.arrivals import Arrival
from headrace.models.simulation.driver import Log, Record
from headrace.models.simulation.result import recovery

END, UNTIL, RATE = 100.0, 220.0, 9


def log(good: Callable[[int, float], bool]) -> Log:
    """Nine calls a second after the end of a fault; `good` is given the number of a call and its time since then."""
    found = Log()
    for number in range(int(UNTIL - END) * RATE):
        at = number / RATE
        arrival = Arrival(END + at, 100, 100, "", Priority.NORMAL, "", True)
        found.records.append(Record(arrival, 0, END + at, good=good(number, at)))
    return found


@pytest.mark.parametrize(
    ("good", "least", "most"),
    [
        (lambda number, at: True, 0, 0),
        (lambda number, at: at >= 20, 20, 20),
        (lambda number, at: at >= 20 and number % 50 > 0, 20, 20),  # one in fifty is no return of the fault
        (lambda number, at: not 60 <= at < 65, 65, 65),  # it came back
        (lambda number, at: number % 10 > 0, 110, 120),  # one in ten all the time, though no step alone proves it
        (lambda number, at: at < 20 or number % 12 > 0, 110, 120),
        (lambda number, at: False, 120, 120),
    ],
)
def test_it_is_as_before_when_nearly_all_is_answered_from_then_on(
    good: Callable[[int, float], bool], least: float, most: float
) -> None:
    found = recovery([log(good)] * 6, END, UNTIL)
    assert least <= found.value <= most
