"""A food-delivery app: where its data comes from, what a good record is, what its agents read, and how they answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path

import headrace as hr
from headrace.demo import agents
from headrace.demo.happenings import KEYS


class Restaurant(hr.Record):
    restaurant_id: str
    name: str
    zone: str
    x: float
    y: float


class Item(hr.Record):
    item_id: str
    restaurant_id: str
    name: str
    price: float = hr.Field(gt=0)
    stock: int = hr.Field(ge=0)
    changed_at: datetime


class Promotion(hr.Record):
    item_id: str
    discount: float = hr.Field(ge=0, lt=1)
    changed_at: datetime


class Order(hr.Record):
    order_id: str
    restaurant_id: str
    item_id: str
    state: agents.State
    courier_id: str | None
    x: float
    y: float
    placed_at: datetime
    changed_at: datetime


class Courier(hr.Record):
    courier_id: str
    x: float
    y: float
    seen_at: datetime


class Sale(hr.Record):
    sale_id: str
    item_id: str
    price: float = hr.Field(gt=0)
    sold_at: datetime


RECOMMEND = """
    SELECT i.item_id, i.name, r.name AS restaurant, i.stock, p.orders_15m,
           i.price * (1 - COALESCE(d.discount, 0)) AS price
    FROM restaurants r
    JOIN items i ON i.restaurant_id = r.restaurant_id
    LEFT JOIN popular p ON p.item_id = i.item_id
    LEFT JOIN promotions d ON d.item_id = i.item_id
    WHERE r.zone = :zone AND i.stock > 0
    ORDER BY p.orders_15m DESC, i.item_id
    LIMIT 8
"""

ORDER_STATUS = """
    SELECT o.order_id, o.state, r.name AS restaurant, o.courier_id,
           c.x AS courier_x, c.y AS courier_y, c.seen_at, o.x AS home_x, o.y AS home_y
    FROM orders o
    JOIN restaurants r ON r.restaurant_id = o.restaurant_id
    LEFT JOIN couriers c ON c.courier_id = o.courier_id
    WHERE o.order_id = :order_id
"""


Sources = Mapping[str, hr.sources.Source]
"""Where each table comes from; a table that is not named is pushed."""


def pushed(list_restaurants: Callable[[], Iterable[dict[str, object]]], promotions: Path) -> Sources:
    """Restaurants from any Python iterator, promotions from a file that grows, the rest pushed."""
    return {
        "restaurants": hr.sources.Generator(list_restaurants),
        "promotions": hr.sources.Files(promotions),
    }


def followed(dsn: str, schema: str, slot: str) -> Sources:
    """Everything from the city's database, as it commits."""
    return {table: hr.sources.Postgres(dsn, table=f"{schema}.{table}", slot=slot) for table in KEYS}


def food_delivery(sources: Sources, model: hr.models.Provider) -> hr.App:
    """The app: what is pushed and what is followed makes no difference behind its sources, nor which model answers."""
    app, of = hr.App("food-delivery"), sources.get

    app.table(Restaurant, key="restaurant_id", index=["zone"], source=of("restaurants"))
    app.table(Promotion, key="item_id", changed_at="changed_at", source=of("promotions"))
    app.table(Item, key="item_id", index=["restaurant_id"], changed_at="changed_at", freshness="1m", source=of("items"))
    app.table(Order, key="order_id", changed_at="changed_at", freshness="1m", source=of("orders"))
    app.table(Courier, key="courier_id", changed_at="seen_at", freshness="30s", source=of("couriers"))

    sales = app.events(Sale, key="sale_id", event_time="sold_at", keep="1h", freshness="1m", source=of("sales"))
    app.rollup("popular", sales, by="item_id", windows=["15m"], orders=hr.count())

    app.view("recommend", RECOMMEND, description="What sells best in a zone right now and can still be had.")
    app.view("order_status", ORDER_STATUS, description="Where one order is: its state, its courier, its way to go.")

    # Seconds of the machine, as all deadlines: a socket knows nothing of a city whose time runs faster (demo/clock.py).
    app.model("llm", [model], deadline="8s")
    app.endpoint(
        "/recommend",
        deadline="10s",
        on_stale=hr.repair(agents.still_there),  # a dish that sold out while the model was at it is taken out
        fallback=agents.best_sellers,
        # Portions and sales change with every order. What counts is the dishes and their prices.
        tolerances=[hr.tolerance("recommend", stock=hr.ignore, orders_15m=hr.ignore, ordered=False)],
        prompts=[agents.RECOMMEND_PROMPT],
    )(agents.recommend)
    app.endpoint(
        "/where-is-my-order",
        deadline="10s",
        on_stale="retry",  # an order that went on meanwhile is another question to the model
        fallback=agents.as_booked,
        # A courier moves all the time: 50 meters are no other answer.
        tolerances=[hr.tolerance("order_status", courier_x=50, courier_y=50, seen_at=hr.ignore)],
        prompts=[agents.WHEREABOUTS_PROMPT],
    )(agents.where_is_my_order)
    return app
