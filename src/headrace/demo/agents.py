"""The two agents of the app, each a handler: it reads its view, writes a prompt, and gets a typed answer of the model.

What is exact stays with the code: which dishes there are, what they cost, how far a courier has to go. The model
chooses, and says; what it says of a dish that it was not shown is dropped. `app.food_delivery` declares the endpoints.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

import headrace as hr
from headrace.context.readset import Changed
from headrace.demo.couriers import distance

PACE = 5.5
"""Meters per second that an agent assumes of a courier when it says how long it will take."""

State = Literal["placed", "accepted", "cooking", "picked_up", "delivered", "cancelled"]


class Hungry(BaseModel):
    """A customer in a zone asks: what should I eat?"""

    zone: str


class Dish(BaseModel):
    item_id: str
    name: str
    restaurant: str
    price: float


class Recommendation(BaseModel):
    """Dishes in order of recommendation, and how old the context was that they are from (ms of city time)."""

    dishes: list[Dish]
    age_ms: float | None = None


class WhichOrder(BaseModel):
    """A customer asks: where is my order right now?"""

    order_id: str


class OrderNews(BaseModel):
    """Where an order is.

    Attributes
    ----------
    state
        None when nothing is known of such an order.
    courier
        Where the courier is, meters; None when nobody is on the way.
    seconds_away
        Until the courier is at the door, once the food was picked up.
    """

    state: State | None
    courier: tuple[float, float] | None = None
    seconds_away: float | None = None
    age_ms: float | None = None


class Pick(BaseModel):
    """What the model says of a dish. Not its price: that is not the model's to say."""

    model_config = ConfigDict(extra="forbid")  # so that a provider's strict mode takes the schema

    item_id: str
    name: str


class Picks(BaseModel):
    """The model's choice, best first."""

    model_config = ConfigDict(extra="forbid")

    dishes: list[Pick]


class Said(BaseModel):
    """What the model says of an order; null for what is not known."""

    model_config = ConfigDict(extra="forbid")

    state: State | None
    courier_x: float | None
    courier_y: float | None
    seconds_away: float | None


RECOMMEND_PROMPT = """\
You recommend dishes to the customers of a food-delivery app. A customer asks: what should I eat?

These dishes sell best in the customer's zone right now, the best first, and all of them can be had. Recommend all of
them in this order, unless one is no food. Name no other dish.

<context view="recommend">
{rows}
</context>
"""

WHEREABOUTS_PROMPT = """\
You answer the customers of a food-delivery app. A customer asks: where is my order right now?

This is all that is known of the order. Say its state, the courier's place and how many seconds away it is, just as they
stand here. What is not here is null.

<context view="order_status">
{rows}
</context>
"""


async def recommend(ask: Hungry, ctx: hr.Context) -> Recommendation:
    """What to eat: what sells best in the customer's zone and is in stock."""
    found = await ctx.recommend(zone=ask.zone)
    shown = [{name: row[name] for name in ("item_id", "name", "restaurant", "orders_15m")} for row in found]
    picks = await ctx.llm.chat(RECOMMEND_PROMPT.format(rows=_lines(shown)), response=Picks)
    rows = {row["item_id"]: row for row in found}
    chosen = dict.fromkeys(pick.item_id for pick in picks.dishes if pick.item_id in rows)
    return Recommendation(dishes=[_dish(rows[item]) for item in chosen], age_ms=found.age_ms)


async def still_there(answer: Recommendation, changed: list[Changed], ctx: hr.Context) -> Recommendation:
    """The answer put right after something changed: at the prices of now, without what is gone.

    That takes a read and no second call of the model, which would be as late as the first.
    """
    found = await ctx.recommend(zone=changed[0].read.bindings["zone"])
    rows = {row["item_id"]: row for row in found}
    there = [_dish(rows[dish.item_id]) for dish in answer.dishes if dish.item_id in rows]
    return Recommendation(dishes=there, age_ms=found.age_ms)


async def best_sellers(ask: Hungry, ctx: hr.Context) -> Recommendation:
    """The answer without a model: the same dishes, as they come."""
    found = await ctx.recommend(zone=ask.zone)
    return Recommendation(dishes=[_dish(row) for row in found], age_ms=found.age_ms)


async def where_is_my_order(ask: WhichOrder, ctx: hr.Context) -> OrderNews:
    """State of an order, its courier's place and time to arrival, as far as the context knows."""
    found = await ctx.order_status(order_id=ask.order_id)
    known = [order_facts(row) for row in found]
    said = await ctx.llm.chat(WHEREABOUTS_PROMPT.format(rows=_lines(known)), response=Said)
    return _news(said, found.age_ms)


async def as_booked(ask: WhichOrder, ctx: hr.Context) -> OrderNews:
    """The answer without a model: what the books say."""
    found = await ctx.order_status(order_id=ask.order_id)
    known = order_facts(found.rows[0]) if found.rows else dict.fromkeys(Said.model_fields)
    return _news(Said(**{name: known[name] for name in Said.model_fields}), found.age_ms)


def order_facts(row: Mapping[str, Any]) -> dict[str, Any]:
    """What the model is told of an order. It is not asked to compute: how far the courier has to go is said here."""
    state, courier = row["state"], (row["courier_x"], row["courier_y"])
    if courier[0] is None or state in ("delivered", "cancelled"):
        courier = (None, None)
    away = None
    if state == "picked_up" and courier[0] is not None:
        away = distance(*courier, row["home_x"], row["home_y"]) / PACE
    return {
        "order_id": row["order_id"],
        "state": state,
        "restaurant": row["restaurant"],
        "courier_x": courier[0],
        "courier_y": courier[1],
        "seconds_away": away,
    }


def _dish(row: Mapping[str, Any]) -> Dish:
    return Dish(item_id=row["item_id"], name=row["name"], restaurant=row["restaurant"], price=row["price"])


def _news(said: Said, age_ms: float | None) -> OrderNews:
    x, y = said.courier_x, said.courier_y
    courier = None if x is None or y is None else (x, y)
    return OrderNews(state=said.state, courier=courier, seconds_away=said.seconds_away, age_ms=age_ms)


def _lines(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as the prompt shows them: a JSON list, an object a line."""
    return "[" + ",\n ".join(json.dumps(row, ensure_ascii=False) for row in rows) + "]"
