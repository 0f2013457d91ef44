from typing import Any

import pytest

from headrace.demo.agents import PACE, SupportAgent
from headrace.demo.happenings import Whereabouts
from headrace.demo.twin import Copied

RIDING = {"order_id": "o1", "state": "picked_up", "courier_x": 0.0, "courier_y": 0.0, "home_x": 300.0, "home_y": 400.0}


class Fixed:
    def __init__(self, *rows: dict[str, Any]) -> None:
        self._rows = list(rows)

    async def read(self, view: str, /, **params: Any) -> Copied:
        return Copied(self._rows, 1500.0)


ASK = Whereabouts(0, 1, "o1")


async def test_a_support_agent_says_state_place_and_time_to_arrival():
    report = await SupportAgent(Fixed(RIDING)).answer(ASK)
    assert (report.state, report.place, report.age_ms) == ("picked_up", (0.0, 0.0), 1500.0)
    assert report.eta == pytest.approx(500 / PACE)


async def test_before_the_food_is_picked_up_there_is_a_place_but_no_time():
    report = await SupportAgent(Fixed(RIDING | {"state": "cooking"})).answer(ASK)
    assert (report.place, report.eta) == ((0.0, 0.0), None)


@pytest.mark.parametrize("state", ["delivered", "cancelled"])
async def test_an_order_that_is_over_has_no_courier(state: str):
    report = await SupportAgent(Fixed(RIDING | {"state": state})).answer(ASK)
    assert (report.state, report.place, report.eta) == (state, None, None)


async def test_an_unknown_order_is_said_to_be_unknown():
    report = await SupportAgent(Fixed()).answer(ASK)
    assert (report.state, report.place, report.eta) == (None, None, None)
