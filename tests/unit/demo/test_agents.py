import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import headrace as hr
from headrace.core.clock import SystemClock
from headrace.core.frontier import Status
from headrace.demo.agents import PACE
from headrace.demo.answering import Answering
from headrace.demo.asking import Agents
from headrace.demo.batch import CopyReads, open_endpoints
from headrace.demo.happenings import Suggest, Whereabouts
from headrace.demo.twin import Copied
from headrace.testing import Refuses, ScriptedModel

from .conftest import from_the_prompt

RIDING = {
    "order_id": "o1", "state": "picked_up", "restaurant": "Roma", "courier_id": "c1", "courier_x": 0.0,
    "courier_y": 0.1, "seen_at": "2026-06-05T12:00:00.000000Z", "home_x": 300.0, "home_y": 400.1,
}  # fmt: skip
WALKED_OFF = RIDING | {"courier_id": None, "courier_x": None, "courier_y": None, "seen_at": None}
SOUP = {"item_id": "r1-1", "name": "soup", "restaurant": "Roma", "stock": 3, "orders_15m": 9, "price": 6.30000000000001}
RICE = SOUP | {"item_id": "r1-2", "name": "rice", "orders_15m": None, "price": 4.0}


class Fixed:
    """A context that always shows the same, and is 1.5 seconds old."""

    def __init__(self, *rows: dict[str, Any]) -> None:
        self._rows = list(rows)
        self.loaded_at: int | None = None

    async def read(self, view: str, /, **params: Any) -> Copied:
        return Copied(self._rows, None, Status.FRESH)


class Frozen(SystemClock):
    """The machine's clock, on a date that stands."""

    def now(self) -> int:
        return 2_500_000


@asynccontextmanager
async def asked(app: hr.App, model: ScriptedModel, *rows: dict[str, Any]) -> AsyncGenerator[tuple[Agents, Answering]]:
    """Both agents over fixed rows, as customers ask them: through the app's endpoints."""
    context, clock, noted = Fixed(*rows), Frozen(), Answering()
    context.loaded_at = 1_000_000
    async with open_endpoints(app, CopyReads(context, clock), {"llm": model}, clock) as endpoints:
        yield Agents(endpoints, clock, noted), noted


ASK = Whereabouts(0, 1, "o1")
HUNGRY = Suggest(0, 1, "z4")


async def test_a_support_agent_says_state_place_and_time_to_arrival(app: hr.App):
    model = ScriptedModel(from_the_prompt)
    async with asked(app, model, RIDING) as (agents, noted):
        report = await agents.locate(ASK)
    assert (report.state, report.place, report.age_ms) == ("picked_up", (0.0, 0.1), 1500.0)
    assert report.eta == 500 / PACE  # to the last bit: the model repeats it, and does not compute
    assert (len(model.requests), len(noted.took), noted.without_model) == (1, 1, 0)


async def test_before_the_food_is_picked_up_there_is_a_place_but_no_time(app: hr.App):
    async with asked(app, ScriptedModel(from_the_prompt), RIDING | {"state": "cooking"}) as (agents, _):
        report = await agents.locate(ASK)
    assert (report.place, report.eta) == ((0.0, 0.1), None)


@pytest.mark.parametrize("row", [RIDING | {"state": "delivered"}, RIDING | {"state": "cancelled"}, WALKED_OFF])
async def test_an_order_that_is_over_or_that_nobody_carries_has_no_courier(app: hr.App, row: dict[str, Any]):
    async with asked(app, ScriptedModel(from_the_prompt), row) as (agents, _):
        report = await agents.locate(ASK)
    assert (report.state, report.place, report.eta) == (row["state"], None, None)


async def test_an_unknown_order_is_said_to_be_unknown(app: hr.App):
    async with asked(app, ScriptedModel(from_the_prompt)) as (agents, _):
        report = await agents.locate(ASK)
    assert (report.state, report.place, report.eta) == (None, None, None)


async def test_a_recommender_names_what_it_was_shown_at_the_price_of_the_row(app: hr.App):
    async with asked(app, ScriptedModel(from_the_prompt), SOUP, RICE) as (agents, _):
        suggestion = await agents.suggest(HUNGRY)
    names = ("item_id", "name", "restaurant", "price")
    assert suggestion.dishes == [{name: dish[name] for name in names} for dish in (SOUP, RICE)]
    assert suggestion.age_ms == 1500.0


async def test_what_the_model_makes_up_or_says_twice_is_dropped(app: hr.App):
    names = [("r1-2", "rice"), ("r9-9", "phoenix"), ("r1-2", "rice")]
    made_up = json.dumps({"dishes": [{"item_id": item, "name": name} for item, name in names]})
    async with asked(app, ScriptedModel([made_up]), SOUP, RICE) as (agents, _):
        suggestion = await agents.suggest(HUNGRY)
    assert [dish["item_id"] for dish in suggestion.dishes] == ["r1-2"]


@pytest.mark.parametrize("rows", [(), (RIDING,)])
async def test_without_a_model_the_books_answer_the_same_and_that_is_noted(
    app: hr.App, rows: tuple[dict[str, Any], ...]
):
    async with asked(app, ScriptedModel(from_the_prompt), *rows) as (agents, _):
        with_model = await agents.locate(ASK)
    async with asked(app, ScriptedModel([Refuses()]), *rows) as (agents, noted):
        assert await agents.locate(ASK) == with_model
    assert noted.without_model == 1


async def test_without_a_model_the_best_sellers_are_recommended(app: hr.App):
    async with asked(app, ScriptedModel(from_the_prompt), SOUP, RICE) as (agents, _):
        with_model = await agents.suggest(HUNGRY)
    async with asked(app, ScriptedModel([Refuses()]), SOUP, RICE) as (agents, noted):
        assert await agents.suggest(HUNGRY) == with_model
    assert noted.without_model == 1


async def test_an_answer_that_does_not_fit_is_asked_for_once_more(app: hr.App):
    model = ScriptedModel(["It is on its way!", json.dumps({"state": "flying"})])
    async with asked(app, model, RIDING) as (agents, noted):
        assert (await agents.locate(ASK)).state == "picked_up"
    assert (len(model.requests), noted.without_model) == (2, 1)
